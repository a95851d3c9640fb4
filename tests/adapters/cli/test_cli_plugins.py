"""``penstock plugins``, ``--config``, and the commands of plug-ins."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from penstock_cli import main as command_line
from tests.serving import write_app

APP = """
    from penstock import App
    from penstock.hooks import FifoQueue, PluginSettings, Secret, hookimpl

    print("imported")


    class Newest(FifoQueue):
        pass


    class Discipline:
        name = "discipline"

        class Settings(PluginSettings, frozen=True):
            size: int = 3
            password: Secret | None = None

        def __init__(self, settings):
            print("made")

        @hookimpl
        def penstock_queue_discipline(self, endpoint):
            return Newest


    class Raises:
        @hookimpl
        def penstock_observer(self, app):
            raise RuntimeError("no disk")


    app = App(__name__, plugins=[Discipline], settings={"discipline": {"size": 4}})
    broken = App(__name__, plugins=[Discipline, Raises])


    @app.endpoint("/square")
    @broken.endpoint("/square")
    def square(input: float) -> float:
        return input**2
"""


def run(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``penstock`` in a folder and in a process of its own, since it imports the modules it finds there."""
    command = [sys.executable, "-m", "penstock_cli", *arguments]
    environment = {**os.environ, "COLUMNS": "80", **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.cli, arguments)


