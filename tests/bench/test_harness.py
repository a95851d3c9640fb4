"""The harness of the benchmark: rounds, failures, limits and clean-up, with a server whose delays are known."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.serving import ROOT

sys.path.append(str(ROOT / "bench"))  # the benchmark is a folder of scripts that import each other by name

from contenders import Contender  # type: ignore[import-not-found]
from harness import FAILED, Case, Pace  # type: ignore[import-not-found]
from plots import bars, lines  # type: ignore[import-not-found]
from results import Column, Result  # type: ignore[import-not-found]

KNOWN = ROOT / "bench" / "known_server.py"


def contender(name: str, *command: str) -> Contender:
    return Contender(name=name, title=name.title(), line=lambda python, *_: [python, *command], packages=(), note="")


GOOD = contender("good", str(KNOWN), "0")
BROKEN = contender("broken", "-c", "raise SystemExit(3)")


def run(measure: Any, *contenders: Contender, rounds: int = 1, limit: float = 20.0) -> dict[str, Any]:
    case = Case(name="test", endpoint="square", measure=measure, limit=limit)
    figures: dict[str, Any] = case.run(contenders, Pace(rounds=rounds, seconds=1))["figures"]
    return figures


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_rounds_alternate_and_each_has_a_fresh_server() -> None:
    """Round by round, each contender in turn is started, measured and stopped."""
    seen: list[tuple[str, int]] = []

    def measure(server: Any, *_: Any) -> dict[str, float]:
        assert all(not is_alive(pid) for _, pid in seen)
        seen.append((server.contender.name, server.process.pid))
        return {"rate": 1.0}

    figures = run(measure, GOOD, contender("other", str(KNOWN), "0"), rounds=2)
    assert [name for name, _ in seen] == ["good", "other", "good", "other"]
    assert len({pid for _, pid in seen}) == 4
    assert figures["good"][""] == [{"rate": 1.0}, {"rate": 1.0}]


def test_a_failure_is_a_result() -> None:
    """A server that does not start and a measurement that raises are recorded in words, and the others go on."""

    def measure(server: Any, *_: Any) -> dict[str, float]:
        if server.contender.name == "bad":
            raise ConnectionResetError("hung up")
        return {"rate": 1.0}

    figures = run(measure, BROKEN, contender("bad", str(KNOWN), "0"), GOOD)
    assert figures["broken"][""] == [{FAILED: "ended with 3 during its start"}]
    assert figures["bad"][""] == [{FAILED: "ConnectionResetError: hung up"}]
    assert figures["good"][""] == [{"rate": 1.0}]


def test_a_round_is_bounded_and_leaves_nothing_behind() -> None:
    """At the limit the round is given up and its server is stopped."""
    pids: list[int] = []

    def measure(server: Any, *_: Any) -> dict[str, float]:
        pids.extend(server.pids())
        time.sleep(60)
        return {}

    assert run(measure, GOOD, limit=1.0)["good"][""] == [{FAILED: "not done within 1 s"}]
    assert pids
    assert not any(is_alive(pid) for pid in pids)
    assert os.getpid() not in pids


def result(**rounds: list[dict[str, float | str]]) -> Result:
    titles = {name: name.title() for name in rounds}
    return Result({"figures": {name: {"": each} for name, each in rounds.items()}}, titles)


def test_tables_have_medians_or_words() -> None:
    """A cell has the median over the rounds, or what happened instead if that is what most rounds have."""
    found = result(
        fast=[{"rate": 1.0}, {"rate": 3.0}, {"rate": 9.0}],
        mixed=[{"rate": "none in 5 s"}, {"rate": "none in 5 s"}, {"rate": 2.0}],
        gone=[{FAILED: "not ready"}],
        empty=[{"rate": float("nan")}],
    )
    assert found.table([Column("requests/s", "rate", "{:.1f}")])[2:] == [
        "| Fast | 3.0 |",
        "| Mixed | none in 5 s |",
        "| Gone | not ready |",
        "| Empty | - |",
    ]
    assert found.ratio("rate", "fast", "mixed") is None
    assert found.spread("rate") == 2.0  # 9 is three times the median


def test_plots_draw_what_is_known() -> None:
    """A missing value leaves a gap, and text is escaped."""
    assert ">none<" in bars("a & b", {"one": 2.0, "two": None})
    assert "a &amp; b" in bars("a & b", {"one": 2.0, "two": None})
    picture = lines("goodput", "load", (1, 10), {"one": [1.0, 2.0], "two": [None, 1.0]})
    assert picture.count("<circle") == 3
