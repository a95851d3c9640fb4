"""What workers say of their attempts: that a stream has got on, and that an attempt has ended."""

from __future__ import annotations

from penstock.errors import HandlerError, PenstockError
from penstock.scheduler import events as on
from penstock.scheduler.answers import Answers
from penstock.scheduler.deadlines import next_limit
from penstock.scheduler.dispatch import Dispatch
from penstock.scheduler.jobs import Attempt
from penstock.scheduler.requeueing import Again
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import ATTEMPT, DRAINING
from penstock.scheduler.supervision import Supervision


class Attempts:
    """Takes in results and chunks."""

    __slots__ = ("_again", "_answers", "_desk", "_dispatch", "_supervision")

    def __init__(
        self, desk: SchedulerState, answers: Answers, again: Again, dispatch: Dispatch, supervision: Supervision
    ) -> None:
        self._desk = desk
        self._answers = answers
        self._again = again
        self._dispatch = dispatch
        self._supervision = supervision

    def on_attempt_ended(self, event: on.ResultsArrived, now: float) -> None:
        """Its slot is free, and each of its jobs has a result."""
        desk = self._desk
        attempt = desk.attempts.get(event.attempt)
        if attempt is None:
            return  # its worker was killed or lost, and everything it owed has been settled then
        if len(event.results) != len(attempt.jobs):
            raise ValueError(f"{attempt!r} has ended with {len(event.results)} results")
        del desk.attempts[attempt.id]
        if attempt.entry is not None:
            desk.timers.disarm(attempt)
        attempt.state = ATTEMPT[attempt.state]["finish"]
        lane = attempt.lane
        # What was interrupted says nothing of how long it would have taken.
        is_lesson = not lane.is_plain and attempt.live > 0 and event.results[0] is not on.NOT_BEGUN
        self._settle(attempt, event, now)
        if lane.may_send_ahead and event.results[0] is not on.NOT_BEGUN:
            lane.learn(event.seconds)
        if is_lesson:
            lane.queue.learn(len(attempt.jobs), event.seconds, now)
        worker = attempt.worker
        worker.place.failures = 0
        worker.give_back(attempt, now)
        if worker.line:
            self._dispatch.begin_next(worker, now)
        if worker.state is DRAINING:
            self._supervision.retire_when_done(worker, now)
        self._dispatch.dispatch(worker.pool, now)

    def _settle(self, attempt: Attempt, event: on.ResultsArrived, now: float) -> None:
        """Give its jobs their results, those of them that still wait."""
        for position, job in enumerate(attempt.jobs):
            if job.attempt is attempt:
                result = event.results[position]
                if result is on.NOT_BEGUN:
                    self._again.unbegin(job, now)
                    continue
                job.execution_seconds = event.seconds
                if not isinstance(result, PenstockError):
                    self._answers.answer(job, "succeed", result, now)
                elif isinstance(result, HandlerError):
                    self._again.fail(job, result, now)
                else:
                    self._answers.fail(job, result, now)

    def on_chunks_arrived(self, event: on.ChunksArrived, now: float) -> None:
        """The stream's turn is with its caller."""
        attempt = self._desk.attempts.get(event.attempt)
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
            self._desk.timers.arm(job, next_limit(job)[0])

    def on_chunks_taken(self, event: on.ChunksTaken, now: float) -> None:
        """The caller reads."""
        job = event.job
        if event.count:  # taking nothing must not put off the limit on the model's silence
            job.untaken -= event.count
            job.progressed = now
