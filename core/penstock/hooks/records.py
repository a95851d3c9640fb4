"""What has happened, for observers: frozen records, past tense.

Each is made only if somebody observes its type. Durations are in seconds; a worker is named like ``default/0``.
"""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The root of all records."""


class JobAnswered(Record, frozen=True, kw_only=True, gc=False):
    """A job has its outcome; or there will be none, because it was refused.

    Attributes
    ----------
    code:
        ``ok``, or the code of the error: ``queue-full``, ``handler-error``, ``cancelled`` for a client that hung up.
    attempts:
        How often it was begun; 0 if never.
    queue_seconds:
        From its arrival to the start of its latest attempt, or to the answer if it never started.
    execution_seconds:
        In the user's code, in its latest attempt; None if it never started.
    first_chunk_seconds:
        Of a stream, from the start of the attempt to its first chunk; None if there was none.
    """

    endpoint: str
    request_id: str
    code: str
    principal: str | None = None
    attempts: int = 0
    queue_seconds: float = 0.0
    execution_seconds: float | None = None
    first_chunk_seconds: float | None = None


class RequestAnswered(Record, frozen=True, kw_only=True, gc=False):
    """An exchange is over: the response has been handed to the server, or its client has gone (status 499).

    Attributes
    ----------
    endpoint:
        The name of the endpoint or the route; "" for a path where nothing is.
    code:
        ``ok``, or the code of the error.
    seconds:
        From the first look at the request to the last byte that was handed on.
    attempts, queue_seconds, execution_seconds:
        Of its job; 0 and None where there was none.
    """

    endpoint: str
    request_id: str
    method: str
    path: str
    status: int
    code: str
    seconds: float
    principal: str | None = None
    address: str = ""
    attempts: int = 0
    queue_seconds: float | None = None
    execution_seconds: float | None = None


class AttemptEnded(Record, frozen=True, kw_only=True, gc=False):
    """There is no more to come of an attempt: its worker has said the last word, or is gone.

    Attributes
    ----------
    jobs:
        How many there were in it: the size of the batch, or 1.
    useful:
        How many of them somebody still waited for; 0 where the worker is gone.
    seconds:
        In the user's code; where the worker is gone, since its start.
    """

    endpoint: str
    worker: str
    jobs: int
    useful: int
    seconds: float


class AttemptInterrupted(Record, frozen=True, kw_only=True, gc=False):
    """Nobody waited for an attempt any more, and its worker was asked to stop it."""

    endpoint: str
    worker: str
    request_id: str
    why: str


class RetryScheduled(Record, frozen=True, kw_only=True, gc=False):
    """A job has failed, and will be tried again after ``delay``. ``attempt`` is the one that failed, from 1."""

    endpoint: str
    request_id: str
    attempt: int
    delay: float
    code: str


class WorkerReady(Record, frozen=True, kw_only=True, gc=False):
    """A worker has set up its models."""

    worker: str
    pool: str
    seconds: float


class WorkerLost(Record, frozen=True, kw_only=True, gc=False):
    """A worker's process has ended by itself."""

    worker: str
    pool: str
    reason: str


class WorkerKilled(Record, frozen=True, kw_only=True, gc=False):
    """A worker was killed, because code in it did not stop."""

    worker: str
    pool: str
    reason: str


class WorkerRestarted(Record, frozen=True, kw_only=True, gc=False):
    """A worker will be replaced, after ``delay``."""

    worker: str
    pool: str
    delay: float


class DrainStarted(Record, frozen=True, kw_only=True, gc=False):
    """The engine takes nothing new any more, and has ``seconds`` for ``jobs`` that it has admitted."""

    who: str
    why: str
    seconds: float
    jobs: int


class JobAbandoned(Record, frozen=True, kw_only=True, gc=False):
    """A job was still unanswered at the end of the drain's time, and was stopped."""

    endpoint: str
    request_id: str
    principal: str | None
    state: str


class DrainEnded(Record, frozen=True, kw_only=True, gc=False):
    """Nothing is left: no job and no process. ``finished`` and ``abandoned`` count the jobs since the drain started."""

    who: str
    why: str
    seconds: float
    finished: int
    abandoned: int


class HookFailed(Record, frozen=True, kw_only=True, gc=False):
    """A callable of a plug-in has raised. ``plugin`` is its name, ``hook`` the hook that it came from."""

    plugin: str
    hook: str
    error: str


class ShutdownRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to shut the engine down.

    Parameters
    ----------
    drain:
        Seconds for what has been admitted, as it was asked for.
    who:
        Such as ``SIGTERM``, a principal's name, ``the program``.
    why:
        One sentence for the audit log, or "".
    """

    drain: float
    who: str = "the program"
    why: str = ""
