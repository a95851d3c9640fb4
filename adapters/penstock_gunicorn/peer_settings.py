"""The limits on clients that send or read too slowly."""

from __future__ import annotations

import math
from dataclasses import dataclass

from penstock.errors import DeclarationError


@dataclass(frozen=True, kw_only=True)
class PeerSettings:
    """The limits on slow clients. The time for which a response may be left unread is the endpoint's ``idle`` timeout.

    Parameters
    ----------
    header_timeout:
        Seconds in which the head of a request must arrive: of the first one from the connection's beginning, of a later
        one from its first byte.
    body_timeout:
        Seconds over which the rate of an upload is measured: in each such time it must advance at ``min_body_rate``.
    min_body_rate:
        The lowest rate of an upload, in bytes per second.
    max_unread:
        Bytes of responses that are held in this process for clients that read too slowly. Beyond it, the slowest lose
        their connections.

    Raises
    ------
    DeclarationError
        If a limit is not a positive, finite number.
    """

    header_timeout: float = 10.0
    body_timeout: float = 10.0
    min_body_rate: int = 1024
    max_unread: int = 256 * 2**20

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise DeclarationError(f"PeerSettings({name}={value!r}): use a positive, finite number")
