"""The records of a declared endpoint and pool: frozen, and read by the engine, the workers and the adapters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from penstock.codec.codec import Codec
from penstock.errors import DeclarationError
from penstock.policies import Batching, Jobs, Recycle, Retries, Timeouts

Runtime: TypeAlias = Literal["trio", "asyncio"]
StartMethod: TypeAlias = Literal["auto", "fork", "fresh"]
Method: TypeAlias = Literal["POST", "GET"]
Mode: TypeAlias = Literal["inline", "task", "thread", "stepped"]

DEFAULT_RUNTIME: Runtime = "trio"


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Endpoint:
    """A name, a handler, and its policies."""

    name: str
    """Its name in logs, metrics and embedding programs, and between the engine and its workers. No other has it."""
    method: Method
    """Its method over HTTP."""
    path: str
    """Its path over HTTP, which may have variables: ``{name}`` stands for one segment."""
    handler: Callable[..., Any]
    """The function or class, as declared."""
    is_class: bool
    """True if the handler is a class, which is called through its ``predict``, or is a generation loop."""
    is_async: bool
    """True if the function, or ``predict``, is an ``async def``, or returns an asynchronous iterator.

    A generation loop is asynchronous if one of its methods is.
    """
    is_stream: bool
    """True if the function, or ``predict``, yields or is annotated to return an iterator. Others may return one too."""
    concurrency: int
    """The number of attempts that one worker runs at a time; for a generation loop, ``max_slots``."""
    pool: str
    """The name of its pool."""
    workers: int | None
    """The number of workers as declared, or None. The number in force is in the ``Pool``."""
    devices: tuple[str, ...] | None
    """The devices as declared, or None. Those in force are in the ``Pool``."""
    runtime: Runtime | None
    """The event loop as declared, or None. The one in force is in the ``Pool``."""
    preload: bool | None
    """The option as declared, or None. The one in force is in the ``Pool``."""
    timeouts: Timeouts
    retries: Retries
    batching: Batching | None
    max_queue: int
    """The number of jobs that may wait."""
    media_type: str | None
    """The ``Content-Type`` of results and chunks that are bytes or text, sent as they are; None for JSON."""
    idempotent: bool
    """True if a job may run again after its worker died."""
    codec: Codec
    """The way its bodies are read and its results written."""
    jobs: Jobs | None = None
    """Its background jobs, with ``on_lost`` filled in; None if it takes only direct calls."""
    dialects: tuple[Any, ...] = ()
    """The dialects, the names of such, and the offers, by which it is served besides the native one."""
    max_slots: int | None = None
    """For a generation loop, the number of jobs that its ``step`` advances together; None for any other handler."""

    mode: Mode = field(init=False)
    """The way an attempt runs in the worker.

    ``inline`` on its main thread (``def``, one slot), as a ``task`` (``async def``), in a ``thread`` (``def``, several
    slots), or ``stepped``, together with the others of a generation loop.
    """

    def __post_init__(self) -> None:
        mode = "task" if self.is_async else "inline" if self.concurrency == 1 else "thread"
        object.__setattr__(self, "mode", mode if self.max_slots is None else "stepped")

    def __repr__(self) -> str:
        how: str = self.mode
        if self.concurrency > 1 or self.max_slots is not None:
            how += f" x {self.concurrency}"
        if self.is_stream:
            how += ", stream"
        if self.batching is not None:
            how += f", batches of {self.batching.max_size}"
        return f"<Endpoint {self.name} {self.method} {self.path} {how}, pool {self.pool}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Pool:
    """The workers of one or more endpoints, with their limits."""

    name: str
    workers: int
    """The number of workers at the start."""
    devices: tuple[str, ...] | None
    """The devices that are passed to the workers in turn, or None."""
    runtime: Runtime
    """The event loop of the workers."""
    preload: bool
    """True if ``setup`` runs once, before the workers are forked, and not in each worker."""
    endpoints: tuple[Endpoint, ...]
    """The endpoints that the pool serves."""
    capacity: int
    """The units of one worker.

    An attempt of an endpoint takes ``capacity // endpoint.concurrency`` of them, so that endpoints with different
    concurrency can share a worker and none exceeds its own.
    """
    recycle: Recycle | None = None
    """The conditions under which a worker is replaced by a new one; None: only when it has died."""
    spares: int = 0
    """The number of workers that are ready, and take over when another one is gone."""

    def device_of(self, place: int) -> str | None:
        """Return the device of the worker at this place in the pool (0, 1, ...), or None."""
        return None if self.devices is None else self.devices[place % len(self.devices)]

    def __repr__(self) -> str:
        devices = "" if self.devices is None else f" on {', '.join(self.devices)}"
        names = ", ".join(endpoint.name for endpoint in self.endpoints)
        how = f"{self.runtime}, preloaded" if self.preload else self.runtime
        return f"<Pool {self.name}, {count(self.workers, 'worker')}{devices}, {how}: {names}>"


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """The options of a pool, as ``App.pool`` declares them. None: not set there."""

    workers: int | None = None
    devices: tuple[str, ...] | None = None
    runtime: Runtime | None = None
    preload: bool | None = None
    recycle: Recycle | None = None
    spares: int = 0


def pools_of(endpoints: Iterable[Endpoint], options: Mapping[str, PoolOptions]) -> dict[str, Pool]:
    """Return the pools that these endpoints imply, by name. ``options`` has those that are declared, by pool."""
    members: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        members.setdefault(endpoint.pool, []).append(endpoint)
    return {name: _pool_of(name, tuple(sharing), options.get(name, PoolOptions())) for name, sharing in members.items()}


def _pool_of(name: str, endpoints: tuple[Endpoint, ...], options: PoolOptions) -> Pool:
    _require_no_loop_among(endpoints)
    devices = _agreed(name, endpoints, options, "devices")
    workers = _agreed(name, endpoints, options, "workers")
    return Pool(
        name=name,
        workers=workers or (len(devices) if devices else 1),
        devices=devices,
        runtime=_agreed(name, endpoints, options, "runtime") or DEFAULT_RUNTIME,
        preload=bool(_agreed(name, endpoints, options, "preload")),
        endpoints=endpoints,
        capacity=math.lcm(*(endpoint.concurrency for endpoint in endpoints)),
        recycle=options.recycle,
        spares=options.spares,
    )


def _require_no_loop_among(endpoints: tuple[Endpoint, ...]) -> None:
    """Check that a generation loop has its workers for itself: nothing else would run between its steps."""
    for loop in endpoints:
        if loop.max_slots is not None and len(endpoints) > 1:
            others = ", ".join(repr(endpoint.name) for endpoint in endpoints if endpoint is not loop)
            raise DeclarationError(
                f"endpoint {loop.name!r}: a generation loop needs a pool of its own, but pool {loop.pool!r} has "
                f"{others} as well; give one of them another pool=, or none"
            )


def _agreed(name: str, endpoints: tuple[Endpoint, ...], options: PoolOptions, option: str) -> Any:
    """Return the one value that a pool and its endpoints set an option to, or None if none of them sets it."""
    claims = [(repr(endpoint.name), getattr(endpoint, option)) for endpoint in endpoints]
    claims = [claim for claim in [("the pool", getattr(options, option)), *claims] if claim[1] is not None]
    for owner, value in claims[1:]:
        first, agreed = claims[0]
        if value != agreed:
            raise DeclarationError(
                f"endpoint {owner}: {option}={value!r}, but {first} in the same "
                f"pool {name!r} has {option}={agreed!r}; make them equal, or use two pools"
                if first != "the pool"
                else f"endpoint {owner}: {option}={value!r}, but app.pool({name!r}) has {option}={agreed!r}; remove one"
            )
    return claims[0][1] if claims else None


def count(number: int, noun: str) -> str:
    """Return the number with its noun: ``1 worker``, ``2 workers``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
