"""The settings of a plug-in for its own commands, which run without an engine."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TypeVar

from penstock.app.loader import load_app, make_importable
from penstock.errors import PenstockError, PluginError
from penstock.hooks.settings import PluginSettings, Sources

SettingsT = TypeVar("SettingsT", bound=PluginSettings)


def settings_for(target: str | None, name: str, kind: type[SettingsT]) -> SettingsT:
    """Return the settings that a plug-in would have in a server; for a command that a plug-in adds.

    Parameters
    ----------
    target:
        The app, as ``penstock serve`` takes it: it is imported, and its output goes to stderr. None: settings are
        those of the TOML file and of the environment alone.
    name:
        The name of the plug-in.
    kind:
        The class of its settings.

    Raises
    ------
    PluginError
        If the settings are not valid, or the app cannot be imported.
    DeclarationError
        If there is no such app.
    """
    settings = {}
    if target is not None:
        make_importable(str(Path.cwd()))
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout may carry the JSON of the command
                settings = load_app(target).settings
        except (PenstockError, KeyboardInterrupt):
            raise
        except BaseException as error:  # sys.exit() in an app's module is a failure like any other
            raise PluginError(f"the app {target} cannot be imported: {type(error).__name__}: {error}") from error
    return Sources(settings, os.environ).resolve(name, kind).settings
