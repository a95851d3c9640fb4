"""What an endpoint promises: time-outs, retries, batching. Frozen, and validated once, where they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from penstock.errors import DeclarationError


def _require_seconds(owner: object, name: str, value: Any, *, optional: bool) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise DeclarationError(f"{type(owner).__name__}({name}={value!r}): give seconds as a number")
    if value < 0:
        raise DeclarationError(f"{type(owner).__name__}({name}={value!r}): seconds cannot be negative")
    if math.isinf(value):
        raise DeclarationError(f"{type(owner).__name__}({name}={value!r}): write None for no limit")


def _require_count(owner: object, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DeclarationError(f"{type(owner).__name__}({name}={value!r}): give a whole number of 1 or more")


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long each part of a job may take, in seconds; ``None`` is unbounded.

    Parameters
    ----------
    queue:
        From arrival until an attempt starts.
    execution:
        One attempt, from start to its last result.
    total:
        From arrival to the last byte, retries included.
    first_chunk:
        From the start of an attempt to the first chunk of a stream.
    idle:
        Between two chunks of a stream, and for a client that does not read the chunks it is sent.
    grace:
        From the interrupt of an attempt to the kill of its worker. Never unbounded: that would be a stuck slot.

    Raises
    ------
    DeclarationError
        For a negative, infinite or non-numeric value.
    """

    queue: float | None = 30.0
    execution: float | None = 300.0
    total: float | None = None
    first_chunk: float | None = None
    idle: float | None = 60.0
    grace: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            _require_seconds(self, field.name, getattr(self, field.name), optional=field.name != "grace")


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often a job is tried.

    Parameters
    ----------
    max_attempts:
        Tries in all, the first included; 1 turns retries off. Work of a lost worker is tried again while this and the
        deadline allow; whatever this says, a job that has seen two workers die is not tried a third time.
    """

    max_attempts: int = 2

    def __post_init__(self) -> None:
        _require_count(self, "max_attempts", self.max_attempts)


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How requests are gathered into one call.

    Parameters
    ----------
    max_size:
        Most jobs in one batch.
    max_wait:
        Seconds that the first job of a batch may wait for company.
    """

    max_size: int
    max_wait: float = 0.005

    def __post_init__(self) -> None:
        _require_count(self, "max_size", self.max_size)
        _require_seconds(self, "max_wait", self.max_wait, optional=False)
