"""Checks of pools whose models are set up once, before the workers are forked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from penstock.app.endpoints import Pool, StartMethod
from penstock.errors import DeclarationError


def require_use_of_preload(owner: str, handler: Any, *, preload: bool | None) -> None:
    """Raise ``DeclarationError`` if an endpoint is to be preloaded, but is a function, which has no ``setup``."""
    if preload and not inspect.isclass(handler):
        raise DeclarationError(
            f"{owner}: preload=True would have no effect, because a function has no setup(); write a class with "
            "setup() and predict(), or remove preload=True"
        )


def require_preloadable(pools: Mapping[str, Pool], start_method: StartMethod) -> None:
    """Raise ``DeclarationError`` if a pool preloads, and its workers cannot be forked after one ``setup``."""
    for pool in pools.values():
        if pool.preload:
            _require_preloadable(pool, start_method)


def _require_preloadable(pool: Pool, start_method: StartMethod) -> None:
    if start_method == "fresh":
        raise DeclarationError(
            f"pool {pool.name!r}: preload=True forks the workers, but start_method='fresh' forks none; use "
            "start_method='auto', or remove preload=True"
        )
    if pool.devices is not None and len(set(pool.devices)) > 1:
        raise DeclarationError(
            f"pool {pool.name!r}: preload=True runs setup once, so all workers have the same device; remove "
            f"preload=True, or use workers={len(pool.devices)} in place of devices={list(pool.devices)!r}"
        )
    for endpoint in pool.endpoints:
        if endpoint.is_class and inspect.iscoroutinefunction(getattr(endpoint.handler, "setup", None)):
            raise DeclarationError(
                f"endpoint {endpoint.name!r}: with preload=True, setup runs before the workers are forked, where there "
                "is no event loop yet; write `def setup(self)`, and open what belongs to a loop in predict()"
            )
