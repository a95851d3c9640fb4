"""Answers for clients that want a single one: the chunks of a stream are collected, and progress is reported."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from penstock.errors import PenstockError
from penstock.hooks import CollectedChunks, Progress, ReportFraming, RouteResponse
from penstock.hosting import Encoded, data_of
from penstock_falcon.hangups import CLOSED, AnyCall, WatchedCall
from penstock_falcon.joint_calls import MOST_COLLECTED_BYTES, too_much

# A worker sends ten reports a second at most, so a client has to be far behind before it misses one.
MOST_REPORTS = 64
_END: Final = Encoded(b"")


class HeldReports:
    """The progress reports of one job that its client has not got yet; the oldest make room for new ones.

    Attributes
    ----------
    call:
        The call, whose waiter is notified of each report; None until it is submitted.
    """

    def __init__(self) -> None:
        self.call: AnyCall | None = None
        self._reports: deque[Progress] = deque(maxlen=MOST_REPORTS)

    def __bool__(self) -> bool:
        return bool(self._reports)

    def add(self, report: Progress) -> None:
        """Add a report. Called on the engine's thread."""
        self._reports.append(report)
        if self.call is not None:
            self.call.notify()  # type: ignore[union-attr] # neither routes nor several jobs together report progress

    def take(self) -> list[Progress]:
        """Return the reports that have arrived."""
        taken = []
        while self._reports:
            taken.append(self._reports.popleft())
        return taken


class WholeAnswer:
    """The answer to one call, as far as it has arrived: the outcome, and the chunks if it is a stream.

    Parameters
    ----------
    watched:
        The wait for the call.

    Attributes
    ----------
    chunks:
        The chunks.
    outcome:
        The outcome; None until everything has arrived.
    """

    def __init__(self, watched: WatchedCall) -> None:
        self.chunks = CollectedChunks()
        self.outcome: Encoded | PenstockError | None = None
        self._watched = watched
        self._size_bytes = 0

    @property
    def is_stream(self) -> bool:
        """True if it is a whole stream, and not a single result or an error."""
        return self._watched.call.head is not None and not isinstance(self.outcome, PenstockError)

    def gather(self) -> bool:
        """Take what has arrived, and return whether that is all.

        Raises
        ------
        HandlerError
            If the stream is too long to be collected.
        """
        chunks, self.outcome = self._watched.take()
        self.chunks += chunks
        self._size_bytes += sum(map(len, chunks))
        if self._size_bytes > MOST_COLLECTED_BYTES:
            raise too_much()
        return self.outcome is not None

    def collected(self) -> CollectedChunks:
        """Return the chunks with the head of their stream. An event among chunks that are JSON is its data."""
        head = self._watched.call.head
        assert head is not None, "it is a stream"
        chunks = CollectedChunks(data_of(self.chunks)) if head.media_type is None else self.chunks
        chunks.head = head
        return chunks


class ReportedCall:
    """A watched call whose progress reports are the chunks of its stream, and whose answer is the last of them.

    To a ``StreamBody``, it is a watched call like any other.

    Parameters
    ----------
    watched:
        The wait for the call.
    answer:
        The answer, as far as it has arrived.
    box:
        The reports.
    framing:
        The dialect's way to write them.
    finish:
        Returns the response for the answer, or for an exception in its place.
    """

    def __init__(
        self,
        watched: Any,
        answer: WholeAnswer,
        box: HeldReports,
        framing: ReportFraming,
        finish: Callable[[WholeAnswer, Exception | None], RouteResponse],
    ) -> None:
        self.call = watched.call
        self.wait = watched.wait
        self.connection = getattr(watched, "connection", None)  # only ASGI has it
        self.block = getattr(watched, "block", None)  # only WSGI has it
        self._watched = watched
        self._answer = answer
        self._box = box
        self._framing = framing
        self._finish = finish

    @property
    def is_gone(self) -> bool:
        """True if the server has said that the client is gone."""
        return bool(self._watched.is_gone)

    def take(self) -> tuple[list[bytes], Encoded | None]:
        """Return the reports that have arrived, each as a piece; and the answer, and an outcome, if that is all."""
        failure: Exception | None = None
        try:
            is_over = self._answer.gather()
        except PenstockError as error:
            failure, is_over = error, True
        pieces = [self._framing.report(report) for report in self._box.take()]
        if is_over:
            pieces.append(self._framing.answer(self._finish(self._answer, failure)))
        return [piece for piece in pieces if piece], _END if is_over else None

    def close(self, reason: str = CLOSED) -> None:
        """Stop watching. A call without an outcome is cancelled."""
        self._watched.close(reason)
