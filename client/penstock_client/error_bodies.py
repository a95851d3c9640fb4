"""The bodies of errors, in every shape that servers write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_URN: Final = "urn:penstock:"


@dataclass(frozen=True)
class ErrorBody:
    """The facts that a server has written about its failure.

    Attributes
    ----------
    message:
        A sentence for a person; "" if there is none.
    title:
        A few words that say the same for every failure of this kind; "" if there are none.
    code, type:
        The names of the failure; "" without one. Without a code, the type is in its place, or Google's ``status``.
    param:
        The name of the request field at fault; "" without one.
    status:
        The status that belongs to it, if the body has one.
    faults:
        Each fault of the request, as ``{"path": "$.field", "reason": "..."}``.
    """

    message: str = ""
    title: str = ""
    code: str = ""
    type: str = ""
    param: str = ""
    status: int | None = None
    faults: tuple[Mapping[str, str], ...] = ()


def error_body_of(value: Any) -> ErrorBody:
    """Return the facts in the decoded body of an error.

    These shapes are known: ``{"error": {...}}`` and ``{"error": "text"}``, a problem document, ``{"message": ...}``,
    ``{"detail": ...}`` with a text or a list of faults, a list of one such object, and a text.
    """
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, str):
        return ErrorBody(message=value)
    if not isinstance(value, dict):
        return ErrorBody()
    nested = value.get("error")
    inner = nested if isinstance(nested, dict) else value
    faults = (*_own_faults(value), *_located_faults(value.get("detail")))
    type_ = _text(inner.get("type"))
    status = inner.get("status", inner.get("code"))
    return ErrorBody(
        message=_text(value.get("detail"))
        or _text(inner.get("message"))
        or _text(inner.get("detail"))
        or _text(nested)
        or "; ".join(f"{fault['path']}: {fault['reason']}" for fault in _located_faults(value.get("detail"))),
        title=_text(value.get("title")),
        code=_code_of(value, inner),
        type=type_.removeprefix(_URN),
        param=_text(inner.get("param")),
        status=status if isinstance(status, int) and 400 <= status < 600 else None,
        faults=faults,
    )


def _code_of(value: Mapping[str, Any], inner: Mapping[str, Any]) -> str:
    name = _text(value.get("type"))
    if name.startswith(_URN):
        return name.removeprefix(_URN)
    return _text(inner.get("code")) or _text(inner.get("type")) or _text(inner.get("status"))


def _own_faults(value: Mapping[str, Any]) -> Iterator[Mapping[str, str]]:
    faults = value.get("errors")
    yield from (fault for fault in faults if isinstance(fault, dict)) if isinstance(faults, list) else ()


def _located_faults(detail: Any) -> Iterator[Mapping[str, str]]:
    """Yield the faults as FastAPI lists them: each with its place and its reason."""
    for fault in detail if isinstance(detail, list) else ():
        if isinstance(fault, dict) and isinstance(fault.get("loc"), list) and _text(fault.get("msg")):
            place = ".".join(str(part) for part in fault["loc"] if part != "body")
            yield {"path": f"$.{place}" if place else "$", "reason": fault["msg"]}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
