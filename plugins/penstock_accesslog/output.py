"""Where the lines go: a file that others may move away, or stderr."""

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
"""What a pipe takes in one piece, unmixed with what others write into it at the same time."""
FILE_BYTES: Final = 1 << 20
LOOK_SECONDS: Final = 1.0
MODE: Final = 0o640
"""The lines say who has asked for what, which is not everybody's business."""


class Output:
    """Lines are appended to it. One thread uses it at a time.

    Parameters
    ----------
    path:
        The file; "-" for stderr.
    clock:
        Seconds that only grow.

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
        self._is_torn = False  # the last write has left a part of a line

    def _opened(self) -> int:
        # A pipe with a name is opened only if somebody reads it: without O_NONBLOCK this would wait for ever.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, MODE)
        os.set_blocking(descriptor, True)
        return descriptor

    def write(self, lines: Sequence[bytes]) -> tuple[int, OSError | None]:
        """Append these lines; waits for as long as the other side takes.

        Returns
        -------
        How many are written, and what has kept the others from it.
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
        """Gather lines to pieces that are written undivided: each with the number of its lines."""
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
        except BlockingIOError:  # somebody has made our stderr non-blocking, for all who share it
            waiting = select.poll()
            waiting.register(self._descriptor, select.POLLOUT)
            waiting.poll()
            return 0

    def _reopen_if_moved(self) -> None:
        """Follow the path, not the file: whoever rotates logs has moved that away."""
        now = self._clock()
        if self._descriptor == STDERR_DESCRIPTOR or now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        try:
            if _is_same_file(self._path, self._descriptor):
                return
            descriptor = self._opened()
        except OSError as error:
            self._tell_stuck(error)
            return
        self._is_stuck = False
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _tell_stuck(self, error: OSError) -> None:
        """Better into a file that was moved away than nowhere; but somebody should know, once."""
        if not self._is_stuck:
            self._is_stuck = True
            reason = error.strerror or str(error)
            message = (
                f"the access log still goes to the file that was moved away: {self._path} cannot be opened: {reason}"
            )
            log_event(logging.WARNING, "accesslog-stuck", message, file=self._path, reason=reason)


def _is_same_file(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))  # noqa: PTH116 - beside fstat
    except FileNotFoundError:
        return False
