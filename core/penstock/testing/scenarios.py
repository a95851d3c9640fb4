"""Random pools, lanes, policies and misfortunes for the simulation."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from penstock.errors import HandlerError, HookError, PenstockError
from penstock.policies import Batching, Retries, Timeouts
from penstock.scheduler import FifoQueue, GuardedQueue, Job, Lane, LaneSpec, PoolSpec, Queue, retry_lost
from penstock.scheduler.pools import WorkerPool
from penstock.testing.agenda import Agenda
from penstock.testing.fake_steps import FakeSteps
from penstock.testing.fake_worker import Behaviour
from penstock.testing.whimsical_queues import ClumsyQueue, WhimsicalQueue


@dataclass(frozen=True, kw_only=True)
class Weather:
    """The load and the frequency of each misfortune in one scenario.

    Parameters
    ----------
    gap:
        Mean seconds between two arrivals.
    hang_up, lazy_reader:
        The share of callers that hang up, and the share of chunks that their caller does not take at once.
    crash, fail, stuck, stuck_hard, slow:
        The share of jobs with each of these behaviours.
    outage, forgery:
        Mean seconds between two kills of workers from outside, and between two reports that a worker has forged.
    setup_failure:
        The share of workers that fail to start.
    jump:
        The share of steps after which the clock leaps.
    load_failure:
        Seconds after which no worker can be started any more.
    pause:
        Mean seconds for which the server stays in rotation between two pauses.
    brisk:
        The share of very short jobs in lanes that run in turn, leaving misfortunes aside.
    """

    gap: float
    hang_up: float
    crash: float
    fail: float
    stuck: float
    stuck_hard: float
    slow: float
    lazy_reader: float
    outage: float
    forgery: float
    setup_failure: float
    jump: float
    load_failure: float
    pause: float
    brisk: float

    @classmethod
    def draw(cls, dice: random.Random) -> Weather:
        """Draw the weather of a scenario. Some lack one misfortune or another, so that the others take effect."""

        def share(most: float) -> float:
            return dice.choice((0.0, dice.uniform(0.0, most)))

        return cls(
            gap=dice.choice((0.0001, 0.0005, 0.002, 0.01, 0.02, 0.05, 0.1)),
            hang_up=share(0.5),
            crash=share(0.05),
            fail=dice.choice((0.05, 0.05, 0.5)),
            stuck=share(0.1),
            stuck_hard=share(0.05),
            slow=share(0.3),
            lazy_reader=share(0.3),
            outage=dice.choice((math.inf, 0.5, 5.0)),
            forgery=dice.choice((math.inf, math.inf, 0.2, 2.0)),
            setup_failure=dice.choice((0.0, 0.0, 0.1, 0.3, 0.8)),
            jump=share(0.005),
            load_failure=dice.choice((math.inf, math.inf, math.inf, dice.uniform(0.0, 50.0), dice.uniform(0.0, 1.0))),
            pause=dice.choice((math.inf, math.inf, math.inf, 0.5, 5.0)),
            brisk=dice.choice((0.5, 0.99, 1.0)),
        )

    def behaviour(self, dice: random.Random, lane: Lane) -> Behaviour:
        """Draw the behaviour of the user's code for one job."""
        is_hard = dice.random() < self.stuck_hard
        is_stuck = is_hard or dice.random() < self.stuck
        is_brisk = lane.runs_in_turn and dice.random() < self.brisk
        rate = 1.0 if dice.random() < self.slow else 50.0
        seconds = dice.expovariate(20_000.0 if is_brisk else rate)
        return Behaviour(
            seconds=math.inf if is_stuck else seconds,
            acknowledges=math.inf if is_hard else dice.expovariate(100.0),
            crashes=not is_stuck and dice.random() < self.crash,
            fails=dice.random() < self.fail,
            may_retry=dice.random() < 0.7,
            retry_delay=dice.choice((None, None, 0.0, 0.02, 2.0)),
            recovers=dice.choice((1, 2, math.inf)),
            cancels_itself=dice.random() < 0.05,
            chunks=_draw_chunks(dice, lane),
            every=dice.expovariate(50.0),
        )


def _draw_chunks(dice: random.Random, lane: Lane) -> int:
    """Draw the number of chunks of an answer. An endpoint that is not declared as a stream may answer with one."""
    if lane.is_stream:
        return dice.randint(1, 5)
    return dice.randint(1, 3) if lane.batching is None and dice.random() < 0.1 else 0


class Pacing:
    """A retry policy with a will of its own: it allows at most ``Retries.max_attempts``, not always, with any delay.

    Parameters
    ----------
    dice:
        The source of its decisions.
    """

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def __call__(self, job: Job, error: PenstockError, _now: float) -> float | None:
        """Return the delay before the next attempt, or None, as a hook would."""
        if job.spent >= job.lane.retries.max_attempts or self._dice.random() < 0.1:
            return None
        if isinstance(error, HandlerError):
            if not error.may_retry:
                return None
            if error.retry_delay is not None:
                return error.retry_delay
        return self._dice.choice((0.0, 0.0, 0.001, 0.05, 0.5))


