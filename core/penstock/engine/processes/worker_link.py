"""The engine's end of one worker: socket, shared memory, signals, output."""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack

from penstock.body_files import BodyFile, FileMissingError, receive_file, send_file
from penstock.engine.frame_writer import FrameWriter
from penstock.engine.processes.output_pump import OutputPump
from penstock.engine.processes.process_handle import ProcessHandle
from penstock.engine.reactors.reactor import Reactor
from penstock.eventlog.import_records import ImportRecords
from penstock.socket_buffers import RECEIVE_BYTES, ReceiveBuffer
from penstock.wire import (
    GREETING,
    SHARED_BYTES,
    WORD_ABANDONED,
    WORD_INTERRUPT,
    WORD_LOG_KEY,
    WORD_RECALLED,
    WORD_STARTED,
    FrameReader,
    LargeRun,
    Message,
    Run,
    ToWorker,
    WireError,
    log_mark,
    pack_into,
)

_MOST_LEFT_BYTES = 1 << 30  # a bound, in case a process that the worker left behind never stops writing

# This many messages are worth a system call of their own: the worker begins with them while this turn goes on.
_FLUSH_AT = 16


class WorkerLink:
    """The connection to one worker, created before its process exists.

    Parameters
    ----------
    reactor:
        The engine's reactor.
    buffer:
        The engine's receive buffer, which all of its links share.
    worker, name:
        The scheduler's id of the worker, and its name for operators.
    on_messages:
        Called with the link and the messages that have arrived, in order.
    on_broken:
        Called with the link and the reason if the bytes that have arrived are not messages.
    on_end:
        Called with the link when the process has ended, on platforms that have pidfds.
    imports:
        The log records of the import, of all processes of the engine; None if this link has an engine to itself.

    Attributes
    ----------
    process:
        The process, as far as the link knows it.

    Raises
    ------
    OSError
        If a descriptor cannot be opened. Nothing is left open then.
    """

    def __init__(  # noqa: PLR0917 - one owner creates it
        self,
        reactor: Reactor,
        buffer: ReceiveBuffer,
        worker: int,
        name: str,
        on_messages: Callable[[WorkerLink, list[Message]], None],
        on_broken: Callable[[WorkerLink, str], None],
        *,
        on_end: Callable[[WorkerLink], None],
        imports: ImportRecords | None = None,
    ) -> None:
        self.worker = worker
        self.name = name
        self.process = ProcessHandle(reactor, lambda: on_end(self))
        self.setup_error = ""
        self._last_started = 0
        self._is_closed = False
        self._reactor = reactor
        self._buffer = buffer
        self._on_messages = on_messages
        self._on_broken = on_broken
        self._reader = FrameReader()
        self._is_distrusted = False
        with ExitStack() as undo:
            self._socket, theirs = socket.socketpair()
            undo.enter_context(self._socket)
            undo.enter_context(theirs)
            self._socket.setblocking(False)
            self._writer = FrameWriter(reactor, self._socket)
            self._files, their_files = socket.socketpair()
            undo.enter_context(self._files)
            self._files.setblocking(False)
            with their_files:
                socket.send_fds(self._socket, [GREETING], [their_files.fileno()])
            memory = _shared_memory()
            undo.callback(os.close, memory)
            self._memory = mmap.mmap(memory, SHARED_BYTES)
            undo.enter_context(self._memory)
            self._words = memoryview(self._memory).cast("Q")
            undo.callback(self._words.release)
            self._words[WORD_LOG_KEY], self._words[WORD_LOG_KEY + 1] = secrets.randbits(64), secrets.randbits(64)
            output, their_output = os.pipe()
            undo.callback(os.close, their_output)
            undo.callback(os.close, output)
            self._output = OutputPump(reactor, output, name, log_mark(self._words), imports)
            undo.callback(reactor.watch_readable, output, None)
            reactor.watch_readable(self._socket.fileno(), self._on_readable)
            undo.pop_all()
        self._theirs = [theirs.detach(), memory, their_output]

    def __repr__(self) -> str:
        return f"<WorkerLink {self.name} pid {self.pid}>"

    # ---- the process

    @property
    def descriptors(self) -> list[int]:
        """The worker's ends: socket, shared memory, output pipe. Close them here once they are sent."""
        return self._theirs

    def close_descriptors(self) -> None:
        """Close the worker's ends in this process, so that the engine sees an end of file when the worker ends."""
        while self._theirs:
            os.close(self._theirs.pop())

    @property
    def pid(self) -> int | None:
        """The number of the process, for operators; None until it is known."""
        return self.process.pid

    def on_named(self, pid: int) -> None:
        """Record the pid that the worker says it has."""
        self.process.on_named(pid)

    def kill(self) -> None:
        """Send SIGKILL, now or as soon as the process exists."""
        self.process.kill()

    def interrupt(self, attempt: int) -> None:
        """Raise an exception in the user's code, if it is inside this attempt right now.

        The word names the attempt, and is written before the signal is sent: the signal handler raises for no other
        attempt, and the worker reads the word before it enters user code.
        """
        self._words[WORD_INTERRUPT] = attempt
        self.process.signal(signal.SIGUSR1)

    def abandon(self, latest: int) -> None:
        """Raise an exception in ``step`` of a generation loop, if it runs for no attempt after this one.

        As by ``interrupt``, the word is written before the signal is sent.
        """
        self._words[WORD_ABANDONED] = latest
        self.process.signal(signal.SIGUSR1)

    def recall(self, attempt: int) -> int:
        """Take back the attempts that were sent ahead: the worker begins none up to this one from now on.

        Returns
        -------
        The last attempt that the worker has begun. All attempts sent after that one are taken back.
        """
        self._words[WORD_RECALLED] = attempt
        return self.last_started()

    def last_started(self) -> int:
        """Return the last inline attempt that the worker has begun, or 0."""
        if not self._is_closed:
            self._last_started = self._words[WORD_STARTED]
        return self._last_started

    def close(self) -> None:
        """Read what the worker left behind, and release everything. Idempotent."""
        if self._is_closed:
            return
        self.process.close()  # from now on its pid may belong to another process
        self._read_leftovers()
        self.last_started()
        self._is_closed = True
        self._reactor.watch_readable(self._socket.fileno(), None)
        self._writer.close()
        self._socket.close()
        self._files.close()
        self._output.close()
        self.close_descriptors()
        self._words.release()
        self._memory.close()

    # ---- messages

    def send(self, message: ToWorker, *, at_once: bool = False) -> None:
        """Send a message, at once or together with the others of this turn of the loop, in one system call."""
        writer = self._writer
        try:
            pack_into(writer.frames, message)
        except TypeError:  # not every body is bytes
            assert isinstance(message, Run), "no other message has a body"
            pack_into(writer.frames, self._with_files_sent(message))
        if writer.is_blocked:
            return
        if at_once or len(writer.frames) >= _FLUSH_AT:
            writer.flush()
        else:
            writer.flush_soon()

    def _with_files_sent(self, run: Run) -> LargeRun:
        """Send the files of the bodies that are in files; return the message that announces them."""
        sizes = []
        for work in run.works:
            body: bytes | BodyFile = work.body
            size_bytes = 0
            if isinstance(body, BodyFile):
                if send_file(self._files, body):
                    work.body, size_bytes = b"", len(body)
                else:  # no room: the worker has not taken the others yet
                    work.body = body.read_all()
            sizes.append(size_bytes)
        return LargeRun(run, sizes)

    def receive_files(self, sizes: list[int]) -> list[BodyFile | None]:
        """Return the files of bodies that the worker has announced with these sizes; None for each 0.

        A file that this process had no descriptor left for is an empty one.

        Raises
        ------
        WireError
            If it has not sent them, or sent something else.
        """
        return [self._receive_file(size_bytes) if size_bytes else None for size_bytes in sizes]

    def _receive_file(self, size_bytes: int) -> BodyFile:
        try:
            file = receive_file(self._files, size_bytes)
        except OSError:
            return BodyFile(-1)
        except FileMissingError as error:
            raise WireError(str(error)) from None
        if not file.is_trustworthy:
            raise WireError(f"it has sent something else than a sealed file of {size_bytes} bytes for a body")
        return file

    def poll(self) -> None:
        """Read now, without waiting for the reactor to report the socket readable."""
        if not self._is_closed:
            self._on_readable()

    def _on_readable(self) -> None:
        if self._receive() == b"" and not self._is_closed:
            # The process may still run, since user code can close any descriptor, but it is useless without its socket.
            self._reactor.watch_readable(self._socket.fileno(), None)
            self.kill()

    def _receive(self) -> bytes | None:
        """Read once and pass the messages on; return the bytes, ``b""`` at the end, or None if there are none yet."""
        if self._is_distrusted:
            return b""
        data = self._buffer.receive(self._socket)
        if not data:
            return data
        try:
            messages = self._reader.feed(data)
        except WireError as error:
            self._on_broken(self, str(error))
            return b""
        if messages:
            self._on_messages(self, messages)
        return data

    def distrust(self) -> None:
        """Read nothing more: the worker has broken the protocol, so nothing that it sends can be trusted."""
        self._is_distrusted = True

    def _read_leftovers(self) -> None:
        """Read what the worker sent before it died: that still counts, up to where it broke the protocol."""
        for _ in range(_MOST_LEFT_BYTES // RECEIVE_BYTES):
            if not self._receive():
                return


def _shared_memory() -> int:
    """Return a descriptor of ``SHARED_BYTES`` of zeroed memory that two processes can map."""
    if sys.platform == "linux":
        fd = os.memfd_create("penstock", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.truncate(fd, SHARED_BYTES)
        # A worker that made it smaller would have the engine killed by SIGBUS at its next look.
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
        os.truncate(fd, SHARED_BYTES)
    return fd
