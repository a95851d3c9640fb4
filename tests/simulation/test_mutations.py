"""Bugs put in on purpose: a simulation that finds nothing proves something only if it would find these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.errors import Draining, HandlerError
from penstock.scheduler import (
    Attempt,
    FifoQueue,
    GuardedQueue,
    Job,
    Lane,
    LaneSpec,
    answers,
    deadlines,
    dispatch,
)
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler import requeueing as again
from penstock.scheduler import results as attempts
from penstock.scheduler import retries as retrying
from penstock.scheduler.admission import Intake
from penstock.scheduler.answers import Answers
from penstock.scheduler.dispatch import Dispatch
from penstock.scheduler.drain import Drain
from penstock.scheduler.losses import Losses
from penstock.scheduler.pools import Worker, WorkerPool
from penstock.scheduler.requeueing import Again
from penstock.scheduler.results import Attempts
from penstock.scheduler.sending_ahead import Lines
from penstock.scheduler.states import PAUSED
from penstock.scheduler.supervision import Supervision
from penstock.scheduler.timers import NEVER
from penstock.testing import simulation
from penstock.testing.simulation import SimulationFailed, simulate
from penstock.testing.whimsical_queues import WhimsicalQueue


def slot_is_never_given_back(patch: pytest.MonkeyPatch) -> None:
    def give_back(self: Worker, attempt: Attempt, now: float) -> None:
        del self.attempts[attempt.id]
        if not self.attempts:
            self.move("fall idle", now)

    patch.setattr(Worker, "give_back", give_back)


def answers_come_twice(patch: pytest.MonkeyPatch) -> None:
    answer = Answers.answer

    def twice(self: Answers, job: Job, *rest: Any) -> None:
        answer(self, job, *rest)
        self._desk.out.append(do.Answer(job))

    patch.setattr(Answers, "answer", twice)


def execution_deadlines_are_ignored(patch: pytest.MonkeyPatch) -> None:
    def limit(job: Job) -> tuple[float, str]:
        return deadlines.next_limit(job) if job.attempt is None else (NEVER, "execution")

    for module in (answers, attempts, dispatch):
        patch.setattr(module, "next_limit", limit)


def requeued_jobs_have_no_timer(patch: pytest.MonkeyPatch) -> None:
    queue = Again._queue

    def forgetful(self: Again, job: Job, now: float) -> None:
        queue(self, job, now)
        self._desk.timers.disarm(job)

    patch.setattr(Again, "_queue", forgetful)


def deaths_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    lose = Losses._lose
    patch.setattr(Losses, "_lose", lambda self, job, now, **_: lose(self, job, now, is_innocent=True))


def innocents_pay_for_others(patch: pytest.MonkeyPatch) -> None:
    lose = Losses._lose
    patch.setattr(Losses, "_lose", lambda self, job, now, **_: lose(self, job, now, is_innocent=False))


def streams_run_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(retrying, "is_safe_again", lambda job: True)


def nobody_is_interrupted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Answers, "stop", lambda *_: None)


def grace_never_ends(patch: pytest.MonkeyPatch) -> None:
    stop = Answers.stop

    def patient(self: Answers, attempt: Attempt, *rest: Any) -> None:
        stop(self, attempt, *rest)
        self._timers.disarm(attempt)

    patch.setattr(Answers, "stop", patient)


def the_last_come_is_the_first_served(patch: pytest.MonkeyPatch) -> None:
    def take(self: Dispatch, lane: Lane, now: float) -> list[Job]:
        job = next(reversed(lane.queue.jobs.values()))
        lane.queue.remove(job, "", now)
        return [job]

    patch.setattr(Dispatch, "_take", take)


def a_hang_up_lets_nobody_through(patch: pytest.MonkeyPatch) -> None:
    cancelled, give_work = Intake.on_cancelled, Dispatch.dispatch

    def idle(self: Intake, *rest: Any) -> None:
        patch.setattr(Dispatch, "dispatch", lambda *_: None)
        cancelled(self, *rest)
        patch.setattr(Dispatch, "dispatch", give_work)

    patch.setattr(Intake, "on_cancelled", idle)


def batches_wait_too_long(patch: pytest.MonkeyPatch) -> None:
    due = Lane.batch_due
    patch.setattr(Lane, "next_batch_due", lambda self: max((due(self, job) for job in self.queue), default=NEVER))


def suspects_share_a_worker(patch: pytest.MonkeyPatch) -> None:
    def send(self: Dispatch, jobs: list[Job], worker: Worker, _units: int, now: float) -> Attempt:
        return honest(self, jobs, worker, jobs[0].lane.units, now)

    honest = Dispatch._send
    patch.setattr(Dispatch, "_send", send)


def a_drain_forgets_the_idle(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Drain, "settle", lambda *_: None)


def a_failed_pool_keeps_jobs_waiting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Supervision, "_answer_stranded", lambda *_: None)


def a_lost_place_stays_empty(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Supervision, "on_place_due", lambda *_: None)


def bytes_are_not_counted_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Dispatch, "_take", lambda self, lane, now: [lane.queue.jobs.popitem(last=False)[1]])


def taking_nothing_buys_time(patch: pytest.MonkeyPatch) -> None:
    def taken(self: Attempts, event: Any, now: float) -> None:
        event.job.untaken = 0
        event.job.progressed = now

    patch.setattr(Attempts, "on_chunks_taken", taken)


def a_stalled_line_is_never_recalled(patch: pytest.MonkeyPatch) -> None:
    due = Supervision.on_worker_due

    def patient(self: Supervision, worker: Worker, now: float) -> None:
        if not worker.line:
            due(self, worker, now)

    patch.setattr(Supervision, "on_worker_due", patient)


def nothing_is_recalled_when_its_caller_leaves(patch: pytest.MonkeyPatch) -> None:
    recall, due = Lines.recall, Supervision.on_worker_due

    def only_when_stalled(self: Supervision, worker: Worker, now: float) -> None:
        patch.setattr(Lines, "recall", recall)
        due(self, worker, now)
        patch.setattr(Lines, "recall", lambda *_: None)

    patch.setattr(Lines, "recall", lambda *_: None)
    patch.setattr(Supervision, "on_worker_due", only_when_stalled)


def a_line_grows_while_it_is_recalled(patch: pytest.MonkeyPatch) -> None:
    recall = Lines.recall

    def at_once(self: Lines, worker: Worker) -> None:
        recall(self, worker)
        if self._desk.to_recall:
            self.issue_recalls()
        worker.is_recalled = False

    patch.setattr(Lines, "recall", at_once)


def an_earlier_recall_replaces_a_later_one(patch: pytest.MonkeyPatch) -> None:
    recall = Lines.recall

    def forgetful(self: Lines, worker: Worker) -> None:
        worker.recalled = 0
        recall(self, worker)

    patch.setattr(Lines, "recall", forgetful)


def what_has_begun_is_taken_back(patch: pytest.MonkeyPatch) -> None:
    accept = Losses.accept
    patch.setattr(Losses, "accept", lambda self, event, now: accept(self, on.Recalled(event.worker, 0), now))


def what_was_not_begun_is_taken_to_have_failed(patch: pytest.MonkeyPatch) -> None:
    def fail(self: Again, job: Job, now: float) -> None:
        self.fail(job, HandlerError("not begun"), now)

    patch.setattr(Again, "unbegin", fail)


def what_was_not_begun_has_spent_a_try(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Again, "unbegin", Again.requeue)


def nobody_in_a_line_is_to_blame(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Losses, "_blame", lambda self, attempt, _now: self._lines.take_back(attempt, "lose"))


def suspects_stand_in_lines(patch: pytest.MonkeyPatch) -> None:
    def give_work(self: Dispatch, pool: WorkerPool, now: float) -> None:
        while (job := pool.next_job(now)) is not None:
            units = pool.capacity if job.deaths else job.lane.units
            worker = pool.find_worker(units)
            is_ahead = worker is None
            if is_ahead and (worker := pool.find_line(job.lane)) is None:
                return
            attempt = self._send(self._take(job.lane, now), worker, units, now)
            (self._stand_in_line if is_ahead else self._begin)(attempt, now)

    patch.setattr(Dispatch, "dispatch", give_work)


def the_line_is_begun_from_its_end(patch: pytest.MonkeyPatch) -> None:
    begin = Dispatch.begin_next

    def backwards(self: Dispatch, worker: Worker, now: float) -> None:
        worker.line.rotate(1)
        begin(self, worker, now)

    patch.setattr(Dispatch, "begin_next", backwards)


def the_line_comes_back_in_disorder(patch: pytest.MonkeyPatch) -> None:
    def accept(self: Losses, event: on.Recalled, now: float) -> Worker:
        worker = self._desk.workers[event.worker]
        for attempt in [attempt for attempt in worker.line if attempt.id > event.started]:
            worker.line.remove(attempt)
            self._take_back(attempt, "recall", now)
        return worker

    def push_front(self: FifoQueue, job: Job, now: float) -> None:
        self.push(job, now)
        self.jobs.move_to_end(job.sequence, last=False)

    patch.setattr(Losses, "accept", accept)
    patch.setattr(FifoQueue, "push_front", push_front)


def a_back_off_never_ends(patch: pytest.MonkeyPatch) -> None:
    back_off = Again._back_off

    def forgetful(self: Again, job: Job, when: float) -> None:
        back_off(self, job, when)
        self._desk.timers.disarm(job)

    patch.setattr(Again, "_back_off", forgetful)


def a_back_off_ends_too_soon(patch: pytest.MonkeyPatch) -> None:
    back_off = Again._back_off
    patch.setattr(Again, "_back_off", lambda self, job, when: back_off(self, job, (self._desk.now + when) / 2))


def a_back_off_goes_beyond_the_deadline(patch: pytest.MonkeyPatch) -> None:
    def careless(job: Job, error: Any, now: float) -> Any:
        delay = job.lane.retry(job, error, now) if retrying.may_survive(job) else None
        return error if delay is None else delay

    patch.setattr(again, "delay_or_error", careless)


def a_back_off_is_lost_sight_of(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "waiting", lambda self: list(self.queue))


def a_retry_has_to_queue_up(patch: pytest.MonkeyPatch) -> None:
    def due(self: Again, job: Job, now: float) -> None:
        put_back = type(job.lane.queue).push_front
        patch.setattr(FifoQueue, "push_front", FifoQueue.push)
        on_job_due(self, job, now)
        patch.setattr(FifoQueue, "push_front", put_back)

    on_job_due = Again.on_job_due
    patch.setattr(Again, "on_job_due", due)


def a_retry_holds_its_slot(patch: pytest.MonkeyPatch) -> None:
    def leave(self: Again, job: Job) -> None:
        assert job.attempt is not None
        job.attempt.live -= 1
        job.attempt = None

    patch.setattr(Again, "_leave_attempt", leave)


def the_retry_policy_is_not_asked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Again, "fail", lambda self, job, error, now: self._answers.answer(job, "fail", error, now))


def the_retry_policy_is_not_heard(patch: pytest.MonkeyPatch) -> None:
    def stubborn(job: Job, error: Any, now: float) -> Any:
        verdict = retrying.delay_or_error(job, error, now)
        return 0.01 if verdict is error and retrying.may_survive(job) else verdict

    patch.setattr(again, "delay_or_error", stubborn)


def chunks_are_sent_twice(patch: pytest.MonkeyPatch) -> None:
    def careless(job: Job, error: Any, now: float) -> Any:
        chunks, job.chunks = job.chunks, 0
        verdict = retrying.delay_or_error(job, error, now)
        job.chunks = chunks
        return verdict

    patch.setattr(again, "delay_or_error", careless)


def what_is_not_idempotent_is_sent_ahead(patch: pytest.MonkeyPatch) -> None:
    begin = Lane.__init__

    def rash(self: Lane, spec: LaneSpec) -> None:
        begin(self, spec)
        self.may_send_ahead = spec.runs_in_turn

    patch.setattr(Lane, "__init__", rash)


def a_lane_that_is_never_the_oldest_is_starved(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "rank", property(lambda self: next(reversed(self.queue.jobs))))


def a_turn_costs_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Dispatch, "_pop", lambda self, lane, now: lane.queue.pop(now))


def nobody_is_shed_in_the_queue(patch: pytest.MonkeyPatch) -> None:
    def watch(self: Answers, job: Job, _now: float) -> None:
        self._timers.arm(job, min(job.start_by, job.finish_by))

    patch.setattr(Answers, "watch", watch)


def what_comes_back_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    accept, watch = Losses.accept, Answers.watch

    def careless(self: Losses, *rest: Any) -> Any:
        patch.setattr(Answers, "watch", lambda *_: None)
        worker = accept(self, *rest)
        patch.setattr(Answers, "watch", watch)
        return worker

    patch.setattr(Losses, "accept", careless)


def hopeless_jobs_are_started(patch: pytest.MonkeyPatch) -> None:
    honest = Answers.shed_if_hopeless

    def rash(self: Answers, job: Job, now: float) -> bool:
        return isinstance(job.lane.queue, GuardedQueue) and honest(self, job, now)

    patch.setattr(Answers, "shed_if_hopeless", rash)


def hopeless_jobs_join_batches(patch: pytest.MonkeyPatch) -> None:
    def may_join(self: Dispatch, lane: Lane, now: float) -> bool:
        return bool(lane.queue.jobs) and not lane.queue.head(now).is_suspect

    patch.setattr(Dispatch, "_may_join", may_join)


def a_mistake_is_called_a_deadline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(GuardedQueue, "failure_of", lambda *_: None)


def everybody_pays_for_a_mistake(patch: pytest.MonkeyPatch) -> None:
    head = GuardedQueue.head

    def harsh(self: GuardedQueue, now: float) -> Job:
        job = head(self, now)
        for error in list(self._marked.values()):
            self._marked.update(dict.fromkeys(self.jobs, error))
        return job

    patch.setattr(GuardedQueue, "head", harsh)


def a_queue_is_told_of_what_was_interrupted(patch: pytest.MonkeyPatch) -> None:
    ended = Attempts.on_attempt_ended

    def talkative(self: Attempts, event: on.ResultsArrived, now: float) -> None:
        attempt = self._desk.attempts.get(event.attempt)
        if attempt is not None and not attempt.live:
            attempt.lane.queue.learn(len(attempt.jobs), event.seconds, now)
        ended(self, event, now)

    patch.setattr(Attempts, "on_attempt_ended", talkative)


def a_queue_is_told_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WhimsicalQueue, "learn", lambda *_: None)


def a_pause_changes_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Intake, "_closed", lambda self: Draining("...") if self._desk.is_draining else None)


def a_pause_is_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Intake, "on_resume_requested", lambda *_: None)


def a_pause_takes_a_drain_back(patch: pytest.MonkeyPatch) -> None:
    def pause(self: Intake, _event: Any, _now: float) -> None:
        self._desk.intake = PAUSED

    patch.setattr(Intake, "on_pause_requested", pause)


def the_abandoned_are_taken_to_be_finished(patch: pytest.MonkeyPatch) -> None:
    give_up = Drain._give_up

    def forgetful(self: Drain, *rest: Any) -> None:
        give_up(self, *rest)
        self._desk.drain_abandoned -= 1

    patch.setattr(Drain, "_give_up", forgetful)


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
    a_stalled_line_is_never_recalled,
    nothing_is_recalled_when_its_caller_leaves,
    a_line_grows_while_it_is_recalled,
    an_earlier_recall_replaces_a_later_one,
    what_has_begun_is_taken_back,
    what_was_not_begun_is_taken_to_have_failed,
    what_was_not_begun_has_spent_a_try,
    nobody_in_a_line_is_to_blame,
    suspects_stand_in_lines,
    the_line_is_begun_from_its_end,
    the_line_comes_back_in_disorder,
    what_is_not_idempotent_is_sent_ahead,
    a_lane_that_is_never_the_oldest_is_starved,
    a_turn_costs_nothing,
    nobody_is_shed_in_the_queue,
    what_comes_back_is_not_looked_at,
    hopeless_jobs_are_started,
    hopeless_jobs_join_batches,
    a_mistake_is_called_a_deadline,
    everybody_pays_for_a_mistake,
    a_queue_is_told_of_what_was_interrupted,
    a_queue_is_told_nothing,
    a_pause_changes_nothing,
    a_pause_is_for_ever,
    a_pause_takes_a_drain_back,
    the_abandoned_are_taken_to_be_finished,
    a_back_off_never_ends,
    a_back_off_ends_too_soon,
    a_back_off_goes_beyond_the_deadline,
    a_back_off_is_lost_sight_of,
    a_retry_has_to_queue_up,
    a_retry_holds_its_slot,
    the_retry_policy_is_not_asked,
    the_retry_policy_is_not_heard,
    chunks_are_sent_twice,
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_broken_scheduler_is_found_out(
    mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each bug is found: most within a few thousand steps, the rarest within some hundred thousand."""
    monkeypatch.setattr(simulation, "DRAIN_STEPS", 5000)
    mutation(monkeypatch)
    with pytest.raises(SimulationFailed, match=r"^seed=\d+ step=\d+ "):
        simulate(1_000_000, 5)
