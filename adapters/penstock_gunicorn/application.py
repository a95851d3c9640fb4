"""gunicorn started from code: its settings, and a master that drains before it exits."""

from __future__ import annotations

import logging
import math
import mmap
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from penstock.hooks import log_event
from penstock.policies import DEFAULT_DRAIN_TIMEOUT
from penstock_gunicorn.logger import EventLogger
from penstock_gunicorn.peer_settings import PeerSettings
from penstock_gunicorn.temporary_folder import heartbeat_folder
from penstock_gunicorn.worker import RETIRE, STOP_SIGNALS, PenstockWorker

EXIT_NOT_LOADED = 2
EXIT_AT_ONCE = 128 + signal.SIGINT
# The arbiter SIGKILLs a gunicorn worker this many seconds after its drain should have ended: longer than the ladder,
# the last responses and the app's own shutdown may take together.
DRAIN_MARGIN = 5
# Seconds without a heartbeat: a limit on how long the event loop may block, not on how long a request may take. The
# arbiter looks once a second, first sends SIGABRT, and SIGKILL a second later: so a process that hangs is replaced
# within 15 s.
HEARTBEAT_TIMEOUT = 10
# Seconds between two looks of the arbiter, which means to look once a second, beyond which it was itself held up.
LONGEST_LOOK_GAP = 5.0
# Longer than the 60 s for which common load balancers keep an idle connection, so that the side that reuses the
# connection is the side that closes it.
KEEPALIVE = 75
DISCONNECT_GRACE = 3
BACKLOG = 2048


def open_listener(host: str, port: int) -> socket.socket:
    """Return a bound, listening socket.

    gunicorn takes it over. Left to bind by itself, it would repeat that for five seconds and log two lines each time.

    Parameters
    ----------
    host:
        A host name or an address, IPv4 or IPv6.
    port:
        0 picks a free port.

    Raises
    ------
    OSError
        If the host is unknown, or the port is in use or not permitted.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def inherits_listener() -> bool:
    """Return whether this process inherited its listening socket, from gunicorn (SIGUSR2) or from systemd."""
    return "GUNICORN_FD" in os.environ or os.environ.get("LISTEN_PID") == str(os.getpid())


class PenstockApplication(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """One gunicorn master with one gunicorn worker, which loads and serves the app.

    Parameters
    ----------
    load_app:
        Called in the gunicorn worker, never in the master; returns the ASGI application. The application's attribute
        ``penstock`` has an ``engine``; ``on_pools_failed`` and ``on_shutdown`` are set on it.
    listener:
        From ``open_listener``; the application takes ownership. None if ``inherits_listener()``.
    drain_timeout:
        Seconds for which admitted work may go on after SIGTERM.
    on_listening:
        Called in the gunicorn worker with the URLs, once it accepts connections.
    configure_logging:
        Called in the gunicorn worker after the app has been loaded, since loading it may have changed the logging.
    peers:
        The limits on slow clients.

    Attributes
    ----------
    interrupted:
        One byte, which is not zero once the master has been stopped by SIGINT.
    """

    def __init__(
        self,
        load_app: Callable[[], Any],
        *,
        listener: socket.socket | None,
        drain_timeout: float = DEFAULT_DRAIN_TIMEOUT,
        on_listening: Callable[[Sequence[str]], None] = lambda _urls: None,
        configure_logging: Callable[[], None] = lambda: None,
        peers: PeerSettings | None = None,
    ) -> None:
        self.load = load_app
        self.drain_timeout = drain_timeout
        self.on_listening = on_listening
        self.configure_logging = configure_logging
        self.peers = PeerSettings() if peers is None else peers
        # Shared with the gunicorn workers: a second signal right before SIGTERM could hide that one from a system call.
        self.interrupted = mmap.mmap(-1, 1)
        # gunicorn duplicates the descriptor and closes this one.
        self._bind = [f"fd://{listener.detach()}"] if listener is not None else []
        super().__init__(prog="penstock")

    def load_config(self) -> None:
        """Set every setting that matters, so that no file and no environment variable can change it."""
        settings = {
            "bind": self._bind,
            "workers": 1,
            "threads": 1,
            "worker_class": PenstockWorker,
            "logger_class": EventLogger,
            "asgi_lifespan": "on",
            "asgi_disconnect_grace_period": DISCONNECT_GRACE,
            "control_socket_disable": True,
            "timeout": HEARTBEAT_TIMEOUT,
            "graceful_timeout": math.ceil(self.drain_timeout) + DRAIN_MARGIN,
            "keepalive": KEEPALIVE,
            "backlog": BACKLOG,
            "proc_name": "penstock",
            "worker_tmp_dir": heartbeat_folder(),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def run(self) -> NoReturn:
        """Serve until stopped.

        Raises
        ------
        SystemExit
            In the master and, with an exit code of its own, in each gunicorn worker.
        """
        PenstockArbiter(self).run()
        raise AssertionError("the arbiter ends by SystemExit")


class PenstockArbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's master, changed so that the first SIGINT acts as SIGTERM and the second stops immediately."""

    def __init__(self, app: PenstockApplication) -> None:
        self._looked = time.monotonic()
        self._stopping = False
        self._at_once = False
        super().__init__(app)

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
        if sig == signal.SIGTERM and (not self._stopping or self.reexec_pid or self.master_pid):
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
