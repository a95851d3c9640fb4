"""Deliberate bugs: a simulation that finds nothing proves something only if it would find these."""

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
    admission,
    answers,
    conduct,
    deadlines,
    drain,
    endings,
    recycling,
    results,
    retries,
    sending_ahead,
    staffing,
    supervision,
)
from penstock.scheduler import commands as do
from penstock.scheduler import dispatch as dispatching
from penstock.scheduler import events as on
from penstock.scheduler.lane_counts import LaneCounts, RecentCounts
from penstock.scheduler.pools import Place, Worker, WorkerPool
from penstock.scheduler.reports import INTERRUPT, MEMORY
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import DEAD, PAUSED, STARTING
from penstock.scheduler.timers import NEVER
from penstock.testing import simulation
from penstock.testing.scenarios import LOOP
from penstock.testing.simulation import SimulationFailed, simulate
from penstock.testing.whimsical_queues import WhimsicalQueue


def slot_is_never_given_back(patch: pytest.MonkeyPatch) -> None:
    def give_back(self: Worker, attempt: Attempt, now: float) -> None:
        del self.attempts[attempt.id]
        if not self.attempts:
            self.move("fall idle", now)

    patch.setattr(Worker, "give_back", give_back)


def answers_come_twice(patch: pytest.MonkeyPatch) -> None:
    answer = answers.answer

    def twice(state: SchedulerState, job: Job, *rest: Any, **options: Any) -> None:
        answer(state, job, *rest, **options)
        state.out.append(do.Answer(job))

    patch.setattr(answers, "answer", twice)


def execution_deadlines_are_ignored(patch: pytest.MonkeyPatch) -> None:
    next_limit = deadlines.next_limit

    def limit(job: Job) -> tuple[float, str]:
        return next_limit(job) if job.attempt is None else (NEVER, "execution")

    patch.setattr(deadlines, "next_limit", limit)


def requeued_jobs_have_no_timer(patch: pytest.MonkeyPatch) -> None:
    queue = retries._queue

    def forgetful(state: SchedulerState, job: Job, now: float) -> None:
        queue(state, job, now)
        state.timers.disarm(job)

    patch.setattr(retries, "_queue", forgetful)


def deaths_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    lose = endings._lose
    patch.setattr(endings, "_lose", lambda state, job, now, **_: lose(state, job, now, is_innocent=True))


def innocents_pay_for_others(patch: pytest.MonkeyPatch) -> None:
    lose = endings._lose
    patch.setattr(endings, "_lose", lambda state, job, now, **_: lose(state, job, now, is_innocent=False))


def streams_run_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(retries, "is_safe_again", lambda job: True)


def nobody_is_interrupted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answers, "stop", lambda *_: None)


def grace_never_ends(patch: pytest.MonkeyPatch) -> None:
    stop = answers.stop

    def patient(state: SchedulerState, attempt: Attempt, *rest: Any) -> None:
        stop(state, attempt, *rest)
        state.timers.disarm(attempt)

    patch.setattr(answers, "stop", patient)


def the_last_come_is_the_first_served(patch: pytest.MonkeyPatch) -> None:
    def take(_state: SchedulerState, lane: Lane, now: float) -> list[Job]:
        job = next(reversed(lane.queue.jobs.values()))
        lane.queue.remove(job, "", now)
        return [job]

    patch.setattr(dispatching, "take_jobs", take)


def a_hang_up_lets_nobody_through(patch: pytest.MonkeyPatch) -> None:
    cancel, give_work = admission.on_cancel_requested, dispatching.dispatch

    def idle(*arguments: Any) -> None:
        patch.setattr(dispatching, "dispatch", lambda *_: None)
        cancel(*arguments)
        patch.setattr(dispatching, "dispatch", give_work)

    patch.setattr(admission, "on_cancel_requested", idle)


def batches_wait_too_long(patch: pytest.MonkeyPatch) -> None:
    due = Lane.batch_due
    patch.setattr(Lane, "next_batch_due", lambda self: max((due(self, job) for job in self.queue), default=NEVER))


