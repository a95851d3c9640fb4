"""Fake workers: they take the engine's commands, and later send the events that a real worker process would send."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from penstock.errors import Cancelled, HandlerError
from penstock.policies import Timeouts
from penstock.response import Encoded
from penstock.scheduler import Attempt, Job, Lane
from penstock.scheduler import events as on
from penstock.scheduler.states import SENT
from penstock.testing.agenda import Agenda
from penstock.testing.fake_steps import FakeSteps

Deliver = Callable[[on.Event], Any]
_RESULT = Encoded(b"1")
_HEAD = Encoded(b"")


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """The behaviour of the user's code for one job.

    Parameters
    ----------
    seconds:
        Seconds until it returns or crashes; infinite if it is stuck.
    acknowledges:
        Seconds from an interrupt to the end of the attempt; infinite if only a kill ends it.
    crashes:
        True if it crashes its worker instead of returning.
    fails, cancels_itself:
        True if it raises, or stops as if it had been cancelled, instead of returning.
    may_retry, retry_delay:
        True if its exception permits another attempt, and the delay in seconds that the exception asks for.
    recovers:
        The number of failing attempts before one succeeds. By default, none ever succeeds.
    chunks, every:
        The number of chunks that it yields before it ends, and the seconds between them. It answers with a stream if
        there are any.
    """

    seconds: float = 0.01
    acknowledges: float = 0.001
    crashes: bool = False
    fails: bool = False
    cancels_itself: bool = False
    may_retry: bool = False
    retry_delay: float | None = None
    recovers: float = math.inf
    chunks: int = 0
    every: float = 0.01

    QUICK: ClassVar[Behaviour]
    SLOW: ClassVar[Behaviour]
    STUCK: ClassVar[Behaviour]
    STUCK_HARD: ClassVar[Behaviour]
    CRASHER: ClassVar[Behaviour]
    FAILING: ClassVar[Behaviour]
    RETRYABLE: ClassVar[Behaviour]

    def result(self, attempt: int = 1) -> Encoded | HandlerError | Cancelled:
        """Return the result of the job's attempt number ``attempt``, unless it is stopped."""
        if self.cancels_itself:
            return Cancelled("the handler gave up")
        if not self.fails or attempt > self.recovers:
            return _RESULT
        return HandlerError(
            "it raised", exception_type="ValueError", may_retry=self.may_retry, retry_delay=self.retry_delay
        )


Behaviour.QUICK = Behaviour()
Behaviour.SLOW = Behaviour(seconds=1.0)
Behaviour.STUCK = Behaviour(seconds=math.inf)  # ends when it is interrupted
Behaviour.STUCK_HARD = Behaviour(seconds=math.inf, acknowledges=math.inf)
Behaviour.CRASHER = Behaviour(crashes=True)
Behaviour.FAILING = Behaviour(fails=True)
Behaviour.RETRYABLE = Behaviour(fails=True, may_retry=True)


class FakeJob(Job):
    """A job that carries the behaviour of the user's code."""

    __slots__ = ("behaviour",)

    def __init__(
        self,
        lane: Lane,
        timeouts: Timeouts,
        size_bytes: int = 0,
        behaviour: Behaviour = Behaviour.QUICK,
        *,
        priority: int = 1,
        share: str = "",
        items: int = 1,
    ) -> None:
        super().__init__(lane, timeouts, size_bytes, priority=priority, share=share, items=items)
        self.behaviour = behaviour


def _own_behaviour(job: Job) -> Behaviour:
    return job.behaviour if isinstance(job, FakeJob) else Behaviour.QUICK


def _not_watched(_worker: FakeWorker, _attempt: Attempt) -> None:
    """Do nothing when an attempt begins."""


