"""Sending ahead: giving a busy worker its next short jobs early, and recalling them.

A worker that has finished a short attempt waits for the next one for as long as a message takes both ways, which may be
longer than the attempt itself. So jobs of a lane whose attempts are short are sent to a worker that is still busy. They
wait there, in the worker's line, and begin in order as the attempts before them end. For their callers they are still
queued: they can expire, be cancelled, and be given to another worker.

That last part is the recall. When the running attempt takes longer than expected (``STALL_SECONDS``), is interrupted,
or a job in the line is not wanted any more, everything in the line that has not begun is taken back. There is a race:
the worker may begin an attempt at the very moment of its recall. Two 64-bit words in shared memory decide it, without a
message:

- the worker writes the id of the attempt it is about to begin to ``WORD_STARTED``, then reads ``WORD_RECALLED``, and
  does not begin if it covers that id (``worker.interrupts.InterruptGuard.may_begin``);
- the engine writes ``WORD_RECALLED``, then reads ``WORD_STARTED`` (``WorkerLink.recall``), and passes the value in as
  ``events.Recalled``: what is later than it belongs to the scheduler again.

Each side writes before it reads, so at least one of them sees the other's word. If both do, the worker answers the
attempt with ``NOT_BEGUN``, and the job is queued again without being charged an attempt. (The two stores could pass
each other for a few nanoseconds; then a job would run twice, which is why only idempotent lanes send ahead.)

Recalls are issued at the end of a turn, so that no attempt is on its way to the worker that the recall does not name.
"""

from __future__ import annotations

import math
from typing import Final

from penstock.policies import SMALL_BODY_BYTES
from penstock.scheduler import answers
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler.jobs import Attempt
from penstock.scheduler.lanes import Lane
from penstock.scheduler.pools import Worker, WorkerPool
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import ATTEMPT, BUSY, RUNNING
from penstock.scheduler.timers import NEVER

AHEAD_SECONDS: Final = 0.001
"""A worker is sent ahead as many attempts as are expected to take this long together."""

AHEAD_MOST: Final = 64
"""The most attempts in one line."""

AHEAD_BYTES: Final = SMALL_BODY_BYTES
"""The most bytes of bodies in one line, which must fit into the socket to the worker: the bytes of an attempt that is
recalled while it is still being written are written all the same, and once more when it is sent again. A larger body is
never sent ahead, and nothing is sent ahead behind one."""

STALL_SECONDS: Final = 0.01
"""A line that has waited for this long is recalled, and no attempt joins it until the running one has ended."""

_EXPECTATION_GAIN: Final = 0.125
"""The weight of the latest time in the moving average, as in TCP's estimate of the round-trip time (RFC 6298)."""


# ---- who is sent ahead


def learn(lane: Lane, seconds: float) -> None:
    """Adjust the expected duration of the lane's next attempt, and with it the length of lines."""
    if lane.expected_seconds == math.inf:
        lane.expected_seconds = seconds
    else:
        lane.expected_seconds += _EXPECTATION_GAIN * (seconds - lane.expected_seconds)
    lane.most_ahead = AHEAD_SECONDS // max(lane.expected_seconds, AHEAD_SECONDS / AHEAD_MOST)


def find_brisk_worker(pool: WorkerPool, lane: Lane, size_bytes: int) -> Worker | None:
    """Return the brisk worker with the shortest line that has room for one more job of this lane and size, or None."""
    shortest = lane.most_ahead
    if not shortest:
        return None
    best = None
    room = AHEAD_BYTES - size_bytes
    for place in pool.places:
        worker = place.worker
        if worker is not None and len(worker.line) < shortest and worker.line_bytes <= room and _is_brisk(worker):
            best, shortest = worker, len(worker.line)
    return best


def _is_brisk(worker: Worker) -> bool:
    """Return whether the worker's one running attempt can be expected to end within a moment."""
    if worker.state is not BUSY or worker.is_recalled or len(worker.attempts) > 1:
        return False
    (attempt,) = worker.attempts.values()
    if attempt.jobs[0].size_bytes > AHEAD_BYTES:  # its body may still be on its way, and a line waits behind that too
        return False
    return attempt.state is RUNNING and attempt.lane.most_ahead > 0


# ---- the line


def join_line(state: SchedulerState, attempt: Attempt, now: float) -> None:
    """Append an attempt, which has been sent, to its worker's line."""
    worker = attempt.worker
    attempt.lane.ahead += 1
    worker.line.append(attempt)
    worker.line_bytes += attempt.jobs[0].size_bytes
    if worker.due == NEVER:  # it had no line, or a stalled one with nothing left in it to recall
        _watch(state, worker, now)


def leave_line(state: SchedulerState, worker: Worker, now: float) -> Attempt:
    """Remove and return the first attempt of the line: the one before it has ended, so the worker has begun it."""
    attempt = worker.line.popleft()
    worker.line_bytes -= attempt.jobs[0].size_bytes
    attempt.lane.ahead -= attempt.live
    _watch(state, worker, now)
    return attempt


def _watch(state: SchedulerState, worker: Worker, now: float) -> None:
    """Bound the wait of the worker's line."""
    if worker.line:
        state.timers.arm(worker, now + STALL_SECONDS)
    else:
        worker.due = NEVER


# ---- taking it back


def issue_recalls(state: SchedulerState) -> None:
    """Issue the recalls of this turn, as its last commands."""
    for worker in state.to_recall:
        if worker.line:  # otherwise it was begun or lost in this same turn
            worker.recalled = worker.line[-1].id
            worker.is_recalled = True
            state.out.append(do.Recall(worker.id, worker.recalled))
    state.to_recall.clear()


def accept_recalled(state: SchedulerState, event: on.Recalled, now: float) -> Worker | None:
    """Take back the attempts that a worker has not begun; return the worker, or None if it has no line."""
    worker = state.workers.get(event.worker)
    if worker is None or not worker.line:
        return None
    while worker.line and worker.line[-1].id > event.started:
        attempt = worker.line.pop()
        state.given_back[attempt.id] = worker.id
        take_back(state, attempt, "recall", now)
    _watch(state, worker, now)  # the worker has begun the rest: the result of the attempt before them is on its way
    return worker


def take_back(state: SchedulerState, attempt: Attempt, happening: str, now: float) -> None:
    """Return the jobs of an attempt that was never begun to where they were in their queue."""
    del state.attempts[attempt.id]
    attempt.worker.line_bytes -= attempt.jobs[0].size_bytes
    attempt.state = ATTEMPT[attempt.state][happening]
    for job in attempt.jobs:
        if job.attempt is attempt:
            job.attempt = None
            job.lane.ahead -= 1
            job.lane.queue.push_front(job, now)
            job.lane.pool.queued += 1
            job.lane.items += job.items
            answers.watch(state, job, now)
