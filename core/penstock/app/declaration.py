"""What is looked at when an endpoint is declared, so that a mistake is told at import, with its mend."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from penstock.errors import DeclarationError
from penstock.policies import Batching, Retries, Timeouts

RUNTIMES = ("trio", "asyncio")
RESERVED_PATHS = ("/livez", "/readyz", "/metrics")
RESERVED_PREFIX = "/-"

_UNFIT_IN_PATH = re.compile(r"[\s{}?#%\\\x00-\x1f\x7f]|//")


# ---- handlers


@dataclass(frozen=True)
class HandlerKind:
    """What sort of handler it is. ``predict`` is the callable that takes the input, bound if it is a method."""

    predict: Callable[..., Any]
    is_class: bool
    is_async: bool
    is_stream: bool


def look_at_handler(handler: Any, *, owner: str, batched: bool) -> HandlerKind:
    """Find out how a handler is called.

    Raises
    ------
    DeclarationError
        If it is neither a function nor a class with a usable ``predict``, or a generator that is to take batches.
    """
    predict = _predict_of(handler, owner)
    is_async = inspect.iscoroutinefunction(predict) or inspect.isasyncgenfunction(predict)
    is_stream = inspect.isgeneratorfunction(predict) or inspect.isasyncgenfunction(predict)
    if batched and is_stream:
        raise DeclarationError(f"{owner}: batching and `yield` do not go together; leave one of them away")
    return HandlerKind(predict, inspect.isclass(handler), is_async, is_stream)


def _predict_of(handler: Any, owner: str) -> Callable[..., Any]:
    if inspect.isfunction(handler) or inspect.ismethod(handler):
        return handler
    if not inspect.isclass(handler):
        raise DeclarationError(
            f"{owner}: {handler!r} is neither a function nor a class; write a `def` that calls it, or a class with "
            "setup() and predict() (the class itself, not an instance: each worker makes its own)"
        )
    predict = _method(handler, "predict", owner)
    if predict is None:
        raise DeclarationError(f"{owner}: the class {handler.__name__} has no predict(); define it")
    _require_constructible(handler, owner)
    _require_setup_and_teardown(handler, owner)
    return predict


def _method(cls: type, name: str, owner: str) -> Callable[..., Any] | None:
    """A method as an instance would have it, `self` taken away; there is no instance yet to ask."""
    found = inspect.getattr_static(cls, name, None)
    if found is None:
        return None
    if isinstance(found, (staticmethod, classmethod)):
        method: Callable[..., Any] = found.__get__(None, cls)
        return method
    if inspect.isfunction(found):
        return found.__get__(cls)  # bound to the class for want of an instance: only the signature is read
    raise DeclarationError(f"{owner}: {cls.__name__}.{name} is {found!r}, not a method; write `def {name}(self, ...)`")


def _require_constructible(cls: type, owner: str) -> None:
    if inspect.isabstract(cls):
        raise DeclarationError(f"{owner}: the class {cls.__name__} is abstract; define its abstract methods")
    required = _required_parameters(cls)
    if required:
        raise DeclarationError(
            f"{owner}: {cls.__name__}() demands {', '.join(required)}, and workers make it without arguments; give "
            "defaults, or load what it needs in setup()"
        )


def _require_setup_and_teardown(cls: type, owner: str) -> None:
    for name, taken, most in (("setup", "one argument, the device", 1), ("teardown", "no argument", 0)):
        method = _method(cls, name, owner)
        if method is None:
            continue
        if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
            raise DeclarationError(f"{owner}: {cls.__name__}.{name} yields, and would never run; use return")
        required = _required_parameters(method)
        if len(required) > most:
            raise DeclarationError(
                f"{owner}: {cls.__name__}.{name} demands {', '.join(required)}; it is given {taken} at most"
            )


def _required_parameters(function: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C, and silent about it: the worker will see
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]


def local_names(handler: Any, frame: FrameType) -> Mapping[str, Any]:
    """Names that postponed annotations of a handler may use besides its module's.

    Those are the locals of the function that declares it, if it was written there, and of its own class body.
    """
    written_there = getattr(handler, "__module__", None) == frame.f_globals.get("__name__")
    names = dict(frame.f_locals) if written_there and frame.f_locals is not frame.f_globals else {}
    if inspect.isclass(handler):
        names.update(vars(handler))
    return names


def caller_frame(depth: int) -> FrameType:
    """The frame ``depth`` calls above the one that asks."""
    return sys._getframe(depth + 1)


# ---- options


def require_import_name(import_name: Any) -> None:
    """Refuse anything but a module's name."""
    if not isinstance(import_name, str) or not import_name:
        raise DeclarationError(f"App({import_name!r}): write App(__name__)")


