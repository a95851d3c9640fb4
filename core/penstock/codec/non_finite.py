"""NaN and infinities, which JSON does not have, in a value that has been encoded.

msgspec writes them without a word: as ``null``, as the text ``"nan"`` where they are keys, and a Decimal as ``"NaN"``.
"""

from __future__ import annotations

import decimal
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from penstock.codec.plain_forms import simplified
from penstock.codec.pydantic_output import raw_values
from penstock.codec.pydantic_types import is_pydantic


def find_non_finite(value: Any, body: bytes) -> str | None:
    """Return the first NaN or infinity in a value and its path, such as ``nan at $.a``, or None if there is none.

    Parameters
    ----------
    value:
        The value.
    body:
        The JSON that msgspec has made of it. Nearly all need no search.
    """
    return _search(value) if _is_suspicious(body) else None


def _is_suspicious(body: bytes) -> bool:
    if len(body) < _LARGE:
        return b"null" in body or b'nan":' in body or b'inf":' in body or b'NaN"' in body or b'Infinity"' in body
    # Nothing after the last quotation mark can be a key or text: long arrays of numbers are searched only once.
    end = body.rfind(b'"') + 2
    return _search_null(body) is not None or any(search(body, 0, end) is not None for search in _SEARCHES)


# From about this size on, a search for a literal pattern takes half the time of ``in``.
_LARGE = 4096
_search_null = re.compile(rb"null").search
_SEARCHES = [re.compile(sign).search for sign in (rb'nan":', rb'inf":', rb'NaN"', rb'Infinity"')]


def _search(value: Any) -> str | None:
    try:
        plain = _to_builtins(value, enc_hook=_raw)
    except Exception:  # a model may hold types that only pydantic supports
        plain = _to_builtins(value, enc_hook=simplified)
    try:
        json.dumps(plain, allow_nan=False, default=float)  # much faster than the search, and most have only a null
    except (TypeError, ValueError):
        return next(_non_finite(plain, "$"), None)
    return None


def _to_builtins(value: Any, **options: Any) -> Any:
    return msgspec.to_builtins(value, builtin_types=(decimal.Decimal,), **options)


def _raw(value: Any) -> Any:
    """Return what ``simplified`` does, but a model as it is in Python: in ``Any``, pydantic writes NaN as null."""
    return raw_values(value) if is_pydantic(type(value)) else simplified(value)


def _non_finite(value: Any, path: str) -> Iterator[str]:
    if _is_non_finite(value):
        yield f"{value} at {path}"
    elif isinstance(value, dict):
        for key, child in value.items():
            if _is_non_finite(key):
                yield f"the key {key} at {path}"
            yield from _non_finite(child, f"{path}.{key}")
    elif isinstance(value, list):
        for place, child in enumerate(value):
            yield from _non_finite(child, f"{path}[{place}]")


def _is_non_finite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, decimal.Decimal) and not value.is_finite()
