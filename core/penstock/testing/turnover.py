"""Turnover: what makes workers come and go in a simulation besides crashes, and the referee of that."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

from penstock.policies import Recycle
from penstock.scheduler import PoolSpec, Scheduler
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler.pools import Worker, WorkerPool
from penstock.scheduler.reports import RecycleReport
from penstock.scheduler.states import BUSY, DEAD, READY, STANDBY
from penstock.testing.agenda import Agenda
from penstock.testing.fake_worker import FakeWorker
from penstock.testing.referee import RuleBroken, require
from penstock.testing.scene import Scene

Action: TypeAlias = Callable[[], None]

LIMIT_BYTES = 1 << 30
SMALL_BYTES = LIMIT_BYTES // 2
LARGE_BYTES = LIMIT_BYTES + 1
DEADLY_BYTES = 3 * LIMIT_BYTES


def with_staffing(dice: random.Random, pools: list[PoolSpec]) -> list[PoolSpec]:
    """Draw spares, devices and reasons to recycle for some of these pools."""
    return [_with_staffing(dice, pool) if dice.random() < 0.6 else pool for pool in pools]


def _with_staffing(dice: random.Random, pool: PoolSpec) -> PoolSpec:
    recycle = None
    if dice.random() < 0.7:
        recycle = Recycle(
            attempts=dice.choice((None, 1, 5, 50)),
            age=dice.choice((None, 0.2, 3.0)),
            memory=LIMIT_BYTES,
            after_interrupt=dice.random() < 0.5,
        )
    return replace(pool, spares=dice.choice((0, 0, 1, 2)), devices=dice.randint(1, 2), recycle=recycle)


class SimulatedEngine(Protocol):
    """The parts of a simulation that the turnover acts on."""

    agenda: Agenda
    scene: Scene
    scheduler: Scheduler
    workers: dict[int, FakeWorker]

    def receive(self, event: on.Event) -> list[do.Command]:
        """Make one step."""


class Turnover:
    """The operator who scales pools, the measurements of memory, and the models that find themselves broken.

    Parameters
    ----------
    simulation:
        The simulation to act on.
    dice:
        The source of every decision.
    """

    def __init__(self, simulation: SimulatedEngine, dice: random.Random) -> None:
        self._simulation = simulation
        self._dice = dice
        actions: list[Action] = [self._scale, self._measure, self._check]
        self._gaps = {action: dice.choice((math.inf, 0.05, 1.0)) for action in actions}

    def begin(self, hang_dice: random.Random) -> None:
        """Plan the first of each kind."""
        for action in self._gaps:
            self._plan(action)
        if hang_dice.random() < 0.1:
            self._suspend(hang_dice)

    def _suspend(self, dice: random.Random) -> None:
        """Report that a worker is suspended, and check that it is given up. It may still act until it is killed."""
        simulation = self._simulation
        simulation.agenda.plan(dice.expovariate(0.1), lambda: self._suspend(dice))
        if simulation.workers:
            worker = dice.choice(sorted(simulation.workers))
            simulation.receive(on.WorkerSuspended(worker, "SIGSTOP"))
            known = simulation.scheduler.workers.get(worker)
            require(known is None or known.state is DEAD, f"worker {worker} is suspended, and goes on")

    def _plan(self, action: Action) -> None:
        gap = self._gaps[action]
        if gap < math.inf:
            self._simulation.agenda.plan(self._dice.expovariate(1 / gap), action)

    def _scale(self) -> None:
        self._plan(self._scale)
        pool = self._dice.choice(list(self._simulation.scheduler.pools))
        self._simulation.receive(on.TimePassed())  # the timers that are due go first
        self._simulation.receive(on.ScaleRequested(pool, self._dice.randint(1, 4)))

    def _some_worker(self) -> int | None:
        return self._dice.choice(sorted(self._simulation.workers)) if self._simulation.workers else None

    def _measure(self) -> None:
        self._plan(self._measure)
        number = self._some_worker()
        worker = self._simulation.scheduler.workers.get(number or 0)
        if worker is None:
            return
        size = self._dice.choice((SMALL_BYTES, SMALL_BYTES, LARGE_BYTES, DEADLY_BYTES))
        available = self._dice.choice((0, 1 << 40))
        event = on.MemoryMeasured(worker.id, size, available, self._simulation.workers[worker.id].last_begun())
        was_small = worker.pool.recycle is not None and worker.first_bytes == SMALL_BYTES
        is_deadly = size == DEADLY_BYTES and worker.pool.recycle is not None
        is_deadly = is_deadly and worker.first_bytes in (SMALL_BYTES, LARGE_BYTES)
        if is_deadly:
            self._simulation.scene.deadly = event
        self._simulation.receive(event)
        if is_deadly:
            require(worker.state is DEAD, f"{worker!r} uses {size} bytes, and goes on")
        elif was_small and size == LARGE_BYTES:
            require(is_due(worker), f"{worker!r} uses {size} bytes, and is kept")

    def _check(self) -> None:
        self._plan(self._check)
        number = self._some_worker()
        if number is not None:
            self._simulation.receive(on.CheckFailed(number, "it is broken"))


def is_due(worker: Worker) -> bool:
    """Return whether the worker is waiting to be replaced, is being replaced, or is on its way out."""
    pool = worker.pool
    is_outgoing = pool.succession is not None and pool.succession.worker is worker
    is_in_use = worker.place.worker is worker and worker.state in (STANDBY, READY, BUSY)
    return worker in pool.to_recycle or is_outgoing or not is_in_use


@dataclass
class _WorkerNotes:
    """The referee's notes on one worker."""

    worker: Worker
    ready_at: float | None = None
    ended: int = 0
    is_recycled: bool = False


