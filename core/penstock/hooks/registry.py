"""Finds plug-ins, gives them their settings, and resolves what they decide, once."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Final, NamedTuple, TypeVar

import pluggy

from penstock.app import App, Endpoint
from penstock.errors import HookError, PenstockError, PluginError
from penstock.hooks import defaults, hookspecs
from penstock.hooks.guards import blocking, is_blocking
from penstock.hooks.hook_failures import HookFailures
from penstock.hooks.plugin import OWN_DISTRIBUTION, Plugin, name_of, offered
from penstock.hooks.principal import Principal
from penstock.hooks.records import HookFailed, Record, ShutdownRequest
from penstock.hooks.routes import Route
from penstock.hooks.settings import PluginSettings, Sources
from penstock.hooks.submission import Release, Submission
from penstock.hooks.validation import HOOKS, accepted, hooks_of
from penstock.policies import Timeouts
from penstock.scheduler import Job, Queue

__all__ = ["GROUP", "Plugin", "Registry", "blocking", "is_blocking"]

GROUP: Final = "penstock"
"""The group of entry points that distributions offer plug-ins by."""

_CORE_NAME: Final = "(core)"  # no entry point, and hardly a class, has such a name

T = TypeVar("T")


class _Candidate(NamedTuple):
    plugin: Plugin
    obtain: Callable[[], Any]


class Registry:
    """The plug-ins of one engine.

    The app's own are asked first, then those of other distributions, then Penstock's, then the core. In the same order
    one replaces another of its name.

    Parameters
    ----------
    plugins:
        Those of the app: modules, objects or classes with hook implementations. The last one is asked first.
    offers:
        Entry points.
    sources:
        The settings.
    app:
        What they are for; given to those that want to check it.
    is_survey:
        Whether to go on where a plug-in is wrong, and have it in the list as broken.

    Attributes
    ----------
    plugins:
        All, whether they take part or not.
    complaints:
        Of a survey: what is wrong with the settings, and no plug-in's fault.

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
        is_survey: bool = False,
    ) -> None:
        self.plugins: list[Plugin] = []
        self.complaints: list[str] = []
        self.failures = HookFailures()
        self._sources = sources or Sources({}, {})
        self._app = app
        self._is_survey = is_survey
        self._core = Plugin(name="core", distribution=OWN_DISTRIBUTION, instance=defaults)
        self._by_name: dict[str, Plugin] = {_CORE_NAME: self._core}
        self._observers: dict[type[Record], Callable[[Any], None]] | None = None
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        for plugin, obtain in self._contenders(offers, plugins):
            with_care = partial(self._take_in, plugin, obtain)
            self._carefully(plugin, with_care)
        # After all others, and marked to be tried last: it is asked even after those who are marked so too.
        self._manager.register(defaults, name=_CORE_NAME)
        self._refuse_unknown_settings()

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

    @classmethod
    def survey(cls, app: App | None = None, environ: Mapping[str, str] | None = None) -> Registry:
        """Find them all the same, and go on where one is broken. For those who look, and for nobody who serves.

        Parameters
        ----------
        app:
            Whose plug-ins and settings count too; all hooks are then called, as a start would call them.
        environ:
            The environment. Default: that of the process.

        Raises
        ------
        PluginError
            If the settings cannot be read at all.
        """
        environ = os.environ if environ is None else environ
        offers = entry_points(group=GROUP)
        if app is None:
            return cls(offers=offers, sources=Sources({}, environ), is_survey=True)
        registry = cls(app.plugins, offers=offers, sources=Sources(app.settings, environ), app=app, is_survey=True)
        registry._try_hooks(app)
        return registry

    def __repr__(self) -> str:
        names = ", ".join(plugin.name for plugin in self.plugins if plugin.is_on)
        return f"<Registry: {names or 'the core alone'}>"

    def status(self) -> dict[str, Any]:
        """Who takes part, and how often what they gave has raised, ready for JSON."""
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

    # ---- finding

    def _contenders(self, offers: Iterable[EntryPoint], own: Iterable[Any]) -> list[_Candidate]:
        """Those that take part unless something is wrong with them, the strongest last; the others are in the list."""
        offered_ones = [_Candidate(offered(offer), offer.load) for offer in offers]
        # Ours come first, so that strangers may replace them; among strangers the order is at least always the same.
        offered_ones.sort(
            key=lambda c: (c.plugin.distribution != OWN_DISTRIBUTION, c.plugin.distribution, c.plugin.name)
        )
        own_ones = [_Candidate(Plugin(name=name_of(plugin)), partial(_the_same, plugin)) for plugin in own]
        own_names = {candidate.plugin.name for candidate in own_ones}
        standing: dict[str, _Candidate] = {}
        for candidate in [*offered_ones, *own_ones]:
            plugin = candidate.plugin
            self.plugins.append(plugin)
            other = standing.pop(plugin.name, None)
            standing[plugin.name] = candidate
            if other is not None:
                self._carefully(plugin, partial(self._replace, other.plugin, plugin, own_names))
        return [candidate for candidate in standing.values() if candidate.plugin.is_on]

    def _replace(self, other: Plugin, plugin: Plugin, own_names: set[str]) -> None:
        """The second one of a name takes the place of the first, if it is clear that it should."""
        other.leave("replaced", f"by {plugin}")
        if other.distribution == plugin.distribution:
            raise PluginError(f"{plugin} is there twice; take one away, or give one of them another name")
        if other.distribution == OWN_DISTRIBUTION or plugin.name in own_names:
            return
        if not self._sources.is_switched_off(plugin.name):
            raise PluginError(
                f"{plugin} has the name of {other}; uninstall {plugin.distribution} or {other.distribution}"
            )

    def _take_in(self, plugin: Plugin, obtain: Callable[[], Any]) -> None:
        """Import it, give it its settings, make it, and register its hooks; or leave it out, if it is switched off."""
        if self._sources.is_switched_off(plugin.name):
            plugin.leave("off", "switched off by a setting")
            if plugin.distribution:
                return  # and it is not even imported
        found = self._attempt(plugin, f"{plugin} cannot be imported", obtain)
        plugin.kind, note = _settings_of(found)
        plugin.hooks = hooks_of(plugin, found, self._manager)
        if not plugin.is_on:
            return
        plugin.resolved = self._sources.resolve(plugin.name, plugin.kind, note)
        if not plugin.resolved.settings.enabled:
            plugin.leave("off", "not switched on")
            return
        instance = self._attempt(plugin, f"{plugin} cannot be made", lambda: _made(found, plugin))
        if self._app is not None and not isinstance(instance, ModuleType) and hasattr(instance, "check"):
            self._attempt(plugin, f"{plugin} does not fit the app", lambda: instance.check(self._app))
        self._attempt(plugin, f"{plugin} does not fit", lambda: self._manager.register(instance, name=plugin.name))
        self._by_name[plugin.name] = plugin
        plugin.instance = instance

    def _attempt(self, plugin: Plugin, failing: str, action: Callable[[], T]) -> T:
        """Do it; what it raises is told with the plug-in's name and the mend."""
        try:
            return action()
        except PluginError as error:
            raise PluginError(f"{failing}: {error}") from error.__cause__
        except Exception as error:
            raise PluginError(f"{failing}: {type(error).__name__}: {error}; {plugin.mend}") from error

    def _carefully(self, plugin: Plugin, action: Callable[[], None]) -> None:
        """Do it; in a survey, what is wrong with the plug-in is noted and not raised."""
        try:
            action()
        except PluginError as error:
            if not self._is_survey:
                raise
            plugin.leave("broken", str(error))

    def _refuse_unknown_settings(self) -> None:
        keys = {plugin.name: plugin.setting_names for plugin in self.plugins}
        for error in self._sources.unknown(keys):
            if not self._is_survey:
                raise error
            self.complaints.append(str(error))

    # ---- resolving

    def _results(self, hook: str, **arguments: Any) -> Iterator[Any]:
        """What the plug-ins give for a hook, what counts most first; checked and guarded, and without what is None."""
        for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            plugin = self._by_name[implementation.plugin_name]
            try:
                given = self._given(plugin, hook, implementation.function, arguments)
                if given is not None and plugin is not self._core:  # the core needs no guard, and pays for none
                    given = accepted(plugin, hook, given, self.failures)
            except PluginError as error:
                if not self._is_survey:
                    raise
                plugin.leave("broken", str(error))
                continue
            if given is not None:
                yield given

    def _given(self, plugin: Plugin, hook: str, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        wanted = inspect.signature(function).parameters
        call = partial(function, **{name: value for name, value in arguments.items() if name in wanted})
        about = next((f" for {thing.name!r}" for thing in arguments.values() if hasattr(thing, "name")), "")
        return self._attempt(plugin, f"{hook} of {plugin} raised{about}", call)

    def authenticator(self, target: Endpoint | Route) -> Callable[[Submission], Principal | None] | None:
        """What says who calls, or None: of an open route, always."""
        if getattr(target, "is_open", False):
            return None
        return next(self._results("penstock_authenticator", endpoint=target), None)

    def timeout_policy(self, endpoint: Endpoint) -> Callable[[Submission], Timeouts | None] | None:
        """What says how long a job may take, or None."""
        return next(self._results("penstock_timeout_policy", endpoint=endpoint), None)

    def admission_policies(self, endpoint: Endpoint) -> list[Callable[[Submission], Release | None]]:
        """All that have a say on whether a request becomes a job, in the order in which they are asked."""
        return list(self._results("penstock_admission_policy", endpoint=endpoint))

    def queue_discipline(self, endpoint: Endpoint) -> Callable[[], Queue]:
        """What makes the endpoint's queue."""
        new_queue: Callable[[], Queue] = next(self._results("penstock_queue_discipline", endpoint=endpoint))
        return new_queue

    def retry_policy(self, endpoint: Endpoint) -> Callable[[Job, PenstockError, float], float | None]:
        """What decides whether the endpoint's failed jobs run again."""
        retry: Callable[..., float | None] = next(self._results("penstock_retry_policy", endpoint=endpoint))
        return retry

    def shutdown_policy(self, app: App) -> Callable[[ShutdownRequest], float]:
        """What says how long a shutdown may take. Never raises."""
        grant: Callable[[ShutdownRequest], float] = next(self._results("penstock_shutdown_policy", app=app))
        return grant

    def routes(self, app: App) -> list[Route]:
        """All routes, the core's own first."""
        found = list(self._results("penstock_routes", app=app))
        return [route for routes in reversed(found) for route in routes]

    def cli_commands(self) -> list[Any]:
        """All commands, what counts most first."""
        return [command for commands in self._results("penstock_cli_commands") for command in commands]

    def observe(self, app: App) -> None:
        """Ask the observers what they want to see, once; to be called before the first ``observer_of``."""
        if self._observers is not None:
            return
        told: dict[type[Record], list[Callable[[Any], None]]] = {}
        for wishes in self._results("penstock_observer", app=app):
            for kind, tell in wishes.items():
                told.setdefault(kind, []).append(tell)
        self._observers = {kind: _all_of(tuple(tells)) for kind, tells in told.items()}
        self.failures.tell = self.observer_of(HookFailed)

    def _try_hooks(self, app: App) -> None:
        """Call all hooks as a start would, also those whose answers would not count."""
        for endpoint in app.endpoints:
            for hook in [name for name, hook in HOOKS.items() if hook.given == ("endpoint",)]:
                list(self._results(hook, endpoint=endpoint))
        for hook in [name for name, hook in HOOKS.items() if hook.given != ("endpoint",)]:
            list(self._results(hook, app=app))

    def observer_of(self, kind: type[Record]) -> Callable[[Any], None] | None:
        """What to call with each record of this type, or None if nobody wants to know."""
        return (self._observers or {}).get(kind)

    def failure(self, plugin: Plugin, hook: str, error: Exception) -> HookError:
        """Log and count what a plug-in has raised; returns what its victim is answered with."""
        return self.failures.add(plugin, hook, error)


def _the_same(plugin: Any) -> Any:
    return plugin


def _settings_of(found: Any) -> tuple[Any, str]:
    """The class of a plug-in's settings, and what to say to those who set something that it does not have."""
    if inspect.isclass(found):
        return getattr(found, "Settings", PluginSettings), ""
    is_made = hasattr(found, "Settings") and not isinstance(found, ModuleType)
    return PluginSettings, "the app has made it: give App(plugins=[...]) the class instead" if is_made else ""


def _made(found: Any, plugin: Plugin) -> Any:
    if not inspect.isclass(found):
        return found
    make: Callable[..., Any] = found
    assert plugin.resolved is not None
    return make(plugin.resolved.settings) if hasattr(found, "Settings") else make()


def _all_of(tells: tuple[Callable[[Any], None], ...]) -> Callable[[Any], None]:
    if len(tells) == 1:
        return tells[0]

    def tell_all(record: Any) -> None:
        for tell in tells:
            tell(record)

    return tell_all
