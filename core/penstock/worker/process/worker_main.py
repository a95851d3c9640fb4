"""A worker process, from start to exit."""

from __future__ import annotations

import gc
import mmap
import os
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter
from types import ModuleType
from typing import Literal, NoReturn, Protocol

from penstock.app import App, Pool
from penstock.wire import SHARED_BYTES, Ready, SetupFailed, Spawn, log_mark
from penstock.worker import forks
from penstock.worker.attempts import LiveEndpoint
from penstock.worker.channel import Channel
from penstock.worker.interrupts import InterruptGuard
from penstock.worker.log_records import import_of_app, send_records
from penstock.worker.models import Models, SetupError
from penstock.worker.process.plugin_setups import call_ends, call_setups
from penstock.worker.process.process_setup import become_worker
from penstock.worker.program import Program, WorkerRuntime

_OWN_PATH = sys.path[:]  # the module path of this process before the app's is added

_CANNOT_FORK = (
    "preload=True forks the workers of a pool after one setup, but this worker could not be forked: that takes Linux, "
    "and an import of the app that leaves no threads and no CUDA (the log event fork-hazards names what it has left); "
    "load models and start threads in setup(), or remove preload=True\n"
)


@dataclass(frozen=True)
class WorkerDescriptors:
    """The three descriptors that a worker receives from the engine, and owns.

    Attributes
    ----------
    engine:
        The socket to the engine.
    memory:
        The memory shared with the engine.
    output:
        The write end of the pipe for stdout and stderr.
    """

    engine: int
    memory: int
    output: int


@dataclass(frozen=True)
class Preload:
    """The models of a worker whose pool preloads.

    Attributes
    ----------
    models:
        The models that were set up before the worker was forked. None if it is the one that sets them up.
    share:
        Called with them then, before the worker's loop begins: it forks the process that keeps them. May raise
        ``SetupError``.
    """

    models: Models | None = None
    share: Callable[[Models], None] | None = None


def run_worker(
    load_app: Callable[[], App],
    spawn: Spawn,
    descriptors: WorkerDescriptors,
    *,
    parent: int,
    preload: Preload = Preload(),
) -> NoReturn:
    """Turn this process into a worker, run it, and exit.

    Parameters
    ----------
    load_app:
        Returns the app. Called after the output is redirected, because a worker that was not forked imports the app.
    spawn:
        The engine's order: the pool, the name and the device.
    descriptors:
        The worker's ends of what it shares with the engine.
    parent:
        The pid of the zygote.
    preload:
        The models, if the order says that the pool preloads.
    """
    status = os.EX_SOFTWARE
    try:
        become_worker(descriptors.output, f"penstock {spawn.name}", parent)
        status = _WorkerMain(spawn, descriptors, preload).run(load_app)
    except BaseException:
        traceback.print_exc()
    flush_output()
    os._exit(status)


class ServingRuntime(WorkerRuntime, Protocol):
    """A loop, as the code that starts it sees it."""

    async def serve(self, program: Program) -> None:
        """Pass everything that arrives to the program, until stopped."""


class _WorkerMain:
    def __init__(self, spawn: Spawn, descriptors: WorkerDescriptors, preload: Preload) -> None:
        self._spawn = spawn
        self._preload = preload
        engine = socket.socket(fileno=descriptors.engine)
        engine.setblocking(False)
        self._channel = Channel(engine)
        self._channel.accept_greeting()
        memory = mmap.mmap(descriptors.memory, SHARED_BYTES)
        os.close(descriptors.memory)
        words = memoryview(memory).cast("Q")
        self._guard = InterruptGuard(words)
        self._guard.install()
        mark = log_mark(words)
        if mark:
            send_records(mark)
        forks.watch(engine, self._guard)

    def run(self, load_app: Callable[[], App]) -> int:
        """Load the app and serve its pool; return the exit status."""
        try:
            with import_of_app():
                app = load_app()
            pool = app.pools[self._spawn.pool]
        except BaseException as error:
            return self._report_setup_failure(SetupError.of("", error))
        began = perf_counter()
        models = None
        if self._spawn.preload:
            try:
                models = self._preloaded(pool)
            except SetupError as error:
                return self._report_setup_failure(error)
        run: Callable[..., int] = preload_runtime(pool.runtime).run
        return run(lambda runtime: self._serve(app, pool, models, began, runtime), self._channel)

    def _preloaded(self, pool: Pool) -> Models:
        """Return the models that were set up before this worker was forked; or set them up, and share them."""
        models = self._preload.models
        if models is None:
            if self._preload.share is None:
                raise SetupError("", _CANNOT_FORK)
            models = Models()
            models.build_before_fork(pool, self._spawn.device)
            self._preload.share(models)
        return models

    async def _serve(self, app: App, pool: Pool, models: Models | None, began: float, runtime: ServingRuntime) -> int:
        if models is None:
            began = perf_counter()
            models = Models()
            try:
                await models.build(pool, self._spawn.device)
            except SetupError as error:
                return self._report_setup_failure(error)
        ends = call_setups(self._spawn.setups, app)
        # Everything loaded so far stays for good, so the garbage collector need not scan it again and again.
        gc.freeze()
        self._channel.post(Ready(perf_counter() - began, os.getpid()))
        self._channel.flush()
        endpoints = {
            e.name: LiveEndpoint(e, models.predictors[e.name], models.loops.get(e.name)) for e in pool.endpoints
        }
        await runtime.serve(Program(runtime, self._channel, self._guard, endpoints, models.problem))
        self._channel.flush_all()
        await models.teardown()
        call_ends(ends)
        return os.EX_OK

    def _report_setup_failure(self, error: SetupError) -> int:
        self._channel.post(SetupFailed(error.endpoint, error.traceback, error.declared))
        self._channel.flush_all()
        return 1


def preload_runtime(name: Literal["trio", "asyncio"]) -> ModuleType:
    """Import and return the module of one loop, and not of the other: an asyncio pool never imports trio.

    The import does not see the user's folders: a file there may have the name of a package that the loop needs.
    """
    users_path = sys.path[:]
    sys.path[:] = _OWN_PATH
    try:
        return import_module(f"penstock.worker.runtimes.{name}_runtime")
    finally:
        sys.path[:] = users_path


def flush_output() -> None:
    """Write what is buffered of stdout and stderr."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the engine is gone, or user code closed it
            continue
