"""A program for test_gunicorn.py: PenstockApplication around a stand-in for the app and its engine.

The jobs of its engine end only on request (``/release``), so that no test depends on how long anything takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from penstock import eventlog
from penstock_gunicorn import PenstockApplication, TcpAddress, application, inherited_listeners, open_listeners, worker

BIG = 32 * 2**20


class Engine:
    """An engine whose jobs are futures. A drain ends when none is left, and ends them itself at its timeout."""

    def __init__(self) -> None:
        self.draining = False
        self.closed = False
        self.jobs: set[asyncio.Future[int]] = set()
        self.on_drained: Callable[[], None] = lambda: None

    async def job(self) -> int:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.jobs.add(future)
        try:
            return await future
        finally:
            self.jobs.discard(future)
            self._look()

    def end_jobs(self, status: int) -> None:
        for future in list(self.jobs):
            if not future.done():
                future.set_result(status)

    def drain(self, timeout: float, on_drained: Callable[[], None], *, who: str, why: str) -> None:
        self.draining = True
        self.on_drained = on_drained
        asyncio.get_running_loop().call_later(timeout, self.end_jobs, 503)
        self._look()

    def _look(self) -> None:
        if self.draining and not self.jobs:
            self.on_drained()

    def close(self) -> None:
        self.closed = True
        self.end_jobs(503)
        eventlog.log_event(20, "engine-closed", "closed")


class Service:
    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.on_pools_failed: Callable[[str], None] = lambda _message: None
        self.worker_count = 0
        self.is_complete = True


class Application:
    def __init__(self, *, start_fails: bool) -> None:
        self.penstock = Service()
        self.start_fails = start_fails

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
            return
        status, body = await self.answer(scope["path"], receive)
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def live(self, receive: Any, send: Any) -> None:
        await receive()
        if self.start_fails:
            await send({"type": "lifespan.startup.failed", "message": "no luck"})
            return
        self.penstock.engine = Engine()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        eventlog.log_event(20, "lifespan-over", "over")
        await send({"type": "lifespan.shutdown.complete"})

    async def answer(self, path: str, receive: Any) -> tuple[int, bytes]:
        engine = self.penstock.engine
        assert engine is not None
        if path == "/release":
            engine.end_jobs(200)
        elif path == "/state":
            return 200, json.dumps({"jobs": len(engine.jobs), "pid": os.getpid()}).encode()
        elif path == "/fail-pools":
            self.penstock.on_pools_failed("pool x never got ready")
        elif path == "/upload":
            while (await receive()).get("more_body"):
                pass
            engine.end_jobs(200)
        elif engine.draining:
            return 503, b"draining"
        elif path == "/hold":
            return await engine.job(), b"held"
        elif path == "/big":
            return await engine.job(), bytes(BIG)
        return 200, b"fine"


def load(how: str) -> Callable[[str], Application]:
    def loader(_role: str) -> Application:
        if how == "raise":
            raise RuntimeError("cannot be imported")
        if how == "exit":
            sys.exit("this module exits")
        if how == "hang":
            eventlog.log_event(20, "loading", "and loading")
            while True:
                try:
                    threading.Event().wait()
                except BaseException:
                    continue
        if how == "thread":
            threading.Thread(target=threading.Event().wait).start()
        return Application(start_fails=how == "no-start")

    return loader


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--drain-timeout", type=float, default=30.0)
    parser.add_argument("--load", default="fine")
    parser.add_argument("--heartbeat", type=float, default=worker.HEARTBEAT)
    parser.add_argument("--heartbeat-timeout", type=int, default=application.HEARTBEAT_TIMEOUT)
    options = parser.parse_args()
    worker.HEARTBEAT = options.heartbeat
    application.HEARTBEAT_TIMEOUT = options.heartbeat_timeout
    eventlog.configure_logging("json")
    addresses = [TcpAddress("127.0.0.1", options.port)]
    PenstockApplication(
        load(options.load),
        listeners=inherited_listeners(addresses) or open_listeners(addresses),
        drain_timeout=options.drain_timeout,
        on_listening=lambda urls: eventlog.log_event(20, "listening", urls[0], pid=os.getpid()),
        configure_logging=lambda: eventlog.configure_logging("json"),
    ).run()


if __name__ == "__main__":
    main()
