"""What a hook has given is looked at when it gives it, and not when the first request needs it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import pluggy

from penstock.errors import PluginError
from penstock.hooks.guards import HookGuard, is_blocking
from penstock.hooks.hook_failures import HookFailures
from penstock.hooks.plugin import Plugin
from penstock.hooks.records import Record
from penstock.hooks.routes import Route
from penstock.suggestions import near_miss


class Hook(NamedTuple):
    """A hook: the names of what its implementations are given, and how many arguments what they give is called with."""

    given: tuple[str, ...]
    arguments: int = 1


HOOKS: Final = {
    "penstock_authenticator": Hook(("endpoint",)),
    "penstock_timeout_policy": Hook(("endpoint",)),
    "penstock_admission_policy": Hook(("endpoint",)),
    "penstock_queue_discipline": Hook(("endpoint",), 0),
    "penstock_retry_policy": Hook(("endpoint",), 3),
    "penstock_shutdown_policy": Hook(("app",)),
    "penstock_observer": Hook(("app",)),
    "penstock_routes": Hook(("app",), 2),
    "penstock_cli_commands": Hook((), 0),
}
"""Those of ``hookspecs``, by name."""


def hooks_of(plugin: Plugin, found: Any, manager: pluggy.PluginManager) -> list[str]:
    """The names of the hooks that a plug-in implements: a module, an object, or a class that is not made yet.

    Raises
    ------
    PluginError
        If one of them is no hook, wants what the hook does not give, is of a kind that cannot work here, or is not
        marked as one; or if there is none at all.
    """
    names = list(_fitting(plugin, found, manager))
    if not names:
        known = ", ".join(sorted(HOOKS))
        raise PluginError(f"{plugin} has no hook: mark its functions with @hookimpl; there are: {known}; {plugin.mend}")
    return sorted(names)


def _fitting(plugin: Plugin, found: Any, manager: pluggy.PluginManager) -> Iterator[str]:
    for attribute in dir(found):
        options = manager.parse_hookimpl_opts(found, attribute)
        if options is None:
            if attribute in HOOKS and inspect.isroutine(inspect.getattr_static(found, attribute)):
                raise PluginError(
                    f"{plugin}: {attribute} is not marked with @hookimpl; mark it, or rename it; {plugin.mend}"
                )
            continue
        name = options.get("specname") or attribute
        if name in HOOKS:
            is_method = inspect.isclass(found) and inspect.isfunction(inspect.getattr_static(found, attribute))
            _check(plugin, name, getattr(found, attribute), options, has_self=is_method)
            yield name
        elif not options.get("optionalhook"):
            meant = near_miss(name, HOOKS)
            raise PluginError(f"{plugin} implements {name}, and there is no such hook; {meant}; {plugin.mend}")


def _check(plugin: Plugin, name: str, function: Callable[..., Any], options: Any, *, has_self: bool) -> None:
    if options.get("wrapper") or options.get("hookwrapper"):
        raise PluginError(
            f"{name} of {plugin} is a hook wrapper, and what hooks give is resolved once, with nothing around it; "
            f"make it a plain hook; {plugin.mend}"
        )
    if inspect.iscoroutinefunction(function):
        raise PluginError(f"{name} of {plugin} is async, and nobody awaits it; make it a plain function; {plugin.mend}")
    parameters = list(inspect.signature(function).parameters.values())[has_self:]
    given = HOOKS[name].given
    for parameter in parameters:
        is_optional = parameter.default is not parameter.empty or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if parameter.name not in given and not is_optional:
            gets = f"only {', '.join(given)}" if given else "nothing"
            raise PluginError(
                f"{name} of {plugin} wants {parameter.name!r}, and is given {gets}; take that away; {plugin.mend}"
            )


def accepted(plugin: Plugin, hook: str, given: Any, failures: HookFailures) -> Any:
    """What a plug-in has given for a hook, with its guard around it.

    Raises
    ------
    PluginError
        If it could never work.
    """
    return _ACCEPT[hook](_Giver(plugin, hook), given, HookGuard(failures, plugin, hook))


_MAY_WAIT: Final = ("penstock_authenticator", "penstock_timeout_policy", "penstock_admission_policy")


@dataclasses.dataclass(frozen=True)
class _Giver:
    plugin: Plugin
    hook: str

    def wrong(self, cause: str, about: str = "") -> PluginError:
        """Say what is wrong with what it gave."""
        return PluginError(f"{self.hook}{about and f' ({about})'} of {self.plugin} gave {cause}; {self.plugin.mend}")

    def require_callable(self, given: Any, about: str = "") -> None:
        """See that it can be called as it is going to be."""
        count = HOOKS[self.hook].arguments
        needed = "no argument" if not count else "1 argument" if count == 1 else f"{count} arguments"
        if not callable(given):
            raise self.wrong(f"a {type(given).__name__}, and not a callable that takes {needed}", about)
        if inspect.iscoroutinefunction(given) or inspect.iscoroutinefunction(getattr(given, "__call__", None)):  # noqa: B004 - of an object that is callable
            raise self.wrong("an async function, and nobody awaits it", about)
        if is_blocking(given) and self.hook not in _MAY_WAIT:
            raise self.wrong("a callable that is marked as blocking, and nothing here may wait", about)
        try:
            signature = inspect.signature(given)
        except (TypeError, ValueError):  # some that are written in C have none
            return
        try:
            signature.bind(*range(count))
        except TypeError as error:
            raise self.wrong(f"a callable that cannot be called with {needed}: {error}", about) from None

    def listed(self, given: Any) -> list[Any]:
        """What is iterable, as a list: a generator is run here."""
        try:
            return list(given)
        except Exception as error:
            raise self.wrong(f"what cannot be listed: {type(error).__name__}: {error}") from error


def _decision(guard_of: Callable[[HookGuard, Any], Any]) -> Callable[[_Giver, Any, HookGuard], Any]:
    def accept(giver: _Giver, given: Any, guard: HookGuard) -> Any:
        giver.require_callable(given)
        return guard_of(guard, given)

    return accept


def _discipline(giver: _Giver, given: Any, guard: HookGuard) -> Callable[[], Any]:
    giver.require_callable(given)
    new_queue = guard.queue_discipline(given)
    new_queue()  # it raises here what it would raise while the engine is made, or says nothing ever
    return new_queue


def _observers(giver: _Giver, given: Any, guard: HookGuard) -> dict[type[Record], Callable[[Any], None]]:
    if not isinstance(given, Mapping):
        raise giver.wrong(f"a {type(given).__name__}, and not a dict of a callable for each type of record")
    for kind, tell in given.items():
        if not (isinstance(kind, type) and issubclass(kind, Record)):
            raise giver.wrong(f"{kind!r}, which is no type of record: see penstock.hooks.records")
        giver.require_callable(tell, kind.__name__)
    return {kind: guard.observer(kind, tell) for kind, tell in given.items()}


def _routes(giver: _Giver, given: Any, guard: HookGuard) -> list[Route]:
    routes = giver.listed(given)
    for route in routes:
        if not isinstance(route, Route):
            raise giver.wrong(f"a {type(route).__name__}, and not a Route")
        giver.require_callable(route.handler, route.path)
    return [dataclasses.replace(route, handler=guard.route(route)) for route in routes]


def _commands(giver: _Giver, given: Any, _guard: HookGuard) -> list[Any]:
    commands = giver.listed(given)
    for command in commands:
        # The core knows nothing of click; what has this is one of its commands.
        if not (hasattr(command, "make_context") and getattr(command, "name", None)):
            raise giver.wrong(f"a {type(command).__name__}, and not a command of click's with a name")
    return commands


_ACCEPT: Final[dict[str, Callable[[_Giver, Any, HookGuard], Any]]] = {
    "penstock_authenticator": _decision(HookGuard.authenticator),
    "penstock_timeout_policy": _decision(HookGuard.timeout_policy),
    "penstock_admission_policy": _decision(HookGuard.admission_policy),
    "penstock_queue_discipline": _discipline,
    "penstock_retry_policy": _decision(HookGuard.retry_policy),
    "penstock_shutdown_policy": _decision(HookGuard.shutdown_policy),
    "penstock_observer": _observers,
    "penstock_routes": _routes,
    "penstock_cli_commands": _commands,
}
