"""The seeded simulation of engines that share a job store. test_store_mutations.py shows that it would see bugs."""

from __future__ import annotations

from collections import Counter

import pytest

from penstock.job_store import store_operations
from penstock.testing.store_scene import EngineKilled
from penstock.testing.store_simulation import StoreSimulation, memory_stores, scenario_seeds, simulate_store

STEPS = 20_000


@pytest.mark.parametrize("seed", [1, 2])
def test_no_rule_is_broken(seed: int) -> None:
    """Crashes at any statement, stopped engines, lost wake-ups and leaping clocks: every job comes to one end."""
    totals = simulate_store(STEPS, seed)
    assert totals["steps"] >= STEPS
    for state in ("succeeded", "failed", "timed_out", "cancelled", "expired", "queued"):
        assert totals[state] > 20, state


def test_a_seed_decides_every_transition() -> None:
    """The same seed makes the same transitions; another one does not."""
    first, again, other = (StoreSimulation(seed, memory_stores()).run() for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_engines_are_killed_at_every_kind_of_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each primitive that an engine's call uses, and before its commit."""
    killed_at: Counter[str] = Counter()
    burn = StoreSimulation._burn

    def watched(self: StoreSimulation, name: str) -> None:
        try:
            burn(self, name)
        except EngineKilled:
            killed_at[name] += 1
            raise

    monkeypatch.setattr(StoreSimulation, "_burn", watched)
    seeds = scenario_seeds(3)
    wanted = {"find", "update", "add_events", "write_result", "ready", "due", "held", "remove_owner", "owner", "commit"}
    for _ in range(200):
        StoreSimulation(next(seeds), memory_stores()).run()
        if wanted <= killed_at.keys():
            break
    assert wanted <= killed_at.keys()


def test_each_operation_is_used() -> None:
    """The engines and callers of the simulation leave no operation that writes out."""
    used = set(vars(store_operations)) & {
        *("put", "put_scheduled", "cancel", "delete", "register", "beat", "remove", "claim", "start", "report"),
        *("finish", "retry_later", "give_back", "sweep", "retain", "claim_deliveries", "settle"),
        *("keep_claims", "keep_deliveries"),
    }
    seen: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        for name in used:
            operation = getattr(store_operations, name)
            patch.setattr(store_operations, name, _noted(operation, name, seen))
        simulate_store(2000, 1)
    assert seen == used
    assert len(used) == 19


def _noted(operation, name, seen):
    def noted(*values, **named):
        seen.add(name)
        return operation(*values, **named)

    return noted
