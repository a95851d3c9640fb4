"""The engine's end of one worker: its socket, its shared memory, its output."""

from __future__ import annotations

import logging
import mmap
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable

from penstock.engine.processes.output_pump import OutputPump
from penstock.engine.reactors.reactor import Reactor
from penstock.eventlog import log_event
from penstock.wire import (
    SHARED_BYTES,
    WORD_INTERRUPT,
    WORD_RECALLED,
    WORD_STARTED,
    FrameReader,
    Message,
    ToWorker,
    WireError,
    pack,
)

_READ_BYTES = 1 << 18
_MOST_LEFT_BYTES = 1 << 30  # a bound, should a process that the worker left behind write for ever

# So many messages are worth a system call of their own: the worker begins with them while this turn goes on.
_FLUSH_AT = 16

# recv() would allocate as much for every small frame, at several times the cost of reading it. One for all links: what
# is read is copied out before anything else runs.
_buffer = bytearray(_READ_BYTES)
_view = memoryview(_buffer)


class WorkerLink:
    """See the module's text.

    Parameters
    ----------
    reactor:
        The engine's.
    worker, name:
        The scheduler's id of it, and what operators call it.
    on_messages:
        Takes what has arrived: the link and the messages, in order.
    """

    def __init__(
        self, reactor: Reactor, worker: int, name: str, on_messages: Callable[[WorkerLink, list[Message]], None]
    ) -> None:
        self.worker = worker
        self.name = name
        self.pid: int | None = None
        self.setup_error = ""
        self._last_started = 0
        self._is_closed = False
        self._pidfd = -1
        self._is_doomed = False  # to be killed as soon as its pid is known
        self._reactor = reactor
        self._on_messages = on_messages
        self._reader = FrameReader()
        self._out: list[bytes] = []
        self._is_flush_planned = False
        self._is_blocked = False
        self._is_garbled = False  # it has broken the protocol: nothing that comes after that can be trusted
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        memory = _shared_memory()
        self._memory = mmap.mmap(memory, SHARED_BYTES)
        self._words = memoryview(self._memory).cast("Q")
        output, their_output = os.pipe()
        self._output = OutputPump(reactor, output, name)
        self._theirs = [theirs.detach(), memory, their_output]
        reactor.watch_readable(self._socket.fileno(), self._on_readable)

    def __repr__(self) -> str:
        return f"<WorkerLink {self.name} pid {self.pid}>"

    # ---- its birth and death

    @property
    def descriptors(self) -> list[int]:
        """What the worker gets: socket, shared memory, output pipe. Ours to close once they are sent."""
        return self._theirs

    def close_descriptors(self) -> None:
        """Close the worker's ends here, so that only the worker holds them and its end is seen."""
        while self._theirs:
            os.close(self._theirs.pop())

    def born(self, pid: int, pidfd: int) -> None:
        """The process exists. ``pidfd`` is -1 where the platform has none."""
        self.pid = pid
        self._pidfd = pidfd
        if self._is_doomed:
            self.kill()

    def kill(self) -> None:
        """SIGKILL it, now or as soon as it exists."""
        self._is_doomed = True
        self._signal(signal.SIGKILL)

    def interrupt(self, attempt: int) -> None:
        """Raise an exception in the user's code, if it is inside this attempt right now.

        The word says which attempt is meant, and is written first: the handler raises for no other, and the worker
        looks at it before it enters user code.
        """
        self._words[WORD_INTERRUPT] = attempt
        self._signal(signal.SIGUSR1)

    def recall(self, attempt: int) -> int:
        """Take back what was sent ahead: the worker begins no attempt up to this one any more.

        Returns
        -------
        The last attempt that it has begun: whatever was sent after that one is ours again.
        """
        self._words[WORD_RECALLED] = attempt
        return self.last_started()

    def last_started(self) -> int:
        """The last inline attempt that the worker has begun, or 0."""
        if not self._is_closed:
            self._last_started = self._words[WORD_STARTED]
        return self._last_started

    def _signal(self, number: int) -> None:
        if self.pid is None or self._socket.fileno() < 0:
            return  # not born yet; or reaped, and its pid may be another process's by now
        try:
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            pass  # dead already: its exit is on its way here

    def close(self) -> None:
        """Take what the worker has left behind, and free everything. Idempotent."""
        if self._is_closed:
            return
        self._drain_socket()
        self.last_started()
        self._is_closed = True
        self._reactor.watch_readable(self._socket.fileno(), None)
        self._stop_waiting_to_write()
        self._socket.close()
        self._output.close()
        self.close_descriptors()
        self._words.release()
        self._memory.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    # ---- messages

    def send(self, message: ToWorker, *, at_once: bool = False) -> None:
        """Send it, at once or with whatever else is sent in this turn of the loop: one system call for many."""
        out = self._out
        out.append(pack(message))
        if self._is_blocked:
            return
        if at_once or len(out) >= _FLUSH_AT:
            self._flush()
        elif not self._is_flush_planned:
            self._is_flush_planned = True
            self._reactor.call_soon(self._on_turn_end)

    def _on_turn_end(self) -> None:
        self._is_flush_planned = False
        self._flush()

    def _flush(self) -> None:
        if self._socket.fileno() < 0 or not self._out:
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # it is dead, and its exit is on its way here
        if sent < len(data):
            self._out.append(data[sent:])
            self._wait_to_write()

    def _wait_to_write(self) -> None:
        if not self._is_blocked:
            self._is_blocked = True
            self._reactor.watch_writable(self._socket.fileno(), self._on_writable)

    def _stop_waiting_to_write(self) -> None:
        if self._is_blocked:
            self._is_blocked = False
            self._reactor.watch_writable(self._socket.fileno(), None)

    def _on_writable(self) -> None:
        self._stop_waiting_to_write()
        self._flush()

    def poll(self) -> None:
        """Take what has arrived, without waiting for the loop to say that something has."""
        if not self._is_closed:
            self._on_readable()

    def _on_readable(self) -> None:
        if self._receive() == b"":
            # The process may well live on (user code can close anything): without its socket it is of no use.
            self._reactor.watch_readable(self._socket.fileno(), None)
            self.kill()

    def _receive(self) -> bytes | None:
        """Take what is there: nothing (None), or the end (no bytes)."""
        if self._is_garbled:
            return b""
        try:
            size = self._socket.recv_into(_buffer)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        data = bytes(_view[:size])
        try:
            messages = self._reader.feed(data)
        except WireError as error:
            self._is_garbled = True
            log_event(logging.ERROR, "garbage", f"worker {self.name} broke the protocol: {error}", worker=self.name)
            return b""
        if messages:
            self._on_messages(self, messages)
        return data

    def _drain_socket(self) -> None:
        """The worker is dead: what it had sent before still counts, up to where it broke the protocol."""
        for _ in range(_MOST_LEFT_BYTES // _READ_BYTES):
            if not self._receive():
                return


def _shared_memory() -> int:
    """A descriptor of ``SHARED_BYTES`` of zeroed memory that can be mapped by two processes."""
    if sys.platform == "linux":
        fd = os.memfd_create("penstock")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.truncate(fd, SHARED_BYTES)
    return fd
