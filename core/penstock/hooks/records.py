"""Frozen records of what happens, for observers and policies.

A ``Record`` reports an event, in the past tense, and is created only if an observer asked for its type. A
``ShutdownRequest`` is not a record: it is a request that the shutdown policy decides.

Durations are in seconds; a worker is named like ``default/0``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from penstock.wire import Trace


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The base class of all records."""


# ---- requests and jobs


class RequestAnswered(Record, frozen=True, kw_only=True, gc=False):
    """An exchange has ended: the response was handed to the server, or the client disconnected (status 499).

    Attributes
    ----------
    endpoint:
        The name of the endpoint or route; "" if the path matched neither.
    code:
        ``ok``, or the code of the error.
    seconds:
        From the first look at the request until its last byte was handed on.
    attempts, queue_seconds, execution_seconds:
        As in the job's ``JobAnswered``; 0 and None if there was no job.
    began:
        The instant from which ``seconds`` counts, by ``time.monotonic``.
    trace:
        The request's place in a distributed trace; None if it has none.
    route:
        The declared path, with its variables; "" if the path matched none. It may be that of a dialect's operation.
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
    began: float = 0.0
    trace: Trace | None = None
    route: str = ""


class JobAnswered(Record, frozen=True, kw_only=True, gc=False):
    """A job has its outcome, or was refused and will never have one.

    Attributes
    ----------
    code:
        ``ok``, or the code of the error: ``queue-full``, ``handler-error``, ``cancelled`` for a client that hung up.
    attempts:
        The number of attempts that were started.
    queue_seconds:
        From the job's arrival to the start of its latest attempt, or to the answer if it never started.
    execution_seconds:
        Time in user code during the latest attempt; None if the job never started.
    first_chunk_seconds:
        For a stream, from the start of the attempt to its first chunk; None if there was no chunk.
    """

    endpoint: str
    request_id: str
    code: str
    principal: str | None = None
    attempts: int = 0
    queue_seconds: float = 0.0
    execution_seconds: float | None = None
    first_chunk_seconds: float | None = None


class TracedAttempt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt of a job, in a ``JobTraced``.

    Attributes
    ----------
    number:
        Its number, from 1. ``Trace.attempt_id`` returns its span.
    worker:
        The worker that ran it.
    attempt_id:
        The engine's number for it, which the jobs of a batch share.
    started, ended:
        Instants of ``time.monotonic``: its start, and the instant from which the job no longer waited for it.
    code:
        ``ok``, or the code of the error with which it ended for this job.
    retry_delay:
        The delay of the next attempt; None if the job was answered, or if it was not charged for this attempt.
    batch:
        The place of the batch in a trace of its own; None if the endpoint does not batch.
    """

    number: int
    worker: str
    attempt_id: int
    started: float
    ended: float
    code: str
    retry_delay: float | None = None
    batch: Trace | None = None


class JobTraced(Record, frozen=True, kw_only=True, gc=False):
    """A job whose request is sampled has its outcome.

    Attributes
    ----------
    trace:
        The request's place in its trace.
    code:
        As in ``JobAnswered``.
    arrived, answered:
        Instants of ``time.monotonic``.
    attempts:
        The attempts, in their order.
    first_chunk:
        For a stream, the instant of its first chunk; None if there was no chunk.
    chunks:
        The number of chunks.
    queue_seconds, execution_seconds:
        As in ``JobAnswered``.
    """

    endpoint: str
    request_id: str
    trace: Trace
    code: str
    arrived: float
    answered: float
    attempts: Sequence[TracedAttempt] = ()
    first_chunk: float | None = None
    chunks: int = 0
    queue_seconds: float = 0.0
    execution_seconds: float | None = None


class BatchTraced(Record, frozen=True, kw_only=True, gc=False):
    """A batch with at least one job whose request is sampled has ended, or its worker is gone.

    Attributes
    ----------
    trace:
        The place of the batch, in a trace of its own.
    attempt_id:
        The engine's number for it, as in ``TracedAttempt``.
    started, ended:
        Instants of ``time.monotonic``.
    jobs, useful, seconds:
        As in ``AttemptEnded``.
    members:
        The place of each job's attempt, for those jobs that are sampled.
    """

    endpoint: str
    worker: str
    trace: Trace
    attempt_id: int
    started: float
    ended: float
    jobs: int
    useful: int
    seconds: float
    members: Sequence[Trace] = ()