class FakeWorker:
    """A model of a worker process, driven by the commands that a real one would receive.

    Parameters
    ----------
    worker:
        Its id in the scheduler.
    agenda:
        The agenda on which it plans its actions.
    deliver:
        Called with each event that it sends.
    behaviour_of:
        Returns the behaviour of the user's code for a job. Default: the job's own.
    setup_seconds, setup_fails:
        Seconds that the models take to set up, and whether the set-up then fails.
    exit_seconds:
        Seconds from a kill or a stop to the exit.
    knows_started:
        True if its exit reports which attempt was inside the user's code. See ``events.WorkerExited``.
    pause:
        Seconds between one attempt of a lane that runs in turn and the next one, during which the next one may still be
        recalled. The worker may already have announced that it has begun: see ``says_early``.
    says_early:
        True if ``recall`` counts an attempt as begun from the start of the pause before it.
    latency:
        Seconds until an event of an attempt becomes known. The news is lost if the worker exits in between.
    on_begun:
        Called when the user's code begins an attempt.
    steps:
        The steps of its generation loop, if it runs one: for all of its attempts.
    """

    def __init__(
        self,
        worker: int,
        agenda: Agenda,
        deliver: Deliver,
        *,
        behaviour_of: Callable[[Job], Behaviour] = _own_behaviour,
        setup_seconds: float = 0.1,
        setup_fails: bool = False,
        exit_seconds: float = 0.001,
        knows_started: bool = False,
        pause: float = 0.0,
        says_early: bool = False,
        latency: float = 0.0,
        on_begun: Callable[[FakeWorker, Attempt], None] = _not_watched,
        steps: FakeSteps | None = None,
    ) -> None:
        self.worker = worker
        self.attempts: dict[int, Attempt] = {}  # sent to it and not ended
        self.line: deque[Attempt] = deque()  # the ones among them that wait for their turn
        self.started = 0  # the last attempt that it has begun, or says so; only of lanes that run in turn
        self.is_alive = True
        self.agenda = agenda
        self._deliver = deliver
        self._behaviour_of = behaviour_of
        self._exit_seconds = exit_seconds
        self._knows_started = knows_started and steps is None
        self._pause = pause
        self._says_early = says_early
        self._latency = latency
        self._on_begun = on_begun
        self._steps = steps
        self._plan = agenda.plan if steps is None else steps.plan  # plans the events of attempts
        self._current: Attempt | None = None  # the attempt that has its turn
        self._recalled = 0  # it begins no attempt up to this one any more
        self._is_inside = False  # True once it has begun the current one
        self._unwanted: set[int] = set()  # interrupted before their turn came
        if setup_fails:
            agenda.plan(setup_seconds, lambda: self.exit("exit code 1", error="Traceback: setup raised"))
        else:
            agenda.plan(setup_seconds, lambda: self._say(on.SetupFinished(worker, setup_seconds)))

    def __repr__(self) -> str:
        state = "alive" if self.is_alive else "gone"
        return f"<FakeWorker {self.worker}: {state}, {len(self.attempts)} attempts>"

    # ---- commands

    def run(self, attempt: Attempt) -> None:
        """Run an attempt, at once or in its turn.

        A batch takes as long as its slowest member, and crashes if one of them does.
        """
        self.attempts[attempt.id] = attempt
        if attempt.lane.runs_in_turn:
            self.line.append(attempt)
            self._take_turn()
        elif self._steps is not None:
            self._steps.require_room(self.attempts.values())
            self._steps.plan(0.0, partial(self._admit, attempt, self._steps))
        else:
            self._begin(attempt)

    def _admit(self, attempt: Attempt, steps: FakeSteps) -> None:
        if self.is_alive and steps.is_wanted(attempt):
            (job,) = attempt.jobs
            behaviour = self._behaviour_of(job)
            steps.admit(attempt, behaviour.seconds, behaviour.acknowledges)
            self._begin(attempt)

    def recall(self, up_to: int) -> int:
        """Begin no attempt up to ``up_to`` from now on; return the last one that was begun."""
        self._recalled = up_to
        return self.started

    def interrupt(self, attempt_id: int) -> None:
        """Interrupt an attempt; its code may ignore that. Harmless if the attempt has ended."""
        attempt = self.attempts.get(attempt_id)
        if attempt is None:
            return
        if attempt.lane.runs_in_turn and not self.is_inside(attempt):
            self._unwanted.add(attempt_id)
        elif self._steps is not None:
            self._steps.plan(0.0, lambda: self._finish(attempt, 0.0, [Cancelled("interrupted")]))
            self._steps.cancel(attempt, self.attempts)
        else:
            seconds = max(self._behaviour_of(job).acknowledges for job in attempt.jobs)
            results = [Cancelled("interrupted") for _ in attempt.jobs]
            self.agenda.plan(seconds, lambda: self._finish(attempt, seconds, results))

    def kill(self) -> None:
        """Kill the process by SIGKILL. Events that it sent before may still arrive."""
        self.agenda.plan(self._exit_seconds, lambda: self.exit("SIGKILL"))

    def stop(self) -> None:
        """Tear the models down and exit."""
        self.agenda.plan(self._exit_seconds, lambda: self.exit("exit code 0"))

    def exit(self, reason: str, *, error: str = "", started: int | None = None) -> None:
        """End the process, now."""
        if not self.is_alive:
            return
        self.is_alive = False
        self._deliver(on.WorkerExited(self.worker, reason, error, self.last_begun() if started is None else started))

    def last_begun(self) -> int | None:
        """Return the attempt that the user's code has begun last, if it is known: see ``events.WorkerExited``."""
        if not self._knows_started:
            return None
        others = [attempt.id for attempt in self.attempts.values() if not attempt.lane.runs_in_turn]
        return others[0] if others else self.started

    def is_inside(self, attempt: Attempt) -> bool:
        """Return whether the user's code is running this attempt now."""
        if attempt.lane.runs_in_turn:
            return self.is_alive and self._current is attempt and self._is_inside
        return self.is_alive and attempt.id in self.attempts

    # ---- running attempts

    def _take_turn(self) -> None:
        """Begin the first attempt of the line, or the one after it if that one is not to begin any more."""
        while self._current is None and self.line:
            self._current = attempt = self.line.popleft()
            if self._says_early:
                self.started = attempt.id
            if self._pause:
                self.agenda.plan(self._pause, partial(self._after_pause, attempt))
                return
            self._begin_turn(attempt)

    def _after_pause(self, attempt: Attempt) -> None:
        if self.is_alive:
            self._begin_turn(attempt)
            self._take_turn()

    def _begin_turn(self, attempt: Attempt) -> None:
        """Begin the attempt, unless it has been recalled or interrupted by now."""
        self.started = attempt.id
        if attempt.id <= self._recalled:
            self._end(attempt, 0.0, [on.NOT_BEGUN for _ in attempt.jobs])
        elif attempt.id in self._unwanted:
            self._end(attempt, 0.0, [Cancelled("interrupted") for _ in attempt.jobs])
        else:
            self._is_inside = True
            self._begin(attempt)

    def _begin(self, attempt: Attempt) -> None:
        self._on_begun(self, attempt)
        members = [self._behaviour_of(job) for job in attempt.jobs]
        seconds = max(member.seconds for member in members)
        first = members[0]
        if first.chunks:
            self._plan(first.every / 2, partial(self._say_of, attempt, on.StreamBegan(attempt.id, _HEAD)))
        for position in range(1, first.chunks + 1):
            self._plan(position * first.every, partial(self._say_of, attempt, on.ChunksArrived(attempt.id, 1)))
        if any(member.crashes for member in members):
            self._plan(seconds, lambda: self._crash(attempt))
        else:
            # A generator may also end before its last chunk: `seconds` decides.
            # The scheduler does not count a job that was sent ahead as begun until it hears so.
            uncounted = 1 if attempt.state == SENT else 0
            pairs = zip(members, attempt.jobs, strict=True)
            results = [member.result(uncounted + job.attempts) for member, job in pairs]
            self._plan(seconds, lambda: self._finish(attempt, seconds, results))

    # ---- sending events

    def _say(self, event: on.Event) -> None:
        if self.is_alive:
            self._deliver(event)

    def _say_late(self, event: on.Event) -> None:
        if self._latency:
            self.agenda.plan(self._latency, partial(self._say, event))
        else:
            self._say(event)

    def _say_of(self, attempt: Attempt, event: on.Event) -> None:
        """Send an event of an attempt, unless the attempt has ended."""
        if attempt.id in self.attempts:
            self._say_late(event)

    def _finish(self, attempt: Attempt, seconds: float, results: list[Any]) -> None:
        self._end(attempt, seconds, results)
        if self.is_alive:
            self._take_turn()

    def _end(self, attempt: Attempt, seconds: float, results: list[Any]) -> None:
        if not self.is_alive or self.attempts.pop(attempt.id, None) is None:
            return
        if attempt is self._current:
            self._is_inside = False  # before the event: a job that has failed may run elsewhere at once
        self._say_late(on.ResultsArrived(attempt.id, seconds, results))
        if attempt is self._current:
            self._current = None
            self._unwanted.discard(attempt.id)

    def _crash(self, attempt: Attempt) -> None:
        if attempt.id in self.attempts:
            self.exit("SIGSEGV", started=attempt.id if self._knows_started else None)