def suspects_share_a_worker(patch: pytest.MonkeyPatch) -> None:
    def send(state: SchedulerState, jobs: list[Job], worker: Worker, _units: int, now: float) -> Attempt:
        return honest(state, jobs, worker, jobs[0].lane.units, now)

    honest = dispatching.send
    patch.setattr(dispatching, "send", send)


def a_drain_forgets_the_idle(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(drain, "settle", lambda *_: None)


def a_failed_pool_keeps_jobs_waiting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(staffing, "_answer_stranded", lambda *_: None)


def a_lost_place_stays_empty(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(staffing, "on_place_due", lambda *_: None)


def bytes_are_not_counted_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dispatching, "take_jobs", lambda state, lane, now: [lane.queue.jobs.popitem(last=False)[1]])


def taking_nothing_buys_time(patch: pytest.MonkeyPatch) -> None:
    def taken(_state: SchedulerState, event: Any, now: float) -> None:
        event.job.untaken = 0
        event.job.progressed = now

    patch.setattr(results, "on_chunks_taken", taken)


def a_stalled_line_is_never_recalled(patch: pytest.MonkeyPatch) -> None:
    due = supervision.on_worker_due

    def patient(state: SchedulerState, worker: Worker, now: float) -> None:
        if not worker.line:
            due(state, worker, now)

    patch.setattr(supervision, "on_worker_due", patient)


def nothing_is_recalled_when_its_caller_leaves(patch: pytest.MonkeyPatch) -> None:
    recall, due = SchedulerState.recall_line, supervision.on_worker_due

    def only_when_stalled(state: SchedulerState, worker: Worker, now: float) -> None:
        patch.setattr(SchedulerState, "recall_line", recall)
        due(state, worker, now)
        patch.setattr(SchedulerState, "recall_line", lambda *_: None)

    patch.setattr(SchedulerState, "recall_line", lambda *_: None)
    patch.setattr(supervision, "on_worker_due", only_when_stalled)


def a_line_grows_while_it_is_recalled(patch: pytest.MonkeyPatch) -> None:
    recall = SchedulerState.recall_line

    def at_once(self: SchedulerState, worker: Worker) -> None:
        recall(self, worker)
        if self.to_recall:
            sending_ahead.issue_recalls(self)
        worker.is_recalled = False

    patch.setattr(SchedulerState, "recall_line", at_once)


def an_earlier_recall_replaces_a_later_one(patch: pytest.MonkeyPatch) -> None:
    recall = SchedulerState.recall_line

    def forgetful(self: SchedulerState, worker: Worker) -> None:
        worker.recalled = 0
        recall(self, worker)

    patch.setattr(SchedulerState, "recall_line", forgetful)


def what_has_begun_is_taken_back(patch: pytest.MonkeyPatch) -> None:
    accept = sending_ahead.accept_recalled
    patch.setattr(
        sending_ahead, "accept_recalled", lambda state, event, now: accept(state, on.Recalled(event.worker, 0), now)
    )


def what_was_not_begun_is_taken_to_have_failed(patch: pytest.MonkeyPatch) -> None:
    def fail(state: SchedulerState, job: Job, now: float) -> None:
        retries.fail(state, job, HandlerError("not begun"), now)

    patch.setattr(retries, "unbegin", fail)


def what_was_not_begun_has_spent_a_try(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(retries, "unbegin", retries.requeue)


def nobody_in_a_line_is_to_blame(patch: pytest.MonkeyPatch) -> None:
    def take_back(state: SchedulerState, attempt: Attempt, now: float) -> None:
        sending_ahead.take_back(state, attempt, "lose", now)

    patch.setattr(endings, "_blame", take_back)


def suspects_stand_in_lines(patch: pytest.MonkeyPatch) -> None:
    def give_work(state: SchedulerState, pool: WorkerPool, now: float) -> None:
        while (job := dispatching.next_job(pool, now)) is not None:
            units = pool.capacity if job.deaths else job.lane.units
            worker = dispatching.find_worker(pool, units)
            is_ahead = worker is None
            if worker is None and (worker := sending_ahead.find_brisk_worker(pool, job.lane)) is None:
                return
            attempt = dispatching.send(state, dispatching.take_jobs(state, job.lane, now), worker, units, now)
            (sending_ahead.join_line if is_ahead else dispatching._begin)(state, attempt, now)

    patch.setattr(dispatching, "dispatch", give_work)


def the_line_is_begun_from_its_end(patch: pytest.MonkeyPatch) -> None:
    begin = dispatching.begin_next

    def backwards(state: SchedulerState, worker: Worker, now: float) -> None:
        worker.line.rotate(1)
        begin(state, worker, now)

    patch.setattr(dispatching, "begin_next", backwards)


def the_line_comes_back_in_disorder(patch: pytest.MonkeyPatch) -> None:
    def accept(state: SchedulerState, event: on.Recalled, now: float) -> Worker:
        worker = state.workers[event.worker]
        for attempt in [attempt for attempt in worker.line if attempt.id > event.started]:
            worker.line.remove(attempt)
            sending_ahead.take_back(state, attempt, "recall", now)
        return worker

    def push_front(self: FifoQueue, job: Job, now: float) -> None:
        self.push(job, now)
        self.jobs.move_to_end(job.sequence, last=False)

    patch.setattr(sending_ahead, "accept_recalled", accept)
    patch.setattr(FifoQueue, "push_front", push_front)


def a_back_off_never_ends(patch: pytest.MonkeyPatch) -> None:
    back_off = retries._back_off

    def forgetful(state: SchedulerState, job: Job, when: float) -> None:
        back_off(state, job, when)
        state.timers.disarm(job)

    patch.setattr(retries, "_back_off", forgetful)


def a_back_off_ends_too_soon(patch: pytest.MonkeyPatch) -> None:
    back_off = retries._back_off
    patch.setattr(retries, "_back_off", lambda state, job, when: back_off(state, job, (state.now + when) / 2))


def a_back_off_goes_beyond_the_deadline(patch: pytest.MonkeyPatch) -> None:
    def careless(job: Job, error: Any, now: float) -> Any:
        delay = job.lane.retry(job, error, now) if retries.may_survive(job) else None
        return error if delay is None else delay

    patch.setattr(retries, "delay_or_error", careless)


def a_back_off_is_lost_sight_of(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "waiting", lambda self: list(self.queue))


def a_retry_has_to_queue_up(patch: pytest.MonkeyPatch) -> None:
    def due(state: SchedulerState, job: Job, now: float) -> None:
        put_back = type(job.lane.queue).push_front
        patch.setattr(FifoQueue, "push_front", FifoQueue.push)
        on_job_due(state, job, now)
        patch.setattr(FifoQueue, "push_front", put_back)

    on_job_due = retries.on_job_due
    patch.setattr(retries, "on_job_due", due)


def a_retry_holds_its_slot(patch: pytest.MonkeyPatch) -> None:
    def leave(job: Job) -> None:
        assert job.attempt is not None
        job.attempt.live -= 1
        job.attempt = None

    patch.setattr(retries, "_leave_attempt", leave)


def the_retry_policy_is_not_asked(patch: pytest.MonkeyPatch) -> None:
    def answer(state: SchedulerState, job: Job, error: Any, now: float) -> None:
        answers.answer(state, job, "fail", error, now)

    patch.setattr(retries, "fail", answer)


def the_retry_policy_is_not_heard(patch: pytest.MonkeyPatch) -> None:
    delay_or_error = retries.delay_or_error

    def stubborn(job: Job, error: Any, now: float) -> Any:
        verdict = delay_or_error(job, error, now)
        return 0.01 if verdict is error and retries.may_survive(job) else verdict

    patch.setattr(retries, "delay_or_error", stubborn)


def chunks_are_sent_twice(patch: pytest.MonkeyPatch) -> None:
    delay_or_error = retries.delay_or_error

    def careless(job: Job, error: Any, now: float) -> Any:
        chunks, job.chunks = job.chunks, 0
        verdict = delay_or_error(job, error, now)
        job.chunks = chunks
        return verdict

    patch.setattr(retries, "delay_or_error", careless)


def what_is_not_idempotent_is_sent_ahead(patch: pytest.MonkeyPatch) -> None:
    begin = Lane.__init__

    def rash(self: Lane, spec: LaneSpec) -> None:
        begin(self, spec)
        self.may_send_ahead = spec.runs_in_turn

    patch.setattr(Lane, "__init__", rash)


def large_bodies_are_sent_ahead(patch: pytest.MonkeyPatch) -> None:
    find = sending_ahead.find_brisk_worker
    patch.setattr(sending_ahead, "find_brisk_worker", lambda pool, lane, _size_bytes: find(pool, lane, 0))


def a_lane_that_is_never_the_oldest_is_starved(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "rank", property(lambda self: next(reversed(self.queue.jobs))))


def a_turn_costs_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dispatching, "_pop", lambda state, lane, now: lane.queue.pop(now))


def nobody_is_shed_in_the_queue(patch: pytest.MonkeyPatch) -> None:
    def watch(state: SchedulerState, job: Job, _now: float) -> None:
        state.timers.arm(job, min(job.start_by, job.finish_by))

    patch.setattr(answers, "watch", watch)


def what_comes_back_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    accept, watch = sending_ahead.accept_recalled, answers.watch

    def careless(*arguments: Any) -> Any:
        patch.setattr(answers, "watch", lambda *_: None)
        worker = accept(*arguments)
        patch.setattr(answers, "watch", watch)
        return worker

    patch.setattr(sending_ahead, "accept_recalled", careless)


def hopeless_jobs_are_started(patch: pytest.MonkeyPatch) -> None:
    honest = answers.shed_if_hopeless

    def rash(state: SchedulerState, job: Job, now: float) -> bool:
        return isinstance(job.lane.queue, GuardedQueue) and honest(state, job, now)

    patch.setattr(answers, "shed_if_hopeless", rash)


def hopeless_jobs_join_batches(patch: pytest.MonkeyPatch) -> None:
    def may_join(_state: SchedulerState, lane: Lane, now: float) -> bool:
        return bool(lane.queue.jobs) and not lane.queue.head(now).is_suspect

    patch.setattr(dispatching, "_may_join", may_join)


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
    arrived = results.on_results_arrived

    def talkative(state: SchedulerState, event: on.ResultsArrived, now: float) -> None:
        attempt = state.attempts.get(event.attempt)
        if attempt is not None and not attempt.live:
            attempt.lane.queue.learn(len(attempt.jobs), event.seconds, now)
        arrived(state, event, now)

    patch.setattr(results, "on_results_arrived", talkative)


def a_queue_is_told_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WhimsicalQueue, "learn", lambda *_: None)


