"""The opening for a tracer: a span exists before a request is sent, because its headers name it."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Final, Protocol, Self

from penstock_client.errors import ClientError
from penstock_client.plan_messages import Event, HeadArrived, RequestFailed

_NO_HEADERS: Final[Mapping[str, str]] = {}


class RequestSpan(Protocol):
    """One request of a call. Its ``with`` block ends with the response, or with the head of a stream's."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that name the span to the server."""

    def met(self, event: Event) -> None:
        """Note what the request met."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class CallSpan(Protocol):
    """One call. Its ``with`` block ends with the answer, with the end of the stream, or with the error."""

    def request(self, *, is_stream: bool) -> RequestSpan:
        """Return the next request; if it is a stream that begins, it lasts until the call is over."""

    def failed(self, error: ClientError) -> None:
        """Note the error of a stream, which the program may catch inside its own block."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class CallTracer(Protocol):
    """The tracer of a client: ``penstock_client.opentelemetry`` has one.

    Nothing that it does may raise, or wait. Requests of one call may overlap, in several threads.
    """

    def call(self, *, method: str, url: str, endpoint: str, request_id: str, headers: Mapping[str, str]) -> CallSpan:
        """Return the call that begins now; ``headers`` may name its parent."""


class Untraced:
    """A call, and each of its requests, without a tracer."""

    headers = _NO_HEADERS

    def request(self, *, is_stream: bool) -> Untraced:  # noqa: ARG002 - the signature of the protocol
        """Return the same object."""
        return self

    def met(self, event: Event) -> None:
        """Do nothing."""

    def failed(self, error: ClientError) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


UNTRACED: Final = Untraced()


def outcome_of(event: Event) -> tuple[int | None, str]:
    """Return the status of an event, and the reason if it is a failure, in few different words."""
    if isinstance(event, HeadArrived):
        return event.status, str(event.status) if event.status >= 400 else ""
    return None, event.fault.value if isinstance(event, RequestFailed) else ""


def reason_of(error: BaseException) -> str:
    """Return the name of an exception that ended a call: all that ask it to stop are ``cancelled``."""
    if isinstance(error, ClientError):
        return error.code
    return type(error).__qualname__ if isinstance(error, Exception) else "cancelled"
