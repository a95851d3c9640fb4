"""The master's side of the engine's process: it starts it, starts another when it has ended, and stops it last."""

from __future__ import annotations

import logging
import mmap
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from gunicorn.errors import HaltServer

from penstock.hooks import log_event
from penstock.hosting import EngineSocket
from penstock_gunicorn.engine_process import DRAIN_SIGNAL, EngineApplication, run_engine
from penstock_gunicorn.process_endings import EXIT_NOT_LOADED, EXIT_NOT_STARTED

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, DRAIN_SIGNAL)
MOST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""An engine that has run for this long has not failed at its start: the next one is started without a pause."""
STOP_MARGIN_SECONDS = 5.0


class EngineKeeper:
    """Keeps one engine process running.

    Parameters
    ----------
    owner:
        The application.
    clock:
        The monotonic clock, in seconds.

    Attributes
    ----------
    socket:
        The socket of the engine, which outlives its process.
    """

    def __init__(self, owner: EngineApplication, clock: Callable[[], float] = time.monotonic) -> None:
        self.socket = EngineSocket()
        self._owner = owner
        self._clock = clock
        self._pid = 0
        self._proven = mmap.mmap(-1, 1)  # the engine sets it once every pool has been ready
        self._failures = 0
        self._started_at = 0.0
        self._start_at = 0.0

    def __repr__(self) -> str:
        return f"<EngineKeeper of process {self._pid or 'none'}>"

    def keep(self) -> None:
        """Start the engine, if it is not running and the pause after a failure is over."""
        if self._pid or self._clock() < self._start_at:
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._be_engine(before)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._pid = pid
        self._started_at = self._clock()

    def _be_engine(self, mask: set[Any]) -> None:
        try:
            for number in STOP_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            run_engine(self._owner, self.socket, self._proven)
        finally:  # never back into the master's loop
            os._exit(1)

    @property
    def pid(self) -> int:
        """The engine's process; 0 if there is none."""
        return self._pid

    def ended(self, status: int) -> None:
        """Note that the engine has ended, with this status of ``waitpid``.

        Raises
        ------
        HaltServer
            If the first engine could not start: another one could not either.
        """
        pid, self._pid = self._pid, 0
        code = os.waitstatus_to_exitcode(status)
        if code in {EXIT_NOT_LOADED, EXIT_NOT_STARTED} and not self._proven[0]:
            raise HaltServer("the engine did not start", code)
        pause = self._next_pause()
        cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        message = f"the engine's process has ended by {cause}; the next one starts " + (
            f"in {pause:g} s" if pause else "now"
        )
        log_event(logging.ERROR, "engine-lost", message, engine_pid=pid, code=code, delay=pause)
        self._start_at = self._clock() + pause

    def _next_pause(self) -> float:
        if self._clock() - self._started_at >= STEADY_SECONDS:
            self._failures = 0
        self._failures += 1
        return 0.0 if self._failures == 1 else min(2.0 ** (self._failures - 2), MOST_PAUSE_SECONDS)

    def begin_stop(self, *, at_once: bool) -> bool:
        """Have the engine stop, with or without a drain. If it does not run, remove its socket and return True."""
        if not self._pid:
            self.socket.close()
            return True
        os.kill(self._pid, signal.SIGQUIT if at_once else DRAIN_SIGNAL)
        return False

    def forget(self) -> None:
        """Note that the engine has ended, as it should, and remove its socket."""
        self._pid = 0
        self.socket.close()

    def stop(self, seconds: float, *, at_once: bool) -> None:
        """Stop the engine, with or without a drain, after this time at the latest, and remove its socket."""
        if self.begin_stop(at_once=at_once):
            return
        deadline = self._clock() + seconds
        while self._pid and self._clock() < deadline:
            if os.waitpid(self._pid, os.WNOHANG)[0]:
                self._pid = 0
            else:
                time.sleep(0.02)
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
        self.socket.close()
