"""A whole server in one process and one thread: engine, worker and connections, each acting only when it is asked to.

The code that serves is the real one, on a real socket pair between engine and worker. The fork, the loop of the worker
and the client's socket are missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import select
import socket
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from gunicorn.config import Config

from penstock.app import App
from penstock.engine import performer
from penstock.engine.processes.worker_link import WorkerLink
from penstock.socket_buffers import ReceiveBuffer
from penstock.wire import SHARED_BYTES, FrameReader, Message, Ready
from penstock.worker.attempts import LiveEndpoint
from penstock.worker.channel import Channel
from penstock.worker.interrupts import InterruptGuard
from penstock.worker.program import Program
from penstock_gunicorn.logger import EventLogger
from penstock_gunicorn.peer_settings import PeerSettings
from penstock_gunicorn.peer_watch import PeerWatch


class NoProcess:
    """A process without a number: a kill would hit this one."""

    pid = None

    def __getattr__(self, _name: str) -> Any:
        return self._ignore

    def _ignore(self, *_arguments: object) -> None: ...


class WorkerLoop:
    """A worker's loop that does not run: each read is a call of ``InProcessWorker.step``."""

    name = "trio"

    def flush_soon(self) -> None:
        """Fail: nothing that is counted here fills the socket."""
        raise AssertionError("the socket between engine and worker is full")

    def call_soon_threadsafe(self, _function: Callable[[], None]) -> None:
        """Fail: no endpoint that is counted runs in a thread."""
        raise AssertionError("no attempt runs in a thread here")


class InProcessWorker:
    """A worker without a process.

    Parameters
    ----------
    app:
        The app.
    pool:
        The name of its pool.
    link:
        The engine's end.
    """

    def __init__(self, app: App, pool: str, link: WorkerLink) -> None:
        self.pool = pool
        engine_fd, memory_fd, output_fd = link.descriptors
        self.socket = socket.socket(fileno=engine_fd)
        self.socket.setblocking(False)
        words = memoryview(mmap.mmap(memory_fd, SHARED_BYTES)).cast("Q")
        os.close(memory_fd)
        self._output = output_fd
        link.descriptors.clear()
        self.channel = Channel(self.socket)
        endpoints = {endpoint.name: LiveEndpoint(endpoint, endpoint.handler) for endpoint in app.pools[pool].endpoints}
        self._program = Program(WorkerLoop(), self.channel, InterruptGuard(words), endpoints)  # type: ignore[arg-type]
        self._reader = FrameReader()

    def has_work(self, seconds: float = 0) -> bool:
        """Return whether something has arrived, or arrives within ``seconds``."""
        return bool(select.select([self.socket], [], [], seconds)[0])

    def step(self) -> None:
        """Act on what has arrived, as the worker does: run the attempts and send their results."""
        data = self.channel.receive()
        if data:
            self._program.receive(data)

    def take(self) -> list[Message]:
        """Return what has arrived, without acting on it."""
        return self._reader.feed(self.channel.receive() or b"")

    def send(self, message: Message) -> None:
        """Send one message."""
        self.channel.post(message)
        self.channel.flush()


class InProcessWorkers:
    """In place of ``WorkerProcesses``: workers that are ready at once.

    Attributes
    ----------
    latest:
        The workers of the engine that was started last, by their pools.
    """

    app: App
    latest: dict[str, InProcessWorker]

    def __init__(self, reactor: Any, _target: str, events: Any, **_options: object) -> None:
        self._reactor = reactor
        self._events = events
        self._buffer = ReceiveBuffer()
        self.links: dict[int, WorkerLink] = {}

    @classmethod
    def install(cls, app: App) -> None:
        """Let the engines that are created from now on have no processes."""
        if not hasattr(performer, "WorkerProcesses"):
            raise SystemExit("penstock.engine.performer has no WorkerProcesses any more: adapt bench/in_process.py")
        performer.WorkerProcesses = cls  # type: ignore[assignment,misc]
        cls.app = app

    def start(self) -> None:
        """Start nothing: there is no zygote."""
        type(self).latest = {}

    def spawn(self, worker: int, pool: str, _place: int, _device: str | None, **_more: object) -> None:
        """Create a worker and have it report that it is ready."""
        events = self._events
        link = WorkerLink(
            self._reactor, self._buffer, worker, pool, events.on_messages, events.on_broken, on_end=_do_nothing
        )
        link.process = NoProcess()  # type: ignore[assignment]
        self.links[worker] = link
        started = self.latest[pool] = InProcessWorker(self.app, pool, link)
        started.send(Ready(0.0, os.getpid()))

    def kill(self, worker: int) -> None:
        """Do nothing: there is no process."""

    def close(self) -> None:
        """Do nothing: all ends with this process."""


class RecordingTransport(asyncio.Transport):
    """A client's connection that keeps what it is sent."""

    def __init__(self) -> None:
        self._client, self._server = socket.socketpair()
        self._client.setblocking(False)
        self._server.setblocking(False)
        super().__init__({"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 8000), "socket": self._server})
        self.sent = bytearray()

    def read(self) -> None:
        """Add to ``sent`` what was written to the socket itself, past this transport."""
        with contextlib.suppress(BlockingIOError):
            self.sent += self._client.recv(1 << 20)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep the bytes."""
        self.sent += data

    def writelines(self, list_of_data: Any) -> None:
        """Keep the bytes."""
        self.sent += b"".join(list_of_data)

    def get_write_buffer_size(self) -> int:
        """Return 0: this client reads at once."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing, as nothing is ever left to write."""

    def is_closing(self) -> bool:
        """Return False: no request that is counted here ends its connection."""
        return False

    def pause_reading(self) -> None:
        """Do nothing: this client sends no more than a request."""

    def resume_reading(self) -> None:
        """Do nothing: reading never pauses."""


def gunicorn_worker(application: Any) -> Any:
    """Return the parts of a gunicorn worker that a connection uses, as ``penstock serve`` sets them."""
    loop = asyncio.get_running_loop()
    cfg = Config()
    cfg.set("keepalive", 75)
    facts = {
        "alive": True,
        "is_leaving": False,
        "nr": 0,
        "nr_conns": 0,
        "max_requests": sys.maxsize,
        "state": {},
        "connections": set(),
    }
    worker = SimpleNamespace(cfg=cfg, log=EventLogger(cfg), loop=loop, asgi=application, app=None, **facts)
    worker.peers = PeerWatch(loop, worker.connections, PeerSettings())
    return worker


def _do_nothing(_link: WorkerLink) -> None: ...
