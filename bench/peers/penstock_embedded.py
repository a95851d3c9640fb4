"""Penstock's engine in a program: ``python penstock_embedded.py N`` queues N jobs and prints the cost of one."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import penstock
from penstock import App, Timeouts

app = App(__name__)


@app.endpoint("/sleep", max_queue=200_000, timeouts=Timeouts(queue=600))
def sleep(seconds: float) -> None:
    """Sleep."""
    time.sleep(seconds)


async def measure(number: int) -> dict[str, float]:
    """Queue the jobs behind one that blocks; return the cost of one in microseconds."""
    async with penstock.open_engine(app) as engine:
        before = time.process_time()
        blocker = asyncio.create_task(engine.call("sleep", {"seconds": 0.5 + number / 5000}))
        await asyncio.sleep(0.1)
        jobs = [asyncio.create_task(engine.call("sleep", {"seconds": 0})) for _ in range(number)]
        await blocker
        begin = time.perf_counter()
        await asyncio.gather(*jobs)
        drained = time.perf_counter() - begin
        return {"cpu": (time.process_time() - before) / number * 1e6, "drain": drained / number * 1e6}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1])))))
