"""The engine inside somebody's own program: asyncio, trio or threads, and no HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from penstock.app import App, loader
from penstock.engine.calls import Call
from penstock.engine.engine import Engine
from penstock.engine.reactors.asyncio_reactor import AsyncioReactor
from penstock.engine.reactors.reactor import Reactor
from penstock.errors import EngineError, PenstockError
from penstock.hooks.registry import Registry
from penstock.hooks.submission import Submission
from penstock.policies import Timeouts
from penstock.response import Encoded

DEFAULT_DRAIN_TIMEOUT = 30.0


def create_engine(
    app: App, reactor: Reactor | None = None, *, target: str | None = None, registry: Registry | None = None
) -> Engine:
    """Make an engine that is still to be started.

    Parameters
    ----------
    app:
        What to serve. Its module is imported again where the workers come from, so it must be reachable there.
    reactor:
        The loop to live on; by default the asyncio loop that is running.
    target:
        Where the workers find the app, such as ``module:attr``; by default found out from the app.
    registry:
        The plug-ins. Default: those that are installed, and the app's own.

    Raises
    ------
    EngineError
        If it cannot be found out.
    PluginError
        If a plug-in does not fit, or has been given the wrong settings.
    """
    if reactor is None:
        reactor = AsyncioReactor()
    return Engine(app, reactor, target if target is not None else loader.target_of(app), registry=registry)


@asynccontextmanager
async def open_engine(app: App, *, drain_timeout: float = DEFAULT_DRAIN_TIMEOUT) -> AsyncIterator[AsyncEngine]:
    """Run an engine in the asyncio or trio program that is running.

    Entered when every pool is ready; at the end drains for at most ``drain_timeout`` seconds.

    Raises
    ------
    EngineError
        If a pool cannot be started: with the worker's traceback.
    """
    loader.stop_if_loading(app)
    reactor = _running_reactor()
    ready = _Latch(reactor)
    engine = create_engine(app, reactor)
    engine.on_pools_failed = lambda _error: ready.open()
    engine.on_readiness = ready.open
    try:
        engine.start()
        while engine.unready_reasons() and engine.failure is None:
            await ready.wait()
        if engine.failure is not None:
            raise EngineError(f"the engine could not be started:\n{engine.failure}")
        yield AsyncEngine(engine)
        if not engine.closed:
            drained = _Latch(reactor)
            engine.drain(drain_timeout, drained.open)
            await drained.wait()
    finally:
        engine.close()


def _running_reactor() -> Reactor:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _trio_reactor()
    return AsyncioReactor(loop)


def _trio_reactor() -> Reactor:
    if "trio" in sys.modules:  # not imported before it is known to run
        from penstock.engine.reactors.trio_reactor import TrioReactor  # noqa: PLC0415 - see above

        try:
            return TrioReactor()
        except RuntimeError:
            pass
    raise EngineError("open_engine() needs a running asyncio or trio program; elsewhere use start_engine()")


class _Latch:
    """Lets one task wait until something has happened since it last waited."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._is_open = False
        self._wake: Any = None

    def open(self) -> None:
        """It has happened."""
        self._is_open = True
        if self._wake is not None:
            self._wake()

    async def wait(self) -> None:
        """Wait for it, and forget it."""
        if not self._is_open:
            await self._reactor.park(self._register)
        self._is_open = False

    def _register(self, wake: Any) -> None:
        self._wake = wake


class AsyncEngine:
    """What ``open_engine`` gives."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __repr__(self) -> str:
        return f"<AsyncEngine {self.engine!r}>"

    async def call(self, name: str, input: Any = None, *, timeout: float | None = None, request_id: str = "") -> Any:
        """Run a job; return what its handler returned, as JSON would carry it.

        Cancelling the await cancels the job.

        Parameters
        ----------
        name:
            The endpoint's.
        input:
            What a client would post: a dict of its fields, one value, or bytes.
        timeout:
            Seconds for everything, queue and retries included. It can only tighten the endpoint's own.
        request_id:
            For the log and the handler's context.

        Raises
        ------
        PenstockError
            As it would be answered over HTTP: ``QueueFull``, ``ExecutionTimeout``, ``HandlerError`` ...
        """
        call = submit_input(self.engine, name, input, timeout, request_id, stream=False)
        try:
            while call.outcome is None:
                await call.wait()
        finally:
            call.cancel()
        return result_of(call)

    @asynccontextmanager
    async def stream(
        self, name: str, input: Any = None, *, timeout: float | None = None, request_id: str = ""
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Run a job that answers in chunks; gives an async iterator over them. Leaving the block cancels the job.

        Parameters and errors are as for ``call``; an error that comes after some chunks is raised where they end.
        """
        call = submit_input(self.engine, name, input, timeout, request_id, stream=True)
        try:
            yield _chunks(call)
        finally:
            call.cancel()

    async def shutdown(self, drain: float = DEFAULT_DRAIN_TIMEOUT, *, who: str = "the program", why: str = "") -> None:
        """Take nothing new, finish what is admitted within ``drain`` seconds, stop the rest; return when all is over.

        ``who`` and ``why`` are for the audit log.
        """
        drained = _Latch(self.engine.reactor)
        self.engine.shutdown(drain, who=who, why=why, on_drained=drained.open)
        await drained.wait()

    def status(self) -> dict[str, Any]:
        """Pools, workers and endpoints, as on the status page."""
        return self.engine.status()


async def _chunks(call: Call) -> AsyncIterator[Any]:
    while True:
        await call.wait()
        is_over = call.outcome is not None  # looked at first: what came before the end is still to be taken
        for chunk in call.take():
            yield call.endpoint.codec.decode_output(Encoded(chunk))
        if is_over:
            if isinstance(call.outcome, PenstockError):
                raise call.outcome
            return


def submit_input(
    engine: Engine, name: str, input: Any, timeout: float | None, request_id: str, *, stream: bool
) -> Call:
    """Encode, check and submit what an embedding program passes; errors as for ``AsyncEngine.call``."""
    endpoint = engine.endpoint(name)
    if endpoint.is_stream is not stream:
        right = "stream" if endpoint.is_stream else "call"
        raise EngineError(
            f"endpoint {name!r} answers {'in chunks' if endpoint.is_stream else 'once'}: use engine.{right}()"
        )
    body = endpoint.codec.encode_input(input)
    endpoint.codec.validate(body)
    submission = Submission(endpoint, request_id=request_id)
    submission.timeouts = _tightened(endpoint.timeouts, timeout)
    return engine.submit(submission, body)


def _tightened(own: Timeouts, timeout: float | None) -> Timeouts:
    if timeout is None or (own.total is not None and own.total <= timeout):
        return own
    return dataclasses.replace(own, total=timeout)


def result_of(call: Call) -> Any:
    """The decoded result of a call that has its outcome; raises the error if that is what it is."""
    if isinstance(call.outcome, PenstockError):
        raise call.outcome
    assert call.outcome is not None
    return call.endpoint.codec.decode_output(call.outcome)
