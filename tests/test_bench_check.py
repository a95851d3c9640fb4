from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
BASELINE = {"http: one request": 1000, "worker: one request": 200}


@pytest.fixture
def instructions(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module("instructions")


def test_a_kind_that_costs_more_than_five_per_cent_more_fails(
    instructions: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The guard fails and names the kind, both counts and the command that accepts them; up to 5 % it succeeds."""
    assert instructions.judge(BASELINE, {"http: one request": 1050, "worker: one request": 200}) == 0
    capsys.readouterr()
    assert instructions.judge(BASELINE, {"http: one request": 1051, "worker: one request": 200}) == 1
    message = capsys.readouterr().out
    assert "bench-check: 'http: one request' executes 1,051 instructions, 5.1% more than 1,000\n" in message
    assert "python bench/instructions.py --accept" in message
    assert "bench-check: 'worker" not in message


def test_a_kind_without_its_counterpart_fails(instructions: Any) -> None:
    """Neither a new kind nor one that is no longer counted goes unnoticed."""
    assert instructions.complaints({"a": 1, "b": 1}, {"b": 1, "c": 1}) == [
        "'c' has no baseline yet",
        "'a' is in the baseline and was not counted",
    ]


def test_a_version_of_python_without_a_baseline_succeeds(
    instructions: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bytecode differs between versions of Python, so each has its own baseline, and accepting one keeps the others."""
    path = tmp_path / "baseline.json"
    assert instructions.read_baseline(path) is None
    path.write_text('{"3.0": {"a": 7}}')
    assert instructions.read_baseline(path) is None
    assert instructions.judge(None, BASELINE) == 0
    assert "no baseline for Python" in capsys.readouterr().out
    instructions.write_baseline(BASELINE, path)
    assert instructions.read_baseline(path) == BASELINE
    assert '"3.0": {\n    "a": 7\n  }' in path.read_text()


def test_each_count_has_a_line_of_its_own(instructions: Any) -> None:
    """A baseline is read as a diff: sorted, one line for each kind, with an end of line."""
    text = instructions.BASELINE.read_text()
    for counts in instructions.json.loads(text).values():
        assert list(counts) == sorted(counts)
        assert all(text.count(f"{instructions.json.dumps(kind)}: ") >= 1 for kind in counts)
    assert text.endswith("}\n")
