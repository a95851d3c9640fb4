"""The seeded simulation: 200,000 steps of the real scheduler, and proof that the checkers would see a bug."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.scheduler import Attempt, Job, Lane, Scheduler, states
from penstock.scheduler import commands as do
from penstock.scheduler import scheduler as module
from penstock.scheduler.timers import NEVER
from penstock.scheduler.workforce import Worker
from penstock.testing import simulation
from penstock.testing.simulation import Simulation, SimulationFailed, scenario_seeds, simulate

STEPS = 25_000


@pytest.mark.parametrize("seed", range(1, 9))
def test_nothing_goes_wrong(seed: int) -> None:
    """Every admitted job gets exactly one answer, in time and true, and every invariant holds after every step."""
    totals = simulate(STEPS, seed)
    assert totals["steps"] >= STEPS
    assert totals["ok"] > 500


def test_a_seed_decides_everything() -> None:
    """The same seed makes the same steps, answers and commands; another one does not."""

    def history(seed: int) -> tuple[Any, ...]:
        scenario = Simulation(seed, steps=500)
        scenario.run()
        reports = [report.event for report in scenario.reports]
        return scenario.steps, scenario.clock.now, dict(scenario.outcomes), reports

    assert history(11) == history(11)
    assert history(11) != history(12)


def test_the_simulation_takes_every_step_of_every_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """No entry of a state table is there in vain, and none that is needed is missing."""
    tables = {"JOB": states.JOB, "ATTEMPT": states.ATTEMPT, "WORKER": states.WORKER}
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
    seeds = scenario_seeds(5)
    for _ in range(40):
        Simulation(next(seeds)).run()
        if seen == wanted:
            break
    assert seen == wanted


# ---- mutations: bugs that must be seen


def slot_is_never_given_back(patch: pytest.MonkeyPatch) -> None:
    def give_back(self: Worker, attempt: Attempt, now: float) -> None:
        del self.attempts[attempt.id]
        if not self.attempts:
            self.move("fall idle", now)

    patch.setattr(Worker, "give_back", give_back)


def answers_come_twice(patch: pytest.MonkeyPatch) -> None:
    answer = Scheduler._answer

    def twice(self: Scheduler, job: Job, *rest: Any) -> None:
        answer(self, job, *rest)
        self._out.append(do.Answer(job))

    patch.setattr(Scheduler, "_answer", twice)


def execution_deadlines_are_ignored(patch: pytest.MonkeyPatch) -> None:
    limit = module.next_limit
    patch.setattr(module, "next_limit", lambda job: limit(job) if job.attempt is None else (NEVER, "execution"))


def requeued_jobs_have_no_timer(patch: pytest.MonkeyPatch) -> None:
    requeue = Scheduler._requeue

    def forgetful(self: Scheduler, job: Job, now: float) -> None:
        requeue(self, job, now)
        self.timers.disarm(job)

    patch.setattr(Scheduler, "_requeue", forgetful)


def deaths_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    lose = Scheduler._lose
    patch.setattr(Scheduler, "_lose", lambda self, job, now, **_: lose(self, job, now, is_innocent=True))


def innocents_pay_for_others(patch: pytest.MonkeyPatch) -> None:
    lose = Scheduler._lose
    patch.setattr(Scheduler, "_lose", lambda self, job, now, **_: lose(self, job, now, is_innocent=False))


def streams_run_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "_is_safe_again", lambda job: True)


def nobody_is_interrupted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scheduler, "_stop", lambda *_: None)


def grace_never_ends(patch: pytest.MonkeyPatch) -> None:
    stop = Scheduler._stop

    def patient(self: Scheduler, attempt: Attempt, *rest: Any) -> None:
        stop(self, attempt, *rest)
        self.timers.disarm(attempt)

    patch.setattr(Scheduler, "_stop", patient)


def the_last_come_is_the_first_served(patch: pytest.MonkeyPatch) -> None:
    def take(self: Lane) -> list[Job]:
        job = next(reversed(self.queue.jobs.values()))
        self.queue.remove(job)
        return [job]

    patch.setattr(Lane, "take", take)


def a_hang_up_lets_nobody_through(patch: pytest.MonkeyPatch) -> None:
    cancelled, dispatch = Scheduler._cancelled, Scheduler._dispatch

    def idle(self: Scheduler, *rest: Any) -> None:
        patch.setattr(Scheduler, "_dispatch", lambda *_: None)
        cancelled(self, *rest)
        patch.setattr(Scheduler, "_dispatch", dispatch)

    patch.setattr(Scheduler, "_cancelled", idle)


def batches_wait_too_long(patch: pytest.MonkeyPatch) -> None:
    due = Lane.batch_due
    patch.setattr(Lane, "next_batch_due", lambda self: max((due(self, job) for job in self.queue), default=NEVER))


def suspects_share_a_worker(patch: pytest.MonkeyPatch) -> None:
    run = Scheduler._run
    patch.setattr(Scheduler, "_run", lambda self, lane, worker, units, now: run(self, lane, worker, lane.units, now))


def a_drain_forgets_the_idle(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scheduler, "_settle", lambda *_: None)


def a_lost_place_stays_empty(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scheduler, "_place_due", lambda *_: None)


def bytes_are_not_counted_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module.Lane, "take", lambda self: [self.queue.jobs.popitem(last=False)[1]])


def taking_nothing_buys_time(patch: pytest.MonkeyPatch) -> None:
    def taken(self: Scheduler, event: Any, now: float) -> None:
        event.job.untaken = 0
        event.job.progressed = now

    patch.setattr(Scheduler, "_chunks_taken", taken)


MUTATIONS = [
    slot_is_never_given_back,
    answers_come_twice,
    execution_deadlines_are_ignored,
    requeued_jobs_have_no_timer,
    deaths_are_not_counted,
    innocents_pay_for_others,
    streams_run_twice,
    nobody_is_interrupted,
    grace_never_ends,
    the_last_come_is_the_first_served,
    a_hang_up_lets_nobody_through,
    batches_wait_too_long,
    suspects_share_a_worker,
    a_drain_forgets_the_idle,
    a_lost_place_stays_empty,
    bytes_are_not_counted_back,
    taking_nothing_buys_time,
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_broken_scheduler_is_found_out(
    mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulation that finds no bug proves something only if it would have found one."""
    monkeypatch.setattr(simulation, "DRAIN_STEPS", 5000)
    mutation(monkeypatch)
    with pytest.raises(SimulationFailed, match=r"^seed=\d+ step=\d+ "):
        simulate(100_000, 1)


# ---- the command line


def test_the_command_line_sums_up(capsys: pytest.CaptureFixture[str]) -> None:
    """It says how many steps it made, how fast, and how the jobs ended."""
    assert simulation.main(["--steps", "1000", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert "steps/s: nothing wrong" in said
    assert "answers: " in said


def test_a_failure_can_be_repeated(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints the scenario's seed, with which that very failure comes again, and exits with 1."""
    slot_is_never_given_back(monkeypatch)
    assert simulation.main(["--steps", "10000"]) == 1
    first = capsys.readouterr().out
    scenario = first.split("--scenario ")[1].strip()
    assert simulation.main(["--scenario", scenario]) == 1
    assert capsys.readouterr().out == first
