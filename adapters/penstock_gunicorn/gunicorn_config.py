"""A configuration file of gunicorn: which of its settings a server takes, and why it does not take the others."""

from __future__ import annotations

import difflib
import logging
import runpy
from typing import Any, Final

from gunicorn.config import Config

from penstock.hooks import log_event
from penstock_gunicorn.load_errors import describe_failure
from penstock_gunicorn.start_errors import StartError

EVENT: Final = "gunicorn-config-failed"
HOOKS: Final = frozenset({
    "child_exit", "nworkers_changed", "on_exit", "on_reload", "on_starting", "post_fork", "post_request",
    "post_worker_init", "pre_exec", "pre_fork", "pre_request", "ssl_context", "when_ready", "worker_abort",
    "worker_exit", "worker_int",
})  # fmt: skip
TAKEN: Final = HOOKS | {
    "asgi_loop", "backlog", "ca_certs", "cert_reqs", "ciphers", "forwarded_allow_ips", "http_parser", "keepalive",
    "limit_request_field_size", "limit_request_fields", "limit_request_line", "proc_name", "raw_env",
    "secure_scheme_headers", "worker_tmp_dir",
}  # fmt: skip
"""The settings that a file may have."""

_LOG = "use --log-format and --log-level, and the plug-in accesslog"
_LENIENT = "a parser that is more lenient than a proxy's lets requests be smuggled past the proxy"
_SUPERVISOR = "leave it to whatever starts the server, such as systemd or a container"
_TARGET = "the app is the argument TARGET"
_RECYCLING = "an HTTP process that ends takes its engine along, and all models would be loaded again"
_HTTP_1 = "the server speaks HTTP/1.1"
REFUSED: Final = {
    "accesslog": _LOG,
    "access_log_format": _LOG,
    "asgi_lifespan": "the app needs it",
    "bind": "use --bind",
    "capture_output": _LOG,
    "casefold_http_method": _LENIENT,
    "certfile": "use --certfile",
    "chdir": "start the server in that folder",
    "check_config": "use penstock check",
    "config": "a file cannot name another one",
    "daemon": _SUPERVISOR,
    "errorlog": _LOG,
    "graceful_timeout": "use --drain-timeout",
    "group": _SUPERVISOR,
    "header_map": _LENIENT,
    "http_protocols": _HTTP_1,
    "initgroups": _SUPERVISOR,
    "keyfile": "use --keyfile",
    "logconfig": _LOG,
    "logconfig_dict": _LOG,
    "logconfig_json": _LOG,
    "logger_class": _LOG,
    "loglevel": _LOG,
    "max_requests": _RECYCLING,
    "max_requests_jitter": _RECYCLING,
    "paste": _TARGET,
    "permit_obsolete_folding": _LENIENT,
    "permit_unconventional_http_method": _LENIENT,
    "permit_unconventional_http_version": _LENIENT,
    "pidfile": "use --pid-file",
    "preload_app": "the workers of Penstock are forked from a process that has imported the app",
    "print_config": "use penstock check",
    "protocol": _HTTP_1,
    "proxy_protocol": "the proxy must send X-Forwarded-For, and --trusted-proxy name it",
    "pythonpath": "set PYTHONPATH",
    "reload": "use --reload",
    "reuse_port": "two servers on one port would each hold the models",
    "root_path": "use --root-path",
    "strip_header_spaces": _LENIENT,
    "syslog": _LOG,
    "threads": "set endpoint(concurrency=...) in the app",
    "timeout": "set limits in the app, endpoint(timeouts=...)",
    "umask": "use --socket-mode",
    "user": _SUPERVISOR,
    "worker_class": "the server has a gunicorn worker of its own",
    "worker_connections": "the limit on open files is also that on connections",
    "workers": "use --http-workers",
    "wsgi_app": _TARGET,
}
"""Settings that a file must not have, each with the reason or the way to get the same here. So have all others."""

_NO_USE: Final = "the server has no use for it"
_CLOSE_MATCH: Final = 0.8


def read_gunicorn_config(path: str) -> dict[str, Any]:
    """Return the settings of gunicorn that a Python file sets.

    Parameters
    ----------
    path:
        The file. It is run once, in this process.

    Raises
    ------
    StartError
        If the file cannot be read or raises an exception, or if a setting in it is not taken or has a wrong value.
    """
    try:
        values = runpy.run_path(path)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        message, traceback = describe_failure(error)
        raise StartError(f"{path}: {message}", event=EVENT, traceback=traceback) from None
    config = Config()
    settings = {name: value for name, value in values.items() if name in config.settings}
    for name, value in settings.items():
        _check(path, config, name, value)
    for name, value in values.items():
        _warn_of_misspelling(path, name, value, list(config.settings))
    return settings


def _check(path: str, config: Config, name: str, value: Any) -> None:
    if name not in TAKEN:
        reason = REFUSED.get(name, _NO_USE)
        raise StartError(f"{path}: the setting {name} is not taken: {reason}", event=EVENT)
    try:
        config.set(name, value)
    except Exception as error:
        raise StartError(f"{path}: the setting {name} is wrong: {error}", event=EVENT) from None


def _warn_of_misspelling(path: str, name: str, value: Any, known: list[str]) -> None:
    """Warn of a name that gunicorn ignores. It may be a variable of the file, so this is not an error."""
    if name.startswith("_") or name in known or not isinstance(value, (str, int, float, list, dict, tuple)):
        return
    for match in difflib.get_close_matches(name, known, n=1, cutoff=_CLOSE_MATCH):
        log_event(logging.WARNING, "unknown-setting", f"{path}: gunicorn has no setting {name}; did you mean {match}?")