def listed(*arguments: str, folder: Path, code: int = 0, **variables: str) -> tuple[dict[str, Any], list[str]]:
    """Return the plug-ins by name, and the complaints."""
    result = run("plugins", *arguments, "--json", folder=folder, **variables)
    assert result.returncode == code, result.stderr
    document = json.loads(result.stdout)
    return {plugin["name"]: plugin for plugin in document["plugins"]}, document["complaints"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_app(tmp_path, APP, "demo.py")
    return tmp_path


def settings_of(plugin: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    return {setting["name"]: (setting["value"], setting["from"]) for setting in plugin["settings"]}


def test_installed_plug_ins_are_listed_in_json(tmp_path: Path) -> None:
    """Each has its distribution, state, hooks and settings; one that is not imported has no settings."""
    plugins, complaints = listed(folder=tmp_path, PENSTOCK_METRICS_ENABLED="false")
    assert complaints == []
    assert {"auth", "metrics", "overload", "retries", "timeouts"} <= set(plugins)
    assert {plugin["distribution"] for plugin in plugins.values()} == {"penstock"}
    assert plugins["retries"]["hooks"] == ["penstock_retry_policy"]
    assert plugins["retries"]["state"] == "on"
    assert (plugins["metrics"]["state"], plugins["metrics"]["settings"]) == ("off", None)


def test_plug_ins_of_an_app_are_listed_with_their_settings(folder: Path) -> None:
    """Each value is listed with its origin; of a secret only that it is set."""
    (folder / "pyproject.toml").write_text("[tool.penstock.discipline]\nsize = 5\n")
    plugins, _ = listed("demo:app", folder=folder, PENSTOCK_DISCIPLINE_PASSWORD="hunter2")
    ours = plugins["discipline"]
    assert (ours["distribution"], ours["version"], ours["state"]) == (None, None, "on")
    assert settings_of(ours) == {
        "enabled": (True, "default"),
        "size": (5, "[tool.penstock] in pyproject.toml"),
        "password": ("(set)", "PENSTOCK_DISCIPLINE_PASSWORD"),
    }


def test_the_text_has_the_same_facts(folder: Path) -> None:
    """The text is uncolored without a terminal, and the output of the app is kept out of it."""
    result = run("plugins", "demo:app", folder=folder, PENSTOCK_DISCIPLINE_PASSWORD="hunter2")
    assert result.returncode == 0
    assert "imported" in result.stderr
    assert "made" in result.stderr
    assert result.stdout.endswith(
        "discipline of the app: on\n"
        "  hooks     queue_discipline\n"
        "  settings  enabled   true  (bool)\n"
        "            size      4  (int, default 3; from App(settings=...))\n"
        "            password  (set)  (secret | None, default null; from PENSTOCK_DISCIPLINE_PASSWORD)\n\n"
    )


def test_a_broken_one_does_not_stop_the_listing(folder: Path) -> None:
    """It is listed with its error, and the exit code is 1."""
    plugins, _ = listed("demo:broken", folder=folder, code=1)
    assert plugins["discipline"]["state"] == "on"
    assert plugins["Raises"]["state"] == "broken"
    assert plugins["Raises"]["why"].startswith(
        "penstock_observer of plug-in 'Raises' of the app raised: RuntimeError: no"
    )
    text = run("plugins", "demo:broken", folder=folder)
    assert text.returncode == 1
    assert "Raises of the app: broken, penstock_observer of" in text.stdout


def test_a_wrong_setting_makes_its_plug_in_broken(folder: Path) -> None:
    """A value of the wrong type makes its plug-in broken; a setting of no plug-in is a complaint."""
    variables = {"PENSTOCK_DISCIPLINE_SIZE": "many", "PENSTOCK_DISCIPLIN_SIZE": "3"}
    plugins, complaints = listed("demo:app", folder=folder, code=1, **variables)
    assert "Expected `int`, got `str`" in plugins["discipline"]["why"]
    [complaint] = complaints
    assert "variable PENSTOCK_DISCIPLIN_SIZE; did you mean PENSTOCK_DISCIPLINE_SIZE?" in complaint


def test_without_an_app_unknown_settings_are_not_errors(folder: Path) -> None:
    """They are listed, since they may belong to plug-ins of an app; the exit code is 0."""
    result = run("plugins", folder=folder, PENSTOCK_DISCIPLINE_SIZE="3")
    assert result.returncode == 0
    assert "PENSTOCK_DISCIPLINE_SIZE" in result.stdout
    assert result.stdout.endswith("They may belong to the app's own plug-ins, which are known only with TARGET.\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["gone:app"], "gone"),
        (["demo:nothing"], "nothing"),
        (["--config", "gone.toml"], "does not exist"),
        (["--config", "broken.toml"], "broken.toml .named by --config or PENSTOCK_CONFIG. cannot be read"),
    ],
)
def test_a_target_or_file_that_cannot_be_read_is_refused(folder: Path, arguments: list[str], reason: str) -> None:
    """The exit code is 2, with one sentence and no traceback."""
    (folder / "broken.toml").write_text("[tool.")
    result = run("plugins", *arguments, folder=folder)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert re.search(reason, result.stderr.replace("\n", " "))


def test_a_file_of_settings_can_be_named(folder: Path) -> None:
    """``--config`` replaces the folder's pyproject.toml."""
    (folder / "pyproject.toml").write_text("[tool.penstock.discipline]\nsize = 5\n")
    (folder / "ours.toml").write_text("[tool.penstock.discipline]\nsize = 6\n")
    plugins, _ = listed("demo:app", "--config", "ours.toml", folder=folder)
    value, origin = settings_of(plugins["discipline"])["size"]
    assert value == 6
    assert origin.endswith("ours.toml")


def test_check_refuses_an_app_that_could_not_be_served(folder: Path) -> None:
    """A broken plug-in is reported by name before anything is started, unless it is switched off."""
    result = run("check", "demo:broken", folder=folder)
    assert result.returncode == 2
    assert "penstock_observer of plug-in 'Raises' of the app raised: RuntimeError: no disk" in result.stderr
    assert run("check", "demo:broken", folder=folder, PENSTOCK_RAISES_ENABLED="false").returncode == 0


# ---- commands of plug-ins


class FakeRegistry:
    """A registry with three commands, which counts how often it is created."""

    looks = 0
    plugins: tuple[()] = ()

    @classmethod
    def survey(cls) -> FakeRegistry:
        cls.looks += 1
        return cls()

    def cli_commands(self) -> list[click.Command]:
        def command(name: str, says: str) -> click.Command:
            return click.Command(name, callback=lambda: click.echo(says), help=f"Say {says}.")

        return [command("greet", "hello"), command("greet", "overruled"), command("serve", "hijacked")]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> type[FakeRegistry]:
    monkeypatch.setattr("penstock.hosting.Registry", FakeRegistry)
    monkeypatch.setattr(FakeRegistry, "looks", 0)
    return FakeRegistry


def test_a_plug_in_may_add_a_command(fakes: type[FakeRegistry]) -> None:
    """It runs and is in the help; of two with one name, that of the higher precedence is used."""
    assert invoke("greet").output == "hello\n"
    help_text = invoke("--help").output
    assert "Say hello." in help_text
    assert "overruled" not in help_text


def test_no_plug_in_replaces_a_command_that_is_there(fakes: type[FakeRegistry]) -> None:
    """Penstock's own commands win, and do not even load the plug-ins."""
    assert "hijacked" not in invoke("serve", "--help").output
    assert invoke("--version").exit_code == 0
    assert fakes.looks == 0


def test_plug_ins_are_loaded_once(fakes: type[FakeRegistry]) -> None:
    """The help loads the plug-ins once for all its commands, and an unknown command once."""
    invoke("--help")
    assert fakes.looks == 1
    result = invoke("gret")
    assert result.exit_code == 2
    assert "No such command 'gret'" in result.output
    assert fakes.looks == 2


def test_a_broken_plug_in_does_not_break_the_help(tmp_path: Path) -> None:
    """It is reported in one line, and the rest of the help is unchanged."""
    result = run("--help", folder=tmp_path, PENSTOCK_RETRIES_MAX_ATTEMPTS="many")
    assert result.returncode == 0
    assert "plugins" in result.stdout
    assert "no commands from plug-in 'retries' of penstock" in result.stderr
    (tmp_path / "pyproject.toml").write_text("[tool.")
    result = run("--help", folder=tmp_path)
    assert result.returncode == 0
    assert "penstock: no commands from plug-ins: the settings in pyproject.toml cannot be read" in result.stderr
