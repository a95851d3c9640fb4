"""A program that embeds the engine in asyncio, uvloop or trio, tries everything, and prints the results."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from penstock import open_engine
from tests.e2e.apps.embedding_app import app
from tests.e2e.apps.embedding_facts import (
    alive,
    children,
    describe,
    open_descriptors,
    report,
    threads,
    worker_pids,
    workers_of,
)
from tests.e2e.apps.marks import folder

LARGE = bytes(range(256)) * (5 << 12)  # passed on in a file

FLAVOUR = sys.argv[1]
Job = Callable[[], Awaitable[Any]]
facts: dict[str, Any] = {}


async def pause() -> None:
    if FLAVOUR == "trio":
        await trio.sleep(0.01)
    else:
        await asyncio.sleep(0.01)


async def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await pause()
    raise TimeoutError("the condition did not become true")


async def together(jobs: list[Job]) -> list[Any]:
    """Run the jobs side by side and return their results, errors included."""
    results: list[Any] = [None] * len(jobs)

    async def keep(index: int) -> None:
        try:
            results[index] = await jobs[index]()
        except Exception as error:
            results[index] = error

    if FLAVOUR == "trio":
        async with trio.open_nursery() as nursery:
            for index in range(len(jobs)):
                nursery.start_soon(keep, index)
    else:
        await asyncio.gather(*(keep(index) for index in range(len(jobs))))
    return results


async def cancel_when(job: Job, condition: Callable[[], bool]) -> str:
    """Start a task, cancel it as soon as the condition holds, and return how it ended."""
    if FLAVOUR == "trio":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(job)
            await wait_for(condition)
            nursery.cancel_scope.cancel()
        return "cancelled" if nursery.cancel_scope.cancelled_caught else "went on"
    task = asyncio.ensure_future(job())
    await wait_for(condition)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return "cancelled"
    return "went on"


async def error_of(job: Job) -> dict[str, Any]:
    try:
        return {"result": await job()}
    except Exception as error:
        return describe(error)


async def try_results(engine: Any) -> None:
    facts["square"] = await engine.call("square", {"input": 4.0})
    facts["raw"] = (await engine.call("raw", b"abc")).decode()
    facts["large"] = await engine.call("raw", LARGE) == LARGE[::-1]
    async with engine.stream("count", {"n": 5}) as chunks:
        facts["count"] = [chunk async for chunk in chunks]
    async with engine.stream("undeclared", {"n": 3}) as chunks:
        facts["undeclared"] = [chunk async for chunk in chunks]
    async with engine.stream("events", {"n": 2}) as chunks:
        facts["events"] = [(chunk.data, chunk.event, chunk.id) async for chunk in chunks]
    async with engine.stream("csv", {"n": 2}) as chunks:
        facts["csv"] = b"".join([chunk async for chunk in chunks]).decode()
    facts["fifty"] = await together([lambda n=n: engine.call("square", {"input": n}) for n in range(50)])


async def try_errors(engine: Any) -> None:
    chunks: list[int] = []

    async def read(name: str, n: int) -> None:
        async with engine.stream(name, {"input" if name == "square" else "n": n}) as stream:
            async for chunk in stream:
                chunks.append(chunk)  # noqa: PERF401 - the chunks before the error must be kept

    facts["errors"] = {
        "invalid": await error_of(lambda: engine.call("square", {"input": "x"})),
        "unknown": await error_of(lambda: engine.call("sqare", {"input": 1.0})),
        "handler": await error_of(lambda: engine.call("fail", {"text": "broken"})),
        "execution": await error_of(lambda: engine.call("sleep", {"seconds": 30})),
        "total": await error_of(lambda: engine.call("sleep", {"seconds": 30}, timeout=0.1)),
        "stream": await error_of(lambda: read("breaks", 3)),
        "kind": await error_of(lambda: engine.call("count", {"n": 1})),
        "a call that streams": await error_of(lambda: engine.call("undeclared", {"n": 1})),
        "a stream of one": await error_of(lambda: read("square", 3)),
    }
    facts["chunks before the error"] = chunks


async def try_cancelling(engine: Any) -> None:
    def hold() -> Awaitable[Any]:
        return engine.call("hold", {})

    def queued() -> bool:
        return engine.status()["endpoints"]["hold"]["queued"] == 1

    async def fill() -> None:
        await together([hold, hold])

    async def overfill() -> None:
        await together([fill, observe])

    async def observe() -> None:
        await wait_for(lambda: queued() and (folder() / "started").exists())
        facts["errors"]["full"] = await error_of(hold)

    facts["cancelled"] = await cancel_when(overfill, lambda: "full" in facts["errors"])
    await wait_for((folder() / "interrupted").exists)
    lane = engine.status()["endpoints"]["hold"]
    facts["hold after the cancel"] = [lane["queued"], lane["running"], lane["totals"].get("ok", 0)]
    async with engine.stream("drip", {}) as chunks:
        async for _chunk in chunks:
            break
    await wait_for((folder() / "closed").exists)


async def try_scaling(engine: Any) -> None:
    for number in (2, 1):
        engine.scale("sleeping", number)
        await wait_for(lambda number=number: workers_of(engine.status(), "sleeping") == ["ready"] * number)
    facts["scaled"] = True


async def try_bodies() -> None:
    class Mine(Exception):
        pass

    mine = Mine("of the body")
    try:
        async with open_engine(app):
            raise mine
    except Mine as error:
        facts["the body's own error"] = error is mine


async def main() -> None:
    async with open_engine(app):  # a first use leaves some things open for good; they do not count
        pass
    before, threads_before = open_descriptors(), threads()
    async with open_engine(app) as engine:
        await try_results(engine)
        await try_errors(engine)
        await try_cancelling(engine)
        await try_scaling(engine)
        pids = worker_pids(engine.status())
    await try_bodies()
    facts["workers"] = len(pids)
    facts["workers left"] = alive(pids)
    facts["children left"] = children()
    facts["threads left"] = sorted(set(threads()) - set(threads_before))
    facts["descriptors"] = [before, open_descriptors()]
    facts["after the end"] = await error_of(lambda: engine.call("square", {"input": 1.0}))


if FLAVOUR == "trio":
    trio.run(main)
elif FLAVOUR == "uvloop":
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
report(facts)
