"""The worker's end of the socket to its engine."""

from __future__ import annotations

import os
import socket
import sys
from typing import NoReturn

from penstock.body_files import BodyFile, FileMissingError, receive_descriptor, receive_file, send_file
from penstock.response import Encoded
from penstock.socket_buffers import ReceiveBuffer, SendBuffer
from penstock.wire import GREETING, Done, Failure, LargeDone, Message, Progress, pack_into
from penstock.worker.failure_reports import failure_of
from penstock.worker.large_bodies import file_of


class Channel:
    """The connection to the engine: bytes in, frames out.

    Reading and writing never block, except in ``flush_all``. Frames that are ready together leave in one write; those
    that the socket does not accept are kept, in order.

    Parameters
    ----------
    engine:
        The socket to the engine, non-blocking.
    """

    __slots__ = ("_buffer", "_engine", "_files", "_unsent")

    def __init__(self, engine: socket.socket) -> None:
        self._engine = engine
        self._files: socket.socket | None = None
        self._buffer = ReceiveBuffer()
        self._unsent = SendBuffer()

    def fileno(self) -> int:
        """Return the socket's descriptor, for a loop to wait on."""
        return self._engine.fileno()

    def receive(self) -> bytes | None:
        """Return the bytes that have arrived: ``b""`` if the engine is gone, None if there are none yet."""
        return self._buffer.receive(self._engine)

    @property
    def is_flushed(self) -> bool:
        """True if everything posted has been written."""
        return self._unsent.is_empty

    def post(self, message: Message) -> None:
        """Add a message, to be written by the next flush."""
        pack_into(self._unsent.frames, message)

    def report(self, progress: Progress) -> None:
        """Write a progress report, unless the socket is full: the results that wait there matter more."""
        if self.flush():
            self.post(progress)
            self.flush()

    def post_done(self, done: Done) -> None:
        """Add the end of an attempt. If it cannot be framed, send failures instead, so that its slot is freed."""
        try:
            pack_into(self._unsent.frames, done)
        except Exception as error:  # larger than a frame, or user data of a type that slipped through, or in a file
            if any(file_of(result) is not None for result in done.results):
                self._post_with_files(done)
                return
            failed = Done(done.attempt, done.seconds, [failure_of(error)] * len(done.results))
            pack_into(self._unsent.frames, failed)

    def _post_with_files(self, done: Done) -> None:
        passed = [self._pass_on(result) for result in done.results]
        sizes = [size_bytes for _, size_bytes in passed]
        done.results = [result for result, _ in passed]
        if not any(sizes):
            self.post_done(done)
            return
        try:
            pack_into(self._unsent.frames, LargeDone(done, sizes))
        except Exception as error:
            done.results = [failure_of(error)] * len(done.results)
            pack_into(self._unsent.frames, LargeDone(done, sizes))  # the engine still takes the files, and drops them

    def _pass_on(self, result: Encoded | Failure) -> tuple[Encoded | Failure, int]:
        """Send the file of a result; return the result without its body, and the size of the file."""
        file = file_of(result)
        if file is None or isinstance(result, Failure):
            return result, 0
        if self._files is not None and send_file(self._files, file):
            file.close()
            return _with_body(result, b""), len(file)
        return _with_body(result, file.read_all()), 0

    def accept_greeting(self) -> None:
        """Take the second socket, for the files of large bodies, if the engine has sent one. Call it once, at first."""
        try:
            is_greeting = self._engine.recv(len(GREETING), socket.MSG_PEEK) == GREETING
        except OSError:  # nothing has been sent
            return
        if not is_greeting:
            return
        _, descriptor, _ = receive_descriptor(self._engine, len(GREETING))
        if descriptor is not None:
            files = self._files = socket.socket(fileno=descriptor)
            files.setblocking(False)
            os.register_at_fork(after_in_child=files.close)

    def take_files(self, sizes: list[int]) -> list[BodyFile | None]:
        """Return the files of bodies with these sizes; None for each 0."""
        files = self._files
        try:
            if files is None:
                raise FileMissingError("there is no socket for files")
            return [receive_file(files, size_bytes) if size_bytes else None for size_bytes in sizes]
        except (OSError, FileMissingError) as error:
            # It is no longer known which file belongs to which body. The engine runs the jobs again in another worker.
            sys.stderr.write(f"penstock: worker stopped, because it cannot receive the body of a request: {error}\n")
            sys.stderr.flush()
            os._exit(os.EX_OSERR)

    def flush(self) -> bool:
        """Write as much as the socket accepts at once; return True if that was everything."""
        try:
            return self._unsent.flush(self._engine)
        except OSError:
            leave()

    def flush_all(self) -> None:
        """Write everything, however long that takes. Only for the end of a worker."""
        self._engine.setblocking(True)
        while not self.flush():
            pass


def _with_body(encoded: Encoded, body: bytes) -> Encoded:
    return Encoded(body, encoded.media_type, encoded.status, encoded.headers)


def leave() -> NoReturn:
    """End the worker at once: the engine is gone, so no result of its attempts is wanted."""
    os._exit(0)
