"""The policies of endpoints (timeouts, retries, batching) and of pools (recycling): frozen, validated on creation."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypeAlias, get_args

from penstock.errors import DeclarationError
from penstock.suggestions import in_seconds

DEFAULT_DRAIN_TIMEOUT: Final = 30.0
"""The time in seconds that admitted jobs have to finish at a shutdown, unless the host or the request sets another."""

DEFAULT_START_TIMEOUT: Final = 600.0
"""The time in seconds in which a worker must become ready, imports included, unless the app sets another."""

SMALL_BODY_BYTES: Final = 1 << 16
"""Request bodies up to this size are small: bounded by their number alone, validated at once, and sent ahead."""

_UNITS: Final = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_SIZE: Final = re.compile(r"(\d{1,18}) ?([a-z]*)", re.ASCII)


def size_in_bytes(text: str) -> int:
    """Return the size that a person wrote: ``1048576``, ``64KiB``, ``16MiB``, ``4GiB``.

    Raises
    ------
    ValueError
        If it is not a positive whole number of a known unit.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or match[2] not in _UNITS or int(match[1]) < 1:
        raise ValueError(f"{text!r} is not a size; write bytes as in 1048576, 64KiB or 16MiB")
    return int(match[1]) * _UNITS[match[2]]


def _require_seconds(owner: object, name: str, value: Any, *, optional: bool) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise DeclarationError(f"{type(owner).__name__}({name}={value!r}): use a number of seconds{in_seconds(value)}")
    if value < 0:
        raise DeclarationError(f"{type(owner).__name__}({name}={value!r}): seconds cannot be negative")
    if math.isinf(value):
        fix = "use None for no limit" if optional else "use a finite number of seconds"
        raise DeclarationError(f"{type(owner).__name__}({name}={value!r}): {fix}")


