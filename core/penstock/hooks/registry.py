"""The plug-ins of one engine, and their answers to the hooks, each resolved once."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from penstock.app import App, Endpoint
from penstock.errors import PenstockError, PluginError
from penstock.hooks import defaults
from penstock.hooks.acceptors import Acceptor
from penstock.hooks.descriptions import EndpointDescription
from penstock.hooks.dialect_table import served_dialects
from penstock.hooks.dialects import Dialect
from penstock.hooks.guarded_services import GuardedService
from penstock.hooks.guards import GuardedDecision, is_blocking
from penstock.hooks.hook_failures import HookFailures
from penstock.hooks.plugin import OWN_DISTRIBUTION, Plugin
from penstock.hooks.plugin_loader import PluginLoader
from penstock.hooks.principal import Principal
from penstock.hooks.records import HookFailed, Record, ShutdownRequest
from penstock.hooks.response_heads import ResponseHead
from penstock.hooks.routes import Route
from penstock.hooks.rpc_services import RpcService
from penstock.hooks.settings import Sources
from penstock.hooks.submission import Release
from penstock.hooks.validation import HOOKS, guarded
from penstock.job_store import JobStore
from penstock.policies import Timeouts
from penstock.scheduler import Job, Queue
from penstock.wire import Trace

__all__ = ["Registry", "is_blocking"]

ENTRY_POINT_GROUP: Final = "penstock"
"""The group of the entry points through which distributions offer plug-ins."""

_CORE_NAME: Final = "(core)"  # not a valid class name, and no entry point has it


class Registry:
    """The plug-ins of one engine.

    The app's own plug-ins are asked first, then those of other distributions, then Penstock's, and the core last. In
    the same order, a plug-in replaces another of its name.

    Parameters
    ----------
    plugins:
        The app's own plug-ins: modules, objects or classes with hook implementations. The last one is asked first.
    offers:
        The entry points of installed plug-ins.
    sources:
        The settings.
    app:
        The app, passed to hooks and to those plug-ins that check it.
    is_survey:
        True to list a plug-in that fails as broken, instead of raising its error.

    Attributes
    ----------
    plugins:
        All plug-ins, in use or not.
    complaints:
        In a survey, the errors in the settings that are not a plug-in's fault.
    failures:
        The exceptions that plug-ins have raised while serving.

    Raises
    ------
    PluginError
        If a plug-in cannot be imported, does not fit its hooks, or has the wrong settings.
    """

    def __init__(
        self,
        plugins: Iterable[Any] = (),
        *,
        offers: Iterable[EntryPoint] = (),
        sources: Sources | None = None,
        app: App | None = None,
        is_survey: bool = False,
    ) -> None:
        loader = PluginLoader(sources or Sources({}, {}), app, is_survey=is_survey)
        loader.load(offers, plugins)
        # Registered last and marked as trylast, so it is asked even after the plug-ins that are marked so themselves.
        loader.manager.register(defaults, name=_CORE_NAME)
        self._core = Plugin(name="core", distribution=OWN_DISTRIBUTION, instance=defaults)
        self.plugins = loader.plugins
        self.complaints = loader.complaints
        self.failures = HookFailures()
        self._by_name = {_CORE_NAME: self._core, **{plugin.name: plugin for plugin in self.plugins if plugin.is_on}}
        self._app = app
        self._loader = loader
        self._observers: dict[type[Record], Callable[[Any], None]] | None = None

    @classmethod
    def load(cls, app: App, environ: Mapping[str, str] | None = None) -> Registry:
        """Return the registry of an app: its own plug-ins and all that are installed, with their settings.

        Parameters
        ----------
        app:
            The app.
        environ:
            The environment. Default: that of the process.

        Raises
        ------
        PluginError
            As for the class; or if the app declares schedules, and no plug-in runs them.
        """
        sources = Sources(app.settings, os.environ if environ is None else environ)
        return _that_runs_schedules(cls(app.plugins, offers=_installed(), sources=sources, app=app), app)

    @classmethod
    def survey(cls, app: App | None = None, environ: Mapping[str, str] | None = None) -> Registry:
        """Return a registry in which broken plug-ins are listed instead of raising. For inspection, not for serving.

        Parameters
        ----------
        app:
            An app whose plug-ins and settings are included. All hooks are then called, as they would be at start-up.
        environ:
            The environment. Default: that of the process.

        Raises
        ------
        PluginError
            If the settings cannot be read at all.
        """
        environ = os.environ if environ is None else environ
        if app is None:
            return cls(offers=_installed(), sources=Sources({}, environ), is_survey=True)
        registry = cls(
            app.plugins, offers=_installed(), sources=Sources(app.settings, environ), app=app, is_survey=True
        )
        registry._try_hooks(app)
        return registry

    def __repr__(self) -> str:
        names = ", ".join(plugin.name for plugin in self.plugins if plugin.is_on)
        return f"<Registry: {names or 'the core alone'}>"

    def status(self) -> dict[str, Any]:
        """Return the plug-ins in use, with the number of their failures by hook, ready for JSON."""
        counts = self.failures.counts
        return {
            plugin.name: {
                "distribution": plugin.distribution or None,
                "version": plugin.version or None,
                "failures": {hook: count for (name, hook), count in sorted(counts.items()) if name == plugin.name},
            }
            for plugin in self.plugins
            if plugin.is_on
        }

    # ---- results of hooks

    def _results(self, hook: str, **arguments: Any) -> Iterator[Any]:
        """Yield what the plug-ins return for a hook, highest precedence first: checked, guarded, and never None."""
        for implementation in reversed(getattr(self._loader.manager.hook, hook).get_hookimpls()):
            plugin = self._by_name[implementation.plugin_name]
            result = None
            with self._loader.tolerating(plugin):
                result = self._result(plugin, hook, implementation.function, arguments)
            if result is not None:
                yield result

    def _result(
        self, plugin: Plugin, hook: str, implementation: Callable[..., Any], arguments: Mapping[str, Any]
    ) -> Any:
        result = _call(plugin, hook, implementation, arguments)
        if result is None or plugin is self._core:  # the core needs no guard, which would only cost time
            return result
        return guarded(plugin, hook, result, self.failures)

    def _try_hooks(self, app: App) -> None:
        """Call all hooks as at start-up, including those that another plug-in takes precedence over."""
        for name, hook in HOOKS.items():
            if "endpoint" in hook.parameters:
                for endpoint in app.endpoints:
                    list(self._results(name, endpoint=endpoint, app=app))
            else:
                list(self._results(name, app=app))

    def tracer(self, endpoint: Endpoint) -> GuardedDecision[Trace | None] | None:
        """Return the tracer of an endpoint, or None if there is none."""
        return next(self._results("penstock_tracer", endpoint=endpoint, app=self._app), None)

    @property
    def traces_requests(self) -> bool:
        """True if a plug-in traces the requests of an endpoint."""
        return self._app is not None and any(self.tracer(endpoint) is not None for endpoint in self._app.endpoints)

    def authenticator(self, target: Endpoint | Route) -> GuardedDecision[Principal | None] | None:
        """Return the authenticator of an endpoint or route; None if there is none, or if the route is open."""
        if getattr(target, "is_open", False):
            return None
        return next(self._results("penstock_authenticator", endpoint=target, app=self._app), None)

    def timeout_policy(self, endpoint: Endpoint) -> GuardedDecision[Timeouts | None] | None:
        """Return the timeout policy of an endpoint, or None if there is none."""
        return next(self._results("penstock_timeout_policy", endpoint=endpoint, app=self._app), None)

    def admission_policies(self, endpoint: Endpoint) -> list[GuardedDecision[Release | None]]:
        """Return all admission policies of an endpoint, in the order in which they are asked."""
        return list(self._results("penstock_admission_policy", endpoint=endpoint, app=self._app))

    def acceptor(self, endpoint: Endpoint) -> Acceptor | None:
        """Return the acceptor of an endpoint, or None if there is none."""
        return next(self._results("penstock_acceptor", endpoint=endpoint, app=self._app), None)

    def queue_discipline(self, endpoint: Endpoint) -> Callable[[], Queue]:
        """Return the factory of the endpoint's queue."""
        new_queue: Callable[[], Queue] = next(
            self._results("penstock_queue_discipline", endpoint=endpoint, app=self._app)
        )
        return new_queue

    def retry_policy(self, endpoint: Endpoint) -> Callable[[Job, PenstockError, float], float | None]:
        """Return the retry policy of an endpoint."""
        retry: Callable[..., float | None] = next(
            self._results("penstock_retry_policy", endpoint=endpoint, app=self._app)
        )
        return retry

    def shutdown_policy(self, app: App) -> Callable[[ShutdownRequest], float]:
        """Return the shutdown policy, which never raises."""
        grant: Callable[[ShutdownRequest], float] = next(self._results("penstock_shutdown_policy", app=app))
        return grant

    def routes(self, app: App) -> list[Route]:
        """Return all routes, the core's own first."""
        return [route for routes in reversed(list(self._results("penstock_routes", app=app))) for route in routes]

    def services(self, app: App) -> list[GuardedService]:
        """Return all services, in the order of precedence."""
        return list(self._results("penstock_service", app=app))

    def job_store(self, app: App) -> JobStore | None:
        """Return the store of background jobs, which is not open; None if no plug-in has one."""
        return next(self._results("penstock_job_store", app=app), None)

    def worker_setups(self) -> list[str]:
        """Return the paths of the functions to call in each worker, in the order of precedence."""
        return list(self._results("penstock_worker_setup", app=self._app))

    def dialects(self, app: App) -> list[Dialect]:
        """Return all dialects, each with the endpoints that it serves.

        Raises
        ------
        DeclarationError
            If a dialect, a name of one, or an offer does not fit: see ``served_dialects``.
        """
        found = reversed(list(self._results("penstock_dialects", app=app)))
        return served_dialects([each for dialects in found for each in dialects], app.endpoints, self._by_name)

    def response_headers(self, app: App) -> Callable[[ResponseHead], Sequence[tuple[str, str]]] | None:
        """Return what adds headers to every response, and never raises, the strongest plug-in's last; or None."""
        found = list(self._results("penstock_response_headers", app=app))
        if len(found) < 2:
            return found[0] if found else None
        return lambda head: [header for headers_of in reversed(found) for header in headers_of(head)]

    def descriptions(self, endpoint: Endpoint) -> list[EndpointDescription]:
        """Return what the plug-ins say about an endpoint, highest precedence first."""
        return list(self._results("penstock_description", endpoint=endpoint, app=self._app))

    def cli_commands(self) -> list[Any]:
        """Return all commands, highest precedence first."""
        return [command for commands in self._results("penstock_cli_commands") for command in commands]

    # ---- observers

    def observe(self, app: App) -> None:
        """Collect the observers. Must precede the first ``observer_of``; further calls have no effect."""
        if self._observers is not None:
            return
        observers: dict[type[Record], list[Callable[[Any], None]]] = {}
        for by_kind in self._results("penstock_observer", app=app):
            for kind, observer in by_kind.items():
                observers.setdefault(kind, []).append(observer)
        self._observers = {kind: _all_of(tuple(those)) for kind, those in observers.items()}
        self.failures.notify = self.observer_of(HookFailed)

    def observer_of(self, kind: type[Record]) -> Callable[[Any], None] | None:
        """Return the callable to pass each record of this type to, or None if no plug-in observes it."""
        return (self._observers or {}).get(kind)


