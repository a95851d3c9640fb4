"""Instants as callers read and write them: RFC 3339."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any, Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = 253_402_300_799.0  # the end of the year 9999


def instant_text(at: float | None) -> str | None:
    """Return an instant in UTC, with milliseconds: ``2026-11-29T12:00:00.000Z``; None for None."""
    if at is None:
        return None
    # Not fromtimestamp(): it rounds to microseconds, and isoformat() then cuts.
    instant = _EPOCH + timedelta(milliseconds=round(min(max(at, 0.0), _LATEST) * 1000))
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_instant(value: Any) -> float:
    """Return the Unix seconds of an instant: RFC 3339 text with an offset, or Unix seconds.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        seconds = float(value)
    elif isinstance(value, str) and "T" in value.upper():
        instant = datetime.fromisoformat(value.upper())
        if instant.tzinfo is None:
            raise ValueError("no offset")
        seconds = instant.timestamp()
    else:
        raise ValueError("not an instant")
    if not 0 <= seconds <= _LATEST:
        raise ValueError("out of range")
    return seconds
