"""The seeded simulation: 200,000 steps of the real scheduler. test_mutations.py shows that it would see bugs."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.scheduler import states
from penstock.scheduler.pools import Worker
from penstock.testing import simulation
from penstock.testing.simulation import Simulation, scenario_seeds, simulate

STEPS = 25_000


@pytest.mark.parametrize("seed", range(1, 9))
def test_nothing_goes_wrong(seed: int) -> None:
    """Every admitted job gets exactly one answer, in time and true, and every invariant holds after every step."""
    totals = simulate(STEPS, seed)
    assert totals["steps"] >= STEPS
    assert totals["ok"] > 500


def test_a_seed_decides_everything() -> None:
    """The same seed makes the same steps, answers and reports; another one does not."""

    def history(seed: int) -> tuple[Any, ...]:
        scenario = Simulation(seed, steps=500)
        scenario.run()
        reports = [report.event for report in scenario.reports]
        return scenario.steps, scenario.clock.now, dict(scenario.outcomes), reports

    assert history(11) == history(11)
    assert history(11) != history(12)


def test_the_simulation_takes_every_step_of_every_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every entry of a state table is used, and no necessary one is missing."""
    tables = {"JOB": states.JOB, "ATTEMPT": states.ATTEMPT, "WORKER": states.WORKER, "INTAKE": states.INTAKE}
    wanted = {
        (name, state, happening) for name, table in tables.items() for state in table for happening in table[state]
    }
    seen: set[tuple[str, str, str]] = set()

    class Watched(states.Row):
        def __getitem__(self, happening: str) -> str:
            seen.add((self.table, self.state, happening))
            return super().__getitem__(happening)

    for name, table in tables.items():
        for state, row in table.items():
            watched = Watched(row.noun, state, dict(row))
            watched.table = name
            monkeypatch.setitem(table, state, watched)
    seeds = scenario_seeds(1)
    for _ in range(300):
        Simulation(next(seeds), steps=1000).run()
        if seen == wanted:
            break
    assert seen == wanted


# ---- the command line


def test_the_command_line_sums_up(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints the number of steps, the speed, and the counts of answers."""
    assert simulation.main(["--steps", "1000", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert "steps/s: nothing wrong" in said
    assert "answers: " in said


def test_a_failure_can_be_repeated(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints the scenario's seed, which reproduces the failure exactly, and exits with 1."""
    monkeypatch.setattr(Worker, "give_back", lambda self, attempt, now: self.attempts.pop(attempt.id))
    assert simulation.main(["--steps", "10000"]) == 1
    first = capsys.readouterr().out
    scenario = first.split("--scenario ")[1].strip()
    assert simulation.main(["--scenario", scenario]) == 1
    assert capsys.readouterr().out == first
