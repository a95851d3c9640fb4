"""Checks that run when an endpoint is declared; mistakes surface at import, with a fix."""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Literal, get_args

from penstock.app.dialect_offers import DialectOffer
from penstock.app.endpoints import Endpoint, Method, Runtime, StartMethod
from penstock.app.path_templates import variables_of
from penstock.errors import DeclarationError
from penstock.policies import Batching, Jobs, Retries, Timeouts

RESERVED_PATHS = ("/livez", "/readyz", "/metrics")
RESERVED_PREFIX = "/-"

_UNFIT_IN_PATH = re.compile(r"[\s?#%\\\x00-\x1f\x7f\ud800-\udfff]|//")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:\s*;[\x20-\x7e]*)?", re.ASCII)


# Names of the first parameter of a method. Any other is most likely a field, and `self` was forgotten.
_SELF = ("self", "_self", "this", "_")


# ---- handlers


@dataclass(frozen=True)
class HandlerKind:
    """The facts about a handler that decide how it is called."""

    predict: Callable[..., Any]
    """The callable that takes the input, bound if it is a method."""
    is_class: bool
    is_async: bool
    is_stream: bool
    step: Callable[..., Any] | None = None
    """For a generation loop, its ``step``, whose annotation has the type of a chunk; ``predict`` is its ``admit``."""


def inspect_handler(handler: Any, *, owner: str, batched: bool) -> HandlerKind:
    """Return how a handler is called.

    Raises
    ------
    DeclarationError
        If it is neither a function nor a class with a usable ``predict``, or if it is a generator and ``batched``.
    """
    predict = _predict_of(handler, owner)
    is_async = inspect.iscoroutinefunction(predict) or inspect.isasyncgenfunction(predict)
    is_stream = inspect.isgeneratorfunction(predict) or inspect.isasyncgenfunction(predict)
    if batched and is_stream:
        raise DeclarationError(f"{owner}: batching cannot be combined with `yield`; remove one of them")
    return HandlerKind(predict, inspect.isclass(handler), is_async, is_stream)


def with_returned_stream(
    kind: HandlerKind, stream: Literal["sync", "async"] | None, *, owner: str, batched: bool
) -> HandlerKind:
    """Return the kind of a handler that may return an iterator instead of yielding: then it streams, too.

    Whatever returns an iterator streams. But of these handlers it is known before the first request.
    """
    if stream is None:
        return kind
    if batched:
        raise DeclarationError(f"{owner}: batching cannot be combined with a stream; return a list")
    return replace(kind, is_stream=True, is_async=kind.is_async or stream == "async")


def require_http_options(owner: str, *, media_type: Any, dialects: Any) -> None:
    """Raise ``DeclarationError`` unless these are a media type, or None, and a sequence of dialects."""
    _require_media_type(owner, media_type)
    _require_dialects(owner, dialects)


def _require_media_type(owner: str, media_type: Any) -> None:
    """Raise ``DeclarationError`` unless ``media_type`` is None or a media type, perhaps with parameters."""
    if media_type is not None and (not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type)):
        raise DeclarationError(
            f'{owner}: media_type={media_type!r} is not a media type; write for instance media_type="audio/wav"'
        )


def _require_dialects(owner: str, dialects: Any) -> None:
    """Raise ``DeclarationError`` unless ``dialects`` is a sequence of dialects, names of such, and offers."""
    is_sequence = isinstance(dialects, Sequence) and not isinstance(dialects, str)
    for given in dialects if is_sequence else [dialects]:
        if not is_sequence or not (isinstance(given, (str, DialectOffer)) or hasattr(given, "operations")):
            raise DeclarationError(
                f"{owner}: dialects={dialects!r} is not a list of dialects; write for instance "
                'dialects=["openai"], or give it a penstock.hooks.Dialect'
            )


def require_fitting_offers(endpoint: Endpoint) -> None:
    """Have each of an endpoint's offers check it; they raise ``DeclarationError``."""
    for given in endpoint.dialects:
        if isinstance(given, DialectOffer):
            given.check(endpoint)


def _predict_of(handler: Any, owner: str) -> Callable[..., Any]:
    if inspect.isfunction(handler) or inspect.ismethod(handler):
        return handler
    if not inspect.isclass(handler):
        raise DeclarationError(
            f"{owner}: {handler!r} is neither a function nor a class; write a `def` that calls it, or a class with "
            "setup() and predict() (the class itself, not an instance: each worker creates its own)"
        )
    predict = method_of(handler, "predict", owner)
    if predict is None:
        raise DeclarationError(f"{owner}: the class {handler.__name__} has no predict(); define one")
    require_usable_class(handler, owner)
    return predict


