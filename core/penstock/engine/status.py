"""The status page: the state of an engine, ready for JSON. Times are in seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.engine.observers import Observers
from penstock.engine.operator_log import rounded
from penstock.scheduler import Attempt, Scheduler
from penstock.scheduler.pools import Place, WorkerPool

Fields = dict[str, Any]


def _nothing_more(_: str) -> Fields:
    return {}


class StatusPage:
    """The status page of one engine.

    Parameters
    ----------
    scheduler, observers:
        The engine's. The observers receive what has been counted before the page is made.
    time:
        The engine's clock.
    pid_of:
        Returns the process id of a worker, by the scheduler's id of it, or None.
    request_id_of:
        Returns the id of the request that a job was made from.

    Attributes
    ----------
    of_host:
        Called for what the host of the engine adds to the page.
    of_pool:
        Called, with a pool's name, for what its processes add to its entry.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        observers: Observers,
        time: Callable[[], float],
        *,
        pid_of: Callable[[int], int | None],
        request_id_of: Callable[[Any], str],
    ) -> None:
        self._scheduler = scheduler
        self._observers = observers
        self._time = time
        self._pid_of = pid_of
        self._request_id_of = request_id_of
        self.of_host: Callable[[], Fields] = dict
        self.of_pool: Callable[[str], Fields] = _nothing_more

    def render(self, unready_reasons: list[str]) -> Fields:
        """Return the page; ``unready_reasons`` is empty if the engine is ready."""
        scheduler = self._scheduler
        self._observers.report_counts(scheduler)
        return {
            "ready": not unready_reasons,
            "reasons": unready_reasons,
            "draining": scheduler.is_draining,
            "plugins": self._observers.registry.status(),
            "pools": {name: self._pool(pool) for name, pool in scheduler.pools.items()},
            "endpoints": {name: lane.statistics() for name, lane in scheduler.lanes.items()},
        } | self.of_host()

    def _pool(self, pool: WorkerPool) -> Fields:
        return {
            "ready": pool.is_ready,
            "failure": pool.failure,
            "target": pool.target,
            "spares": pool.spares,
            "recycled": dict(pool.recycled),
            "workers": [self._place(place) for place in pool.places],
        } | self.of_pool(pool.name)

    def _place(self, place: Place) -> Fields:
        worker = place.worker
        known = {"id": place.name, "restarts": place.restarts, "last_end": place.last_end or None}
        if worker is None:
            return known | {"pid": None, "state": "restarting", "since": None, "memory_bytes": None, "attempts": []}
        return known | {
            "pid": self._pid_of(worker.id),
            "state": worker.state,
            "since": rounded(self._time() - worker.since),
            "memory_bytes": worker.memory_bytes or None,
            "attempts": [self._attempt(attempt) for attempt in worker.attempts.values()],
        }

    def _attempt(self, attempt: Attempt) -> Fields:
        return {
            "id": attempt.id,
            "endpoint": attempt.lane.name,
            "state": attempt.state,
            "jobs": [self._request_id_of(job) for job in attempt.jobs],
            "seconds": rounded(self._time() - attempt.started),
        }
