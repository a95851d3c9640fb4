"""Forks by user code: the child must not speak for the worker, nor continue as one.

Such a child shares the worker's socket to the engine and the descriptors of its loop. It closes the socket right after
the fork, and exits if it ever returns from the user's code into Penstock's.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable

from penstock.worker.interrupts import InterruptGuard

_is_fork = False


def watch(engine: socket.socket, guard: InterruptGuard) -> None:
    """Prepare for forks by user code. Call it once, in a new worker."""

    def disconnect() -> None:
        global _is_fork  # noqa: PLW0603  the fact belongs to the process
        _is_fork = True
        guard.retire()
        engine.close()

    os.register_at_fork(after_in_child=disconnect)


def leave_if_forked(results: Iterable[object] = ()) -> None:
    """End this process if it is a fork of the worker, after writing the tracebacks of ``results`` to stderr."""
    if not _is_fork:
        return
    tracebacks = [text for text in (getattr(result, "traceback", "") for result in results) if text]
    sys.stderr.write("".join(tracebacks))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if tracebacks else 0)
