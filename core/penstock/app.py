"""What a user declares: an app, its endpoints, and the pools of workers that follow from them.

Everything is checked here, at import. What is declared is frozen: the engine, the workers and the adapters read it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from penstock import declaration
from penstock.errors import DeclarationError
from penstock.policies import Batching, Retries, Timeouts
from penstock.schema import Codec, codec_for

Runtime: TypeAlias = Literal["trio", "asyncio"]
Mode: TypeAlias = Literal["inline", "task", "thread"]
Handler = TypeVar("Handler", bound=Callable[..., Any])

DEFAULT_POOL = "default"
DEFAULT_RUNTIME: Runtime = "trio"
_DEFAULT_TIMEOUTS = Timeouts()
_DEFAULT_RETRIES = Retries()


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
        return f"<Pool {self.name}, {_count(self.workers, 'worker')}{devices}, {self.runtime}: {names}>"


class App:
    """Endpoints, declared one by one.

    Parameters
    ----------
    import_name:
        The module that makes the app: pass ``__name__``.
    plugins:
        More plug-ins: modules, objects or classes with hook implementations. They are asked before those that are
        installed; the last one first.
    settings:
        Settings of plug-ins, a table for each: ``{"metrics": {"enabled": False}}``. The TOML file and the environment
        overrule them.

    Attributes
    ----------
    endpoints:
        In the order of their declaration.
    """

    def __init__(
        self,
        import_name: str,
        *,
        plugins: Iterable[Any] = (),
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        declaration.require_import_name(import_name)
        self.import_name = import_name
        self.plugins = tuple(plugins)
        self.settings = dict(settings or {})
        self.endpoints: list[Endpoint] = []
        self._pools: dict[str, Pool] = {}

    def __repr__(self) -> str:
        endpoints, pools = _count(len(self.endpoints), "endpoint"), _count(len(self._pools), "pool")
        return f"<App {self.import_name}, {endpoints}, {pools}>"

    @property
    def pools(self) -> dict[str, Pool]:
        """The pools by name, as the endpoints declared so far make them. To be read only."""
        return self._pools

    def endpoint(
        self,
        path: str,
        *,
        name: str | None = None,
        workers: int | None = None,
        concurrency: int = 1,
        pool: str | None = None,
        devices: Sequence[str] | None = None,
        runtime: Runtime | None = None,
        batching: Batching | None = None,
        timeouts: Timeouts = _DEFAULT_TIMEOUTS,
        retries: Retries = _DEFAULT_RETRIES,
        max_queue: int = 1000,
        idempotent: bool = True,
    ) -> Callable[[Handler], Handler]:
        """Declare the function or the class below as an endpoint; it is returned unchanged.

        A function shares the pool ``default``, unless ``workers``, ``devices`` or ``runtime`` is given; then it has a
        pool of its own, as every class has. The pool is named after the endpoint.

        Parameters
        ----------
        path:
            Where it is served: ``POST path``.
        name:
            What logs, metrics and embedding programs call it. Default: the path without its leading slash.
        workers:
            Processes in its pool. Default: one for each device, or one.
        concurrency:
            Attempts that one worker runs at a time: tasks of an ``async def``, threads of a ``def``.
        pool:
            The name of a pool to share with other endpoints.
        devices:
            Given to ``setup(device)``, to the workers in turn.
        runtime:
            The loop of the workers, ``"trio"`` (the default) or ``"asyncio"``.
        batching:
            Gather requests; the handler then takes a list and returns one result, or one exception, for each item.
        timeouts, retries:
            See ``Timeouts`` and ``Retries``.
        max_queue:
            Jobs that may wait; more are refused.
        idempotent:
            Whether a job may run again after its worker died. Prediction without side effects may.

        Raises
        ------
        DeclarationError
            For every mistake that can be known here, with the endpoint's name and the mend.
        """
        name = declaration.name_of(path, name)
        owner = f"endpoint {name!r}"
        declaration.require_counts(
            owner, workers=1 if workers is None else workers, concurrency=concurrency, max_queue=max_queue
        )
        declaration.require_policies(owner, timeouts=timeouts, retries=retries, batching=batching)
        declaration.require_choices(owner, idempotent=idempotent, runtime=runtime, pool=pool)
        device_names = declaration.device_names(owner, devices)
        wants_own_pool = any(option is not None for option in (workers, devices, runtime))

        def declare(handler: Handler) -> Handler:
            namespace = declaration.local_names(handler, declaration.caller_frame(1))
            kind = declaration.look_at_handler(handler, owner=owner, batched=batching is not None)
            self._add(
                Endpoint(
                    index=len(self.endpoints),
                    name=name,
                    path=path,
                    handler=handler,
                    is_class=kind.is_class,
                    is_async=kind.is_async,
                    is_stream=kind.is_stream,
                    concurrency=concurrency,
                    pool=pool or _pool_name(name, has_own_pool=wants_own_pool or kind.is_class),
                    workers=workers,
                    devices=device_names,
                    runtime=runtime,
                    timeouts=timeouts,
                    retries=retries,
                    batching=batching,
                    max_queue=max_queue,
                    idempotent=idempotent,
                    codec=codec_for(kind.predict, owner=owner, batched=batching is not None, namespace=namespace),
                )
            )
            return handler

        return declare

    def _add(self, endpoint: Endpoint) -> None:
        for other in self.endpoints:
            if other.path == endpoint.path:
                raise DeclarationError(
                    f"endpoint {endpoint.name!r}: its path {endpoint.path!r} is that of {other.name!r}; change one"
                )
            if other.name == endpoint.name:
                raise DeclarationError(
                    f"endpoint {endpoint.name!r}: the endpoint at {other.path!r} has this name; give name= to one"
                )
        endpoints = [*self.endpoints, endpoint]
        self._pools = _pools_of(endpoints)  # raises before the endpoint is in
        self.endpoints.append(endpoint)


def _pool_name(endpoint_name: str, *, has_own_pool: bool) -> str:
    if not has_own_pool:
        return DEFAULT_POOL
    if endpoint_name == DEFAULT_POOL:
        raise DeclarationError(
            f"endpoint {endpoint_name!r}: its own pool would have the name of the one that functions share; give "
            "another name=, or name a pool="
        )
    return endpoint_name


def _pools_of(endpoints: Iterable[Endpoint]) -> dict[str, Pool]:
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


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
