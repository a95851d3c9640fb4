"""``penstock plugins``, the file that ``--config`` names, and the commands of plug-ins."""

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
    """Run ``penstock`` in a folder, in a process of its own: it imports what it finds there."""
    command = [sys.executable, "-m", "penstock_cli", *arguments]
    environment = {**os.environ, "COLUMNS": "80", **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.cli, arguments)


def listed(*arguments: str, folder: Path, code: int = 0, **variables: str) -> tuple[dict[str, Any], list[str]]:
    """The plug-ins by name, and the complaints."""
    result = run("plugins", *arguments, "--json", folder=folder, **variables)
    assert result.returncode == code, result.stderr
    told = json.loads(result.stdout)
    return {plugin["name"]: plugin for plugin in told["plugins"]}, told["complaints"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_app(tmp_path, APP, "demo.py")
    return tmp_path


def settings_of(plugin: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    return {setting["name"]: (setting["value"], setting["from"]) for setting in plugin["settings"]}


def test_those_that_are_installed_are_listed_in_json(tmp_path: Path) -> None:
    """Each with its distribution, version, state, hooks and settings; what nobody imported has no settings."""
    plugins, complaints = listed(folder=tmp_path, PENSTOCK_METRICS_ENABLED="false")
    assert complaints == []
    assert {"auth", "metrics", "overload", "retries", "timeouts"} <= set(plugins)
    assert {plugin["distribution"] for plugin in plugins.values()} == {"penstock"}
    assert plugins["retries"]["hooks"] == ["penstock_retry_policy"]
    assert plugins["retries"]["state"] == "on"
    assert (plugins["metrics"]["state"], plugins["metrics"]["settings"]) == ("off", None)


def test_those_of_an_app_are_listed_with_their_settings(folder: Path) -> None:
    """With where each value comes from; a secret is only known to be set."""
    (folder / "pyproject.toml").write_text("[tool.penstock.discipline]\nsize = 5\n")
    plugins, _ = listed("demo:app", folder=folder, PENSTOCK_DISCIPLINE_PASSWORD="hunter2")
    ours = plugins["discipline"]
    assert (ours["distribution"], ours["version"], ours["state"]) == (None, None, "on")
    assert settings_of(ours) == {
        "enabled": (True, "default"),
        "size": (5, "[tool.penstock] in pyproject.toml"),
        "password": ("(set)", "PENSTOCK_DISCIPLINE_PASSWORD"),
    }


def test_people_see_the_same(folder: Path) -> None:
    """Line by line, without colours where there is no terminal, and without what the app prints."""
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
    """It is listed with its error, and the exit code tells programs."""
    plugins, _ = listed("demo:broken", folder=folder, code=1)
    assert plugins["discipline"]["state"] == "on"
    assert plugins["Raises"]["state"] == "broken"
    assert plugins["Raises"]["why"].startswith(
        "penstock_observer of plug-in 'Raises' of the app raised: RuntimeError: no"
    )
    text = run("plugins", "demo:broken", folder=folder)
    assert text.returncode == 1
    assert "Raises of the app: broken, penstock_observer of" in text.stdout


def test_a_wrong_setting_is_that_of_a_broken_plug_in(folder: Path) -> None:
    """So is a wrong type; and what is nobody's, is a complaint."""
    variables = {"PENSTOCK_DISCIPLINE_SIZE": "many", "PENSTOCK_DISCIPLIN_SIZE": "3"}
    plugins, complaints = listed("demo:app", folder=folder, code=1, **variables)
    assert "Expected `int`, got `str`" in plugins["discipline"]["why"]
    [complaint] = complaints
    assert "variable PENSTOCK_DISCIPLIN_SIZE; did you mean PENSTOCK_DISCIPLINE_SIZE?" in complaint


def test_without_an_app_its_settings_may_be_anybody_s(folder: Path) -> None:
    """They are mentioned, and no error."""
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
        (["--config", "broken.toml"], "the settings in .*broken.toml .named by PENSTOCK_CONFIG. cannot be read"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(folder: Path, arguments: list[str], reason: str) -> None:
    """Exit code 2, and one sentence."""
    (folder / "broken.toml").write_text("[tool.")
    result = run("plugins", *arguments, folder=folder)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert re.search(reason, result.stderr.replace("\n", " "))


def test_a_file_of_settings_can_be_named(folder: Path) -> None:
    """Instead of the folder's pyproject.toml."""
    (folder / "pyproject.toml").write_text("[tool.penstock.discipline]\nsize = 5\n")
    (folder / "ours.toml").write_text("[tool.penstock.discipline]\nsize = 6\n")
    plugins, _ = listed("demo:app", "--config", "ours.toml", folder=folder)
    value, origin = settings_of(plugins["discipline"])["size"]
    assert value == 6
    assert origin.endswith("ours.toml")


def test_check_refuses_what_could_not_be_served(folder: Path) -> None:
    """A broken plug-in, by name, before anything is started; switched off, it is no hindrance."""
    result = run("check", "demo:broken", folder=folder)
    assert result.returncode == 2
    assert "penstock_observer of plug-in 'Raises' of the app raised: RuntimeError: no disk" in result.stderr
    assert run("check", "demo:broken", folder=folder, PENSTOCK_RAISES_ENABLED="false").returncode == 0


# ---- commands of plug-ins


class FakeRegistry:
    """Has two commands, and counts how often somebody looks."""

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
    """It runs, and it is in the help; of two of one name, the plug-in that counts most has its own."""
    assert invoke("greet").output == "hello\n"
    help_text = invoke("--help").output
    assert "Say hello." in help_text
    assert "overruled" not in help_text


def test_no_plug_in_replaces_a_command_that_is_there(fakes: type[FakeRegistry]) -> None:
    """And for those, plug-ins are not even looked for."""
    assert "hijacked" not in invoke("serve", "--help").output
    assert invoke("--version").exit_code == 0
    assert fakes.looks == 0


def test_they_are_looked_for_once(fakes: type[FakeRegistry]) -> None:
    """However many names the help asks about; and for a command that nobody has."""
    invoke("--help")
    assert fakes.looks == 1
    result = invoke("gret")
    assert result.exit_code == 2
    assert "No such command 'gret'" in result.output
    assert fakes.looks == 2


def test_a_broken_plug_in_does_not_break_the_help(tmp_path: Path) -> None:
    """One line says so, and the rest is as ever."""
    result = run("--help", folder=tmp_path, PENSTOCK_RETRIES_MAX_ATTEMPTS="many")
    assert result.returncode == 0
    assert "plugins" in result.stdout
    assert "no commands from plug-in 'retries' of penstock" in result.stderr
    (tmp_path / "pyproject.toml").write_text("[tool.")
    result = run("--help", folder=tmp_path)
    assert result.returncode == 0
    assert "penstock: no commands from plug-ins: the settings in pyproject.toml cannot be read" in result.stderr