def require_usable_class(cls: type, owner: str) -> None:
    """Raise ``DeclarationError`` unless workers can create an instance of a class, set it up and tear it down."""
    _require_constructible(cls, owner)
    _require_setup_and_teardown(cls, owner)


def method_of(cls: type, name: str, owner: str) -> Callable[..., Any] | None:
    """Return a method as an instance would have it, without ``self``, or None; there is no instance yet."""
    found = inspect.getattr_static(cls, name, None)
    if found is None:
        return None
    if isinstance(found, (staticmethod, classmethod)):
        method: Callable[..., Any] = found.__get__(None, cls)
        return method
    if inspect.isfunction(found):
        _require_self(found, cls, owner)
        return found.__get__(cls)  # bound to the class, for lack of an instance: only the signature is read
    raise DeclarationError(f"{owner}: {cls.__name__}.{name} is {found!r}, not a method; write `def {name}(self, ...)`")


def _require_self(function: Callable[..., Any], cls: type, owner: str) -> None:
    """Check that the first parameter of a method is ``self``, and not a field of the body that would be lost."""
    names = list(inspect.signature(function).parameters.values())
    if names and (names[0].kind is names[0].VAR_POSITIONAL or names[0].name in _SELF):
        return
    rest = f", {names[0].name}" if names else ""
    raise DeclarationError(
        f"{owner}: {cls.__name__}.{function.__name__} has no self: write "
        f"`def {function.__name__}(self{rest}{', ...' if len(names) > 1 else ''})`, or make it a @staticmethod"
    )


def _require_constructible(cls: type, owner: str) -> None:
    if inspect.isabstract(cls):
        raise DeclarationError(f"{owner}: the class {cls.__name__} is abstract; implement its abstract methods")
    required = required_parameters(cls)
    if required:
        raise DeclarationError(
            f"{owner}: {cls.__name__}() requires {', '.join(required)}, but workers call it without arguments; add "
            "defaults, or load what it needs in setup()"
        )


def _require_setup_and_teardown(cls: type, owner: str) -> None:
    for name, passed, most in (("setup", "at most one argument, the device", 1), ("teardown", "no arguments", 0)):
        method = method_of(cls, name, owner)
        if method is None:
            continue
        if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
            raise DeclarationError(f"{owner}: {cls.__name__}.{name} yields, so its body would never run; use return")
        required = required_parameters(method)
        if len(required) > most:
            raise DeclarationError(
                f"{owner}: {cls.__name__}.{name} requires {', '.join(required)}, but is passed {passed}; add defaults"
            )


def required_parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters that a call must pass."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C, without a signature: the worker will find out
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]


def local_names(handler: Any, frame: FrameType) -> Mapping[str, Any]:
    """Return the names that a handler's postponed annotations may use, besides those of its module.

    They are the locals of the function that declares the handler, if it was defined there, and the names of the
    handler's own class body.
    """
    defined_there = getattr(handler, "__module__", None) == frame.f_globals.get("__name__")
    names = dict(frame.f_locals) if defined_there and frame.f_locals is not frame.f_globals else {}
    if inspect.isclass(handler):
        names.update(vars(handler))
    return names


def caller_frame(depth: int) -> FrameType:
    """Return the frame ``depth`` calls above the caller of this function."""
    return sys._getframe(depth + 1)


# ---- options


def require_names(import_name: Any, *, title: Any, version: Any) -> None:
    """Raise ``DeclarationError`` unless ``import_name`` can be a module's name, and the others are text."""
    if not isinstance(import_name, str) or not import_name:
        raise DeclarationError(f"App({import_name!r}): the argument is not a module's name; write App(__name__)")
    for option, value in {"title": title, "version": version}.items():
        if not (isinstance(value, str) and value) and (option, value) != ("title", None):
            raise DeclarationError(f"App: {option}={value!r} is not a text; write one, or leave it out")


def require_app_options(*, nan: Any, start_method: Any, start_timeout: Any) -> None:
    """Raise ``DeclarationError`` for an unknown choice, or a time that is not a positive number or None."""
    require_choice("App", nan=nan, choices=("error", "null"))
    require_choice("App", start_method=start_method, choices=get_args(StartMethod))
    if start_timeout is None:
        return
    is_number = isinstance(start_timeout, (int, float)) and not isinstance(start_timeout, bool)
    if not is_number or not 0 < start_timeout < math.inf:
        raise DeclarationError(
            f"App(start_timeout={start_timeout!r}): use a number of seconds above 0, or None for no limit"
        )


def name_of(path: Any, name: Any) -> str:
    """Return the name of an endpoint, after checking its path and its ``name=``, if it has one.

    Raises
    ------
    DeclarationError
        For a path that cannot be routed to or that Penstock serves itself, and for a name that would break a log line
        or a command.
    """
    _require_path(path)
    if name is None:
        return path.removeprefix("/") or "root"
    if not _is_word(name):
        raise DeclarationError(f"endpoint at {path!r}: name={name!r} is invalid; use a non-empty str without spaces")
    return str(name)


