"""The plug-in: a retry policy for each endpoint, from what the endpoint declares and what the operator allows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from random import Random
from typing import Annotated, Final

import msgspec

from penstock import RetryBudget
from penstock.errors import HandlerError, PenstockError, WorkerLost
from penstock.hooks import Endpoint, Job, PluginSettings, hookimpl, log_event
from penstock_retries.bucket import Bucket

SAME_LINE_SECONDS: Final = 10.0
"""How often an endpoint says at most that its budget is used up."""

Decide = Callable[[Job, PenstockError, float], float | None]


class RetriesSettings(PluginSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The operator's word on the retries of all endpoints; None leaves it to each of them.

    Parameters
    ----------
    max_attempts:
        Tries in all that no endpoint may exceed; 1 turns retries off.
    budget_ratio:
        In place of every ``RetryBudget.ratio``. An endpoint without a budget has one then.
    budget_floor:
        In place of every ``RetryBudget.floor``, likewise.
    """

    max_attempts: Annotated[int, msgspec.Meta(ge=1)] | None = None
    budget_ratio: Annotated[float, msgspec.Meta(ge=0)] | None = None
    budget_floor: Annotated[int, msgspec.Meta(ge=0)] | None = None

    def budget_of(self, endpoint: Endpoint) -> RetryBudget | None:
        """What the endpoint may spend."""
        declared = endpoint.retries.budget
        if self.budget_ratio is None and self.budget_floor is None:
            return declared
        budget = declared or RetryBudget()
        return RetryBudget(
            ratio=budget.ratio if self.budget_ratio is None else self.budget_ratio,
            floor=budget.floor if self.budget_floor is None else self.budget_floor,
        )


class RetriesPlugin:
    """Decides whether a job that has failed is tried again, and when.

    Parameters
    ----------
    settings:
        The operator's word.
    random:
        Where the jitter comes from.
    clock:
        The engine's time: of a monotonic clock, in seconds.
    """

    name = "retries"
    Settings = RetriesSettings

    def __init__(
        self,
        settings: RetriesSettings,
        *,
        random: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._random = random or Random()  # noqa: S311 - jitter, no secret
        self._clock = clock

    @hookimpl
    def penstock_retry_policy(self, endpoint: Endpoint) -> Decide:
        """See ``penstock.hooks.hookspecs``."""
        budget = self._settings.budget_of(endpoint)
        bucket = None if budget is None else Bucket(budget.ratio, floor_of(endpoint, budget), self._clock())
        most = endpoint.retries.max_attempts
        if self._settings.max_attempts is not None:
            most = min(most, self._settings.max_attempts)
        return Policy(endpoint, most, bucket, self._random).decide


def floor_of(endpoint: Endpoint, budget: RetryBudget) -> int:
    """Tokens in reserve: enough in any case for the jobs of two full workers, so that a crash fails none of them."""
    in_a_batch = endpoint.batching.max_size if endpoint.batching is not None else 1
    return max(budget.floor, 2 * in_a_batch * endpoint.concurrency)


class Policy:
    """The retries of one endpoint.

    Parameters
    ----------
    endpoint:
        Whose jobs they are.
    max_attempts:
        Tries in all, for one job.
    bucket:
        What the retries are paid from; None if they cost nothing.
    random:
        Where the jitter comes from.
    """

    def __init__(self, endpoint: Endpoint, max_attempts: int, bucket: Bucket | None, random: Random) -> None:
        self.bucket = bucket
        self._name = endpoint.name
        self._backoff = endpoint.retries.backoff
        self._max_attempts = max_attempts
        self._random = random
        self._said_at = float("-inf")

    def decide(self, job: Job, error: PenstockError, now: float) -> float | None:
        """After how many seconds the job is to be tried again, or None. A token is taken only if it is."""
        if job.spent >= self._max_attempts:
            return None
        delay = self._delay(job, error)
        if delay is None or now + delay >= job.finish_by:
            return None
        if self.bucket is not None and not self.bucket.take(job.lane.admitted, now):
            self._say_exhausted(now)
            return None
        return delay

    def _delay(self, job: Job, error: PenstockError) -> float | None:
        if isinstance(error, WorkerLost):
            return 0.0  # the worker was at fault and not what it called; another one takes the job
        if not isinstance(error, HandlerError) or not error.may_retry:
            return None
        if error.retry_delay is not None:
            return error.retry_delay
        if self._backoff is None:
            return 0.0
        return self._random.uniform(0.0, self._backoff.ceiling(job.spent))

    def _say_exhausted(self, now: float) -> None:
        if now - self._said_at >= SAME_LINE_SECONDS:
            self._said_at = now
            message = f"{self._name} has used up its retry budget: what fails is answered at once"
            log_event(logging.WARNING, "retry-budget", message, endpoint=self._name)