class JobsCounted(Record, frozen=True, kw_only=True, gc=False):
    """Many jobs of an endpoint have been answered since the last such record, which costs next to nothing for each.

    It comes after a few hundred answers, before the status page is made, which includes a call of ``engine.status()``,
    and when the engine has drained.

    Attributes
    ----------
    codes:
        The number of answered and refused jobs by ``ok`` or the code of the error.
    queue_seconds, execution_seconds, first_chunk_seconds:
        The times of those jobs, in no order, as in ``JobAnswered``. Each list holds the jobs that have such a time.
    useful_seconds, wasted_seconds:
        The time of attempts in user code, by whether a caller still waited. If some callers of a batch have left, their
        share of its time is wasted; if its worker is gone, so is all the time since the attempt started.
    batch_sizes:
        The number of attempts by the number of their jobs; empty for endpoints without batching.
    """

    endpoint: str
    codes: Mapping[str, int]
    queue_seconds: Sequence[float] = ()
    execution_seconds: Sequence[float] = ()
    first_chunk_seconds: Sequence[float] = ()
    useful_seconds: float = 0.0
    wasted_seconds: float = 0.0
    batch_sizes: Mapping[int, int] = {}


class AttemptInterrupted(Record, frozen=True, kw_only=True, gc=False):
    """No caller was waiting for an attempt any more, and its worker was asked to stop it."""

    endpoint: str
    worker: str
    request_id: str
    why: str


class AttemptEnded(Record, frozen=True, kw_only=True, gc=False):
    """An attempt has ended: its worker sent the last message about it, or is gone.

    Attributes
    ----------
    jobs:
        The number of jobs in the attempt: the size of the batch, or 1.
    useful:
        The number of those jobs that still had a caller; 0 if the worker is gone.
    seconds:
        Time in user code; if the worker is gone, the time since the attempt started.
    """

    endpoint: str
    worker: str
    jobs: int
    useful: int
    seconds: float


class JobProgressed(Record, frozen=True, kw_only=True, gc=False):
    """A handler has reported how far its job has come: see ``Context.progress``.

    Attributes
    ----------
    job_id:
        The job's own id.
    attempt:
        The number of the attempt, from 1. A later attempt may begin again from nothing.
    done, total:
        Amounts in a unit of the handler's own; the total is None if it is not known.
    message:
        A few words about the present step, or None.
    """

    endpoint: str
    request_id: str
    job_id: str
    attempt: int
    done: float
    total: float | None = None
    message: str | None = None


class RetryScheduled(Record, frozen=True, kw_only=True, gc=False):
    """A job has failed and will be retried after ``delay``. ``attempt`` is the one that failed, counted from 1."""

    endpoint: str
    request_id: str
    attempt: int
    delay: float
    code: str


# ---- workers


class WorkerReady(Record, frozen=True, kw_only=True, gc=False):
    """A worker has set up its models."""

    worker: str
    pool: str
    seconds: float


class WorkerDied(Record, frozen=True, kw_only=True, gc=False):
    """A worker process has exited by itself."""

    worker: str
    pool: str
    reason: str


WorkerLost = WorkerDied  # the older name, kept for plug-ins; it clashes with the error penstock.errors.WorkerLost


class WorkerKilled(Record, frozen=True, kw_only=True, gc=False):
    """A worker was killed because code in it did not stop, or broke the protocol."""

    worker: str
    pool: str
    reason: str


class WorkerRestarted(Record, frozen=True, kw_only=True, gc=False):
    """A worker will be replaced after ``delay``."""

    worker: str
    pool: str
    delay: float


class WorkerRecycled(Record, frozen=True, kw_only=True, gc=False):
    """A worker that has not failed is replaced by a new one.

    Attributes
    ----------
    reason:
        ``attempts``, ``age``, ``memory``, ``interrupt`` or ``check``: the condition of the pool's ``Recycle`` policy.
    """

    worker: str
    pool: str
    reason: str


# ---- shutting down


class ShutdownRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to shut the engine down.

    Parameters
    ----------
    drain:
        The seconds that were asked for, in which admitted jobs may finish.
    who:
        The origin of the request, such as ``SIGTERM``, a principal's name, or ``the program``.
    why:
        One sentence for the audit log, or "".
    """

    drain: float
    who: str = "the program"
    why: str = ""


class DrainStarted(Record, frozen=True, kw_only=True, gc=False):
    """The engine has stopped accepting work, and has ``seconds`` to finish the ``jobs`` it has admitted."""

    who: str
    why: str
    seconds: float
    jobs: int


class JobAbandoned(Record, frozen=True, kw_only=True, gc=False):
    """A job was still unanswered when the drain's time was up, and was stopped."""

    endpoint: str
    request_id: str
    principal: str | None
    state: str


class DrainEnded(Record, frozen=True, kw_only=True, gc=False):
    """No job and no process is left. ``finished`` and ``abandoned`` count the jobs since the drain started."""

    who: str
    why: str
    seconds: float
    finished: int
    abandoned: int


# ---- plug-ins


class HookFailed(Record, frozen=True, kw_only=True, gc=False):
    """A plug-in's callable has raised. ``plugin`` is the name of the plug-in, ``hook`` the hook that returned it."""

    plugin: str
    hook: str
    error: str
