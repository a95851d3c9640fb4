"""ASGI requests whose bodies are not touched until they are wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import falcon.asgi

from penstock.hosting import Body
from penstock_falcon._asgi.asgi_scope import Event, Receive
from penstock_falcon._asgi.server_loop import running_loop
from penstock_falcon.request_checks import BodyCollector, dropped_on_error

T = TypeVar("T")

NOTHING_YET: Event = {"type": "http.request", "body": b"", "more_body": True}


class BodyOnDemand:
    """A ``receive`` whose first event is an empty one, available at once.

    Falcon awaits the first event before it looks at the request. A client that announces too large a body, and waits
    for the refusal before it sends it, would wait forever, and ``Expect: 100-continue`` would be granted without a
    check. Falcon therefore gets an event that carries nothing, and the server's ``receive`` is first called when the
    body is wanted.
    """

    __slots__ = ("_was_asked", "server")

    def __init__(self, server: Receive) -> None:
        self.server = server
        self._was_asked = False

    async def __call__(self) -> Event:
        """Return the next event."""
        if self._was_asked:
            return await self.server()
        self._was_asked = True
        return NOTHING_YET


class Request(falcon.asgi.Request):
    """A request that keeps the server's ``receive``, which Falcon does not expose.

    Pass it to a Falcon application of your own, ``falcon.asgi.App(request_type=penstock_falcon.Request)``, before you
    mount endpoints on it.
    """

    def __init__(
        self, scope: dict[str, Any], receive: Receive, first_event: Event | None = None, options: Any = None
    ) -> None:
        if type(receive) is BodyOnDemand:
            receive = receive.server
        super().__init__(scope, receive, first_event=first_event, options=options)
        self.receive = receive
        self.first_event = first_event


async def collect_events(event: Event, receive: Receive, collector: BodyCollector) -> Body | None:
    """Return the body that begins with ``event``, or None if the connection is lost before the end.

    Raises
    ------
    PayloadTooLarge
        As soon as its pieces are over the limit.
    QueueFull
        If there is no room for them.
    """
    with dropped_on_error(collector):
        while event["type"] == "http.request":
            collector.add(event.get("body", b""))
            if collector.is_due:
                await in_thread(collector.write_out)
            if not event.get("more_body"):
                return await finished(collector)
            event = await receive()
    return None


async def collect_stream(req: falcon.asgi.Request, collector: BodyCollector) -> Body:
    """Return the body by way of Falcon's own stream, which the application's middleware may have begun to read."""
    with dropped_on_error(collector):
        async for piece in req.stream:
            collector.add(piece)
            if collector.is_due:
                await in_thread(collector.write_out)
        return await finished(collector)


async def finished(collector: BodyCollector) -> Body:
    """Return the whole body, whose end may have to be written to a disk."""
    return await in_thread(collector.finish) if collector.ends_on_disk else collector.finish()


async def in_thread(function: Callable[[], T]) -> T:
    """Return the result of a function that blocks, called in a thread."""
    return await running_loop().run_in_executor(None, function)