def name_of(path: Any, name: Any) -> str:
    """The name of an endpoint, once its path and the name, if one is given, are found fit.

    Raises
    ------
    DeclarationError
        For a path that cannot be routed to or that Penstock answers itself, and for a name that would not stand in a
        log line or in a command.
    """
    _require_path(path)
    if name is None:
        return path.removeprefix("/") or "root"
    if not _is_word(name):
        raise DeclarationError(f"endpoint at {path!r}: name={name!r}; give a non-empty str without spaces")
    return str(name)


def _require_path(path: Any) -> None:
    if not isinstance(path, str):
        raise DeclarationError(
            f'endpoint: {path!r} is not a path; write @app.endpoint("/{getattr(path, "__name__", "path")}")'
        )
    owner = f"endpoint at {path!r}"
    if not path.startswith("/"):
        raise DeclarationError(f"{owner}: a path starts with a slash; write {'/' + path!r}")
    unfit = _UNFIT_IN_PATH.search(path)
    if unfit:
        raise DeclarationError(f"{owner}: {unfit[0]!r} cannot be in a path; values go into the body, as parameters")
    if path in RESERVED_PATHS or path == RESERVED_PREFIX or path.startswith(RESERVED_PREFIX + "/"):
        raise DeclarationError(f"{owner}: this path is Penstock's own; choose another")


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable() and " " not in value


def require_counts(owner: str, **options: Any) -> None:
    """Refuse anything but whole numbers of 1 or more."""
    for option, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DeclarationError(f"{owner}: {option}={value!r}; give a whole number of 1 or more")


def require_policies(owner: str, *, timeouts: Any, retries: Any, batching: Any) -> None:
    """Refuse a bare number, or a dict, where a policy belongs."""
    for option, value, kind, mend in (
        ("timeouts", timeouts, Timeouts, "Timeouts(execution=10)"),
        ("retries", retries, Retries, "Retries(max_attempts=3)"),
        ("batching", batching, Batching | None, "Batching(max_size=32)"),
    ):
        if not isinstance(value, kind):
            raise DeclarationError(f"{owner}: {option}={value!r}; write {option}={mend}")


def require_choices(owner: str, *, idempotent: Any, runtime: Any, pool: Any) -> None:
    """Refuse a flag that is none, a runtime that there is not, a pool without a proper name."""
    if not isinstance(idempotent, bool):
        raise DeclarationError(f"{owner}: idempotent={idempotent!r}; give True or False")
    if runtime is not None and runtime not in RUNTIMES:
        raise DeclarationError(f"{owner}: runtime={runtime!r}; give one of {', '.join(map(repr, RUNTIMES))}")
    if pool is not None and not _is_word(pool):
        raise DeclarationError(f"{owner}: pool={pool!r}; give a non-empty str without spaces")


def device_names(owner: str, devices: Any) -> tuple[str, ...] | None:
    """The devices as a tuple; a lone str is a slip, as its letters would be taken for devices."""
    if devices is None:
        return None
    if isinstance(devices, str):
        raise DeclarationError(f"{owner}: devices={devices!r}; give a list, devices=[{devices!r}]")
    if not isinstance(devices, Sequence) or not devices or not all(isinstance(d, str) and d for d in devices):
        raise DeclarationError(f"{owner}: devices={devices!r}; give a list of names, or leave it away")
    return tuple(devices)
