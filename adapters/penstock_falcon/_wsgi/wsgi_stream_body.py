"""The body of a streamed WSGI response."""

from __future__ import annotations

import errno
import time

from penstock_falcon._wsgi.wsgi_hangups import WsgiWatchedCall
from penstock_falcon.stream_body import KEEP_ALIVE_SECONDS, StreamBody


class WsgiStreamCutShort(ConnectionResetError):
    """The end of a response that must not end cleanly.

    gunicorn treats a reset connection as exactly that: it closes the connection without the last chunk, and without a
    traceback in the log.
    """

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the stream failed and was cut short")


class WsgiStreamBody(StreamBody[WsgiWatchedCall]):
    """An iterator over the pieces of a streamed body; the server calls ``close`` however the response ended."""

    finished = StopIteration
    cut_short = WsgiStreamCutShort

    def __iter__(self) -> WsgiStreamBody:
        return self

    def __next__(self) -> bytes:
        if self._ending is not None:
            raise self._ending
        piece = self._next_piece()
        keep_alive = self._framing.keep_alive
        due = time.monotonic() + KEEP_ALIVE_SECONDS
        while piece is None:
            self._watched.block(max(0.0, due - time.monotonic()) if keep_alive else None)
            piece = self._next_piece()
            if piece is None and keep_alive and time.monotonic() >= due:
                return keep_alive
        if not piece and self._ending is not None:
            raise self._ending
        return piece

    def close(self) -> None:
        """Release everything, and cancel a job whose response is no longer read."""
        self._end()
