"""Whether what a plug-in has marked as its hooks fits the hooks that there are. Found at the start, said in full."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import pluggy

from penstock.errors import PluginError
from penstock.naming import near_miss
from penstock.plugin import Plugin


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
