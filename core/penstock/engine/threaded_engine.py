"""An engine on a thread of its own, for programs with threads and no event loop: scripts, WSGI servers."""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Self, TypeVar

from penstock.app import App, Endpoint, loader
from penstock.app.shipping import Ship, ShippedApp
from penstock.body_files import Body
from penstock.engine.async_engine import create_engine, raise_error_of, require_stream, result_of, submit_input
from penstock.engine.calls import Call
from penstock.engine.engine import Engine
from penstock.engine.reactors.asyncio_reactor import AsyncioReactor
from penstock.engine.threaded_jobs import ThreadedJobs
from penstock.errors import EngineError, PenstockError
from penstock.hooks.registry import Registry
from penstock.hooks.services import OnReport
from penstock.hooks.submission import Submission
from penstock.policies import DEFAULT_DRAIN_TIMEOUT
from penstock.response import Encoded

T = TypeVar("T")


class ThreadedCall:
    """A call that any one thread may wait for.

    Its ``fileno`` can be polled: it is readable when there is an outcome or a chunk that has not been taken.
    """

    def __init__(self, threaded: ThreadedEngine, call: Call) -> None:
        self._threaded = threaded
        self._call = call
        self._readable, self._writable = _signal_pair()
        # This runs on the engine's thread; progress from before this line must be noticed too.
        call.on_progress = self._wake
        if call.outcome is not None:
            self._wake()

    def __repr__(self) -> str:
        return f"<ThreadedCall {self._call!r}>"

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that is called."""
        return self._call.endpoint

    @property
    def outcome(self) -> Encoded | PenstockError | None:
        """See ``Call.outcome``."""
        outcome: Encoded | PenstockError | None = self._call.outcome
        return outcome

    @property
    def head(self) -> Encoded | None:
        """See ``Call.head``."""
        head: Encoded | None = self._call.head
        return head

    @property
    def queue_seconds(self) -> float | None:
        """See ``Call.queue_seconds``."""
        return self._call.queue_seconds

    @property
    def execution_seconds(self) -> float | None:
        """See ``Call.execution_seconds``."""
        return self._call.execution_seconds

    @property
    def attempts(self) -> int:
        """See ``Call.attempts``."""
        return self._call.attempts

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._readable

    def notify(self) -> None:
        """Have the caller look again, on the engine's thread, as if there were an outcome or a chunk."""
        self._wake()

    def _wake(self) -> None:
        if self._writable >= 0:
            os.write(self._writable, (1).to_bytes(8, sys.byteorder))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for an outcome or a chunk; return False if neither comes within ``timeout`` seconds."""
        if self._call.outcome is not None:
            return True
        return is_readable(self._readable, timeout)

    def take(self) -> list[bytes]:
        """See ``Call.take``."""
        return self._threaded.run(self._take)

    def _take(self) -> list[bytes]:
        if self._readable >= 0 and self._call.outcome is None and is_readable(self._readable, 0.0):
            os.read(self._readable, 4096)
        return self._call.take()

    def cancel(self, reason: str = "the caller cancelled") -> None:
        """See ``Call.cancel``. Does not block."""
        self._threaded.run_soon(lambda: self._call.cancel(reason))

    def close(self) -> None:
        """Cancel the job if it is undecided, and close the descriptors. Call it exactly once, at the end."""
        self._threaded.run(self._close)

    def _close(self) -> None:
        self._call.on_progress = None
        self._call.cancel()
        for fd in {self._readable, self._writable}:
            os.close(fd)
        self._readable = self._writable = -1


def _fulfil(future: Future[T], function: Callable[[], T]) -> None:
    """Give the thread that waits for ``future`` the result of ``function``, or its exception."""
    try:
        future.set_result(function())
    except BaseException as error:  # every exception belongs to the waiting thread
        future.set_exception(error)
    finally:
        del future  # as in ThreadedEngine.run


def is_readable(fd: int, timeout: float | None) -> bool:
    """Wait until ``fd`` can be read, for at most ``timeout`` seconds (None: no limit); return whether it can."""
    poll = select.poll()  # not select(), which refuses descriptors from 1024 on, and a busy server has those
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


def _signal_pair() -> tuple[int, int]:
    """Return a descriptor to poll and one to write to, which may be the same."""
    if hasattr(os, "eventfd"):
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return fd, fd
    return os.pipe()


class ThreadedEngine:
    """An engine on a background thread. Its methods may be called from any thread.

    Parameters
    ----------
    app:
        The app to serve.
    drain_timeout:
        Seconds that ``close`` waits for admitted jobs.
    target, registry:
        As for ``create_engine``.
    ship:
        As for ``open_engine``.

    Attributes
    ----------
    jobs:
        The background jobs, if a plug-in runs them; otherwise its methods raise ``EngineError``.
    """

    def __init__(
        self,
        app: App,
        *,
        drain_timeout: float = DEFAULT_DRAIN_TIMEOUT,
        target: str | None = None,
        registry: Registry | None = None,
        ship: Ship = "import",
    ) -> None:
        loader.stop_if_loading(app)
        self.app = app
        self._drain_timeout = drain_timeout
        self._registry = registry if registry is not None else Registry.load(app)
        self._shipped = ShippedApp(app) if ship == "pickle" else None
        if self._shipped is not None:
            target = self._shipped.target
        self._target = target if target is not None else loader.target_of(app)
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self.jobs = ThreadedJobs(lambda: self.run(lambda: self.engine.services.jobs), self._loop)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run_loop, name="penstock-engine", daemon=True)
        self._thread.start()
        self.engine: Engine = self.run(self._create)

    def __repr__(self) -> str:
        return f"<ThreadedEngine {self.engine!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_details: object) -> None:
        if exception_type is None:
            self.close()
        else:
            self.stop()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _create(self) -> Engine:
        engine = create_engine(self.app, AsyncioReactor(self._loop), target=self._target, registry=self._registry)
        engine.on_readiness = self._notify_change
        engine.on_pools_failed = lambda _error: self._notify_change()
        engine.start()
        return engine

    def _notify_change(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # ---- running functions on the engine's thread

    def run(self, function: Callable[[], T]) -> T:
        """Run ``function`` on the engine's thread; return its result, or raise its exception."""
        future: Future[T] = Future()
        try:
            self.run_soon(partial(_fulfil, future, function))
            return future.result()
        finally:
            del future  # it holds the exception, whose traceback holds this frame

    def run_soon(self, function: Callable[[], object]) -> None:
        """Run ``function`` on the engine's thread without waiting for it.

        Raises
        ------
        EngineError
            If the engine has been closed, or was started by the process that this one was forked from.
        """
        if os.getpid() != self._pid:
            raise EngineError(
                f"the engine runs in process {self._pid}, from which this one was forked; start one in each process"
            )
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            raise EngineError("the engine is closed") from None

    # ---- calls

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until every pool is ready.

        Raises
        ------
        EngineError
            If a pool cannot be started, or ``timeout`` seconds have passed.
        """
        engine = self.engine
        with self._changed:
            is_decided = self._changed.wait_for(
                lambda: engine.failure is not None or not engine.unready_reasons(), timeout
            )
        if engine.failure is not None:
            raise EngineError(f"the engine could not be started:\n{engine.failure}")
        if not is_decided:
            raise EngineError(f"not ready after {timeout:g} s: {', '.join(engine.unready_reasons())}")

    def check_room(self, endpoint: Endpoint) -> None:
        """See ``Engine.check_room``. Another thread may be faster, so ``submit`` may still refuse."""
        self.engine.check_room(endpoint)

    def begin_upload(self, endpoint: Endpoint, size_bytes: int) -> Callable[[], None]:
        """See ``Engine.begin_upload``. The returned function may be called from any thread, and does not block."""
        self.engine.check_room(endpoint, size_bytes)  # raises the right error if the engine has been closed
        end = self.run(lambda: self.engine.begin_upload(endpoint, size_bytes))

        def end_soon() -> None:
            with suppress(EngineError):  # a closed engine counts nothing
                self.run_soon(end)

        return end_soon

    def submit(
        self,
        submission: Submission,
        body: Body,
        *,
        headers: dict[str, str] | None = None,
        on_report: OnReport | None = None,
    ) -> ThreadedCall:
        """See ``Engine.submit``; ``on_report`` is called on the engine's thread."""

        def submit_here() -> ThreadedCall:
            return ThreadedCall(self, self.engine.submit(submission, body, headers=headers, on_report=on_report))

        return self.run(submit_here)

    def call(self, name: str, input: Any = None, *, timeout: float | None = None, request_id: str = "") -> Any:
        """See ``AsyncEngine.call``."""
        call = self._submit_input(name, input, timeout, request_id, stream=False)
        try:
            while call.outcome is None and call.head is None:
                call.wait()
            return result_of(call._call)
        finally:
            call.close()
            del call  # it holds the error, and the error this frame

    @contextmanager
    def stream(
        self, name: str, input: Any = None, *, timeout: float | None = None, request_id: str = ""
    ) -> Iterator[Iterator[Any]]:
        """See ``AsyncEngine.stream``; yields a plain iterator."""
        call = self._submit_input(name, input, timeout, request_id, stream=True)
        try:
            yield _chunks(call)
        finally:
            call.close()

    def _submit_input(
        self, name: str, input: Any, timeout: float | None, request_id: str, *, stream: bool
    ) -> ThreadedCall:
        def submit_here() -> ThreadedCall:
            return ThreadedCall(self, submit_input(self.engine, name, input, timeout, request_id, stream=stream))

        return self.run(submit_here)

    def unready_reasons(self) -> list[str]:
        """See ``Engine.unready_reasons``."""
        return self.run(self.engine.unready_reasons)

    def status(self) -> dict[str, Any]:
        """See ``Engine.status``."""
        return self.run(self.engine.status)

    @property
    def draining(self) -> bool:
        """See ``Engine.draining``."""
        return self.engine.draining

    def drain(
        self, timeout: float, on_drained: Callable[[], None] | None = None, *, who: str = "the program", why: str = ""
    ) -> None:
        """See ``Engine.drain``; ``on_drained`` is called on the engine's thread."""
        self.run_soon(lambda: self.engine.drain(timeout, on_drained, who=who, why=why))

    def shutdown(self, drain: float = DEFAULT_DRAIN_TIMEOUT, *, who: str = "the program", why: str = "") -> None:
        """See ``AsyncEngine.shutdown``. Call it from any thread but the engine's own."""
        drained = threading.Event()
        self.run_soon(lambda: self.engine.shutdown(drain, who=who, why=why, on_drained=drained.set))
        drained.wait()

    def pause(self, *, who: str = "the program", why: str = "") -> None:
        """See ``Engine.pause``."""
        self.run(lambda: self.engine.pause(who=who, why=why))

    def scale(self, pool: str, workers: int, *, who: str = "the program") -> None:
        """See ``Engine.scale``."""
        self.run(lambda: self.engine.scale(pool, workers, who=who))

    def resume(self, *, who: str = "the program", why: str = "") -> None:
        """See ``Engine.resume``."""
        self.run(lambda: self.engine.resume(who=who, why=why))

    def close(self) -> None:
        """Drain for at most the drain timeout, then stop the thread. Idempotent."""
        if not self._thread.is_alive():
            return
        drained = threading.Event()
        self.drain(self._drain_timeout, drained.set)
        drained.wait()
        self.stop()

    def stop(self) -> None:
        """Kill the workers and stop the thread. Idempotent."""
        if not self._thread.is_alive():
            return
        self.jobs.close()
        self.run(self.engine.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        if self._shipped is not None:
            self._shipped.close()


def _chunks(call: ThreadedCall) -> Iterator[Any]:
    while True:
        call.wait()
        is_over = call.outcome is not None
        for chunk in call.take():
            yield call.endpoint.codec.decode_chunk(chunk, call._call.head)
        if is_over:
            try:
                raise_error_of(call._call)
                require_stream(call._call)
                return
            finally:
                del call


def start_engine(app: App, *, drain_timeout: float = DEFAULT_DRAIN_TIMEOUT, ship: Ship = "import") -> ThreadedEngine:
    """Start an engine on a background thread, and return it when every pool is ready.

    It runs until ``close`` is called, or until the end of a ``with`` block; then it drains for at most
    ``drain_timeout`` seconds. If an exception ends the block, or if the program ends first, the workers are stopped at
    once. ``ship`` as for ``open_engine``.

    Raises
    ------
    EngineError
        If a pool cannot be started: with the worker's traceback. Or if the app cannot be pickled.
    """
    engine = ThreadedEngine(app, drain_timeout=drain_timeout, ship=ship)
    try:
        engine.wait_ready()
    except BaseException:
        engine.stop()
        raise
    return engine
