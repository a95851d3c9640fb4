"""docs/security.md: each promise names the test that holds it, and the tests exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.serving import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
UNPICKLERS = {"pickle", "marshal", "shelve", "cloudpickle", "dill"}


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_named_test_exists(path: str, name: str) -> None:
    """A promise whose test is renamed or deleted is a promise without a keeper."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in functions


def test_each_promise_names_a_test() -> None:
    """In the tables of promises, no row is without one."""
    tables = re.findall(r"^\| promise \| test \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(tables) >= 7
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py::\w+`", row)] == []


def calls_of(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [ast.unparse(function) for function in functions if isinstance(function, ast.Attribute)]


def test_the_engine_unpickles_nothing() -> None:
    """Frames of workers and of other processes are data: they cannot name code to run."""
    engine = [ROOT / "core/penstock/wire.py", *(ROOT / "core/penstock/engine").rglob("*.py")]
    forbidden = {f"{module}.{function}" for module in UNPICKLERS for function in ("load", "loads", "Unpickler", "open")}
    assert len(engine) > 10
    assert {path.name: found for path in engine if (found := forbidden.intersection(calls_of(path)))} == {}
