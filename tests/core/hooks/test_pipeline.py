"""The policies of a request: their order, the effect of their decisions, and their failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.app import App, Endpoint
from penstock.context import Context
from penstock.errors import Forbidden, HookError, RateLimited
from penstock.hooks import (
    JobAnswered,
    Principal,
    Route,
    RouteRequest,
    Submission,
    Timeouts,
    blocking,
    defaults,
    hookimpl,
)
from penstock.hooks import pipeline as pipeline_module
from penstock.hooks.pipeline import Pipeline, access_check, endpoint_pipeline, route_pipeline
from penstock.hooks.registry import Registry

ANSWERED = JobAnswered(endpoint="square", request_id="r1", code="ok")
OPEN_ROUTE = Route(path="/a", name="a", handler=defaults.livez, is_open=True)
ROUTE = Route(path="/b", name="b", handler=defaults.livez)


class Policies:
    """A plug-in with one policy of each kind, which returns the decision that a test has set."""

    def __init__(self, **decisions: Any) -> None:
        self.decisions = decisions
        self.asked: list[str] = []

    def policy(self, name: str) -> Callable[[Submission], Any] | None:
        """Return a policy that records that it was asked."""
        if name not in self.decisions:
            return None

        def decide(_submission: Submission) -> Any:
            self.asked.append(name)
            decision = self.decisions[name]
            if isinstance(decision, Exception):
                raise decision
            return decision

        return decide

    @hookimpl
    def penstock_authenticator(self) -> Callable[[Submission], Any] | None:
        return self.policy("authenticator")

    @hookimpl
    def penstock_timeout_policy(self) -> Callable[[Submission], Any] | None:
        return self.policy("timeouts")

    @hookimpl
    def penstock_admission_policy(self) -> Callable[[Submission], Any] | None:
        return self.policy("admission")


def endpoint() -> Endpoint:
    app = App("tests")

    @app.endpoint("/square", timeouts=Timeouts(queue=30, execution=5))
    def square(input: float) -> float:
        return input**2

    return app.endpoints[0]


def pipeline_of(*plugins: Any) -> Pipeline:
    pipeline = endpoint_pipeline(Registry(plugins), endpoint())
    assert pipeline is not None
    return pipeline


def submission() -> Submission:
    return Submission(endpoint(), request_id="r1")


def test_policies_are_asked_in_order_and_take_effect() -> None:
    """The authenticator sets the principal, the timeout policy the timeouts, and the admission policy is released."""
    released: list[JobAnswered] = []
    policies = Policies(
        admission=released.append, timeouts=Timeouts(queue=60, execution=2), authenticator=Principal("a")
    )
    request = submission()
    pipeline_of(policies).pass_through(request)
    assert policies.asked == ["authenticator", "timeouts", "admission"]
    assert request.principal == Principal("a")
    assert (request.timeouts.queue, request.timeouts.execution) == (30, 2)
    request.close(ANSWERED)
    assert released == [ANSWERED]


@pytest.mark.parametrize(
    ("caller", "named"), [(Principal("a"), ("authorization", "x-key")), (None, ())], ids=["identified", "anonymous"]
)
def test_the_credentials_of_a_caller_are_named(caller: Principal | None, named: tuple[str, ...]) -> None:
    """They are the headers that the authenticator has read, if it has identified the caller."""
    app = App("tests")

    @app.endpoint("/whoami")
    def whoami(context: Context) -> str:
        return context.headers["authorization"]

    class Doorkeeper:
        @hookimpl
        def penstock_authenticator(self) -> Callable[[Submission], Principal | None]:
            def identify(request: Submission) -> Principal | None:
                assert (request.header("authorization"), request.header("X-Key")) == ("Bearer secret", None)
                return caller

            return identify

    request = Submission(app.endpoints[0], header={"user-agent": "test", "authorization": "Bearer secret"}.get)
    pipeline = endpoint_pipeline(Registry([Doorkeeper()]), app.endpoints[0])
    assert pipeline is not None
    pipeline.pass_through(request)
    assert request.credential_headers == named
    assert request.header("user-agent") == "test"


def test_a_decision_of_none_changes_nothing() -> None:
    """The submission stays as it was."""
    request = submission()
    pipeline_of(Policies(authenticator=None, timeouts=None, admission=None)).pass_through(request)
    assert (request.principal, request.timeouts, request.has_releases) == (None, endpoint().timeouts, False)


def test_without_policies_there_is_no_pipeline() -> None:
    """For an endpoint, a route, and an open route, which has no authenticator either."""
    assert endpoint_pipeline(Registry(), endpoint()) is None
    assert route_pipeline(Registry(), ROUTE) is None
    assert route_pipeline(Registry([Policies(authenticator=None)]), OPEN_ROUTE) is None


def test_a_route_has_only_an_authenticator() -> None:
    """The other policies are not asked."""
    policies = Policies(authenticator=Principal("a"), timeouts=None, admission=None)
    pipeline = route_pipeline(Registry([policies]), ROUTE)
    assert pipeline is not None
    request = Submission(ROUTE)
    pipeline.pass_through(request)
    assert (request.principal, policies.asked) == (Principal("a"), ["authenticator"])


def test_the_first_refusal_is_final() -> None:
    """It is raised unchanged, later policies are not asked, and it is not a failure."""
    refusal = RateLimited("slower")
    policies = Policies(authenticator=None, timeouts=refusal, admission=None)
    registry = Registry([policies])
    pipeline = endpoint_pipeline(registry, endpoint())
    assert pipeline is not None
    with pytest.raises(RateLimited) as raised:
        pipeline.pass_through(submission())
    assert raised.value is refusal
    assert policies.asked == ["authenticator", "timeouts"]
    assert registry.failures.counts == {}


@pytest.mark.parametrize("policy", ["authenticator", "timeouts", "admission"])
@pytest.mark.parametrize("decision", [OSError("secret place"), 3])
def test_a_failure_belongs_to_the_policy_that_failed(policy: str, decision: Any) -> None:
    """A policy that raises, or returns a value of the wrong type, becomes a HookError with the cause."""
    decisions = {"authenticator": None, "timeouts": None, "admission": None}
    registry = Registry([Policies(**{**decisions, policy: decision})])
    pipeline = endpoint_pipeline(registry, endpoint())
    assert pipeline is not None
    with pytest.raises(HookError) as raised:
        pipeline.pass_through(submission())
    assert type(raised.value.__cause__) is (OSError if isinstance(decision, OSError) else TypeError)
    [((plugin, hook), count)] = registry.failures.counts.items()
    assert (plugin, count) == ("Policies", 1)
    assert policy.removesuffix("s") in hook


def test_steps_can_be_applied_one_by_one() -> None:
    """Each has the effect and the errors that it has in the whole; those marked as blocking are known."""
    policies = Policies(authenticator=Principal("a"), timeouts=ValueError("x"))

    class Waits:
        @hookimpl
        def penstock_admission_policy(self) -> Callable[[Submission], None]:
            return blocking(lambda _submission: None)

    pipeline = pipeline_of(policies, Waits())
    assert pipeline.is_blocking
    assert not pipeline_of(policies).is_blocking
    first, second, third = pipeline.steps
    assert [step.is_blocking for step in pipeline.steps] == [False, False, True]
    request = submission()
    first.apply(request)
    assert (request.principal, policies.asked) == (Principal("a"), ["authenticator"])
    with pytest.raises(HookError):
        second.apply(request)
    third.apply(request)


def test_merged_timeouts_are_remembered_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same object is merged once; any number of different ones is merged correctly."""
    monkeypatch.setattr(pipeline_module, "MAX_MERGED_TIMEOUTS", 2)
    policies = Policies(timeouts=None)
    pipeline = pipeline_of(policies)

    def merged(wish: Timeouts) -> Timeouts:
        policies.decisions["timeouts"] = wish
        request = submission()
        pipeline.pass_through(request)
        return request.timeouts

    wishes = [Timeouts(queue=seconds) for seconds in (1, 2, 3, 4, 5)]
    assert [merged(wish).queue for wish in wishes * 2] == [1, 2, 3, 4, 5] * 2
    assert merged(wishes[-1]) is merged(wishes[-1])


# ---- access of the callers of routes


def test_a_route_may_ask_whether_its_caller_may_use_an_endpoint() -> None:
    """The endpoint's authenticator alone decides, from what the request has; no other policy is asked."""
    app = App("tests")

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    request = RouteRequest(request_id="r1", method="POST", path="/b", header={"x-key": "k"}.get)
    policies = Policies(authenticator=Principal("alice"), admission=RateLimited())
    check = access_check(Registry([policies], app=app), app)
    check("square", request)
    assert policies.asked == ["authenticator"]
    policies.decisions["authenticator"] = Forbidden()
    with pytest.raises(Forbidden):
        check("square", request)
    with pytest.raises(KeyError):
        check("cube", request)
    access_check(Registry([], app=app), app)("square", request)
