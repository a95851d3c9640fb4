"""The record of one request of the load generator, and the fates that it can meet."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Fate(StrEnum):
    """The end of a request."""

    ANSWERED = "answered"
    """The response is complete, whatever its status."""
    GIVEN_UP = "given up"
    """The caller lost patience and closed the connection."""
    REFUSED = "connection refused"
    UNREACHABLE = "no connection"
    """The connection could not be made for another reason."""
    RESET = "connection reset"
    """The server reset the connection before the response began."""
    CLOSED = "closed without a response"
    CUT = "cut"
    """The connection ended inside the response."""
    MALFORMED = "malformed response"
    UNFINISHED = "unfinished"
    """It was still running when the generator stopped."""
    FAILED = "failed"
    """The client library has an error of its own, which is in ``code``."""
    NO_CONNECTION = "not sent: no free connection"
    """All connections that the generator may have were busy."""
    NO_DESCRIPTOR = "not sent: no file descriptor"
    NO_PORT = "not sent: no local port"


UNSENT = frozenset({Fate.NO_CONNECTION, Fate.NO_DESCRIPTOR, Fate.NO_PORT})
"""The fates that are the generator's fault, not the server's."""


@dataclass(slots=True)
class Shot:
    """One request; times are those of the generator's clock, in seconds.

    Parameters
    ----------
    planned:
        The time at which it was meant to be sent.
    sent:
        The time at which the generator took it up.
    done:
        The time at which the response was complete, or the request had ended otherwise.
    fate:
        The end that it met.
    status:
        The HTTP status, or 0 without a response.
    code:
        The code of the error in the body, or at the end of a stream; empty without one.
    body:
        The body, or the beginning of a long one.
    first:
        The time of the first chunk of a stream, or None.
    gaps:
        The seconds between its chunks.
    is_resent:
        The server closed a kept connection as the request arrived, so it was sent again on a new one.
    reason:
        The words of the system about a connection that could not be made, or of the reader about a malformed response.
    requests, error, refused:
        For a call through the client library: the requests that it sent, the class of its error, and the reason why it
        was not tried again; 0 or empty otherwise.
    """

    planned: float
    sent: float = 0.0
    done: float = 0.0
    fate: Fate = Fate.UNFINISHED
    status: int = 0
    code: str = ""
    body: bytes = b""
    first: float | None = None
    gaps: list[float] = field(default_factory=list)
    is_resent: bool = False
    reason: str = ""
    requests: int = 0
    error: str = ""
    refused: str = ""

    @property
    def latency(self) -> float:
        """The seconds from the planned start to the end."""
        return self.done - self.planned

    @property
    def lag(self) -> float:
        """The seconds by which the generator itself was late."""
        return max(0.0, self.sent - self.planned)

    @property
    def is_good(self) -> bool:
        """True if it was answered in full, without an error."""
        return self.fate is Fate.ANSWERED and 200 <= self.status < 400 and not self.code

    @property
    def outcome(self) -> str:
        """The name under which it is counted: ``200``, ``503 queue-full``, ``cut handler-error``, ``given up``."""
        if self.fate is Fate.ANSWERED:
            return f"{self.status} {self.code}".rstrip()
        if self.fate is Fate.FAILED:
            return self.code
        # A stream that fails is cut after the chunk with its error, so that no client takes it for complete.
        return f"{self.fate} {self.code}".rstrip() if self.fate is Fate.CUT else str(self.fate)
