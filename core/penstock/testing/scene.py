"""The facts of a scenario that the simulation creates, and that its referee judges by."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from penstock.scheduler import events as on
from penstock.testing.clock import MockClock
from penstock.testing.opinions import Opinions
from penstock.testing.witness import Witness


@dataclass
class Scene:
    """The present state of a scenario, seen from outside the scheduler.

    Parameters
    ----------
    clock:
        The scenario's clock.
    opinions:
        The watch over queues that have opinions.
    mistakes:
        The exceptions of the lanes' queues, counted by type.
    event:
        The latest event.
    drain_deadline:
        The instant at which the drain abandons the remaining jobs; infinite before the drain.
    is_paused:
        True while the server is out of rotation.
    has_failed:
        True once no worker can be started any more.
    used_pools:
        The names of the pools whose workers have been sent work.
    deadly:
        The measurement for which a worker must be killed.
    lost:
        The jobs that have lost their worker in this step.
    """

    clock: MockClock
    opinions: Opinions
    mistakes: Counter[str]
    event: on.Event = field(default_factory=on.StartRequested)
    drain_deadline: float = math.inf
    is_paused: bool = False
    has_failed: bool = False
    used_pools: set[str] = field(default_factory=set)
    deadly: on.MemoryMeasured | None = None
    lost: list[Witness] = field(default_factory=list)

    @property
    def now(self) -> float:
        """The present instant."""
        return self.clock.now

    @property
    def is_closed(self) -> bool:
        """True if new work must be refused."""
        return self.is_paused or self.drain_deadline < math.inf