def a_pause_changes_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(admission, "closed", lambda state: Draining("...") if state.is_draining else None)


def a_pause_is_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(admission, "on_resume_requested", lambda *_: None)


def a_pause_takes_a_drain_back(patch: pytest.MonkeyPatch) -> None:
    def pause(state: SchedulerState, _event: Any, _now: float) -> None:
        state.intake = PAUSED

    patch.setattr(admission, "on_pause_requested", pause)


def the_abandoned_are_taken_to_be_finished(patch: pytest.MonkeyPatch) -> None:
    abandon = drain._abandon

    def forgetful(state: SchedulerState, *rest: Any) -> None:
        abandon(state, *rest)
        state.drain_abandoned -= 1

    patch.setattr(drain, "_abandon", forgetful)


def starts_may_take_forever(patch: pytest.MonkeyPatch) -> None:
    due = supervision.on_worker_due

    def patient(state: SchedulerState, worker: Worker, now: float) -> None:
        if worker.state is not STARTING:
            due(state, worker, now)

    patch.setattr(supervision, "on_worker_due", patient)


def suspended_workers_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(supervision, "on_worker_suspended", lambda *_: None)


def a_recall_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    take_back = sending_ahead.take_back

    def forgetful(state: SchedulerState, attempt: Attempt, happening: str, now: float) -> None:
        state.given_back.pop(attempt.id, None)
        take_back(state, attempt, happening, now)

    patch.setattr(sending_ahead, "take_back", forgetful)


