"""The gunicorn worker: starts the app, sends heartbeats, and stops in an orderly way.

Each cause of a stop has its ``Ending``:

====================  =======================  ============================  =========
cause                 drain                    new connections               exit code
====================  =======================  ============================  =========
SIGTERM               for the drain timeout    answered 503, then refused    0
RETIRE (SIGUSR2)      for the drain timeout    left to a successor           0
death of its master   at most ORPHAN_DRAIN     refused                       0
pools that failed     none                     refused                       3
SIGQUIT               none, or cut short       refused                       0
====================  =======================  ============================  =========

No request is lost to a drain: what the kernel has accepted is answered. Requests from before the signal are admitted;
later ones are answered with 503, or, if there is a successor, served as ever, with ``Connection: close``. The
engine is closed last.

A terminal sends SIGINT to every process of its group. Only the master acts on it, so that one Ctrl-C counts once.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Literal

from gunicorn.asgi.lifespan import LifespanManager
from gunicorn.workers.gasgi import ASGIWorker

from penstock.hooks import ShutdownRequest, log_event
from penstock.hosting import Engine, flush_log, flush_plugins
from penstock_gunicorn.companion_keeper import CompanionKeeper, ServedProtocol
from penstock_gunicorn.descriptors import most_connections, raise_descriptor_limit
from penstock_gunicorn.direct_protocol import DirectProtocol
from penstock_gunicorn.garbage import calm_garbage_collector
from penstock_gunicorn.idle_watch import IdleWatch
from penstock_gunicorn.listener_group import ListenerGroup
from penstock_gunicorn.load_errors import describe_failure
from penstock_gunicorn.peer_watch import PeerWatch
from penstock_gunicorn.process_endings import (
    EXIT_NOT_LOADED,
    EXIT_NOT_STARTED,
    LADDER_LIMIT,
    LAST_LINES,
    ORPHAN_DRAIN,
    do_nothing,
    leave,
)
from penstock_gunicorn.reload_log import ask_for_reload
from penstock_gunicorn.report_stream import FAILED, READY
from penstock_gunicorn.tls import tls_options

# Sent by the arbiter to a gunicorn worker that has a successor on the same listening socket.
RETIRE = signal.SIGUSR2
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, RETIRE)

EXIT_DISAGREES = 1
HEARTBEAT = 1.0
# Importing an app may take long, and there is no heartbeat meanwhile: it comes from the event loop.
LOAD_LIMIT = 600.0
# Time in which what has arrived before the signal is admitted.
INTAKE_LIMIT = 0.1
# With a successor: time in which clients that were promised another answer may ask for it.
HANDOVER_LIMIT = 5.0
# After the drain: time for responses that are decided but not yet written. Only a client that reads slowly gets more,
# namely the rest of the drain's time, as long as it reads at all.
SETTLE_LIMIT = 1.0
LIFESPAN_LIMIT = 1.0
# Time for the error responses that callers still get in an immediate stop.
LAST_ANSWERS = 0.05
# A thread of the user's that never ends would block the interpreter's exit forever.
EXIT_LIMIT = 1.0
POLL_INTERVAL = 0.01
# The same, for conditions that look at every connection.
SWEEP_INTERVAL = 0.05
BODY_WAIT_MARGIN = 5


# The listening socket at an ending is served during the drain, left to a successor, or closed.
KEEP: Final = "keep"
LEAVE: Final = "leave"
CLOSE: Final = "close"


@dataclass(frozen=True)
class Ending:
    """The way in which a gunicorn worker ends.

    Parameters
    ----------
    drain_timeout:
        Seconds for admitted work.
    listener:
        KEEP, LEAVE or CLOSE.
    exit_code:
        The exit code of this process.
    who, why:
        The cause, for the audit log.
    """

    drain_timeout: float
    listener: Literal["keep", "leave", "close"] = CLOSE
    exit_code: int = 0
    who: str = "the server"
    why: str = ""


@dataclass(frozen=True)
class Assignment:
    """The part of a gunicorn worker among the others.

    Parameters
    ----------
    generation:
        The number of its generation.
    waits:
        True if another process serves the same socket: this one does not listen before its pools are ready.
    """

    generation: int = 1
    waits: bool = False


class PenstockWorker(ASGIWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's ASGI worker, which drains the engine before it ends. Its ``app`` is a ``PenstockApplication``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connections: set[DirectProtocol] = set()
        self.is_leaving = False
        """True once each response is the last one of its connection."""
        self.peers: PeerWatch
        self._beside = CompanionKeeper()
        self._listeners = ListenerGroup(self.sockets, self.servers)
        self._idle_watch = IdleWatch(self.connections)
        self._woken = asyncio.Event()
        self._ending: Ending | None = None
        self._hurried = False

    # ---- signals

    def init_signals(self) -> None:
        """Until the event loop runs, stop immediately on a signal: during the import there is nothing to drain."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGQUIT, RETIRE):
            signal.signal(number, lambda *_: leave(0))
        # Not SIG_IGN: processes that the app or the engine starts would inherit it across exec.
        signal.signal(signal.SIGINT, do_nothing)
        # The arbiter blocked these before the fork, so none has been lost since.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _init_loop_signals(self) -> None:
        drain_timeout = self.app.drain_timeout
        add = self.loop.add_signal_handler
        add(signal.SIGTERM, self._terminate, drain_timeout)
        add(RETIRE, self._end, Ending(drain_timeout, LEAVE, why="another process serves its socket"))
        add(signal.SIGQUIT, self._hurry)
        add(signal.SIGINT, do_nothing)
        add(signal.SIGUSR1, self.handle_usr1_signal)
        add(signal.SIGWINCH, do_nothing)
        add(signal.SIGABRT, self.handle_abort_signal)

    def _terminate(self, drain_timeout: float) -> None:
        who = "SIGINT" if self.app.interrupted[0] else "SIGTERM"
        self._end(Ending(drain_timeout, KEEP, who=who))

    def _end(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending
            self._woken.set()

    def _hurry(self) -> None:
        self._hurried = True
        self._end(Ending(0.0, who="SIGQUIT"))

    def _shut_down(self, _request: ShutdownRequest) -> None:
        """Stop the whole server: a plug-in or the program has asked the engine to shut down, and it drains already."""
        os.kill(self.ppid, signal.SIGTERM)

    def _pools_failed(self, reason: str) -> None:
        # The engine has logged the traceback, if there is one.
        summary = reason.strip().rpartition("\n")[2]
        outcome = "this process ends" if self.app.assignment.waits else "the server stops"
        log_event(logging.CRITICAL, "pools-failed", f"a pool failed to start; {outcome}: {summary}")
        self.app.reports.send(FAILED, f"a pool failed to start: {summary}")
        self._end(Ending(0.0, exit_code=EXIT_NOT_STARTED, why="a pool failed to start"))

    def _disagrees(self, reason: str) -> None:
        """End: the app has changed since the engine has loaded it. The master starts this process again."""
        log_event(logging.ERROR, "app-changed", reason)
        self._end(Ending(0.0, exit_code=EXIT_DISAGREES, why=reason))

    # ---- loading

    def load_wsgi(self) -> None:
        """Load the app; if that fails, log the reason and stop the whole server."""
        beats_until = time.monotonic() + LOAD_LIMIT
        os.utime(self.tmp.fileno(), (beats_until, beats_until))
        try:
            self._tls = tls_options(self.cfg, self.app.peers.header_timeout)
            self.asgi = self.app.wsgi()
            self._beside.load(self.app.new_companion, self.asgi, self.cfg, self._tls)
        except BaseException as error:  # sys.exit() in an app's module is a failure like any other
            message, trace = describe_failure(error)
            log_event(logging.CRITICAL, getattr(error, "event", "app-failed"), message, traceback=trace)
            self.app.reports.send(FAILED, message)
            sys.exit(EXIT_NOT_LOADED)
        self.notify()
        self.app.configure_logging()  # again: the app's own logging configuration may have disabled ours
        self.log.setup(self.cfg)
        self.asgi.penstock.on_pools_failed = self._pools_failed
        self.asgi.penstock.on_reload = ask_for_reload
        self.asgi.penstock.on_shutdown = self._shut_down
        self.asgi.penstock.host_status = self._status
        self.asgi.penstock.on_disagreement = self._disagrees

    # ---- running

    def run(self) -> None:
        """Serve until stopped, then exit with a code that the arbiter acts on."""
        self._init_loop_signals()
        exit_code: int = 1
        try:
            exit_code = self.loop.run_until_complete(self._serve())
        except Exception:
            self.log.exception("The gunicorn worker failed")
        finally:
            self._quick_shutdown = True  # bounds what _cleanup() waits for
            self._cleanup()
        flush_plugins()
        flush_log(LAST_LINES)
        watchdog = threading.Timer(EXIT_LIMIT, os._exit, (exit_code,))
        watchdog.daemon = True
        watchdog.start()
        sys.exit(exit_code)

    async def _serve(self) -> int:
        beat = self.loop.create_task(self._beat())
        # gunicorn ends the wait for a body by this limit, which is otherwise that of the heartbeat. The watch is first.
        self.cfg.set("timeout", math.ceil(self.app.peers.body_timeout) + BODY_WAIT_MARGIN)
        self.peers = PeerWatch(self.loop, self.connections, self.app.peers)
        self.peers.max_connections = most_connections(raise_descriptor_limit(), self.asgi.penstock.worker_count)
        self.peers.start()
        try:
            if not await self._start_app():
                return EXIT_NOT_STARTED
            if not self.app.assignment.waits:
                await self._listen()
            getting_ready = self.loop.create_task(self._get_ready())
            await self._woken.wait()
            getting_ready.cancel()
            assert self._ending is not None, "_woken is set only together with _ending"
            await self._stop(self._ending)
            return self._ending.exit_code
        finally:
            beat.cancel()
            self.peers.stop()
            await self._beside.stop()
            self._close()

    async def _beat(self) -> None:
        """Send heartbeats to the arbiter, also during a long drain, and stop if the arbiter is gone."""
        while True:
            self.notify()
            if os.getppid() != self.ppid and self._ending is None:
                log_event(logging.ERROR, "orphaned", "the master process is gone; stopping")
                self._end(Ending(min(ORPHAN_DRAIN, self.app.drain_timeout), why="its master is gone"))
            await asyncio.sleep(HEARTBEAT)

    async def _start_app(self) -> bool:
        self.lifespan = LifespanManager(self.asgi, self.log, self.state)
        try:
            await self.lifespan.startup()
        except Exception as error:
            log_event(logging.CRITICAL, "app-failed", "the app did not start", traceback=str(error))
            self.app.reports.send(FAILED, f"the app did not start: {error}")
            self.lifespan = None
            return False
        if self.app.engine_path:
            await _first(self.asgi.penstock.connected(), self._woken.wait())
        calm_garbage_collector()
        return True

    async def _get_ready(self) -> None:
        """Report to the master that the pools are ready, and listen if that has waited for them."""
        while not self.asgi.penstock.is_complete:  # noqa: ASYNC110 - no event
            await asyncio.sleep(POLL_INTERVAL)
        if not self.servers:
            await self._listen()
        self.app.reports.send(READY)

    async def _listen(self) -> None:
        self.app.serving.join()
        own = ServedProtocol(functools.partial(DirectProtocol, self), self._tls, ("http", "https"))
        self.app.on_listening(await self._beside.listen(self.sockets, self.servers, own, self.cfg.backlog))

    # ---- stopping

    async def _stop(self, ending: Ending) -> None:
        self.is_leaving = True
        self.peers.hurry()
        self._beside.ask_to_leave(has_successor=ending.listener == LEAVE)
        deadline = self.loop.time() + ending.drain_timeout
        await self._stop_intake(ending, deadline)
        await self._drain_engine(ending, max(deadline - self.loop.time(), 0.0))
        if ending.listener == KEEP:
            await self._until(self.app.serving.leave, deadline)
            await self._listeners.end_for_all(self.app.serving, self.app.listeners.withdraw)
        await self._until(self._idle_watch.is_over, self.loop.time() + SETTLE_LIMIT, SWEEP_INTERVAL)
        if self._idle_watch.refuse_rest():
            await self._until(self._idle_watch.is_over, self.loop.time() + LAST_ANSWERS)
        await self._until(lambda: not any(connection.has_unsent for connection in self.connections), deadline)
        if self._hurried:
            self._close_engine()  # answers the jobs that are left
            await asyncio.sleep(LAST_ANSWERS)
        await self._until(self._beside.is_idle, self.loop.time() + SETTLE_LIMIT)
        await self._beside.stop()
        if not self._hurried:
            await self._stop_app()

    async def _stop_intake(self, ending: Ending, deadline: float) -> None:
        """Take in what has arrived, before the engine refuses new work."""
        now = self.loop.time()
        if ending.listener == LEAVE:
            self._listeners.close()
            handed_over = self._beside.left_once(self._idle_watch.is_handed_over)
            await self._until(handed_over, min(deadline, now + HANDOVER_LIMIT), SWEEP_INTERVAL)
        elif ending.listener == KEEP:
            await self._until(self._intake_is_empty, now + INTAKE_LIMIT)
        else:
            await self._listeners.end()

    async def _drain_engine(self, ending: Ending, seconds: float) -> None:
        engine = self._engine()
        if engine is None or self._hurried:
            return
        drained = asyncio.Event()
        engine.drain(seconds, drained.set, who=ending.who, why=ending.why)
        await self._until(drained.is_set, self.loop.time() + seconds + LADDER_LIMIT)

    async def _until(self, condition: Callable[[], bool], deadline: float, interval: float = POLL_INTERVAL) -> None:
        """Wait until the condition holds, the deadline has passed, or an immediate stop is asked for."""
        while not (condition() or self._hurried) and self.loop.time() < deadline:  # noqa: ASYNC110 - no event
            await asyncio.sleep(interval)

    def _intake_is_empty(self) -> bool:
        return not self._listeners.has_backlog() and not any(peer.is_arriving for peer in self.connections)

    async def _stop_app(self) -> None:
        if self.lifespan is None:
            return
        try:
            await asyncio.wait_for(self.lifespan.shutdown(), LIFESPAN_LIMIT)
        except Exception:
            self.log.exception("The app did not stop")

    def _status(self) -> dict[str, Any]:
        return {"connections": self.peers.status(), **self._beside.status(), **self.app.bulletin.status()}

    def _engine(self) -> Engine | None:
        engine: Engine | None = self.asgi.penstock.engine
        return engine

    def _close_engine(self) -> None:
        engine = self._engine()
        if engine is not None and not engine.closed:
            engine.close()

    def _close(self) -> None:
        self._close_engine()
        for connection in list(self.connections):
            connection.abort()


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait until one of them is over, and cancel the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
