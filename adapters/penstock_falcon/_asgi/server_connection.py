"""A client's connection, as Penstock's own server shows it to the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from penstock.errors import PenstockError
from penstock.hosting import Call

CONNECTION: Final = "penstock.connection"
"""The key in the scope. Other servers do not set it; the application then does without."""


class HeldResponse(Protocol):
    """A response that is held until the client has read what comes before."""

    @property
    def untaken_bytes(self) -> int:
        """The bytes that the server has not taken."""


class ServerConnection(Protocol):
    """A client's connection, as an application sees it.

    Attributes
    ----------
    request_began:
        The instant at which the first byte of the request arrived; None if that was just now.
    impatience:
        Makes the error that says why the server does not wait for the rest of the body, after an event of a
        disconnection; None if the client left.
    write_idle:
        Seconds for which the client may leave the response unread before it loses its connection.
    stream:
        The call whose chunks make up the response, or its file, so that the server can tell how much is held for this
        client.
    """

    request_began: float | None
    impatience: Callable[[], PenstockError] | None
    write_idle: float
    stream: HeldResponse | None

    @property
    def is_closed(self) -> bool:
        """True once nothing can be sent any longer."""

    def take_begun(self) -> tuple[Any, Call] | None:
        """Return, once, the exchange and the call of the request, if they were begun outside the application."""

    def end_after_response(self) -> None:
        """Close the connection once the response has been sent."""
