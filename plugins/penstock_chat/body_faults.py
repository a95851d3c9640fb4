"""Bodies that cannot be read, as errors that name the field."""

from __future__ import annotations

import re
from typing import Any, NoReturn, TypeVar

import msgspec

from penstock.errors import InvalidRequest, MalformedRequest

T = TypeVar("T", bound=msgspec.Struct)

_PLACE = re.compile(r"^(?P<reason>.*?)(?: - at `\$\.?(?P<place>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")


def read_object(body: bytes, kind: type[T]) -> tuple[T, dict[str, Any]]:
    """Return a body as a value of a struct type, and the fields that the type does not have and that are not null.

    Raises
    ------
    MalformedRequest
        If it is not JSON.
    InvalidRequest
        If its fields do not fit; the ``param`` is the first of them.
    """
    try:
        value = msgspec.json.decode(body, type=kind)
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        known = {field.encode_name for field in msgspec.structs.fields(kind)}
        others = {name: msgspec.json.decode(raw) for name, raw in fields.items() if name not in known}
    except msgspec.ValidationError as error:
        refuse_field(str(error))
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise MalformedRequest(f"The body is not JSON: {error}") from None
    return value, {name: other for name, other in others.items() if other is not None}


def encoded_input(request: object) -> bytes:
    """Return a request, or a part of one, as JSON for its handler.

    Raises
    ------
    MalformedRequest
        If a field that it passes on is nested too deeply.
    """
    try:
        return msgspec.json.encode(request)
    except RecursionError:
        raise MalformedRequest("The body is nested too deeply") from None


def refuse_field(message: str) -> NoReturn:
    """Raise ``InvalidRequest`` for a message of msgspec, which ends with the place of the fault."""
    found = _PLACE.match(message)
    reason, place = (found["reason"], found["place"] or "") if found else (message, "")
    missing = _MISSING.match(reason)
    if missing:
        place = f"{place}.{missing['name']}" if place else missing["name"]
        refuse(place, "it is missing")
    refuse(place, reason[:1].lower() + reason[1:])


def refuse(param: str, reason: str) -> NoReturn:
    """Raise ``InvalidRequest`` for a field of the body."""
    where = f"`{param}`: " if param else ""
    errors = [{"path": f"$.{param}" if param else "$", "reason": reason}]
    raise InvalidRequest(f"{where}{reason}", errors=errors, param=param or None)
