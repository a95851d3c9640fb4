"""``penstock plugins``: what takes part, what does not and why, and what it has been told. For people and programs."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from penstock import App
from penstock.errors import PluginError
from penstock.hosting import Registry, load_app
from penstock_cli.targets import TargetError, check_target, include_current_folder
from penstock_gunicorn.failures import describe_failure

LABEL_WIDTH = 10
STATE_STYLES = {"on": "green", "off": "dim", "replaced": "dim", "broken": "bold red"}
EXIT_BROKEN = 1


def list_plugins(target: str | None, *, as_json: bool) -> None:
    """Print all plug-ins to stdout: those that are installed, and with a target those of the app too.

    Raises
    ------
    TargetError
        If there is no such app, its module fails, or the settings cannot be read at all.
    SystemExit
        With 1, if a server could not start with what there is.
    """
    include_current_folder()
    app = None if target is None else _load(target)
    registry = _survey(app)
    if as_json:
        print(json.dumps(describe_plugins(registry), indent=2))
    else:
        console = Console(soft_wrap=True, highlight=False)
        for plugin in registry.plugins:
            console.print(_plugin_text(plugin.describe()))
        for complaint in registry.complaints:
            console.print(Text.assemble(("settings: ", "bold red" if app else "bold"), complaint))
        if registry.complaints and app is None:
            console.print(Text("What the app's own plug-ins are told is known only with TARGET.", "dim"))
    if any(plugin.state == "broken" for plugin in registry.plugins) or (app is not None and registry.complaints):
        sys.exit(EXIT_BROKEN)


def describe_plugins(registry: Registry) -> dict[str, Any]:
    """Return what ``penstock plugins --json`` prints: ``plugins``, and ``complaints`` about settings of nobody's."""
    return {"plugins": [plugin.describe() for plugin in registry.plugins], "complaints": registry.complaints}


def _load(target: str) -> App:
    check_target(target)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what a module prints must not get into the JSON
            return load_app(target)
    except BaseException as error:  # sys.exit() in an app's module is a failure like any other
        if isinstance(error, KeyboardInterrupt):
            raise
        raise TargetError(*describe_failure(error)) from None


def _survey(app: App | None) -> Registry:
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return Registry.survey(app)
    except PluginError as error:
        raise TargetError(str(error)) from None


def _plugin_text(described: dict[str, Any]) -> Text:
    brought = "the app" if described["distribution"] is None else f"{described['distribution']} {described['version']}"
    text = Text.assemble((described["name"], "bold"), f" of {brought}: ", (described["state"], _style(described)))
    text.append(f", {described['why']}\n" if described["why"] else "\n")
    for label, value in _plugin_lines(described):
        text.append(f"  {label:<{LABEL_WIDTH}}", style="dim").append(f"{value}\n")
    return text


def _style(described: dict[str, Any]) -> str:
    return STATE_STYLES[described["state"]]


def _plugin_lines(described: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if described["hooks"]:
        yield "hooks", ", ".join(hook.removeprefix("penstock_") for hook in described["hooks"])
    settings = described["settings"] or []
    width = max((len(setting["name"]) for setting in settings), default=0)
    label = "settings"
    for setting in settings:
        yield label, f"{setting['name']:<{width}}  {_setting_text(setting)}"
        label = ""


def _setting_text(setting: dict[str, Any]) -> str:
    if setting["from"] == "default":
        value = "(must be set)" if setting["is_required"] else _value_text(setting["value"])
        return f"{value}  ({setting['type']})"
    default = "" if setting["is_required"] else f", default {_value_text(setting['default'])}"
    return f"{_value_text(setting['value'])}  ({setting['type']}{default}; from {setting['from']})"


def _value_text(value: Any) -> str:
    return value if value == "(set)" else json.dumps(value)
