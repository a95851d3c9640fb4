"""A worker process as a model: it is told what the engine would tell it, and says later what a worker would say."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any, ClassVar

from penstock.errors import Cancelled, HandlerError
from penstock.policies import Timeouts
from penstock.response import Encoded
from penstock.scheduler import Attempt, Job, Lane
from penstock.scheduler import events as on
from penstock.scheduler.states import SENT
from penstock.testing.clock import MockClock

Deliver = Callable[[on.Event], Any]
_RESULT = Encoded(b"1")


class Agenda:
    """What is going to happen, by its time. Ties happen in the order in which they were planned."""

    __slots__ = ("_heap", "_tie", "clock")

    def __init__(self, clock: MockClock) -> None:
        self.clock = clock
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._tie = count()

    def __len__(self) -> int:
        return len(self._heap)

    def plan(self, seconds: float, action: Callable[[], object]) -> None:
        """Have ``action`` called so many seconds from now; never, if they are infinite."""
        if seconds != math.inf:
            heappush(self._heap, (self.clock.now + seconds, next(self._tie), action))

    def next(self) -> float:
        """The instant of what comes first; infinite if nothing does."""
        return self._heap[0][0] if self._heap else math.inf

    def pop(self) -> Callable[[], object]:
        """Take out what comes first. The agenda must not be empty."""
        return heappop(self._heap)[2]


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What the user's code does with a job.

    Parameters
    ----------
    seconds:
        How long it takes to return, or to crash; infinite if it is stuck.
    acknowledges:
        Seconds from the interrupt to the end of the attempt; infinite if only a kill helps.
    crashes:
        Whether it takes its worker with it, instead of returning.
    fails, cancels_itself:
        Whether it raises, or gives up as if it had been cancelled, instead of returning.
    may_retry, retry_delay:
        Whether what it raises says that it may be tried again, and after how long.
    recovers:
        How many attempts fail before one succeeds. Never by default.
    chunks, every:
        How many chunks a stream yields first, and the seconds between them.
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
        """What the worker says of the job's so many-th attempt, if it is not stopped."""
        if self.cancels_itself:
            return Cancelled("the handler gave up")
        if not self.fails or attempt > self.recovers:
            return _RESULT
        return HandlerError(
            "it raised", exception_type="ValueError", may_retry=self.may_retry, retry_delay=self.retry_delay
        )


Behaviour.QUICK = Behaviour()
Behaviour.SLOW = Behaviour(seconds=1.0)
Behaviour.STUCK = Behaviour(seconds=math.inf)  # until it is interrupted
Behaviour.STUCK_HARD = Behaviour(seconds=math.inf, acknowledges=math.inf)
Behaviour.CRASHER = Behaviour(crashes=True)
Behaviour.FAILING = Behaviour(fails=True)
Behaviour.RETRYABLE = Behaviour(fails=True, may_retry=True)


class FakeJob(Job):
    """A job that knows how the user's code behaves with it."""

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
    ) -> None:
        super().__init__(lane, timeouts, size_bytes, priority=priority, share=share)
        self.behaviour = behaviour


def _own_behaviour(job: Job) -> Behaviour:
    return job.behaviour if isinstance(job, FakeJob) else Behaviour.QUICK


def _not_watched(_worker: FakeWorker, _attempt: Attempt) -> None:
    """Nobody wants to know what begins."""


