"""Forks by user code: the child must not speak for the worker, nor continue as one.

Such a child shares the worker's socket to the engine and the descriptors of its loop. It closes the socket right after
the fork, and exits if it ever returns from the user's code into Penstock's. It handles signals as a child of any other
Python program does: Penstock's handlers, which it inherits, would make ``Process.terminate()`` ineffective.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable

from penstock.worker.interrupts import InterruptGuard

_is_fork = False
_watched: tuple[socket.socket, InterruptGuard] | None = None

_DEFAULT_HANDLERS: dict[signal.Signals, Callable[..., None] | signal.Handlers] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGUSR1: signal.SIG_DFL,
    signal.SIGCHLD: signal.SIG_DFL,
}


class _ThisFork(threading.local):
    """The fork that this thread is about to make."""

    is_a_worker = False
    mask: set[int] | None = None


_this_fork = _ThisFork()


def fork_worker() -> int:
    """Fork as ``os.fork`` does, but leave the signal handlers in place: the child becomes a worker."""
    _this_fork.is_a_worker = True
    try:
        return os.fork()
    finally:
        _this_fork.is_a_worker = False


def restore_signals_in_children() -> None:
    """Let every process that user code forks have default handlers in place of Penstock's. Call it once.

    The signals are blocked during the fork: one that arrived before the handlers are replaced would be lost.
    """
    os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_restore)


def _block() -> None:
    if not _this_fork.is_a_worker:
        _this_fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFAULT_HANDLERS)


def _unblock() -> None:
    mask, _this_fork.mask = _this_fork.mask, None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _restore() -> None:
    if _this_fork.is_a_worker:
        return
    signal.set_wakeup_fd(-1)  # it leads to the loop of the parent
    for number, default in _DEFAULT_HANDLERS.items():
        if _is_ours(signal.getsignal(number)):
            signal.signal(number, default)
    _unblock()


def _is_ours(handler: object) -> bool:
    """Return whether it is Penstock's: user code may have installed handlers of its own."""
    return callable(handler) and getattr(handler, "__module__", "").partition(".")[0] == "penstock"


def watch(engine: socket.socket, guard: InterruptGuard) -> None:
    """Prepare for forks by user code. Call it in every new worker, a fork of another worker's fork included."""
    global _is_fork, _watched  # noqa: PLW0603  the facts belong to the process
    if _watched is None:
        os.register_at_fork(after_in_child=_disconnect)
    _watched = engine, guard
    _is_fork = False


def _disconnect() -> None:
    global _is_fork  # noqa: PLW0603  the fact belongs to the process
    assert _watched is not None
    _is_fork = True
    engine, guard = _watched
    guard.retire()
    engine.close()


def disown_worker() -> None:
    """Release what a fork of a worker shares with that worker's engine, because it will not be a part of the worker.

    A worker that is forked from here must be able to reach no other worker's socket or memory.
    """
    assert _watched is not None
    engine, guard = _watched
    engine.close()
    guard.release()


def leave_if_forked(results: Iterable[object] = ()) -> None:
    """End this process if it is a fork of the worker, after writing the tracebacks of ``results`` to stderr."""
    if not _is_fork:
        return
    tracebacks = [text for text in (getattr(result, "traceback", "") for result in results) if text]
    sys.stderr.write("".join(tracebacks))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if tracebacks else 0)
