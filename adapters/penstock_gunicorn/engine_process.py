"""The process of an engine that several HTTP processes use: it serves them over a socket until the master stops it."""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from gunicorn import util

from penstock.errors import PluginError
from penstock.hooks import ShutdownRequest, log_event
from penstock.hosting import EngineServer, EngineSocket, EngineState, SharedEngine
from penstock_gunicorn.bulletin import Bulletin
from penstock_gunicorn.descriptors import raise_descriptor_limit
from penstock_gunicorn.garbage import calm_garbage_collector
from penstock_gunicorn.listeners import Listeners
from penstock_gunicorn.load_errors import describe_failure
from penstock_gunicorn.process_endings import (
    EXIT_NOT_LOADED,
    EXIT_NOT_STARTED,
    LADDER_LIMIT,
    ORPHAN_DRAIN,
    do_nothing,
    leave,
)
from penstock_gunicorn.reload_log import ask_for_reload
from penstock_gunicorn.report_stream import FAILED, ReportStream

BEAT = 1.0
DRAIN_SIGNAL = signal.SIGUSR2
_FOR_THE_MASTER = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH,
)  # fmt: skip


class EngineApplication(Protocol):
    """The application that the process belongs to."""

    drain_timeout: float
    listeners: Listeners
    interrupted: mmap.mmap
    reports: ReportStream
    bulletin: Bulletin

    def load_as(self, role: str) -> Any:
        """Load the app for this kind of process, and return its ASGI application."""

    def configure_logging(self) -> None:
        """Configure the logging, which loading the app may have changed."""

    def on_engine_started(self) -> None:
        """Tell the operator what is served."""


def run_engine(owner: EngineApplication, engine_socket: EngineSocket, proven: mmap.mmap) -> NoReturn:
    """Run the engine in this process, a fresh fork of the master, and end the process.

    Parameters
    ----------
    owner:
        The application.
    engine_socket:
        The socket on which the HTTP processes connect.
    proven:
        One byte, which is set once every pool has been ready: from then on a failure is worth another start.
    """
    util._setproctitle("engine")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # A terminal or a service manager may signal all processes at once. Only the master acts on that: the HTTP processes
    # need the engine until they have ended. Not SIG_IGN, which the zygote would inherit.
    for number in _FOR_THE_MASTER:
        signal.signal(number, do_nothing)
    for number in (DRAIN_SIGNAL, signal.SIGQUIT):
        signal.signal(number, lambda *_: os._exit(0))  # until the loop runs, there is nothing to drain
    # The kernel would go on accepting connections for this process, which answers none.
    owner.listeners.close()
    raise_descriptor_limit()
    try:
        application = owner.load_as("engine")
    except BaseException as error:  # sys.exit() in an app's module is a failure like any other
        message, trace = describe_failure(error)
        log_event(logging.CRITICAL, "app-failed", message, traceback=trace)
        owner.reports.send(FAILED, message)
        leave(EXIT_NOT_LOADED)
    owner.configure_logging()
    code = _new_loop_runner().run(EngineHost(owner, application.penstock, engine_socket, proven).serve())
    sys.stdout.flush()
    leave(code)


def _new_loop_runner() -> asyncio.Runner:
    try:
        import uvloop  # noqa: PLC0415 - it is optional
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


class EngineHost:
    """The engine's life in its own process.

    Parameters
    ----------
    owner, engine_socket, proven:
        As for ``run_engine``.
    service:
        The service behind the loaded application.
    """

    def __init__(self, owner: EngineApplication, service: Any, engine_socket: EngineSocket, proven: mmap.mmap) -> None:
        self._owner = owner
        self._service = service
        self._socket = engine_socket
        self._proven = proven
        self._master = os.getppid()
        self._woken = asyncio.Event()
        self._exit_code = 0
        self._drain_timeout: float | None = None  # None: stop at once
        self._who = self._why = ""
        self._server: EngineServer | None = None

    async def serve(self) -> int:
        """Serve until stopped; return the exit code."""
        service = self._service
        service.on_pools_failed = self._pools_failed
        service.on_reload = ask_for_reload
        service.on_shutdown = self._shut_down
        service.host_status = self._status
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(DRAIN_SIGNAL, self._terminate)
        loop.add_signal_handler(signal.SIGQUIT, self._end, None, "SIGQUIT")
        beat = loop.create_task(self._watch_master())
        try:
            engine = service.start()
        except PluginError as error:  # a plug-in's service cannot be started, and would not be the next time either
            return self._not_started(str(error))
        self._owner.on_engine_started()
        self._server = EngineServer(SharedEngine.of(engine), self._socket.listener)
        self._note_readiness(engine)
        calm_garbage_collector()
        try:
            await self._woken.wait()
            await self._stop(engine)
        finally:
            beat.cancel()
            engine.close()
            self._server.close()
        return self._exit_code

    def _not_started(self, reason: str) -> int:
        log_event(logging.CRITICAL, "engine-not-started", reason)
        self._owner.reports.send(FAILED, reason)
        return EXIT_NOT_STARTED

    def _note_readiness(self, engine: Any) -> None:
        before: Callable[[], None] | None = engine.on_readiness

        def on_readiness() -> None:
            if before is not None:
                before()
            if self._service.is_complete:
                self._proven[0] = 1
                self._announce(is_complete=True)

        engine.on_readiness = on_readiness

    def _announce(self, *, is_draining: bool = False, is_complete: bool = False) -> None:
        if self._server is not None:
            self._server.announce(EngineState(is_draining, is_complete))

    def _status(self) -> dict[str, Any]:
        hosts = {} if self._server is None else self._server.status()
        return {**hosts, **self._owner.bulletin.status()}

    async def _watch_master(self) -> None:
        while os.getppid() == self._master:  # noqa: ASYNC110 - the loop has no event for a parent's death
            await asyncio.sleep(BEAT)
        log_event(logging.ERROR, "orphaned", "the master process is gone; the engine stops")
        self._end(min(ORPHAN_DRAIN, self._owner.drain_timeout), "the server", "its master is gone")

    def _terminate(self) -> None:
        self._end(self._owner.drain_timeout, "SIGINT" if self._owner.interrupted[0] else "SIGTERM")

    def _end(self, drain_timeout: float | None, who: str, why: str = "") -> None:
        self._drain_timeout, self._who, self._why = drain_timeout, who, why
        self._woken.set()

    def _pools_failed(self, reason: str) -> None:
        summary = reason.strip().rpartition("\n")[2]
        log_event(logging.CRITICAL, "pools-failed", f"a pool failed to start; the engine stops: {summary}")
        self._owner.reports.send(FAILED, f"a pool failed to start: {summary}")
        self._exit_code = EXIT_NOT_STARTED
        self._end(None, "the server")

    def _shut_down(self, _request: ShutdownRequest) -> None:
        """Stop the whole server: a plug-in has asked the engine to shut down, and it drains already."""
        self._announce(is_draining=True)
        os.kill(self._master, signal.SIGTERM)

    async def _stop(self, engine: Any) -> None:
        if self._drain_timeout is None:
            return
        drained = asyncio.Event()
        engine.drain(self._drain_timeout, drained.set, who=self._who, why=self._why)
        self._announce(is_draining=True)
        try:
            await asyncio.wait_for(drained.wait(), self._drain_timeout + LADDER_LIMIT)
        except TimeoutError:
            log_event(logging.ERROR, "drain-overrun", "the engine did not end its drain in time; it stops at once")
