"""The memory that workers with a large numpy model need with preload=True and without, and the time of a replacement.

Prints a Markdown table: for pools of one and of four workers, the proportional set size (PSS) of all processes below
this one, so that a page that n of them share counts once; and the time from a worker's SIGKILL until its successor is
ready, as the engine sees it. Linux only; needs numpy, and two gigabytes of memory.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from penstock import App, open_engine

MODEL_BYTES = int(os.environ.get("MODEL_BYTES", "500000000"))
ROUNDS = 20
CALLS = 8
POOLS = {"one": (1, False), "four": (4, False), "one, preloaded": (1, True), "four, preloaded": (4, True)}
_CHOSEN = "BENCH_POOL"  # the workers import this file too, and must declare the same app

app = App(__name__)


def _declare(workers: int, *, preload: bool) -> None:
    @app.endpoint("/total", workers=workers, preload=preload)
    class Total:
        """A model that is one array."""

        def setup(self) -> None:
            import numpy as np  # noqa: PLC0415  only the workers need it

            self.weights = np.random.default_rng(1).random(MODEL_BYTES // 8)

        def predict(self) -> float:
            return float(self.weights.sum())


if _CHOSEN in os.environ:
    _declare(POOLS[os.environ[_CHOSEN]][0], preload=POOLS[os.environ[_CHOSEN]][1])


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [each for child in map(int, children) for each in (child, *_descendants(child))]


def _pss_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def _workers(engine: Any) -> list[dict[str, Any]]:
    workers: list[dict[str, Any]] = engine.status()["pools"]["total"]["workers"]
    return workers


async def _until_ready(engine: Any) -> None:
    while not all(worker["state"] == "ready" for worker in _workers(engine)):  # noqa: ASYNC110  there is no event
        await asyncio.sleep(0.0005)


async def _replace(engine: Any, place: int) -> float:
    """Kill a worker, and return the seconds until the next one is ready."""
    await asyncio.gather(*(engine.call("total") for _ in range(CALLS)))  # a worker that has worked is replaced at once
    pid = _workers(engine)[place]["pid"]
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    while (worker := _workers(engine)[place])["pid"] in {pid, None} or worker["state"] != "ready":  # noqa: ASYNC110  as above
        await asyncio.sleep(0.0005)
    return time.perf_counter() - began


async def _measure(name: str) -> None:
    workers, _ = POOLS[name]
    async with open_engine(app) as engine:
        await _until_ready(engine)
        await asyncio.gather(*(engine.call("total") for _ in range(CALLS)))
        pss_bytes = sum(map(_pss_bytes, _descendants(os.getpid())))
        seconds = [await _replace(engine, round_ % workers) for round_ in range(ROUNDS)]
    low, middle, high = (1000 * value for value in (min(seconds), statistics.median(seconds), max(seconds)))
    print(f"| {name} | {pss_bytes / 1e6:.0f} MB | {middle:.0f} ms | {low:.0f} to {high:.0f} ms |", flush=True)


def main() -> None:
    """Measure each pool in a process of its own."""
    if _CHOSEN in os.environ:
        asyncio.run(_measure(os.environ[_CHOSEN]))
        return
    print("| workers | memory (PSS) | replaced in, median | all |\n|---|---|---|---|", flush=True)
    for name in POOLS:
        if os.spawnve(os.P_WAIT, sys.executable, [sys.executable, __file__], {**os.environ, _CHOSEN: name}):
            sys.exit(1)


if __name__ == "__main__":
    main()
