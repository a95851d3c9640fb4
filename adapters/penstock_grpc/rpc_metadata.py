"""Metadata as headers, and headers as metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

Metadata: TypeAlias = list[tuple[str, str | bytes]]

_is_key: Final = re.compile(r"[0-9a-z_.-]+").fullmatch
_is_value: Final = re.compile(r"[\x20-\x7e]*").fullmatch
_BINARY: Final = "-bin"
_RESERVED: Final = "grpc-"
_TIMEOUT_UNITS: Final = ((1e-3, "m"), (1.0, "S"), (3600.0, "H"))
_MOST_DIGITS: Final = 99_999_999


def headers_from(metadata: Iterable[tuple[str, Any]] | None, deadline: float | None) -> dict[str, str]:
    """Return the metadata of a call as headers, by lower-case name. Repeated ones are joined, as HTTP servers do.

    Parameters
    ----------
    metadata:
        The metadata that the client has sent. Binary values are left out.
    deadline:
        The seconds that are left to the call, which the library has taken out of the metadata; None if it has no
        deadline. It is put back as ``grpc-timeout``, for policies that read it.
    """
    headers: dict[str, str] = {}
    for key, value in metadata or ():
        if isinstance(value, str) and not key.endswith(_BINARY):
            headers[key] = f"{headers[key]},{value}" if key in headers else value
    if deadline is not None:
        headers["grpc-timeout"] = timeout_text(deadline)
    return headers


def timeout_text(seconds: float) -> str:
    """Return a duration as ``grpc-timeout`` has it: at most eight digits and a unit. It is never longer."""
    for unit, letter in _TIMEOUT_UNITS:
        if seconds / unit <= _MOST_DIGITS:
            return f"{int(seconds / unit)}{letter}"
    return f"{_MOST_DIGITS}H"


def encoded(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return headers as they have arrived."""
    return {name.encode(): value.encode("utf-8", "replace") for name, value in headers.items()}


def metadata_from(headers: Iterable[tuple[str, str]]) -> Metadata:
    """Return those headers of a response that may be metadata."""
    return [
        (name, value)
        for name, value in headers
        if _is_key(name) and not name.startswith(_RESERVED) and not name.endswith(_BINARY) and _is_value(value)
    ]
