"""A worker from its birth to its exit."""

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
from penstock.wire import Ready, SetupFailed, Spawn
from penstock.worker import forks
from penstock.worker.attempts import LiveEndpoint
from penstock.worker.channel import Outbox
from penstock.worker.interrupts import InterruptGuard
from penstock.worker.models import Models, SetupError
from penstock.worker.process import process_setup as birth
from penstock.worker.program import Program, Runtime

PAGE_BYTES = 4096


@dataclass(frozen=True)
class Inheritance:
    """What a worker gets from the engine, besides its orders: three descriptors, which it owns from here on.

    Attributes
    ----------
    engine:
        The socket to the engine.
    page:
        The memory that is shared with it.
    output:
        The pipe that takes stdout and stderr.
    """

    engine: int
    page: int
    output: int


def live(load_app: Callable[[], App], orders: Spawn, inheritance: Inheritance, *, parent: int) -> NoReturn:
    """Be the worker, and never return.

    Parameters
    ----------
    load_app:
        Returns the app. Called with the output in place, for a worker that imports it itself.
    orders:
        Which pool's worker, and on which device.
    inheritance:
        The descriptors.
    parent:
        The pid of the zygote.
    """
    status = os.EX_SOFTWARE
    try:
        birth.become_worker(inheritance.output, f"penstock {orders.name}", parent)
        status = _Life(orders, inheritance).run(load_app)
    except BaseException:
        traceback.print_exc()
    _flush_output()
    os._exit(status)


class ServingRuntime(Runtime, Protocol):
    """A loop as its owner sees it."""

    async def serve(self, program: Program) -> None:
        """Read and obey until stopped."""


class _Life:
    def __init__(self, orders: Spawn, inheritance: Inheritance) -> None:
        self._orders = orders
        self._engine = socket.socket(fileno=inheritance.engine)
        self._engine.setblocking(False)
        self._outbox = Outbox(self._engine)
        page = mmap.mmap(inheritance.page, PAGE_BYTES)
        os.close(inheritance.page)
        self._guard = InterruptGuard(memoryview(page).cast("Q"))
        self._guard.install()
        forks.watch(self._engine, self._guard)

    def run(self, load_app: Callable[[], App]) -> int:
        """Live; return the exit status."""
        try:
            pool = load_app().pools[self._orders.pool]
        except BaseException as error:
            return self._give_up(SetupError.of("", error))
        run: Callable[..., int] = preload_runtime(pool.runtime).run
        return run(lambda runtime: self._serve(pool, runtime), self._engine, self._outbox)

    async def _serve(self, pool: Pool, runtime: ServingRuntime) -> int:
        began = perf_counter()
        models = Models()
        try:
            await models.build(pool, self._orders.device)
        except SetupError as error:
            return self._give_up(error)
        # What is loaded now stays: the collector need not look at it again and again.
        gc.freeze()
        self._outbox.post(Ready(perf_counter() - began, os.getpid()))
        self._outbox.flush()
        endpoints = {e.index: LiveEndpoint(e, models.predictors[e.index]) for e in pool.endpoints}
        await runtime.serve(Program(runtime, self._outbox, self._guard, endpoints))
        self._outbox.flush_all()
        await models.teardown()
        return os.EX_OK

    def _give_up(self, error: SetupError) -> int:
        self._outbox.post(SetupFailed(error.endpoint, error.traceback))
        self._outbox.flush_all()
        return 1


def preload_runtime(name: Literal["trio", "asyncio"]) -> ModuleType:
    """Import the module of a loop, and of no other: an asyncio pool never imports trio."""
    return import_module(f"penstock.worker.runtimes.{name}_runtime")


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the engine is gone, or user code closed it
            continue
