"""An engine inside an asyncio or trio program, without HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from typing import Any

from penstock.app import App, Endpoint, loader
from penstock.app.shipping import Ship, ShippedApp
from penstock.engine.calls import Call
from penstock.engine.engine import Engine
from penstock.engine.reactors.asyncio_reactor import AsyncioReactor
from penstock.engine.reactors.reactor import Reactor
from penstock.errors import EngineError, PenstockError
from penstock.hooks.program_jobs import ProgramJobs
from penstock.hooks.registry import Registry
from penstock.hooks.submission import Submission
from penstock.policies import DEFAULT_DRAIN_TIMEOUT, Timeouts


def create_engine(
    app: App, reactor: Reactor | None = None, *, target: str | None = None, registry: Registry | None = None
) -> Engine:
    """Create an engine, which is then to be started.

    Parameters
    ----------
    app:
        The app to serve. The workers import its module again, so they must be able to find it.
    reactor:
        The loop to run on. Default: the running one, asyncio's or trio's.
    target:
        Where the workers find the app, such as ``module:attr``. Default: derived from the app.
    registry:
        The plug-ins. Default: the installed ones, and the app's own.

    Raises
    ------
    EngineError
        If the target cannot be derived from the app, or if no loop is running.
    PluginError
        If a plug-in does not fit, or its settings are wrong.
    """
    if reactor is None:
        reactor = _running_reactor()
    return Engine(app, reactor, target if target is not None else loader.target_of(app), registry=registry)


@asynccontextmanager
async def open_engine(
    app: App, *, drain_timeout: float = DEFAULT_DRAIN_TIMEOUT, ship: Ship = "import"
) -> AsyncIterator[AsyncEngine]:
    """Run an engine in the running asyncio or trio program.

    The block is entered when every pool is ready; at its end the engine drains for at most ``drain_timeout`` seconds.

    Parameters
    ----------
    app:
        The app to serve.
    drain_timeout:
        Seconds that the end of the block waits for admitted jobs.
    ship:
        The way in which the app gets to the workers: ``"import"`` has them import its module; ``"pickle"`` sends it by
        value, for an app that was defined at a prompt, in a notebook or in a function. It needs cloudpickle.

    Raises
    ------
    EngineError
        If a pool cannot be started: with the worker's traceback. Or if the app cannot be pickled.
    """
    loader.stop_if_loading(app)
    reactor = _running_reactor()
    with ExitStack() as at_end:
        target = at_end.enter_context(closing(ShippedApp(app))).target if ship == "pickle" else None
        async with _running(create_engine(app, reactor, target=target), drain_timeout) as engine:
            yield engine


@asynccontextmanager
async def _running(engine: Engine, drain_timeout: float) -> AsyncIterator[AsyncEngine]:
    reactor = engine.reactor
    ready = _Latch(reactor)
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
    if "trio" in sys.modules:  # a program that has not imported trio does not run it
        from penstock.engine.reactors.trio_reactor import TrioReactor  # noqa: PLC0415 - see above

        try:
            return TrioReactor()
        except RuntimeError:
            pass
    raise EngineError("the engine needs a running asyncio or trio program; elsewhere use start_engine()")


class _Latch:
    """An event for one task, which can wait for it again and again."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._is_open = False
        self._wake: Any = None

    def open(self) -> None:
        """Let the waiting task, or the next wait, go on."""
        self._is_open = True
        if self._wake is not None:
            self._wake()

    async def wait(self) -> None:
        """Wait for ``open``, and reset the latch."""
        if not self._is_open:
            await self._reactor.park(self._register)
        self._is_open = False

    def _register(self, wake: Any) -> None:
        self._wake = wake


