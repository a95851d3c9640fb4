"""An endpoint and a pool, as they are declared: frozen, for the engine, the workers and the adapters to read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from penstock.codec.codec import Codec
from penstock.errors import DeclarationError
from penstock.policies import Batching, Retries, Timeouts

Runtime: TypeAlias = Literal["trio", "asyncio"]
Mode: TypeAlias = Literal["inline", "task", "thread"]

DEFAULT_RUNTIME: Runtime = "trio"


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Endpoint:
    """A name, a handler, its policies.

    Attributes
    ----------
    index:
        Its position in the app's endpoints.
    name, path:
        What people and what HTTP calls it.
    handler:
        The function or the class that was declared.
    is_class, is_async, is_stream:
        Of the handler's callable: whether it is a class's ``predict``, is ``async def``, and yields.
    mode:
        How an attempt runs in the worker: ``inline`` on its main thread (``def``, one slot), as a ``task``
        (``async def``), or in a ``thread`` (``def``, several slots).
    concurrency:
        Attempts that one worker runs at a time.
    pool:
        The name of its pool.
    workers, devices, runtime:
        What was declared; None where nothing was. What holds is in the ``Pool``.
    timeouts, retries, batching, max_queue, idempotent:
        Its policies, as declared.
    codec:
        How its bodies are read and its results written.
    """

    index: int
    name: str
    path: str
    handler: Callable[..., Any]
    is_class: bool
    is_async: bool
    is_stream: bool
    concurrency: int
    pool: str
    workers: int | None
    devices: tuple[str, ...] | None
    runtime: Runtime | None
    timeouts: Timeouts
    retries: Retries
    batching: Batching | None
    max_queue: int
    idempotent: bool
    codec: Codec

    @property
    def mode(self) -> Mode:
        """``inline``, ``task`` or ``thread``: see the attributes."""
        if self.is_async:
            return "task"
        return "inline" if self.concurrency == 1 else "thread"

    def __repr__(self) -> str:
        how: str = self.mode
        if self.concurrency > 1:
            how += f" x {self.concurrency}"
        if self.is_stream:
            how += ", stream"
        if self.batching is not None:
            how += f", batches of {self.batching.max_size}"
        return f"<Endpoint {self.name} POST {self.path} {how}, pool {self.pool}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Pool:
    """The workers of one or more endpoints, with their limits.

    Attributes
    ----------
    workers:
        How many there are.
    devices:
        What its workers are told to use, in turn; None if nothing.
    runtime:
        The loop of its workers.
    endpoints:
        Those that it serves.
    capacity:
        The units of one worker. An attempt of an endpoint takes ``capacity // endpoint.concurrency`` of them, so that
        endpoints of different concurrency can share a worker and none exceeds its own.
    """

    name: str
    workers: int
    devices: tuple[str, ...] | None
    runtime: Runtime
    endpoints: tuple[Endpoint, ...]
    capacity: int

    def device_of(self, place: int) -> str | None:
        """The device of the worker at this place in the pool (0, 1, ...), or None."""
        return None if self.devices is None else self.devices[place % len(self.devices)]

    def __repr__(self) -> str:
        devices = "" if self.devices is None else f" on {', '.join(self.devices)}"
        names = ", ".join(endpoint.name for endpoint in self.endpoints)
        return f"<Pool {self.name}, {count(self.workers, 'worker')}{devices}, {self.runtime}: {names}>"


def pools_of(endpoints: Iterable[Endpoint]) -> dict[str, Pool]:
    """Return the pools that these endpoints make, by name."""
    members: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        members.setdefault(endpoint.pool, []).append(endpoint)
    return {name: _pool_of(name, tuple(sharing)) for name, sharing in members.items()}


def _pool_of(name: str, endpoints: tuple[Endpoint, ...]) -> Pool:
    devices = _agreed(endpoints, "devices")
    workers = _agreed(endpoints, "workers")
    return Pool(
        name=name,
        workers=workers or (len(devices) if devices else 1),
        devices=devices,
        runtime=_agreed(endpoints, "runtime") or DEFAULT_RUNTIME,
        endpoints=endpoints,
        capacity=math.lcm(*(endpoint.concurrency for endpoint in endpoints)),
    )


def _agreed(endpoints: tuple[Endpoint, ...], option: str) -> Any:
    """The one value that the endpoints of a pool give to an option, or None if none gives any."""
    first: Endpoint | None = None
    for endpoint in endpoints:
        if getattr(endpoint, option) is None:
            continue
        if first is not None and getattr(endpoint, option) != getattr(first, option):
            raise DeclarationError(
                f"endpoint {endpoint.name!r}: {option}={getattr(endpoint, option)!r}, but {first.name!r} in the same "
                f"pool {endpoint.pool!r} has {option}={getattr(first, option)!r}; make them equal, or use two pools"
            )
        first = first or endpoint
    return None if first is None else getattr(first, option)


def count(number: int, noun: str) -> str:
    """Return the number with its noun: ``1 worker``, ``2 workers``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
