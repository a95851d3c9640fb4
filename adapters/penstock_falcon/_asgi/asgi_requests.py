"""ASGI requests whose bodies are not touched until they are wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import falcon.asgi

from penstock_falcon.request_checks import BodyCollector

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]

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


async def collect_events(event: Event, receive: Receive, collector: BodyCollector) -> bytes | None:
    """Return the body that begins with ``event``, or None if the connection is lost before the end.

    Raises
    ------
    PayloadTooLarge
        As soon as its pieces are over the limit.
    """
    while event["type"] == "http.request":
        collector.add(event.get("body", b""))
        if not event.get("more_body"):
            return collector.join()
        event = await receive()
    return None


async def collect_stream(req: falcon.asgi.Request, collector: BodyCollector) -> bytes:
    """Return the body by way of Falcon's own stream, which the application's middleware may have begun to read."""
    async for piece in req.stream:
        collector.add(piece)
    return collector.join()
