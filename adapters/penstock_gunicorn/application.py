"""gunicorn started from code: its settings and its sockets."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from gunicorn.app.base import BaseApplication

from penstock.hosting import ENGINE_VARIABLE
from penstock.policies import DEFAULT_DRAIN_TIMEOUT
from penstock_gunicorn.addresses import BACKLOG
from penstock_gunicorn.arbiter import PenstockArbiter
from penstock_gunicorn.bulletin import Bulletin
from penstock_gunicorn.companion import Companion
from penstock_gunicorn.listeners import Listeners
from penstock_gunicorn.logger import EventLogger
from penstock_gunicorn.peer_settings import PeerSettings
from penstock_gunicorn.report_stream import ReportStream
from penstock_gunicorn.supervisor import Supervisor
from penstock_gunicorn.temporary_folder import heartbeat_folder
from penstock_gunicorn.tls import server_context
from penstock_gunicorn.worker import Assignment, PenstockWorker

# The arbiter SIGKILLs a gunicorn worker this many seconds after its drain should have ended: longer than the ladder,
# the last responses and the app's own shutdown may take together.
DRAIN_MARGIN = 5
# Seconds without a heartbeat: a limit on how long the event loop may block, not on how long a request may take. The
# arbiter looks once a second, first sends SIGABRT, and SIGKILL a second later: so a process that hangs is replaced
# within 15 s.
HEARTBEAT_TIMEOUT = 10
# Longer than the 60 s for which common load balancers keep an idle connection, so that the side that reuses the
# connection is the side that closes it.
KEEPALIVE = 75
DISCONNECT_GRACE = 3
NO_SETTINGS: Mapping[str, Any] = {}


def replaces_master() -> bool:
    """Return whether this process was started by a running master, which got SIGUSR2."""
    return "GUNICORN_PID" in os.environ


class PenstockApplication(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """One gunicorn master, and the gunicorn workers that load and serve the app.

    Parameters
    ----------
    load_app:
        Called in the gunicorn worker with "http", and in the engine's process, if it has one, with "engine"; never in
        the master. Returns the ASGI application, whose attribute ``penstock`` is the service behind it.
    listeners:
        The sockets to serve; the application takes ownership.
    http_workers:
        The number of gunicorn workers. Several of them share one engine, in a process of its own.
    drain_timeout:
        Seconds for which admitted work may go on after SIGTERM.
    on_engine_started:
        Called in the engine's process, if it has one, once the app is loaded and its models begin to load.
    on_listening:
        Called in the gunicorn worker with the URLs, once it accepts connections.
    new_companion:
        Called in the gunicorn worker with the ASGI application; returns the server for another protocol, to which the
        listeners that are marked as its own belong. None: there is none.
    configure_logging:
        Called in the gunicorn worker after the app has been loaded, since loading it may have changed the logging.
    peers:
        The limits on slow clients.
    pid_file:
        The file for the process ID of the master, which has been checked with ``prepare_pid_file``.
    settings:
        Further settings of gunicorn, by name: from ``read_gunicorn_config``, for example.

    Raises
    ------
    StartError
        If TLS is asked for, and the certificate or its key cannot be used.

    Attributes
    ----------
    engine_path:
        The path of the socket of the engine, if it has a process of its own; "" if it runs in the gunicorn worker.
    interrupted:
        One byte, which is not zero once the master has been stopped by SIGINT.
    assignment:
        The part of the next gunicorn worker to be started. Set by the arbiter before each fork.
    supervisor:
        The program that has started this server, systemd for example.
    reports:
        The way from the gunicorn workers to the arbiter.
    bulletin:
        The arbiter's publication about reloads.
    """

    def __init__(
        self,
        load_app: Callable[[str], Any],
        *,
        listeners: Listeners,
        http_workers: int = 1,
        drain_timeout: float = DEFAULT_DRAIN_TIMEOUT,
        on_engine_started: Callable[[], None] = lambda: None,
        on_listening: Callable[[Sequence[str]], None] = lambda _urls: None,
        new_companion: Callable[[Any], Companion] | None = None,
        configure_logging: Callable[[], None] = lambda: None,
        peers: PeerSettings | None = None,
        pid_file: Path | None = None,
        settings: Mapping[str, Any] = NO_SETTINGS,
    ) -> None:
        self.load_as = load_app
        self.on_engine_started = on_engine_started
        self.engine_path = ""
        self._http_workers = http_workers
        self._pid_file = pid_file
        self.drain_timeout = drain_timeout
        self.on_listening = on_listening
        self.new_companion = new_companion
        self.configure_logging = configure_logging
        self.peers = PeerSettings() if peers is None else peers
        # Shared with the gunicorn workers: a second signal right before SIGTERM could hide that one from a system call.
        self.interrupted = mmap.mmap(-1, 1)
        self.assignment = Assignment()
        self.reports = ReportStream()
        self.bulletin = Bulletin()
        self._environment = os.environ.copy()  # for a new master, started by SIGUSR2
        self.supervisor = Supervisor(os.environ)
        self.listeners = listeners
        self._settings = settings
        try:
            super().__init__(prog="penstock")
            if self.cfg.is_ssl:
                server_context(self.cfg)
        except BaseException:
            listeners.remove_files()
            raise

    def load_config(self) -> None:
        """Set every setting that matters, so that no environment variable can change it."""
        settings = {
            "keepalive": KEEPALIVE,
            "backlog": BACKLOG,
            "proc_name": "penstock",
            "worker_tmp_dir": heartbeat_folder(),
            "root_path": "",
            **self._settings,
            "bind": [],
            "workers": self._http_workers,
            "threads": 1,
            "worker_class": PenstockWorker,
            "logger_class": EventLogger,
            "asgi_lifespan": "on",
            "asgi_disconnect_grace_period": DISCONNECT_GRACE,
            "control_socket_disable": True,
            "timeout": HEARTBEAT_TIMEOUT,
            "graceful_timeout": math.ceil(self.drain_timeout) + DRAIN_MARGIN,
            "pidfile": None if self._pid_file is None else str(self._pid_file.resolve()),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)
        self.cfg.env_orig = self._environment.copy()

    def load(self) -> Any:
        """Return the ASGI application of a gunicorn worker."""
        if self.engine_path:
            os.environ[ENGINE_VARIABLE] = self.engine_path  # the application finds the engine there
        return self.load_as("http")

    def run(self) -> NoReturn:
        """Serve until stopped.

        Raises
        ------
        SystemExit
            In the master and, with an exit code of its own, in each gunicorn worker.
        """
        arbiter = PenstockArbiter(self)
        try:
            arbiter.run()
        finally:
            if not arbiter.shares_sockets:
                self.listeners.remove_files()
        raise AssertionError("the arbiter ends by SystemExit")
