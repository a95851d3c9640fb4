"""Checks at start-up that plug-ins fit the hooks: the implementations they have, and the results these return.

A mistake found here stops the start, instead of failing every request later.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import pluggy

from penstock.errors import PluginError
from penstock.hooks.acceptors import Acceptor
from penstock.hooks.descriptions import EndpointDescription
from penstock.hooks.dialects import Dialect, functions_of
from penstock.hooks.guarded_services import GuardedService
from penstock.hooks.guards import HookGuard, is_blocking
from penstock.hooks.hook_failures import HookFailures
from penstock.hooks.plugin import Plugin
from penstock.hooks.records import Record
from penstock.hooks.routes import Route, is_async
from penstock.hooks.rpc_services import RpcService, functions_of_service
from penstock.job_store import JobStore
from penstock.suggestions import near_miss

_FUNCTION_PATH: Final = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")

# ---- implementations


def hooks_of(plugin: Plugin, found: Any, manager: pluggy.PluginManager) -> list[str]:
    """Return the names of the hooks that a plug-in implements: a module, an object, or a class not yet instantiated.

    Raises
    ------
    PluginError
        If an implementation is of an unknown hook, takes a parameter that the hook does not pass, is of an unsupported
        kind, or is not marked as one; or if the plug-in implements no hook.
    """
    names = sorted(_implemented(plugin, found, manager))
    if not names:
        known = ", ".join(sorted(HOOKS))
        raise PluginError(
            f"{plugin} implements no hook; mark its functions with @hookimpl; there are: {known}; {plugin.fix}"
        )
    return names


def _implemented(plugin: Plugin, found: Any, manager: pluggy.PluginManager) -> Iterator[str]:
    for attribute in dir(found):
        options = manager.parse_hookimpl_opts(found, attribute)
        if options is None:
            if attribute in HOOKS and inspect.isroutine(inspect.getattr_static(found, attribute)):
                raise PluginError(
                    f"{plugin}: {attribute} is not marked with @hookimpl; mark it, or rename it; {plugin.fix}"
                )
            continue
        name = options.get("specname") or attribute
        if name in HOOKS:
            is_method = inspect.isclass(found) and inspect.isfunction(inspect.getattr_static(found, attribute))
            _check_implementation(plugin, name, getattr(found, attribute), options, has_self=is_method)
            yield name
        elif not options.get("optionalhook"):
            meant = near_miss(name, HOOKS)
            raise PluginError(f"{plugin} implements {name}, which is not a hook; {meant}; {plugin.fix}")


def _check_implementation(
    plugin: Plugin, name: str, function: Callable[..., Any], options: Any, *, has_self: bool
) -> None:
    if options.get("wrapper") or options.get("hookwrapper"):
        raise PluginError(
            f"{name} of {plugin} is a hook wrapper, but hooks are resolved once, without wrappers; "
            f"make it a plain hook; {plugin.fix}"
        )
    if inspect.iscoroutinefunction(function):
        raise PluginError(
            f"{name} of {plugin} is async, but hooks are not awaited; make it a plain function; {plugin.fix}"
        )
    passed = HOOKS[name].parameters
    for parameter in list(inspect.signature(function).parameters.values())[has_self:]:
        if parameter.name not in passed and not _is_optional(parameter):
            only = f"only {', '.join(map(repr, passed))}" if passed else "no arguments"
            raise PluginError(
                f"{name} of {plugin} takes {parameter.name!r}, but the hook is passed {only}; remove that parameter; "
                f"{plugin.fix}"
            )


def _is_optional(parameter: inspect.Parameter) -> bool:
    return parameter.default is not parameter.empty or parameter.kind in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )


# ---- results


def guarded(plugin: Plugin, hook: str, result: Any, failures: HookFailures) -> Any:
    """Return the result of a hook, with its callables guarded.

    Raises
    ------
    PluginError
        If it could never work.
    """
    return HOOKS[hook].guard(_Returned(plugin, hook), result, HookGuard(failures, plugin, hook))


@dataclasses.dataclass(frozen=True)
class _Returned:
    """Checks of what one plug-in returned for one hook."""

    plugin: Plugin
    hook: str

    def error(self, problem: str, part: str = "") -> PluginError:
        """Return the error for a result that cannot work."""
        where = f"{self.hook} ({part})" if part else self.hook
        return PluginError(f"{where} of {self.plugin} returned {problem}; {self.plugin.fix}")

    def require_callable(self, value: Any, part: str = "", *, count: int | None = None, may_wait: bool = False) -> None:
        """Raise ``PluginError`` if the value cannot be called with ``count`` arguments; default: those of the hook."""
        if count is None:
            count = HOOKS[self.hook].arguments
        needed = "no argument" if not count else "1 argument" if count == 1 else f"{count} arguments"
        if not callable(value):
            raise self.error(f"a {type(value).__name__} instead of a callable that takes {needed}", part)
        if is_async(value) and not may_wait:
            raise self.error("an async function, which would not be awaited", part)
        if is_blocking(value) and not HOOKS[self.hook].may_block:
            raise self.error("a callable that is marked as blocking, which this hook does not allow", part)
        try:
            signature = inspect.signature(value)
        except (TypeError, ValueError):  # some callables written in C have no signature
            return
        try:
            signature.bind(*range(count))
        except TypeError as error:
            raise self.error(f"a callable that cannot be called with {needed}: {error}", part) from None

    def listed(self, values: Any) -> list[Any]:
        """Return the values as a list, running a generator to its end; raise ``PluginError`` if that fails."""
        try:
            return list(values)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise self.error(f"something that cannot be iterated over: {type(error).__name__}: {error}") from error


def _decision(guard_with: Callable[[HookGuard, Any], Any]) -> Callable[[_Returned, Any, HookGuard], Any]:
    def guard_decision(returned: _Returned, decide: Any, guard: HookGuard) -> Any:
        returned.require_callable(decide)
        return guard_with(guard, decide)

    return guard_decision


def _acceptor(returned: _Returned, acceptor: Any, guard: HookGuard) -> Acceptor:
    if not isinstance(acceptor, Acceptor):
        raise returned.error(f"a {type(acceptor).__name__} instead of an Acceptor")
    returned.require_callable(acceptor.wants, "wants", count=1)
    returned.require_callable(acceptor.accept, "accept", count=3, may_wait=True)
    return guard.acceptor(acceptor)


def _queue_discipline(returned: _Returned, make: Any, guard: HookGuard) -> Callable[[], Any]:
    returned.require_callable(make)
    new_queue = guard.queue_discipline(make)
    new_queue()  # raises now what it would otherwise raise while the engine is created
    return new_queue


def _observers(returned: _Returned, observers: Any, guard: HookGuard) -> dict[type[Record], Callable[[Any], None]]:
    if not isinstance(observers, Mapping):
        raise returned.error(f"a {type(observers).__name__} instead of a dict from types of records to callables")
    for kind, observe in observers.items():
        if not (isinstance(kind, type) and issubclass(kind, Record)):
            raise returned.error(f"a dict with the key {kind!r}, which is not a type of record in penstock.hooks")
        returned.require_callable(observe, kind.__name__)
    return {kind: guard.observer(kind, observe) for kind, observe in observers.items()}


def _worker_setup(returned: _Returned, path: Any, _guard: HookGuard) -> str:
    if not isinstance(path, str):
        raise returned.error(f"a {type(path).__name__} instead of the path of a function, 'package.module:function'")
    if not _FUNCTION_PATH.fullmatch(path):
        raise returned.error(f"{path!r}, which is not the path of a function, 'package.module:function'")
    return path


def _routes(returned: _Returned, result: Any, guard: HookGuard) -> list[Route]:
    routes = returned.listed(result)
    for route in routes:
        if not isinstance(route, Route):
            raise returned.error(f"a {type(route).__name__} in the place of a Route")
        returned.require_callable(route.handler, route.path, may_wait=True)
    return [dataclasses.replace(route, handler=guard.route(route)) for route in routes]


def _service(returned: _Returned, service: Any, guard: HookGuard) -> GuardedService:
    for method, count in (("start", 1), ("unready_reason", 0), ("drain", 1), ("stop", 0)):
        if not hasattr(service, method):
            raise returned.error(f"a {type(service).__name__} without the method {method} of a service")
        returned.require_callable(getattr(service, method), method, count=count)
    return guard.service(service)


def _job_store(returned: _Returned, store: Any, _guard: HookGuard) -> JobStore:
    missing = [name for name in vars(JobStore) if not name.startswith("_") and not hasattr(store, name)]
    if missing:
        raise returned.error(f"a {type(store).__name__} without {', '.join(missing)} of a JobStore")
    kept: JobStore = store
    return kept


def _dialects(returned: _Returned, result: Any, guard: HookGuard) -> list[Dialect]:
    dialects = returned.listed(result)
    for dialect in dialects:
        if not isinstance(dialect, Dialect):
            raise returned.error(f"a {type(dialect).__name__} in the place of a Dialect")
        for function, count, part in functions_of(dialect):
            returned.require_callable(function, f"{dialect.name}, {part}", count=count)
    return [guard.dialect(dialect) for dialect in dialects]


def _rpc_services(returned: _Returned, result: Any, guard: HookGuard) -> list[RpcService]:
    services = returned.listed(result)
    for service in services:
        if not isinstance(service, RpcService):
            raise returned.error(f"a {type(service).__name__} in the place of an RpcService")
        for function, count, part in functions_of_service(service):
            returned.require_callable(function, f"{service.name}, {part}", count=count)
    return [guard.rpc_service(service) for service in services]


def _description(returned: _Returned, result: Any, _guard: HookGuard) -> EndpointDescription:
    if not isinstance(result, EndpointDescription):
        raise returned.error(f"a {type(result).__name__} instead of an EndpointDescription")
    return result


def _commands(returned: _Returned, result: Any, _guard: HookGuard) -> list[Any]:
    commands = returned.listed(result)
    for command in commands:
        # The core does not import click; an object with these two attributes is one of its commands.
        if not (hasattr(command, "make_context") and getattr(command, "name", None)):
            raise returned.error(f"a {type(command).__name__} in the place of a click command with a name")
    return commands


# ---- the hooks


class Hook(NamedTuple):
    """A hook.

    Attributes
    ----------
    parameters:
        The names of the arguments that implementations are passed.
    guard:
        Checks what an implementation returned, and puts guards around it.
    arguments:
        The number of arguments with which the returned callables are called.
    may_block:
        True if the returned callable may be marked as blocking.
    """

    parameters: tuple[str, ...]
    guard: Callable[[_Returned, Any, HookGuard], Any]
    arguments: int = 1
    may_block: bool = False


HOOKS: Final = {
    "penstock_tracer": Hook(("endpoint", "app"), _decision(HookGuard.tracer)),
    "penstock_authenticator": Hook(("endpoint", "app"), _decision(HookGuard.authenticator), may_block=True),
    "penstock_timeout_policy": Hook(("endpoint", "app"), _decision(HookGuard.timeout_policy), may_block=True),
    "penstock_admission_policy": Hook(("endpoint", "app"), _decision(HookGuard.admission_policy), may_block=True),
    "penstock_acceptor": Hook(("endpoint", "app"), _acceptor),
    "penstock_queue_discipline": Hook(("endpoint", "app"), _queue_discipline, arguments=0),
    "penstock_retry_policy": Hook(("endpoint", "app"), _decision(HookGuard.retry_policy), arguments=3),
    "penstock_shutdown_policy": Hook(("app",), _decision(HookGuard.shutdown_policy)),
    "penstock_observer": Hook(("app",), _observers),
    "penstock_worker_setup": Hook(("app",), _worker_setup),
    "penstock_service": Hook(("app",), _service),
    "penstock_job_store": Hook(("app",), _job_store),
    "penstock_routes": Hook(("app",), _routes, arguments=2),
    "penstock_dialects": Hook(("app",), _dialects),
    "penstock_grpc_services": Hook(("app",), _rpc_services),
    "penstock_response_headers": Hook(("app",), _decision(HookGuard.response_headers)),
    "penstock_description": Hook(("endpoint", "app"), _description),
    "penstock_cli_commands": Hook((), _commands, arguments=0),
}
"""The hooks of ``hookspecs``, by name."""
