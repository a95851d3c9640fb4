"""The plug-in: a retry policy for each endpoint, from the endpoint's declaration and the operator's limits."""

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
"""Shortest time between two log lines about the used-up budget of one endpoint."""

Decide = Callable[[Job, PenstockError, float], float | None]


class RetriesSettings(PluginSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The operator's limits on the retries of all endpoints; None leaves the endpoint's own.

    Parameters
    ----------
    max_attempts:
        Attempts per job that no endpoint may exceed; 1 turns retries off.
    budget_ratio:
        Replaces every ``RetryBudget.ratio``. An endpoint without a budget gets one.
    budget_floor:
        Replaces every ``RetryBudget.floor``. An endpoint without a budget gets one.
    """

    max_attempts: Annotated[int, msgspec.Meta(ge=1)] | None = None
    budget_ratio: Annotated[float, msgspec.Meta(ge=0)] | None = None
    budget_floor: Annotated[int, msgspec.Meta(ge=0)] | None = None

    def budget_of(self, endpoint: Endpoint) -> RetryBudget | None:
        """Return the retry budget of the endpoint; None if it is unlimited."""
        declared = endpoint.retries.budget
        if self.budget_ratio is None and self.budget_floor is None:
            return declared
        budget = declared or RetryBudget()
        return RetryBudget(
            ratio=budget.ratio if self.budget_ratio is None else self.budget_ratio,
            floor=budget.floor if self.budget_floor is None else self.budget_floor,
        )


class RetriesPlugin:
    """Decides whether a failed job is retried, and when.

    Parameters
    ----------
    settings:
        The operator's limits.
    random:
        Source of the jitter.
    clock:
        The engine's clock: monotonic, in seconds.
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
        self._random = random or Random()  # noqa: S311 - jitter, not a secret
        self._clock = clock

    @hookimpl
    def penstock_retry_policy(self, endpoint: Endpoint) -> Decide:
        """Return the decision on retries for the jobs of the endpoint."""
        budget = self._settings.budget_of(endpoint)
        bucket = None if budget is None else Bucket(budget.ratio, floor_of(endpoint, budget), self._clock())
        max_attempts = endpoint.retries.max_attempts
        if self._settings.max_attempts is not None:
            max_attempts = min(max_attempts, self._settings.max_attempts)
        return RetryPolicy(endpoint, max_attempts, bucket, self._random).decide


def floor_of(endpoint: Endpoint, budget: RetryBudget) -> int:
    """Return the reserve of tokens: at least enough for the jobs of two full workers, so that a crash fails no job."""
    batch_size = endpoint.batching.max_size if endpoint.batching is not None else 1
    return max(budget.floor, 2 * batch_size * endpoint.concurrency)


class RetryPolicy:
    """The decisions on retries for one endpoint.

    Parameters
    ----------
    endpoint:
        The endpoint of the jobs.
    max_attempts:
        Attempts per job, the first included.
    bucket:
        The bucket that each retry takes a token from; None if retries are free.
    random:
        Source of the jitter.
    """

    def __init__(self, endpoint: Endpoint, max_attempts: int, bucket: Bucket | None, random: Random) -> None:
        self.bucket = bucket
        self._name = endpoint.name
        self._backoff = endpoint.retries.backoff
        self._max_attempts = max_attempts
        self._random = random
        self._logged_at = float("-inf")

    def decide(self, job: Job, error: PenstockError, now: float) -> float | None:
        """Return the seconds after which to retry the job, or None to fail it. Take a token only if it is retried."""
        if job.spent >= self._max_attempts:
            return None
        delay = self._delay(job, error)
        if delay is None or now + delay >= job.finish_by:
            return None
        if self.bucket is not None and not self.bucket.take(job.lane.admitted, now):
            self._log_exhausted(now)
            return None
        return delay

    def _delay(self, job: Job, error: PenstockError) -> float | None:
        if isinstance(error, WorkerLost):
            return 0.0  # the worker failed, not what it called: another one takes the job
        if not isinstance(error, HandlerError) or not error.may_retry:
            return None
        if error.retry_delay is not None:
            return error.retry_delay
        if self._backoff is None:
            return 0.0
        return self._random.uniform(0.0, self._backoff.ceiling(job.spent))

    def _log_exhausted(self, now: float) -> None:
        if now - self._logged_at >= SAME_LINE_SECONDS:
            self._logged_at = now
            message = f"{self._name} has used up its retry budget; failed jobs are not retried for now"
            log_event(logging.WARNING, "retry-budget", message, endpoint=self._name)
