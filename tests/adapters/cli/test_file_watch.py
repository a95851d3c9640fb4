"""The files that ``--reload`` watches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import watchfiles

from penstock_cli.file_watch import _Filter
from tests.serving import write_app

PROGRAM = """
import sys
from penstock.hosting import load_app
from penstock_cli.file_watch import watched_paths
print(*watched_paths(load_app(sys.argv[1])), sep="\\n")
"""
APP = """
    from penstock import App
    import elsewhere

    app = App(__name__)
    app.endpoint("/x")(elsewhere.handler)
"""


def test_the_outermost_package_is_watched_and_handlers_elsewhere(tmp_path: Path) -> None:
    """A handler may be in a package of its own, which is installed in another folder."""
    (tmp_path / "package" / "inner").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "inner" / "__init__.py").touch()
    write_app(tmp_path / "package" / "inner", APP, "served.py")
    write_app(tmp_path / "other", "def handler(value: int) -> int:\n    return value\n", "elsewhere.py")
    printed = subprocess.check_output(
        [sys.executable, "-c", PROGRAM, "package.inner.served:app"],
        text=True,
        env={"PYTHONPATH": f"{tmp_path}:{tmp_path / 'other'}"},
    )
    assert printed.splitlines() == [str(tmp_path / "package"), str(tmp_path / "other" / "elsewhere.py")]


def test_code_and_settings_count() -> None:
    """Caches, hidden folders and virtual environments do not."""
    names = ("app.py", "pyproject.toml", "data.csv", "__pycache__/app.py", ".venv/lib/x.py", "lib/sub/x.py")
    counted = [name for name in names if _Filter()(watchfiles.Change.modified, f"/folder/{name}")]
    assert counted == ["app.py", "pyproject.toml", "lib/sub/x.py"]
