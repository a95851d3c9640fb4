"""A program that opens and closes an engine again and again, and prints what it has more of than after the warm-up."""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from penstock import open_engine, start_engine
from tests.e2e.apps.embedding_app import app
from tests.e2e.apps.embedding_facts import children, open_descriptors, report, threads

WARM_UP = 5
MANY = 20
TIMER_SECONDS = 1.2  # a timer of a closed engine, which keeps all of it, may be this late


async def cycle() -> None:
    async with open_engine(app) as engine:
        await engine.call("square", {"input": 2.0})
        async with engine.stream("count", {"n": 3}) as chunks:
            async for _ in chunks:
                break


def threaded_cycle() -> None:
    with start_engine(app) as engine:
        engine.call("square", {"input": 2.0})
        with engine.stream("count", {"n": 3}) as chunks:
            next(chunks)


def facts() -> dict[str, Any]:
    gc.collect()
    gc.collect()  # finalizers of the first one may have left more
    return {
        "descriptors": len(open_descriptors()),
        "threads": len(threads()),
        "children": len(children()),
        "bytes": tracemalloc.get_traced_memory()[0],  # resident memory also has what malloc keeps for later
    }


def measure(cycles: int) -> dict[str, Any]:
    for _ in range(min(WARM_UP, cycles)):
        threaded_cycle()
    before = facts()
    for _ in range(cycles):
        threaded_cycle()
    after = facts()
    return {name: after[name] - before[name] for name in before}


async def measure_async(sleep: Callable[[float], Awaitable[object]], cycles: int) -> dict[str, Any]:
    """Measure within one loop, as a program that opens engines now and then has only one."""
    for _ in range(min(WARM_UP, cycles)):
        await cycle()
    await sleep(TIMER_SECONDS if cycles >= MANY else 0)
    before = facts()
    for _ in range(cycles):
        await cycle()
    await sleep(TIMER_SECONDS if cycles >= MANY else 0)
    after = facts()
    return {name: after[name] - before[name] for name in before}


def main(flavour: str, cycles: int) -> None:
    if cycles >= MANY:  # fewer show no trend, and this makes everything slower
        tracemalloc.start()
    if flavour == "asyncio":
        report(asyncio.run(measure_async(asyncio.sleep, cycles)))
    elif flavour == "trio":
        report(trio.run(measure_async, trio.sleep, cycles))
    else:
        report(measure(cycles))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
