"""Giving work to workers."""

from __future__ import annotations

from penstock.errors import HookError
from penstock.scheduler import commands as do
from penstock.scheduler.answers import Answers
from penstock.scheduler.deadlines import next_limit
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.lanes import Lane
from penstock.scheduler.pools import Worker, WorkerPool
from penstock.scheduler.sending_ahead import Lines
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import ATTEMPT, JOB
from penstock.scheduler.timers import NEVER


class Dispatch:
    """Begins attempts, and sends ahead those that are about to begin."""

    __slots__ = ("_answers", "_desk", "_lines", "_timers")

    def __init__(self, desk: SchedulerState, lines: Lines, answers: Answers) -> None:
        self._desk = desk
        self._lines = lines
        self._answers = answers
        self._timers = desk.timers

    def dispatch(self, pool: WorkerPool, now: float) -> None:
        """Give work to the pool's workers while there is some of each.

        Strictly by rank, over all lanes of the pool: an attempt that needs a whole worker is not overtaken by small
        ones that would keep every worker partly busy for ever.
        """
        only = pool.only
        while only is None or only.queue.jobs:  # the call would find out as well, but most often this is all
            job = pool.next_job(now)
            if job is None:
                return
            # A suspect gets a worker to itself, so that it cannot take others with it.
            lane = job.lane
            units = pool.capacity if job.deaths else lane.units
            worker = pool.find_worker(units)
            line = None
            if worker is None:
                line = None if job.deaths else pool.find_line(lane)
                if line is None:
                    return
            if lane.queue.sheds and self._answers.shed_if_hopeless(job, now):
                continue
            try:
                jobs = self._take(lane, now)
            except HookError:
                continue  # its queue has made a mistake, and the job that pays for that is its head now
            if worker is not None:
                self._begin(self._send(jobs, worker, units, now), now)
            elif line is not None:
                self._stand_in_line(self._send(jobs, line, units, now), now)

    def _take(self, lane: Lane, now: float) -> list[Job]:
        """Take out what goes into the next attempt: one job, or a batch. A suspect goes alone."""
        if lane.batching is None:
            return [lane.queue.pop(now) if lane.is_plain else self._pop(lane, now)]
        first = self._pop(lane, now)
        jobs = [first]
        if not first.deaths:
            while len(jobs) < lane.batching.max_size and self._may_join(lane, now):
                try:
                    jobs.append(self._pop(lane, now))
                except HookError:
                    break  # the job that pays for that does so in its turn
        return jobs

    def _pop(self, lane: Lane, now: float) -> Job:
        queue = lane.queue
        job = queue.pop(now)
        if queue.jobs and next(iter(queue.jobs)) < job.sequence:
            desk = self._desk
            desk.sequence = lane.served = desk.sequence + 1  # no two turns are alike, nor a turn and an arrival
        return job

    def _may_join(self, lane: Lane, now: float) -> bool:
        """Whether the head of the queue may join a batch; those that cannot be finished in time are shed."""
        queue = lane.queue
        while queue.jobs:
            job = queue.head(now)
            if job.is_suspect:
                return False
            if not queue.sheds or not self._answers.shed_if_hopeless(job, now):
                return True
        return False

    def _send(self, jobs: list[Job], worker: Worker, units: int, now: float) -> Attempt:
        desk = self._desk
        attempt = Attempt(next(desk.attempt_ids), worker, jobs, units, now)
        desk.attempts[attempt.id] = attempt
        for job in jobs:
            job.attempt = attempt
        if attempt.lane.batching is not None:
            desk.plan_next_batch(attempt.lane, now)
        desk.out.append(do.Send(worker.id, attempt))
        return attempt

    def _begin(self, attempt: Attempt, now: float) -> None:
        """The attempt has its worker's attention from now on."""
        attempt.state = ATTEMPT[attempt.state]["start"]
        attempt.started = now
        attempt.worker.take(attempt, now)
        for job in attempt.jobs:
            if job.attempt is attempt:
                attempt.lane.running += 1
                job.started = now
                job.attempts += 1
                job.spent += 1
                job.state = JOB[job.state]["start"]
                self._timers.arm(job, next_limit(job)[0])
        if not attempt.live:  # given up while it stood in the line, and begun all the same
            self._answers.stop(attempt, attempt.jobs[0], "cancel", now)

    def _stand_in_line(self, attempt: Attempt, now: float) -> None:
        """It was sent to a worker that is about to be free."""
        worker = attempt.worker
        attempt.lane.ahead += 1
        worker.line.append(attempt)
        if worker.due == NEVER:  # it had no line, or one that has stalled, with nothing left in it to recall
            self._lines.watch(worker, now)

    def begin_next(self, worker: Worker, now: float) -> None:
        """What ran has ended, so the worker has begun the first of its line."""
        attempt = worker.line.popleft()
        attempt.lane.ahead -= attempt.live
        self._begin(attempt, now)
        self._lines.watch(worker, now)

    def on_lane_due(self, lane: Lane, now: float) -> None:
        """A batch has waited for long enough: it goes as soon as a worker is free."""
        lane.due = now
