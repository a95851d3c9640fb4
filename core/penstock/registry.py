"""Finds plug-ins, gives them their settings, and resolves what they decide, once."""

from __future__ import annotations

import inspect
import logging
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pluggy

from penstock import defaults, hookspecs
from penstock.errors import HookError, PenstockError, PluginError
from penstock.eventlog import log_event
from penstock.records import HookFailed, Record
from penstock.routes import Route
from penstock.settings import PluginSettings, Resolved, Sources

if TYPE_CHECKING:
    from penstock.app import App, Endpoint
    from penstock.scheduler import Job, Queue
    from penstock.shutdown import ShutdownRequest

GROUP: Final = "penstock"
OWN_DISTRIBUTION: Final = "penstock"
SAME_FAILURE_SECONDS: Final = 60.0
"""An observer that raises does so for every request: it is logged once in so many seconds."""

F = TypeVar("F", bound=Callable[..., Any])
_BLOCKING = "penstock_is_blocking"


def blocking(function: F) -> F:
    """Mark a callable that waits for something, such as a database: it is called in a thread of its own."""
    setattr(function, _BLOCKING, True)
    return function


def is_blocking(function: Callable[..., Any]) -> bool:
    """Whether it carries that mark."""
    return bool(getattr(function, _BLOCKING, False))


@dataclass(eq=False)
class Plugin:
    """One plug-in, whether it takes part or not.

    Attributes
    ----------
    name, distribution, version:
        What it is called, and who has brought it; the last two are "" for one of the app's own.
    instance:
        Where its hooks are; None if it does not take part.
    kind:
        The class of its settings.
    resolved:
        Its settings, with where they come from; None if it does not take part.
    absence:
        Why it does not take part, or "".
    """

    name: str
    distribution: str = ""
    version: str = ""
    instance: Any = None
    kind: type[PluginSettings] = PluginSettings
    resolved: Resolved[PluginSettings] | None = None
    absence: str = ""
    hooks: list[str] = field(default_factory=list)

    @property
    def setting_names(self) -> tuple[str, ...] | None:
        """What it can be told; None if it was not even imported, so that nobody knows."""
        if self.absence in ("replaced", "switched off") and self.kind is PluginSettings:
            return None
        return self.kind.__struct_encode_fields__

    def __str__(self) -> str:
        brought = f" of {self.distribution} {self.version}".rstrip() if self.distribution else " of the app"
        return f"plug-in {self.name!r}{brought}"


