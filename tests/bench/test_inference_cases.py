"""The cases of the benchmark about the Open Inference Protocol: their requests, and their parts of the page."""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.serving import ROOT

sys.path.append(str(ROOT / "bench"))  # the benchmark is a folder of scripts that import each other by name

from cases import inferences, tensors  # type: ignore[import-not-found]
from contenders import CONTENDERS, Contender  # type: ignore[import-not-found]
from harness import Case, Pace  # type: ignore[import-not-found]
from results import Result  # type: ignore[import-not-found]


def result_of(case: Case, figures: dict[str, dict[str, float]]) -> Result:
    return Result({"figures": {name: {"": [found]} for name, found in figures.items()}})


def test_the_sizes_of_a_tensor_add_up() -> None:
    """The header has the length of the JSON, and the rest is the data."""
    payload, headers = tensors.inference(b"\0" * 4096)
    size = int(headers["Inference-Header-Content-Length"])
    [given] = json.loads(payload.content[:size])["inputs"]
    assert payload.content[size:] == b"\0" * 4096
    assert (given["shape"], given["parameters"]) == ([1024], {"binary_data_size": 4096})


def test_the_page_compares_tensors_with_bytes() -> None:
    """By the median times of both, for each number of connections."""
    figures = {
        f"{kind}_{key}_{connections}": value
        for connections in tensors.CONNECTIONS
        for kind, value in (("tensor", 3.0), ("bytes", 2.0))
        for key in ("rate", "p50", "cpu")
    }
    lines = tensors.section(result_of(tensors.CASE, {"penstock": figures}), ROOT)
    assert "At 1 connection, the tensor takes 1.50 times as long as the bytes." in lines
    assert "Some requests failed." not in lines
    figures["bytes_failed_2"] = 1.0
    assert "Some requests failed." in tensors.section(result_of(tensors.CASE, {"penstock": figures}), ROOT)


def test_the_page_compares_inferences_with_the_peers_that_ran() -> None:
    """The others are left out of the sentence."""
    result = result_of(inferences.CASE, {"penstock": {"rate": 3000.0}, "mlserver": {"rate": 600.0}})
    lines = inferences.section(result, ROOT)
    assert "Penstock's rate is 5.00 times MLServer's." in lines


def test_a_peer_of_some_cases_takes_no_part_in_the_others() -> None:
    """Unless a case names it, it is not started for it: it does not serve its endpoint."""
    started: list[str] = []

    def measure(*_: Any) -> dict[str, float]:
        raise AssertionError("nothing is to be measured")

    special = Contender(
        name="special",
        title="Special",
        line=lambda *_: started.append("special") or ["false"],
        packages=(),
        note="",
        is_general=False,
    )
    assert Case(name="test", endpoint="square", measure=measure).run([special], Pace(rounds=1))["figures"] == {}
    assert started == []
    assert [name for name, each in CONTENDERS.items() if not each.is_general] == ["mlserver"]
