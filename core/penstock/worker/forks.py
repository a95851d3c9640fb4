"""When user code forks: the child must not speak for the worker, nor go on as one.

Such a child shares the worker's socket to the engine and its loop's descriptors. It gives the socket up at birth, and
if it ever returns from the user's code into ours, that is its end.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable

from penstock.worker.interrupts import InterruptGuard

_is_fork = False


def watch(engine: socket.socket, guard: InterruptGuard) -> None:
    """Prepare for forks by user code. Invocation once, in a worker that is born."""

    def give_up() -> None:
        global _is_fork  # noqa: PLW0603  what is true of a process is global to it
        _is_fork = True
        guard.retire()
        engine.close()

    os.register_at_fork(after_in_child=give_up)


def leave_if_forked(outcome: Iterable[object] = ()) -> None:
    """End this process if it is not the worker; say first how the user's code ended if it failed."""
    if not _is_fork:
        return
    tracebacks = [text for text in (getattr(result, "traceback", "") for result in outcome) if text]
    sys.stderr.write("".join(tracebacks))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if tracebacks else 0)
