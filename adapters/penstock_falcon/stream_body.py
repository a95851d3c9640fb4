"""The body of a streamed response: pieces made from chunks, and an end that tells a whole stream from a broken one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import ClassVar, Generic, TypeAlias, TypeVar

from penstock.errors import HandlerError, PenstockError
from penstock.hooks import Framing, PublicError
from penstock.hosting import AnnotationCheck, Encoded
from penstock_falcon.hangups import CLOSED, WatchedCall

KEEP_ALIVE_SECONDS = 15.0
Outcome: TypeAlias = Encoded | PenstockError | None
WatchedCallT = TypeVar("WatchedCallT", bound=WatchedCall)


class StreamBody(Generic[WatchedCallT]):
    """The part of a streamed body that ASGI and WSGI share.

    Parameters
    ----------
    watched:
        The wait for the job; closed with the body, which cancels a job that is still running.
    chunks:
        The chunks that have been taken already.
    framing:
        The format of the body.
    annotation:
        The check of its chunks; None if they are not JSON.
    describe:
        Returns what the client may see of an error.
    on_close:
        Called once, when the response has ended in whatever way.
    """

    finished: ClassVar[type[BaseException]]
    """Ends the iteration after a whole stream."""
    cut_short: type[BaseException]
    """Ends the response so that the server closes the connection without a clean end."""

    def __init__(
        self,
        watched: WatchedCallT,
        chunks: list[bytes],
        framing: Framing,
        *,
        annotation: AnnotationCheck | None,
        describe: Callable[[PenstockError], PublicError],
        on_close: Callable[[], None],
    ) -> None:
        self._watched = watched
        self._first = chunks
        self._framing = framing
        self._annotation = annotation
        self._describe = describe
        self._on_close = on_close
        self._is_closed = False
        self._is_piecewise = framing.is_piecewise
        # The chunks after the present piece, if each chunk is one.
        self._held: deque[bytes] = deque()
        self._outcome: Outcome = None
        self._ending: type[BaseException] | None = None
        """Raised by the next step, after the last piece."""

    def _next_piece(self) -> bytes | None:
        """Return the chunks that have arrived, as one piece, or None if there is nothing to send yet."""
        if self._is_piecewise:
            chunks, outcome = self._take_one()
        else:
            chunks, outcome = self._watched.take()
            chunks, self._first = self._first + chunks, []
        if not chunks and outcome is None:
            return None
        if self._annotation is not None and self._annotation.check is not None:
            chunks, outcome = self._checked(self._annotation, chunks, outcome)
        piece = self._framing.frame(chunks) if chunks else b""
        if isinstance(outcome, PenstockError):
            # A client that has gone cannot take a clean end for a whole stream; and servers log what a body raises.
            self._ending = self.finished if self._watched.is_gone else self.cut_short
            return piece + self._framing.error(self._describe(outcome))
        if outcome is not None:
            self._ending = self.finished
            return piece + self._framing.end
        return piece

    def _take_one(self) -> tuple[list[bytes], Outcome]:
        """Return the next chunk, if there is one; and the outcome, once no chunk is left."""
        if not self._held:
            chunks, self._outcome = self._watched.take()
            self._held.extend(self._first + chunks)
            self._first = []
        chunks = [self._held.popleft()] if self._held else []
        return chunks, None if self._held else self._outcome

    def _checked(
        self, annotation: AnnotationCheck, chunks: list[bytes], outcome: Outcome
    ) -> tuple[list[bytes], Outcome]:
        """Return the chunks before the first that is an error, and that error, or everything if there is none."""
        for place, chunk in enumerate(chunks):
            try:
                annotation.check_all((chunk,))
            except HandlerError as error:
                return chunks[:place], error
        return chunks, outcome

    def _end(self) -> None:
        """Release everything, and cancel a job that is still running. Harmless when repeated."""
        if not self._is_closed:
            self._is_closed = True
            self._watched.close(CLOSED)
            self._on_close()
