"""Deliberate bugs in the client: the judge of the simulation would see each of them, under the name of its rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from penstock_client import plan, retry_judge
from penstock_client.endpoint_breaker import Breaker
from penstock_client.plan import Plan
from penstock_client.retry_judge import RetryJudge
from penstock_client.retry_settings import RetryBudget
from tests.simulation.retry_judge import RuleBroken, judge_all

MOST_SCENARIOS = 150


def the_budget_is_not_spent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RetryBudget, "spend", lambda self, cost, now: True)


def failures_are_paid_back(patch: pytest.MonkeyPatch) -> None:
    fail = Plan.fail

    def paid_back(self: Plan, *rest: Any, **options: Any) -> Any:
        self._judge.give_back()
        return fail(self, *rest, **options)

    patch.setattr(Plan, "fail", paid_back)


def a_time_out_costs_as_little_as_a_refusal(patch: pytest.MonkeyPatch) -> None:
    spend = RetryBudget.spend
    patch.setattr(RetryBudget, "spend", lambda self, cost, now: spend(self, min(cost, 1), now))


def the_deadline_is_ignored(patch: pytest.MonkeyPatch) -> None:
    for module in (plan, retry_judge):
        patch.setattr(module, "LEAST_SECONDS", -math.inf)


def the_delay_is_not_compared_with_the_deadline(patch: pytest.MonkeyPatch) -> None:
    retry = RetryJudge.retry

    def careless(self: RetryJudge, row: Any, retry_after: float | None, tried: int, now: float) -> tuple[str, float]:
        return retry(self, row, retry_after, tried, -math.inf)

    patch.setattr(RetryJudge, "retry", careless)


def the_server_does_not_hear_the_deadline(patch: pytest.MonkeyPatch) -> None:
    send = Plan._send

    def silent(self: Plan, *instants: float) -> Any:
        command = send(self, *instants)
        return plan.Send(command.number, {}, command.timeouts, command.deadline)

    patch.setattr(Plan, "_send", silent)


def retry_after_is_ignored(patch: pytest.MonkeyPatch) -> None:
    error_of_response = plan.error_of_response

    def without(*response: Any) -> Any:
        error = error_of_response(*response)
        error.retry_after = None
        return error

    patch.setattr(plan, "error_of_response", without)


def everything_counts_as_idempotent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RetryJudge, "allows", lambda self, row: True)


def a_closing_connection_is_free_for_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Plan, "_is_closing", lambda self, fault: True)


def requests_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    retry = RetryJudge.retry

    def forgetful(self: RetryJudge, row: Any, retry_after: float | None, tried: int, now: float) -> tuple[str, float]:
        return retry(self, row, retry_after, 1, now)

    patch.setattr(RetryJudge, "retry", forgetful)


def a_breaker_stays_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "_close", lambda self: None)


def a_breaker_never_opens(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "_open", lambda self, now, seconds: None)


def a_breaker_lets_every_call_probe(patch: pytest.MonkeyPatch) -> None:
    admit = Breaker.admit

    def generous(self: Breaker, now: float) -> float:
        seconds = admit(self, now)
        self._has_probe = False
        return seconds

    patch.setattr(Breaker, "admit", generous)


def a_cancelled_probe_is_never_replaced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "abandoned", lambda self, sent: None)


def an_old_request_counts_as_the_probe(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "_is_probe", lambda self, sent: self._has_probe)


def a_breaker_stays_open_for_too_long(patch: pytest.MonkeyPatch) -> None:
    opened = Breaker._open
    patch.setattr(Breaker, "_open", lambda self, now, seconds: opened(self, now, 4 * seconds))


BUGS: dict[Callable[[pytest.MonkeyPatch], None], str] = {
    the_budget_is_not_spent: "retries stay within the budget",
    failures_are_paid_back: "retries stay within the budget",
    a_time_out_costs_as_little_as_a_refusal: "retries stay within the budget",
    the_deadline_is_ignored: "no (wait ends|request) after the deadline",
    the_delay_is_not_compared_with_the_deadline: "no wait ends after the deadline",
    the_server_does_not_hear_the_deadline: "the server begins no work after its caller's deadline",
    retry_after_is_ignored: "no request before Retry-After",
    everything_counts_as_idempotent: "work that must not run twice runs once",
    a_closing_connection_is_free_for_all: "work that must not run twice runs once",
    requests_are_not_counted: "no request too many",
    a_breaker_stays_open: "the goodput is back",
    a_breaker_never_opens: "a breaker is open after five failed connections",
    a_breaker_lets_every_call_probe: "a breaker lets one probe through",
    a_cancelled_probe_is_never_replaced: "the goodput is back",
    an_old_request_counts_as_the_probe: "a breaker lets one probe through",
    a_breaker_stays_open_for_too_long: "the goodput is back",
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_the_judge_finds(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bug breaks its rule within some scenarios."""
    bug(monkeypatch)
    with pytest.raises(RuleBroken, match=BUGS[bug]):
        judge_all(0, MOST_SCENARIOS)
