"""The steps of a fake worker's generation loop: what happens to its attempts happens between two of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import partial

from penstock.scheduler import Attempt
from penstock.testing.agenda import Agenda


class FakeSteps:
    """The steps of one loop, which end at equal distances, unless one is stuck.

    Parameters
    ----------
    agenda:
        The agenda of the worker.
    seconds:
        The duration of a step.
    slots:
        The number of its slots.
    """

    def __init__(self, agenda: Agenda, seconds: float, slots: int) -> None:
        self._agenda = agenda
        self._seconds = seconds
        self._slots = slots
        self._began = agenda.clock.now
        self._stuck: dict[int, float] = {}  # attempts whose code is stuck: the seconds from an interrupt to its end
        self._unwanted: set[int] = set()
        self._held: list[Callable[[], object]] = []  # actions that wait for the end of a stuck step

    def require_room(self, attempts: Collection[Attempt]) -> None:
        """Check that each attempt has a slot: one that is not released yet is not free."""
        if len(attempts) > self._slots:
            raise AssertionError(f"{len(attempts)} attempts are sent to a loop of {self._slots} slots: {attempts}")

    def plan(self, seconds: float, action: Callable[[], object]) -> None:
        """Call ``action`` at the end of the step that runs in ``seconds`` from now."""
        self._agenda.plan(seconds, partial(self._when_it_ends, action))

    def _when_it_ends(self, action: Callable[[], object]) -> None:
        since = (self._agenda.clock.now - self._began) % self._seconds
        self._agenda.plan(self._seconds - since, partial(self._between_steps, action))

    def _between_steps(self, action: Callable[[], object]) -> None:
        if self._stuck:
            self._held.append(action)
        else:
            action()

    def admit(self, attempt: Attempt, seconds: float, acknowledges: float) -> None:
        """Let an attempt take part. If its code never returns, the next step does not end by itself."""
        if seconds == math.inf:
            self._stuck[attempt.id] = acknowledges

    def is_wanted(self, attempt: Attempt) -> bool:
        """Return whether no cancel of the attempt has arrived."""
        return attempt.id not in self._unwanted

    def cancel(self, attempt: Attempt, attempts: Collection[int]) -> None:
        """Note that an attempt is cancelled. A stuck step is interrupted when all ``attempts`` of the loop are."""
        self._unwanted.add(attempt.id)
        if self._stuck and self._unwanted.issuperset(attempts):
            self._agenda.plan(max(self._stuck.values()), self._thaw)

    def _thaw(self) -> None:
        self._stuck.clear()
        held, self._held = self._held, []
        for action in held:
            action()
