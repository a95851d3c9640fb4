"""Answering jobs. That is all that a deadline, a hang-up or the end of a drain does; the ladder does the rest."""

from __future__ import annotations

from typing import Any, Final

from penstock.errors import Cancelled, HandlerError, PenstockError
from penstock.scheduler import commands as do
from penstock.scheduler import deadlines
from penstock.scheduler.deadlines import error_of, error_of_shedding, next_limit
from penstock.scheduler.guarded_queue import GuardedQueue
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.sending_ahead import Lines
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import ATTEMPT, BACKING_OFF, JOB, QUEUED, RUNNING, SENT

_CLOCK_SLACK: Final = 0.05
"""A worker's own cancel scope may end an attempt this much before the engine's timer for the same deadline."""


class Answers:
    """Decides jobs, and stops the attempts that nobody waits for any more."""

    __slots__ = ("_desk", "_lines", "_timers")

    def __init__(self, desk: SchedulerState, lines: Lines) -> None:
        self._desk = desk
        self._lines = lines
        self._timers = desk.timers

    def refuse(self, job: Job, refusal: PenstockError) -> None:
        """A refused request never becomes a job: it is in no count but that of the refusals."""
        job.state = JOB[job.state]["fail"]
        job.outcome = refusal
        job.answered = job.arrived
        job.lane.outcomes[refusal.code] += 1
        self._desk.out.append(do.Answer(job))

    def answer(self, job: Job, happening: str, outcome: Any, now: float, why: str = "") -> None:
        """Decide the job. If that leaves its attempt with nobody who waits for it, stop the attempt."""
        desk = self._desk
        lane = job.lane
        attempt = job.attempt
        if job.state is BACKING_OFF:
            del lane.backing_off[job.sequence]
        elif attempt is None:
            lane.queue.remove(job, happening, now)
            if lane.batching is not None:
                desk.plan_next_batch(lane, now)
        else:
            job.attempt = None
            attempt.live -= 1
            if job.state is RUNNING:
                lane.running -= 1
            else:
                lane.ahead -= 1
        job.state = JOB[job.state][happening]
        job.outcome = outcome
        job.answered = now
        self._timers.disarm(job)
        desk.jobs_live -= 1
        lane.record(job, "ok" if happening == "succeed" else outcome.code)
        desk.out.append(do.Answer(job))
        if attempt is not None and not attempt.live:
            if attempt.state is RUNNING:
                self.stop(attempt, job, why or happening, now)
            elif attempt.state is SENT:
                self._lines.recall(attempt.worker)

    def fail(self, job: Job, error: PenstockError, now: float) -> None:
        """Answer a job with what its worker says has gone wrong."""
        if isinstance(error, Cancelled):
            # Nobody here has asked for it: the worker's own cancel scope was a moment faster than our timer.
            when, limit = next_limit(job)
            if when - now <= _CLOCK_SLACK:
                self._expire(job, limit, now)
                return
            error = HandlerError(f"{job.lane.name}: the handler cancelled itself", exception_type="Cancelled")
        self.answer(job, "fail", error, now)

    def on_job_due(self, job: Job, now: float) -> None:
        """One of its limits may have been reached."""
        when, limit = next_limit(job)
        if when <= now:
            self._expire(job, limit, now)
        elif job.state is QUEUED:
            self.watch(job, now)
        else:
            self._timers.arm(job, when)

    def watch(self, job: Job, now: float) -> None:
        """See to it that a queued job does not wait for too long. It is shed at once if it has."""
        when = min(job.start_by, job.finish_by)
        if job.attempt is None and job.lane.queue.sheds:
            give_up_at = job.lane.queue.give_up_at(job, now)
            if give_up_at <= now:
                self._shed(job, now)
                return
            when = min(when, give_up_at)
        self._timers.arm(job, when)

    def shed_if_hopeless(self, job: Job, now: float) -> bool:
        """Shed the head of a queue that sheds, if its deadline cannot be met any more; return whether it was."""
        when = job.lane.queue.give_up_at(job, now)
        if when <= now:
            self._shed(job, now)
            return True
        if when < job.due:  # it may not start after all, where its queue then makes a mistake
            self._timers.arm(job, when)
        return False

    def _shed(self, job: Job, now: float) -> None:
        queue = job.lane.queue
        failure = queue.failure_of(job) if type(queue) is GuardedQueue else None
        if failure is not None:
            self.answer(job, "fail", failure, now)
        else:
            self.answer(job, "shed", job.lane.advise(error_of_shedding(job), now), now)

    def _expire(self, job: Job, limit: str, now: float) -> None:
        happening = "cancel" if limit == deadlines.UNREAD else "expire"
        self.answer(job, happening, job.lane.advise(error_of(job, limit), now), now, limit)

    def stop(self, attempt: Attempt, job: Job, why: str, now: float) -> None:
        """Nobody waits for it: ask the user's code to stop, and give it ``grace`` for that."""
        attempt.state = ATTEMPT[attempt.state]["stop"]
        self._lines.recall(attempt.worker)  # those in the line must not wait for the grace
        self._desk.out.append(do.Interrupt(attempt.worker.id, attempt.id))
        self._desk.report("interrupt", attempt=attempt, job=job, why=why)
        self._timers.arm(attempt, now + attempt.lane.timeouts.grace)
