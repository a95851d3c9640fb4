"""Several jobs of one request, which are answered together: the caller holds them as one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from penstock import Endpoint
from penstock.errors import HandlerError, PenstockError
from penstock.hooks import JobAnswered, PartChunk, Submission
from penstock.hosting import Encoded, data_of

# A stream that is collected is held in full.
MOST_COLLECTED_BYTES = 64 << 20
PART_FAILED = "another part of the request has failed"

_HEAD: Final = Encoded(b"")


class JointResult(Encoded, frozen=True, gc=False):
    """The results of several jobs: for each of them its chunks, of which a single result is one."""

    answers: Sequence[list[bytes]] = ()


def submit_together(
    engine: Any, submission: Submission, bodies: Sequence[bytes], headers: dict[str, str] | None, *, is_streamed: bool
) -> JointCall:
    """Submit a job for each body; all of them, or none. To be called on the engine's own thread.

    Parameters
    ----------
    engine:
        The engine.
    submission:
        The request, as its policies have left it. They are released when the last of the jobs has ended.
    bodies:
        The inputs, at least one.
    headers:
        The request's headers for the handlers' contexts.
    is_streamed:
        True if the chunks are sent as they come, and False if they are collected.

    Raises
    ------
    PenstockError
        If one of them is refused.
    """
    calls: list[Any] = []
    try:
        for number, body in enumerate(bodies, 1):
            calls.append(engine.submit(submission.as_part(number), body, headers=headers))
    except BaseException:
        for call in calls:
            call.cancel(PART_FAILED)
        raise
    return JointCall(submission, calls, engine, is_streamed=is_streamed)


class JointCall:
    """Several calls as one. The first that fails is the outcome of all, and the others are cancelled.

    Parameters
    ----------
    submission:
        The request.
    calls:
        The calls.
    engine:
        The engine, whose loop the caller waits on.
    is_streamed:
        As for ``submit_together``.

    Attributes
    ----------
    endpoint, timeouts, head, outcome, on_progress:
        As for any call.
    """

    def __init__(self, submission: Submission, calls: Sequence[Any], engine: Any, *, is_streamed: bool) -> None:
        self.endpoint: Endpoint = calls[0].endpoint
        self.timeouts = submission.timeouts
        self.head: Encoded | None = None
        self.outcome: Encoded | PenstockError | None = None
        self.on_progress: Callable[[], None] | None = None
        self._submission = submission
        self._calls = calls
        self._engine = engine
        self._is_streamed = is_streamed
        self._reason = PART_FAILED
        self._answers: list[list[bytes]] = [[] for _ in calls]
        self._size_bytes = 0
        self._waiting: dict[int, None] = {}
        """The places of the calls that may have something to take, in the order in which it came."""
        self._left = len(calls)
        for place, call in enumerate(calls):
            call.on_progress = partial(self._progressed, place)
        for place, call in enumerate(calls):  # only now: the first may have failed already, and end the others
            if call.on_progress is not None and (call.outcome is not None or call.has_chunks):
                self._progressed(place)

    def __repr__(self) -> str:
        return f"<JointCall of {len(self._calls)} jobs of {self.endpoint.name}, {self._left} undecided>"

    # ---- the caller's side

    @property
    def queue_seconds(self) -> float | None:
        """The longest wait of a job."""
        return max((call.queue_seconds for call in self._calls if call.queue_seconds is not None), default=None)

    @property
    def execution_seconds(self) -> float | None:
        """The longest execution of a job."""
        return max((call.execution_seconds for call in self._calls if call.execution_seconds is not None), default=None)

    @property
    def attempts(self) -> int:
        """The most attempts of a job."""
        counts: list[int] = [call.attempts for call in self._calls]
        return max(counts)

    @property
    def untaken_bytes(self) -> int:
        """The size of the chunks that there are to take."""
        sizes: list[int] = [call.untaken_bytes for call in self._calls]
        return sum(sizes)

    @property
    def has_chunks(self) -> bool:
        """True if there may be chunks to take."""
        return bool(self._waiting)

    async def wait(self) -> None:
        """Wait for an outcome or a chunk."""
        if self.outcome is None and not self._waiting:
            await self._engine.reactor.park(self._register)

    def _register(self, wake: Callable[[], None]) -> None:
        self.on_progress = wake

    def take(self, limit_bytes: int | None = None) -> list[bytes]:
        """Return the chunks that have arrived, each with its part, up to about a limit."""
        taken: list[bytes] = []
        size_bytes = 0
        for place in list(self._waiting):
            if limit_bytes is not None and size_bytes >= limit_bytes:
                break
            call = self._calls[place]
            chunks = _taken(call, limit_bytes)
            if not call.has_chunks:
                del self._waiting[place]
                chunks += _single_result(call)
            taken += [_chunk_of(chunk, place) for chunk in chunks]
            size_bytes += sum(map(len, chunks))
        return taken

    def cancel(self, reason: str = "the caller cancelled") -> None:
        """Cancel all jobs that have no outcome."""
        self._reason = reason
        for call in self._calls:
            if call.outcome is None:
                call.cancel(reason)

    # ---- the jobs' side

    def _progressed(self, place: int) -> None:
        call = self._calls[place]
        if self._is_streamed:
            self._waiting[place] = None
            if call.has_chunks or isinstance(call.outcome, Encoded):
                self.head = _HEAD
        else:
            self._collect(place, call)
        if call.outcome is not None:
            call.on_progress = None
            self._left -= 1
            self._ended(call.outcome)
        if self.on_progress is not None and (self._is_streamed or self.outcome is not None):
            self.on_progress()

    def _collect(self, place: int, call: Any) -> None:
        chunks = _taken(call, None)
        if call.outcome is not None:
            chunks += _single_result(call)
        self._answers[place] += chunks
        self._size_bytes += sum(map(len, chunks))
        if self._size_bytes > MOST_COLLECTED_BYTES and self.outcome is None:
            self._fail(too_much())

    def _ended(self, outcome: Encoded | PenstockError) -> None:
        if isinstance(outcome, PenstockError):
            if self.outcome is None:
                self._fail(outcome)
        elif not self._left and self.outcome is None:
            self.outcome = JointResult(b"", answers=self._answers)
        if not self._left:
            self._submission.close(self._answered())

    def _fail(self, error: PenstockError) -> None:
        self.outcome = error
        self._answers = [[] for _ in self._calls]
        for call in self._calls:
            if call.outcome is None:
                call.cancel(self._reason)

    def _answered(self) -> JobAnswered:
        submission, outcome = self._submission, self.outcome
        return JobAnswered(
            endpoint=self.endpoint.name,
            request_id=submission.request_id,
            code=outcome.code if isinstance(outcome, PenstockError) else "ok",
            principal=None if submission.principal is None else submission.principal.name,
            attempts=self.attempts,
            queue_seconds=self.queue_seconds or 0.0,
            execution_seconds=self.execution_seconds,
        )


def too_much() -> HandlerError:
    """Return the error for a stream that is too long to be collected."""
    return HandlerError(
        f"the stream has more than {MOST_COLLECTED_BYTES >> 20} MiB, and it is collected for a client that did not ask "
        "for a stream"
    )


def _taken(call: Any, limit_bytes: int | None) -> list[bytes]:
    """Return the chunks of a call; of those that are JSON, an event is its data."""
    chunks: list[bytes] = call.take(limit_bytes)
    return data_of(chunks) if call.head is not None and call.head.media_type is None else chunks


def _single_result(call: Any) -> list[bytes]:
    """Return the result of a call that has ended without having been a stream, as its one chunk."""
    return [call.outcome.body] if call.head is None and isinstance(call.outcome, Encoded) else []


def _chunk_of(body: bytes, place: int) -> PartChunk:
    chunk = PartChunk(body)
    chunk.part = place
    return chunk