def the_late_word_of_the_dead_is_held_against_them(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conduct, "DEAD", "never")


def forged_results_are_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conduct, "breach_by_results", lambda *_: None)


def forged_chunks_are_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conduct, "breach_by_chunks", lambda *_: None)


def forged_streams_are_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conduct, "breach_by_stream", lambda *_: None)


def a_stream_outlives_its_attempt(patch: pytest.MonkeyPatch) -> None:
    leave = retries._leave_attempt

    def leave_with_head(job: Job) -> None:
        head = job.head
        leave(job)
        job.head = head

    patch.setattr(retries, "_leave_attempt", leave_with_head)


def a_second_set_up_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conduct, "breach_by_setup", lambda *_: None)


def a_forged_word_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conduct, "breach_by_recall", lambda *_: None)


def whoever_breaks_the_protocol_goes_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(supervision, "on_protocol_broken", lambda *_: None)


def jobs_go_from_one_dead_worker_to_another(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(supervision, "on_workers_died", lambda *_: None)


def counts_are_reported_twice(patch: pytest.MonkeyPatch) -> None:
    take = LaneCounts.take

    def forgetful(self: LaneCounts) -> RecentCounts:
        answered = self._answered
        counts = take(self)
        self._answered = answered[-1:]
        return counts

    patch.setattr(LaneCounts, "take", forgetful)


def the_time_of_the_lost_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    lose = endings.lose_attempts

    def forgiving(*arguments: Any) -> None:
        patch.setattr(LaneCounts, "record_attempt", lambda *_: None)
        lose(*arguments)
        patch.setattr(LaneCounts, "record_attempt", record)

    record = LaneCounts.record_attempt
    patch.setattr(endings, "lose_attempts", forgiving)


def time_is_useful_if_anybody_waits(patch: pytest.MonkeyPatch) -> None:
    record = LaneCounts.record_attempt
    patch.setattr(
        LaneCounts,
        "record_attempt",
        lambda self, jobs, useful, seconds: record(self, jobs, jobs if useful else 0, seconds),
    )


def two_workers_are_recycled_at_a_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WorkerPool, "is_complete", True)


