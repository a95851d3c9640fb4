"""Checks of a generation loop: a class whose ``step`` answers many jobs together, each of them in a slot."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from penstock.app import declaration
from penstock.errors import DeclarationError

_SLOT = ("slot", "_slot")
_METHODS = {
    "admit": "`def admit(self, slot: int, ...)`, which begins a job",
    "step": "`def step(self, slots: list[int])`, which returns a chunk for any of these slots",
    "release": "`def release(self, slot: int)`, which forgets a job that has ended, at whatever point",
}
_PASSED = {"step": "the list of slots", "release": "the slot"}


def is_loop(handler: Any, *, max_slots: int | None) -> bool:
    """Return whether a handler is a generation loop, or is declared as one."""
    if max_slots is not None:
        return True
    return (
        inspect.isclass(handler) and hasattr(handler, "admit") and hasattr(handler, "step") and not _predicts(handler)
    )


def require_loop_options(owner: str, *, max_slots: Any, concurrency: int, batching: object) -> None:
    """Raise ``DeclarationError`` if ``max_slots`` is not a number of slots, or stands beside what it replaces."""
    if max_slots is None:
        return
    declaration.require_counts(owner, max_slots=max_slots)
    for option, is_set in (("concurrency", concurrency != 1), ("batching", batching is not None)):
        if is_set:
            raise DeclarationError(
                f"{owner}: {option}= cannot be combined with max_slots=, which is the number of jobs that step() "
                f"advances together; remove {option}="
            )


def inspect_loop(handler: Any, *, owner: str, max_slots: int | None) -> declaration.HandlerKind:
    """Return how a generation loop is called.

    Raises
    ------
    DeclarationError
        If it is not a class with usable ``admit``, ``step`` and ``release``, or if ``max_slots`` is missing.
    """
    if not inspect.isclass(handler):
        raise DeclarationError(
            f"{owner}: max_slots= is for a class with admit(), step() and release(); for other handlers, use "
            "concurrency= to run several at a time, or batching="
        )
    if _predicts(handler):
        raise DeclarationError(
            f"{owner}: max_slots= is for a class with admit(), step() and release(), but {handler.__name__} has "
            "predict(); remove max_slots=, or write a class of its own for the loop"
        )
    if max_slots is None:
        raise DeclarationError(
            f"{owner}: {handler.__name__} has admit() and step(), but there is no max_slots=; give the number of jobs "
            "that step() advances together, for instance max_slots=16"
        )
    admit, step, release = (_loop_method(handler, name, owner) for name in ("admit", "step", "release"))
    _require_slot(admit, handler, owner)
    declaration.require_usable_class(handler, owner)
    is_async = any(inspect.iscoroutinefunction(method) for method in (admit, step, release))
    return declaration.HandlerKind(admit, is_class=True, is_async=is_async, is_stream=True, step=step)


def _predicts(handler: Any) -> bool:
    return hasattr(handler, "predict")


def _loop_method(cls: type, name: str, owner: str) -> Callable[..., Any]:
    method = declaration.method_of(cls, name, owner)
    if method is None:
        raise DeclarationError(f"{owner}: the class {cls.__name__} has no {name}(); define {_METHODS[name]}")
    if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
        raise DeclarationError(f"{owner}: {cls.__name__}.{name} yields, so its body would never run; use return")
    _require_one_argument(method, f"{owner}: {cls.__name__}.{name}", name)
    return method


def _require_one_argument(method: Callable[..., Any], subject: str, name: str) -> None:
    if name not in _PASSED:
        return
    try:
        inspect.signature(method).bind(None)
    except TypeError as error:
        raise DeclarationError(
            f"{subject} is passed {_PASSED[name]} and nothing else ({error}); write {_METHODS[name]}"
        ) from None


def _require_slot(admit: Callable[..., Any], cls: type, owner: str) -> None:
    """Check that the first parameter of ``admit`` is the slot, and not a field of the body that would be lost."""
    names = list(inspect.signature(admit).parameters)
    if not names or names[0] not in _SLOT:
        rest = ", ".join(["slot: int", *names])
        raise DeclarationError(
            f"{owner}: the first parameter of {cls.__name__}.admit is the number of a slot; write "
            f"`def admit(self, {rest})`"
        )
