"""gunicorn, started from code: its settings, and a master that drains before it goes."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from penstock.hooks import log_event
from penstock_gunicorn.logger import EventLogger
from penstock_gunicorn.worker import RETIRE, STOP_SIGNALS, PenstockWorker

EXIT_NOT_LOADED = 2
EXIT_AT_ONCE = 128 + signal.SIGINT
# The arbiter SIGKILLs a gunicorn worker this many seconds after the end of its drain: more than the ladder, the last
# responses and the app's own shutdown may take together.
DRAIN_MARGIN = 5
# Seconds without a heartbeat. It bounds how long the event loop may be blocked, not how long a request may take.
HEARTBEAT_TIMEOUT = 60
# Longer than the 60 s for which common load balancers keep an idle connection: the side that reuses it closes it.
KEEPALIVE = 75
DISCONNECT_GRACE = 3
BACKLOG = 2048


def open_listener(host: str, port: int) -> socket.socket:
    """Bind and listen.

    It is done here, and the socket handed to gunicorn, which would try for five seconds and log two lines for each try.

    Parameters
    ----------
    host:
        A name or an address, IPv4 or IPv6.
    port:
        0 for any free one.

    Raises
    ------
    OSError
        If the host is unknown, or the port taken or not allowed.
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
    """Return whether this process was given its listening socket: by gunicorn's SIGUSR2, or by systemd."""
    return "GUNICORN_FD" in os.environ or os.environ.get("LISTEN_PID") == str(os.getpid())


class PenstockApplication(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """One gunicorn master with one gunicorn worker, which loads and serves the app.

    Parameters
    ----------
    load_app:
        Called in the gunicorn worker, never in the master; returns the ASGI application. Its attribute ``penstock`` has
        ``engine`` and takes ``on_pools_failed``.
    listener:
        From ``open_listener``; taken over. None if ``inherits_listener()``.
    drain_timeout:
        Seconds that admitted work has after SIGTERM.
    on_listening:
        Called in the gunicorn worker with the URLs, once it accepts connections.
    configure_logging:
        Called in the gunicorn worker after the app has been loaded, which may have changed the logging.
    """

    def __init__(
        self,
        load_app: Callable[[], Any],
        *,
        listener: socket.socket | None,
        drain_timeout: float = 30.0,
        on_listening: Callable[[Sequence[str]], None] = lambda _urls: None,
        configure_logging: Callable[[], None] = lambda: None,
    ) -> None:
        self.load = load_app
        self.drain_timeout = drain_timeout
        self.on_listening = on_listening
        self.configure_logging = configure_logging
        # gunicorn duplicates the descriptor and closes this one.
        self._bind = [f"fd://{listener.detach()}"] if listener is not None else []
        super().__init__(prog="penstock")

    def load_config(self) -> None:
        """Set everything that matters here, so that no file and no environment variable changes it."""
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
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def run(self) -> NoReturn:
        """Serve. Ends in ``SystemExit``, in the master and, with its own code, in each gunicorn worker."""
        PenstockArbiter(self).run()
        raise AssertionError("the arbiter ends in SystemExit")


class PenstockArbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's master, for which the first SIGINT is a SIGTERM, and the second stops at once."""

    def __init__(self, app: PenstockApplication) -> None:
        self._stopping = False
        self._at_once = False
        super().__init__(app)

    # ---- gunicorn workers

    def spawn_worker(self) -> Any:
        """Fork with the stop signals blocked: the child would lose them until it has handlers of its own."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def kill_worker(self, pid: int, sig: int) -> None:
        """Signal a gunicorn worker; where another serves the same socket, it leaves new connections to that one."""
        if sig == signal.SIGTERM and (not self._stopping or self.reexec_pid or self.master_pid):
            sig = RETIRE
        super().kill_worker(pid, sig)

    def reap_workers(self) -> None:
        """Reap; a gunicorn worker that fails while everything is being stopped changes nothing."""
        try:
            super().reap_workers()
        except HaltServer:
            if not self._stopping:
                raise

    # ---- stopping

    def wait_for_signals(self, timeout: float = 1.0) -> list[int]:
        """Return what has arrived up to the first signal to stop; a second one is for ``stop`` to see."""
        signals: list[int] = super().wait_for_signals(timeout)
        for place, number in enumerate(signals):
            if number in STOP_SIGNALS and number != RETIRE:
                for later in signals[place + 1 :]:
                    self.SIG_QUEUE.put_nowait(later)
                return signals[: place + 1]
        return signals

    def handle_term(self) -> NoReturn:
        """Drain."""
        log_event(logging.INFO, "stopping", f"finishing what was admitted, for at most {self.app.drain_timeout:g} s")
        super().handle_term()
        raise AssertionError("gunicorn ends its main loop by StopIteration")

    def handle_int(self) -> NoReturn:
        """Drain, as for SIGTERM: Ctrl-C is how a person says it."""
        log_event(logging.INFO, "interrupted", "interrupt again to stop at once")
        self.handle_term()

    def kill_workers(self, sig: int) -> None:
        """Signal every gunicorn worker; remember that this stop was not a drain."""
        if sig == signal.SIGQUIT and not self._at_once:
            self._at_once = True
            log_event(logging.WARNING, "stopping-at-once", "waiting for nothing any more")
        super().kill_workers(sig)

    def stop(self, graceful: bool = True) -> None:  # noqa: FBT001, FBT002 - gunicorn's signature
        """Stop every gunicorn worker and wait for it."""
        self._stopping = True
        super().stop(graceful)

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        """End the master, with the exit code that ``penstock_gunicorn`` documents."""
        if exit_status == self.APP_LOAD_ERROR:
            exit_status = EXIT_NOT_LOADED
        try:
            super().halt(reason, exit_status)
        except SystemExit:
            if self._at_once and exit_status == 0:
                exit_status = EXIT_AT_ONCE
            log_event(logging.INFO, "stopped", "everything is stopped", exit_code=exit_status)
            raise SystemExit(exit_status) from None
