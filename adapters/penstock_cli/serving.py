"""``penstock serve``: start a server from the command-line options."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import penstock_falcon
from penstock import App, Endpoint
from penstock.hooks import log_event
from penstock.hosting import PAGE_PATH, configure_logging, load_app, own_import, replace_missing_streams
from penstock_cli.app_arguments import show_arguments_to_app
from penstock_cli.example_calls import client_url, curl_call
from penstock_cli.import_output import output_as_events, records_as_events
from penstock_cli.targets import check_target, include_current_folder
from penstock_gunicorn import (
    Companion,
    ListenAddress,
    Listeners,
    ListenSettings,
    PeerSettings,
    PenstockApplication,
    PidFileError,
    StartError,
    TcpAddress,
    describe_failure,
    inherited_listeners,
    open_listeners,
    prepare_pid_file,
    read_gunicorn_config,
    replaces_master,
)

EXIT_CANNOT_START = 2
TLS_SETTINGS = frozenset({"ca_certs", "cert_reqs", "ciphers", "ssl_context"})


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The options of ``penstock serve``; see its ``--help``. Sizes are in bytes, timeouts in seconds."""

    target: str
    host: str
    port: int
    bind: Sequence[ListenAddress]
    grpc_port: int | None
    grpc_host: str | None
    socket_mode: int
    certfile: str | None
    keyfile: str | None
    root_path: str
    reload: bool
    gunicorn_config: str | None
    debug: bool
    docs: bool | None
    log_format: Literal["text", "json"]
    log_level: str
    drain_timeout: float
    max_body: int
    spill_above: int
    max_waiting: int | None
    header_timeout: float
    body_timeout: float
    min_body_rate: int
    max_unread: int
    compress: bool
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
        With the exit code, when the server has stopped or if it cannot start.
    """
    replace_missing_streams()
    include_current_folder()
    check_target(options.target)
    served = ServedApp(options)
    served.configure_logging()
    try:
        application = _application(options, served)
    except StartError as error:
        log_event(logging.CRITICAL, error.event, str(error), traceback=error.traceback or None)
        sys.exit(EXIT_CANNOT_START)
    try:
        application.run()
    except Exception as error:  # raised by a hook in --gunicorn-config; gunicorn handles all others
        message, traceback = describe_failure(error)
        log_event(logging.CRITICAL, "gunicorn-config-failed", message, traceback=traceback)
        sys.exit(EXIT_CANNOT_START)


def _application(options: ServeOptions, served: ServedApp) -> PenstockApplication:
    if options.pid_file is not None and not replaces_master():
        _check_pid_file(options.pid_file)
    settings = gunicorn_settings(options)
    listeners = _listeners(options, settings.get("backlog", ListenSettings.backlog))
    served.docs = serves_docs(options, listeners)
    served.url = listeners[0].url("https" if options.certfile else "http")
    return PenstockApplication(
        served.load,
        listeners=listeners,
        http_workers=options.http_workers,
        drain_timeout=options.drain_timeout,
        on_engine_started=served.announce_endpoints,
        on_listening=served.announce,
        new_companion=None if options.grpc_port is None else served.grpc_server,
        configure_logging=served.configure_logging,
        peers=PeerSettings(
            header_timeout=options.header_timeout,
            body_timeout=options.body_timeout,
            min_body_rate=options.min_body_rate,
            max_unread=options.max_unread,
        ),
        settings=settings,
        pid_file=options.pid_file,
    )


def gunicorn_settings(options: ServeOptions) -> dict[str, Any]:
    """Return the settings of gunicorn that the options ask for.

    Raises
    ------
    StartError
        If the file of ``--gunicorn-config`` cannot be used.
    """
    settings = read_gunicorn_config(options.gunicorn_config) if options.gunicorn_config else {}
    for name in TLS_SETTINGS & set(settings):
        if not options.certfile:  # it may be what keeps strangers out
            raise StartError(f"{options.gunicorn_config}: the setting {name} needs --certfile", event="tls-failed")
    if options.certfile:
        # The gunicorn workers read the files, perhaps again after a reload.
        settings |= {"certfile": str(Path(options.certfile).absolute())}
        settings |= {"keyfile": str(Path(options.keyfile).absolute())} if options.keyfile else {}
    return settings | {"root_path": options.root_path}


def _listeners(options: ServeOptions, backlog: int) -> Listeners:
    addresses = options.bind or [
        TcpAddress(options.host, options.port, advice="choose others with --host and --port"),
    ]
    settings = ListenSettings(backlog=backlog, socket_mode=options.socket_mode)
    is_upgrade = replaces_master()  # inheriting removes what says so
    listeners = inherited_listeners(addresses) or open_listeners(addresses, settings)
    if options.grpc_port is not None:
        if is_upgrade:
            listeners.mark_companions()
        else:
            _listen_for_grpc(options, listeners, settings)
    return listeners


def _listen_for_grpc(options: ServeOptions, listeners: Listeners, settings: ListenSettings) -> None:
    advice = "choose others with --grpc-host and --grpc-port"
    address = TcpAddress(options.grpc_host or options.host, options.grpc_port or 0, advice=advice)
    try:
        listeners.add_companions([address.open(settings)])
    except BaseException:
        listeners.remove_files()
        raise


def serves_docs(options: ServeOptions, listeners: Listeners) -> bool:
    """Return whether the page of the API is served: by default only to users of this machine."""
    if options.docs is not None:
        return options.docs
    # A server that has these is behind a proxy, which may pass on the requests of strangers.
    is_behind_proxy = bool(options.trusted_proxies or options.root_path)
    return listeners.are_local and not is_behind_proxy


def _check_pid_file(path: Path) -> None:
    try:
        prepare_pid_file(path)
    except PidFileError as error:
        raise StartError(str(error), event="pid-file") from None


class ServedApp:
    """The callbacks of the gunicorn worker, which load the app there and announce it.

    Parameters
    ----------
    options:
        The options of ``penstock serve``.

    Attributes
    ----------
    docs:
        True to serve the page of the API and its document.
    url:
        The first of the addresses at which it is served.
    """

    def __init__(self, options: ServeOptions) -> None:
        self.docs = bool(options.docs)
        self._options = options
        self._app: App
        self._application: Any
        self._began = 0.0
        self.url = ""

    def configure_logging(self) -> None:
        """Send all log events to stderr, in the format that the options ask for."""
        stream = sys.__stderr__  # in the HTTP process, sys.stderr is itself logged
        color = stream is not None and stream.isatty() and "NO_COLOR" not in os.environ
        configure_logging(self._options.log_format, stream, self._options.log_level, color=color)

    def load(self, role: str) -> Any:
        """Import the app for this kind of process, and return its ASGI application."""
        self._began = time.time()
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
        application = penstock_falcon.asgi(
            self._app,
            debug=options.debug,
            max_body=options.max_body,
            spill_above=options.spill_above,
            max_waiting=options.max_waiting,
            drain_timeout=options.drain_timeout,
            target=options.target,
            compress=options.compress,
            trusted_proxies=options.trusted_proxies,
            docs=self.docs,
        )
        application.serve_below(options.root_path)
        self._application = application
        return application

    def grpc_server(self, application: Any) -> Companion:
        """Return the gRPC server for the app that has been loaded."""
        from penstock_grpc import GrpcServer  # noqa: PLC0415 - it needs grpcio, an extra, and its import takes long

        return GrpcServer(application.penstock)

    def announce(self, urls: Sequence[str]) -> None:
        """Log the addresses and, unless the engine's own process does that, the endpoints; watch the files if asked."""
        if self._options.reload:
            from penstock_cli.file_watch import watch_files  # noqa: PLC0415 - it needs watchfiles, an extra

            watch_files(self._app, self._began, self._is_leaving)
        for url in urls:
            log_event(logging.INFO, "listening", url, url=url, target=self._options.target, pid=os.getpid())
        if self._options.http_workers == 1:
            self.announce_endpoints()

    def announce_endpoints(self) -> None:
        """Log the endpoints, a call to try one with, and the page that describes them."""
        for endpoint in self._app.endpoints:
            log_event(
                logging.INFO,
                "endpoint",
                f"{endpoint.method} {endpoint.path} -> pool {endpoint.pool}",
                endpoint=endpoint.name,
                path=endpoint.path,
                pool=endpoint.pool,
            )
        call = curl_call(self._app, self.url, self._security_schemes)
        if call is not None:
            log_event(logging.INFO, "try", call)
        has_page = any(route.path == PAGE_PATH for route in self._application.penstock.routes)
        if has_page and not self.url.startswith("unix:"):
            address = f"{client_url(self.url)}{self._options.root_path}{PAGE_PATH}"
            log_event(logging.INFO, "page", address, url=address)

    def _security_schemes(self, endpoint: Endpoint) -> Iterator[Mapping[str, Any]]:
        for description in self._application.penstock.registry.descriptions(endpoint):
            yield from description.credentials.values()

    def _is_leaving(self) -> bool:
        engine = self._application.penstock.engine
        return engine is None or engine.draining or engine.closed
