"""A seeded simulation of the scheduler: random pools, lanes and policies, callers, workers and misfortunes.

    python -m penstock.testing.simulation --steps 200000 --seed 1

Each step is one event for the real scheduler. After each, ``invariants.check`` recounts its whole state, and a referee
checks the rules that take time to observe, with a witness for each job, who knows only the scheduler's input and its
output: the job is answered exactly once, by its deadline, and any error is true; no success comes late; no two workers
run it at once. A failure names its seed, which reproduces it exactly. (The method is that of TigerBeetle's VOPR.)
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import count, repeat
from typing import Final

from penstock.scheduler import Job, conduct
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler.reports import PoolFailedReport
from penstock.scheduler.states import DEAD
from penstock.testing.fake_engine import FakeEngine
from penstock.testing.fake_worker import FakeWorker
from penstock.testing.forgeries import forged_report
from penstock.testing.opinions import Opinions
from penstock.testing.referee import Referee, RuleBroken, require
from penstock.testing.scenarios import Weather, draw_lanes, draw_pools, draw_steps, draw_timeouts, with_loop
from penstock.testing.scene import Scene
from penstock.testing.turnover import StaffReferee, Turnover, with_staffing
from penstock.testing.witness import Witness, WitnessedJob, witness_of

SCENARIO_STEPS: Final = (250, 500, 1000, 4000)
SIZES: Final = (*((0, 10, 400, 30_000) * 8), 100_000)  # few bodies are large: nothing is sent ahead behind one
"""The number of steps of one scenario, one of which is drawn.