def draw_pools(dice: random.Random) -> list[PoolSpec]:
    """Draw one or two pools."""
    return [
        PoolSpec(name=f"pool{index}", workers=dice.randint(1, 3), capacity=dice.choice((1, 1, 2, 6)))
        for index in range(dice.randint(1, 2))
    ]


def draw_timeouts(dice: random.Random) -> Timeouts:
    """Draw timeouts that are often reached, and sometimes absent or zero."""
    return Timeouts(
        queue=dice.choice((None, 0.0, 0.001, 0.05, 0.5, 2.0)),
        execution=dice.choice((None, 0.05, 0.2, 1.0)),
        total=dice.choice((None, None, 0.1, 1.0)),
        first_chunk=dice.choice((None, 0.1)),
        idle=dice.choice((None, 0.05, 0.5)),
        grace=dice.choice((0.0, 0.02, 0.1)),
    )


def draw_lanes(dice: random.Random, pools: list[PoolSpec], mistakes: Counter[str]) -> list[LaneSpec]:
    """Draw one to four lanes for these pools. ``mistakes`` counts the exceptions of their queues, by type."""
    # Mostly plain queues: in the others few jobs wait long enough to get into the rarer kinds of trouble.
    is_plain = dice.random() < 0.7
    return [
        _draw_lane(
            dice,
            f"lane{index}",
            dice.choice(pools),
            FifoQueue if is_plain else _draw_queue(dice, mistakes),
        )
        for index in range(dice.randint(1, 4))
    ]


def _draw_lane(dice: random.Random, name: str, pool: PoolSpec, new_queue: Callable[[], Queue]) -> LaneSpec:
    runs_in_turn = dice.random() < 0.5
    is_stream = dice.random() < (0.1 if runs_in_turn else 0.3)
    is_batching = not is_stream and dice.random() < (0.1 if runs_in_turn else 0.4)
    units = dice.choice([units for units in (1, 2, 3, 6) if pool.capacity % units == 0])
    return LaneSpec(
        name=name,
        pool=pool.name,
        units=pool.capacity if runs_in_turn else units,
        is_stream=is_stream,
        is_interruptible=runs_in_turn or dice.random() < 0.7,
        runs_in_turn=runs_in_turn,
        timeouts=draw_timeouts(dice),
        retries=Retries(max_attempts=dice.randint(1, 4)),
        batching=Batching(max_size=dice.randint(1, 4), max_wait=dice.choice((0.0, 0.005, 0.2)))
        if is_batching
        else None,
        max_queue=dice.choice((dice.randint(1, 10), dice.randint(1, 40))),
        idempotent=dice.random() < 0.7,
        new_queue=new_queue,
        retry=dice.choice((retry_lost, Pacing(random.Random(dice.random())))),  # noqa: S311 - dice, not a secret
    )


LOOP: Final = "loop"
"""The name of the pool, and of the lane, of a generation loop."""


_LOOP_SHARE: Final = 0.2
"""The share of scenarios that have a generation loop as well."""


def with_loop(
    dice: random.Random, pools: list[PoolSpec], lanes: list[LaneSpec]
) -> tuple[list[PoolSpec], list[LaneSpec]]:
    """Add a generation loop in some scenarios, and none in the others."""
    if dice.random() >= _LOOP_SHARE:
        return pools, lanes
    pool, lane = _draw_loop(dice)
    return [*pools, pool], [*lanes, lane]


def _draw_loop(dice: random.Random) -> tuple[PoolSpec, LaneSpec]:
    """Draw a generation loop: a lane with a pool of its own, whose attempts take the steps of a worker together."""
    slots = dice.choice((1, 2, 4, 16))
    lane = LaneSpec(
        name=LOOP,
        pool=LOOP,
        is_stream=True,
        timeouts=draw_timeouts(dice),
        retries=Retries(max_attempts=dice.randint(1, 4)),
        max_queue=dice.randint(1, 40),
        idempotent=dice.random() < 0.7,
        retry=dice.choice((retry_lost, Pacing(random.Random(dice.random())))),  # noqa: S311 - dice, not a secret
    )
    return PoolSpec(name=LOOP, workers=dice.randint(1, 2), capacity=slots), lane


def draw_steps(dice: random.Random, agenda: Agenda, pool: WorkerPool) -> FakeSteps | None:
    """Draw the steps of a worker of this pool; return None if it runs no generation loop."""
    return FakeSteps(agenda, dice.choice((0.0001, 0.002, 0.05)), pool.capacity) if pool.name == LOOP else None


def _draw_queue(dice: random.Random, mistakes: Counter[str]) -> Callable[[], Queue]:
    """Draw a queue in order of arrival, a whimsical one, or a clumsy one behind a guard."""
    seed = dice.randrange(1 << 32)

    def fail(error: BaseException) -> HookError:
        mistakes[type(error).__name__] += 1
        return HookError(str(error))

    def clumsy() -> Queue:
        return GuardedQueue(ClumsyQueue(seed), fail)

    return dice.choice((FifoQueue, partial(WhimsicalQueue, seed), clumsy))