def _require_path(path: Any) -> None:
    if not isinstance(path, str):
        raise DeclarationError(
            f'endpoint: {path!r} is not a path; write @app.endpoint("/{getattr(path, "__name__", "path")}")'
        )
    owner = f"endpoint at {path!r}"
    if not path.startswith("/"):
        raise DeclarationError(f"{owner}: a path must start with a slash; write {'/' + path!r}")
    unfit = _UNFIT_IN_PATH.search(path)
    if unfit:
        raise DeclarationError(
            f"{owner}: a path cannot contain {unfit[0]!r}; values go in the body, as parameters, or in a {{variable}}"
        )
    variables_of(path, owner)
    if path in RESERVED_PATHS or path == RESERVED_PREFIX or path.startswith(RESERVED_PREFIX + "/"):
        raise DeclarationError(f"{owner}: this path is reserved by Penstock; choose another")


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable() and " " not in value


def require_counts(owner: str, **options: Any) -> None:
    """Raise ``DeclarationError`` unless each option is an integer of at least 1."""
    for option, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DeclarationError(f"{owner}: {option}={value!r} is invalid; use an integer of at least 1")


def require_policies(owner: str, *, timeouts: Any, retries: Any, batching: Any, jobs: Any = None) -> None:
    """Raise ``DeclarationError`` if a bare number, or a dict, stands in place of a policy."""
    for option, value, kind, fix in (
        ("timeouts", timeouts, Timeouts, "Timeouts(execution=10)"),
        ("retries", retries, Retries, "Retries(max_attempts=3)"),
        ("batching", batching, Batching | None, "Batching(max_size=32)"),
        ("jobs", jobs, Jobs | None, "Jobs(concurrency=2)"),
    ):
        if not isinstance(value, kind):
            raise DeclarationError(f"{owner}: {option}={value!r} is not a policy; write {option}={fix}")


def with_fate(jobs: Jobs, *, idempotent: bool) -> Jobs:
    """Return the policy with the fate of lost jobs filled in: those that must not run twice fail."""
    if jobs.on_lost is not None:
        return jobs
    return replace(jobs, on_lost="retry" if idempotent else "fail")


def require_choices(
    owner: str, method: Any = "POST", *, idempotent: Any, runtime: Any, pool: Any, preload: Any
) -> None:
    """Raise ``DeclarationError`` for an unknown method or runtime, a flag that is not a bool, or a bad pool name."""
    require_choice(owner, method=method, choices=get_args(Method))
    for flag, value in (("idempotent", idempotent), ("preload", False if preload is None else preload)):
        if not isinstance(value, bool):
            raise DeclarationError(f"{owner}: {flag}={value!r} is not a bool; use True or False")
    runtimes = get_args(Runtime)
    if runtime is not None and runtime not in runtimes:
        raise DeclarationError(f"{owner}: runtime={runtime!r} is unknown; use {' or '.join(map(repr, runtimes))}")
    if pool is not None and not _is_word(pool):
        raise DeclarationError(f"{owner}: pool={pool!r} is invalid; use a non-empty str without spaces")


def require_choice(owner: str, *, choices: Sequence[str], **options: Any) -> None:
    """Raise ``DeclarationError`` unless each option is one of the choices."""
    for option, value in options.items():
        if value not in choices:
            *others, last = map(repr, choices)
            raise DeclarationError(f"{owner}: {option}={value!r} is unknown; use {', '.join(others)} or {last}")


def require_use_of_devices(owner: str, handler: Any, devices: Sequence[str] | None) -> None:
    """Raise ``DeclarationError`` if there are devices, but the class has no ``setup`` that takes one."""
    if devices is None or not inspect.isclass(handler):
        return
    setup = method_of(handler, "setup", owner)
    if setup is None or not inspect.signature(setup).parameters:
        kind = f"the setup of {handler.__name__} does not take one" if setup else "there is no setup() to take one"
        raise DeclarationError(
            f"{owner}: devices={list(devices)!r} would have no effect, because {kind}; write "
            "`def setup(self, device: str)`, or use workers="
        )


def device_names(owner: str, devices: Any) -> tuple[str, ...] | None:
    """Return the devices as a tuple. A lone str is an error: each of its letters would count as a device."""
    if devices is None:
        return None
    if isinstance(devices, str):
        raise DeclarationError(f"{owner}: devices={devices!r} is a str, not a list; write devices=[{devices!r}]")
    if not isinstance(devices, Sequence) or not devices or not all(isinstance(d, str) and d for d in devices):
        raise DeclarationError(f"{owner}: devices={devices!r} is invalid; use a list of names, or leave it out")
    return tuple(devices)