class Registry:
    """The plug-ins of one engine.

    Parameters
    ----------
    plugins:
        Those of the app: modules, objects or classes with hook implementations. The last one is asked first.
    offers:
        Entry points; asked after those of the app. An app's plug-in replaces one of the same name, and another
        distribution's replaces one of Penstock's own.
    sources:
        The settings.
    app:
        What they are for; given to those that want to check it.

    Raises
    ------
    PluginError
        If a plug-in cannot be imported, does not fit its hooks, or has been given the wrong settings.
    """

    def __init__(
        self,
        plugins: Iterable[Any] = (),
        *,
        offers: Iterable[EntryPoint] = (),
        sources: Sources | None = None,
        app: App | None = None,
    ) -> None:
        self._sources = sources or Sources({}, {})
        self._app = app
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self.plugins: list[Plugin] = []
        self.hook_failures: Counter[tuple[str, str]] = Counter()  # by plug-in and hook
        self._logged_at: dict[tuple[str, str], float] = {}
        self._core = Plugin("core", OWN_DISTRIBUTION, instance=defaults)
        self._by_object: dict[str, Plugin] = {"core": self._core}
        self._register(self._core)
        self._observers: dict[type[Record], Callable[[Any], None]] | None = None
        own = list(plugins)
        self._own_names = {_name_of(plugin) for plugin in own}
        offers = sorted(offers, key=_rank)
        taken = Counter([_name_of(plugin) for plugin in own] + [offer.name for offer in offers])
        for offer in offers:
            taken[offer.name] -= 1
            self._add_offer(offer, is_replaced=taken[offer.name] > 0)
        for plugin in own:
            self._add(Plugin(_name_of(plugin)), plugin)
        self._check_hooks()
        if sources is not None:
            sources.refuse_unknown({plugin.name: plugin.setting_names for plugin in self.plugins})

    @classmethod
    def load(cls, app: App, environ: Mapping[str, str] | None = None) -> Registry:
        """Find the plug-ins that are installed, and those of the app, and give them their settings.

        Raises
        ------
        PluginError
            As for the class.
        """
        sources = Sources(app.settings, os.environ if environ is None else environ)
        return cls(app.plugins, offers=entry_points(group=GROUP), sources=sources, app=app)

    def __repr__(self) -> str:
        names = ", ".join(plugin.name for plugin in self.plugins if plugin.instance is not None)
        return f"<Registry: {names or 'the core alone'}>"

    # ---- finding

    def _add_offer(self, offer: EntryPoint, *, is_replaced: bool) -> None:
        plugin = Plugin(offer.name, *_distribution_of(offer))
        if is_replaced and plugin.distribution != OWN_DISTRIBUTION and offer.name not in self._own_names:
            raise PluginError(f"{plugin} has a name that another distribution's has too; uninstall one of them")
        if is_replaced or self._sources.is_switched_off(offer.name):
            self.plugins.append(plugin)
            plugin.absence = "replaced" if is_replaced else "switched off"
            return
        try:
            found = offer.load()
        except Exception as error:
            frames = "".join(traceback.format_exception(error))
            log_event(logging.CRITICAL, "plugin-failed", f"{plugin} cannot be imported", traceback=frames)
            raise PluginError(
                f"{plugin} cannot be imported: {type(error).__name__}: {error}; {_mend(plugin)}"
            ) from error
        self._add(plugin, found)

    def _add(self, plugin: Plugin, found: Any) -> None:
        if any(other.name == plugin.name and not other.absence for other in self.plugins):
            raise PluginError(f"{plugin} is there twice; take one away, or give one of them another name")
        self.plugins.append(plugin)
        plugin.kind = getattr(found, "Settings", PluginSettings)
        if self._sources.is_switched_off(plugin.name):
            plugin.absence = "switched off"
            return
        plugin.resolved = self._sources.resolve(plugin.name, plugin.kind)
        if not plugin.resolved.settings.enabled:
            plugin.absence = "not switched on"
            return
        try:
            plugin.instance = self._made(plugin, found)
        except PluginError:
            raise
        except Exception as error:
            raise PluginError(
                f"{plugin} cannot be made: {type(error).__name__}: {error}; {_mend(plugin)}"
            ) from error
        self._register(plugin)

    def _made(self, plugin: Plugin, found: Any) -> Any:
        if not inspect.isclass(found):
            instance = found
        elif hasattr(found, "Settings"):
            assert plugin.resolved is not None
            instance = found(plugin.resolved.settings)
        else:
            instance = found()
        if self._app is not None and not isinstance(instance, ModuleType) and hasattr(instance, "check"):
            instance.check(self._app)
        return instance

    def _register(self, plugin: Plugin) -> None:
        self._by_object[plugin.name] = plugin
        try:
            self._manager.register(plugin.instance, name=plugin.name)
        except (ValueError, pluggy.PluginValidationError) as error:
            raise PluginError(f"{plugin} does not fit: {error}; {_mend(plugin)}") from None

    def _check_hooks(self) -> None:
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            plugin = next((p for p in self.plugins if p.instance is error.plugin), error.plugin)
            raise PluginError(f"{plugin} does not fit: {error}") from None
        for plugin in self.plugins:
            if plugin.instance is not None:
                callers = self._manager.get_hookcallers(plugin.instance) or []
                plugin.hooks = sorted(caller.name for caller in callers)

    # ---- resolving

    def _results(self, hook: str, **arguments: Any) -> Iterator[tuple[Plugin, Any]]:
        """What the plug-ins give for a hook, the last one first, without those that give nothing."""
        for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            plugin = self._by_object[implementation.plugin_name]
            try:
                given = implementation.function(*(arguments[name] for name in implementation.argnames))
            except PluginError:
                raise
            except Exception as error:
                what = next((f" for {a.name!r}" for a in arguments.values() if hasattr(a, "name")), "")
                frames = "".join(traceback.format_exception(error))
                log_event(logging.CRITICAL, "plugin-failed", f"{hook} of {plugin} has raised", traceback=frames)
                raise PluginError(
                    f"{hook} of {plugin} raised{what}: {type(error).__name__}: {error}; {_mend(plugin)}"
                ) from error
            if given is not None:
                yield plugin, given

    def _decision(self, hook: str, **arguments: Any) -> Any:
        for plugin, decide in self._results(hook, **arguments):
            return self._guarded(plugin, hook, decide)
        return None

    def authenticator(self, endpoint: Endpoint | Route) -> Callable[..., Any] | None:
        """What says who calls, or None."""
        return None if getattr(endpoint, "is_open", False) else self._decision("penstock_authenticator", endpoint=endpoint)

    def timeout_policy(self, endpoint: Endpoint) -> Callable[..., Any] | None:
        """What says how long a job may take, or None."""
        return self._decision("penstock_timeout_policy", endpoint=endpoint)

    def admission_policies(self, endpoint: Endpoint) -> list[Callable[..., Any]]:
        """All that have a say on whether a request becomes a job."""
        hook = "penstock_admission_policy"
        found = list(self._results(hook, endpoint=endpoint))
        return [self._guarded(plugin, hook, decide) for plugin, decide in found]

    def queue_discipline(self, endpoint: Endpoint) -> Callable[[], Queue]:
        """What makes the endpoint's queue."""
        return self._decision("penstock_queue_discipline", endpoint=endpoint)

    def retry_policy(self, endpoint: Endpoint) -> Callable[[Job, PenstockError, float], float | None]:
        """What decides whether the endpoint's failed jobs run again."""
        return self._decision("penstock_retry_policy", endpoint=endpoint)

    def shutdown_policy(self, app: App) -> Callable[[ShutdownRequest], float]:
        """What says how long a shutdown may take."""
        return self._decision("penstock_shutdown_policy", app=app)

    def routes(self, app: App) -> list[Route]:
        """All routes, the core's own first."""
        found = list(self._results("penstock_routes", app=app))
        return [route for _, routes in reversed(found) for route in routes]

    def cli_commands(self) -> list[Any]:
        """All commands."""
        return [command for _, commands in self._results("penstock_cli_commands") for command in commands]

    # ---- observing

    def observe(self, app: App) -> None:
        """Ask the observers what they want to see, once; to be called before the first ``observer_of``."""
        if self._observers is not None:
            return
        self._observers = {}
        told: dict[type[Record], list[Callable[[Any], None]]] = {}
        for plugin, wishes in self._results("penstock_observer", app=app):
            for kind, tell in wishes.items():
                told.setdefault(kind, []).append(self._contained(plugin, tell))
        self._observers = {kind: _all_of(tuple(tells)) for kind, tells in told.items()}

    def observer_of(self, kind: type[Record]) -> Callable[[Any], None] | None:
        """What to call with each record of this type, or None if nobody wants to know."""
        return (self._observers or {}).get(kind)

    # ---- what raises

    def _guarded(self, plugin: Plugin, hook: str, decide: Callable[..., Any]) -> Callable[..., Any]:
        """The same decision, whose failures are ``HookError``s. The core's own needs no guard, and pays for none."""
        if plugin is self._core:
            return decide

        def decide_or_fail(*arguments: Any) -> Any:
            try:
                return decide(*arguments)
            except PenstockError:
                raise
            except Exception as error:
                raise self.failure(plugin, hook, error) from error

        setattr(decide_or_fail, _BLOCKING, is_blocking(decide))
        return decide_or_fail

    def _contained(self, plugin: Plugin, tell: Callable[[Any], None]) -> Callable[[Any], None]:
        """The same observer, whose failures reach nobody."""

        def tell_or_log(record: Any) -> None:
            try:
                tell(record)
            except Exception as error:
                self.failure(plugin, "penstock_observer", error)

        return tell_or_log

    def failure(self, plugin: Plugin, hook: str, error: Exception) -> HookError:
        """Log and count what a plug-in has raised; returns what its victim is answered with."""
        self.hook_failures[plugin.name, hook] += 1
        now = time.monotonic()
        if now - self._logged_at.get((plugin.name, hook), -SAME_FAILURE_SECONDS) >= SAME_FAILURE_SECONDS:
            self._logged_at[plugin.name, hook] = now
            log_event(
                logging.ERROR,
                "hook-error",
                f"{hook} of {plugin} raised {type(error).__name__}: {error}",
                plugin=plugin.name,
                distribution=plugin.distribution,
                hook=hook,
                failures=self.hook_failures[plugin.name, hook],
                traceback="".join(traceback.format_exception(error)),
            )
        tell = self.observer_of(HookFailed)
        if tell is not None and hook != "penstock_observer":
            tell(HookFailed(plugin=plugin.name, hook=hook, error=type(error).__name__))
        return HookError(f"{hook} of {plugin} raised {type(error).__name__}: {error}")


