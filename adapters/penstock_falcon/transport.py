"""The steps of the flow that differ between ASGI and WSGI: reading, waiting and writing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from time import monotonic
from typing import Any, TypeAlias

from penstock.hosting import Body, BodyFile
from penstock_falcon.hangups import WatchedCall
from penstock_falcon.request_checks import AnyBudget, BodyChecks, late_body
from penstock_falcon.stream_body import StreamBody

HeaderLookup: TypeAlias = Callable[[str], str | None]
"""Returns a request header by its lower-case name, or None."""
FILE_PIECE_BYTES = (1 << 17) - 4096
"""The bytes of a file that are read, and written to the client, in one step; glibc maps the memory of larger pieces
anew for each."""
AsyncResponder: TypeAlias = Callable[..., Coroutine[Any, Any, None]]


class Transport(ABC):
    """The primitives of one adapter.

    The flow is written once, as coroutines. Under ASGI they run on the server's event loop. Under WSGI the primitives
    block the server's thread instead of suspending, so each coroutine runs from start to end like a plain function.
    """

    stream_body: type[StreamBody[Any]]
    """The class of streamed bodies."""

    def begun(self, req: Any) -> tuple[Any, Any] | None:
        """Return the exchange and the call of a request that was begun without the application, or None.

        A server may answer small requests itself, and hand one over to the application when it turns out to be more.
        """
        return None

    @abstractmethod
    def identify(self, req: Any) -> tuple[HeaderLookup, Mapping[bytes, bytes] | None, str, float | None]:
        """Return the request's headers (a look-up, and as received), the peer's address, and when it began.

        The headers as received are None if the server does not have them by their names in bytes. The address is "" if
        the server does not know it, and the instant of the first byte None if it is the present one.
        """

    @abstractmethod
    def requires_host(self, req: Any) -> bool:
        """Return whether it is for the application to insist on a ``Host`` header, because the server may not."""

    @abstractmethod
    async def run_blocking(self, function: Callable[..., None], argument: object) -> None:
        """Call a function that blocks, where it delays no other request."""

    @abstractmethod
    async def read_body(self, req: Any, announced: int | None, checks: BodyChecks, budget: AnyBudget | None) -> Body:
        """Return the whole body, which is in a file if it is large.

        Parameters
        ----------
        announced:
            The length in bytes from ``Content-Length``, or None.
        checks:
            The checks of the body, with the limit.
        budget:
            The budget that must cover the body as it grows; None for a body that is known to be small.

        Raises
        ------
        PayloadTooLarge
            As soon as the pieces of a body are over the limit.
        QueueFull
            As soon as its budget cannot cover them.
        MalformedRequest
            If the body is cut short, or its end cannot be found.
        """

    async def read_body_by(
        self, deadline: float, req: Any, announced: int | None, checks: BodyChecks, budget: AnyBudget | None
    ) -> Body:
        """Return the whole body, as ``read_body``, if it arrives before the deadline.

        A server that blocks in its own reading is not interrupted.

        Raises
        ------
        RequestTimeout
            If it does not.
        """
        body = await self.read_body(req, announced, checks, budget)
        if monotonic() >= deadline:
            raise late_body()
        return body

    @abstractmethod
    def watch(self, call: Any, req: Any) -> WatchedCall:
        """Start to watch the client that waits for ``call``."""

    @abstractmethod
    def file_body(self, file: BodyFile, watched: Any) -> Any:
        """Return the body of a response that is in a file, as an iterator for Falcon's ``resp.stream``."""

    @abstractmethod
    def responder(self, respond: AsyncResponder) -> Callable[..., Any]:
        """Return a coroutine function as a responder, or an error handler, that Falcon can call."""
