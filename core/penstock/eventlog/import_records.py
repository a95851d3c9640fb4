"""The log records of an app's import, each shown once, although the HTTP process and the zygote both import the app."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from penstock.eventlog.event_records import EventRecord

MOST_NOTED: Final = 4096
"""The number of different records that are remembered. Imports log a few."""

Key = tuple[int, str, str]  # the level, the logger and the message: other processes say the same at another time


class _OwnImport:
    """The records that this process has shown while it imported the app itself."""

    def __init__(self) -> None:
        self.is_running = False
        self.shown: Counter[Key] = Counter()


_own = _OwnImport()


@contextmanager
def own_import() -> Iterator[None]:
    """Note the records that are shown in the block, so that those of other processes' imports are not shown again."""
    _own.shown.clear()
    _own.is_running = True
    try:
        yield
    finally:
        _own.is_running = False


def note_shown(record: logging.LogRecord) -> None:
    """Note a record that is about to be written, if the app is being imported."""
    if _own.is_running:
        message = str(record.msg) if isinstance(record, EventRecord) else record.getMessage()
        _own.shown[record.levelno, record.name, message] += 1


class ImportRecords:
    """The log records of the imports by the processes of one engine."""

    def __init__(self) -> None:
        self._shown = Counter(_own.shown)

    def of_process(self) -> Callable[[Key], bool]:
        """Return the check for one process: whether a record of its import is new, and so must be shown.

        What a process logs three times is shown three times, whichever process comes first.
        """
        shown = self._shown
        seen: Counter[Key] = Counter()

        def is_new(key: Key) -> bool:
            if key not in seen and len(seen) >= MOST_NOTED:
                return True
            seen[key] += 1
            if seen[key] <= shown[key]:
                return False
            shown[key] = seen[key]
            return True

        return is_new
