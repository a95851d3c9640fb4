"""What user code prints, line by line and marked with its worker."""

from __future__ import annotations

import logging
import os
import sys

from penstock.engine.reactors.reactor import Reactor
from penstock.eventlog import log_event

_READ_BYTES = 1 << 16
_LONGEST_LINE = 1 << 16
_MOST_LEFT_BYTES = 1 << 20  # as much as a pipe can be made to hold


class OutputPump:
    """Reads a pipe that is some process's stdout and stderr, and logs every line of it whole.

    Parameters
    ----------
    reactor:
        The engine's.
    fd:
        The read end. Owned: closed by ``close``.
    name:
        Who writes into it.
    """

    def __init__(self, reactor: Reactor, fd: int, name: str) -> None:
        self._reactor = reactor
        self._fd = fd
        self._name = name
        self._partial = b""
        os.set_blocking(fd, False)
        reactor.watch_readable(fd, self._on_readable)

    def _on_readable(self) -> None:
        if self._read() == b"":
            self._reactor.watch_readable(self._fd, None)

    def _read(self) -> bytes | None:
        """Take what is there: nothing (None), or the end of the pipe (no bytes)."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return None
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._log(line)
        if len(self._partial) > _LONGEST_LINE:
            self._flush()
        return data

    def _flush(self) -> None:
        line, self._partial = self._partial, b""
        if line:
            self._log(line)

    def _log(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace").rstrip("\r")
        if logging.getLogger("penstock").hasHandlers():
            log_event(logging.INFO, "output", text, worker=self._name)
        else:
            # An embedding program that has set up no logging still expects to see what its model prints.
            sys.stderr.write(f"[{self._name}] {text}\n")

    def close(self) -> None:
        """Log what is still in the pipe, and close it; a grandchild may hold the other end for ever."""
        if self._fd < 0:
            return
        self._reactor.watch_readable(self._fd, None)
        for _ in range(_MOST_LEFT_BYTES // _READ_BYTES):  # bounded, however fast somebody goes on writing
            if not self._read():
                break
        self._flush()
        os.close(self._fd)
        self._fd = -1
