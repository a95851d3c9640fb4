"""gunicorn's master: it drains before it exits."""

from __future__ import annotations

import logging
import signal
import time
from typing import Any, NoReturn

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from penstock.hooks import log_event
from penstock_gunicorn.worker import RETIRE, STOP_SIGNALS

EXIT_NOT_LOADED = 2
EXIT_AT_ONCE = 128 + signal.SIGINT
# Seconds between two looks of the arbiter, which means to look once a second, beyond which it was itself held up.
LONGEST_LOOK_GAP = 5.0


class PenstockArbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's master, changed so that the first SIGINT acts as SIGTERM and the second stops immediately."""

    def __init__(self, app: Any) -> None:
        self._looked = time.monotonic()
        self._stopping = False
        self._at_once = False
        super().__init__(app)

    def start(self) -> None:
        """Begin with the sockets of the application; gunicorn would open its own."""
        self.LISTENERS = list(self.app.listeners)
        super().start()

    @property
    def shares_sockets(self) -> bool:
        """True while another master serves the same sockets, before or after an upgrade in place."""
        return bool(self.reexec_pid or self.master_pid)

    # ---- gunicorn workers

    def spawn_worker(self) -> Any:
        """Fork with the stop signals blocked: the child would lose any that arrive before it has its handlers."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def kill_worker(self, pid: int, sig: int) -> None:
        """Signal a gunicorn worker; if another serves the same socket, it is to leave new connections to that one."""
        if sig == signal.SIGTERM and (not self._stopping or self.shares_sockets):
            sig = RETIRE
        super().kill_worker(pid, sig)

    def murder_workers(self) -> None:
        """Kill the gunicorn workers that have no heartbeat, unless the whole machine has just been held up.

        In a container that was paused, or a job that was stopped from its terminal, nothing ran, and the missing
        heartbeat proves nothing. The arbiter looks again in a second.
        """
        before, self._looked = self._looked, time.monotonic()
        if self._looked - before <= LONGEST_LOOK_GAP:
            super().murder_workers()

    def reap_workers(self) -> None:
        """Reap the gunicorn workers that ended. A failure during a stop changes nothing."""
        try:
            super().reap_workers()
        except HaltServer:
            if not self._stopping:
                raise

    # ---- stopping

    def wait_for_signals(self, timeout: float = 1.0) -> list[int]:
        """Return the signals up to the first stop signal; the ones after it stay queued for ``stop`` to see."""
        signals: list[int] = super().wait_for_signals(timeout)
        for place, number in enumerate(signals):
            if number in STOP_SIGNALS and number != RETIRE:
                for later in signals[place + 1 :]:
                    self.SIG_QUEUE.put_nowait(later)
                return signals[: place + 1]
        return signals

    def handle_term(self) -> NoReturn:
        """Drain, then stop."""
        log_event(logging.INFO, "stopping", f"finishing admitted work, for at most {self.app.drain_timeout:g} s")
        super().handle_term()
        raise AssertionError("gunicorn ends its main loop by StopIteration")

    def handle_int(self) -> NoReturn:
        """Drain, as for SIGTERM: Ctrl-C is the same request from a person at a terminal."""
        log_event(logging.INFO, "interrupted", "interrupt again to stop immediately")
        self.app.interrupted[0] = True
        self.handle_term()

    def kill_workers(self, sig: int) -> None:
        """Signal every gunicorn worker, and record for the exit code if this stop is not a drain."""
        if sig == signal.SIGQUIT and not self._at_once:
            self._at_once = True
            log_event(logging.WARNING, "stopping-at-once", "stopping immediately, without a drain")
        super().kill_workers(sig)

    def stop(self, graceful: bool = True) -> None:  # noqa: FBT001, FBT002 - gunicorn's signature
        """Stop every gunicorn worker and wait until it has ended."""
        self._stopping = True
        super().stop(graceful)

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        """End the master with one of the exit codes that ``penstock_gunicorn`` documents."""
        if exit_status == self.APP_LOAD_ERROR:
            exit_status = EXIT_NOT_LOADED
        try:
            super().halt(reason, exit_status)
        except SystemExit:
            if self._at_once and exit_status == 0:
                exit_status = EXIT_AT_ONCE
            log_event(logging.INFO, "stopped", "all processes have ended", exit_code=exit_status)
            raise SystemExit(exit_status) from None
