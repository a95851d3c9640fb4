"""The ends of a server's processes: their exit codes, and the seconds that each step may take."""

from __future__ import annotations

import os
from typing import NoReturn

from gunicorn.arbiter import Arbiter

from penstock.hosting import flush_log, flush_plugins

EXIT_NOT_LOADED: int = Arbiter.APP_LOAD_ERROR
"""The app cannot be imported. On this exit code and the next, another process would end in the same way."""
EXIT_NOT_STARTED: int = Arbiter.WORKER_BOOT_ERROR
"""The engine does not start, or one of its pools never becomes ready."""
ORPHAN_DRAIN = 5.0
"""An orphan has no supervisor, and a restarted server needs the machine."""
LADDER_LIMIT = 3.0
"""After the drain's deadline the engine still goes through its ladder, up to the kill."""
LAST_LINES = 0.5
"""Time for the last lines of the log, in case the reader of stderr is slow."""


def leave(code: int) -> NoReturn:
    """End this process once plug-ins have written what they have buffered, and the log is written.

    Not by ``sys.exit()``: SystemExit would be raised inside the user's import, which may catch it.
    """
    flush_plugins()
    flush_log(LAST_LINES)
    os._exit(code)


def do_nothing(*_: object) -> None:
    """Handle a signal that is not for this process. Unlike SIG_IGN, it is not inherited by what this process starts."""
