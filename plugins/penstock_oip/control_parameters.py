"""The parameters of a request that are for the server: its deadline, its priority, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from penstock.hooks import Priority
from penstock_chat import refuse
from penstock_oip.served_models import ServedModel

_MICROSECOND: Final = 1e-6
_SEQUENCE: Final = ("sequence_id", "sequence_start", "sequence_end")


def timeout_of(parameters: Mapping[str, Any]) -> float | None:
    """Return the ``timeout`` of a request, which is in microseconds, in seconds; None if there is none.

    Raises
    ------
    InvalidRequest
        If it is not a whole number, or below 0.
    """
    timeout = parameters.get("timeout")
    if timeout is None:
        return None
    if type(timeout) is not int or timeout < 0:
        refuse("parameters.timeout", "it is a whole number of microseconds, 0 or more")
    return min(timeout, 1 << 60) * _MICROSECOND or None


def priority_of(parameters: Mapping[str, Any]) -> Priority | None:
    """Return the ``priority`` of a request: 1 is the most urgent, 0 says nothing, and above 2 comes what can wait.

    Raises
    ------
    InvalidRequest
        If it is not a whole number, or below 0.
    """
    priority = parameters.get("priority")
    if priority is None:
        return None
    if type(priority) is not int or priority < 0:
        refuse("parameters.priority", "it is a whole number, 0 or more")
    if priority > 2:
        return "batch"
    return (None, "interactive", "normal")[priority]


def refuse_sequences(parameters: Mapping[str, Any]) -> None:
    """Refuse a request that is part of a sequence.

    Raises
    ------
    InvalidRequest
        If it is: the requests of a sequence need one worker that keeps its state, and any worker may get a request.
    """
    for name in _SEQUENCE:
        if parameters.get(name):
            refuse(f"parameters.{name}", "sequences are not supported: models keep no state between requests")


def plain_values(model: ServedModel, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that the handler takes. Clients add some of their own, and nulls, which are ignored.

    Raises
    ------
    InvalidRequest
        If one is missing.
    """
    for name, is_required in model.plain.items():
        if is_required and parameters.get(name) is None:
            refuse(f"parameters.{name}", "it is missing")
    return {name: parameters[name] for name in model.plain if parameters.get(name) is not None}