class AsyncEngine:
    """The engine that ``open_engine`` yields."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __repr__(self) -> str:
        return f"<AsyncEngine {self.engine!r}>"

    async def call(self, name: str, input: Any = None, *, timeout: float | None = None, request_id: str = "") -> Any:
        """Run a job; return the handler's result, as JSON carries it.

        Cancelling the await cancels the job.

        Parameters
        ----------
        name:
            The endpoint's name.
        input:
            The content of the body that a client would post: a dict of its fields, one value, or bytes.
        timeout:
            Seconds for everything, queueing and retries included. It can only tighten the endpoint's own limit.
        request_id:
            The id for the log and the handler's context.

        Raises
        ------
        PenstockError
            The same errors as over HTTP: ``QueueFull``, ``ExecutionTimeout``, ``HandlerError`` ...
        """
        call = submit_input(self.engine, name, input, timeout, request_id, stream=False)
        try:
            while call.outcome is None and call.head is None:
                await call.wait()
            return result_of(call)
        finally:
            call.cancel()
            del call  # it holds the error, and the error this frame

    @asynccontextmanager
    async def stream(
        self, name: str, input: Any = None, *, timeout: float | None = None, request_id: str = ""
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Run a job that answers in chunks, and yield an async iterator over them. Leaving the block cancels the job.

        Parameters and errors are those of ``call``; an error after some chunks is raised where they end.
        """
        call = submit_input(self.engine, name, input, timeout, request_id, stream=True)
        try:
            yield _chunks(call)
        finally:
            call.cancel()

    async def shutdown(self, drain: float = DEFAULT_DRAIN_TIMEOUT, *, who: str = "the program", why: str = "") -> None:
        """Refuse new work, finish the admitted jobs within ``drain`` seconds, stop the rest; return when all is over.

        ``who`` and ``why`` are for the audit log.
        """
        drained = _Latch(self.engine.reactor)
        self.engine.shutdown(drain, who=who, why=why, on_drained=drained.open)
        await drained.wait()

    @property
    def jobs(self) -> ProgramJobs:
        """The background jobs.

        Raises
        ------
        EngineError
            If no plug-in runs them.
        """
        return self.engine.services.jobs

    def scale(self, pool: str, workers: int, *, who: str = "the program") -> None:
        """Change the number of a pool's workers; see ``Engine.scale``."""
        self.engine.scale(pool, workers, who=who)

    def status(self) -> dict[str, Any]:
        """Return the state of pools, workers and endpoints, as on the status page."""
        return self.engine.status()


async def _chunks(call: Call) -> AsyncIterator[Any]:
    while True:
        await call.wait()
        is_over = call.outcome is not None  # read first: chunks that came before the end are still to be taken
        for chunk in call.take():
            yield call.endpoint.codec.decode_chunk(chunk, call.head)
        if is_over:
            try:
                raise_error_of(call)
                require_stream(call)
                return
            finally:
                del call


def submit_input(
    engine: Engine, name: str, input: Any, timeout: float | None, request_id: str, *, stream: bool
) -> Call:
    """Encode, check and submit the input of an embedding program; errors as for ``AsyncEngine.call``."""
    endpoint = engine.endpoint(name)
    if endpoint.is_stream and not stream:
        raise _is_stream(endpoint)
    body = endpoint.codec.encode_input(input)
    endpoint.codec.validate(body)
    submission = Submission(endpoint, request_id=request_id)
    submission.timeouts = _tightened(endpoint.timeouts, timeout)
    return engine.submit(submission, body)


def _is_stream(endpoint: Endpoint) -> EngineError:
    return EngineError(f"endpoint {endpoint.name!r} answers in chunks: use engine.stream()")


def require_stream(call: Call) -> None:
    """Raise ``EngineError`` if a call that has ended well has answered once, not in chunks."""
    if call.head is None:
        raise EngineError(f"endpoint {call.endpoint.name!r} answers once: use engine.call()")


def _tightened(own: Timeouts, timeout: float | None) -> Timeouts:
    if timeout is None or (own.total is not None and own.total <= timeout):
        return own
    return dataclasses.replace(own, total=timeout)


def result_of(call: Call) -> Any:
    """Return the decoded result of a call that has its outcome, or raise its error, or that it is a stream."""
    try:
        if call.head is not None:
            raise _is_stream(call.endpoint)
        raise_error_of(call)
        assert call.outcome is not None
        return call.endpoint.codec.decode_output(call.outcome)
    finally:
        del call


def raise_error_of(call: Call) -> None:
    """Raise the error of a call that has ended with one.

    The call holds the error, and the error, by its traceback, every frame that it passes. So that they do not keep each
    other alive, no such frame may hold the call: each of them has to delete its own reference.
    """
    try:
        if isinstance(call.outcome, PenstockError):
            raise call.outcome
    finally:
        del call
