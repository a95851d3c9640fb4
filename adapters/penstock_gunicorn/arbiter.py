"""gunicorn's master: it replaces its HTTP process without a gap, and drains before it exits."""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import Any, NoReturn

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from penstock.errors import EngineError
from penstock.hooks import log_event
from penstock_gunicorn.engine_group import EngineGroup
from penstock_gunicorn.generations import FAILED, SERVING, STARTING, Generation, Generations
from penstock_gunicorn.process_endings import EXIT_NOT_LOADED, EXIT_NOT_STARTED
from penstock_gunicorn.reload_log import ReloadLog
from penstock_gunicorn.report_stream import READY
from penstock_gunicorn.worker import RETIRE, STOP_SIGNALS, Assignment

FATAL = (EXIT_NOT_STARTED, EXIT_NOT_LOADED)
"""Exit codes of a gunicorn worker, or of an engine, with which another one would end too."""
EXIT_CANNOT_START = 2
"""The exit code of the whole server if it cannot start as it was asked to."""
EXIT_AT_ONCE = 128 + signal.SIGINT
# Seconds between two looks of the arbiter, which means to look once a second, beyond which it was itself held up.
LONGEST_LOOK_GAP = 5.0


class PenstockArbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's master, changed in three respects.

    SIGHUP starts a new generation, which takes over when it is ready; if it cannot start, the old one goes on. The
    first SIGINT acts as SIGTERM. The second one stops immediately.
    """

    num_workers: int

    def __init__(self, app: Any) -> None:
        self._looked = time.monotonic()
        self._generations = Generations(self._looked)
        self._engines = EngineGroup(app)
        self._reloads: ReloadLog
        self.reexec_pid = 0
        self._stopping = False
        self._at_once = False
        super().__init__(app)

    def start(self) -> None:
        """Begin with the sockets of the application; several gunicorn workers share one engine in its own process."""
        self.LISTENERS = list(self.app.listeners)
        self.systemd = self.app.listeners.are_held
        self.app.supervisor.loading()
        super().start()
        self._reloads = ReloadLog(self.app.bulletin, self.app.supervisor)  # now SIGHUP has its handler
        if self.num_workers > 1:
            try:
                self._engines.add(self._generations.serving)
            except EngineError as error:
                log_event(logging.CRITICAL, "engine-not-started", str(error))
                self.halt(exit_status=EXIT_CANNOT_START)
                raise  # it has ended this process

    @property
    def shares_sockets(self) -> bool:
        """True while another master serves the same sockets, before or after an upgrade in place."""
        # gunicorn itself looks only once a second whether the old master has gone.
        return bool(self.reexec_pid) or (self.master_pid != 0 and self.master_pid == os.getppid())

    # ---- generations

    def handle_hup(self) -> None:
        """Load the app again. Several signals while a reload is under way are one more reload."""
        self._generations.want_reload()

    def manage_workers(self) -> None:
        """Start what is to be started, and let the next generation take over once it is ready."""
        self._hear()
        generations = self._generations
        if self.num_workers > 1 and generations.serving not in self._engines and generations.coming is None:
            generations.want_reload()  # its engine is in its one gunicorn worker, and the next one's is for several
        coming = generations.begin_reload(time.monotonic())
        if coming is not None:
            self._begin_reload(coming)
        retiring = generations.finish_reload(self._size)
        if retiring is not None:
            self._reloads.ended(generations.serving)
            for pid in retiring.members:
                self.kill_worker(pid, RETIRE)  # its engine follows the last of them
        self._engines.keep()
        newest = generations.coming or generations.serving
        while len(newest.members) < self._size(newest):
            self._spawn(newest)
        for pid in generations.dismiss(self.num_workers):
            self.kill_worker(pid, RETIRE)
        is_ready = generations.serving.is_ready(self._size(generations.serving))
        heartbeats = [worker.tmp.last_update() for worker in self.WORKERS.values()]
        self.app.supervisor.watched(is_ready=is_ready, heartbeats=heartbeats, patience=self.timeout)

    def _size(self, generation: Generation) -> int:
        return int(self.num_workers) if generation in self._engines else 1

    def _begin_reload(self, coming: Generation) -> None:
        self._reloads.begun(coming)
        size, usual = self.num_workers, self.cfg.workers
        try:
            self.app.reload()
            self.setup(self.app)
            if self.cfg.workers == usual:
                self.num_workers = size  # as SIGTTIN and SIGTTOU have left it
            if self.num_workers > 1:
                self._engines.add(coming)
        except (Exception, SystemExit) as error:  # gunicorn exits on settings that it cannot read
            self._fail(coming, str(error))
        else:
            self.log.reopen_files()
            self.cfg.on_reload(self)

    def _spawn(self, generation: Generation) -> None:
        """Start a member. If another process serves the same socket, it does not listen before it is ready."""
        waits = generation.state == STARTING or bool(generation.members) or self.master_pid != 0
        self.app.assignment = Assignment(generation.number, waits)
        self.app.engine_path = self._engines.path_of(generation)
        self._generations.started(generation, self.spawn_worker())

    def _hear(self) -> None:
        for report in self.app.reports.receive():
            generation = self._engines.generation_of(report.pid)
            if generation is not None:
                generation.reason = report.reason
            elif report.state == READY:
                self._generations.became_ready(report.pid)
            else:
                self._generations.failed(report.pid, report.reason)

    def _fail(self, coming: Generation, reason: str = "") -> None:
        if coming.state == STARTING:
            self._generations.give_up(reason)
        self._reloads.ended(coming)
        if self._generations.serving not in self._engines:
            self.num_workers = 1
        for pid in coming.members:
            self.kill_worker(pid, signal.SIGQUIT)
        self._engines.dismiss(coming)

    def _worker_ended(self, pid: int, code: int) -> None:
        """Settle the end of a gunicorn worker: the next generation may fail by it, or the whole server."""
        coming = self._generations.coming
        generation = self._generations.ended(pid)
        if generation is None or self._stopping:
            return
        if generation.state == SERVING:
            if code in FATAL:
                raise HaltServer("the app could not be started", code)
        elif generation.state == FAILED and generation is coming:
            self._fail(generation)
        elif not generation.members:
            self._engines.dismiss(generation)

    def _engine_ended(self, pid: int, status: int) -> None:
        """Settle the end of an engine: another is started, or its generation cannot serve."""
        generation = self._engines.generation_of(pid)
        if self._stopping:
            self._engines.forget(pid)
            return
        halt = self._engines.ended(pid, status)
        if halt is None or generation is None:
            return
        if generation.state != STARTING:
            raise halt
        self._fail(generation, "its engine could not start")

    # ---- gunicorn workers

    def spawn_worker(self) -> Any:
        """Fork with the stop signals blocked: the child would lose any that arrive before it has its handlers."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def kill_worker(self, pid: int, sig: int) -> None:
        """Signal a gunicorn worker; if its socket outlives it, it is to leave new connections in the backlog."""
        if sig == signal.SIGTERM and (not self._stopping or self.shares_sockets or self.systemd):
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
        """Reap what has ended: gunicorn workers, a new master, and orphans that the kernel hands over."""
        self._hear()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            if pid == self.reexec_pid:
                self.reexec_pid = 0
                self._reloads.new_master_ended(pid, code)
            self._engine_ended(pid, status)
            worker = self.WORKERS.pop(pid, None)
            if worker is not None:
                worker.tmp.close()
                self.cfg.child_exit(self, worker)
                if code < 0 and not self._stopping:
                    self._reloads.was_killed(pid, -code)
                self._worker_ended(pid, code)

    # ---- stopping

    def wait_for_signals(self, timeout: float = 1.0) -> list[int]:
        """Return the signals up to the first stop signal; the ones after it stay queued for ``stop`` to see."""
        signals: list[int] = super().wait_for_signals(min(timeout, self.app.supervisor.interval))
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
        if self.reexec_pid:
            self.app.supervisor.succeeded_by(self.reexec_pid)
        elif not self.shares_sockets:
            self.app.supervisor.stopping(self.cfg.graceful_timeout)
        super().stop(graceful)
        # Last: the gunicorn workers have needed them until now.
        self._engines.stop(self.app.drain_timeout, at_once=self._at_once or not graceful)

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        """End the master with one of the exit codes that ``penstock_gunicorn`` documents."""
        if exit_status == EXIT_NOT_LOADED:
            exit_status = EXIT_CANNOT_START
        try:
            super().halt(reason, exit_status)
        except SystemExit:
            if self._at_once and exit_status == 0:
                exit_status = EXIT_AT_ONCE
            log_event(logging.INFO, "stopped", "all processes have ended", exit_code=exit_status)
            raise SystemExit(exit_status) from None
