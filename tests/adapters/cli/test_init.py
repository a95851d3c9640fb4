"""``penstock init``: the project that it writes works as it is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock_cli.main import cli
from tests.serving import ROOT, Served


def init(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["init", *map(str, arguments)])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projects") / "new" / "My model"
    result = init(folder)
    assert result.exit_code == 0, result.output
    assert f"cd '{folder}'" in result.output
    return folder


def commands_of(project: Path, program: str) -> list[str]:
    """Return the commands of the README that begin with this word."""
    return re.findall(rf"^    ({program} .*)$", (project / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_files_are_those_of_a_deployment(project: Path) -> None:
    """The image is the one of deploy/docker, which is linted and, where there is docker, built."""
    names = {"README.md", "app.py", "test_app.py", "requirements.txt", "Dockerfile", ".dockerignore"}
    assert {path.name for path in project.iterdir()} - {"__pycache__"} == names
    for name in ("requirements.txt", "Dockerfile", ".dockerignore"):
        assert (project / name).read_bytes() == (ROOT / "deploy" / "docker" / name).read_bytes()
    assert commands_of(project, "docker")[0] == "docker build -t my-model ."


def test_its_code_is_clean(project: Path) -> None:
    """The rules of ruff that most people use find nothing, and its formatter would change nothing."""
    ruff = [sys.executable, "-m", "ruff"]
    rules = ["--select", "E,F,I,UP,B,SIM,RUF"]
    for command in ([*ruff, "check", "--isolated", *rules], [*ruff, "format", "--isolated", "--check"]):
        done = subprocess.run(
            [*command, "--no-cache", "app.py", "test_app.py"], cwd=project, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.e2e
def test_its_test_passes(project: Path) -> None:
    """With the command of its README."""
    (command,) = commands_of(project, "python")
    arguments = command.removeprefix("python").split()
    done = subprocess.run(
        [sys.executable, *arguments, "-p", "no:cacheprovider"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


@pytest.mark.e2e
def test_the_calls_of_its_readme_work(project: Path) -> None:
    """The app is served, and the curl call, and the call without a server, have the result."""
    (served_by,), (curl,), (call,) = (
        commands_of(project, word) for word in ("penstock serve", "curl", "penstock call")
    )
    target = served_by.removeprefix("penstock serve ")
    without_server = subprocess.run(
        call.replace("penstock", f"{sys.executable} -m penstock_cli", 1),
        shell=True,  # as a reader runs it
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (without_server.returncode, without_server.stdout) == (0, "9.0\n"), without_server.stderr
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    with Served(target, folder=project) as served:
        command = curl.replace("http://127.0.0.1:8000", served.base_url)
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30, check=False)
        assert done.stdout == "9.0"
        assert served.post_json("/count", {"n": 2}).lines() == [{"number": 0}, {"number": 1}]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A folder that has something in it is refused, and left as it was; as is a file."""
    (tmp_path / "app.py").write_text("mine", encoding="utf-8")
    result = init(tmp_path)
    assert (result.exit_code, [path.name for path in tmp_path.iterdir()]) == (2, ["app.py"])
    assert "is not empty: it has app.py; name a new or an empty folder" in result.output
    result = init(tmp_path / "app.py")
    assert (result.exit_code, (tmp_path / "app.py").read_text(encoding="utf-8")) == (2, "mine")
    assert "exists, and is not a folder" in result.output
    assert init(tmp_path / "app.py" / "new").exit_code == 2


def test_an_empty_repository_is_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is one with a virtual environment; and no ``cd`` is needed in the current one. The name may be another one."""
    monkeypatch.chdir(tmp_path)
    for name in (".git", ".venv"):
        (tmp_path / name).mkdir()
    result = init(".", "--name", "Größe")
    assert result.exit_code == 0
    assert "cd " not in result.output
    assert (tmp_path / "README.md").read_text(encoding="utf-8").startswith("# Größe\n")
    assert commands_of(tmp_path, "docker")[0] == "docker build -t gr-e ."


@pytest.mark.parametrize("name", ["", " ", "a\nb"])
def test_a_name_is_one_line(tmp_path: Path, name: str) -> None:
    """It is the title of the README."""
    assert init(tmp_path / "new", "--name", name).exit_code == 2
