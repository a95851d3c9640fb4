"""The referee of a simulation: it follows the events and commands, informs the witnesses, and checks the rules."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from penstock import errors
from penstock.scheduler import Attempt, Job, Lane
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler.reports import AnyReport
from penstock.testing.count_referee import CountReferee
from penstock.testing.fake_worker import FakeWorker
from penstock.testing.scene import Scene
from penstock.testing.sent_ahead import SentAhead
from penstock.testing.true_answers import TrueAnswers
from penstock.testing.witness import Witness, witness_of

RetryPolicy = Callable[[Job, errors.PenstockError, float], float | None]


class RuleBroken(AssertionError):
    """The scheduler has broken a rule that takes time to observe. The message names the rule and the job."""


def require(is_so: bool, problem: str, witness: Witness | None = None) -> None:  # noqa: FBT001 - as assert
    """Raise ``RuleBroken`` unless ``is_so``."""
    if not is_so:
        raise RuleBroken(problem if witness is None else f"{problem}: {witness!r}")


class Referee:
    """The checks of one scenario.

    Parameters
    ----------
    scene:
        The facts of the scenario. The referee adds to ``lost`` and ``used_pools``, and only reads the others.

    Attributes
    ----------
    live:
        The witnesses of the jobs that were submitted and not answered, by number.
    outcomes:
        The answers, counted by code.
    drain_counts:
        The admitted jobs answered since the drain began: those answered normally, and those that it abandoned.
    counts:
        The counts that each lane should have.
    """

    def __init__(self, scene: Scene) -> None:
        self.live: dict[int, Witness] = {}
        self.outcomes: Counter[str] = Counter()
        self.drain_counts = (0, 0)
        self.counts = CountReferee()
        self._scene = scene
        self._true_answers = TrueAnswers(scene)
        self._lines = SentAhead()
        self._died: set[int] = set()
        self._killed: set[int] = set()  # workers that may run on for a moment
        self._notes: dict[type, Callable[[Any], None]] = {
            on.ResultsArrived: self._note_end,
            on.WorkersDied: lambda event: self._died.update(event.workers),
            on.WorkerExited: self._note_exit,
            on.ProtocolBroken: self._note_exit,
            on.MemoryMeasured: self._note_memory,
            on.StreamBegan: self._note_stream,
            on.ChunksArrived: self._note_chunks,
            on.ChunksTaken: self._note_taken,
        }

    # ---- what the witnesses learn from events

    def is_news(self, event: on.Event) -> bool:
        """Return whether the witnesses learn anything from this event."""
        return type(event) in self._notes

    def see_event(self, event: on.Event) -> None:
        """Inform the witnesses of an event, before the scheduler receives it."""
        for witness in self.live.values():
            witness.wake(self._scene.now)
        note = self._notes.get(type(event))
        if note is not None:
            note(event)

    def in_attempt(self, attempt: int) -> list[Witness]:
        """Return the witnesses of the live jobs in an attempt that has begun."""
        return [witness for witness in self.live.values() if witness.attempt == attempt]

    def _note_end(self, event: on.ResultsArrived) -> None:
        members = self.in_attempt(event.attempt)
        has_begun = event.results[0] is not on.NOT_BEGUN
        self.counts.see_end(event.attempt, event.seconds, len(members), has_begun=has_begun)
        for witness in [] if has_begun else members:
            witness.come_back(self._scene.now)
        if members and has_begun:
            self._scene.opinions.note_end(members[0].job.lane)
        attempt = self._lines.end(event.attempt)
        if attempt is not None:
            self.counts.see_begun(attempt)
            self._begin_line([attempt])

    def _begin_line(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            for job in attempt.jobs:
                if witness_of(job).sent_ahead == attempt.id:
                    witness_of(job).begin(attempt.id, attempt.worker.id, self._scene.now)

    def _leave_line(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            for job in attempt.jobs:
                if witness_of(job).sent_ahead == attempt.id:
                    witness_of(job).sent_ahead = None

    def _note_memory(self, event: on.MemoryMeasured) -> None:
        if event is self._scene.deadly:
            self._note_exit(event)

    def _note_exit(self, event: on.WorkerExited | on.ProtocolBroken | on.MemoryMeasured) -> None:
        self._lose(event.worker, event.started)

    def _lose(self, worker: int, started: int | None) -> None:
        self.counts.see_loss(worker, self._scene.now)
        line = self._lines.lose(worker)
        self._leave_line([attempt for attempt in line if attempt.id != started])
        self._begin_line([attempt for attempt in line if attempt.id == started])
        for witness in [witness for witness in self.live.values() if witness.worker == worker]:
            witness.lose(self._scene.now, is_guilty=started in {None, witness.attempt})
            self._scene.lost.append(witness)

    def _note_stream(self, event: on.StreamBegan) -> None:
        for witness in self.in_attempt(event.attempt):
            witness.see_head()

    def _note_chunks(self, event: on.ChunksArrived) -> None:
        for witness in self.in_attempt(event.attempt):
            witness.see_chunk(self._scene.now)

    def _note_taken(self, event: on.ChunksTaken) -> None:
        witness_of(event.job).see_taken(event.count, self._scene.now)

    # ---- what the witnesses learn from commands

    def see_send(self, command: do.Send) -> None:
        """Check that the jobs of an attempt may be sent now."""
        attempt = command.attempt
        require(command.worker not in self._died, f"{attempt!r} is sent to a dead worker")
        is_ahead = self._lines.add(command.worker, attempt)
        if not is_ahead:
            self.counts.see_begun(attempt)
        for job in attempt.jobs:
            witness = witness_of(job)
            require(witness.number in self.live, "sent, although it has been answered", witness)
            require(witness.attempt is None and witness.sent_ahead is None, "sent twice", witness)
            self._check_turn(witness)
            if is_ahead:
                require(witness.may_be_sent_ahead, "sent ahead, although it must not be", witness)
                witness.sent_ahead = attempt.id
            else:
                witness.begin(attempt.id, command.worker, self._scene.now)
        self._scene.used_pools.add(attempt.worker.pool.name)

    def _check_turn(self, witness: Witness) -> None:
        """Check that the job has backed off long enough, and is the oldest of its lane or the choice of its queue."""
        require(witness.not_before is None, "sent before its back-off has ended", witness)
        if witness.job.lane not in self._scene.opinions:
            require(self._is_next(witness), "sent out of turn", witness)
            return
        # A job that has arrived, or come back, at this very instant may have done so after the work was handed out.
        now, job = self._scene.now, witness.job
        latest = max((other.job.sequence for other in self.live.values() if other.arrived < now), default=0)
        has_older = any(other.sequence < job.sequence and witness_of(other).since < now for other in job.lane.queue)
        problem = self._scene.opinions.problem_of_start(job, now, latest if has_older else 0)
        require(problem is None, problem or "", witness)

    def _is_next(self, witness: Witness) -> bool:
        """Return whether no older job of its lane waits to be sent."""
        for other in self.live.values():  # in order of arrival
            if other is witness:
                return True
            if other.is_waiting and other.job.lane is witness.job.lane:
                return False
        return True

    def see_recall(self, command: do.Recall, started: int) -> None:
        """Check a recall, to which the worker has answered that ``started`` is the last attempt it has begun."""
        back = self._lines.recall(command.worker, command.attempt, started)
        if back is None:
            raise RuleBroken(f"{command!r} does not name the last attempt of the line")
        self._leave_line(back)

    def see_kill(self, command: do.Kill) -> None:
        """Record that the jobs of a worker are lost, through no fault of their own."""
        self._killed.add(command.worker)
        self._lose(command.worker, started=0)

    def see_answer(self, command: do.Answer) -> None:
        """Check that the job is answered for the first time, and that the answer is true."""
        job = command.job
        witness = witness_of(job)
        witness.answers += 1
        require(witness.answers == 1, "answered twice", witness)
        require(self._true_answers.allow(witness), f"{job.outcome!r} is not true", witness)
        is_draining = self._scene.drain_deadline < math.inf and type(self._scene.event) is not on.DrainRequested
        if is_draining and job.admitted:
            answered, abandoned = self.drain_counts
            is_abandoned = isinstance(job.outcome, errors.Draining)
            self.drain_counts = (answered + (not is_abandoned), abandoned + is_abandoned)
        del self.live[witness.number]
        self.counts.see_answer(job)
        self.outcomes[getattr(job.outcome, "code", "ok")] += 1

    # ---- what the witnesses learn from workers and policies

    def see_begun(self, worker: FakeWorker, attempt: Attempt) -> None:
        """Check, as the user's code begins an attempt, that it may begin, and that none of its jobs runs elsewhere."""
        if worker.worker in self._killed:
            return  # it runs on for a moment, which cannot be prevented
        is_wanted = any(witness_of(job).number in self.live for job in attempt.jobs)
        may_begin = self._lines.may_begin(worker.worker, attempt, is_wanted=is_wanted)
        require(may_begin, f"{attempt!r} is begun, although it must not be")
        for job in attempt.jobs:
            witness = witness_of(job)
            if witness.inside is not None:
                other, earlier = witness.inside
                runs_twice = other.is_inside(earlier) and other.worker not in self._killed
                require(not runs_twice, f"{worker!r} and {other!r} both run it", witness)
            witness.inside = worker, attempt

    def judge(self, policy: RetryPolicy, job: Job, error: errors.PenstockError, now: float) -> float | None:
        """Ask a lane's retry policy in the scheduler's place; check the question and record the answer."""
        witness = witness_of(job)
        may_ask = witness.may_ask(error) and now == self._scene.now
        require(may_ask, f"its policy is asked about {error!r}", witness)
        require(job.spent == witness.spent(error), f"{job.spent} attempts are charged to it", witness)
        delay = policy(job, error, now)
        witness.hear(delay, error, now)
        return delay

    # ---- after each step

    def check(self, wakeup: float | None) -> None:
        """Check everything that must hold after a step, with the scheduler's next wake-up at ``wakeup``."""
        self._check_losses()
        self._check_deadlines(wakeup)
        self._check_intake()

    def check_counts(self, lanes: list[Lane], reports: list[AnyReport]) -> None:
        """Check that the reports of a whole scenario add up to what has happened in its lanes."""
        problem = self.counts.problem(lanes, reports)
        require(problem is None, problem or "")

    def _check_losses(self) -> None:
        """Check that each job that has lost its worker was answered at once, unless it may run again."""
        for witness in self._scene.lost:
            if witness.number in self.live:
                require(not witness.was_spoilt, "not answered, although it must not run again", witness)
                require(not witness.question, "to run again, although its policy was not asked", witness)
        self._scene.lost.clear()

    def _check_deadlines(self, wakeup: float | None) -> None:
        """Check that no limit of a job or of the drain has passed, and that the next wake-up comes before one does."""
        soonest = min([witness.limit for witness in self.live.values()], default=math.inf)
        if self.live:
            soonest = min(soonest, self._scene.drain_deadline)
        if soonest == math.inf:
            return
        if soonest < self._scene.now or wakeup is None or wakeup > soonest:
            late = min(self.live.values(), key=lambda witness: witness.limit)
            raise RuleBroken(f"the wake-up is {wakeup}, too late for {late!r} at {soonest}")

    def _check_intake(self) -> None:
        """Check that nothing is admitted during a pause or a drain, and that queues are consulted as they must be."""
        event = self._scene.event
        if type(event) is on.Submitted and self._scene.is_closed:
            require(not event.job.admitted, "admitted during a pause or a drain", witness_of(event.job))
        problem = self._scene.opinions.problem(self._scene.now)
        require(problem is None, problem or "")
