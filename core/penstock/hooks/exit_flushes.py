"""The last actions of plug-ins before their process ends: most often, they write what they have buffered."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from typing import Final

_flushes: Final[list[tuple[int, Callable[[], object]]]] = []


def before_exit(flush: Callable[[], object]) -> None:
    """Have a function called before this process ends, perhaps more than once. It must return within a few seconds.

    Forks of this process do not call it. A process that is killed does not either.
    """
    if not _flushes:
        atexit.register(flush_plugins)
    _flushes.append((os.getpid(), flush))


def flush_plugins() -> None:
    """Call these functions. For the end of a server, and for exits that skip Python's own."""
    for process, flush in reversed(_flushes):
        if process == os.getpid():
            flush()
