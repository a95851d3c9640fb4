"""Giving work to workers."""

from __future__ import annotations

from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler.answers import Answers
from penstock.scheduler.deadlines import next_limit
from penstock.scheduler.desk import Desk
from penstock.scheduler.jobs import Attempt
from penstock.scheduler.lanes import Lane
from penstock.scheduler.lines import Lines
from penstock.scheduler.states import ATTEMPT, JOB
from penstock.scheduler.workforce import Pool, Worker


class Dispatch:
    """Begins attempts, and sends ahead those that are about to begin."""

    __slots__ = ("_answers", "_desk", "_lines", "_timers")

    def __init__(self, desk: Desk, lines: Lines, answers: Answers) -> None:
        self._desk = desk
        self._lines = lines
        self._answers = answers
        self._timers = desk.timers

    def dispatch(self, pool: Pool, now: float) -> None:
        """Give work to the pool's workers while there is some of each.

        Strictly in order of arrival, over all lanes of the pool: an attempt that needs a whole worker is not overtaken
        by small ones that would keep every worker partly busy for ever.
        """
        while True:
            job = pool.next_job(now)
            if job is None:
                return
            # A suspect gets a worker to itself, so that it cannot take others with it.
            units = pool.capacity if job.deaths else job.lane.units
            worker = pool.find_worker(units)
            if worker is not None:
                self._begin(self._send(job.lane, worker, units, now), now)
            elif job.deaths or (worker := pool.find_line(job.lane)) is None:
                return
            else:
                self._send_ahead(job.lane, worker, units, now)

    def _send(self, lane: Lane, worker: Worker, units: int, now: float) -> Attempt:
        desk = self._desk
        jobs = lane.take()
        attempt = Attempt(next(desk.attempt_ids), worker, jobs, units, now)
        desk.attempts[attempt.id] = attempt
        for job in jobs:
            job.attempt = attempt
        if lane.batching is not None:
            desk.plan_next_batch(lane, now)
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

    def _send_ahead(self, lane: Lane, worker: Worker, units: int, now: float) -> None:
        """Put an attempt into the line of a worker that is about to be free."""
        lane.ahead += 1
        worker.line.append(self._send(lane, worker, units, now))
        if len(worker.line) == 1:
            self._lines.watch(worker, now)

    def begin_next(self, worker: Worker, now: float) -> None:
        """What ran has ended, so the worker has begun the first of its line."""
        attempt = worker.line.popleft()
        attempt.lane.ahead -= attempt.live
        self._begin(attempt, now)
        self._lines.watch(worker, now)

    def on_recalled(self, event: on.Recalled, now: float) -> None:
        """What a worker has given back goes to whoever is free."""
        worker = self._lines.accept(event, now)
        if worker is not None:
            self.dispatch(worker.pool, now)

    def on_lane_due(self, lane: Lane, now: float) -> None:
        """A batch has waited for long enough: it goes as soon as a worker is free."""
        lane.due = now
