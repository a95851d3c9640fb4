"""The checks of a pool that ``App.pool`` declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.app import declaration
from penstock.app.endpoints import Pool, PoolOptions, Runtime
from penstock.errors import DeclarationError
from penstock.policies import Recycle
from penstock.suggestions import near_miss


def options_of(
    name: str,
    *,
    workers: int | None,
    devices: Sequence[str] | None,
    runtime: Runtime | None,
    preload: bool | None,
    recycle: Recycle | None,
    spares: int,
) -> PoolOptions:
    """Return the options of the pool ``name``; raise ``DeclarationError`` for one that means nothing."""
    owner = f"pool {name!r}"
    declaration.require_counts(owner, workers=1 if workers is None else workers)
    declaration.require_choices(owner, idempotent=True, runtime=runtime, pool=name, preload=preload)
    _require_recycling(owner, recycle, spares)
    return PoolOptions(workers, declaration.device_names(owner, devices), runtime, preload, recycle, spares)


def _require_recycling(owner: str, recycle: Any, spares: Any) -> None:
    """Raise ``DeclarationError`` if these are not a ``Recycle`` policy, or None, and a number of workers."""
    if recycle is not None and not isinstance(recycle, Recycle):
        raise DeclarationError(f"{owner}: recycle={recycle!r} is not a policy; write recycle=Recycle(attempts=10_000)")
    if isinstance(spares, bool) or not isinstance(spares, int) or spares < 0:
        raise DeclarationError(f"{owner}: spares={spares!r} is invalid; use an integer of at least 0")


def require_use_of_pool(name: str, pools: Mapping[str, Pool]) -> None:
    """Raise ``DeclarationError`` if no endpoint is in the pool, or none of its models has the ``check`` to call."""
    if name not in pools:
        raise DeclarationError(f"pool {name!r} is declared, but no endpoint is in it; {near_miss(name, pools)}")
    recycle = pools[name].recycle
    if recycle is None or recycle.check is None:
        return
    owner = f"pool {name!r}"
    handlers: list[Any] = [endpoint.handler for endpoint in pools[name].endpoints if endpoint.is_class]
    methods = [method for cls in handlers if (method := declaration.method_of(cls, "check", owner)) is not None]
    for method in methods:
        if declaration.required_parameters(method):
            raise DeclarationError(f"{owner}: {method.__qualname__} is passed no arguments; add defaults")
    if not methods:
        raise DeclarationError(
            f"{owner}: Recycle(check=) would have no effect, because none of its models has a check(); define "
            "`def check(self)`, or remove it"
        )
