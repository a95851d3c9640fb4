"""A program that embeds the engine beside its own threads, tries everything, and prints the results."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from penstock import start_engine
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

facts: dict[str, Any] = {}


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise TimeoutError("the condition did not become true")


def error_of(job: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"result": job()}
    except Exception as error:
        return describe(error)


def try_results(engine: Any) -> None:
    facts["square"] = engine.call("square", {"input": 4.0})
    facts["raw"] = engine.call("raw", b"abc").decode()
    facts["large"] = engine.call("raw", LARGE) == LARGE[::-1]
    with engine.stream("count", {"n": 5}) as chunks:
        facts["count"] = list(chunks)
    with engine.stream("undeclared", {"n": 3}) as chunks:
        facts["undeclared"] = list(chunks)
    with engine.stream("events", {"n": 2}) as chunks:
        facts["events"] = [(chunk.data, chunk.event, chunk.id) for chunk in chunks]
    with engine.stream("csv", {"n": 2}) as chunks:
        facts["csv"] = b"".join(chunks).decode()
    with ThreadPoolExecutor(50) as pool:
        facts["fifty"] = list(pool.map(lambda n: engine.call("square", {"input": n}), range(50)))


def try_errors(engine: Any) -> None:
    chunks: list[int] = []

    def read(name: str, n: int) -> None:
        with engine.stream(name, {"input" if name == "square" else "n": n}) as stream:
            for chunk in stream:
                chunks.append(chunk)  # noqa: PERF402 - the chunks before the error must be kept

    facts["errors"] = {
        "invalid": error_of(lambda: engine.call("square", {"input": "x"})),
        "unknown": error_of(lambda: engine.call("sqare", {"input": 1.0})),
        "handler": error_of(lambda: engine.call("fail", {"text": "broken"})),
        "execution": error_of(lambda: engine.call("sleep", {"seconds": 30})),
        "total": error_of(lambda: engine.call("sleep", {"seconds": 30}, timeout=0.1)),
        "stream": error_of(lambda: read("breaks", 3)),
        "kind": error_of(lambda: engine.call("count", {"n": 1})),
        "a call that streams": error_of(lambda: engine.call("undeclared", {"n": 1})),
        "a stream of one": error_of(lambda: read("square", 3)),
    }
    facts["chunks before the error"] = chunks


def try_cancelling(engine: Any) -> None:
    """A thread's wait cannot be cancelled from outside: its timeout does it."""

    def hold() -> dict[str, Any]:
        return error_of(lambda: engine.call("hold", {}, timeout=1.0))

    holders = [threading.Thread(target=hold) for _ in range(2)]
    for holder in holders:
        holder.start()
    wait_for(lambda: engine.status()["endpoints"]["hold"]["queued"] == 1 and (folder() / "started").exists())
    facts["errors"]["full"] = hold()
    for holder in holders:
        holder.join()
    facts["cancelled"] = "cancelled"
    wait_for((folder() / "interrupted").exists)
    wait_for(lambda: engine.status()["endpoints"]["hold"]["running"] == 0)
    lane = engine.status()["endpoints"]["hold"]
    facts["hold after the cancel"] = [lane["queued"], lane["running"], lane["totals"].get("ok", 0)]
    with engine.stream("drip", {}) as chunks:
        next(chunks)
    wait_for((folder() / "closed").exists)


def try_scaling(engine: Any) -> None:
    for number in (2, 1):
        engine.scale("sleeping", number)
        wait_for(lambda number=number: workers_of(engine.status(), "sleeping") == ["ready"] * number)
    facts["scaled"] = True


def try_bodies() -> None:
    class Mine(Exception):
        pass

    mine = Mine("of the body")
    try:
        with start_engine(app):
            raise mine
    except Mine as error:
        facts["the body's own error"] = error is mine


def main() -> None:
    with start_engine(app):  # a first use leaves some things open for good; they do not count
        pass
    before, threads_before = open_descriptors(), threads()
    with start_engine(app) as engine:
        try_results(engine)
        try_errors(engine)
        try_cancelling(engine)
        try_scaling(engine)
        pids = worker_pids(engine.status())
    try_bodies()
    facts["workers"] = len(pids)
    facts["workers left"] = alive(pids)
    facts["children left"] = children()
    facts["threads left"] = sorted(set(threads()) - set(threads_before))
    facts["descriptors"] = [before, open_descriptors()]
    facts["after the end"] = error_of(lambda: engine.call("square", {"input": 1.0}))


main()
report(facts)
