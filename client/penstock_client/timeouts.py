"""The time-outs of a call, by phase."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """The seconds that each phase of a call may take; None is unlimited.

    Raises
    ------
    ValueError
        If a value is negative, zero, infinite or NaN.
    """

    connect: float | None = 5.0
    """Until the connection is made, TLS included."""
    pool: float | None = 5.0
    """Until a connection of the pool is free."""
    write: float | None = 30.0
    """Until the server has taken a piece of the request."""
    first_byte: float | None = None
    """From the last byte of the request to the response."""
    idle: float | None = 60.0
    """Between two pieces of the response, whatever they contain."""
    event: float | None = None
    """Between two events of a stream. Bytes that are not an event do not count."""
    total: float | None = None
    """For the whole call: all requests, the waits between them, and the client's own limits."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
                raise ValueError(f"Timeouts({field.name}={value!r}): give seconds above 0, or None for no limit")

    @classmethod
    def simple(cls) -> Self:
        """Return time-outs for short answers: 60 seconds in total."""
        return cls(total=60.0)

    @classmethod
    def code(cls) -> Self:
        """Return time-outs for answers of some length, such as code: 3 minutes in total."""
        return cls(total=180.0)

    @classmethod
    def long(cls) -> Self:
        """Return time-outs for long texts: 10 minutes in total."""
        return cls(total=600.0)

    @classmethod
    def reasoning(cls) -> Self:
        """Return time-outs for models that think for long before they answer: 30 minutes in total, 5 without a byte."""
        return cls(idle=300.0, total=1800.0)
