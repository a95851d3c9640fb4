"""``penstock serve``: start a server from the command-line options."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import penstock_falcon
from penstock import App
from penstock.hooks import log_event
from penstock.hosting import configure_logging, load_app
from penstock_cli.app_arguments import show_arguments_to_app
from penstock_cli.import_output import output_as_events
from penstock_cli.targets import check_target, include_current_folder
from penstock_gunicorn import PenstockApplication, inherits_listener, open_listener

EXIT_CANNOT_LISTEN = 1


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The options of ``penstock serve``; see its ``--help``. ``max_body`` is in bytes, ``drain_timeout`` in seconds."""

    target: str
    host: str
    port: int
    debug: bool
    log_format: Literal["text", "json"]
    drain_timeout: float
    max_body: int
    trusted_proxies: tuple[str, ...]
    start_method: Literal["auto", "fork", "fresh"] | None
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
    include_current_folder()
    check_target(options.target)
    served = ServedApp(options)
    served.configure_logging()
    application = PenstockApplication(
        served.load,
        listener=None if inherits_listener() else _listen(options),
        drain_timeout=options.drain_timeout,
        on_listening=served.announce,
        configure_logging=served.configure_logging,
    )
    application.run()


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
        color = sys.stderr.isatty() and "NO_COLOR" not in os.environ
        configure_logging(self._options.log_format, color=color)

    def load(self) -> Any:
        """Import the app and return its ASGI application."""
        # Only in this process: gunicorn's master starts its successor with the arguments of the command line.
        show_arguments_to_app(self._options.target, self._options.arguments)
        # The zygote imports the app too, and its output is logged in the same way.
        with redirect_stdout(output_as_events("http")), redirect_stderr(output_as_events("http")):
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
        """Log the addresses and the endpoints."""
        for url in urls:
            log_event(logging.INFO, "listening", url, url=url, target=self._options.target, pid=os.getpid())
        for endpoint in self._app.endpoints:
            log_event(
                logging.INFO,
                "endpoint",
                f"POST {endpoint.path} -> pool {endpoint.pool}",
                endpoint=endpoint.name,
                path=endpoint.path,
                pool=endpoint.pool,
            )
