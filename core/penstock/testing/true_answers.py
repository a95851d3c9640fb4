"""The rules that decide whether a job's answer is true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from penstock import errors
from penstock.response import Encoded
from penstock.scheduler import events as on
from penstock.scheduler.states import EXPIRED
from penstock.testing.scene import Scene
from penstock.testing.witness import Witness

_SLACK: Final = 0.05 + 1e-9
"""Seconds before a deadline at which a worker's own clock may end an attempt: ``_CLOCK_SLACK`` in ``answers``."""


class TrueAnswers:
    """One rule for each type of answer.

    Parameters
    ----------
    scene:
        The scenario, at the moment of the answer.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._paid = 0  # jobs that have failed for a queue's mistake
        self._rules: dict[type, Callable[[Witness], bool]] = {
            Encoded: self._may_conclude,
            errors.HandlerError: self._may_fail,
            errors.QueueTimeout: lambda job: not job.attempts and job.is_over(("queue", "total"), scene.now),
            errors.TotalTimeout: lambda job: self._may_time_out(job, "total"),
            errors.ExecutionTimeout: lambda job: self._may_time_out(job, "execution", "first_chunk", "idle"),
            errors.WorkerLost: self._may_be_lost,
            errors.Cancelled: lambda job: job.hung_up or job.is_over(("unread",), self._slack_end()),
            errors.Draining: self._may_be_drained,
            errors.QueueFull: self._is_refused,
            errors.DeadlineInfeasible: lambda job: self._is_refused(job) or (not job.attempts and self._is_shed(job)),
            errors.HookError: self._may_pay,
            errors.NotReady: lambda job: not job.attempts and (scene.has_failed or self._never_ran(job)),
        }

    def allow(self, witness: Witness) -> bool:
        """Return whether the answer that the job has just received is true."""
        return self._rules[type(witness.job.outcome)](witness)

    def _may_conclude(self, witness: Witness) -> bool:
        """Return whether the job's attempt has just ended, in time: only then may it be answered with a result."""
        event = self._scene.event
        is_its_own = type(event) is on.ResultsArrived and event.attempt == witness.attempt
        return is_its_own and witness.limit > self._scene.now

    def _may_fail(self, witness: Witness) -> bool:
        """Return whether the job may be answered with a handler's error: it must not run again, or could not."""
        error = witness.job.outcome
        if error is witness.failed_with and witness.attempt is None:
            is_over = witness.is_over(("queue", "total"), self._scene.now)
            return is_over or self._scene.has_failed or self._is_shed(witness)
        is_asked = error.exception_type != "Cancelled"  # it cancelled itself: policies are not asked about that
        return self._may_conclude(witness) and (witness.refused or not (is_asked and witness.may_ask(error)))

    def _may_time_out(self, witness: Witness, *names: str) -> bool:
        has_begun = witness.attempt is not None or witness.not_before is not None
        return has_begun and witness.is_over(names, self._slack_end())

    def _slack_end(self) -> float:
        """Return the present instant, plus the slack if a worker has just ended an attempt by its own clock."""
        return self._scene.now + (_SLACK if type(self._scene.event) is on.ResultsArrived else 0.0)

    def _may_be_lost(self, witness: Witness) -> bool:
        """Return whether a lost job must not run again, or whether no worker was available for it in time."""
        if witness.failed_with is not None:
            return False
        if witness.job.state == EXPIRED:
            return witness.attempts > 0 and witness.is_over(("queue", "total"), self._scene.now)
        if witness.attempts and self._is_shed(witness):
            return True
        is_final = witness.was_spoilt or witness.refused
        return (witness in self._scene.lost and is_final) or (witness.attempts > 0 and self._scene.has_failed)

    def _never_ran(self, witness: Witness) -> bool:
        return witness.job.lane.pool_name not in self._scene.used_pools

    def _may_be_drained(self, witness: Witness) -> bool:
        """Return whether the drain's time is over, or the job is refused because new work is not accepted."""
        is_late = self._scene.now >= self._scene.drain_deadline
        return is_late or (self._scene.is_closed and self._is_refused(witness))

    def _is_shed(self, witness: Witness) -> bool:
        """Return whether the queue has said explicitly that the job is to be shed."""
        is_given_up = self._scene.opinions.has_given_up(witness.job)
        return is_given_up and witness.attempt is None and witness.sent_ahead is None

    def _may_pay(self, _witness: Witness) -> bool:
        """Return whether at most one job has failed for each mistake of a queue."""
        self._paid += 1
        return self._paid <= self._scene.mistakes.total()

    def _is_refused(self, witness: Witness) -> bool:
        event = self._scene.event
        return type(event) is on.Submitted and event.job is witness.job
