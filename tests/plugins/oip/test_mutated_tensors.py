"""Requests that are broken at random: whatever they say, it is not the server that fails."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np

from penstock.hooks import JobAnswered
from penstock.response import Encoded
from penstock.testing import PluginHarness
from penstock_oip import OipPlugin
from tests.plugins.oip.inference_scene import JSON_SIZE, described, raw_input, texts
from tests.plugins.oip.oip_models import models_app

BODIES = 500
SEED = 11

NAMES = texts(b"a", b"\xff\x00", b"")
ROWS = np.arange(6, dtype=np.float32).tobytes()
REQUESTS: list[tuple[str, dict[str, Any], bytes]] = [
    ("org/a pair", {"inputs": [described("rows", "FP32", [1, 2], [[1, 2.5]])], "id": "a"}, b""),
    (
        "org/a pair",
        {
            "inputs": [raw_input("rows", "FP32", [3, 2], ROWS), raw_input("names", "BYTES", [3], NAMES)],
            "outputs": [{"name": "names", "parameters": {"binary_data": True}}, {"name": "rows"}],
            "parameters": {"binary_data_output": True, "timeout": 10_000_000, "priority": 1, "scale": 2.0},
        },
        ROWS + NAMES,
    ),
    ("joined", {"inputs": [described("x", "FP32", [2, 3], [1, 2, 3, 4, 5, 6])]}, b""),
    ("bytes", {"inputs": [described("x", "BYTES", [2, 1], ["a", "é"])], "outputs": [{"name": "output"}]}, b""),
]
WRONG: list[Any] = [
    None, True, False, 0, 1, -1, 3, 1e300, 2**70, 0.5, "", "x", "\u2028", "FP32", "BYTES", "rows", [], [[]], [2],
    [0, 2], [-1, 2], [2**40, 2**40], {}, {"binary_data_size": 24}, {"binary_data_size": 2**70}, {"binary_data": True},
    ["x"], [[None]], float("inf"), {"x": {"y": []}},
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to each value inside another one."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def mutated(dice: random.Random) -> tuple[str, bytes, dict[str, str]]:
    """Return the path, the body and the headers of a request with one or two values, and some bytes, changed."""
    model, description, raw = deepcopy(dice.choice(REQUESTS))
    for _ in range(dice.randint(0, 2)):
        _change(dice, description)
    content = json_of(description)
    size = len(content) + dice.choice([0] * 12 + [-1, 1, 10**6])
    headers = {JSON_SIZE: str(size)} if raw or dice.random() < 0.2 else {}
    body = bytearray(content + raw)
    if dice.random() < 0.15:
        body[dice.randrange(len(body))] = dice.randrange(256)
    if dice.random() < 0.1:
        del body[dice.randrange(len(body)) :]
    if dice.random() < 0.05:
        headers[JSON_SIZE] = dice.choice(["0", "-1", "x", ""])
    version = dice.choice([""] * 8 + ["/versions/1", "/versions/3", "/versions/x"])
    return f"/v2/models/{model}{version}/infer", bytes(body), headers


def json_of(description: Any) -> bytes:
    """Return JSON with the numbers that Python writes in addition."""
    return json.dumps(description).encode()


def _change(dice: random.Random, description: Any) -> None:
    found = list(places(description))
    if not found:
        return
    *path, key = dice.choice(found)
    holder = description
    for step in path:
        holder = holder[step]
    change = dice.random()
    if change < 0.7:
        holder[key] = deepcopy(dice.choice(WRONG))
    elif change < 0.9 or not isinstance(holder, dict):
        del holder[key]
    else:
        holder[f"{key}s"] = holder.pop(key)


def test_mutated_requests_are_answered_or_refused() -> None:
    """Each is a 200, a 400, or a 404 for the version; what the server refuses has never been queued."""
    harness = PluginHarness(models_app(["BYTES"]), [OipPlugin])
    dice = random.Random(SEED)
    statuses = {200: 0, 400: 0, 404: 0}
    for _ in range(BODIES):
        path, body, headers = mutated(dice)
        status = harness.operation("POST", path, body, answer=Encoded(b"{}"), headers=headers).status
        assert status in statuses, (path, body, headers)
        statuses[status] += 1
    assert min(statuses.values()) > 0
    assert len(harness.records_of(JobAnswered)) == statuses[200]
