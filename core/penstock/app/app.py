"""The app: a list of endpoints, declared by a decorator.

Every declaration is checked when it is made, that is, at import. Endpoints and pools are frozen: the engine, the
workers and the adapters only read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

from penstock.app import declaration
from penstock.app.endpoints import Endpoint, Method, Pool, PoolOptions, Runtime, StartMethod, count, pools_of
from penstock.app.generation_loops import inspect_loop, is_loop, require_loop_options
from penstock.app.path_templates import require_unique, variables_of
from penstock.app.pool_options import options_of, require_use_of_pool
from penstock.app.preloading import require_preloadable, require_use_of_preload
from penstock.app.schedules import ScheduleBase
from penstock.app.source_files import add_source_file
from penstock.codec.codec import Codec, codec_for
from penstock.codec.encoding import ResultEncoder
from penstock.errors import DeclarationError
from penstock.policies import DEFAULT_START_TIMEOUT, Batching, Jobs, Recycle, Retries, Timeouts

Handler = TypeVar("Handler", bound=Callable[..., Any])

DEFAULT_POOL = "default"
_DEFAULT_TIMEOUTS = Timeouts()
_DEFAULT_RETRIES = Retries()


class App(ScheduleBase):
    """A set of endpoints, with the plug-ins and settings that serve them.

    Parameters
    ----------
    import_name:
        The name of the module that creates the app: pass ``__name__``.
    plugins:
        Additional plug-ins: modules, objects or classes with hook implementations, called before installed ones, the
        last one first.
    settings:
        Plug-in settings, one table per plug-in: ``{"metrics": {"enabled": False}}``. TOML and environment override it.
    start_timeout:
        Seconds in which a worker must become ready, from its start to the end of ``setup``, the import of the app
        included; then it is killed and started again. None for no limit.
    nan:
        The fate of NaN and infinities in results, which JSON does not have: ``"error"`` is a ``handler-error`` that
        names their place, ``"null"`` sends null.
    title, version:
        Those that its OpenAPI document shows. Default: the title is ``import_name``.
    start_method:
        The way workers start: ``"fork"``, from a process that has imported the app; ``"fresh"``, in a new interpreter;
        or ``"auto"``, the default, which forks unless the import has left threads, CUDA or the like.

    Attributes
    ----------
    start_method:
        As above. ``penstock serve --start-method`` sets it before the workers start.
    endpoints:
        The endpoints, in the order of their declaration. None can be added once the app is served.
    source_files:
        By the name of each file with the app or a handler, a hash of its content when it was imported.
    """

    def __init__(
        self,
        import_name: str,
        *,
        plugins: Iterable[Any] = (),
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        nan: Literal["error", "null"] = "error",
        title: str | None = None,
        version: str = "0",
        start_method: StartMethod = "auto",
        start_timeout: float | None = DEFAULT_START_TIMEOUT,
    ) -> None:
        super().__init__()
        declaration.require_names(import_name, title=title, version=version)
        declaration.require_app_options(nan=nan, start_method=start_method, start_timeout=start_timeout)
        self.import_name = import_name
        self.title, self.version, self.nan, self.start_timeout = title, version, nan, start_timeout
        self.plugins, self.settings = tuple(plugins), dict(settings or {})
        self.start_method: StartMethod = start_method
        self.endpoints: list[Endpoint] = []
        self.source_files: dict[str, str] = {}
        add_source_file(self.source_files, import_name)
        self._pools: dict[str, Pool] = {}
        self._pool_options: dict[str, PoolOptions] = {}
        self._is_frozen = False

    def __repr__(self) -> str:
        return f"<App {self.import_name}, {count(len(self.endpoints), 'endpoint')}, {count(len(self._pools), 'pool')}>"

    @property
    def pools(self) -> dict[str, Pool]:
        """The pools implied by the endpoints declared so far, by name. Treat it as read-only."""
        return self._pools

    def endpoint(
        self,
        path: str,
        *,
        method: Method = "POST",
        name: str | None = None,
        workers: int | None = None,
        concurrency: int = 1,
        pool: str | None = None,
        devices: Sequence[str] | None = None,
        runtime: Runtime | None = None,
        preload: bool | None = None,
        batching: Batching | None = None,
        timeouts: Timeouts = _DEFAULT_TIMEOUTS,
        retries: Retries = _DEFAULT_RETRIES,
        max_queue: int = 1000,
        media_type: str | None = None,
        idempotent: bool = True,
        jobs: Jobs | None = None,
        dialects: Sequence[Any] = (),
        max_slots: int | None = None,
    ) -> Callable[[Handler], Handler]:
        """Declare the decorated function or class as an endpoint, and return it unchanged.

        A function shares the pool ``default`` unless ``workers``, ``devices`` or ``runtime`` is set; then it gets a
        pool of its own, as every class does. Such a pool is named after the endpoint.

        Parameters
        ----------
        path:
            The path it is served at. ``{name}`` in it is one segment: the value of the parameter of that name.
        method:
            ``"POST"``: parameters are the fields of the body; or ``"GET"``: they come from the query.
        name:
            The endpoint's name in logs, metrics and embedding programs. Default: the path without its leading slash.
        workers:
            The number of processes in its pool. Default: one per device, or one.
        concurrency:
            The number of attempts that one worker runs at a time: tasks of an ``async def``, threads of a ``def``.
        pool:
            The name of a pool to share with other endpoints.
        devices:
            Device names, passed to ``setup(device)`` of the workers in turn.
        runtime:
            The event loop of the workers, ``"trio"`` (the default) or ``"asyncio"``.
        preload:
            True to run ``setup`` once and fork all workers from that process: they share the model. For the CPU.
        batching:
            Gather requests into batches: the handler takes a list, and returns one result or exception per item.
        timeouts, retries, jobs:
            See ``Timeouts``, ``Retries`` and ``Jobs``.
        max_queue:
            The number of jobs that may wait; beyond it, requests are refused.
        media_type:
            The ``Content-Type`` of results or chunks that are bytes or text, sent as they are. Default: they are JSON.
        idempotent:
            True if a job may run again after its worker died. A prediction without side effects may.
        dialects:
            Other HTTP interfaces to it: offers such as ``penstock_openai.Chat``, names, or records of ``Dialect``.
        max_slots:
            For a class with ``admit``, ``step`` and ``release``: the number of jobs that ``step`` advances together.

        Raises
        ------
        DeclarationError
            For every mistake that can be detected here; the message has the endpoint's name and the fix.
        """
        name = declaration.name_of(path, name)
        owner = f"endpoint {name!r}"
        declaration.require_counts(
            owner, workers=1 if workers is None else workers, concurrency=concurrency, max_queue=max_queue
        )
        declaration.require_policies(owner, timeouts=timeouts, retries=retries, batching=batching, jobs=jobs)
        declaration.require_choices(owner, method, idempotent=idempotent, runtime=runtime, pool=pool, preload=preload)
        declaration.require_http_options(owner, media_type=media_type, dialects=dialects)
        require_loop_options(owner, max_slots=max_slots, concurrency=concurrency, batching=batching)
        device_names = declaration.device_names(owner, devices)
        inspected = partial(_inspected, owner, path, method, batching=batching, max_slots=max_slots)

        def declare(handler: Handler) -> Handler:
            results = ResultEncoder(nan_is_null=self.nan == "null", media_type=media_type)
            names = declaration.local_names(handler, declaration.caller_frame(1))
            kind, codec = inspected(handler, namespace=names, results=results)
            declaration.require_use_of_devices(owner, handler, device_names)
            require_use_of_preload(owner, handler, preload=preload)
            self._add(
                Endpoint(
                    name=name,
                    method=method,
                    path=path,
                    handler=handler,
                    is_class=kind.is_class,
                    is_async=kind.is_async,
                    is_stream=kind.is_stream,
                    concurrency=max_slots or concurrency,
                    pool=pool or _pool_name(name, handler, workers, devices, runtime),
                    workers=workers,
                    devices=device_names,
                    runtime=runtime,
                    preload=preload,
                    timeouts=timeouts,
                    retries=retries,
                    batching=batching,
                    max_queue=max_queue,
                    media_type=media_type,
                    idempotent=idempotent,
                    jobs=jobs and declaration.with_fate(jobs, idempotent=idempotent),
                    codec=codec,
                    dialects=tuple(dialects),
                    max_slots=max_slots,
                )
            )
            return handler

        return declare

    def pool(
        self,
        name: str,
        *,
        workers: int | None = None,
        devices: Sequence[str] | None = None,
        runtime: Runtime | None = None,
        preload: bool | None = None,
        recycle: Recycle | None = None,
        spares: int = 0,
    ) -> None:
        """Declare the options of a pool, before or after its endpoints.

        Parameters
        ----------
        name:
            The name that the endpoints give as ``pool=``; that of the endpoint, for a pool of its own; or ``default``.
        workers, devices, runtime, preload:
            As for ``endpoint``; they may be set in either place. A replacement of a preloaded worker is ready at once.
        recycle:
            The conditions under which a worker is replaced by a new one. Default: only when it has died.
        spares:
            The number of further workers that load the models and wait, to take over when one dies or is replaced.

        Raises
        ------
        DeclarationError
            For every mistake that can be detected here.
        """
        if self._is_frozen or name in self._pool_options:
            when = "the app is already being served" if self._is_frozen else "it is declared already"
            raise DeclarationError(f"pool {name!r}: {when}; put all options into one app.pool(), before that")
        options = options_of(
            name, workers=workers, devices=devices, runtime=runtime, preload=preload, recycle=recycle, spares=spares
        )
        pools = pools_of(self.endpoints, self._pool_options | {name: options})
        require_preloadable(pools, self.start_method)
        self._pools = pools
        self._pool_options[name] = options

    def freeze(self) -> None:
        """Accept no further endpoints, because the app is about to be served.

        An adapter calls this when it has mounted the endpoints, and an engine when it is created.

        Raises
        ------
        DeclarationError
            If a pool was declared that no endpoint uses, or checks that no model of the pool has; or if the start
            method, which may have been set since, does not suit a pool.
        """
        for name in self._pool_options:
            require_use_of_pool(name, self._pools)
        require_preloadable(self._pools, self.start_method)
        self._is_frozen = True

    def _add(self, endpoint: Endpoint) -> None:
        if self._is_frozen:
            raise _too_late(endpoint)
        _require_fitting(endpoint, self.endpoints)
        endpoints = [*self.endpoints, endpoint]
        pools = pools_of(endpoints, self._pool_options)  # raises before the endpoint is added
        require_preloadable(pools, self.start_method)
        self._pools = pools
        self.endpoints.append(endpoint)
        add_source_file(self.source_files, endpoint.handler.__module__)


def _require_fitting(endpoint: Endpoint, others: Sequence[Endpoint]) -> None:
    require_unique(endpoint, others)
    declaration.require_fitting_offers(endpoint)


def _too_late(endpoint: Endpoint) -> DeclarationError:
    return DeclarationError(
        f"endpoint {endpoint.name!r}: the app is being served already, and its workers would not have this endpoint; "
        "declare every endpoint before asgi(), wsgi(), open_engine() or start_engine() is called"
    )


def _inspected(
    owner: str,
    path: str,
    method: Method,
    handler: Any,
    *,
    namespace: Mapping[str, Any],
    results: ResultEncoder,
    batching: Batching | None,
    max_slots: int | None,
) -> tuple[declaration.HandlerKind, Codec]:
    """Return how a handler is called, and the codec of its endpoint."""
    if is_loop(handler, max_slots=max_slots):
        kind = inspect_loop(handler, owner=owner, max_slots=max_slots)
    else:
        kind = declaration.inspect_handler(handler, owner=owner, batched=batching is not None)
    codec = codec_for(
        kind.predict,
        owner=owner,
        batched=batching is not None,
        most_items=1 if batching is None else batching.max_size,
        namespace=namespace,
        results=results,
        path_names=variables_of(path, owner),
        reads_query=method == "GET",
        step=kind.step,
    )
    kind = declaration.with_returned_stream(kind, codec.returned_stream, owner=owner, batched=batching is not None)
    return kind, codec


def _pool_name(endpoint_name: str, handler: Any, *options: Any) -> str:
    """Return the name of the pool of an endpoint that does not name one; ``options`` are those that want its own."""
    if not isinstance(handler, type) and all(option is None for option in options):
        return DEFAULT_POOL
    if endpoint_name == DEFAULT_POOL:
        raise DeclarationError(
            f"endpoint {endpoint_name!r}: its own pool would have the name of the pool that functions share; choose "
            "another name=, or set pool="
        )
    return endpoint_name
