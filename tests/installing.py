"""Fresh environments for tests: wheels built here, with the dependencies that the suite runs with."""

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
    """Run a command outside the checkout; return its output, stdout and stderr together."""
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
    """Build the wheel of a distribution from a copy of its sources, since a build leaves files behind.

    Parameters
    ----------
    source, names:
        The folder of the sources, and the names of the files and folders in it that are needed. Default: all.
    folder:
        The folder to build in; it must not exist.
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
    """Build the wheel of Penstock."""
    return build_wheel(ROOT, folder, SOURCES)


def make_environment(folder: Path, *wheels: Path) -> Path:
    """Create an environment with these wheels and the dependencies of this one; return its ``bin`` folder.

    Penstock is imported from its wheel: packages of an environment take precedence over those on its ``.pth`` paths.
    """
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    run(*pip, *wheels, folder=folder)
    # Packages in that folder can be imported; its own .pth files, such as those of editable installs, are ignored.
    here = sysconfig.get_paths()["purelib"]
    (site_packages,) = (folder / "lib").glob("python*/site-packages")
    (site_packages / "dependencies.pth").write_text(f"{here}\n", encoding="utf-8")
    return folder / "bin"
