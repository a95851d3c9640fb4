"""Fresh environments for tests: wheels that are built here, beside the dependencies that the suite runs with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.serving import ROOT

SOURCES = ("core", "adapters", "plugins", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "*.egg-info", ".pytest_cache")


def run(*command: str | Path, folder: Path, environment: Mapping[str, str] | None = None, code: int = 0) -> str:
    """Run a command outside the checkout; return what it printed, on both streams."""
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PIP_REQUIRE_VIRTUALENV")
    }
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**inherited, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == code, f"exit code {done.returncode}: {done.stdout}"
    return done.stdout


def build_wheel(source: Path, folder: Path, names: Iterable[str] = ()) -> Path:
    """Build the wheel of a distribution from a copy of its sources, since a build leaves things lying about.

    Parameters
    ----------
    source, names:
        Where the sources are, and which files and folders of it are needed; by default all.
    folder:
        Where to work; it must not exist.
    """
    if names:
        folder.mkdir(parents=True)
        for name in names:
            if (source / name).is_dir():
                shutil.copytree(source / name, folder / name, ignore=LEFT_BEHIND)
            else:
                shutil.copy(source / name, folder)
    else:
        shutil.copytree(source, folder, ignore=LEFT_BEHIND)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    run(*pip, "--wheel-dir", "dist", ".", folder=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


def build_penstock(folder: Path) -> Path:
    """Build Penstock's own wheel."""
    return build_wheel(ROOT, folder, SOURCES)


def make_environment(folder: Path, *wheels: Path) -> Path:
    """Make an environment with these wheels, which sees the dependencies of this one; return its folder of programs.

    Penstock itself is taken from its wheel: what is installed in an environment comes before what it sees elsewhere.
    """
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    run(*pip, *wheels, folder=folder)
    # What is in that folder can be imported; its own .pth files, as of an editable install, are not looked at.
    here = sysconfig.get_paths()["purelib"]
    (site_packages,) = (folder / "lib").glob("python*/site-packages")
    (site_packages / "dependencies.pth").write_text(f"{here}\n", encoding="utf-8")
    return folder / "bin"