def _require_count(owner: object, name: str, value: Any, *, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DeclarationError(f"{type(owner).__name__}({name}={value!r}): use an integer of at least {least}")


def _require_number(owner: object, name: str, value: Any, *, least: float) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not least <= value < math.inf:
        raise DeclarationError(f"{type(owner).__name__}({name}={value!r}): use a number of at least {least:g}")


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Limits on each part of a job, in seconds; None means no limit.

    ``total`` counts from the first byte of the request, ``queue`` from its last, ``execution`` and ``first_chunk`` from
    the start of an attempt, ``idle`` from the last chunk of a stream, and ``grace`` from the interrupt of an attempt.

    Raises
    ------
    DeclarationError
        If a value is negative, infinite or not a number.
    """

    queue: float | None = 30.0
    """The time from arrival until an attempt starts."""
    execution: float | None = 300.0
    """The time of one attempt, from its start to its last result."""
    total: float | None = None
    """The time from arrival to the last byte, including retries."""
    first_chunk: float | None = None
    """The time from the start of an attempt to the first chunk of a stream.

    Where nothing in the declaration shows that the endpoint streams, it applies once an iterator has been returned.
    """
    idle: float | None = 60.0
    """The time between two chunks of a stream, and the time for which a client may leave any response unread."""
    grace: float = 2.0
    """The time from the interrupt of an attempt to the kill of its worker. Never None: a slot would stay stuck."""

    def __post_init__(self) -> None:
        for field in fields(self):
            _require_seconds(self, field.name, getattr(self, field.name), optional=field.name != "grace")


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """The wait of a failed job before its next attempt: random, and on average longer after each failure.

    Each wait is drawn uniformly from 0 to ``ceiling``, which begins at ``base`` seconds, grows by ``factor`` with each
    failure, and stops at ``cap`` seconds. This is the "full jitter" of Marc Brooker's "Exponential Backoff And Jitter"
    (AWS Architecture Blog, 2015): jobs that failed together do not come back together.

    Raises
    ------
    DeclarationError
        If a value is not a number, a wait is negative, or the factor is below 1.
    """

    base: float = 0.1
    """The longest wait after the first failure, in seconds."""
    factor: float = 2.0
    """The growth of the longest wait with each failure."""
    cap: float = 10.0
    """The limit of the longest wait, in seconds."""

    def __post_init__(self) -> None:
        _require_seconds(self, "base", self.base, optional=False)
        _require_number(self, "factor", self.factor, least=1.0)
        _require_seconds(self, "cap", self.cap, optional=False)

    def ceiling(self, failures: int) -> float:
        """Return the longest wait, in seconds, after this number of failures, which is at least 1."""
        try:
            return min(self.cap, self.base * self.factor ** (failures - 1))
        except OverflowError:  # the power is too large for a float, and so beyond the cap
            return self.cap if self.base else 0.0


@dataclass(frozen=True, kw_only=True)
class RetryBudget:
    """A limit on the retries of all jobs of an endpoint, so that a failing model is not overloaded by retries.

    It is a token bucket. Each admitted job adds ``ratio`` tokens, which expire after about ten seconds. Each retry
    takes one token; while the bucket is empty, there are no retries. This is Finagle's ``RetryBudget``, with a
    ``floor`` in place of its rate.

    Raises
    ------
    DeclarationError
        If the ratio or the floor is negative, or the floor is not an integer.
    """

    ratio: float = 0.2
    """The tokens per job: the share of jobs that may be retried when all of them fail."""
    floor: int = 10
    """The tokens that are always available: at the start, and again ten seconds after they were spent.

    They let an endpoint with little traffic retry at all. The floor in force is never lower than the number of jobs of
    two full workers, so that a crash does not cost a job its retry.
    """

    def __post_init__(self) -> None:
        _require_number(self, "ratio", self.ratio, least=0.0)
        _require_count(self, "floor", self.floor, least=0)


@dataclass(frozen=True, kw_only=True)
class Retries:
    """The conditions under which a job is attempted again.

    A job whose worker was lost is attempted again at once, if its endpoint is idempotent. A job whose code raised
    ``Retryable`` is attempted again after a wait; so is one whose code raised an exception listed in ``on``, if the
    endpoint is idempotent. A job is never attempted again once a chunk has been delivered, if the wait would end after
    its deadline, or after two workers have died while running it. ``max_attempts`` limits the attempts of one job,
    ``budget`` the retries of all jobs.

    Raises
    ------
    DeclarationError
        If a value is of the wrong type, or ``max_attempts`` is below 1.
    """

    max_attempts: int = 2
    """The number of attempts, including the first; 1 turns retries off."""
    on: type[Exception] | tuple[type[Exception], ...] = ()
    """The exception, or a tuple of exceptions, that the user's code raises for a temporary reason."""
    backoff: Backoff | None = Backoff()
    """The wait before the next attempt, unless ``Retryable`` sets it; None: attempt again at once."""
    budget: RetryBudget | None = RetryBudget()
    """The limit on the retries of the whole endpoint; None: no limit."""

    def __post_init__(self) -> None:
        _require_count(self, "max_attempts", self.max_attempts)
        object.__setattr__(self, "on", _exceptions(self.on))
        for name, kind in (("backoff", Backoff), ("budget", RetryBudget)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise DeclarationError(f"Retries({name}={value!r}): use {name}={kind.__name__}(), or None")


def _exceptions(on: Any) -> tuple[type[Exception], ...]:
    classes = on if isinstance(on, tuple) else (on,)
    for cls in classes:
        if not isinstance(cls, type) or not issubclass(cls, Exception):
            raise DeclarationError(
                f"Retries(on={on!r}): {cls!r} is not an exception class; write on=(ConnectionError,)"
            )
    return classes


@dataclass(frozen=True, kw_only=True)
class Batching:
    """Gathering of requests into batches of up to ``max_size``, each passed to one call of the handler.

    Raises
    ------
    DeclarationError
        If ``max_size`` is not an integer of at least 1, or ``max_wait`` is negative, infinite or not a number.
    """

    max_size: int
    """The largest number of jobs in a batch."""
    max_wait: float = 0.005
    """The time that the first job of a batch may wait for others, in seconds."""

    def __post_init__(self) -> None:
        _require_count(self, "max_size", self.max_size)
        _require_seconds(self, "max_wait", self.max_wait, optional=False)


OnLost: TypeAlias = Literal["retry", "fail"]
"""The fate of a background job whose engine has died while it ran the job."""


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Background jobs of an endpoint: they are stored, and run when there is room, whether or not a client waits.

    It takes effect where the plug-in ``jobs`` has a store. Without one, the endpoint serves direct calls as ever.

    Raises
    ------
    DeclarationError
        If a value is of the wrong type or out of its range.
    """

    concurrency: int | None = None
    """The number of background jobs that one engine runs at a time; None: as many as there are spare slots."""
    global_concurrency: int | None = None
    """The number that all engines of the store run together at a time; None: no limit."""
    max_queued: int = 100_000
    """The number of queued jobs at which new ones are refused."""
    max_claims: int = 2
    """The number of engines that may die while they run a job, and of its runs after failures that may be temporary."""
    lease: float = 30.0
    """The time in seconds without a sign of life after which an engine on another host is taken for dead.

    The longest lease of all endpoints is that of the engine.
    """
    result_ttl: float = 86_400.0
    """The time in seconds for which request and result are kept after the end."""
    record_ttl: float = 604_800.0
    """The time in seconds for which the record of the job is kept after the end."""
    on_lost: OnLost | None = None
    """The fate of a job whose engine has died: ``"retry"``, or ``"fail"``. Default: ``"retry"`` if it is idempotent."""

    def __post_init__(self) -> None:
        for name in ("concurrency", "global_concurrency"):
            if getattr(self, name) is not None:
                _require_count(self, name, getattr(self, name))
        for name in ("max_queued", "max_claims"):
            _require_count(self, name, getattr(self, name))
        _require_number(self, "lease", self.lease, least=1.0)
        for name in ("result_ttl", "record_ttl"):
            _require_seconds(self, name, getattr(self, name), optional=False)
        if self.result_ttl > self.record_ttl:
            raise DeclarationError(
                f"Jobs(result_ttl={self.result_ttl!r}, record_ttl={self.record_ttl!r}): a result cannot outlive its "
                "record; raise record_ttl"
            )
        if self.on_lost is not None and self.on_lost not in get_args(OnLost):
            raise DeclarationError(f"Jobs(on_lost={self.on_lost!r}): use 'retry' or 'fail'")


@dataclass(frozen=True, kw_only=True)
class Recycle:
    """The conditions under which a worker is replaced by a new one, although it has not failed.

    One worker of the pool is replaced at a time. The new worker is ready before the old one finishes its attempts and
    exits, unless the memory is too small for both. A worker that is not to be trusted, after an interrupt or a failed
    check, gets no more work from the moment at which its replacement starts.

    ``attempts`` and ``age`` are upper limits. Each worker draws its own limit from the upper fifth below them, so that
    the workers of a pool, which have started together, are not all due together.

    Raises
    ------
    DeclarationError
        If a value is of the wrong type or not positive, or if no condition is set.
    """

    attempts: int | None = None
    """The number of attempts that a worker runs at most, give or take those that it runs while it is replaced."""
    age: float | None = None
    """The time in seconds for which a worker is used at most, from when it is ready."""
    memory: int | str | None = None
    """The memory that a worker and its child processes may use, in bytes or as in ``"4GiB"``.

    It is their proportional set size: pages that several processes share count in part for each. A worker that exceeds
    its limit by a gigabyte, or by the limit itself if that is more, is killed.
    """
    after_interrupt: bool = False
    """True if the state of a model cannot be trusted after user code was interrupted."""
    check: float | None = None
    """The interval in seconds at which the ``check`` methods of the pool's models are called; None: never.

    A check fails by raising an exception, or by returning False. It is called between attempts; where a worker runs
    several at a time, beside them.
    """

    def __post_init__(self) -> None:
        if self.attempts is not None:
            _require_count(self, "attempts", self.attempts)
        for name in ("age", "check"):
            _require_seconds(self, name, getattr(self, name), optional=True)
            if getattr(self, name) == 0:
                raise DeclarationError(f"Recycle({name}=0): use a number of seconds above 0, or None")
        if not isinstance(self.after_interrupt, bool):
            raise DeclarationError(f"Recycle(after_interrupt={self.after_interrupt!r}): use True or False")
        if isinstance(self.memory, str):
            try:
                object.__setattr__(self, "memory", size_in_bytes(self.memory))
            except ValueError as error:
                raise DeclarationError(f"Recycle(memory={self.memory!r}): {error}") from None
        elif self.memory is not None:
            _require_count(self, "memory", self.memory)
        if not any(getattr(self, field.name) for field in fields(self)):
            raise DeclarationError("Recycle(): set a condition, for instance Recycle(attempts=10_000)")

    @property
    def memory_bytes(self) -> int | None:
        """``memory`` in bytes."""
        assert not isinstance(self.memory, str)  # it was converted at the start
        return self.memory
