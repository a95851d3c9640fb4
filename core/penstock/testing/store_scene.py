"""The state of a simulation of a job store: its clocks, its engines, and the news that reach them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from penstock.job_store import (
    ClaimedJob,
    JobDelivery,
    JobStore,
    NewJob,
    StoreChange,
    StoreLimits,
)
from penstock.testing.store_referee import StoreReferee

T = TypeVar("T")

LEASE: Final = 30.0
POLL_SECONDS: Final = 1.0
ENDPOINTS: Final = ("count", "square")
PRINCIPALS: Final = ("ann", "bob", "eve")
SLOTS: Final = 3
MOST_RUNNING: Final = {"count": 4, "square": None}
"""The number of jobs of each endpoint that all engines together may run: more than one of them has slots for."""


class EngineKilled(BaseException):
    """The engine that runs this call dies here."""


class OpenStore(Protocol):
    """Opens one more store of the simulated database. Its calls must be done when they return."""

    def __call__(
        self, limits: StoreLimits, lease_clock: Callable[[], float], before_statement: Callable[[str], None]
    ) -> JobStore:
        """Return the store, not yet started."""


@dataclass
class ClaimingEngine:
    """One engine, with what it believes."""

    store: JobStore
    owner: str
    held: dict[str, ClaimedJob] = field(default_factory=dict)
    sending: list[JobDelivery] = field(default_factory=list)
    is_woken: bool = True
    is_stopped: bool = False
    is_unsure: bool = False
    last_poll: float = 0.0
    last_beat: float = 0.0


class StoreScene:
    """One scenario, drawn from its seed: the part that callers and engines share.

    Parameters
    ----------
    seed:
        The seed, which determines everything.
    open_store:
        Opens the stores of one new database.
    """

    def __init__(self, seed: int, open_store: OpenStore) -> None:
        self.seed = seed
        self.steps = 0
        self.dice = dice = random.Random(seed)  # noqa: S311 - dice, not a secret
        self.now = 1_800_000_000.0
        self.lease_now = 1000.0
        self.doing = "nothing"
        self._open = open_store
        self.limits = StoreLimits(dice.choice((20, 60, 200)), dice.choice((6_000, 1 << 20)), dice.choice((3, 20, 1000)))
        self._gap = dice.choice((0.01, 0.3, 3.0))
        self._kills = dice.choice((0.0, 0.01, 0.05))
        self._losses = dice.choice((0.0, 0.3, 1.0))
        self._fuse: int | None = None
        self._numbers = 0
        self._named: list[NewJob] = []
        self._nominals: Counter[tuple[str, float]] = Counter()
        self._changed: set[str] = set()
        self._announced: set[str] = set()
        self._deleted: str | None = None
        self.engines: list[ClaimingEngine | None] = [None] * dice.choice((2, 3))
        self._auditor = self._open_store()
        self._auditor.start(self._hear_nothing)
        self._caller = self._open_store()
        self._caller.start(self._hear)
        self.referee = StoreReferee(self._auditor, self.limits)

    @staticmethod
    def _hear_nothing(_: StoreChange) -> None:
        """Ignore a change: the auditor must not rely on it."""

    def _open_store(self) -> JobStore:
        return self._open(self.limits, lambda: self.lease_now, self._burn)

    def _weighted(self, choices: dict[Callable[[], None], int]) -> Callable[[], None]:
        return self.dice.choices(list(choices), list(choices.values()))[0]

    def _look(self) -> None:
        changed, self._changed = self._changed, set()
        announced, self._announced = self._announced, set()
        deleted, self._deleted = self._deleted, None
        self.referee.look(changed, announced, self.now, deleted)

    def _pass_time(self) -> None:
        seconds = self.dice.expovariate(1 / self._gap)
        self.now += seconds
        self.lease_now += seconds
        if self.dice.random() < 0.003:
            self.now += self.dice.choice((-3600.0, -1.0, 60.0, 3600.0))

    def _hear(self, change: StoreChange) -> None:
        """Note a change, and wake the engines that the news reaches."""
        self._changed |= change.jobs or set()
        self._announced |= change.endpoints or set()
        for engine in self.engines:
            if engine is not None and self.dice.random() >= self._losses:
                engine.is_woken = True

    def _burn(self, _: str) -> None:
        """Kill the engine before this statement, if its time has come."""
        if self._fuse is not None:
            self._fuse -= 1
            if self._fuse < 0:
                self._fuse = None
                raise EngineKilled