Most bugs show early in one of many configurations, so short scenarios find more; a few bugs need a long one.
"""

DRAIN_STEPS: Final = 100_000
"""A drain that takes more steps than this is considered endless."""


class SimulationFailed(AssertionError):
    """A rule was broken. The message names the seed and the step."""


class Simulation(FakeEngine):
    """One scenario, drawn from its seed.

    Parameters
    ----------
    seed:
        The seed, which determines everything.
    steps:
        The number of steps before it drains; the drain takes some more. Drawn from the seed by default.
    """

    def __init__(self, seed: int, steps: int | None = None) -> None:
        self.seed = seed
        self.steps = 0
        self.dice = random.Random(seed)  # noqa: S311 - dice, not a secret
        self.hang_dice = random.Random(~seed)  # noqa: S311 - dice of their own: hangs are rare, and change little else
        pools = draw_pools(self.dice)
        if self.hang_dice.random() < 0.1:
            pools = [replace(pool, start_timeout=0.1) for pool in pools]
        staff_dice = random.Random(seed ^ 1)  # noqa: S311 - dice of their own, for the same reason
        mistakes: Counter[str] = Counter()
        self.step_dice = random.Random(seed ^ 2)  # noqa: S311 - dice of their own, for the same reason
        pools, lanes = with_loop(self.step_dice, pools, draw_lanes(self.dice, pools, mistakes))
        room = self.dice.choice((150_000, 1 << 28))
        super().__init__(with_staffing(staff_dice, pools), lanes, max_queue_bytes=room, draw=staff_dice.random)
        self.weather = Weather.draw(self.dice)
        self._drain_after = self.dice.choice(SCENARIO_STEPS) if steps is None else steps
        self._lanes = list(self.scheduler.lanes.values())
        self._numbers = count(1)
        self.scene = Scene(self.clock, Opinions(self._lanes), mistakes)
        self.referee = Referee(self.scene)
        self._staff_referee = StaffReferee(self.scheduler)
        self._turnover = Turnover(self, staff_dice)
        for lane in self._lanes:
            lane.retry = partial(self.referee.judge, lane.retry)
        self._perform |= {
            do.Send: self._send,
            do.Answer: self.referee.see_answer,
            do.Interrupt: self._interrupt,
            do.Kill: self._kill,
            do.Report: self._hear,
        }

    @property
    def outcomes(self) -> Counter[str]:
        """The answers, counted by code."""
        return self.referee.outcomes

    def run(self) -> None:
        """Make all steps, drain, and check that nothing is left.

        Raises
        ------
        SimulationFailed
            If a rule was broken.
        """
        try:
            self._run()
        except RuleBroken as broken:
            raise SimulationFailed(self._sentence(str(broken))) from broken
        except Exception as error:
            raise SimulationFailed(self._sentence(f"{type(error).__name__}: {error}")) from error

    def _run(self) -> None:
        self.start()
        self._arrive()
        self._strike()
        self._forge()
        self._turnover.begin(self.hang_dice)
        self.agenda.plan(self.weather.load_failure, self._fail_load)
        self._plan_pause()
        while not self.scheduler.is_drained:
            self._happen()
        require(not self.referee.live and not self.scheduler.attempts, "it claims to be drained, but is not")
        state = self.scheduler.state
        counts = state.drain_answered, state.drain_abandoned
        require(counts == self.referee.drain_counts, f"the drain has counted {counts}, not {self.referee.drain_counts}")
        self.referee.check_counts(self._lanes, [*self.reports, *self.scheduler.take_counts()])

    def _sentence(self, problem: str) -> str:
        return f"seed={self.seed} step={self.steps} now={self.clock.now:g} {self.scene.event!r}: {problem}"

    # ---- one step

    def receive(self, event: on.Event) -> list[do.Command]:
        """Make one step: inform the witnesses, pass the event to the scheduler, and check the result."""
        if self.referee.is_news(event):
            wakeup = self.scheduler.next_wakeup()
            if wakeup is not None and wakeup <= self.clock.now:
                self.receive(on.TimePassed())  # the scheduler's timers go first, and the witnesses must see that order
        self.steps += 1
        self.scene.event = event
        self.referee.see_event(event)
        if type(event) is on.ChunksArrived:
            self._plan_reading(event)
        commands = super().receive(event)
        self.referee.check(self.scheduler.next_wakeup())
        self._staff_referee.see(event, commands)
        return commands

    def _happen(self) -> None:
        """Let the next thing happen: the first planned action, or the scheduler's wake-up."""
        require(self.steps < self._drain_after + DRAIN_STEPS, "the drain does not end")
        wakeup = self.scheduler.next_wakeup()
        instant = self.agenda.next()
        # If both are due at once, either may come first; if the clock has leapt, the wake-up is late.
        if wakeup is not None and (wakeup < instant or (wakeup == instant and self.dice.random() < 0.5)):
            self.clock.jump(max(wakeup, self.clock.now))
            self.receive(on.TimePassed())
        else:
            self.clock.jump(max(instant, self.clock.now))
            self.agenda.pop()()
        if self.dice.random() < self.weather.jump:
            self.clock.advance(self.dice.choice((0.01, 1.0, 100.0)))
        if self.steps >= self._drain_after and self.scene.drain_deadline == math.inf:
            seconds = self.dice.choice((0.0, 0.1, 5.0))
            self.scene.drain_deadline = self.clock.now + seconds
            self.drain(seconds)

    def _arrive(self) -> None:
        """Submit a caller's job, and plan the next arrival."""
        dice = self.dice
        # Fewer during a drain: while it waits for a worker to exit, all refusals are alike.
        gap = self.weather.gap if self.scene.drain_deadline == math.inf else 0.2
        self.agenda.plan(0.0 if dice.random() < 0.2 else dice.expovariate(1 / gap), self._arrive)
        lane = dice.choice(self._lanes)
        timeouts = lane.timeouts if dice.random() < 0.9 else draw_timeouts(dice)
        job = WitnessedJob(lane, timeouts, dice.choice(SIZES), priority=dice.randint(0, 2), share=dice.choice("abc"))
        job.items = 1 + len(self.referee.live) % 3
        witness = job.witness = Witness(next(self._numbers), job, self.weather.behaviour(dice, lane), self.clock.now)
        self.referee.live[witness.number] = witness
        if dice.random() < self.weather.hang_up:
            self.agenda.plan(dice.expovariate(dice.choice((5.0, 1000.0))), lambda: self._hang_up(witness))
        self.receive(on.Submitted(job))

    def _hang_up(self, witness: Witness) -> None:
        witness.hung_up = True
        self.cancel(witness.job)

    def _plan_pause(self) -> None:
        if self.weather.pause < math.inf:
            mean = self.weather.pause / 10 if self.scene.is_paused else self.weather.pause
            self.agenda.plan(self.dice.expovariate(1 / mean), self._pause)

    def _pause(self) -> None:
        """Take the server out of rotation or back, as an operator does, who sometimes says so twice."""
        self.scene.is_paused = not self.scene.is_paused
        for _ in range(self.dice.randint(1, 2)):
            self.receive(on.PauseRequested() if self.scene.is_paused else on.ResumeRequested())
        self._plan_pause()

    def _plan_reading(self, event: on.ChunksArrived) -> None:
        """Plan when the caller takes the chunks that have arrived, if ever."""
        for witness in self.referee.in_attempt(event.attempt):
            if self.dice.random() >= self.weather.lazy_reader:
                self.agenda.plan(self.dice.choice((0.0, 0.001, 0.1)), partial(self._take_some, witness.job))

    def _take_some(self, job: Job) -> None:
        """Take all untaken chunks, or a part of them, as a slow reader does."""
        self.take(job, self.dice.choice((job.untaken, self.dice.randint(0, job.untaken))))

    # ---- the workers

    def start_worker(self, command: do.StartWorker) -> None:
        """Start a worker, which may be slow or fail to set up."""
        require(not self.scene.has_failed, "a worker is started, although none can be")
        dice = self.dice
        self.workers[command.worker] = FakeWorker(
            command.worker,
            self.agenda,
            partial(self._hear_worker, command.worker),
            behaviour_of=lambda job: witness_of(job).behaviour,
            setup_seconds=dice.choice((0.0, 0.01, 0.2)),
            setup_fails=dice.random() < self.weather.setup_failure,
            exit_seconds=dice.choice((0.0, 0.001, 0.1, 1.0, 10.0)),
            knows_started=dice.random() < 0.5,
            pause=dice.choice((0.0, 0.00005, 0.002)),
            says_early=dice.random() < 0.5,
            latency=dice.choice((0.0, 0.0001, 0.002)),
            on_begun=self.referee.see_begun,
            steps=draw_steps(self.step_dice, self.agenda, self.scheduler.pools[command.pool]),
        )

    def _hear_worker(self, worker: int, event: on.Event) -> None:
        """Pass on a true report of a worker, which must not be accused for it."""
        breach = conduct.breach(self.scheduler.state, worker, event)
        require(breach is None, f"worker {worker} is accused, although it behaves: {breach}")
        self.receive(event)

    def _strike(self) -> None:
        """Kill one or more workers from outside, whatever they are doing. Their exits are seen one after the other."""
        if self.weather.outage < math.inf:
            self.agenda.plan(self.dice.expovariate(1 / self.weather.outage), self._strike)
            struck = self.dice.sample(sorted(self.workers), self.dice.randint(0, len(self.workers)))
            blamed = self.dice.choice((None, 0))  # 0 if the zygote has died, and they have died with it
            if struck:
                self.receive(on.WorkersDied(struck))
            for worker in struck:
                seconds = self.dice.choice((0.0, 0.0, 0.0001))
                self.agenda.plan(seconds, partial(self.workers[worker].exit, "SIGKILL", started=blamed))

    def _forge(self) -> None:
        """Let a worker report something that cannot be true."""
        if self.weather.forgery < math.inf:
            self.agenda.plan(self.dice.expovariate(1 / self.weather.forgery), self._forge)
            if self.workers:
                worker = self.dice.choice(sorted(self.workers))
                self._report_forgery(worker, forged_report(self.dice, self.scheduler, worker))

    def _report_forgery(self, worker: int, event: on.Event) -> None:
        """Pass on a forged report as the engine would: as a breach of the protocol, for which the worker is killed."""
        if worker in self.scheduler.workers and self.scheduler.workers[worker].state is not DEAD:
            breach = conduct.breach(self.scheduler.state, worker, event)
            require(breach is not None, f"worker {worker} has forged {event!r}, and is believed")
            self.receive(on.ProtocolBroken(worker, breach or "", self.workers[worker].last_begun()))
            require(self.scheduler.workers[worker].state is DEAD, f"worker {worker} has forged {event!r}, and goes on")

    def _fail_load(self) -> None:
        self.receive(on.TimePassed())  # the timers that are due go first, and may start workers
        self.scene.has_failed = True
        self.receive(on.ImportFailed("Traceback: the import raised"))

    # ---- commands

    def recall(self, command: do.Recall) -> None:
        """Make a worker give back the attempts that it has not begun, and check the recall."""
        started = self.workers[command.worker].recall(command.attempt)
        if self.weather.forgery < math.inf and self.dice.random() < 0.1:
            self._report_forgery(command.worker, on.Recalled(command.worker, 2**64 - 1))
            return
        self.referee.see_recall(command, started)
        self.receive(on.Recalled(command.worker, started))

    def _send(self, command: do.Send) -> None:
        self.referee.see_send(command)
        self.workers[command.worker].run(command.attempt)

    def _interrupt(self, command: do.Interrupt) -> None:
        self._staff_referee.see_interrupt(command)
        self.workers[command.worker].interrupt(command.attempt)

    def _kill(self, command: do.Kill) -> None:
        self.referee.see_kill(command)
        self.workers[command.worker].kill()

    def _hear(self, command: do.Report) -> None:
        self.reports.append(command.report)
        if type(command.report) is PoolFailedReport:
            self._drain_after = min(self._drain_after, self.steps + 300)  # from now on there are only refusals


