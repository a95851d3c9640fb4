"""Writes to a non-blocking socket: what it does not take at once is written when it has room."""

from __future__ import annotations

import socket

from penstock.engine.reactors.reactor import Reactor
from penstock.socket_buffers import SendBuffer


class FrameWriter:
    """The frames on their way into one socket.

    Parameters
    ----------
    reactor:
        The loop that watches the socket.
    target:
        A non-blocking socket, which its owner closes after ``close``.

    Attributes
    ----------
    frames:
        The frames that have not been written, to be appended to; then call ``flush`` or ``flush_soon``.
    is_blocked:
        True while the socket has no room. Everything appended meanwhile is written as soon as it has.
    """

    __slots__ = ("_buffer", "_is_planned", "_reactor", "_socket", "frames", "is_blocked")

    def __init__(self, reactor: Reactor, target: socket.socket) -> None:
        self._reactor = reactor
        self._socket = target
        self._buffer = SendBuffer()
        self._is_planned = False
        self.frames = self._buffer.frames
        self.is_blocked = False

    def flush_soon(self) -> None:
        """Write at the end of this turn of the loop, together with what is appended until then, in one system call."""
        if not self._is_planned and not self.is_blocked:
            self._is_planned = True
            self._reactor.call_soon(self._on_turn_end)

    def _on_turn_end(self) -> None:
        self._is_planned = False
        self.flush()

    def flush(self) -> None:
        """Write now, as much as the socket takes."""
        if self._socket.fileno() < 0:
            return
        try:
            is_flushed = self._buffer.flush(self._socket)
        except OSError:  # the other end is gone, which its reader is about to notice
            self.frames.clear()
            is_flushed = True
        if not is_flushed:
            self._wait()
        elif self.is_blocked:
            self.close()

    def _wait(self) -> None:
        if not self.is_blocked:
            self.is_blocked = True
            self._reactor.watch_writable(self._socket.fileno(), self.flush)

    def close(self) -> None:
        """Stop waiting for room."""
        if self.is_blocked:
            self.is_blocked = False
            self._reactor.watch_writable(self._socket.fileno(), None)
