"""The destination of the lines: stderr, or a file that log rotation may move away."""

from __future__ import annotations

import logging
import os
import select
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from penstock.hooks import log_event

STDERR: Final = "-"
STDERR_DESCRIPTOR: Final = 2
PIPE_BYTES: Final = select.PIPE_BUF
"""The largest write to a pipe that is atomic: it does not mix with what other processes write at the same time."""
FILE_BYTES: Final = 1 << 20
LOOK_SECONDS: Final = 1.0
"""The file is looked up by its path at most this often."""
MODE: Final = 0o640
"""Not readable by other users: the lines record which caller asked for what."""


class LogFile:
    """A file, or stderr, to which lines are appended. It must be used by one thread at a time.

    Parameters
    ----------
    path:
        The path of the file; "-" for stderr.
    clock:
        The monotonic clock, in seconds.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looked_at = clock()
        self._descriptor = STDERR_DESCRIPTOR if path == STDERR else self._opened()
        self._is_stuck = False
        self._is_torn = False  # the last write ended within a line

    def _opened(self) -> int:
        # With O_NONBLOCK, opening a named pipe that no process reads is an error. Without it, the server would hang.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, MODE)
        os.set_blocking(descriptor, True)
        return descriptor

    def write(self, lines: Sequence[bytes]) -> tuple[int, OSError | None]:
        """Append lines, waiting for as long as the disk or the reader of the pipe takes.

        Returns
        -------
        The number of lines written, and the error that prevented the others, or None.
        """
        written = 0
        try:
            self._reopen_if_moved()
            pieces = self._pieces(lines)
            for piece, count in pieces:
                self._write_all(piece)
                written += count
        except OSError as error:
            return written, error
        return written, None

    def close(self) -> None:
        """Close the file."""
        if self._descriptor != STDERR_DESCRIPTOR:
            os.close(self._descriptor)

    def _pieces(self, lines: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
        """Join lines into pieces that one write can take; yield each piece with the number of its lines."""
        is_file = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        most_bytes = FILE_BYTES if is_file else PIPE_BYTES
        gathered: list[bytes] = []
        size_bytes = 0
        for line in lines:
            if gathered and size_bytes + len(line) > most_bytes:
                yield b"".join(gathered), len(gathered)
                gathered, size_bytes = [], 0
            gathered.append(line)
            size_bytes += len(line)
        if gathered:
            yield b"".join(gathered), len(gathered)

    def _write_all(self, piece: bytes) -> None:
        if self._is_torn:
            piece = b"\n" + piece
        left = memoryview(piece)
        try:
            while left:
                left = left[self._write_some(left) :]
        finally:
            self._is_torn = 0 < len(left) < len(piece) or (self._is_torn and len(left) == len(piece))

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # another process that shares our stderr has made it non-blocking for all
            waiting = select.poll()
            waiting.register(self._descriptor, select.POLLOUT)
            waiting.poll()
            return 0

    def _reopen_if_moved(self) -> None:
        """Open the path again if it no longer leads to the open file: log rotation has moved that file away."""
        now = self._clock()
        if self._descriptor == STDERR_DESCRIPTOR or now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        try:
            if _is_same_file(self._path, self._descriptor):
                return
            descriptor = self._opened()
        except OSError as error:
            self._warn_stuck(error)
            return
        self._is_stuck = False
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _warn_stuck(self, error: OSError) -> None:
        """Warn once that lines still go to the moved file, which is better than losing them."""
        if not self._is_stuck:
            self._is_stuck = True
            reason = error.strerror or str(error)
            message = (
                "the access log is still written to the old file, which was moved away: "
                f"{self._path} cannot be opened: {reason}"
            )
            log_event(logging.WARNING, "accesslog-stuck", message, file=self._path, reason=reason)


def _is_same_file(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))  # noqa: PTH116 - to match os.fstat
    except FileNotFoundError:
        return False
