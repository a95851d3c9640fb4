"""The distribution of the client: what is in it, and what it needs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
    always = [line for line in needed if "extra ==" not in line]
    assert [line.split()[1].partition(">")[0].partition("<")[0] for line in always] == ["httpx2", "msgspec"]


def test_it_imports_what_it_needs_alone() -> None:
    """The standard library, httpx2 with the anyio that it brings, and msgspec."""
    imported = set()
    for path in SOURCE.glob("*.py"):
        if path.name == "opentelemetry.py":  # which has an extra
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    assert imported - sys.stdlib_module_names == {"anyio", "httpx2", "msgspec", "penstock_client"}


def test_opentelemetry_is_loaded_by_those_who_use_it() -> None:
    """The client alone does not import it."""
    program = "import sys, penstock_client; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """``pip install`` with the right words is the fix."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "penstock_client.opentelemetry", raising=False)
    with pytest.raises(ImportError, match=r"run: pip install 'penstock-client\[otel\]'"):
        importlib.import_module("penstock_client.opentelemetry")
