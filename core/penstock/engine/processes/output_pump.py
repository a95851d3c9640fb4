"""The output of user code, logged line by line with the name of its worker."""

from __future__ import annotations

import logging
import os
import sys

from penstock.engine.processes.crash_traces import new_crash_filter
from penstock.engine.reactors.reactor import Reactor
from penstock.eventlog import log_event

_READ_BYTES = 1 << 16
_LONGEST_LINE = 1 << 16
_MOST_LEFT_BYTES = 1 << 20  # the most that a pipe can be set to hold


class OutputPump:
    """Reads a pipe that carries a process's stdout and stderr, and logs each line whole.

    Parameters
    ----------
    reactor:
        The engine's reactor.
    fd:
        The read end of the pipe. Owned: ``close`` closes it.
    name:
        The name of the process.
    """

    def __init__(self, reactor: Reactor, fd: int, name: str) -> None:
        self._reactor = reactor
        self._fd = fd
        self._name = name
        self._partial = b""
        self._is_shown = new_crash_filter()
        os.set_blocking(fd, False)
        reactor.watch_readable(fd, self._on_readable)

    def _on_readable(self) -> None:
        if self._read() == b"":
            self._reactor.watch_readable(self._fd, None)

    def _read(self) -> bytes | None:
        """Read and log once; return the bytes, ``b""`` at the end of the pipe, or None if there are none yet."""
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
        if not self._is_shown(line):
            return
        text = line.decode("utf-8", "backslashreplace").rstrip("\r")
        if logging.getLogger("penstock").hasHandlers():
            log_event(logging.INFO, "output", text, worker=self._name)
        else:
            # An embedding program that has not configured logging still expects to see what its model prints.
            sys.stderr.write(f"[{self._name}] {text}\n")

    def close(self) -> None:
        """Log the bytes left in the pipe, and close it: a grandchild may hold the other end open indefinitely."""
        if self._fd < 0:
            return
        self._reactor.watch_readable(self._fd, None)
        for _ in range(_MOST_LEFT_BYTES // _READ_BYTES):  # bounded, however fast a grandchild goes on writing
            if not self._read():
                break
        self._flush()
        os.close(self._fd)
        self._fd = -1
