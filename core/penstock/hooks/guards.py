"""Guards around the callables that plug-ins return, so that a mistake in one affects at most one job.

A decision that raises fails only the job that it was asked about; an observer that raises fails nothing. Both kinds of
failure are counted, and logged at a limited rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Generic, TypeVar

import msgspec

from penstock.errors import HookError, PenstockError, PluginError
from penstock.hooks.acceptors import Acceptor
from penstock.hooks.cancellations import is_cancellation
from penstock.hooks.dialect_answers import CancelRequest
from penstock.hooks.dialects import Dialect, Payload, ReadRequest
from penstock.hooks.guarded_services import GuardedService
from penstock.hooks.guarded_streams import GuardedStream
from penstock.hooks.hook_failures import HookFailures
from penstock.hooks.plugin import OWN_DISTRIBUTION, Plugin
from penstock.hooks.principal import Principal
from penstock.hooks.records import HookFailed, JobAnswered, ShutdownRequest
from penstock.hooks.response_headers import checked_headers
from penstock.hooks.response_heads import ResponseHead
from penstock.hooks.routes import Route, RouteHandler, RouteResponse, is_async
from penstock.hooks.rpc_services import RpcOperation, RpcQuestion, RpcService
from penstock.hooks.services import EngineService
from penstock.hooks.submission import Release
from penstock.policies import Timeouts
from penstock.response import header_mistake
from penstock.scheduler import GuardedQueue, Queue
from penstock.wire import Trace

_QUEUE_PARTS: Final = tuple(name for name in [*Queue.__annotations__, *vars(Queue)] if name[:1] != "_")

F = TypeVar("F", bound=Callable[..., Any])
DecisionT = TypeVar("DecisionT")

_BLOCKING: Final = "penstock_is_blocking"


def blocking(function: F) -> F:
    """Mark a callable that blocks, for instance on a database, so that it is called in a separate thread."""
    setattr(function, _BLOCKING, True)
    return function


def is_blocking(function: Callable[..., Any]) -> bool:
    """Return whether a callable is marked as blocking."""
    return bool(getattr(function, _BLOCKING, False))


class GuardedDecision(Generic[DecisionT]):
    """A plug-in's decision. When called, it raises ``HookError`` if the plug-in's code fails.

    Attributes
    ----------
    decide:
        The plug-in's own callable. ``Pipeline`` calls it directly, with ``accept`` and ``failed``, to save a frame.
    accept:
        Returns a result of ``decide``, or raises ``TypeError`` or ``ValueError`` if a plug-in may not return it.
    penstock_is_blocking:
        The mark that ``is_blocking`` reads, taken over from ``decide``.
    """

    __slots__ = ("_guard", "accept", "decide", "penstock_is_blocking")

    def __init__(self, guard: HookGuard, decide: Callable[..., Any], accept: Callable[[Any], DecisionT]) -> None:
        self._guard = guard
        self.decide = decide
        self.accept = accept
        self.penstock_is_blocking = is_blocking(decide)

    def __call__(self, *arguments: Any) -> DecisionT:
        """Ask the plug-in. Raises the ``PenstockError`` it raised, or ``HookError`` for any other failure."""
        try:
            return self.accept(self.decide(*arguments))
        except PenstockError:  # not a failure: it is the decision
            raise
        except BaseException as error:
            raise self.failed(error) from error

    def failed(self, error: BaseException) -> HookError:
        """Record a failure, and return the error for the caller that it affects."""
        return self._guard.failed(error, may_be_off_thread=self.penstock_is_blocking)


class HookGuard:
    """Guards what one plug-in returned for one hook."""

    def __init__(self, failures: HookFailures, plugin: Plugin, hook: str) -> None:
        self._plugin = plugin
        self._hook = hook
        self._failures = failures

    def failed(self, error: BaseException, *, is_reported: bool = True, may_be_off_thread: bool = False) -> HookError:
        """Record a failure, and return the error for the caller that it affects. See ``HookFailures.add``."""
        return self._failures.add(
            self._plugin, self._hook, error, is_reported=is_reported, may_be_off_thread=may_be_off_thread
        )

    def tracer(self, decide: Callable[..., Any]) -> GuardedDecision[Trace | None]:
        """Guard a tracer, which returns a place in a trace or None."""
        return GuardedDecision(self, decide, _trace)

    def authenticator(self, decide: Callable[..., Any]) -> GuardedDecision[Principal | None]:
        """Guard an authenticator, which returns a principal or None."""
        return GuardedDecision(self, decide, _principal)

    def timeout_policy(self, decide: Callable[..., Any]) -> GuardedDecision[Timeouts | None]:
        """Guard a timeout policy, which returns timeouts or None."""
        return GuardedDecision(self, decide, _timeouts)

    def admission_policy(self, decide: Callable[..., Any]) -> GuardedDecision[Release | None]:
        """Guard an admission policy and the callable that it may return.

        That callable runs while the job's caller and other policies are waiting, so it must not raise either.
        """
        run = self._release

        def guarded_release(release: Any) -> Release | None:
            if callable(release):
                return partial(run, release)
            if release is None:
                return None
            raise _wrong_type(release, "a callable or None")

        return GuardedDecision(self, decide, guarded_release)

    def _release(self, release: Release, answered: JobAnswered) -> None:
        try:
            release(answered)
        except BaseException as error:
            self.failed(error)

    def retry_policy(self, decide: Callable[..., Any]) -> GuardedDecision[float | None]:
        """Guard a retry policy, which returns a delay or None."""
        return GuardedDecision(self, decide, _delay)

    def shutdown_policy(self, decide: Callable[..., Any]) -> Callable[[ShutdownRequest], float]:
        """Guard a shutdown policy. If it fails, the drain that was asked for is granted: the engine always stops."""

        def grant(request: ShutdownRequest) -> float:
            try:
                return _seconds(decide(request), "a number of seconds")
            except BaseException as error:
                self.failed(error)
                return request.drain

        return grant

    def queue_discipline(self, make: Callable[[], Any]) -> Callable[[], Queue]:
        """Guard a factory of queues. It is called while the engine is created, so a failure stops the start."""

        def new_queue() -> Queue:
            queue: Queue = self._plugin.call(make, failure=f"the queue of {self._plugin} cannot be created")
            missing = [name for name in _QUEUE_PARTS if not hasattr(queue, name)]
            if missing:
                raise PluginError(
                    f"{self._hook} of {self._plugin} returned a factory whose queues lack {', '.join(missing)}; "
                    "derive them from penstock.hooks.FifoQueue"
                )
            # Penstock's own queues are simulated and measured; any other could lose jobs of unrelated callers.
            return queue if self._plugin.distribution == OWN_DISTRIBUTION else GuardedQueue(queue, self.failed)

        return new_queue

    def observer(self, kind: type, observe: Callable[[Any], None]) -> Callable[[Any], None]:
        """Guard an observer of one type of record. Its failures never leave the guard."""
        # An observer's own HookFailed is not reported back to it: that would recurse.
        is_reported = kind is not HookFailed

        def observe_safely(record: Any) -> None:
            try:
                observe(record)
            except BaseException as error:
                self.failed(error, is_reported=is_reported)

        return observe_safely

    def service(self, service: EngineService) -> GuardedService:
        """Guard a service. If it cannot be started, the engine is not; later, its failures end nothing else."""
        return GuardedService(self._plugin, service, self._failures)

    def dialect(self, dialect: Dialect) -> Dialect:
        """Guard the functions of a dialect."""
        operations = tuple(
            replace(
                operation,
                read=GuardedDecision(self, operation.read, _read_request),
                choose=operation.choose and GuardedDecision(self, operation.choose, _name),
            )
            for operation in dialect.operations
        )
        return replace(
            dialect,
            operations=operations,
            result=GuardedDecision(self, dialect.result, _whole_response),
            error=GuardedDecision(self, dialect.error, _whole_response),
            framing=dialect.framing and GuardedDecision(self, dialect.framing, _anything),
            collected=dialect.collected and GuardedDecision(self, dialect.collected, _whole_response),
            together=dialect.together and GuardedDecision(self, dialect.together, _whole_response),
            accepted=dialect.accepted and GuardedDecision(self, dialect.accepted, _whole_response),
            failure=dialect.failure and GuardedDecision(self, dialect.failure, _whole_response),
            reporting=dialect.reporting and GuardedDecision(self, dialect.reporting, _anything),
        )

    def rpc_service(self, service: RpcService) -> RpcService:
        """Guard the functions of a gRPC service."""
        return replace(service, methods=tuple(map(self._rpc_method, service.methods)))

    def _rpc_method(self, method: RpcOperation | RpcQuestion) -> RpcOperation | RpcQuestion:
        if isinstance(method, RpcQuestion):
            read = GuardedDecision(self, method.read, _values)
            return replace(method, read=read, reply=GuardedDecision(self, method.reply, _message))
        return replace(
            method,
            read=GuardedDecision(self, method.read, _payload),
            result=method.result and GuardedDecision(self, method.result, _message),
            chunk=method.chunk and GuardedDecision(self, method.chunk, _message),
            collected=method.collected and GuardedDecision(self, method.collected, _message),
            error=method.error and GuardedDecision(self, method.error, _message),
        )

    def response_headers(self, decide: Callable[..., Any]) -> Callable[[ResponseHead], Sequence[tuple[str, str]]]:
        """Guard a callable that adds headers to every response. If it fails, the response is sent without them."""

        def headers_of(head: ResponseHead) -> Sequence[tuple[str, str]]:
            try:
                return checked_headers(decide(head) or ())
            except BaseException as error:
                self.failed(error, may_be_off_thread=True)
                return ()

        return headers_of

    def acceptor(self, acceptor: Acceptor) -> Acceptor:
        """Guard an acceptor: the request that it fails for is answered with ``hook-error``."""
        accept = self._handler(acceptor.accept, _whole_response, waits=is_async(acceptor.accept))
        return Acceptor(GuardedDecision(self, acceptor.wants, bool), accept)

    def route(self, route: Route) -> RouteHandler:
        """Guard the handler of a route, which returns a response, and the stream of that response."""
        return self._handler(route.handler, self._route_response, waits=route.waits)

    def _handler(
        self, handler: Callable[..., Any], accept: Callable[[Any], RouteResponse], *, waits: bool
    ) -> Callable[..., Any]:
        if not waits:
            return GuardedDecision(self, handler, accept)

        async def wait_for_response(*arguments: Any) -> RouteResponse:
            try:
                return accept(await handler(*arguments))
            except PenstockError:  # as in GuardedDecision
                raise
            except BaseException as error:
                if is_cancellation(error):
                    raise
                raise self.failed(error) from error

        return wait_for_response

    def _route_response(self, result: Any) -> RouteResponse:
        response = _response(result)
        if response.stream is None:
            return response
        if not hasattr(response.stream, "__anext__"):
            raise _wrong_type(response.stream, "an async iterator as the stream of its response")
        return msgspec.structs.replace(response, stream=GuardedStream(response.stream, self.failed))


def _trace(result: Any) -> Trace | None:
    if result is None or isinstance(result, Trace):
        return result
    raise _wrong_type(result, "a Trace or None")


def _principal(result: Any) -> Principal | None:
    if result is None or isinstance(result, Principal):
        return result
    raise _wrong_type(result, "a Principal or None")


def _timeouts(result: Any) -> Timeouts | None:
    if result is None or isinstance(result, Timeouts):
        return result
    raise _wrong_type(result, "Timeouts or None")


def _response(result: Any) -> RouteResponse:
    if not isinstance(result, RouteResponse):
        raise _wrong_type(result, "a RouteResponse")
    for name, value in result.headers.items():
        mistake = header_mistake(name, value)
        if mistake:
            raise ValueError(mistake)
    return result


def _whole_response(result: Any) -> RouteResponse:
    response = _response(result)
    if response.stream is not None:
        raise ValueError("it returned a response with a stream, which only a route can have")
    return response


def _payload(result: Any) -> Payload:
    if isinstance(result, Payload):
        return result
    raise _wrong_type(result, "a Payload")


def _message(result: Any) -> bytes:
    if isinstance(result, bytes):
        return result
    raise _wrong_type(result, "a message as bytes")


def _values(result: Any) -> Mapping[str, str]:
    if isinstance(result, Mapping):
        return result
    raise _wrong_type(result, "the values of the route's path")


def _read_request(result: Any) -> ReadRequest:
    if isinstance(result, Payload):
        return result
    if isinstance(result, CancelRequest):
        _whole_response(result.response)
        return result
    if isinstance(result, RouteResponse):
        return _whole_response(result)
    raise _wrong_type(result, "a Payload, a RouteResponse or a CancelRequest")


def _name(result: Any) -> str | None:
    if result is None or isinstance(result, str):
        return result
    raise _wrong_type(result, "the name of an endpoint or None")


def _anything(result: Any) -> Any:
    return result


def _delay(result: Any) -> float | None:
    return None if result is None else _seconds(result, "a number of seconds or None")


def _seconds(result: Any, expected: str) -> float:
    if not isinstance(result, (int, float)):
        raise _wrong_type(result, expected)
    if not result >= 0:  # negative, or NaN
        raise ValueError(f"it returned {result} instead of {expected}")
    return result


def _wrong_type(result: Any, expected: str) -> TypeError:
    return TypeError(f"it returned a {type(result).__name__} instead of {expected}")  # the value itself may be a key
