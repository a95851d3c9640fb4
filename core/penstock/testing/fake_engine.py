"""The real scheduler with fake workers, on a clock that moves on demand: no processes, no sockets, no waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from penstock.policies import DEFAULT_DRAIN_TIMEOUT, Timeouts
from penstock.scheduler import Job, LaneSpec, PoolSpec, Scheduler
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler.admission import DEFAULT_MAX_QUEUE_BYTES
from penstock.scheduler.reports import AnyReport
from penstock.testing.agenda import Agenda
from penstock.testing.clock import MockClock
from penstock.testing.fake_worker import Behaviour, FakeJob, FakeWorker
from penstock.testing.invariants import check


class FakeEngine:
    """An engine that performs the scheduler's commands on fake workers, and checks the invariants after every event.

    Parameters
    ----------
    pools, lanes, max_queue_bytes, draw:
        As for the scheduler. By default, one pool of one worker, with one lane called "lane".
    clock:
        The engine's clock. Only ``advance`` moves it.

    Attributes
    ----------
    workers:
        The workers whose process has not exited, by id.
    answered:
        The answered jobs, in order.
    reports:
        The scheduler's reports, in order.
    """

    def __init__(
        self,
        pools: Iterable[PoolSpec] = (PoolSpec(name="default"),),
        lanes: Iterable[LaneSpec] = (LaneSpec(name="lane"),),
        *,
        clock: MockClock | None = None,
        max_queue_bytes: int = DEFAULT_MAX_QUEUE_BYTES,
        draw: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.clock = clock or MockClock()
        self.agenda = Agenda(self.clock)
        self.scheduler = Scheduler(pools, lanes, max_queue_bytes=max_queue_bytes, draw=draw)
        self.workers: dict[int, FakeWorker] = {}
        self.answered: list[Job] = []
        self.reports: list[AnyReport] = []
        self._perform: dict[type, Callable[[Any], object]] = {
            do.StartWorker: self.start_worker,
            do.Send: lambda command: self.workers[command.worker].run(command.attempt),
            do.Answer: lambda command: self.answered.append(command.job),
            do.Interrupt: lambda command: self.workers[command.worker].interrupt(command.attempt),
            do.Recall: self.recall,
            do.Kill: lambda command: self.workers[command.worker].kill(),
            do.StopWorker: lambda command: self.workers[command.worker].stop(),
            do.Report: lambda command: self.reports.append(command.report),
        }

    def start_worker(self, command: do.StartWorker) -> None:
        """Start a worker. Override this method for workers that start slowly or not at all."""
        self.workers[command.worker] = FakeWorker(command.worker, self.agenda, self.receive)

    def recall(self, command: do.Recall) -> None:
        """Make a worker give back the attempts that it has not begun, and pass its answer to the scheduler at once."""
        started = self.workers[command.worker].recall(command.attempt)
        self.receive(on.Recalled(command.worker, started))

    def receive(self, event: on.Event) -> list[do.Command]:
        """Pass an event to the scheduler; perform the commands that it returns, and return them."""
        commands = self.scheduler.receive(event, self.clock.now)
        for command in commands:
            self._perform[type(command)](command)
        if type(event) is on.WorkerExited:
            self.workers.pop(event.worker, None)
        check(self.scheduler)
        return commands

    def start(self) -> None:
        """Start the workers. Each is ready once its set-up time has passed."""
        self.receive(on.StartRequested())

    def submit(
        self,
        lane: str = "lane",
        behaviour: Behaviour = Behaviour.QUICK,
        *,
        timeouts: Timeouts | None = None,
        size_bytes: int = 0,
        priority: int = 1,
        share: str = "",
        items: int = 1,
    ) -> FakeJob:
        """Submit a job with this behaviour, and return it."""
        target = self.scheduler.lanes[lane]
        limits = timeouts or target.timeouts
        job = FakeJob(target, limits, size_bytes, behaviour, priority=priority, share=share, items=items)
        self.receive(on.Submitted(job))
        return job

    def cancel(self, job: Job, reason: str = "the client has gone") -> None:
        """Cancel a job, as when its caller has gone."""
        self.receive(on.CancelRequested(job, reason))

    def take(self, job: Job, count: int | None = None) -> None:
        """Take ``count`` of the chunks that have arrived, as the job's caller; by default all of them."""
        self.receive(on.ChunksTaken(job, job.untaken if count is None else count))

    def pause(self, *, who: str = "the program", why: str = "") -> None:
        """Refuse new work until further notice."""
        self.receive(on.PauseRequested(who, why))

    def scale(self, pool: str, workers: int, *, who: str = "the program") -> None:
        """Change the number of a pool's workers."""
        self.receive(on.ScaleRequested(pool, workers, who))

    def resume(self, *, who: str = "the program", why: str = "") -> None:
        """Accept new work again."""
        self.receive(on.ResumeRequested(who, why))

    def drain(self, seconds: float = DEFAULT_DRAIN_TIMEOUT) -> None:
        """Begin a drain, which abandons the jobs that are left after ``seconds``."""
        self.receive(on.DrainRequested(self.clock.now + seconds))

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass. Everything that falls due meanwhile happens at its own instant."""
        end = self.clock.now + seconds
        while (instant := self._next()) <= end:
            self.clock.jump(max(instant, self.clock.now))
            if self.agenda.next() <= instant:
                self.agenda.pop()()
            else:
                self.receive(on.TimePassed())
        self.clock.jump(end)

    def _next(self) -> float:
        wakeup = self.scheduler.next_wakeup()
        planned = self.agenda.next()
        return planned if wakeup is None else min(wakeup, planned)
