"""What stands between a plug-in's callables and everybody else: a mistake in one has one victim at most.

A decision that raises fails the one job that it was asked about. An observer that raises fails nobody. Both are logged,
though not each time, and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from penstock.errors import HookError, PenstockError, PluginError
from penstock.hooks.hook_failures import HookFailures
from penstock.hooks.plugin import OWN_DISTRIBUTION, Plugin
from penstock.hooks.principal import Principal
from penstock.hooks.records import HookFailed, JobAnswered, ShutdownRequest
from penstock.hooks.routes import Route, RouteEngine, RouteRequest, RouteResponse
from penstock.hooks.submission import Release, Submission
from penstock.policies import Timeouts
from penstock.scheduler import GuardedQueue, Job, Queue

_QUEUE_PARTS: Final = tuple(name for name in [*Queue.__annotations__, *vars(Queue)] if name[:1] != "_")

F = TypeVar("F", bound=Callable[..., Any])
_BLOCKING = "penstock_is_blocking"


def blocking(function: F) -> F:
    """Mark a callable that waits for something, such as a database: it is called in a thread of its own."""
    setattr(function, _BLOCKING, True)
    return function


def is_blocking(function: Callable[..., Any]) -> bool:
    """Whether it carries that mark."""
    return bool(getattr(function, _BLOCKING, False))


class HookGuard:
    """Puts a guard around what one plug-in has given for one hook."""

    def __init__(self, failures: HookFailures, plugin: Plugin, hook: str) -> None:
        self._plugin = plugin
        self._hook = hook
        self._failures = failures

    def failed(self, error: Exception, *, is_told: bool = True, is_elsewhere: bool = False) -> HookError:
        """Count and log it; returns what its victim is answered with. See ``HookFailures.add``."""
        return self._failures.add(self._plugin, self._hook, error, is_told=is_told, is_elsewhere=is_elsewhere)

    def decision(self, decide: Callable[..., Any], kind: Any, wanted: str) -> Callable[..., Any]:
        """The same decision; when it raises, or gives something else than ``kind`` or None, that is a ``HookError``."""
        waits = is_blocking(decide)

        def decide_or_fail(*arguments: Any) -> Any:
            try:
                given = decide(*arguments)
                if given is not None and not isinstance(given, kind):
                    raise _wrong(given, f"{wanted} or None")
            except PenstockError:
                raise
            except Exception as error:
                raise self.failed(error, is_elsewhere=waits) from error
            return given

        setattr(decide_or_fail, _BLOCKING, waits)
        return decide_or_fail

    def authenticator(self, decide: Callable[..., Any]) -> Callable[[Submission], Principal | None]:
        """See ``decision``."""
        return self.decision(decide, Principal, "a Principal")

    def timeout_policy(self, decide: Callable[..., Any]) -> Callable[[Submission], Timeouts | None]:
        """See ``decision``."""
        return self.decision(decide, Timeouts, "Timeouts")

    def admission_policy(self, decide: Callable[..., Any]) -> Callable[[Submission], Release | None]:
        """The same, and what it gives back is guarded too: it hears of an answer that others wait for."""
        waits = is_blocking(decide)

        def admit_or_fail(submission: Submission) -> Release | None:
            try:
                release = decide(submission)
                if release is None:
                    return None
                if not callable(release):
                    raise _wrong(release, "a callable or None")
            except PenstockError:
                raise
            except Exception as error:
                raise self.failed(error, is_elsewhere=waits) from error
            return partial(self._release, release)

        setattr(admit_or_fail, _BLOCKING, waits)
        return admit_or_fail

    def _release(self, release: Release, answered: JobAnswered) -> None:
        try:
            release(answered)
        except Exception as error:
            self.failed(error)

    def retry_policy(self, decide: Callable[..., Any]) -> Callable[[Job, PenstockError, float], float | None]:
        """The same; a delay is a number of seconds, and not negative."""
        ask = self.decision(decide, (int, float), "seconds")

        def retry_or_fail(job: Job, error: PenstockError, now: float) -> float | None:
            delay: float | None = ask(job, error, now)
            if delay is not None and not delay >= 0:
                raise self.failed(_wrong_number(delay))
            return delay

        return retry_or_fail

    def shutdown_policy(self, decide: Callable[..., Any]) -> Callable[[ShutdownRequest], float]:
        """The same; but nothing keeps an engine from stopping: what fails, grants what was asked for."""

        def grant(request: ShutdownRequest) -> float:
            try:
                seconds = decide(request)
                if not isinstance(seconds, (int, float)):
                    raise _wrong(seconds, "seconds")
                if not seconds >= 0:
                    raise _wrong_number(seconds)
            except Exception as error:
                self.failed(error)
                return request.drain
            return seconds

        return grant

    def queue_discipline(self, make: Callable[[], Any]) -> Callable[[], Queue]:
        """The same; it is asked while the engine is made, so that its failure is one of the start."""

        def made() -> Queue:
            try:
                queue: Queue = make()
            except Exception as error:
                raise PluginError(
                    f"the queue of {self._plugin} cannot be made: {type(error).__name__}: {error}; {self._plugin.mend}"
                ) from error
            missing = [name for name in _QUEUE_PARTS if not hasattr(queue, name)]
            if missing:
                raise PluginError(
                    f"{self._hook} of {self._plugin} gave a factory of something that is no queue: it lacks "
                    f"{', '.join(missing)}; derive it from penstock.hooks.FifoQueue"
                )
            # Ours are simulated and measured; a stranger's could lose jobs that are others'.
            return queue if self._plugin.distribution == OWN_DISTRIBUTION else GuardedQueue(queue, self.failed)

        return made

    def observer(self, kind: type, tell: Callable[[Any], None]) -> Callable[[Any], None]:
        """The same, whose failures reach nobody."""
        # Whoever fails to hear of a failure is not told of that one, for ever and ever.
        is_told = kind is not HookFailed

        def tell_or_log(record: Any) -> None:
            try:
                tell(record)
            except Exception as error:
                self.failed(error, is_told=is_told)

        return tell_or_log

    def route(self, route: Route) -> Callable[[RouteRequest, RouteEngine], RouteResponse]:
        """What answers there; when it raises, that is a ``HookError``."""
        answer = self.decision(route.handler, RouteResponse, "a RouteResponse")

        def answer_or_fail(request: RouteRequest, engine: RouteEngine) -> RouteResponse:
            response: RouteResponse | None = answer(request, engine)
            if response is None:
                raise self.failed(_wrong(response, "a RouteResponse"))
            return response

        return answer_or_fail


def _wrong(given: Any, wanted: str) -> TypeError:
    return TypeError(f"it gave a {type(given).__name__}, and not {wanted}")  # never the value: it may be a key


def _wrong_number(given: float) -> ValueError:
    return ValueError(f"it gave {given}, and not seconds")
