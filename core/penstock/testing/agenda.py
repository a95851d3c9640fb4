"""The agenda of a simulation: the actions planned for later."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from penstock.testing.clock import MockClock


class Agenda:
    """The actions planned for later, by their instant. Actions planned for one instant run in the order of planning."""

    __slots__ = ("_heap", "_tie", "clock")

    def __init__(self, clock: MockClock) -> None:
        self.clock = clock
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._tie = count()

    def __len__(self) -> int:
        return len(self._heap)

    def plan(self, seconds: float, action: Callable[[], object]) -> None:
        """Call ``action`` in ``seconds`` from now; never if ``seconds`` is infinite."""
        if seconds != math.inf:
            heappush(self._heap, (self.clock.now + seconds, next(self._tie), action))

    def next(self) -> float:
        """Return the instant of the first action; infinite if there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def pop(self) -> Callable[[], object]:
        """Remove and return the first action. The agenda must not be empty."""
        return heappop(self._heap)[2]