def scenario_seeds(seed: int) -> Iterator[int]:
    """Generate the seeds of the scenarios from one seed."""
    return map(random.Random(seed).randrange, repeat(1 << 32))  # noqa: S311 - dice, not a secret


def simulate(steps: int, seed: int) -> Counter[str]:
    """Run scenarios until ``steps`` steps are made; return the counts of answers, of ``steps`` and of ``scenarios``.

    Raises
    ------
    SimulationFailed
        If a rule was broken.
    """
    totals: Counter[str] = Counter()
    seeds = scenario_seeds(seed)
    while totals["steps"] < steps:
        simulation = Simulation(next(seeds))
        simulation.run()
        totals.update(simulation.outcomes)
        totals.update(steps=simulation.steps, scenarios=1)
    return totals


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m penstock.testing.simulation", description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=200_000, help="the number of events to simulate")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the scenarios")
    parser.add_argument("--scenario", type=int, help="repeat the one scenario with this seed, which its failure named")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    try:
        if options.scenario is not None:
            scenario = Simulation(options.scenario)
            scenario.run()
            totals = scenario.outcomes + Counter(steps=scenario.steps, scenarios=1)
        else:
            totals = simulate(options.steps, options.seed)
    except SimulationFailed as failure:
        traceback.print_exc()
        print(f"{failure}\nAgain: python -m penstock.testing.simulation --scenario {str(failure).split()[0][5:]}")  # noqa: T201 - a command line
        return 1
    _print_summary(totals, time.perf_counter() - began)
    return 0


def _print_summary(totals: Counter[str], seconds: float) -> None:
    steps, scenarios = totals.pop("steps", 0), totals.pop("scenarios")
    print(f"{steps} steps in {scenarios} scenarios, {steps / seconds:.0f} steps/s: nothing wrong")  # noqa: T201 - a command line
    print("answers:", ", ".join(f"{name} {number}" for name, number in totals.most_common()))  # noqa: T201 - a command line


if __name__ == "__main__":
    sys.exit(main())
