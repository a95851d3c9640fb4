"""A seeded simulation of the scheduler: random pools, lanes and policies, callers, workers and misfortunes.

    python -m penstock.testing.simulation --steps 200000 --seed 1

Each step is one event for the real scheduler. After each, ``invariants.check`` recounts its whole state. The rules that
take time to observe are checked by a witness of each job, who knows only the scheduler's input and output: the job is
answered exactly once, by its deadline, and any error is true; no success comes late; no two workers run it at once.
A failure names its seed, which reproduces it exactly. (The method is that of TigerBeetle's VOPR.)
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from typing import Any, Final

from penstock import errors
from penstock.response import Encoded
from penstock.scheduler import Attempt, Job
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler.reports import PoolFailedReport
from penstock.scheduler.states import EXPIRED
from penstock.testing.fake_engine import FakeEngine
from penstock.testing.fake_worker import FakeWorker
from penstock.testing.opinions import Opinions
from penstock.testing.scenarios import Weather, draw_lanes, draw_pools, draw_timeouts
from penstock.testing.sent_ahead import SentAhead
from penstock.testing.witness import Witness, WitnessedJob, witness_of

RetryPolicy = Callable[[Job, errors.PenstockError, float], float | None]

SCENARIO_STEPS: Final = (250, 500, 1000, 4000)
"""The number of steps of one scenario, one of which is drawn.

