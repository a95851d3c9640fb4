"""Calls: a call is a job as its caller holds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol
from uuid import uuid4

from penstock.app import Endpoint
from penstock.body_files import Body
from penstock.engine.reactors.reactor import Callback, Reactor
from penstock.hooks.services import OnReport
from penstock.hooks.submission import Submission
from penstock.scheduler import Attempt, Job, Lane


class CallHost(Protocol):
    """The owner of calls of one kind: what they ask of the engine, or of the connection to it."""

    @property
    def reactor(self) -> Reactor:
        """The loop of the caller."""

    def cancel(self, call: Any, reason: str) -> None:
        """Cancel the job of a call that has no outcome."""

    def taken(self, call: Any, count: int, size_bytes: int) -> None:
        """Record that the caller has taken chunks, so that their sender may send more."""


class _AtOnce:
    """An awaitable that completes immediately."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


AT_ONCE = _AtOnce()
"""The wait for what is there already."""


_NONE_OF_ITS_OWN: tuple[str, ...] = ()  # by a name, so that type checkers accept what its subclasses have slots for


class HeldCall:
    """The part of a call that its caller uses, whichever process its engine is in.

    The classes that have it have the attributes: two bases with slots of their own could not be combined.

    Attributes
    ----------
    outcome:
        None while the job is undecided; then an ``Encoded`` result or a ``PenstockError``. The outcome of a finished
        stream has an empty body.
    on_progress:
        Called whenever there is an outcome or a chunk; None if the caller does not wait.
    owed_bytes:
        The size of chunks that were taken and that their sender has not been credited for. Only the host writes it.
    """

    __slots__ = _NONE_OF_ITS_OWN
    _host: CallHost
    _chunks: list[bytes]
    _untaken_bytes: int
    outcome: Any
    on_progress: Callable[[], None] | None
    owed_bytes: int

    def wait(self) -> Awaitable[None]:
        """Return an awaitable that completes at an outcome or a chunk. Cancelling the wait does not cancel the job."""
        if self.outcome is not None or self._chunks:
            return AT_ONCE
        return self._host.reactor.park(self._register)

    def _register(self, wake: Callback) -> None:
        self.on_progress = wake

    @property
    def untaken_bytes(self) -> int:
        """The size of the chunks that there are to take."""
        return self._untaken_bytes

    @property
    def has_chunks(self) -> bool:
        """True if there are chunks to take; there may be some even after the outcome."""
        return bool(self._chunks)

    def take(self, limit_bytes: int | None = None) -> list[bytes]:
        """Return the chunks that have arrived since the last call, each an encoded value, and let the worker send more.

        Parameters
        ----------
        limit_bytes:
            Stop after the chunk that reaches this size. Taking little at a time shows that a slow reader reads.
        """
        count, size_bytes = len(self._chunks), self._untaken_bytes
        if limit_bytes is not None and size_bytes > limit_bytes:
            count, size_bytes = reaching(limit_bytes, self._chunks)
        if not count:
            return []  # never the list that chunks are still appended to
        taken, self._chunks = self._chunks[:count], self._chunks[count:]
        self._untaken_bytes -= size_bytes
        self._host.taken(self, count, size_bytes)
        return taken

    def cancel(self, reason: str = "the caller cancelled") -> None:
        """Cancel the job: no caller waits for it. Harmless after the outcome."""
        if self.outcome is None:
            self._host.cancel(self, reason)

    # ---- the host's side

    def add_chunks(self, bodies: list[bytes]) -> None:
        """Append chunks that have arrived, and notify the caller."""
        self._chunks += bodies
        self._untaken_bytes += sum(map(len, bodies))
        self.notify()

    def notify(self) -> None:
        """Notify the caller that there is an outcome or a chunk."""
        if self.on_progress is not None:
            self.on_progress()


class Call(HeldCall, Job):
    """One submitted job, with its body, its chunks and its submission. Used on the engine's own thread.

    Parameters
    ----------
    host:
        The owner of the call.
    lane:
        The endpoint's lane.
    submission:
        The request as its policies have left it.
    body:
        The undecoded request body; kept until the job is answered, because the job may have to run again. Its file, if
        it has one, is closed then.
    headers:
        The request's headers for the handler's context, names in lower case.
    on_report:
        Called with each progress report; None if the caller does not listen.

    Attributes
    ----------
    endpoint:
        The endpoint that is called.
    head:
        The response without its body, an ``Encoded``, once the job is known to be answered in chunks; otherwise None.
    outcome, on_progress:
        As for every ``HeldCall``.
    reports:
        The number of progress reports that have arrived.
    owed_bytes:
        The same. It belongs to one attempt: a job whose chunks a caller has seen is never run again.
    """

    __slots__ = (
        "_chunks",
        "_host",
        "_job_id",
        "_untaken_bytes",
        "body",
        "endpoint",
        "headers",
        "on_progress",
        "on_report",
        "owed_bytes",
        "reports",
        "submission",
    )

    def __init__(
        self,
        host: CallHost,
        lane: Lane,
        submission: Submission,
        body: Body,
        *,
        headers: dict[str, str] | None = None,
        on_report: OnReport | None = None,
    ) -> None:
        super().__init__(
            lane,
            submission.timeouts,
            len(body),
            priority=submission.rank,
            share=submission.share,
            items=1 if submission.input_form is None else submission.input_form.items,
        )
        self._host = host
        self._chunks: list[bytes] = []
        self._untaken_bytes = 0
        self.owed_bytes = 0
        self.submission = submission
        self.endpoint: Endpoint = submission.endpoint  # type: ignore[assignment] # a route never becomes a job
        self.body: Body = body
        self.headers = headers
        self.on_progress: Callable[[], None] | None = None
        self.on_report = on_report
        self.reports = 0

    def __repr__(self) -> str:
        return f"<Call {self.request_id} of {self.lane.name}: {self.state}>"

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self.submission.request_id

    @property
    def job_id(self) -> str:
        """The job's own id, the same for all of its attempts. Few handlers ask for it, so it is made on demand."""
        try:
            return self._job_id
        except AttributeError:
            self._job_id: str = self.submission.job_id or uuid4().hex
            return self._job_id

    @property
    def principal(self) -> str | None:
        """The caller's name, or None for an anonymous caller."""
        principal = self.submission.principal
        return None if principal is None else principal.name

    @property
    def uncredited_bytes(self) -> int:
        """The size of the chunks that have arrived and that the worker has not been credited for."""
        return self._untaken_bytes + self.owed_bytes

    # ---- the engine's side

    def close(self) -> None:
        """Release the body, now that there is an outcome, and notify the caller."""
        self.body = b""
        self.notify()


def call_of(attempt: Attempt) -> Call:
    """Return the call of an attempt's first job: an engine submits nothing else."""
    call = attempt.jobs[0]
    assert type(call) is Call
    return call


def takes_files(job: Job) -> bool:
    """Return whether the caller of a job takes a large result as an ``Encoded`` whose body is a ``BodyFile``."""
    assert type(job) is Call
    return job.submission.takes_files


def reaching(limit_bytes: int, chunks: list[bytes]) -> tuple[int, int]:
    """Return the number of first chunks that reach the limit, and their size."""
    size_bytes = 0
    for count, chunk in enumerate(chunks, 1):
        size_bytes += len(chunk)
        if size_bytes >= limit_bytes:
            return count, size_bytes
    return len(chunks), size_bytes
