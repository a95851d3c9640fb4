"""A call is a job as its caller holds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.errors import PenstockError
from penstock.response import Encoded
from penstock.scheduler import Job

if TYPE_CHECKING:
    from penstock.app import Endpoint
    from penstock.engine.engine import Engine
    from penstock.engine.reactor import Callback


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
    on_progress:
        Called whenever there is an outcome or a chunk; None if nobody wants to know.
    """

    __slots__ = (
        "_chunks",
        "_engine",
        "_untaken_bytes",
        "body",
        "endpoint",
        "headers",
        "job",
        "on_progress",
        "outcome",
        "principal",
        "request_id",
    )

    def __init__(
        self,
        engine: Engine,
        endpoint: Endpoint,
        body: bytes,
        request_id: str,
        headers: dict[str, str] | None,
        principal: str | None,
    ) -> None:
        self._engine = engine
        self._chunks: list[bytes] = []
        self._untaken_bytes = 0
        self.endpoint = endpoint
        self.body = body
        self.request_id = request_id
        self.headers = headers
        self.principal = principal
        self.job: Job
        self.outcome: Encoded | PenstockError | None = None
        self.on_progress: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<Call {self.request_id} of {self.endpoint.name}: {self.job.state}>"

    @property
    def queue_seconds(self) -> float | None:
        """From arrival to the start of the latest attempt, or to the answer if it never started."""
        job = self.job
        if job.attempts:
            return job.started - job.arrived
        return job.answered - job.arrived if self.outcome is not None else None

    @property
    def execution_seconds(self) -> float | None:
        """In the user's code, or until the caller was answered without waiting for it; None if it never started."""
        job = self.job
        if job.execution_seconds is not None:
            return job.execution_seconds
        return job.answered - job.started if job.attempts and self.outcome is not None else None

    async def wait(self) -> None:
        """Wait until there is an outcome, or a chunk to take. To cancel the wait is not to cancel the job."""
        if self.outcome is None and not self._chunks:
            await self._engine.reactor.park(self._register)

    def _register(self, wake: Callback | None) -> None:
        self.on_progress = wake

    def take(self) -> list[bytes]:
        """The chunks that have arrived since the last time, each one encoded value; gives the worker room for more."""
        if not self._chunks:
            return []  # never the list that chunks are still added to
        chunks, self._chunks = self._chunks, []
        size_bytes, self._untaken_bytes = self._untaken_bytes, 0
        self._engine.taken(self, size_bytes)
        return chunks

    def cancel(self, reason: str = "the caller cancelled") -> None:
        """Nobody waits for it any more. Harmless after the outcome."""
        if self.outcome is None:
            self._engine.cancel(self, reason)

    # ---- the engine's side

    def add_chunk(self, body: bytes) -> None:
        """A chunk has arrived; ``notify`` follows."""
        self._chunks.append(body)
        self._untaken_bytes += len(body)

    def settle(self, outcome: Encoded | PenstockError) -> None:
        """The job has been decided."""
        self.outcome = outcome
        self.body = b""
        self.notify()

    def notify(self) -> None:
        """Tell the caller that there is something to see."""
        if self.on_progress is not None:
            self.on_progress()
