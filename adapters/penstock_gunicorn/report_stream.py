"""The way on which an HTTP process reports to the master that it is ready, or why it is about to end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from dataclasses import dataclass
from typing import Final

READY: Final = "ready"
FAILED: Final = "failed"
MOST_CHARACTERS: Final = 1000
_PIECE = 1 << 16


@dataclass(frozen=True)
class ProcessReport:
    """One report of the process ``pid``: READY, or FAILED with the reason."""

    pid: int
    state: str
    reason: str = ""


class ReportStream:
    """A pipe from all HTTP processes to their master, which makes it before the first fork.

    A report is shorter than what a pipe takes in one piece, so that those of several processes do not mix.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._begun = b""

    def send(self, state: str, reason: str = "") -> None:
        """Report from an HTTP process, and wake the master."""
        report = {"pid": os.getpid(), "state": state, "reason": reason[:MOST_CHARACTERS]}
        line = json.dumps(report).encode()[: select.PIPE_BUF - 1]
        with contextlib.suppress(OSError):  # the master has gone, and with it the need
            os.write(self._writer, line + b"\n")
            os.kill(os.getppid(), signal.SIGCHLD)

    def receive(self) -> list[ProcessReport]:
        """Return the reports that have arrived; in the master."""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self._reader, _PIECE):
                self._begun += piece
        *lines, self._begun = self._begun.split(b"\n")
        reports = []
        for line in lines:
            with contextlib.suppress(ValueError):  # a reason of many non-ASCII characters may have been cut off
                reports.append(ProcessReport(**json.loads(line)))
        return reports
