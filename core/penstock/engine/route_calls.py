"""Requests to routes: answered beside the workers, and held by their callers like calls."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from penstock.engine.calls import CallHost, HeldCall
from penstock.engine.operator_log import internal_error
from penstock.engine.reactors.reactor import Callback, Reactor, TimerHandle
from penstock.errors import Cancelled, PenstockError
from penstock.hooks.routes import Route, RouteEngine, RouteRequest, RouteResponse
from penstock.policies import Timeouts
from penstock.response import Encoded


class RouteCall(HeldCall):
    """One request to a route. Its caller uses it like a ``Call``; its chunks are the pieces of a stream.

    Parameters
    ----------
    host:
        The owner of the call.
    number:
        A number of the host's own.

    Attributes
    ----------
    head:
        The response without its body, once it is known to be a stream; otherwise None.
    keep_alive:
        See ``RouteResponse``.
    """

    __slots__ = (
        "_chunks",
        "_host",
        "_on_taken",
        "_untaken_bytes",
        "head",
        "keep_alive",
        "number",
        "on_progress",
        "outcome",
        "owed_bytes",
    )
    timeouts = Timeouts()
    attempts = 0
    queue_seconds = execution_seconds = None

    def __init__(self, host: CallHost, number: int = 0) -> None:
        self._host = host
        self._chunks: list[bytes] = []
        self._untaken_bytes = self.owed_bytes = 0
        self._on_taken: Callback | None = None
        self.number = number
        self.head: Encoded | None = None
        self.keep_alive = b""
        self.outcome: Encoded | PenstockError | None = None
        self.on_progress: Callable[[], None] | None = None

    # ---- the host's side

    def begin_stream(self, head: Encoded, keep_alive: bytes) -> None:
        """Set the head of a stream, and notify the caller."""
        self.head, self.keep_alive = head, keep_alive
        self.notify()

    def settle(self, outcome: Encoded | PenstockError) -> None:
        """Set the outcome, unless there is one, and notify the caller."""
        if self.outcome is None:
            self.outcome = outcome
            self.notify()

    def wait_for_taking(self, wake: Callback) -> None:
        """Set what is called once no piece is left."""
        self._on_taken = wake

    def note_taken(self) -> None:
        """Wake who waits for the pieces to be taken."""
        if self._on_taken is not None and not self._chunks:
            self._on_taken()


class RouteHost(RouteEngine, Protocol):
    """An engine that answers routes."""

    @property
    def reactor(self) -> Reactor:
        """The loop on which handlers wait."""


class RouteCalls:
    """The calls of routes that wait or stream, with their tasks.

    Parameters
    ----------
    engine:
        The engine that the handlers may use.
    """

    def __init__(self, engine: RouteHost) -> None:
        self._engine = engine
        self._tasks: dict[RouteCall, TimerHandle] = {}
        self._end_of_all: PenstockError | None = None

    def __repr__(self) -> str:
        return f"<RouteCalls: {len(self._tasks)} in progress>"

    @property
    def reactor(self) -> Reactor:
        """The loop on which handlers wait."""
        return self._engine.reactor

    def begin(self, route: Route, request: RouteRequest) -> RouteCall:
        """Call the handler of a route, and return at once. If it neither waits nor streams, there is the outcome."""
        if route.waits:
            call = RouteCall(self)
            self._start(call, self._wait(call, route, request))
            return call
        # An error is in no variable of a frame: its traceback would keep that, and the call with it.
        try:
            answer: RouteResponse = route.handler(request, self._engine)  # type: ignore[assignment] # it does not wait
        except PenstockError as error:
            return self._settled(error)
        except Exception as error:
            return self._settled(internal_error(error, request.request_id))
        if answer.stream is None:
            return self._settled(_encoded(answer))
        if route.is_local:  # perhaps this is not the thread of the engine's loop
            mistake = TypeError(f"route {route.name!r} is local, so it cannot stream")
            return self._settled(internal_error(mistake, request.request_id))
        call = RouteCall(self)
        self._start(call, self._send(call, answer, request))
        return call

    def _settled(self, outcome: Encoded | PenstockError) -> RouteCall:
        call = RouteCall(self)
        call.outcome = outcome
        return call

    def close(self, error: PenstockError) -> None:
        """Answer all calls with an error, and cancel their handlers; later ones neither wait nor stream."""
        self._end_of_all = error
        for call, task in list(self._tasks.items()):
            call.settle(error)
            task.cancel()

    # ---- as the host of its calls

    def cancel(self, call: RouteCall, reason: str) -> None:
        """Cancel the handler, or the stream, of a call that has no outcome."""
        call.settle(Cancelled(reason))
        task = self._tasks.get(call)
        if task is not None:
            task.cancel()

    def taken(self, call: RouteCall, _count: int, _size_bytes: int) -> None:
        """Let the stream go on."""
        call.note_taken()

    # ---- the tasks

    def _start(self, call: RouteCall, work: Coroutine[Any, Any, None]) -> None:
        if self._end_of_all is None:
            self._tasks[call] = self.reactor.create_task(work)
        else:
            work.close()
            call.settle(self._end_of_all)

    # Here too, errors are returned, and are in no variable of a frame that has seen them pass.

    async def _awaited(self, route: Route, request: RouteRequest) -> RouteResponse | PenstockError:
        handler: Callable[..., Coroutine[Any, Any, RouteResponse]] = route.handler  # type: ignore[assignment] # it waits
        try:
            return await handler(request, self._engine)
        except PenstockError as error:
            return error
        except Exception as error:
            return internal_error(error, request.request_id)

    async def _wait(self, call: RouteCall, route: Route, request: RouteRequest) -> None:
        answer: RouteResponse | PenstockError = Cancelled("the handler of the route was cancelled")
        try:
            answer = await self._awaited(route, request)
        finally:
            if isinstance(answer, PenstockError):
                self._end(call, answer)
            elif answer.stream is None:
                self._end(call, _encoded(answer))
            else:
                await self._send(call, answer, request)

    async def _send(self, call: RouteCall, answer: RouteResponse, request: RouteRequest) -> None:
        """Pass a stream on to the caller of a call, piece by piece."""
        outcome: Encoded | PenstockError = Cancelled("the stream of the route was cancelled")
        try:
            outcome = await self._sent(call, answer, request)
        finally:
            try:
                await _close(answer.stream)
            finally:
                self._end(call, outcome)

    async def _sent(self, call: RouteCall, answer: RouteResponse, request: RouteRequest) -> Encoded | PenstockError:
        end = _head_of(answer)
        if request.method == "HEAD" or call.outcome is not None:
            return end
        call.begin_stream(end, answer.keep_alive)
        try:
            if answer.body:
                await self._hand_over(call, answer.body)
            assert answer.stream is not None, "the caller has looked"
            async for piece in answer.stream:
                if call.outcome is not None:  # the iterator has not heeded its cancellation
                    break
                if piece:
                    await self._hand_over(call, piece)
        except PenstockError as error:
            return error
        except Exception as error:
            return internal_error(error, request.request_id)
        return end

    async def _hand_over(self, call: RouteCall, piece: bytes) -> None:
        """Give the caller a piece, and wait until it is taken."""
        call.add_chunks([piece])
        while call.has_chunks and call.outcome is None:
            await self.reactor.park(call.wait_for_taking)

    def _end(self, call: RouteCall, outcome: Encoded | PenstockError) -> None:
        self._tasks.pop(call, None)
        call.settle(outcome)


def _encoded(answer: RouteResponse) -> Encoded:
    return Encoded(answer.body, answer.media_type, answer.status, answer.headers or None)  # type: ignore[arg-type] # a mapping


def _head_of(answer: RouteResponse) -> Encoded:
    return Encoded(b"", answer.media_type, answer.status, answer.headers or None)  # type: ignore[arg-type] # a mapping


async def _close(stream: Any) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()
