"""``penstock serve``: start a server from the command-line options."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import penstock_falcon
from penstock import App
from penstock.hooks import log_event
from penstock.hosting import configure_logging, load_app, own_import, replace_missing_streams
from penstock_cli.app_arguments import show_arguments_to_app
from penstock_cli.import_output import output_as_events, records_as_events
from penstock_cli.targets import check_target, include_current_folder
from penstock_gunicorn import (
    PeerSettings,
    PenstockApplication,
    PidFileError,
    inherits_listener,
    open_listener,
    prepare_pid_file,
    replaces_master,
)

EXIT_CANNOT_LISTEN = 1
EXIT_WRONG_OPTION = 2


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The options of ``penstock serve``; see its ``--help``. Sizes are in bytes, timeouts in seconds."""

    target: str
    host: str
    port: int
    debug: bool
    log_format: Literal["text", "json"]
    log_level: str
    drain_timeout: float
    max_body: int
    header_timeout: float
    body_timeout: float
    min_body_rate: int
    max_unread: int
    trusted_proxies: tuple[str, ...]
    start_method: Literal["auto", "fork", "fresh"] | None
    pid_file: Path | None
    http_workers: int
    arguments: tuple[str, ...]


def serve_app(options: ServeOptions) -> NoReturn:
    """Listen, and serve until the server is stopped.

    Raises
    ------
    TargetError
        If there is no such file or module.
    SystemExit
        With the exit code, when the server has stopped or if it cannot listen.
    """
    replace_missing_streams()
    include_current_folder()
    check_target(options.target)
    served = ServedApp(options)
    served.configure_logging()
    if options.pid_file is not None and not replaces_master():
        _check_pid_file(options.pid_file)
    application = PenstockApplication(
        served.load,
        listener=None if inherits_listener() else _listen(options),
        http_workers=options.http_workers,
        drain_timeout=options.drain_timeout,
        on_engine_started=served.announce_endpoints,
        on_listening=served.announce,
        configure_logging=served.configure_logging,
        peers=PeerSettings(
            header_timeout=options.header_timeout,
            body_timeout=options.body_timeout,
            min_body_rate=options.min_body_rate,
            max_unread=options.max_unread,
        ),
        pid_file=options.pid_file,
    )
    application.run()


def _check_pid_file(path: Path) -> None:
    try:
        prepare_pid_file(path)
    except PidFileError as error:
        log_event(logging.CRITICAL, "pid-file", str(error))
        sys.exit(EXIT_WRONG_OPTION)


def _listen(options: ServeOptions) -> Any:
    try:
        return open_listener(options.host, options.port)
    except OSError as error:
        log_event(
            logging.CRITICAL,
            "cannot-listen",
            f"cannot listen on {options.host} port {options.port}: {error.strerror or error}; "
            "choose others with --host and --port",
        )
        sys.exit(EXIT_CANNOT_LISTEN)


class ServedApp:
    """The callbacks of the gunicorn worker, which load the app there and announce it.

    Parameters
    ----------
    options:
        The options of ``penstock serve``.
    """

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._app: App

    def configure_logging(self) -> None:
        """Send all log events to stderr, in the format that the options ask for."""
        stream = sys.__stderr__  # in the HTTP process, sys.stderr is itself logged
        color = stream is not None and stream.isatty() and "NO_COLOR" not in os.environ
        configure_logging(self._options.log_format, stream, self._options.log_level, color=color)

    def load(self, role: str) -> Any:
        """Import the app for this kind of process, and return its ASGI application."""
        # Only in this process: gunicorn's master starts its successor with the arguments of the command line.
        show_arguments_to_app(self._options.target, self._options.arguments)
        # The zygote imports the app too, and its output is logged in the same way. The streams stay like this for the
        # life of this process: a plug-in that prints must not make the event loop wait for the reader of a pipe.
        sys.stdout, sys.stderr = output_as_events(role), output_as_events(role)
        records_as_events(role, sys.stdout, sys.stderr)
        with own_import():
            self._app = load_app(self._options.target)
        options = self._options
        if options.start_method is not None:
            self._app.start_method = options.start_method
        return penstock_falcon.asgi(
            self._app,
            debug=options.debug,
            max_body=options.max_body,
            drain_timeout=options.drain_timeout,
            target=options.target,
            trusted_proxies=options.trusted_proxies,
        )

    def announce(self, urls: Sequence[str]) -> None:
        """Log the addresses and, unless the engine's own process does that, the endpoints."""
        for url in urls:
            log_event(logging.INFO, "listening", url, url=url, target=self._options.target, pid=os.getpid())
        if self._options.http_workers == 1:
            self.announce_endpoints()

    def announce_endpoints(self) -> None:
        """Log the endpoints."""
        for endpoint in self._app.endpoints:
            log_event(
                logging.INFO,
                "endpoint",
                f"POST {endpoint.path} -> pool {endpoint.pool}",
                endpoint=endpoint.name,
                path=endpoint.path,
                pool=endpoint.pool,
            )
