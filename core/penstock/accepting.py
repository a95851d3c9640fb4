"""What a hook has given is looked at when it gives it, and not when the first request needs it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from penstock.errors import PluginError
from penstock.failures import Failures
from penstock.fitting import HOOKS
from penstock.guards import Guard, is_blocking
from penstock.plugin import Plugin
from penstock.records import Record
from penstock.routes import Route


def accepted(plugin: Plugin, hook: str, given: Any, failures: Failures) -> Any:
    """What a plug-in has given for a hook, with its guard around it.

    Raises
    ------
    PluginError
        If it could never work.
    """
    return _ACCEPT[hook](_Giver(plugin, hook), given, Guard(failures, plugin, hook))


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


def _decision(guard_of: Callable[[Guard, Any], Any]) -> Callable[[_Giver, Any, Guard], Any]:
    def accept(giver: _Giver, given: Any, guard: Guard) -> Any:
        giver.require_callable(given)
        return guard_of(guard, given)

    return accept


def _discipline(giver: _Giver, given: Any, guard: Guard) -> Callable[[], Any]:
    giver.require_callable(given)
    new_queue = guard.queue_discipline(given)
    new_queue()  # it raises here what it would raise while the engine is made, or says nothing ever
    return new_queue


def _observers(giver: _Giver, given: Any, guard: Guard) -> dict[type[Record], Callable[[Any], None]]:
    if not isinstance(given, Mapping):
        raise giver.wrong(f"a {type(given).__name__}, and not a dict of a callable for each type of record")
    for kind, tell in given.items():
        if not (isinstance(kind, type) and issubclass(kind, Record)):
            raise giver.wrong(f"{kind!r}, which is no type of record: see penstock.records")
        giver.require_callable(tell, kind.__name__)
    return {kind: guard.observer(kind, tell) for kind, tell in given.items()}


def _routes(giver: _Giver, given: Any, guard: Guard) -> list[Route]:
    routes = giver.listed(given)
    for route in routes:
        if not isinstance(route, Route):
            raise giver.wrong(f"a {type(route).__name__}, and not a Route")
        giver.require_callable(route.handler, route.path)
    return [dataclasses.replace(route, handler=guard.route(route)) for route in routes]


def _commands(giver: _Giver, given: Any, _guard: Guard) -> list[Any]:
    commands = giver.listed(given)
    for command in commands:
        # The core knows nothing of click; what has this is one of its commands.
        if not (hasattr(command, "make_context") and getattr(command, "name", None)):
            raise giver.wrong(f"a {type(command).__name__}, and not a command of click's with a name")
    return commands


_ACCEPT: Final[dict[str, Callable[[_Giver, Any, Guard], Any]]] = {
    "penstock_authenticator": _decision(Guard.authenticator),
    "penstock_timeout_policy": _decision(Guard.timeout_policy),
    "penstock_admission_policy": _decision(Guard.admission_policy),
    "penstock_queue_discipline": _discipline,
    "penstock_retry_policy": _decision(Guard.retry_policy),
    "penstock_shutdown_policy": _decision(Guard.shutdown_policy),
    "penstock_observer": _observers,
    "penstock_routes": _routes,
    "penstock_cli_commands": _commands,
}
