"""One cell of the study of queue disciplines: callers arrive at random and hang up when their patience runs out.

The scheduler is real; the workers, the callers and the clock are simulated. A cell has the same callers with each
discipline.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock import Timeouts
from penstock.errors import PenstockError
from penstock.scheduler import LaneSpec
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.testing import Behaviour, FakeEngine
from penstock.testing.fake_worker import FakeJob

MEAN_SECONDS = 0.05
SPREAD = 1.5  # sigma of the lognormal times: the median is 16 ms, and one in a hundred takes half a second

SERVICES: dict[str, Callable[[random.Random], float]] = {
    "constant": lambda _dice: MEAN_SECONDS,
    "heavy": lambda dice: dice.lognormvariate(math.log(MEAN_SECONDS) - SPREAD**2 / 2, SPREAD),
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The offered load.

    Parameters
    ----------
    load:
        Offered work as a multiple of the capacity of the one worker.
    patience:
        Seconds after which a caller hangs up, or a function that draws them.
    service:
        The distribution of execution times: ``constant`` or ``heavy``.
    has_deadlines:
        True if callers send their patience as a deadline, in a header.
    seconds:
        The length of the simulation, from a cold start.
    seed:
        The seed of the callers.
    """

    load: float
    patience: float | Callable[[random.Random], float]
    service: str = "constant"
    has_deadlines: bool = False
    seconds: float = 60.0
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The results of one cell with one discipline.

    Parameters
    ----------
    goodput:
        Answers received by callers, as a share of the worker's capacity or of the offered requests, whichever is less.
    useful:
        The same, in seconds of work instead of answers.
    p50, p99:
        Seconds from arrival to answer, for the answers that were received.
    wasted:
        The share of started executions whose answer no caller received.
    refused:
        The share of the requests that were answered with 503.
    refused_after:
        The median of the seconds that those had waited.
    """

    goodput: float
    useful: float
    p50: float
    p99: float
    wasted: float
    refused: float
    refused_after: float


class _Engine(FakeEngine):
    """A fake engine that skips the recount of the invariants after each event."""

    def receive(self, event: on.Event) -> list[do.Command]:
        commands = self.scheduler.receive(event, self.clock.now)
        for command in commands:
            self._perform[type(command)](command)
        return commands


class Callers:
    """The callers of a cell, and the engine that they call."""

    def __init__(self, cell: Cell, new_queue: Callable[[], Any]) -> None:
        self.cell = cell
        self.engine = _Engine(lanes=[LaneSpec(name="lane", new_queue=new_queue)])
        self.dice = random.Random(f"{cell.load} {cell.service} {cell.seed}")
        self.offered: list[FakeJob] = []

    def run(self) -> Outcome:
        """Run for as long as the cell says; return the results."""
        engine = self.engine
        engine.start()
        engine.advance(1.0)  # the worker is ready by then
        self._plan_next()
        engine.advance(self.cell.seconds)
        return self._outcome()

    def _plan_next(self) -> None:
        seconds = self.dice.expovariate(self.cell.load / MEAN_SECONDS)
        self.engine.agenda.plan(seconds, self._arrive)

    def _arrive(self) -> None:
        self._plan_next()
        cell, engine = self.cell, self.engine
        behaviour = Behaviour(seconds=SERVICES[cell.service](self.dice), acknowledges=0.0005)
        patience = cell.patience if isinstance(cell.patience, float) else cell.patience(self.dice)
        job = engine.submit(
            behaviour=behaviour, timeouts=Timeouts(total=patience) if cell.has_deadlines else Timeouts()
        )
        self.offered.append(job)
        engine.agenda.plan(patience, lambda: engine.cancel(job) if job.outcome is None else None)

    def _outcome(self) -> Outcome:
        offered, seconds = self.offered, self.cell.seconds
        received = [job for job in offered if job.outcome is not None and not isinstance(job.outcome, PenstockError)]
        refused = [job for job in offered if isinstance(job.outcome, PenstockError) and job.outcome.status == 503]
        begun = [job for job in offered if job.attempts and job.outcome is not None]
        work = sum(job.behaviour.seconds for job in offered)
        capacity = len(offered) * min(1.0, seconds / work)
        times = sorted(job.answered - job.arrived for job in received) or [math.nan]
        late = sorted(job.answered - job.arrived for job in refused) or [0.0]
        return Outcome(
            goodput=len(received) / capacity,
            useful=sum(job.behaviour.seconds for job in received) / min(work, seconds),
            p50=times[len(times) // 2],
            p99=times[int(len(times) * 0.99)],
            wasted=1 - len(received) / max(1, len(begun)),
            refused=len(refused) / len(offered),
            refused_after=late[len(late) // 2],
        )


def simulate(cell: Cell, new_queue: Callable[[], Any]) -> Outcome:
    """Run one cell with one discipline."""
    return Callers(cell, new_queue).run()
