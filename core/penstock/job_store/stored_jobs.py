"""The records that a job store takes and returns. All are frozen. Instants are Unix seconds, durations are seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from penstock.job_store.job_states import FINAL, FinalState, JobState

OnLost: TypeAlias = Literal["retry", "fail"]
EventKind: TypeAlias = Literal["state", "progress", "chunk", "restarted"]
DeliveryState: TypeAlias = Literal["waiting", "sending", "delivered", "failed"]

AGEING_SECONDS: Final = 300.0
"""A job that has waited for this long has the rank of a new job of the next higher priority."""
EVENT_OVERHEAD_BYTES: Final = 64
"""The size of an event counts as this much more than its data."""
FINAL_EVENTS: Final = ("succeeded", "failed", "timed_out", "cancelled", "expired")


class Webhook(msgspec.Struct, frozen=True):
    """The wish to be informed of a job's events.

    Parameters
    ----------
    url:
        The address that receives them.
    events:
        Final states, ``started`` and ``progress``.
    """

    url: str
    events: tuple[str, ...] = FINAL_EVENTS


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be stored.

    Parameters
    ----------
    id:
        The job's id, unique in the store.
    is_named:
        True if the caller chose the id: the same id with the same request then stands for the same job.
    idempotency_key:
        A key of the caller's, with the same effect. Keys of different principals are different.
    request, media_type:
        The body of the request and its type.
    head:
        The rest of the request, in a form that only the engine knows.
    digest:
        The identity of the request, for the comparison of repeated ones. Default: of endpoint, type and body.
    priority:
        0 is the most urgent.
    not_before, start_by:
        The instants between which the job may start.
    timeout:
        The seconds that it may run.
    group:
        A name that jobs share, to be listed together.
    result_ttl, record_ttl:
        The seconds for which the bodies, and the record, are kept after the end.
    on_lost:
        The fate of the job if the engine that runs it dies.
    max_claims:
        The number of engines that may die while they run it. Then it fails.
    max_queued:
        The number of queued jobs of the endpoint at which it is refused.
    """

    id: str
    endpoint: str
    request: bytes = b""
    media_type: str = "application/json"
    head: bytes = b""
    digest: str = ""
    is_named: bool = False
    idempotency_key: str | None = None
    principal: str = ""
    priority: int = 2
    not_before: float | None = None
    start_by: float | None = None
    timeout: float | None = None
    group: str | None = None
    request_id: str = ""
    metadata: Mapping[str, str] = {}
    webhook: Webhook | None = None
    retry_of: str | None = None
    result_ttl: float = 86_400.0
    record_ttl: float = 604_800.0
    on_lost: OnLost = "retry"
    max_claims: int = 2
    max_queued: int = 100_000

    @property
    def identity(self) -> str:
        """The digest, computed if the caller has not."""
        if self.digest:
            return self.digest
        parts = (self.endpoint.encode(), self.media_type.encode(), self.request)
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    @property
    def size_bytes(self) -> int:
        """The size that counts against the limit of the store."""
        return self.body_bytes + sum(len(k) + len(v) for k, v in self.metadata.items())

    @property
    def body_bytes(self) -> int:
        """The size of the request."""
        return len(self.request) + len(self.head)


class JobProgress(msgspec.Struct, frozen=True):
    """A handler's report: ``done`` of ``total``, at the instant ``at``."""

    done: float
    total: float | None
    message: str | None
    at: float


