"""``gunicorn -c python:penstock_gunicorn.conf module:app``: gunicorn's command line, served as by ``penstock serve``.

gunicorn has no setting for the class of its master, and ours is what keeps the engine running and loses no request. So
when gunicorn's is about to start, it makes room for ours, in the same process and with the same settings.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

from gunicorn.config import make_settings

from penstock_cli.main import cli
from penstock_gunicorn import REFUSED_SETTINGS

EXIT_WRONG_SETTING: Final = 2
OPTIONS: Final[dict[str, Callable[[Any], Iterator[str]]]] = {
    "bind": lambda addresses: (part for address in addresses for part in ("--bind", address)),
    "workers": lambda count: iter(("--http-workers", str(count))),
    "certfile": lambda path: iter(("--certfile", path)),
    "keyfile": lambda path: iter(("--keyfile", path)),
    "root_path": lambda path: iter(("--root-path", path)),
    "graceful_timeout": lambda seconds: iter(("--drain-timeout", str(seconds))),
    "loglevel": lambda level: iter(("--log-level", level)),
    "reload": lambda is_on: iter(("--reload",) if is_on else ()),
}
"""The settings of gunicorn that have an option of ``penstock serve``, by name."""
WITHOUT_OPTION: Final = frozenset({"config", "on_starting", "wsgi_app", "pidfile", "default_proc_name"})
"""Settings that are used up before, or that gunicorn itself has applied by now."""


def take_over(server: Any) -> NoReturn:
    """Serve the app of a gunicorn that is about to start, in its place: its hook ``on_starting``.

    Raises
    ------
    SystemExit
        When the server has stopped; with exit code 2 if a setting cannot be taken over.
    """
    master = os.getpid()
    target = getattr(server.app, "app_uri", None) or server.cfg.wsgi_app
    try:
        cli.main(["serve", target, *options_of(server.cfg)], prog_name="penstock")
    finally:
        # gunicorn has created its file before, and would remove it at an end that does not come.
        if os.getpid() == master and server.pidfile is not None:
            server.pidfile.unlink()
    raise AssertionError("the command ends by SystemExit")


def options_of(config: Any) -> list[str]:
    """Return the options of ``penstock serve`` for what was set for gunicorn. ``PENSTOCK_*`` sets the others.

    Raises
    ------
    SystemExit
        If something was set that has no such option; the message has the reason.
    """
    defaults = make_settings()
    options: list[str] = []
    for name, setting in config.settings.items():
        if name in WITHOUT_OPTION or setting.get() == defaults[name].get():
            continue
        if name not in OPTIONS:
            reason = REFUSED_SETTINGS.get(name, "set it in the file that PENSTOCK_GUNICORN_CONFIG names")
            print(f"penstock: gunicorn's setting {name} cannot be taken over: {reason}", file=sys.stderr)
            sys.exit(EXIT_WRONG_SETTING)
        options += OPTIONS[name](setting.get())
    return options
