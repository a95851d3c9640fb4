"""Results: what workers report about their attempts, and what callers take of streams."""

from __future__ import annotations

from penstock.errors import HandlerError, PenstockError
from penstock.scheduler import answers, deadlines, endings, recycling, retries, sending_ahead
from penstock.scheduler import commands as do
from penstock.scheduler import dispatch as dispatching
from penstock.scheduler import events as on
from penstock.scheduler.jobs import Attempt
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import ATTEMPT, DRAINING


def on_results_arrived(state: SchedulerState, event: on.ResultsArrived, now: float) -> None:
    """Settle the jobs of an attempt that has ended, and use its slot for the next one."""
    attempt = state.attempts.get(event.attempt)
    if attempt is None:
        state.given_back.pop(event.attempt, None)
        return  # it was recalled, or its worker was killed or lost; all that it held was settled then
    if len(event.results) != len(attempt.jobs):
        raise ValueError(f"{attempt!r} has ended with {len(event.results)} results")
    del state.attempts[attempt.id]
    if attempt.entry is not None:
        state.timers.disarm(attempt)
    attempt.state = ATTEMPT[attempt.state]["finish"]
    lane = attempt.lane
    has_begun = event.results[0] is not on.NOT_BEGUN
    # An interrupted attempt says nothing about how long it would have taken.
    is_lesson = not lane.is_plain and attempt.live > 0 and has_begun
    if has_begun:
        lane.counts.record_attempt(len(attempt.jobs), attempt.live, event.seconds)
    _settle(state, attempt, event, now)
    if lane.may_send_ahead and has_begun:
        sending_ahead.learn(lane, event.seconds)
    if is_lesson:
        lane.queue.learn(len(attempt.jobs), event.seconds, now)
    worker = attempt.worker
    worker.place.failures = 0
    worker.give_back(attempt, now)
    if worker.attempts_left is not None:
        recycling.count_attempt(state, worker)
    if worker.line:
        dispatching.begin_next(state, worker, now)
    if worker.state is DRAINING:
        endings.retire_when_done(state, worker, now)
    dispatching.dispatch(state, worker.pool, now)


def _settle(state: SchedulerState, attempt: Attempt, event: on.ResultsArrived, now: float) -> None:
    """Give each job that still waits for the attempt its result."""
    for position, job in enumerate(attempt.jobs):
        if job.attempt is attempt:
            result = event.results[position]
            if result is on.NOT_BEGUN:
                retries.unbegin(state, job, now)
                continue
            job.handler_seconds = event.seconds
            if not isinstance(result, PenstockError):
                answers.answer(state, job, "succeed", result, now)
            elif isinstance(result, HandlerError):
                retries.fail(state, job, result, now)
            else:
                answers.fail(state, job, result, now)


def on_recalled(state: SchedulerState, event: on.Recalled, now: float) -> None:
    """Give the attempts that a worker has given back to other workers."""
    worker = sending_ahead.accept_recalled(state, event, now)
    if worker is not None:
        dispatching.dispatch(state, worker.pool, now)


def on_stream_began(state: SchedulerState, event: on.StreamBegan, now: float) -> None:
    """Record that the job is answered in chunks: other limits apply to it from now on."""
    attempt = state.attempts.get(event.attempt)
    if attempt is None:
        if event.attempt in state.given_back:  # it was begun at the very moment of its recall, and would not end soon
            state.out.append(do.Interrupt(state.given_back[event.attempt], event.attempt))
        return
    if not attempt.live:
        return
    attempt.state = ATTEMPT[attempt.state]["stream"]
    state.recall_line(attempt.worker)  # the jobs in its line must not wait for the end of the stream
    (job,) = attempt.jobs  # a stream is never batched
    job.head = event.head
    answers.expire_or_watch(state, job, now)


def on_chunks_arrived(state: SchedulerState, event: on.ChunksArrived, now: float) -> None:
    """Record that it is the caller's turn to take chunks."""
    attempt = state.attempts.get(event.attempt)
    if attempt is None or not attempt.live:
        return
    (job,) = attempt.jobs  # a stream is never batched
    is_first = not job.chunks
    if not job.untaken:
        job.progressed = now
    job.chunks += event.count
    job.untaken += event.count
    if is_first:
        job.first_chunk_at = now
        state.timers.arm(job, deadlines.next_limit(job)[0])


def on_chunks_taken(_state: SchedulerState, event: on.ChunksTaken, now: float) -> None:
    """Record that the caller reads."""
    job = event.job
    if event.count:  # taking no chunk must not postpone the limit on the model's silence
        job.untaken -= event.count
        job.progressed = now
