"""The judgement of one call's retries: what the table allows, and what the limits and the budget leave of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from penstock_client.endpoint_breaker import Breaker
from penstock_client.plan_messages import CallSpec
from penstock_client.retry_settings import Retries, RetryBudget
from penstock_client.retry_table import Row, Verdict

LEAST_SECONDS: Final = 0.005
"""The time that a request needs at the very least: with less, none is sent."""


class RetryJudge:
    """Says whether a call may send another request, and keeps the account of those that it has allowed.

    Parameters
    ----------
    spec, retries, budget, rand, breaker:
        As for ``Plan``.
    """

    def __init__(
        self,
        spec: CallSpec,
        retries: Retries,
        budget: RetryBudget,
        rand: Callable[[], float],
        breaker: Breaker | None,
    ) -> None:
        self._spec = spec
        self._retries = retries
        self._budget = budget
        self._rand = rand
        self._breaker = breaker
        self._verdicts: set[Verdict] = set()  # the rows that have been used; some allow one retry only
        self._spent = 0

    def allows(self, row: Row) -> bool:
        """Return whether the table allows the call to be sent again."""
        match row.verdict:
            case Verdict.ALWAYS:
                return True
            case Verdict.IDEMPOTENT:
                return self._spec.is_idempotent
            case Verdict.IDEMPOTENT_ONCE:
                return self._spec.is_idempotent and row.verdict not in self._verdicts
            case Verdict.NEW_KEY_ONCE:
                return self._spec.has_new_keys and row.verdict not in self._verdicts
            case Verdict.NEVER:
                return False

    def retry(self, row: Row, retry_after: float | None, tried: int, now: float) -> tuple[str, float]:
        """Take a retry from the budget; return "" and the seconds before it, or the reason against it.

        Parameters
        ----------
        row:
            The row of the table.
        retry_after:
            The seconds that the server asks for, if it does.
        tried:
            The requests that were sent.
        now:
            The time.
        """
        if tried >= self._retries.max_attempts:
            return "attempts", 0.0
        if retry_after is not None and retry_after > self._retries.longest_wait:
            return "retry-after", 0.0
        is_at_once = retry_after is None and row.verdict is Verdict.NEW_KEY_ONCE
        delay = 0.0 if is_at_once else self._retries.delay(tried, retry_after, self._rand)
        if now + delay + LEAST_SECONDS > self._spec.deadline:
            return "deadline", 0.0
        if self._breaker is not None and self._breaker.seconds_until_open(now + delay):
            return "breaker", 0.0
        if not self._budget.spend(row.cost, now):
            return "budget", 0.0
        self._verdicts.add(row.verdict)
        self._spent += row.cost
        return "", delay

    def give_back(self) -> None:
        """Return what the call's retries have cost: it has succeeded."""
        if self._spent:
            self._budget.give_back(self._spent)
