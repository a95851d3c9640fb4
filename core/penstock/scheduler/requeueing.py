"""A job that has failed may run again: at once, or after a while, in which it holds no slot and no place in a queue."""

from __future__ import annotations

from penstock.errors import HandlerError, PenstockError, WorkerLost
from penstock.scheduler.answers import Answers
from penstock.scheduler.deadlines import after
from penstock.scheduler.jobs import Job
from penstock.scheduler.retries import delay_or_error, error_of_loss, may_survive
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import BACKING_OFF, JOB


class Again:
    """Queues failed jobs again, or answers them."""

    __slots__ = ("_answers", "_desk")

    def __init__(self, desk: SchedulerState, answers: Answers) -> None:
        self._desk = desk
        self._answers = answers

    def fail(self, job: Job, error: HandlerError | WorkerLost, now: float) -> None:
        """The job has failed: have it run again if that is safe and allowed, else answer it."""
        verdict = delay_or_error(job, error, now)
        if isinstance(verdict, PenstockError):
            self._answers.answer(job, "fail", verdict, now)
            return
        # The attempt is told as well: where there is no delay, the next one has begun when this is read.
        self._desk.report("retry", job=job, attempt=job.attempts, delay=verdict, error=error)
        job.failure = error if isinstance(error, HandlerError) else None
        if verdict:
            self._back_off(job, now + verdict)
        else:
            self.requeue(job, now)

    def spare(self, job: Job, now: float) -> None:
        """The job's worker is gone, and not by the job's fault: it runs again without a try spent, if that is safe."""
        job.failure = None
        if may_survive(job):
            self.requeue(job, now)
        else:
            self._answers.answer(job, "fail", error_of_loss(job), now)

    def unbegin(self, job: Job, now: float) -> None:
        """The worker was told to give the attempt back when it was about to begin it: the handler has not seen it."""
        job.attempts -= 1
        job.spent -= 1
        self.requeue(job, now)

    def requeue(self, job: Job, now: float) -> None:
        """Put a job that runs back into its queue."""
        self._leave_attempt(job)
        self._queue(job, now)

    def _back_off(self, job: Job, when: float) -> None:
        self._leave_attempt(job)
        job.state = JOB[job.state]["back off"]
        job.retry_at = when
        job.lane.backing_off[job.sequence] = job
        self._desk.timers.arm(job, when)  # which is before its deadline

    def on_job_due(self, job: Job, now: float) -> None:
        """It has backed off for long enough; or one of its limits may have been reached."""
        if job.state is BACKING_OFF and now < job.finish_by:
            del job.lane.backing_off[job.sequence]
            self._queue(job, now)
        else:
            self._answers.on_job_due(job, now)

    def _leave_attempt(self, job: Job) -> None:
        attempt = job.attempt
        assert attempt is not None
        attempt.live -= 1
        job.attempt = None
        job.lane.running -= 1

    def _queue(self, job: Job, now: float) -> None:
        lane = job.lane
        job.state = JOB[job.state]["requeue"]
        lane.queue.push_front(job, now)
        job.start_by = after(now, job.timeouts.queue)
        self._answers.watch(job, now)
        if lane.batching is not None:
            self._desk.plan_next_batch(lane, now)
