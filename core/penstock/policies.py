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


def _require_count(owner: object, name: str, value: Any, *, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DeclarationError(f"{type(owner).__name__}({name}={value!r}): give a whole number of {least} or more")


def _require_number(owner: object, name: str, value: Any, *, least: float) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not least <= value < math.inf:
        raise DeclarationError(f"{type(owner).__name__}({name}={value!r}): give a number of {least:g} or more")


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
class Backoff:
    """How long a job that has failed waits for its next try: at random, and longer after each failure.

    The wait is drawn anew each time, evenly from 0 to ``ceiling``. This is the "full jitter" of Marc Brooker's
    "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): jobs that have failed together do not come back
    together.

    Parameters
    ----------
    base:
        The longest wait after the first failure, in seconds.
    factor:
        By how much that grows with each failure.
    cap:
        What it does not grow beyond, in seconds.

    Raises
    ------
    DeclarationError
        For what is no number, a negative wait, a factor below 1.
    """

    base: float = 0.1
    factor: float = 2.0
    cap: float = 10.0

    def __post_init__(self) -> None:
        _require_seconds(self, "base", self.base, optional=False)
        _require_number(self, "factor", self.factor, least=1.0)
        _require_seconds(self, "cap", self.cap, optional=False)

    def ceiling(self, failures: int) -> float:
        """The longest wait, in seconds, after so many failures: 1 or more."""
        try:
            return min(self.cap, self.base * self.factor ** (failures - 1))
        except OverflowError:  # of a float; the cap is all that is left of it
            return self.cap if self.base else 0.0


@dataclass(frozen=True, kw_only=True)
class RetryBudget:
    """How many retries an endpoint may spend in all, so that a model that fails is not retried to death.

    It is a bucket of tokens. Each job that is admitted puts some in, and what is not taken within about ten seconds is
    gone; each retry takes one out, and there is none where the bucket is empty. This is the budget of Finagle
    (``RetryBudget``), with a floor in place of its rate.

    Parameters
    ----------
    ratio:
        Tokens for each job: the share of the jobs that may be retried when all of them fail.
    floor:
        Tokens that are there in any case, to begin with and again ten seconds after they were spent, so that a quiet
        endpoint may retry at all. Never less than the jobs of two full workers: a crash takes no job's retry away.

    Raises
    ------
    DeclarationError
        For a negative ratio or floor, and for a floor that is not a whole number.
    """

    ratio: float = 0.2
    floor: int = 10

    def __post_init__(self) -> None:
        _require_number(self, "ratio", self.ratio, least=0.0)
        _require_count(self, "floor", self.floor, least=0)


@dataclass(frozen=True, kw_only=True)
class Retries:
    """Whether, when and how often a job is tried again.

    A job whose worker was lost is tried again where its endpoint is idempotent, and at once. So is, after a wait, one
    whose code has raised ``Retryable``, or, where the endpoint is idempotent, an exception that ``on`` names. Never if
    a chunk has been delivered, if the wait would last beyond the job's deadline, or if two workers have died under it.

    Parameters
    ----------
    max_attempts:
        Tries in all, the first included; 1 turns retries off.
    on:
        The exception, or a tuple of those, that the user's code may raise for no lasting reason.
    backoff:
        How long to wait before the next try, unless ``Retryable`` says how long itself. None: try again at once.
    budget:
        How many retries the endpoint may spend in all; None: as many as its jobs ask for.

    Raises
    ------
    DeclarationError
        If one of them is of another kind.
    """

    max_attempts: int = 2
    on: type[Exception] | tuple[type[Exception], ...] = ()
    backoff: Backoff | None = Backoff()
    budget: RetryBudget | None = RetryBudget()

    def __post_init__(self) -> None:
        _require_count(self, "max_attempts", self.max_attempts)
        object.__setattr__(self, "on", _exceptions(self.on))
        for name, kind in (("backoff", Backoff), ("budget", RetryBudget)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise DeclarationError(f"Retries({name}={value!r}): write {name}={kind.__name__}(), or None")


def _exceptions(on: Any) -> tuple[type[Exception], ...]:
    classes = on if isinstance(on, tuple) else (on,)
    for cls in classes:
        if not isinstance(cls, type) or not issubclass(cls, Exception):
            raise DeclarationError(f"Retries(on={on!r}): {cls!r} is no exception class; write on=(ConnectionError,)")
    return classes


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
