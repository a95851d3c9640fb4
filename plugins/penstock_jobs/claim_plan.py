"""The decision which endpoints to claim jobs of, and how many: never more than would begin at once.

It does no input or output and has no clock, so its rules are tested without either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from penstock.hooks import App
from penstock.policies import Jobs

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0
"""An engine that has refused a job is left alone for a time that doubles with each refusal, within these limits."""
_ROUNDING: Final = 1e-6


class Slots(NamedTuple):
    """The slots of an endpoint: those in which a job would begin at once, and all."""

    spare: int
    total: int


SlotsOf: TypeAlias = Callable[[str], Slots]


@dataclass
class _Lane:
    """The jobs of one endpoint, as this engine sees them."""

    jobs: Jobs
    pool: str
    per_attempt: int
    may_have_jobs: bool = True
    running: int = 0
    asked: int = 0
    pause_until: float = 0.0
    refusals: int = 0

    @property
    def taken(self) -> int:
        return self.running + self.asked


class ClaimPlan:
    """The claims of one engine.

    A flag for each endpoint says that its queue may have jobs. It is cleared when a claim begins, so that news which
    arrive meanwhile are not lost, and set by news, by a claim that got all that it had asked for, and once a second.

    Parameters
    ----------
    app:
        The app.
    share:
        The part of a pool's slots that jobs may use, for endpoints without a ``concurrency`` of their own; None: all
        but those of one attempt, where there is more than one.
    """

    def __init__(self, app: App, share: float | None = None) -> None:
        self._share = share
        self._lanes = {
            endpoint.name: _Lane(
                endpoint.jobs, endpoint.pool, 1 if endpoint.batching is None else endpoint.batching.max_size
            )
            for endpoint in app.endpoints
            if endpoint.jobs is not None
        }

    def __repr__(self) -> str:
        running = {name: lane.running for name, lane in self._lanes.items() if lane.running}
        return f"<ClaimPlan: {running or 'nothing running'}>"

    def wake(self, endpoints: frozenset[str] | None = None) -> None:
        """Note that endpoints may have queued jobs. None: each of them.

        Those with a limit for all engines are always among them: the end of a job elsewhere makes room for the next.
        """
        for name, lane in self._lanes.items():
            if endpoints is None or name in endpoints or lane.jobs.global_concurrency is not None:
                lane.may_have_jobs = True

    def most_running(self, endpoint: str) -> int | None:
        """Return the number of jobs of an endpoint that all engines may run together; None: no limit."""
        return self._lanes[endpoint].jobs.global_concurrency

    def begin(self, now: float, slots_of: SlotsOf) -> list[tuple[str, int]]:
        """Return the endpoints to claim jobs of now, with their numbers; ``end`` is to follow for each."""
        begun = []
        for name, lane in list(self._lanes.items()):
            if not lane.may_have_jobs or lane.asked or now < lane.pause_until:
                continue
            number = self._room(name, lane, slots_of)
            if number > 0:
                lane.may_have_jobs, lane.asked = False, number
                begun.append((name, number))
                # It is the last one next time: endpoints that share a pool take turns.
                self._lanes[name] = self._lanes.pop(name)
        return begun

    def end(self, endpoint: str, got: int | None) -> None:
        """Note the result of a claim: the number of jobs, each of which is running now. None: it failed."""
        lane = self._lanes[endpoint]
        if got is None or got >= lane.asked:
            lane.may_have_jobs = True
        lane.asked = 0
        lane.running += got or 0

    def leave(self, endpoint: str) -> None:
        """Note that a job has left the engine."""
        self._lanes[endpoint].running -= 1

    def refuse(self, endpoint: str, now: float) -> None:
        """Note that the engine has refused a job: claiming it again at once would be refused again."""
        lane = self._lanes[endpoint]
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**lane.refusals)
        lane.refusals = min(lane.refusals + 1, 10)
        lane.pause_until = now + pause
        lane.may_have_jobs = True

    def accept(self, endpoint: str) -> None:
        """Note that the engine has run a job of the endpoint."""
        self._lanes[endpoint].refusals = 0

    def _room(self, name: str, lane: _Lane, slots_of: SlotsOf) -> int:
        spare, total = slots_of(name)
        if total < 1:
            return 0
        neighbours = [(other, one) for other, one in self._lanes.items() if one.pool == lane.pool]
        room = spare - sum(one.asked for _, one in neighbours)
        if lane.jobs.global_concurrency is not None:
            room = min(room, lane.jobs.global_concurrency - lane.taken)
        if lane.jobs.concurrency is not None:
            return min(room, lane.jobs.concurrency - lane.taken)
        # Endpoints of a pool may have different numbers of slots, so what they use is counted in parts of the pool.
        used = sum(one.taken / max(1, slots_of(other).total) for other, one in neighbours)
        return min(room, int(self._most(lane, total) - used * total + _ROUNDING))

    def _most(self, lane: _Lane, total: int) -> int:
        """Return the number of slots that jobs may use."""
        if self._share is not None:
            return max(1, int(total * self._share + _ROUNDING))
        return total - lane.per_attempt if total > lane.per_attempt else total
