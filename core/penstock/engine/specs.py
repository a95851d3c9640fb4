"""Specs: the scheduler's view of what the user declared and the plug-ins decide."""

from __future__ import annotations

from penstock.app import App, Endpoint
from penstock.hooks.registry import Registry
from penstock.scheduler import LaneSpec, PoolSpec


def pool_specs(app: App) -> list[PoolSpec]:
    """Return a spec for each of the app's pools."""
    return [
        PoolSpec(name=pool.name, workers=pool.workers, capacity=pool.capacity, start_timeout=app.start_timeout)
        for pool in app.pools.values()
    ]


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
