"""Finding plug-ins, deciding which of them count, and setting them up with their settings."""

from __future__ import annotations

import contextlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

import pluggy

from penstock.app import App
from penstock.errors import DeclarationError, PluginError
from penstock.hooks import hookspecs
from penstock.hooks.plugin import OWN_DISTRIBUTION, Plugin
from penstock.hooks.settings import PluginSettings, Sources
from penstock.hooks.validation import hooks_of


class Candidate(NamedTuple):
    """A plug-in, and the callable that imports it."""

    plugin: Plugin
    obtain: Callable[[], Any]


class PluginLoader:
    """Sets up the plug-ins of one engine, and registers their hooks with pluggy.

    Parameters
    ----------
    sources:
        The settings.
    app:
        The app, passed to those plug-ins that check it; None to skip these checks.
    is_survey:
        True to mark a plug-in that fails as broken, instead of raising its error.

    Attributes
    ----------
    plugins:
        All plug-ins, in use or not, in rising precedence.
    complaints:
        The errors in the settings that are not a plug-in's fault; filled by a survey only.
    manager:
        The hooks of the plug-ins that are in use.
    """

    def __init__(self, sources: Sources, app: App | None, *, is_survey: bool) -> None:
        self.plugins: list[Plugin] = []
        self.complaints: list[str] = []
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self._sources = sources
        self._app = app
        self._is_survey = is_survey

    def load(self, offers: Iterable[EntryPoint], own: Iterable[Any]) -> None:
        """Set up the plug-ins that entry points offer, and the app's own.

        Raises
        ------
        PluginError
            If a plug-in cannot be imported, does not fit its hooks or the app, or if settings are wrong. In a survey,
            none of these.
        """
        for plugin, obtain in self._survivors(_installed_candidates(offers), _own_candidates(own)):
            with self.tolerating(plugin):
                self._set_up(plugin, obtain)
        known = {plugin.name: plugin.setting_names for plugin in self.plugins}
        for error in self._sources.unknown(known):
            if not self._is_survey:
                raise error
            self.complaints.append(str(error))

    @contextlib.contextmanager
    def tolerating(self, plugin: Plugin) -> Iterator[None]:
        """In a survey, mark the plug-in as broken instead of raising a ``DeclarationError`` about it or the app."""
        try:
            yield
        except DeclarationError as error:
            if not self._is_survey:
                raise
            plugin.leave("broken", str(error))

    # ---- precedence

    def _survivors(self, installed: list[Candidate], own: list[Candidate]) -> list[Candidate]:
        """Return the candidates that no later one replaces, in rising precedence. All are listed in ``plugins``."""
        own_names = {candidate.plugin.name for candidate in own}
        by_name: dict[str, Candidate] = {}
        for candidate in [*installed, *own]:
            plugin = candidate.plugin
            self.plugins.append(plugin)
            earlier = by_name.pop(plugin.name, None)  # out of its position, too: the later one counts more
            by_name[plugin.name] = candidate
            if earlier is not None:
                with self.tolerating(plugin):
                    self._replace(earlier.plugin, plugin, own_names)
        return [candidate for candidate in by_name.values() if candidate.plugin.is_on]

    def _replace(self, earlier: Plugin, plugin: Plugin, own_names: set[str]) -> None:
        """Replace the earlier plug-in of the same name, unless it is unclear which of the two is meant."""
        earlier.leave("replaced", f"by {plugin}")
        if earlier.distribution == plugin.distribution:
            raise PluginError(f"{plugin} is listed twice; remove one of them, or give one another name")
        if earlier.distribution == OWN_DISTRIBUTION or plugin.name in own_names:
            return
        if not self._sources.is_switched_off(plugin.name):
            raise PluginError(
                f"{plugin} has the same name as {earlier}; uninstall {plugin.distribution} or {earlier.distribution}"
            )

    # ---- setting up

    def _set_up(self, plugin: Plugin, obtain: Callable[[], Any]) -> None:
        """Import a plug-in, read its settings, create it and register its hooks, unless it is switched off."""
        if self._sources.is_switched_off(plugin.name):
            plugin.leave("off", "switched off by a setting")
            if plugin.distribution:
                return  # without importing it
        found = plugin.call(obtain, failure=f"{plugin} cannot be imported")
        plugin.kind, note = _settings_of(found)
        plugin.hooks = hooks_of(plugin, found, self.manager)
        if not plugin.is_on:
            return
        plugin.resolved = self._sources.resolve(plugin.name, plugin.kind, note)
        if not plugin.resolved.settings.enabled:
            plugin.leave("off", "not switched on")
            return
        self._register(plugin, found)

    def _register(self, plugin: Plugin, found: Any) -> None:
        instance = plugin.call(lambda: _instance_of(found, plugin), failure=f"{plugin} cannot be created")
        if self._app is not None and not isinstance(instance, ModuleType) and hasattr(instance, "check"):
            plugin.call(lambda: instance.check(self._app), failure=f"{plugin} does not fit the app")
        plugin.call(lambda: self.manager.register(instance, name=plugin.name), failure=f"{plugin} cannot be registered")
        plugin.instance = instance


