"""Utilization: how much of a pool's capacity its jobs take up, waiting ones included. Above 1, jobs wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.hooks import App, Endpoint


def share_of_worker(endpoint: Endpoint) -> float:
    """Return the part of one worker that one job of the endpoint takes up."""
    per_slot = 1 if endpoint.batching is None else endpoint.batching.max_size
    return 1 / (endpoint.concurrency * per_slot)


def utilization_by_pool(app: App, status: Mapping[str, Any]) -> dict[str, float]:
    """Return the present utilization of each pool, as ``Engine.status`` shows it."""
    taken = dict.fromkeys(status["pools"], 0.0)
    for endpoint in app.endpoints:
        lane = status["endpoints"].get(endpoint.name)
        if lane is not None and endpoint.pool in taken:
            taken[endpoint.pool] += share_of_worker(endpoint) * (lane["queued"] + lane["running"])
    return {name: taken[name] / max(1, len(pool["workers"])) for name, pool in status["pools"].items()}
