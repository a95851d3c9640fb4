"""The policies that a submission passes before it becomes a job.

They decide in this order: the tracer to which trace it belongs, the authenticator who the caller is, the timeout policy
how long the job may take, and the admission policies whether the request becomes a job at all.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from typing import Any, Final

from penstock.app import App, Endpoint
from penstock.errors import PenstockError
from penstock.hooks.guards import GuardedDecision
from penstock.hooks.principal import Principal
from penstock.hooks.registry import Registry
from penstock.hooks.routes import Route, RouteRequest
from penstock.hooks.submission import Submission
from penstock.policies import Timeouts
from penstock.wire import Trace

MAX_MERGED_TIMEOUTS: Final = 1024
"""The number of different timeouts for which one endpoint remembers the merged result."""


class Step(ABC):
    """One policy, and the effect of its decisions on a submission.

    Attributes
    ----------
    decide:
        The plug-in's own callable, without its guard.
    failed:
        Records that ``decide`` raised, and returns the error for the caller.
    is_blocking:
        True if ``decide`` is marked as blocking.
    apply:
        Asks this policy alone. Raises like ``Pipeline.pass_through``.
    """

    __slots__ = ("_policy", "apply", "decide", "failed", "is_blocking")

    def __init__(self, policy: GuardedDecision[Any]) -> None:
        self._policy = policy
        self.decide = policy.decide
        self.failed = policy.failed
        self.is_blocking = policy.penstock_is_blocking
        self.apply = Pipeline((self,)).pass_through

    @abstractmethod
    def take_effect(self, submission: Submission, decision: Any) -> None:
        """Check a decision other than None, and apply it to the submission."""


class Pipeline:
    """The policies of one endpoint or route, in the order in which they are asked.

    Attributes
    ----------
    steps:
        The policies one by one. A host with an event loop applies blocking ones in a separate thread.
    is_blocking:
        True if at least one of them is blocking.
    """

    __slots__ = ("is_blocking", "steps")

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self.is_blocking = any(step.is_blocking for step in steps)

    def pass_through(self, submission: Submission) -> None:
        """Ask all policies in turn, in the current thread.

        Raises
        ------
        PenstockError
            As soon as one refuses. Earlier policies must still be released: see ``Submission.close``.
        """
        # One frame for all policies and their guards: this runs for every request.
        try:
            for step in self.steps:
                decision = step.decide(submission)
                if decision is not None:
                    step.take_effect(submission, decision)
        except (PenstockError, CancelledError):  # the decision, or the end of the request: not a failure
            raise
        except BaseException as error:
            raise step.failed(error) from error


def endpoint_pipeline(registry: Registry, endpoint: Endpoint) -> Pipeline | None:
    """Return the policies of an endpoint, or None if there are none."""
    return _pipeline(_of_the_request(registry, endpoint) + _of_admission(registry, endpoint))


def request_pipeline(registry: Registry, endpoint: Endpoint) -> Pipeline | None:
    """Return the policies of an endpoint that need nothing but the request: who the caller is, and how long it waits.

    Where several processes take requests for one engine, each of them asks these itself.
    """
    return _pipeline(_of_the_request(registry, endpoint))


def admission_pipeline(registry: Registry, endpoint: Endpoint) -> Pipeline | None:
    """Return the admission policies of an endpoint, which have state and run beside the engine."""
    return _pipeline(_of_admission(registry, endpoint))


def route_pipeline(registry: Registry, route: Route) -> Pipeline | None:
    """Return the policies of a route, or None if there are none. A route has no policy but the authenticator."""
    return _pipeline(_authentication(registry, route))


def access_check(registry: Registry, app: App) -> Callable[[str, RouteRequest], None]:
    """Return ``RouteEngine.require_access`` for an app."""
    pipelines = {
        endpoint.name: (endpoint, _pipeline(_authentication(registry, endpoint))) for endpoint in app.endpoints
    }

    def require_access(endpoint: str, request: RouteRequest) -> None:
        target, pipeline = pipelines[endpoint]
        if pipeline is not None:
            pipeline.pass_through(
                Submission(
                    target,
                    request_id=request.request_id,
                    header=request.header,
                    query=request.query,
                    address=request.address,
                )
            )

    return require_access


def _pipeline(steps: list[Step]) -> Pipeline | None:
    return Pipeline(steps) if steps else None


def _of_the_request(registry: Registry, endpoint: Endpoint) -> list[Step]:
    steps = _authentication(registry, endpoint)
    tracer = registry.tracer(endpoint)
    if tracer is not None:
        steps.insert(0, _TracerStep(tracer))
    timeout_policy = registry.timeout_policy(endpoint)
    if timeout_policy is not None:
        steps.append(_TimeoutStep(timeout_policy, endpoint.timeouts))
    return steps


def _of_admission(registry: Registry, endpoint: Endpoint) -> list[Step]:
    return [_AdmissionStep(policy) for policy in registry.admission_policies(endpoint)]


def _authentication(registry: Registry, target: Endpoint | Route) -> list[Step]:
    authenticator = registry.authenticator(target)
    return [] if authenticator is None else [_AuthenticatorStep(authenticator, target)]


class _TracerStep(Step):
    """Sets the trace."""

    __slots__ = ()

    def take_effect(self, submission: Submission, decision: Any) -> None:
        # Only a decision of the wrong type costs another frame.
        submission.trace = decision if type(decision) is Trace else self._policy.accept(decision)


class _AuthenticatorStep(Step):
    """Sets the principal."""

    __slots__ = ()

    def __init__(self, policy: GuardedDecision[Principal | None], target: Endpoint | Route) -> None:
        super().__init__(policy)
        if isinstance(target, Endpoint) and target.codec.context_parameter is not None:
            self.decide = _noting_credentials(policy.decide)  # only such a handler sees headers

    def take_effect(self, submission: Submission, decision: Any) -> None:
        # Only a decision of the wrong type costs another frame.
        submission.principal = decision if isinstance(decision, Principal) else self._policy.accept(decision)


def _noting_credentials(decide: Callable[..., Any]) -> Callable[..., Any]:
    """Have a submission name the headers that the authenticator has read, if it has identified the caller by them."""

    def noting(submission: Submission) -> Any:
        lookup = submission.header
        read: list[str] = []

        def header(name: str) -> str | None:
            read.append(name.lower())
            return lookup(name)

        submission.header = header
        try:
            decision = decide(submission)
        finally:
            submission.header = lookup
        if decision is not None:
            submission.credential_headers = tuple(read)
        return decision

    return noting


class _TimeoutStep(Step):
    """Tightens the endpoint's own timeouts, and remembers the results."""

    __slots__ = ("_merged", "_own")

    def __init__(self, policy: GuardedDecision[Timeouts | None], own: Timeouts) -> None:
        super().__init__(policy)
        self._own = own
        # Keyed by identity: policies return the same few objects again and again, and comparing them would cost more
        # than everything else here. The object itself is kept, so that its id cannot be reused.
        self._merged: dict[int, tuple[Timeouts, Timeouts]] = {}

    def take_effect(self, submission: Submission, decision: Any) -> None:
        merged = self._merged.get(id(decision))
        submission.timeouts = self._merge(decision) if merged is None else merged[1]

    def _merge(self, decision: Any) -> Timeouts:
        timeouts = tightest(self._own, self._policy.accept(decision))
        if len(self._merged) >= MAX_MERGED_TIMEOUTS:
            self._merged.clear()
        self._merged[id(decision)] = decision, timeouts
        return timeouts


class _AdmissionStep(Step):
    """Keeps what an admission policy returned until the outcome is known."""

    __slots__ = ()

    def take_effect(self, submission: Submission, decision: Any) -> None:
        # Only a decision of the wrong type costs another frame. The submission guards the release.
        if not callable(decision):
            decision = self._policy.accept(decision)
        submission.add_release(decision, self.failed)


def tightest(first: Timeouts, second: Timeouts) -> Timeouts:
    """Return the shorter of the two for each limit. None, for no limit, is the longest."""

    def shorter(name: str) -> float | None:
        limits = [limit for limit in (getattr(first, name), getattr(second, name)) if limit is not None]
        return min(limits, default=None)

    names = [field.name for field in dataclasses.fields(Timeouts)]
    return Timeouts(**{name: shorter(name) for name in names})  # type: ignore[arg-type] # grace is never None