def _all_of(tells: tuple[Callable[[Any], None], ...]) -> Callable[[Any], None]:
    if len(tells) == 1:
        return tells[0]

    def tell_all(record: Any) -> None:
        for tell in tells:
            tell(record)

    return tell_all


def _rank(offer: EntryPoint) -> tuple[bool, str, str]:
    """Our own come first, so that strangers are asked before them and may replace them."""
    distribution, _ = _distribution_of(offer)
    return distribution != OWN_DISTRIBUTION, distribution, offer.name


def _distribution_of(offer: EntryPoint) -> tuple[str, str]:
    return (offer.dist.name, offer.dist.version) if offer.dist else ("", "")


def _name_of(plugin: Any) -> str:
    """A plug-in's own name for itself, or its class's or module's."""
    name = getattr(plugin, "name", None)
    if isinstance(name, str):
        return name
    if isinstance(plugin, ModuleType) or inspect.isclass(plugin):
        return plugin.__name__.rpartition(".")[2]
    return type(plugin).__name__


def _mend(plugin: Plugin) -> str:
    if not plugin.distribution:
        return "take it out of App(plugins=[...]), or mend it"
    variable = f"PENSTOCK_{plugin.name.upper().replace('-', '_')}_ENABLED=false"
    return f"switch it off with {variable}, uninstall {plugin.distribution}, or mend it"
