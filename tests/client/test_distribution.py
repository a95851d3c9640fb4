"""The distribution of the client: what is in it, and what it needs."""

from __future__ import annotations

import ast
import sys
import zipfile
from pathlib import Path

from tests.installing import build_wheel
from tests.serving import ROOT

SOURCE = ROOT / "client" / "penstock_client"


def test_the_wheel_has_the_package_and_nothing_else(tmp_path: Path) -> None:
    """Its modules, its mark as typed, its metadata."""
    wheel = zipfile.ZipFile(build_wheel(ROOT / "client", tmp_path / "built"))
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert files == {f"penstock_client/{path.name}" for path in SOURCE.iterdir() if path.is_file()}
    [metadata] = [name for name in wheel.namelist() if name.endswith("METADATA")]
    needed = [line for line in wheel.read(metadata).decode().splitlines() if line.startswith("Requires-Dist")]
    assert [line.split()[1].partition(">")[0].partition("<")[0] for line in needed] == ["httpx2", "msgspec"]


def test_it_imports_what_it_needs_alone() -> None:
    """The standard library, httpx2 with the anyio that it brings, and msgspec."""
    imported = set()
    for path in SOURCE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    assert imported - sys.stdlib_module_names == {"anyio", "httpx2", "msgspec", "penstock_client"}
