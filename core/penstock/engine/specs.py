"""Specs: the scheduler's view of what the user declared and the plug-ins decide."""

from __future__ import annotations

from penstock.app import App, Endpoint
from penstock.errors import Draining, InvalidRequest, NotFound, NotReady
from penstock.hooks.registry import Registry
from penstock.scheduler import LaneSpec, PoolSpec, Scheduler
from penstock.scheduler.pools import MOST_WORKERS
from penstock.suggestions import near_miss


def pool_specs(app: App) -> list[PoolSpec]:
    """Return a spec for each of the app's pools."""
    return [
        PoolSpec(
            name=pool.name,
            workers=pool.workers,
            capacity=pool.capacity,
            start_timeout=app.start_timeout,
            spares=pool.spares,
            recycle=pool.recycle,
            devices=len(pool.devices or ()) or 1,
        )
        for pool in app.pools.values()
    ]


def require_scalable(scheduler: Scheduler, name: str, workers: int, *, is_open: bool) -> None:
    """Return if this pool can be given this number of workers.

    Raises
    ------
    NotFound, InvalidRequest, NotReady, Draining
        If there is no such pool, the number is out of bounds, the pool has failed, or the engine is not running.
    """
    pools = scheduler.pools
    if not is_open or scheduler.is_draining:
        raise Draining("the server is not running, or is shutting down", retryable=False)
    if name not in pools:
        raise NotFound(f"there is no pool {name!r}; {near_miss(name, pools)}")
    if not 1 <= workers <= MOST_WORKERS:
        raise InvalidRequest(f"pool {name} cannot have {workers!r} workers; use 1 to {MOST_WORKERS}", param="workers")
    if pools[name].failure is not None:
        raise NotReady(f"pool {name} could not be started and was given up; restart the server")


def lane_specs(app: App, registry: Registry) -> list[LaneSpec]:
    """Return a spec for each endpoint."""
    return [_lane_spec(endpoint, app.pools[endpoint.pool].capacity, registry) for endpoint in app.endpoints]


def _lane_spec(endpoint: Endpoint, capacity: int, registry: Registry) -> LaneSpec:
    return LaneSpec(
        name=endpoint.name,
        pool=endpoint.pool,
        units=capacity // endpoint.concurrency,
        is_stream=endpoint.is_stream,
        is_interruptible=endpoint.mode != "thread",
        runs_in_turn=endpoint.mode == "inline",
        timeouts=endpoint.timeouts,
        retries=endpoint.retries,
        batching=endpoint.batching,
        max_queue=endpoint.max_queue,
        idempotent=endpoint.idempotent,
        new_queue=registry.queue_discipline(endpoint),
        retry=registry.retry_policy(endpoint),
    )
