"""The master publishes the state of its reloads for its HTTP processes and for ``penstock reload``.

The place is a file in memory that is in no folder: none needs to be writable, nothing of it is left behind, and the
kernel lets only the same user read it, through ``/proc``.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from penstock_gunicorn.nameless_files import open_nameless

_NAME: Final = "penstock-master"
_SIZE: Final = 1 << 14
_TRIES: Final = 100


@dataclass(frozen=True)
class ReloadRecord:
    """The state of a server's reloads.

    Parameters
    ----------
    pid:
        The master.
    generation:
        The number of the generation that serves.
    begun, ended:
        The numbers of reloads that have begun, and that have ended in either way.
    failures:
        Why reloads failed, by their number as a string; only the latest ones are kept.
    """

    pid: int
    generation: int = 1
    begun: int = 0
    ended: int = 0
    failures: dict[str, str] | None = None


class Bulletin:
    """The file, in the master and in the processes that it forks."""

    def __init__(self) -> None:
        self._descriptor = open_nameless(_NAME)

    def publish(self, record: ReloadRecord) -> None:
        """Replace what is published. Only the master does this."""
        text = json.dumps(asdict(record)).encode()
        os.pwrite(self._descriptor, text.ljust(_SIZE), 0)

    def read(self) -> ReloadRecord:
        """Return what is published."""
        return _read(self._descriptor)

    def close(self) -> None:
        """Close the file; with the last process that has it open, it is gone."""
        os.close(self._descriptor)

    def status(self) -> dict[str, Any]:
        """Return the same for the status page."""
        record = self.read()
        reloads = {"begun": record.begun, "ended": record.ended, "failures": record.failures}
        return {"generation": record.generation, "reloads": reloads}


def published_by(pid: int) -> ReloadRecord | None:
    """Return what a process publishes; None if it is not a master of ours, nor one of its HTTP processes.

    Raises
    ------
    ProcessLookupError
        If there is no such process.
    PermissionError
        If it is another user's.
    """
    folder = Path(f"/proc/{pid}/fd")
    try:
        entries = list(folder.iterdir())
    except FileNotFoundError:
        raise ProcessLookupError(f"there is no process {pid}") from None
    for entry in entries:
        with contextlib.suppress(FileNotFoundError, BrokenPipeError):  # closed meanwhile, or not yet written
            if str(entry.readlink()).startswith(f"/memfd:{_NAME}"):
                descriptor = os.open(entry, os.O_RDONLY)
                try:
                    return _read(descriptor)
                finally:
                    os.close(descriptor)
    return None


def _read(descriptor: int) -> ReloadRecord:
    for _ in range(_TRIES):
        text = os.pread(descriptor, _SIZE, 0)
        # The reader may see half of a change.
        with contextlib.suppress(ValueError, TypeError):
            record = ReloadRecord(**json.loads(text))
            if os.pread(descriptor, _SIZE, 0) == text:
                return record
    raise BrokenPipeError("what the master publishes cannot be read")