class StoredJob(msgspec.Struct, frozen=True, kw_only=True):
    """The row of a job.

    Attributes
    ----------
    turn:
        The instant that decides the order of claims: of two queued jobs, the one with the earlier turn goes first. None
        while ``not_before`` is ahead.
    claim:
        The number of the latest claim, which never falls: only its holder may write.
    claims:
        The number of claims, without those whose jobs the engine has put back.
    losses:
        The number of claims whose owners have died.
    owner:
        The engine that holds the job; None unless it is running.
    started_at:
        The start of the latest attempt in a worker; None while a claimed job waits for it.
    code, error:
        The error code and the problem document of a job that failed.
    events:
        The number of events so far, which is the ``seq`` of the last one.
    has_chunks:
        True if the current run has written chunks.
    size_bytes, body_bytes:
        The size of everything that belongs to the job, and of its request and result alone.
    bodies_until, delete_after:
        The instants at which the bodies, and the record, are removed.
    """

    id: str
    endpoint: str
    principal: str
    state: JobState
    priority: int
    created_at: float
    digest: str
    idempotency_key: str | None = None
    group: str | None = None
    request_id: str = ""
    retry_of: str | None = None
    webhook: Webhook | None = None
    timeout: float | None = None
    result_ttl: float
    record_ttl: float
    on_lost: OnLost
    max_claims: int
    start_by: float | None = None
    not_before: float | None = None
    turn: float | None = None
    claim: int = 0
    claims: int = 0
    losses: int = 0
    owner: str | None = None
    cancel_requested: bool = False
    has_chunks: bool = False
    progress: JobProgress | None = None
    started_at: float | None = None
    finished_at: float | None = None
    code: str | None = None
    error: bytes | None = None
    bodies_until: float | None = None
    delete_after: float | None = None
    events: int = 0
    size_bytes: int = 0
    body_bytes: int = 0

    @property
    def is_final(self) -> bool:
        """True once the job has ended."""
        return self.state in FINAL


class ClaimKey(msgspec.Struct, frozen=True):
    """One hand-over of a job to an engine, which is what may write to it."""

    job: str
    claim: int


class JobRequest(msgspec.Struct, frozen=True):
    """The request that a job was made from, with the caller's metadata."""

    body: bytes
    media_type: str
    head: bytes
    metadata: Mapping[str, str]


class ClaimedJob(msgspec.Struct, frozen=True):
    """A job that an engine has just claimed, and all that it needs to run it."""

    job: StoredJob
    request: JobRequest

    @property
    def key(self) -> ClaimKey:
        """The key for everything that the engine reports about the job."""
        return ClaimKey(self.job.id, self.job.claim)


