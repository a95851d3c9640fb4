"""Apps that are sent to the workers by value, because there is no module from which these could import them.

That is so at a prompt, in a notebook, and for an app that is created inside a function. The declarations are pickled by
cloudpickle, and repeated in the worker: handlers and classes of ``__main__`` travel as code, and everything else as the
name of a module that both can import.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import pickle
import tempfile
import typing
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any, Literal, TypeAlias

from penstock.app.app import App
from penstock.app.endpoints import Endpoint, Pool
from penstock.app.value_pickling import value_dumps
from penstock.errors import EngineError

Ship: TypeAlias = Literal["import", "pickle"]

PREFIX = "pickle:"
"""In front of the path of a shipment, in a target."""

_APP_OPTIONS = ("nan", "start_method", "start_timeout")
_POOL_FACTS = tuple(field.name for field in dataclasses.fields(Pool) if field.name != "endpoints")
_ENDPOINT_OPTIONS = tuple(name for name in inspect.signature(App.endpoint).parameters if name != "self")


class ShippedApp:
    """A pickled app, and its target, which is valid until ``close``. Close it after the engine.

    Where there is a ``/proc``, nothing of it is on disk, and nothing is left of it however the program ends.

    Parameters
    ----------
    app:
        The app. It accepts no further endpoints.

    Raises
    ------
    EngineError
        If cloudpickle is not installed, or something that the handlers use cannot be pickled: the message names it.
    """

    def __init__(self, app: App) -> None:
        app.freeze()
        content = _pickled(app)
        if hasattr(os, "memfd_create"):
            self._file: typing.IO[bytes] = os.fdopen(os.memfd_create("penstock-app"), "wb")
            path = f"/proc/{os.getpid()}/fd/{self._file.fileno()}"
        else:
            self._file = tempfile.NamedTemporaryFile(prefix="penstock-app-")  # noqa: SIM115 - see `close`
            path = self._file.name
        self._file.write(content)
        self._file.flush()
        self.target = PREFIX + path

    def close(self) -> None:
        """Free it. Idempotent."""
        self._file.close()


def unpack(target: str) -> App:
    """Return the app of a target, in a worker."""
    with open(target.removeprefix(PREFIX), "rb") as file:  # noqa: PTH123 - a descriptor's path, which may be no file's
        shipment = pickle.load(file)  # noqa: S301 - it is the engine's own, which has started this process
    app = App(shipment["import_name"], **shipment["options"])
    for options, handler, hints in shipment["endpoints"]:
        for function, resolved in hints:
            function.__annotations__ = resolved
        app.endpoint(**options)(handler)
    for name, facts in shipment["pools"].items():
        app.pools[name] = dataclasses.replace(app.pools[name], **facts)
    app.source_files = shipment["source_files"]  # they were read where the app was declared
    return app


# ---- pickling


def _pickled(app: App) -> bytes:
    try:
        dumps = value_dumps()
    except ImportError:
        raise EngineError(
            'ship="pickle" needs cloudpickle: install it with `pip install "penstock[notebook]"`, or move the app to a '
            "module"
        ) from None
    shipment = {
        "import_name": app.import_name,
        "options": {name: getattr(app, name) for name in _APP_OPTIONS},
        "source_files": app.source_files,
        "endpoints": [_declaration(endpoint) for endpoint in app.endpoints],
        # Endpoints imply their pools, but not all that was declared about these.
        "pools": {name: {fact: getattr(pool, fact) for fact in _POOL_FACTS} for name, pool in app.pools.items()},
    }
    try:
        return dumps(shipment)
    except Exception as error:  # `__reduce__` of a user's object may raise anything
        raise EngineError(f'the app cannot be shipped with ship="pickle": {_reason(app, dumps, error)}') from error


def _declaration(endpoint: Endpoint) -> tuple[dict[str, Any], Callable[..., Any], list[tuple[Any, dict[str, Any]]]]:
    options = {name: getattr(endpoint, name) for name in _ENDPOINT_OPTIONS}
    return options, endpoint.handler, [(function, _hints(function)) for function in _functions(endpoint.handler)]


def _functions(handler: Any) -> Iterator[FunctionType]:
    """Yield the functions of a handler whose annotations are read; those of other modules are imported again."""
    found = vars(handler).values() if inspect.isclass(handler) else [handler]
    for value in found:
        function = inspect.unwrap(getattr(value, "__func__", value)) if callable(value) or _is_method(value) else None
        if isinstance(function, FunctionType):
            yield function


def _is_method(value: Any) -> bool:
    return isinstance(value, (staticmethod, classmethod))


def _hints(function: FunctionType) -> dict[str, Any]:
    """Return the annotations of a function, resolved here: a pickled function knows no names that only these use."""
    resolved = {}
    for name, annotation in function.__annotations__.items():
        try:
            resolved[name] = typing.get_type_hints(
                _Annotated(name, annotation), function.__globals__, include_extras=True
            )[name]
        except Exception:  # the worker will say which one it cannot read, if it needs it
            resolved[name] = annotation
    return resolved


class _Annotated:
    """An object with one annotation, for ``typing.get_type_hints``."""

    def __init__(self, name: str, annotation: Any) -> None:
        self.__annotations__ = {name: annotation}


# ---- the reason why it failed


def _reason(app: App, dumps: Callable[[Any], bytes], error: Exception) -> str:
    for endpoint in app.endpoints:
        names = [name for name, value in _used(endpoint.handler) if not _can_be_pickled(value, dumps)]
        if names:
            return (
                f"endpoint {endpoint.name!r} uses {', '.join(sorted(set(names)))}, which cannot be pickled "
                f"({error}); create it in setup(), or in a module that the workers can import"
            )
        if not _can_be_pickled(endpoint.handler, dumps):
            return f"the handler of endpoint {endpoint.name!r} cannot be pickled ({error})"
    return str(error)


def _used(handler: Any) -> Iterator[tuple[str, Any]]:
    """Yield the global, enclosing and class variables that a handler uses, with their values."""
    if inspect.isclass(handler):
        yield from ((f"{handler.__name__}.{name}", value) for name, value in _plain_attributes(handler).items())
    for function in _functions(handler):
        variables = inspect.getclosurevars(function)
        yield from [*variables.globals.items(), *variables.nonlocals.items()]
        defaults = inspect.signature(function).parameters.values()
        yield from ((p.name, p.default) for p in defaults if p.default is not p.empty)


def _plain_attributes(cls: type) -> Mapping[str, Any]:
    return {
        name: value
        for name, value in vars(cls).items()
        if not (name.startswith("__") or callable(value) or _is_method(value))
    }


def _can_be_pickled(value: Any, dumps: Callable[[Any], bytes]) -> bool:
    try:
        dumps(value)
    except Exception:  # see `_pickled`
        return False
    return True
