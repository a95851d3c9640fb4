"""``penstock plugins``: the plug-ins with their states, hooks and settings, as text or as JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.text import Text

from penstock import App
from penstock.errors import PluginError
from penstock.hosting import Registry
from penstock_cli.targets import TargetError, include_current_folder, load_target
from penstock_cli.terminal import labelled_lines, make_console

STATE_STYLES = {"on": "green", "off": "dim", "replaced": "dim", "broken": "bold red"}
EXIT_BROKEN = 1


def list_plugins(target: str | None, arguments: Sequence[str] = (), *, as_json: bool) -> None:
    """Print the installed plug-ins to stdout, and with a target also those of the app.

    Raises
    ------
    TargetError
        If there is no such app, its module fails, or the settings cannot be read at all.
    SystemExit
        With 1, if a server could not start with these plug-ins and settings.
    """
    include_current_folder()
    app = None if target is None else load_target(target, arguments)
    registry = _survey(app)
    if as_json:
        print(json.dumps(describe_plugins(registry), indent=2))
    else:
        console = make_console()
        for plugin in registry.plugins:
            console.print(_plugin_text(plugin.describe()))
        for complaint in registry.complaints:
            console.print(Text.assemble(("settings: ", "bold red" if app else "bold"), complaint))
        if registry.complaints and app is None:
            console.print(Text("They may belong to the app's own plug-ins, which are known only with TARGET.", "dim"))
    if any(plugin.state == "broken" for plugin in registry.plugins) or (app is not None and registry.complaints):
        sys.exit(EXIT_BROKEN)


def describe_plugins(registry: Registry) -> dict[str, Any]:
    """Return the document of ``penstock plugins --json``.

    It has ``plugins``, and ``complaints`` about settings that belong to none of them.
    """
    return {"plugins": [plugin.describe() for plugin in registry.plugins], "complaints": registry.complaints}


def _survey(app: App | None) -> Registry:
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return Registry.survey(app)
    except PluginError as error:
        raise TargetError(str(error)) from None


def _plugin_text(described: dict[str, Any]) -> Text:
    origin = "the app" if described["distribution"] is None else f"{described['distribution']} {described['version']}"
    text = Text.assemble((described["name"], "bold"), f" of {origin}: ", (described["state"], _style(described)))
    text.append(f", {described['why']}\n" if described["why"] else "\n")
    return text.append(labelled_lines(_plugin_lines(described)))


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
