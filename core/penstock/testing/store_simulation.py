"""A seeded simulation of engines that share a job store: crashes at any statement, stopped engines, lost wake-ups.

    python -m penstock.testing.store_simulation --steps 200000 --seed 1

Each step is a call by a caller or by one of two or three engines. After each, ``StoreReferee`` compares the rows that
have changed with what they were. An engine may be killed before any statement of a call or directly after its commit;
it may be stopped, and go on with claims that it no longer has; the wall clock leaps. A failure names its seed.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Final

from penstock.job_store import (
    JobStore,
    StoreLimits,
)
from penstock.testing.memory_job_store import MemoryDatabase, MemoryJobStore
from penstock.testing.referee import RuleBroken, require
from penstock.testing.simulated_engines import SimulatedEngines
from penstock.testing.store_scene import POLL_SECONDS, OpenStore

SCENARIO_STEPS: Final = (150, 400, 1000)
AUDIT_STEPS: Final = 40
SETTLING_ROUNDS: Final = 400


class StoreSimulationFailed(AssertionError):
    """A rule was broken. The message names the seed and the step."""


class StoreSimulation(SimulatedEngines):
    """One scenario, drawn from its seed: see ``StoreScene`` for the parameters."""

    def run(self) -> Counter[str]:
        """Make all steps, let everything settle, and return the counts of transitions and ``steps``.

        Raises
        ------
        StoreSimulationFailed
            If a rule was broken.
        """
        try:
            for _ in range(self.dice.choice(SCENARIO_STEPS)):
                self._step()
            self._settle()
        except RuleBroken as broken:
            raise StoreSimulationFailed(self._sentence(str(broken))) from broken
        except Exception as error:
            raise StoreSimulationFailed(self._sentence(f"{type(error).__name__}: {error}")) from error
        finally:
            for store in [self._auditor, self._caller, *(e.store for e in self.engines if e is not None)]:
                store.close()
        return self.referee.outcomes + Counter(steps=self.steps, scenarios=1)

    def _sentence(self, problem: str) -> str:
        return f"seed={self.seed} step={self.steps} {self.doing}: {problem}"

    def _step(self) -> None:
        self.steps += 1
        self._pass_time()
        if self.dice.random() < 0.45:
            self.doing = "caller"
            self._weighted({self._put: 8, self._repeat: 2, self._cancel: 4, self._delete: 2, self._schedule: 1})()
        else:
            self._use_engine(self.dice.randrange(len(self.engines)))
        self._look()
        if self.steps % AUDIT_STEPS == 0:
            self.referee.audit()

    # ---- the end

    def _settle(self) -> None:
        """No more misfortunes: every job must come to its end, by polls alone."""
        self.doing = "settling"
        self._kills = 0.0
        self._losses = 1.0
        self.now = max([self.now, *(job.not_before or 0.0 for job in self.referee.rows.values())])
        for number in range(len(self.engines)):
            while self.engines[number] is None:
                self._start_engine(number)
        for _ in range(SETTLING_ROUNDS):
            if all(job.is_final for job in self.referee.rows.values()):
                break
            self._settle_once()
        waiting = [job for job in self.referee.rows.values() if not job.is_final]
        require(not waiting, f"these never end: {waiting}")
        self.referee.audit()

    def _settle_once(self) -> None:
        self.now += POLL_SECONDS
        self.lease_now += POLL_SECONDS
        for engine in self.engines:
            assert engine is not None
            engine.is_stopped = False
            for action in (self._beat, self._claim, self._maintain):
                action(engine)
                self._look()
            while engine.held:
                claimed = engine.held.popitem()[1]
                self._fenced(claimed, engine.store.finish(claimed.key, self._ending(), now=self.now))
                self._look()


def memory_stores() -> OpenStore:
    """Return what opens the stores of one new database in memory."""
    database = MemoryDatabase()

    def open_store(
        limits: StoreLimits, lease_clock: Callable[[], float], before_statement: Callable[[str], None]
    ) -> JobStore:
        return MemoryJobStore(database, limits=limits, lease_clock=lease_clock, before_statement=before_statement)

    return open_store


def scenario_seeds(seed: int) -> Iterator[int]:
    """Generate the seeds of the scenarios from one seed."""
    return map(random.Random(seed).randrange, repeat(1 << 32))  # noqa: S311 - dice, not a secret


def simulate_store(steps: int, seed: int, new_database: Callable[[], OpenStore] = memory_stores) -> Counter[str]:
    """Run scenarios until ``steps`` steps are made; return the counts of transitions, of ``steps`` and ``scenarios``.

    Raises
    ------
    StoreSimulationFailed
        If a rule was broken.
    """
    totals: Counter[str] = Counter()
    seeds = scenario_seeds(seed)
    while totals["steps"] < steps:
        totals += StoreSimulation(next(seeds), new_database()).run()
    return totals


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m penstock.testing.store_simulation", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--steps", type=int, default=200_000, help="the number of calls to simulate")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the scenarios")
    parser.add_argument("--scenario", type=int, help="repeat the one scenario with this seed, which its failure named")
    options = parser.parse_args(arguments)
    if options.scenario is not None:
        totals = StoreSimulation(options.scenario, memory_stores()).run()
    else:
        totals = simulate_store(options.steps, options.seed)
    print(", ".join(f"{name} {number}" for name, number in totals.most_common()))  # noqa: T201 - a command line
    return 0


if __name__ == "__main__":
    sys.exit(main())