def _installed_candidates(offers: Iterable[EntryPoint]) -> list[Candidate]:
    """Return the candidates of installed distributions in rising precedence: Penstock's own come first."""
    candidates = [Candidate(_plugin_of(offer), offer.load) for offer in offers]
    # The order among other distributions has no meaning, but it is always the same.
    return sorted(
        candidates, key=lambda c: (c.plugin.distribution != OWN_DISTRIBUTION, c.plugin.distribution, c.plugin.name)
    )


def _plugin_of(offer: EntryPoint) -> Plugin:
    if offer.dist is None:
        return Plugin(name=offer.name)
    return Plugin(name=offer.name, distribution=offer.dist.name, version=offer.dist.version)


def _own_candidates(plugins: Iterable[Any]) -> list[Candidate]:
    """Return the candidates of the app, in rising precedence."""
    return [_named(plugin) if isinstance(plugin, str) else _given(plugin) for plugin in plugins]


def _given(plugin: Any) -> Candidate:
    return Candidate(Plugin(name=_name_of(plugin)), partial(_itself, plugin))


def _named(path: str) -> Candidate:
    """Return the candidate that ``"package.module:Plugin"`` names. It is imported now, since it has its own name."""
    try:
        return _given(pkgutil.resolve_name(path))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Candidate(Plugin(name=path), partial(_raise, error))


def _name_of(plugin: Any) -> str:
    """Return the ``name`` of a plug-in of the app, otherwise the name of its module or class."""
    name = getattr(plugin, "name", None)
    if isinstance(name, str):
        return name
    if isinstance(plugin, ModuleType) or inspect.isclass(plugin):
        return plugin.__name__.rpartition(".")[2]
    return type(plugin).__name__


def _itself(plugin: Any) -> Any:
    return plugin


def _raise(error: BaseException) -> NoReturn:
    raise error


def _settings_of(found: Any) -> tuple[Any, str]:
    """Return the class of a plug-in's settings, and a note for the error if one is set that it does not have."""
    if inspect.isclass(found):
        return getattr(found, "Settings", PluginSettings), ""
    if isinstance(found, ModuleType) or not hasattr(found, "Settings"):
        return PluginSettings, ""
    return PluginSettings, "the app has already created it: pass the class to App(plugins=[...]) instead"


def _instance_of(found: Any, plugin: Plugin) -> Any:
    if not inspect.isclass(found):
        return found
    new: Callable[..., Any] = found
    assert plugin.resolved is not None
    arguments = (plugin.resolved.settings,) if hasattr(found, "Settings") else ()
    _require_constructor(found, arguments)
    return new(*arguments)


def _require_constructor(found: type, arguments: tuple[Any, ...]) -> None:
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # some classes written in C have no signature
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        fix = (
            "its class has Settings, so write `def __init__(self, settings: Settings) -> None`"
            if arguments
            else "its class has no Settings, so write an `__init__` without parameters, or declare "
            "`class Settings(PluginSettings, frozen=True)` for a parameter `settings`"
        )
        raise PluginError(f"__init__ {error}; {fix}") from None