def the_old_worker_leaves_before_the_new_one_is_ready(patch: pytest.MonkeyPatch) -> None:
    add_twin = staffing._add_twin

    def hasty(state: SchedulerState, place: Place, now: float) -> Place:
        worker = place.worker
        if worker is not None and worker in place.pool.working():
            endings.retire(state, worker, now)
        return add_twin(state, place, now)

    patch.setattr(staffing, "_add_twin", hasty)


def a_spare_never_takes_over(patch: pytest.MonkeyPatch) -> None:
    take_over = staffing._let_take_over

    def only_the_new(state: SchedulerState, pool: WorkerPool, now: float) -> None:
        if all(worker.since == now for worker in pool.standing_by()):
            take_over(state, pool, now)

    patch.setattr(staffing, "_let_take_over", only_the_new)


def attempts_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recycling, "count_attempt", lambda *_: None)


def nobody_grows_old(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recycling, "on_age_due", lambda *_: None)


def limits_are_spread_to_both_sides(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recycling, "SPREAD", -1.0)


def memory_has_no_limit(patch: pytest.MonkeyPatch) -> None:
    recycle = SchedulerState.recycle

    def generous(self: SchedulerState, worker: Worker, reason: str, detail: str = "") -> None:
        if reason != MEMORY:
            recycle(self, worker, reason, detail)

    patch.setattr(SchedulerState, "recycle", generous)


def a_giant_lives_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recycling, "deadly_bytes", lambda *_: 1 << 60)


def nobody_is_to_blame_for_a_giant(patch: pytest.MonkeyPatch) -> None:
    measured = recycling.on_memory_measured

    def lenient(state: SchedulerState, event: Any, now: float) -> None:
        event.started = 0
        measured(state, event, now)

    patch.setattr(recycling, "on_memory_measured", lenient)


def the_interrupted_are_trusted(patch: pytest.MonkeyPatch) -> None:
    recycle = SchedulerState.recycle

    def trusting(self: SchedulerState, worker: Worker, reason: str, detail: str = "") -> None:
        if reason != INTERRUPT:
            recycle(self, worker, reason, detail)

    patch.setattr(SchedulerState, "recycle", trusting)


