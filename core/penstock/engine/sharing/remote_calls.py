"""Calls to a shared engine, as their callers in a host hold them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from penstock.app import Endpoint
from penstock.body_files import BodyFile
from penstock.engine.calls import AT_ONCE, reaching
from penstock.engine.reactors.reactor import Callback, Reactor
from penstock.engine.sharing.host_messages import SubmitJob
from penstock.errors import PenstockError
from penstock.hooks.submission import Submission
from penstock.policies import Timeouts
from penstock.response import Encoded


class RemoteCallHost(Protocol):
    """The host's end of the connection, as a call uses it."""

    @property
    def reactor(self) -> Reactor:
        """The loop of the host."""

    def cancel(self, call: RemoteCall, reason: str) -> None:
        """Cancel the job of a call that has no outcome."""

    def taken(self, call: RemoteCall, size_bytes: int) -> None:
        """Record that the caller has taken chunks, so that the engine may send more."""


class RemoteCall:
    """One job that was submitted to a shared engine. It is used like a ``Call``, whose members it has.

    Parameters
    ----------
    host:
        This end of the connection.
    number:
        The call's number on the connection.
    submission:
        The request as its policies have left it.
    message:
        The message that was sent for it; kept until there is an outcome, because the engine may have to be asked again.
    file:
        Its body, if that is in a file; kept as long.

    Attributes
    ----------
    owed_bytes:
        The size of chunks that were taken and not yet credited to the engine. Only the engine's connection writes it.
    """

    __slots__ = (
        "_chunks",
        "_host",
        "_untaken_bytes",
        "attempts",
        "endpoint",
        "execution_seconds",
        "file",
        "head",
        "message",
        "number",
        "on_progress",
        "outcome",
        "owed_bytes",
        "queue_seconds",
        "submission",
        "timeouts",
    )

    def __init__(
        self, host: RemoteCallHost, number: int, submission: Submission, message: SubmitJob, file: BodyFile | None
    ) -> None:
        self._host = host
        self._chunks: list[bytes] = []
        self._untaken_bytes = 0
        self.number = number
        self.submission = submission
        self.message: SubmitJob | None = message
        self.file = file
        self.endpoint: Endpoint = submission.endpoint  # type: ignore[assignment] # a route never becomes a job
        self.timeouts: Timeouts = submission.timeouts
        self.head: Encoded | None = None
        self.outcome: Encoded | PenstockError | None = None
        self.on_progress: Callable[[], None] | None = None
        self.queue_seconds: float | None = None
        self.execution_seconds: float | None = None
        self.attempts = 0
        self.owed_bytes = 0

    def __repr__(self) -> str:
        return f"<RemoteCall {self.number} of {self.endpoint.name}>"

    def wait(self) -> Awaitable[None]:
        """See ``Call.wait``."""
        if self.outcome is not None or self._chunks:
            return AT_ONCE
        return self._host.reactor.park(self._register)

    def _register(self, wake: Callback) -> None:
        self.on_progress = wake

    @property
    def untaken_bytes(self) -> int:
        """See ``Call.untaken_bytes``."""
        return self._untaken_bytes

    @property
    def has_chunks(self) -> bool:
        """See ``Call.has_chunks``."""
        return bool(self._chunks)

    @property
    def began(self) -> float:
        """The instant of the request's first byte, as the engine knows it; while there is no outcome."""
        assert self.message is not None, "it is kept until there is an outcome"
        assert self.message.job is not None, "it is kept to be sent again"
        return self.message.job.began

    @property
    def has_begun_stream(self) -> bool:
        """True once there was a chunk: the job cannot run again without its caller noticing."""
        return self.head is not None

    def take(self, limit_bytes: int | None = None) -> list[bytes]:
        """See ``Call.take``."""
        count, size_bytes = len(self._chunks), self._untaken_bytes
        if limit_bytes is not None and size_bytes > limit_bytes:
            count, size_bytes = reaching(limit_bytes, self._chunks)
        if not count:
            return []
        taken, self._chunks = self._chunks[:count], self._chunks[count:]
        self._untaken_bytes -= size_bytes
        self._host.taken(self, size_bytes)
        return taken

    def cancel(self, reason: str = "the caller cancelled") -> None:
        """See ``Call.cancel``."""
        if self.outcome is None:
            self._host.cancel(self, reason)

    # ---- the connection's side

    def add_chunks(self, bodies: list[bytes]) -> None:
        """Append chunks that have arrived, and notify the caller."""
        self._chunks += bodies
        self._untaken_bytes += sum(map(len, bodies))
        self.notify()

    def settle(self, outcome: Encoded | PenstockError) -> None:
        """Set the outcome, release the body, and notify the caller."""
        self.outcome = outcome
        self.message = None
        if self.file is not None:
            self.file.release()
            self.file = None
        self.notify()

    def notify(self) -> None:
        """Notify the caller that there is an outcome or a chunk."""
        if self.on_progress is not None:
            self.on_progress()
