"""Penstock under many servers, and beside applications of other frameworks. Each attribute is one application."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any
from wsgiref.util import shift_path_info

import trio

import penstock_falcon
from penstock import App
from penstock.hooks import Route as PluginRoute
from penstock.hooks import RouteRequest, RouteResponse, hookimpl
from tests.e2e.apps.marks import mark

# Longer than a test waits for the end of abandoned work, and short, as nothing ends it under some servers.
HOLD_SECONDS = 4.0


class Relay:
    """A plug-in with routes that wait, on whichever loop the server runs."""

    @hookimpl
    def penstock_routes(self) -> list[PluginRoute]:
        return [
            PluginRoute(path="/relay/{name}", name="relay", handler=self.relay, method="PUT", reads_body=True),
            PluginRoute(path="/drip", name="drip", handler=self.drip),
        ]

    async def relay(self, request: RouteRequest, engine: Any) -> RouteResponse:
        await rest(0.01)
        return RouteResponse(body=request.path_values["name"].encode() + request.body)

    def drip(self, request: RouteRequest, engine: Any) -> RouteResponse:
        return RouteResponse(media_type="text/plain", stream=self.drops())

    async def drops(self) -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d\n" % number
            await rest(0.05)


async def rest(seconds: float) -> None:
    """Wait as asyncio or trio does."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        await trio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


app = App(__name__, plugins=[Relay()])


@app.endpoint("/square")
def square(input: float) -> float:
    return input**2


@app.endpoint("/digest")
def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@app.endpoint("/zeros")
def zeros(size: int) -> bytes:
    return bytes(size)


@app.endpoint("/count")
def count(n: int, pause: float = 0.0) -> Iterator[int]:
    for number in range(n):
        yield number
        time.sleep(pause)


@app.endpoint("/fail")
def fail(n: int) -> Iterator[int]:
    yield from range(n)
    raise ValueError("no more")


@app.endpoint("/pause", pool="holding")
def pause(seconds: float, name: str) -> str:
    mark(f"{name}-began")
    time.sleep(seconds)
    return name


@app.endpoint("/hold", pool="holding")
def hold(name: str) -> None:
    mark(f"{name}-began")
    try:
        time.sleep(HOLD_SECONDS)
    finally:
        mark(f"{name}-stopped", str(time.monotonic()))


@app.endpoint("/stall", pool="holding")
def stall(name: str) -> Iterator[int]:
    yield 0
    try:
        time.sleep(HOLD_SECONDS)
    finally:
        mark(f"{name}-stopped", str(time.monotonic()))


@app.endpoint("/flow", pool="holding")
def flow(name: str) -> Iterator[int]:
    try:
        for number in range(int(HOLD_SECONDS / 0.01)):
            yield number
            time.sleep(0.01)
    finally:
        mark(f"{name}-stopped", str(time.monotonic()))


asgi = penstock_falcon.asgi(app)
wsgi = penstock_falcon.wsgi(app)

# Each framework is optional here: a test of one must not need the others.
with suppress(ImportError):
    from fastapi import FastAPI

    fastapi_mounted = FastAPI()
    fastapi_mounted.mount("/models", asgi)

    @fastapi_mounted.get("/hello")
    async def hello_of_fastapi() -> dict[str, str]:
        return {"hello": "fastapi"}


with suppress(ImportError):
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Mount, Route

    async def hello_of_starlette(_request: Request) -> JSONResponse:
        return JSONResponse({"hello": "starlette"})

    starlette_mounted = Starlette(routes=[Route("/hello", hello_of_starlette), Mount("/models", asgi)])


with suppress(ImportError):
    from flask import Flask
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    flask_app = Flask(__name__)

    @flask_app.get("/hello")
    def hello_of_flask() -> dict[str, str]:
        return {"hello": "flask"}

    flask_mounted: Any = DispatcherMiddleware(flask_app, {"/models": wsgi})


with suppress(ImportError):
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpRequest, JsonResponse
    from django.urls import path

    def hello_of_django(_request: HttpRequest) -> JsonResponse:
        return JsonResponse({"hello": "django"})

    urlpatterns = [path("hello", hello_of_django)]
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="of a test")
    django_asgi = get_asgi_application()
    django_wsgi = get_wsgi_application()

    async def django_asgi_mounted(scope: Any, receive: Any, send: Any) -> None:
        """Route by path; the lifespan, which Django does not have, is Penstock's."""
        if scope["type"] == "lifespan":
            await asgi(scope, receive, send)
        elif scope["path"].startswith("/models/"):
            await asgi({**scope, "root_path": "/models"}, receive, send)
        else:
            await django_asgi(scope, receive, send)

    def django_wsgi_mounted(environ: Any, start_response: Any) -> Any:
        """Route by path."""
        if environ["PATH_INFO"].startswith("/models/"):
            shift_path_info(environ)
            return wsgi(environ, start_response)
        return django_wsgi(environ, start_response)
