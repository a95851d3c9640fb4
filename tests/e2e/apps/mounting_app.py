"""Penstock in other servers: on its own, and mounted into Falcon applications with routes of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import falcon
import falcon.asgi

import penstock_falcon
from penstock import App, Timeouts
from tests.e2e.apps.marks import mark

app = App(__name__)


@app.endpoint("/echo")
def echo(body: bytes) -> bytes:
    return body


@app.endpoint("/limited")
def limited() -> int:
    return 1


@app.endpoint("/square")
def square(input: float) -> float:
    return input**2


@app.endpoint("/count")
def count(n: int) -> Iterator[int]:
    yield from range(n)


@app.endpoint("/late", timeouts=Timeouts(execution=0.3))
def late() -> None:
    time.sleep(30)


@app.endpoint("/hold", pool="holding")
def hold() -> None:
    mark("started")
    try:
        time.sleep(30)
    finally:
        mark("interrupted")


class Hello:
    def on_get(self, req: Any, resp: Any) -> None:
        resp.media = {"hello": "falcon"}


class AsyncHello:
    async def on_get(self, req: Any, resp: Any) -> None:
        resp.media = {"hello": "falcon"}


def mounted_asgi(**options: Any) -> Any:
    api: Any = falcon.asgi.App(**options)
    api.add_route("/hello", AsyncHello())
    penstock_falcon.mount(api, app, prefix="/models")
    return api


def mounted_wsgi() -> Any:
    api: Any = falcon.App()
    api.add_route("/hello", Hello())
    penstock_falcon.mount(api, app, prefix="/models")
    return api


asgi = penstock_falcon.asgi(app)
wsgi = penstock_falcon.wsgi(app)
asgi_mounted = mounted_asgi(request_type=penstock_falcon.Request)
asgi_mounted_plain = mounted_asgi()
wsgi_mounted = mounted_wsgi()


async def asgi_mounted_by_a_framework(scope: Any, receive: Any, send: Any) -> None:
    """Mount it as FastAPI and Starlette do: the prefix is in ``root_path`` and in ``path``; there is no lifespan."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["path"].startswith("/models/"):
        await asgi({**scope, "root_path": "/models"}, receive, send)
    else:
        status, body = (200, b'{"hello": "falcon"}') if scope["path"] == "/hello" else (404, b"")
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})