class FakeWorker:
    """See the module's text.

    Parameters
    ----------
    worker:
        The scheduler's id of it.
    agenda, deliver:
        Where it writes down what it is going to do, and whom it tells then.
    behaviour_of:
        What the user's code does with a job. Default: the job's own behaviour.
    setup_seconds, setup_fails:
        How long the models take to set up, and whether they fail to.
    exit_seconds:
        From a kill or a stop to the exit.
    knows_started:
        Whether it can tell, when it dies, which attempt was inside the user's code. See ``events.WorkerExited``.
    pause:
        Seconds between one attempt of a lane that runs in turn and the next, in which it may be told that the next is
        recalled. It may have said already that it has begun: see ``says_early``.
    says_early:
        Whether ``recall`` counts an attempt as begun from the pause before it.
    latency:
        Seconds that the end of an attempt takes to be heard of. It is lost if the worker exits in between.
    on_begun:
        Called when the user's code begins an attempt.
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
    ) -> None:
        self.worker = worker
        self.attempts: dict[int, Attempt] = {}  # that it has been told to run, and has not ended
        self.line: deque[Attempt] = deque()  # of those, the ones that wait for their turn
        self.started = 0  # the last attempt of a lane that runs in turn that it has begun, or says so
        self.is_alive = True
        self.agenda = agenda
        self._deliver = deliver
        self._behaviour_of = behaviour_of
        self._exit_seconds = exit_seconds
        self._knows_started = knows_started
        self._pause = pause
        self._says_early = says_early
        self._latency = latency
        self._on_begun = on_begun
        self._current: Attempt | None = None  # whose turn it is
        self._recalled = 0  # no attempt up to this one is begun any more
        self._is_inside = False  # whether it has begun that one
        self._unwanted: set[int] = set()  # interrupted before their turn came
        if setup_fails:
            agenda.plan(setup_seconds, lambda: self.exit("exit code 1", error="Traceback: setup raised"))
        else:
            agenda.plan(setup_seconds, lambda: self._say(on.SetupFinished(worker, setup_seconds)))

    def __repr__(self) -> str:
        state = "alive" if self.is_alive else "gone"
        return f"<FakeWorker {self.worker}: {state}, {len(self.attempts)} attempts>"

    # ---- what it is told

    def run(self, attempt: Attempt) -> None:
        """Run an attempt, at once or in its turn. A batch takes as long as its slowest member and ends as its worst."""
        self.attempts[attempt.id] = attempt
        if attempt.lane.runs_in_turn:
            self.line.append(attempt)
            self._take_turn()
        else:
            self._begin(attempt)

    def recall(self, up_to: int) -> int:
        """Begin no attempt up to this one any more; return the last one that was begun."""
        self._recalled = up_to
        return self.started

    def interrupt(self, attempt_id: int) -> None:
        """Stop an attempt, as far as its code lets itself be stopped. Harmless when it has ended."""
        attempt = self.attempts.get(attempt_id)
        if attempt is None:
            return
        if attempt.lane.runs_in_turn and not self.is_inside(attempt):
            self._unwanted.add(attempt_id)
        else:
            seconds = max(self._behaviour_of(job).acknowledges for job in attempt.jobs)
            results = [Cancelled("interrupted") for _ in attempt.jobs]
            self.agenda.plan(seconds, lambda: self._finish(attempt, seconds, results))

    def kill(self) -> None:
        """SIGKILL. What it had said before may still arrive."""
        self.agenda.plan(self._exit_seconds, lambda: self.exit("SIGKILL"))

    def stop(self) -> None:
        """Tear down and exit."""
        self.agenda.plan(self._exit_seconds, lambda: self.exit("exit code 0"))

    def exit(self, reason: str, *, error: str = "", started: int | None = None) -> None:
        """The process ends, now."""
        if not self.is_alive:
            return
        self.is_alive = False
        if started is None and self._knows_started:
            others = [attempt.id for attempt in self.attempts.values() if not attempt.lane.runs_in_turn]
            started = others[0] if others else self.started
        self._deliver(on.WorkerExited(self.worker, reason, error, started))

    def is_inside(self, attempt: Attempt) -> bool:
        """Whether the user's code runs this attempt now."""
        if attempt.lane.runs_in_turn:
            return self.is_alive and self._current is attempt and self._is_inside
        return self.is_alive and attempt.id in self.attempts

    # ---- what it does

    def _take_turn(self) -> None:
        """Turn to the first of the line, and to the next if that one is not to begin any more."""
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
        """Begin it, unless it is recalled or interrupted by now."""
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
        for position in range(1, members[0].chunks + 1):
            self.agenda.plan(position * members[0].every, lambda: self._chunk(attempt))
        if any(member.crashes for member in members):
            self.agenda.plan(seconds, lambda: self._crash(attempt))
        else:
            # A generator may also end before its last chunk: `seconds` decides.
            # A job that was sent ahead is not counted as begun yet: its worker is ahead of the news.
            first = 1 if attempt.state == SENT else 0
            pairs = zip(members, attempt.jobs, strict=True)
            results = [member.result(first + job.attempts) for member, job in pairs]
            self.agenda.plan(seconds, lambda: self._finish(attempt, seconds, results))

    # ---- what it says

    def _say(self, event: on.Event) -> None:
        if self.is_alive:
            self._deliver(event)

    def _chunk(self, attempt: Attempt) -> None:
        if attempt.id in self.attempts:
            self._say(on.ChunksArrived(attempt.id, 1))

    def _finish(self, attempt: Attempt, seconds: float, results: list[Any]) -> None:
        self._end(attempt, seconds, results)
        if self.is_alive:
            self._take_turn()

    def _end(self, attempt: Attempt, seconds: float, results: list[Any]) -> None:
        if not self.is_alive or self.attempts.pop(attempt.id, None) is None:
            return
        if attempt is self._current:
            self._is_inside = False  # already when the news is out: what has failed may be tried elsewhere at once
        ended = on.ResultsArrived(attempt.id, seconds, results)
        if self._latency:
            self.agenda.plan(self._latency, lambda: self._say(ended))
        else:
            self._deliver(ended)
        if attempt is self._current:
            self._current = None
            self._unwanted.discard(attempt.id)

    def _crash(self, attempt: Attempt) -> None:
        if attempt.id in self.attempts:
            self.exit("SIGSEGV", started=attempt.id if self._knows_started else None)