class JobEnding(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a job.

    Parameters
    ----------
    result, media_type, status, headers:
        The handler's response.
    code, error:
        The error code and the problem document, if it failed.
    """

    state: FinalState
    result: bytes | None = None
    media_type: str = ""
    status: int = 200
    headers: Mapping[str, str] = {}
    code: str | None = None
    error: bytes | None = None


class JobResult(msgspec.Struct, frozen=True):
    """The response of a handler, as stored."""

    body: bytes
    media_type: str
    status: int
    headers: Mapping[str, str]


class JobEvent(msgspec.Struct, frozen=True):
    """One event of a job. ``seq`` counts from 1 without a gap; the last one reports the final state.

    ``data`` is JSON, or the chunk of a stream as it was sent.
    """

    job: str
    seq: int
    kind: EventKind
    data: bytes
    at: float

    @property
    def size_bytes(self) -> int:
        """The size that counts against the limit of the store."""
        return len(self.data) + EVENT_OVERHEAD_BYTES


class ProgressReport(msgspec.Struct, frozen=True):
    """An event that an engine reports: a handler has called ``ctx.progress``."""

    done: float
    total: float | None = None
    message: str | None = None


class ChunkReport(msgspec.Struct, frozen=True):
    """An event that an engine reports: the job's stream has produced a chunk."""

    data: bytes


class JobDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way to a webhook.

    Attributes
    ----------
    id:
        The same for each time it is sent.
    claim:
        The number of the latest claim by a sender, as for jobs.
    sent:
        The number of times that it was sent.
    next_at:
        The instant from which it may be sent.
    status, error:
        The HTTP status, or the reason without one, of the last time.
    """

    id: str
    job: str
    seq: int
    event: str
    url: str
    created_at: float
    next_at: float
    state: DeliveryState = "waiting"
    owner: str | None = None
    claim: int = 0
    sent: int = 0
    status: int | None = None
    error: str | None = None

    @property
    def key(self) -> DeliveryKey:
        """The current claim."""
        return DeliveryKey(self.id, self.claim)


class DeliveryKey(msgspec.Struct, frozen=True):
    """One hand-over of a delivery to a sender, which is what may settle it."""

    delivery: str
    claim: int


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """The result of sending a delivery. ``next_at``: when to send it again; None and not delivered: never."""

    is_delivered: bool
    next_at: float | None = None
    status: int | None = None
    error: str | None = None


class StoreOwner(msgspec.Struct, frozen=True):
    """An engine that claims jobs: one incarnation of it, so a restarted engine is another one.

    ``beat`` is the instant of its last sign of life, on the clock that the store uses for leases.
    """

    id: str
    host: str = ""
    pid: int = 0
    registered_at: float = 0.0
    beat: float = 0.0


class Beat(msgspec.Struct, frozen=True):
    """The response to an engine's sign of life.

    ``is_owner``: False if the store has given its jobs away. ``cancels``: its jobs that callers want cancelled.
    """

    is_owner: bool
    cancels: tuple[ClaimKey, ...] = ()


class PutJob(msgspec.Struct, frozen=True):
    """The row of a job that a caller has put. ``is_new`` is False if it was there before."""

    job: StoredJob
    is_new: bool


class SweepResult(msgspec.Struct, frozen=True, kw_only=True):
    """The effect of a sweep: the owners that were found dead, and the ids of jobs by what became of them."""

    owners: tuple[str, ...] = ()
    queued: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    cancelled: tuple[str, ...] = ()
    expired: tuple[str, ...] = ()


class JobTally(msgspec.Struct, frozen=True):
    """The number of jobs of an endpoint in a state, and their bytes."""

    endpoint: str
    state: JobState
    jobs: int
    size_bytes: int


class StoreCounts(msgspec.Struct, frozen=True):
    """The content of a store in numbers. ``heads``: by endpoint, the creation of the job that is next in turn."""

    tallies: tuple[JobTally, ...]
    heads: Mapping[str, float]
    owners: tuple[StoreOwner, ...]
    deliveries: Mapping[DeliveryState, int]


class JobQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs to list, newest first. None: any. ``after`` is the cursor of the page before."""

    principal: str | None = None
    endpoint: str | None = None
    states: tuple[JobState, ...] = ()
    group: str | None = None
    code: str | None = None
    limit: int = 100
    after: str | None = None


class JobPage(msgspec.Struct, frozen=True):
    """Jobs, newest first. ``next_after`` is the cursor of the following page; None: there is none."""

    jobs: tuple[StoredJob, ...]
    next_after: str | None


class StoreChange(msgspec.Struct, frozen=True):
    """News of a store. None: any of them may have changed.

    ``endpoints`` have new queued jobs; ``jobs`` have new events or a new flag.
    """

    endpoints: frozenset[str] | None
    jobs: frozenset[str] | None


class StoreLimits(msgspec.Struct, frozen=True):
    """The limits of a store, at which it refuses new jobs. It never drops one.

    Results of jobs that were accepted are stored beyond ``max_bytes``.

    Parameters
    ----------
    max_jobs:
        The number of rows, of jobs that have ended too.
    max_bytes:
        The size of all requests, results and events.
    fair_window:
        The number of jobs at the head of a queue among which principals take turns.
    """

    max_jobs: int = 1_000_000
    max_bytes: int = 10 << 30
    fair_window: int = 1000


def cursor_of(job: StoredJob) -> str:
    """Return the cursor of the page after this job."""
    return f"{job.created_at!r}/{job.id}"


def parse_cursor(cursor: str) -> tuple[float, str]:
    """Return the creation and the id of the job that a cursor names.

    Raises
    ------
    ValueError
        If it is not a cursor.
    """
    instant, slash, job_id = cursor.partition("/")
    if not slash:
        raise ValueError(f"{cursor!r} is not a cursor of a list of jobs")
    return float(instant), job_id
