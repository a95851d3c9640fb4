"""Progress reports of real handlers of every kind reach an observer in the engine's process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving import Served, wait_until, write_app

pytestmark = pytest.mark.e2e

APP = """
    import json
    import os
    import threading
    import time
    from collections.abc import AsyncIterator, Iterator

    from penstock import App, Batching, Context, Timeouts
    from penstock.hooks import JobProgressed, hookimpl

    class Ledger:
        name = "ledger"

        @hookimpl
        def penstock_observer(self):
            return {JobProgressed: self.write}

        def write(self, record):
            facts = [record.endpoint, record.attempt, record.done, record.total, record.message]
            with open(os.environ["LEDGER"], "a") as file:
                file.write(json.dumps(facts) + "\\n")

    app = App(__name__, plugins=[Ledger()])

    @app.endpoint("/inline")
    def inline(context: Context) -> str:
        for number in range(3):
            context.progress(number, 3, "step")
        return "done"

    @app.endpoint("/generator")
    def generator(context: Context) -> Iterator[int]:
        for number in range(3):
            context.progress(number, 3, "step")
            yield number

    @app.endpoint("/threads", concurrency=2)
    def threads(context: Context) -> str:
        return inline(context)

    @app.endpoint("/trio", concurrency=2)
    async def on_trio(context: Context) -> str:
        return inline(context)

    @app.endpoint("/asyncio", runtime="asyncio", concurrency=2)
    async def on_asyncio(context: Context) -> str:
        return inline(context)

    @app.endpoint("/chunks", concurrency=2)
    async def chunks(context: Context) -> AsyncIterator[int]:
        for number in range(3):
            context.progress(number, 3, "step")
            yield number

    @app.endpoint("/batch", batching=Batching(max_size=1))
    def batch(items: list[int], context: Context) -> list[str]:
        return [inline(context)] * len(items)

    @app.endpoint("/helper")
    def helper(context: Context) -> str:
        thread = threading.Thread(target=inline, args=(context,))
        thread.start()
        thread.join()
        return "done"

    @app.endpoint("/helper-of-task", concurrency=2)
    async def helper_of_task(context: Context) -> str:
        import trio
        return await trio.to_thread.run_sync(inline, context)

    @app.endpoint("/live")
    def live(context: Context) -> str:
        context.progress(1, 2)
        while not os.path.exists(os.environ["LEDGER"] + ".go"):
            time.sleep(0.01)
        return "done"

    @app.endpoint("/flood", timeouts=Timeouts(execution=0.5))
    def flood(context: Context) -> None:
        number = 0
        while True:
            context.progress(number)
            number += 1

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2
"""
STEPS = [[0.0, 3.0, "step"], [1.0, 3.0, "step"], [2.0, 3.0, "step"]]


@pytest.fixture(scope="module", params=["one process", "two HTTP processes"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("app")
    options = ["--http-workers", "2"] if request.param == "two HTTP processes" else []
    with Served(write_app(folder, APP), *options, environment={"LEDGER": str(folder / "ledger")}) as server:
        server.ledger = folder / "ledger"  # type: ignore[attr-defined]
        yield server


def records(served: Served, endpoint: str) -> list[Any]:
    ledger: Path = served.ledger  # type: ignore[attr-defined]
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    return [record[2:] for record in map(json.loads, lines) if record[0] == endpoint]


@pytest.mark.parametrize(
    "endpoint", ["inline", "generator", "threads", "trio", "asyncio", "chunks", "batch", "helper-of-task"]
)
def test_each_kind_of_handler_reports(served: Served, endpoint: str) -> None:
    """Its reports arrive in order, before its answer."""
    body = 1 if endpoint == "batch" else {}
    assert served.post_json(f"/{endpoint}", body).status == 200
    assert records(served, endpoint) == STEPS


def test_the_thread_of_an_inline_handler_reports_at_the_end(served: Served) -> None:
    """Only the main thread may use the worker's socket, so the last report of another is sent with the result."""
    assert served.post_json("/helper", {}).status == 200
    assert records(served, "helper") == STEPS[-1:]


def test_a_report_arrives_while_the_handler_works(served: Served) -> None:
    """It does not wait for the end of the attempt."""
    ledger: Path = served.ledger  # type: ignore[attr-defined]
    go = Path(f"{ledger}.go")
    go.unlink(missing_ok=True)
    thread = threading.Thread(target=served.post_json, args=("/live", {}))
    thread.start()
    try:
        wait_until(lambda: records(served, "live"), "the report")
    finally:
        go.touch()
        thread.join()
    assert records(served, "live") == [[1.0, 2.0, None]]


def test_a_flood_is_bounded_and_can_be_interrupted(served: Served) -> None:
    """A handler that does nothing but report is stopped at its deadline, and its worker is used again."""
    began = time.monotonic()
    assert served.post_json("/flood", {}).status == 504
    assert time.monotonic() - began < 5
    assert 10 <= len(records(served, "flood")) <= 20
    assert served.post_json("/square", {"input": 3}).json() == 9.0