Most bugs show early in one of many configurations, so short scenarios find more; a few bugs need a long one.
"""

DRAIN_STEPS: Final = 100_000
"""A drain that takes more steps than this is considered endless."""

_SLACK: Final = 0.05 + 1e-9
"""Seconds before a deadline at which a worker's own clock may end an attempt: ``_CLOCK_SLACK`` in ``answers``."""


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
        pools = draw_pools(self.dice)
        self.mistakes: Counter[str] = Counter()  # the exceptions of the lanes' queues, by type
        super().__init__(pools, draw_lanes(self.dice, pools, self.mistakes))
        self.weather = Weather.draw(self.dice)
        self.live: dict[int, Witness] = {}  # by number: the witnesses of jobs that were submitted and not answered
        self.outcomes: Counter[str] = Counter()
        self.drain_deadline = math.inf
        self._drain_after = self.dice.choice(SCENARIO_STEPS) if steps is None else steps
        self._lanes = list(self.scheduler.lanes.values())
        self._opinions = Opinions(self._lanes)
        for lane in self._lanes:
            lane.retry = partial(self._judge, lane.retry)
        self._event: on.Event = on.StartRequested()
        self._numbers = 0
        self._lines = SentAhead()
        self._killed: set[int] = set()  # workers that may run on for a moment
        self._lost: list[Witness] = []  # jobs that have lost their worker in this step
        self._have_run: set[str] = set()  # the pools whose workers have been sent work
        self._paid = 0  # jobs that have failed for a queue's mistake
        self._drained = 0  # admitted jobs that were answered normally since the drain began
        self._abandoned = 0  # admitted jobs that the drain has abandoned
        self._is_paused = False
        self._has_failed = False  # True once no worker can be started any more
        self._perform |= {do.Send: self._send, do.Answer: self._answer, do.Kill: self._kill, do.Report: self._hear}
        self._notes: dict[type, Callable[[Any], None]] = {
            on.ResultsArrived: self._note_end,
            on.WorkerExited: self._note_exit,
            on.ChunksArrived: self._note_chunks,
            on.ChunksTaken: self._note_taken,
        }
        self._is_true: dict[type, Callable[[Witness], bool]] = {
            Encoded: self._may_conclude,
            errors.HandlerError: self._may_fail,
            errors.QueueTimeout: lambda job: not job.attempts and job.is_over(("queue", "total"), self.clock.now),
            errors.TotalTimeout: lambda job: self._may_time_out(job, "total"),
            errors.ExecutionTimeout: lambda job: self._may_time_out(job, "execution", "first_chunk", "idle"),
            errors.WorkerLost: self._may_be_lost,
            errors.Cancelled: lambda job: job.hung_up or job.is_over(("unread",), self._slack_end()),
            errors.Draining: self._may_be_drained,
            errors.QueueFull: self._is_refused,
            errors.DeadlineInfeasible: lambda job: self._is_refused(job) or (not job.attempts and self._is_shed(job)),
            errors.HookError: self._may_pay,
            errors.NotReady: lambda job: not job.attempts and (self._has_failed or self._never_ran(job)),
        }

    def run(self) -> None:
        """Make all steps, drain, and check that nothing is left.

        Raises
        ------
        SimulationFailed
            If a rule was broken.
        """
        try:
            self.start()
            self._arrive()
            self._strike()
            self.agenda.plan(self.weather.load_failure, self._fail_load)
            self._plan_pause()
            while not self.scheduler.is_drained:
                self._happen()
            self._require(not self.live and not self.scheduler.attempts, "it claims to be drained, but is not")
            state = self.scheduler.state
            sums = state.drain_answered, state.drain_abandoned
            self._require(
                sums == (self._drained, self._abandoned),
                f"the drain has counted {sums}, not {self._drained, self._abandoned}",
            )
        except SimulationFailed:
            raise
        except Exception as error:
            raise SimulationFailed(self._sentence(f"{type(error).__name__}: {error}")) from error

    def _sentence(self, problem: str) -> str:
        return f"seed={self.seed} step={self.steps} now={self.clock.now:g} {self._event!r}: {problem}"

    def _require(self, is_so: bool, problem: str, witness: Witness | None = None) -> None:  # noqa: FBT001 - as assert
        if not is_so:
            raise SimulationFailed(self._sentence(problem if witness is None else f"{problem}: {witness!r}"))

    # ---- one step

    def receive(self, event: on.Event) -> list[do.Command]:
        """Make one step: inform the witnesses, pass the event to the scheduler, and check the result."""
        note = self._notes.get(type(event))
        if note is not None:
            wakeup = self.scheduler.next_wakeup()
            if wakeup is not None and wakeup <= self.clock.now:
                self.receive(
                    on.TimePassed()
                )  # the scheduler's timers go first, and the witnesses must see the same order
        self.steps += 1
        self._event = event
        for witness in self.live.values():
            witness.wake(self.clock.now)
        if note is not None:
            note(event)
        commands = super().receive(event)
        self._check_losses()
        self._check_deadlines()
        self._check_intake()
        return commands

    def _check_losses(self) -> None:
        """Check that each job that has lost its worker was answered at once, unless it may run again."""
        for witness in self._lost:
            if witness.number in self.live:
                self._require(not witness.was_spoilt, "not answered, although it must not run again", witness)
                self._require(not witness.question, "to run again, although its policy was not asked", witness)
        self._lost.clear()

    def _check_deadlines(self) -> None:
        """Check that no limit of a job or of the drain has passed, and that the next wake-up comes before one does."""
        soonest = min([witness.limit for witness in self.live.values()], default=math.inf)
        if self.live:
            soonest = min(soonest, self.drain_deadline)
        if soonest == math.inf:
            return
        wakeup = self.scheduler.next_wakeup()
        if soonest < self.clock.now or wakeup is None or wakeup > soonest:
            late = min(self.live.values(), key=lambda witness: witness.limit)
            raise SimulationFailed(self._sentence(f"the wake-up is {wakeup}, too late for {late!r} at {soonest}"))

    def _check_intake(self) -> None:
        """Check that nothing is admitted during a pause or a drain, and that queues are consulted as they must be."""
        event = self._event
        if type(event) is on.Submitted and (self._is_paused or self.drain_deadline < math.inf):
            self._require(not event.job.admitted, "admitted during a pause or a drain", witness_of(event.job))
        problem = self._opinions.problem(self.clock.now)
        self._require(problem is None, problem or "")

    def _happen(self) -> None:
        """Let the next thing happen: the first planned action, or the scheduler's wake-up."""
        self._require(self.steps < self._drain_after + DRAIN_STEPS, "the drain does not end")
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
        if self.steps >= self._drain_after and self.drain_deadline == math.inf:
            seconds = self.dice.choice((0.0, 0.1, 5.0))
            self.drain_deadline = self.clock.now + seconds
            self.drain(seconds)

    # ---- the callers

    def _arrive(self) -> None:
        """Submit a caller's job, and plan the next arrival."""
        dice = self.dice
        # Fewer during a drain: while it waits for a worker to exit, all refusals are alike.
        gap = self.weather.gap if self.drain_deadline == math.inf else 0.2
        self.agenda.plan(0.0 if dice.random() < 0.2 else dice.expovariate(1 / gap), self._arrive)
        lane = dice.choice(self._lanes)
        timeouts = lane.timeouts if dice.random() < 0.9 else draw_timeouts(dice)
        job = WitnessedJob(
            lane, timeouts, dice.choice((0, 10, 400)), priority=dice.randint(0, 2), share=dice.choice("abc")
        )
        self._numbers += 1
        behaviour = self.weather.behaviour(dice, is_stream=lane.is_stream, runs_in_turn=lane.runs_in_turn)
        witness = job.witness = Witness(self._numbers, job, behaviour, self.clock.now)
        self.live[witness.number] = witness
        if dice.random() < self.weather.hang_up:
            self.agenda.plan(dice.expovariate(dice.choice((5.0, 1000.0))), lambda: self._hang_up(witness))
        self.receive(on.Submitted(job))

    def _hang_up(self, witness: Witness) -> None:
        witness.hung_up = True
        self.cancel(witness.job)

    def _plan_pause(self) -> None:
        if self.weather.pause < math.inf:
            mean = self.weather.pause / 10 if self._is_paused else self.weather.pause
            self.agenda.plan(self.dice.expovariate(1 / mean), self._pause)

    def _pause(self) -> None:
        """Take the server out of rotation or back, as an operator does, who sometimes says so twice."""
        self._is_paused = not self._is_paused
        for _ in range(self.dice.randint(1, 2)):
            self.receive(on.PauseRequested() if self._is_paused else on.ResumeRequested())
        self._plan_pause()

    # ---- the workers

    def start_worker(self, command: do.StartWorker) -> None:
        """Start a worker, which may be slow or fail to set up."""
        self._require(not self._has_failed, "a worker is started, although none can be")
        dice = self.dice
        self.workers[command.worker] = FakeWorker(
            command.worker,
            self.agenda,
            self.receive,
            behaviour_of=lambda job: witness_of(job).behaviour,
            setup_seconds=dice.choice((0.0, 0.01, 0.2)),
            setup_fails=dice.random() < self.weather.setup_failure,
            exit_seconds=dice.choice((0.0, 0.001, 0.1, 1.0, 10.0)),
            knows_started=dice.random() < 0.5,
            pause=dice.choice((0.0, 0.00005, 0.002)),
            says_early=dice.random() < 0.5,
            latency=dice.choice((0.0, 0.0001, 0.002)),
            on_begun=self._begun,
        )

    def _begun(self, worker: FakeWorker, attempt: Attempt) -> None:
        """Check, as the user's code begins an attempt, that it may begin, and that none of its jobs runs elsewhere."""
        if worker.worker in self._killed:
            return  # it runs on for a moment, which cannot be prevented
        is_wanted = any(witness_of(job).number in self.live for job in attempt.jobs)
        is_right = self._lines.may_begin(worker.worker, attempt, is_wanted=is_wanted)
        self._require(is_right, f"{attempt!r} is begun, although it must not be")
        for job in attempt.jobs:
            witness = witness_of(job)
            if witness.inside is not None:
                other, earlier = witness.inside
                runs_twice = other.is_inside(earlier) and other.worker not in self._killed
                self._require(not runs_twice, f"{worker!r} and {other!r} both run it", witness)
            witness.inside = worker, attempt

    def recall(self, command: do.Recall) -> None:
        """Make a worker give back the attempts that it has not begun, and check the recall."""
        started = self.workers[command.worker].recall(command.attempt)
        back = self._lines.recall(command.worker, command.attempt, started)
        if back is None:
            raise SimulationFailed(self._sentence(f"{command!r} does not name the last attempt of the line"))
        self._leave_line(back)
        self.receive(on.Recalled(command.worker, started))

    def _strike(self) -> None:
        """Kill a worker from outside, whatever it is doing."""
        if self.weather.outage < math.inf:
            self.agenda.plan(self.dice.expovariate(1 / self.weather.outage), self._strike)
            if self.workers:
                self.workers[self.dice.choice(sorted(self.workers))].exit("SIGKILL")

    def _fail_load(self) -> None:
        self.receive(on.TimePassed())  # the timers that are due go first, and may start workers
        self._has_failed = True
        self.receive(on.ImportFailed("Traceback: the import raised"))

    # ---- what the witnesses learn from events

    def _note_end(self, event: on.ResultsArrived) -> None:
        members = self._in_attempt(event.attempt)
        for witness in members:
            if event.results[0] is on.NOT_BEGUN:
                witness.come_back(self.clock.now)
        if members and event.results[0] is not on.NOT_BEGUN:
            self._opinions.note_end(members[0].job.lane)
        attempt = self._lines.end(event.attempt)
        if attempt is not None:
            self._begin_line([attempt])

    def _begin_line(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            for job in attempt.jobs:
                if witness_of(job).sent_ahead == attempt.id:
                    witness_of(job).begin(attempt.id, attempt.worker.id, self.clock.now)

    def _leave_line(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            for job in attempt.jobs:
                if witness_of(job).sent_ahead == attempt.id:
                    witness_of(job).sent_ahead = None

    def _note_exit(self, event: on.WorkerExited) -> None:
        line = self._lines.lose(event.worker)
        self._leave_line([attempt for attempt in line if attempt.id != event.started])
        self._begin_line([attempt for attempt in line if attempt.id == event.started])
        for witness in self._running_in(event.worker):
            witness.lose(self.clock.now, is_guilty=event.started in {None, witness.attempt})
            self._lost.append(witness)

    def _in_attempt(self, attempt: int) -> list[Witness]:
        return [witness for witness in self.live.values() if witness.attempt == attempt]

    def _running_in(self, worker: int) -> list[Witness]:
        return [witness for witness in self.live.values() if witness.worker == worker]

    def _note_chunks(self, event: on.ChunksArrived) -> None:
        for witness in self._in_attempt(event.attempt):
            witness.see_chunk(self.clock.now)
            if self.dice.random() >= self.weather.lazy_reader:
                self.agenda.plan(self.dice.choice((0.0, 0.001, 0.1)), partial(self._take_some, witness.job))

    def _take_some(self, job: Job) -> None:
        """Take all untaken chunks, or a part of them, as a slow reader does."""
        self.take(job, self.dice.choice((job.untaken, self.dice.randint(0, job.untaken))))

    def _note_taken(self, event: on.ChunksTaken) -> None:
        witness_of(event.job).see_taken(event.count, self.clock.now)

    def _judge(self, policy: RetryPolicy, job: Job, error: errors.PenstockError, now: float) -> float | None:
        """Ask a lane's retry policy in the scheduler's place; check the question and record the answer."""
        witness = witness_of(job)
        self._require(witness.may_ask(error) and now == self.clock.now, f"its policy is asked about {error!r}", witness)
        self._require(job.spent == witness.spent(error), f"{job.spent} attempts are charged to it", witness)
        delay = policy(job, error, now)
        witness.hear(delay, error, now)
        return delay

    # ---- what the witnesses learn from commands

    def _send(self, command: do.Send) -> None:
        attempt = command.attempt
        is_ahead = self._lines.add(command.worker, attempt)
        for job in attempt.jobs:
            witness = witness_of(job)
            self._require(witness.number in self.live, "sent, although it has been answered", witness)
            self._require(witness.attempt is None and witness.sent_ahead is None, "sent twice", witness)
            self._check_turn(witness)
            if is_ahead:
                self._require(witness.may_be_sent_ahead, "sent ahead, although it must not be", witness)
                witness.sent_ahead = attempt.id
            else:
                witness.begin(attempt.id, command.worker, self.clock.now)
        self._have_run.add(attempt.worker.pool.name)
        self.workers[command.worker].run(attempt)

    def _check_turn(self, witness: Witness) -> None:
        """Check that the job has backed off long enough, and is the oldest of its lane or the choice of its queue."""
        self._require(witness.not_before is None, "sent before its back-off has ended", witness)
        if witness.job.lane not in self._opinions:
            self._require(self._is_next(witness), "sent out of turn", witness)
            return
        # A job that has arrived, or come back, at this very instant may have done so after the work was handed out.
        now, job = self.clock.now, witness.job
        latest = max((other.job.sequence for other in self.live.values() if other.arrived < now), default=0)
        has_older = any(other.sequence < job.sequence and witness_of(other).since < now for other in job.lane.queue)
        problem = self._opinions.problem_of_start(job, now, latest if has_older else 0)
        self._require(problem is None, problem or "", witness)

    def _is_next(self, witness: Witness) -> bool:
        """Return whether no older job of its lane waits to be sent."""
        for other in self.live.values():  # in the order in which they came
            if other is witness:
                return True
            if other.is_waiting and other.job.lane is witness.job.lane:
                return False
        return True

    def _kill(self, command: do.Kill) -> None:
        self._killed.add(command.worker)
        self._leave_line(self._lines.lose(command.worker))
        for witness in self._running_in(command.worker):
            witness.lose(self.clock.now, is_guilty=False)
            self._lost.append(witness)
        self.workers[command.worker].kill()

    def _answer(self, command: do.Answer) -> None:
        job = command.job
        witness = witness_of(job)
        witness.answers += 1
        self._require(witness.answers == 1, "answered twice", witness)
        self._require(self._is_true[type(job.outcome)](witness), f"{job.outcome!r} is not true", witness)
        has_begun = self.drain_deadline < math.inf and type(self._event) is not on.DrainRequested
        if has_begun and job.admitted:
            is_abandoned = isinstance(job.outcome, errors.Draining)
            self._abandoned += is_abandoned
            self._drained += not is_abandoned
        del self.live[witness.number]
        self.outcomes[getattr(job.outcome, "code", "ok")] += 1

    def _hear(self, command: do.Report) -> None:
        self.reports.append(command.report)
        if type(command.report) is PoolFailedReport:
            self._drain_after = min(self._drain_after, self.steps + 300)  # from now on there are only refusals

    # ---- which answers are true

    def _may_conclude(self, witness: Witness) -> bool:
        """Return whether the job's attempt has just ended, in time: only then may it be answered with a result."""
        event = self._event
        return type(event) is on.ResultsArrived and event.attempt == witness.attempt and witness.limit > self.clock.now

    def _may_fail(self, witness: Witness) -> bool:
        """Return whether the job may be answered with a handler's error: it must not run again, or could not."""
        error = witness.job.outcome
        if error is witness.failed_with and witness.attempt is None:
            is_over = witness.is_over(("queue", "total"), self.clock.now)
            return is_over or self._has_failed or self._is_shed(witness)
        is_asked = error.exception_type != "Cancelled"  # it cancelled itself: policies are not asked about that
        return self._may_conclude(witness) and (witness.refused or not (is_asked and witness.may_ask(error)))

    def _may_time_out(self, witness: Witness, *names: str) -> bool:
        has_begun = witness.attempt is not None or witness.not_before is not None
        return has_begun and witness.is_over(names, self._slack_end())

    def _slack_end(self) -> float:
        """Return the present instant, plus the slack if a worker has just ended an attempt by its own clock."""
        return self.clock.now + (_SLACK if type(self._event) is on.ResultsArrived else 0.0)

    def _may_be_lost(self, witness: Witness) -> bool:
        """Return whether a lost job must not run again, or whether no worker was available for it in time."""
        if witness.failed_with is not None:
            return False
        if witness.job.state == EXPIRED:
            return witness.attempts > 0 and witness.is_over(("queue", "total"), self.clock.now)
        if witness.attempts and self._is_shed(witness):
            return True
        is_final = witness.was_spoilt or witness.refused
        return (witness in self._lost and is_final) or (witness.attempts > 0 and self._has_failed)

    def _never_ran(self, witness: Witness) -> bool:
        return witness.job.lane.pool_name not in self._have_run

    def _may_be_drained(self, witness: Witness) -> bool:
        """Return whether the drain's time is over, or the job is refused because new work is not accepted."""
        is_closed = self._is_paused or self.drain_deadline < math.inf
        return self.clock.now >= self.drain_deadline or (is_closed and self._is_refused(witness))

    def _is_shed(self, witness: Witness) -> bool:
        """Return whether the queue has said explicitly that the job is to be shed."""
        return self._opinions.has_given_up(witness.job) and witness.attempt is None and witness.sent_ahead is None

    def _may_pay(self, _witness: Witness) -> bool:
        """Return whether at most one job has failed for each mistake of a queue."""
        self._paid += 1
        return self._paid <= self.mistakes.total()

    def _is_refused(self, witness: Witness) -> bool:
        return type(self._event) is on.Submitted and self._event.job is witness.job


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