@dataclass
class StaffReferee:
    """The rules about who works in a pool, checked from outside.

    Parameters
    ----------
    scheduler:
        The scheduler, of which the present state of the pools is read.
    """

    scheduler: Scheduler
    _known: dict[int, _WorkerNotes] = field(default_factory=dict)
    _holders: dict[int, int] = field(default_factory=dict)
    _working: Counter[str] = field(default_factory=Counter)
    _awaited: dict[str, Worker] = field(default_factory=dict)
    """By pool, the worker that should work until its replacement is ready."""

    def see(self, event: on.Event, commands: list[do.Command]) -> None:
        """Check one step: an event, and the commands that followed from it."""
        self._note(event)
        for command in commands:
            self._see_command(event, command)
        for pool in self.scheduler.pools.values():
            self._check_capacity(event, pool)
            self._working[pool.name] = len(pool.working())
        for known in self._known.values():
            self._check_limits(known)

    def _note(self, event: on.Event) -> None:
        if type(event) is on.SetupFinished and event.worker in self._known:
            self._known[event.worker].ready_at = self.scheduler.now
        elif type(event) is on.ResultsArrived and event.results[0] is not on.NOT_BEGUN:
            known = self._known.get(self._holders.pop(event.attempt, 0))
            if known is not None:
                known.ended += 1
        elif type(event) is on.WorkerExited:
            gone = self._known.pop(event.worker, None)
            if gone is not None and gone.ready_at is None:  # perhaps the replacement: the old one need not wait for it
                self._awaited.pop(gone.worker.pool.name, None)

    def _see_command(self, event: on.Event, command: do.Command) -> None:
        if type(command) is do.StartWorker:
            self._known[command.worker] = _WorkerNotes(self.scheduler.workers[command.worker])
        elif type(command) is do.Send:
            self._holders[command.attempt.id] = command.worker
        elif type(command) is do.Kill:
            known = self._known.get(command.worker)
            is_fine = type(event) is on.ScaleRequested and known is not None and known.ready_at is not None
            require(not is_fine, f"worker {command.worker} is killed, because its pool was scaled")
            if known is not None and known.ready_at is None:
                self._awaited.pop(known.worker.pool.name, None)
        elif type(command) is do.Report and type(command.report) is RecycleReport:
            self._see_recycling(command.report)

    def _see_recycling(self, report: RecycleReport) -> None:
        """Check that no other worker of the pool is being replaced."""
        worker = report.worker
        pool = worker.pool
        others = [known for known in self._known.values() if known.worker.place.worker is known.worker is not worker]
        others = [known for known in others if known.worker.pool is pool]
        are_recycled = [known.is_recycled and known.worker.state is not DEAD for known in others]
        require(not any(are_recycled), f"{worker!r} is recycled while another one is")
        if worker.id not in self._known:
            raise RuleBroken(f"{worker!r} is recycled, and is gone")
        self._known[worker.id].is_recycled = True
        may_wait = worker.memory_bytes <= self.scheduler.state.available_bytes
        if report.reason in ("attempts", "age", "memory") and may_wait:
            self._awaited[pool.name] = worker

    def _check_capacity(self, event: on.Event, pool: WorkerPool) -> None:
        """Check that a worker that is replaced does not stop working before another one can."""
        worker = self._awaited.get(pool.name)
        if worker is None:
            return
        if worker.state not in (STANDBY, READY, BUSY) or worker.place.worker is not worker:
            del self._awaited[pool.name]
            calm = (on.SetupFinished, on.ResultsArrived, on.Submitted, on.StreamBegan, on.ChunksArrived)
            if worker.state is not DEAD and worker.place.worker is worker and type(event) in calm:
                dip = self._working[pool.name] - len(pool.working())
                require(dip <= 0, f"{worker!r} has stopped working before it was replaced")

    def _check_limits(self, known: _WorkerNotes) -> None:
        """Check that a worker that has reached a limit is due."""
        worker = known.worker
        recycle = worker.pool.recycle
        if recycle is None or known.ready_at is None or is_due(worker):
            return
        require(
            recycle.attempts is None or known.ended < recycle.attempts, f"{worker!r} has ended {known.ended} attempts"
        )
        age = self.scheduler.now - known.ready_at
        require(recycle.age is None or age <= recycle.age, f"{worker!r} is {age:g} s old")

    def see_interrupt(self, command: do.Interrupt) -> None:
        """Check that a worker whose model is suspect is due to be replaced."""
        worker = self.scheduler.workers[command.worker]
        recycle = worker.pool.recycle
        if recycle is not None and recycle.after_interrupt:
            require(is_due(worker), f"{worker!r} was interrupted, and is kept")
