"""A file whose changes are picked up without a restart and without a thread."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from penstock.hooks import log_event

LOOK_SECONDS: Final = 1.0
# A file system's clock may tick this slowly. A file that was read this soon after it was written may be written again
# without its timestamps changing, so it is read once more.
SETTLED_SECONDS: Final = 2.0
MOST_BYTES: Final = 16 << 20

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """A file's parsed content, at most one second old.

    When the file can no longer be read or parsed, the previous content stays in force and one error is logged: a file
    that is only half written must not lock callers out.

    Parameters
    ----------
    path:
        The path of the file.
    parse:
        Turns the file's bytes into its content. Raises ``ValueError``, with a message that shows no secret.
    what:
        A plural noun for the content, for the log.
    clock, wall_clock:
        The monotonic clock, in seconds, and the wall clock, in seconds since 1970.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read or parsed now.
    """

    def __init__(
        self,
        path: str,
        parse: Callable[[bytes], T],
        *,
        what: str,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = Path(path)
        self._parse = parse
        self._what = what
        self._clock = clock
        self._wall_clock = wall_clock
        self._looking = threading.Lock()
        self._complaint = ""
        self._bytes = b""
        self._mark: object = None
        self._look_at = clock() + LOOK_SECONDS
        self._bytes, self._mark = self._read()
        self._content = parse(self._bytes)

    def __repr__(self) -> str:
        return f"<WatchedFile {self.path}>"

    def current(self) -> T:
        """Return the content; check the file for changes at most once a second."""
        now = self._clock()
        # One of several threads checks the file; the others continue with the present content.
        if now >= self._look_at and self._looking.acquire(blocking=False):
            try:
                self._look_at = now + LOOK_SECONDS
                self._look()
            finally:
                self._looking.release()
        return self._content

    def _look(self) -> None:
        try:
            if self._mark is not None and self._mark == _mark_of(os.stat(self.path)):  # noqa: PTH116 - costs half as much
                self._complaint = ""
                return
            content, mark = self._read()
            if content != self._bytes or self._complaint:
                self._content = self._parse(content)
                log_event(logging.INFO, "file-read-again", f"the {self._what} have changed", file=str(self.path))
            self._bytes, self._mark, self._complaint = content, mark, ""
        except (OSError, ValueError) as error:
            # Only strerror: the rest of an OSError's text is the path, which the log line has anyway.
            self._complain(str(getattr(error, "strerror", None) or error))

    def _complain(self, complaint: str) -> None:
        if complaint == self._complaint:
            return
        self._complaint = complaint
        sentence = f"the {self._what} have changed and cannot be read: {complaint}; the previous ones stay in force"
        log_event(logging.ERROR, "file-unreadable", sentence, file=str(self.path))

    def _read(self) -> tuple[bytes, object]:
        with self.path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES >> 20} MiB")
        is_settled = status.st_mtime < self._wall_clock() - SETTLED_SECONDS
        return content, _mark_of(status) if is_settled else None


def _mark_of(status: os.stat_result) -> tuple[int, ...]:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev
