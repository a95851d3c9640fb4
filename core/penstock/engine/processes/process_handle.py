"""A process that is not a child of this one: its number, its signals, and the news that it has ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

from penstock.engine.processes.dying import is_dying, state_of
from penstock.engine.reactors.reactor import Reactor


class ProcessHandle:
    """The process of one worker, which the zygote forks some time after this object is created.

    Parameters
    ----------
    reactor:
        The engine's reactor.
    on_end:
        Called when the process has ended, on platforms that have pidfds.

    Attributes
    ----------
    pid:
        The number of the process; None until it is known.
    """

    def __init__(self, reactor: Reactor, on_end: Callable[[], None]) -> None:
        self.pid: int | None = None
        self._pidfd = -1
        self._is_spawned = False
        self._is_doomed = False  # to be killed as soon as its pid is known
        self._reactor = reactor
        self._on_end = on_end

    def on_spawned(self, pid: int, pidfd: int) -> None:
        """Record that the process exists. ``pidfd`` is -1 if there is none; otherwise it is owned from now on."""
        self.pid = pid
        self._is_spawned = True
        self._pidfd = pidfd
        if pidfd >= 0:
            self._reactor.watch_readable(pidfd, self._on_process_end)
        if self._is_doomed:
            self.kill()

    def on_named(self, pid: int) -> None:
        """Record the pid that the worker says it has, for operators, until the zygote reports it.

        No signal is ever sent to it: it might be that of any process.
        """
        if not self._is_spawned:
            self.pid = pid

    @property
    def is_dying(self) -> bool:
        """True if the process has been started and has ended, or is about to."""
        return self._is_spawned and self.pid is not None and is_dying(self.pid, self._pidfd)

    def _on_process_end(self) -> None:
        self._reactor.watch_readable(self._pidfd, None)
        self._on_end()

    def kill(self) -> None:
        """Send SIGKILL, now or as soon as the process exists."""
        self._is_doomed = True
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal, if the process exists."""
        if self.pid is None or not self._is_spawned:
            return  # not started yet; or reaped, and its pid may belong to another process by now
        with suppress(ProcessLookupError):  # if it is dead already, its exit is about to be reported
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, number)
            else:
                os.kill(self.pid, number)

    @property
    def state(self) -> str:
        """The state of the process, as ``state_of`` returns it; "" if there is no process yet."""
        return "" if self.pid is None else state_of(self.pid)

    def kill_group(self) -> None:
        """Kill the processes that it has left behind, if it has ended and has not been reaped."""
        # Until it is reaped, no other process can have its number.
        if self.pid is not None and self._is_spawned and self.state == "Z":
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Send no more signals, and release the pidfd. Idempotent."""
        self._is_spawned = False
        if self._pidfd >= 0:
            self._reactor.watch_readable(self._pidfd, None)
            os.close(self._pidfd)
            self._pidfd = -1