def a_pool_does_not_grow(patch: pytest.MonkeyPatch) -> None:
    def grow(state: SchedulerState, event: Any, _now: float) -> None:
        pool = state.pools[event.pool]
        if not state.is_draining:
            pool.target = event.workers
            state.to_staff.append(pool)

    patch.setattr(staffing, "on_scale_requested", grow)


def a_pool_shrinks_by_kills(patch: pytest.MonkeyPatch) -> None:
    def give_up(state: SchedulerState, place: Place, now: float) -> None:
        place.pool.places.remove(place)
        if place.worker is not None and place.worker.state is not DEAD:
            endings.kill(state, place.worker, now, "it is one too many")

    patch.setattr(staffing, "_give_up", give_up)


def a_pool_does_not_shrink(patch: pytest.MonkeyPatch) -> None:
    surplus = WorkerPool.surplus.fget
    assert surplus is not None
    patch.setattr(WorkerPool, "surplus", property(lambda self: min(0, surplus(self))))


def what_drains_forgets_its_line(patch: pytest.MonkeyPatch) -> None:
    retire = endings.retire

    def forgetful(state: SchedulerState, worker: Worker, now: float) -> None:
        recall = SchedulerState.recall_line
        patch.setattr(SchedulerState, "recall_line", lambda *_: None)
        retire(state, worker, now)
        patch.setattr(SchedulerState, "recall_line", recall)

    patch.setattr(endings, "retire", forgetful)


def a_stuck_step_is_waited_for(patch: pytest.MonkeyPatch) -> None:
    due = supervision.on_attempt_due

    def patient(state: SchedulerState, attempt: Attempt, now: float) -> None:
        if attempt.lane.name == LOOP:
            endings.retire(state, attempt.worker, now)
        else:
            due(state, attempt, now)

    patch.setattr(supervision, "on_attempt_due", patient)


def a_slot_is_used_again_before_its_release(patch: pytest.MonkeyPatch) -> None:
    stop = answers.stop

    def hasty(state: SchedulerState, attempt: Attempt, *rest: Any) -> None:
        stop(state, attempt, *rest)
        if attempt.lane.name == LOOP:
            attempt.worker.free += attempt.units
            attempt.units = 0

    patch.setattr(answers, "stop", hasty)


def whoever_shares_a_stuck_step_pays_for_it(patch: pytest.MonkeyPatch) -> None:
    lose = endings._lose

    def harsh(state: SchedulerState, job: Job, now: float, *, is_innocent: bool) -> None:
        lose(state, job, now, is_innocent=is_innocent and job.lane.name != LOOP)

    patch.setattr(endings, "_lose", harsh)


MUTATIONS = [
    a_stuck_step_is_waited_for,
    a_slot_is_used_again_before_its_release,
    whoever_shares_a_stuck_step_pays_for_it,
    two_workers_are_recycled_at_a_time,
    the_old_worker_leaves_before_the_new_one_is_ready,
    a_spare_never_takes_over,
    attempts_are_not_counted,
    nobody_grows_old,
    limits_are_spread_to_both_sides,
    memory_has_no_limit,
    a_giant_lives_on,
    nobody_is_to_blame_for_a_giant,
    the_interrupted_are_trusted,
    a_pool_does_not_grow,
    a_pool_shrinks_by_kills,
    a_pool_does_not_shrink,
    what_drains_forgets_its_line,
    counts_are_reported_twice,
    the_time_of_the_lost_is_forgotten,
    time_is_useful_if_anybody_waits,
    starts_may_take_forever,
    suspended_workers_stay,
    a_recall_is_forgotten,
    the_late_word_of_the_dead_is_held_against_them,
    forged_results_are_believed,
    forged_chunks_are_believed,
    forged_streams_are_believed,
    a_stream_outlives_its_attempt,
    a_second_set_up_is_believed,
    a_forged_word_is_believed,
    whoever_breaks_the_protocol_goes_on,
    jobs_go_from_one_dead_worker_to_another,
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
    large_bodies_are_sent_ahead,
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
