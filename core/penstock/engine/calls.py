"""A call is a job as its caller holds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING

from penstock.errors import PenstockError
from penstock.response import Encoded
from penstock.scheduler import Job

if TYPE_CHECKING:
    from penstock.app import Endpoint
    from penstock.engine.engine import Engine
    from penstock.engine.reactors.reactor import Callback
    from penstock.hooks.submission import Submission


class _AtOnce:
    """Can be awaited, and is over at once."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


_AT_ONCE = _AtOnce()


class Call:
    """One submitted job. Made by ``Engine.submit``, used in the engine's own thread.

    Attributes
    ----------
    endpoint, request_id, headers, principal:
        What is called, and what is known of the caller.
    body:
        The undecoded request; kept until the job is answered, as it may have to be run again.
    outcome:
        None while it is undecided; then what to answer, or the error. A finished stream has an outcome with no body.
    queue_seconds:
        From arrival to the start of the latest attempt, or to the answer if it never started; None until the outcome.
    execution_seconds:
        In the user's code, or until the caller was answered without waiting for it; None if it never started.
    on_progress:
        Called whenever there is an outcome or a chunk; None if nobody wants to know.
    submission:
        Whose policies want to know what becomes of it; None if none does.
    attempts:
        How often it was begun; written with the outcome.
    owed_bytes:
        Of the chunks that were taken, what the worker has not been given back as room yet. Only the engine writes it.
        It is of one attempt: a job whose chunks somebody has seen is never run again.
    """

    __slots__ = (
        "_chunks",
        "_engine",
        "_untaken_bytes",
        "attempts",
        "body",
        "endpoint",
        "execution_seconds",
        "headers",
        "job",
        "on_progress",
        "outcome",
        "owed_bytes",
        "principal",
        "queue_seconds",
        "request_id",
        "submission",
    )

    def __init__(
        self,
        engine: Engine,
        endpoint: Endpoint,
        body: bytes,
        *,
        request_id: str,
        headers: dict[str, str] | None,
        principal: str | None,
    ) -> None:
        self._engine = engine
        self._chunks: list[bytes] = []
        self._untaken_bytes = 0
        self.owed_bytes = 0
        self.endpoint = endpoint
        self.body = body
        self.request_id = request_id
        self.headers = headers
        self.principal = principal
        self.job: Job | None = None  # until the outcome
        self.queue_seconds: float | None = None
        self.execution_seconds: float | None = None
        self.outcome: Encoded | PenstockError | None = None
        self.on_progress: Callable[[], None] | None = None
        self.submission: Submission | None = None
        self.attempts = 0

    def __repr__(self) -> str:
        state = self.job.state if self.job is not None else "decided"
        return f"<Call {self.request_id} of {self.endpoint.name}: {state}>"

    def wait(self) -> Awaitable[None]:
        """Await it until there is an outcome, or a chunk to take. To cancel the wait is not to cancel the job."""
        if self.outcome is not None or self._chunks:
            return _AT_ONCE
        return self._engine.reactor.park(self._register)

    def _register(self, wake: Callback) -> None:
        self.on_progress = wake

    @property
    def has_chunks(self) -> bool:
        """Whether there are chunks to take; there may be some after the outcome."""
        return bool(self._chunks)

    def take(self, limit_bytes: int | None = None) -> list[bytes]:
        """The chunks that have arrived since the last time, each one encoded value; gives the worker room for more.

        Parameters
        ----------
        limit_bytes:
            Take no more after the chunk that reaches this size. To take little at a time shows that a slow reader
            reads.
        """
        count, size_bytes = len(self._chunks), self._untaken_bytes
        if limit_bytes is not None and size_bytes > limit_bytes:
            count, size_bytes = _reaching(limit_bytes, self._chunks)
        if not count:
            return []  # never the list that chunks are still added to
        taken, self._chunks = self._chunks[:count], self._chunks[count:]
        self._untaken_bytes -= size_bytes
        self._engine.taken(self, count, size_bytes)
        return taken

    def cancel(self, reason: str = "the caller cancelled") -> None:
        """Nobody waits for it any more. Harmless after the outcome."""
        if self.outcome is None:
            self._engine.cancel(self, reason)

    # ---- the engine's side

    def add_chunks(self, bodies: list[bytes]) -> None:
        """Chunks have arrived."""
        self._chunks += bodies
        self._untaken_bytes += sum(map(len, bodies))
        self._notify()

    def settle(self, job: Job, outcome: Encoded | PenstockError) -> None:
        """The job has been decided."""
        self.outcome = outcome
        self.attempts = job.attempts
        if job.attempts:
            self.queue_seconds = job.started - job.arrived
            ran = job.execution_seconds
            self.execution_seconds = job.answered - job.started if ran is None else ran
        else:
            self.queue_seconds = job.answered - job.arrived
        self.body = b""
        # The two would keep each other alive until a garbage collection, for every single request.
        self.job = None
        self._notify()

    def _notify(self) -> None:
        """Tell the caller that there is something to see."""
        if self.on_progress is not None:
            self.on_progress()


def _reaching(limit_bytes: int, chunks: list[bytes]) -> tuple[int, int]:
    """How many of the first chunks reach the limit, and their size."""
    size_bytes = 0
    for count, chunk in enumerate(chunks, 1):
        size_bytes += len(chunk)
        if size_bytes >= limit_bytes:
            return count, size_bytes
    return len(chunks), size_bytes
