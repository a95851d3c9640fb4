"""What a user declares: an app, its endpoints, and the pools of workers that follow from them.

Everything is checked here, at import. What is declared is frozen: the engine, the workers and the adapters read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from penstock.app import declaration
from penstock.app.endpoints import Endpoint, Pool, Runtime, count, pools_of
from penstock.codec.codec import codec_for
from penstock.errors import DeclarationError
from penstock.policies import Batching, Retries, Timeouts

Handler = TypeVar("Handler", bound=Callable[..., Any])

DEFAULT_POOL = "default"
_DEFAULT_TIMEOUTS = Timeouts()
_DEFAULT_RETRIES = Retries()


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
        endpoints, pools = count(len(self.endpoints), "endpoint"), count(len(self._pools), "pool")
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
        self._pools = pools_of(endpoints)  # raises before the endpoint is in
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