def rpc_services_of(registry: Registry, app: App) -> list[RpcService]:
    """Return the gRPC services of all plug-ins, highest precedence last. For processes that serve gRPC."""
    found = reversed(list(registry._results("penstock_grpc_services", app=app)))
    return [service for services in found for service in services]


def _installed() -> Iterable[EntryPoint]:
    return entry_points(group=ENTRY_POINT_GROUP)


def _that_runs_schedules(registry: Registry, app: App) -> Registry:
    """Return the registry, if one of its plug-ins runs the schedules of the app, or the app has none."""
    plugins = [plugin.instance for plugin in registry.plugins if plugin.is_on]
    if app.schedules and not any(getattr(plugin, "runs_schedules", False) for plugin in plugins):
        raise PluginError(
            f"the app declares schedule {app.schedules[0].name!r}, and no plug-in runs it; install penstock[jobs] and "
            "name a store, such as PENSTOCK_JOBS_STORE=sqlite:///jobs.db, or remove app.schedule()"
        )
    return registry


def _call(plugin: Plugin, hook: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a hook implementation with those arguments that it takes."""
    parameters = inspect.signature(function).parameters
    call = partial(function, **{name: value for name, value in arguments.items() if name in parameters})
    target = next((f" for {value.name!r}" for value in arguments.values() if hasattr(value, "name")), "")
    return plugin.call(call, failure=f"{hook} of {plugin} raised{target}")


def _all_of(observers: tuple[Callable[[Any], None], ...]) -> Callable[[Any], None]:
    if len(observers) == 1:
        return observers[0]

    def notify_all(record: Any) -> None:
        for observer in observers:
            observer(record)

    return notify_all
