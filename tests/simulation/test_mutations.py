"""Bugs put in on purpose: a simulation that finds nothing proves something only if it would find these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.scheduler import Attempt, Job, Lane, Scheduler
from penstock.scheduler import commands as do
from penstock.scheduler import scheduler as module
from penstock.scheduler.timers import NEVER
from penstock.scheduler.workforce import Worker
from penstock.testing import simulation
from penstock.testing.simulation import SimulationFailed, simulate


def slot_is_never_given_back(patch: pytest.MonkeyPatch) -> None:
    def give_back(self: Worker, attempt: Attempt, now: float) -> None:
        del self.attempts[attempt.id]
        if not self.attempts:
            self.move("fall idle", now)

    patch.setattr(Worker, "give_back", give_back)


def answers_come_twice(patch: pytest.MonkeyPatch) -> None:
    answer = Scheduler._answer

    def twice(self: Scheduler, job: Job, *rest: Any) -> None:
        answer(self, job, *rest)
        self._out.append(do.Answer(job))

    patch.setattr(Scheduler, "_answer", twice)


def execution_deadlines_are_ignored(patch: pytest.MonkeyPatch) -> None:
    limit = module.next_limit
    patch.setattr(module, "next_limit", lambda job: limit(job) if job.attempt is None else (NEVER, "execution"))


def requeued_jobs_have_no_timer(patch: pytest.MonkeyPatch) -> None:
    requeue = Scheduler._requeue

    def forgetful(self: Scheduler, job: Job, now: float) -> None:
        requeue(self, job, now)
        self.timers.disarm(job)

    patch.setattr(Scheduler, "_requeue", forgetful)


def deaths_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    lose = Scheduler._lose
    patch.setattr(Scheduler, "_lose", lambda self, job, now, **_: lose(self, job, now, is_innocent=True))


def innocents_pay_for_others(patch: pytest.MonkeyPatch) -> None:
    lose = Scheduler._lose
    patch.setattr(Scheduler, "_lose", lambda self, job, now, **_: lose(self, job, now, is_innocent=False))


def streams_run_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "_is_safe_again", lambda job: True)


def nobody_is_interrupted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scheduler, "_stop", lambda *_: None)


def grace_never_ends(patch: pytest.MonkeyPatch) -> None:
    stop = Scheduler._stop

    def patient(self: Scheduler, attempt: Attempt, *rest: Any) -> None:
        stop(self, attempt, *rest)
        self.timers.disarm(attempt)

    patch.setattr(Scheduler, "_stop", patient)


def the_last_come_is_the_first_served(patch: pytest.MonkeyPatch) -> None:
    def take(self: Lane) -> list[Job]:
        job = next(reversed(self.queue.jobs.values()))
        self.queue.remove(job)
        return [job]

    patch.setattr(Lane, "take", take)


def a_hang_up_lets_nobody_through(patch: pytest.MonkeyPatch) -> None:
    cancelled, dispatch = Scheduler._cancelled, Scheduler._dispatch

    def idle(self: Scheduler, *rest: Any) -> None:
        patch.setattr(Scheduler, "_dispatch", lambda *_: None)
        cancelled(self, *rest)
        patch.setattr(Scheduler, "_dispatch", dispatch)

    patch.setattr(Scheduler, "_cancelled", idle)


def batches_wait_too_long(patch: pytest.MonkeyPatch) -> None:
    due = Lane.batch_due
    patch.setattr(Lane, "next_batch_due", lambda self: max((due(self, job) for job in self.queue), default=NEVER))


def suspects_share_a_worker(patch: pytest.MonkeyPatch) -> None:
    run = Scheduler._run
    patch.setattr(Scheduler, "_run", lambda self, lane, worker, units, now: run(self, lane, worker, lane.units, now))


def a_drain_forgets_the_idle(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scheduler, "_settle", lambda *_: None)


def a_failed_pool_keeps_jobs_waiting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scheduler, "_answer_stranded", lambda *_: None)


def a_lost_place_stays_empty(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scheduler, "_place_due", lambda *_: None)


def bytes_are_not_counted_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module.Lane, "take", lambda self: [self.queue.jobs.popitem(last=False)[1]])


def taking_nothing_buys_time(patch: pytest.MonkeyPatch) -> None:
    def taken(self: Scheduler, event: Any, now: float) -> None:
        event.job.untaken = 0
        event.job.progressed = now

    patch.setattr(Scheduler, "_chunks_taken", taken)


MUTATIONS = [
    slot_is_never_given_back,
    answers_come_twice,
    execution_deadlines_are_ignored,
    requeued_jobs_have_no_timer,
    deaths_are_not_counted,
    innocents_pay_for_others,
    streams_run_twice,
    nobody_is_interrupted,
    grace_never_ends,
    the_last_come_is_the_first_served,
    a_hang_up_lets_nobody_through,
    batches_wait_too_long,
    suspects_share_a_worker,
    a_drain_forgets_the_idle,
    a_failed_pool_keeps_jobs_waiting,
    a_lost_place_stays_empty,
    bytes_are_not_counted_back,
    taking_nothing_buys_time,
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_broken_scheduler_is_found_out(
    mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each bug is found, within as many steps as the suite makes in any case."""
    monkeypatch.setattr(simulation, "DRAIN_STEPS", 5000)
    mutation(monkeypatch)
    with pytest.raises(SimulationFailed, match=r"^seed=\d+ step=\d+ "):
        simulate(100_000, 1)
