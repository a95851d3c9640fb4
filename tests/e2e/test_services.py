"""A plug-in's service in a real server: it has jobs of its own run in free slots, and ends with the engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.watching import in_background
from tests.serving import Served, wait_until, write_app

pytestmark = pytest.mark.e2e

APP = """
    import asyncio
    import json
    import os
    import sys
    import threading
    import time

    from penstock import App, Context
    from penstock.hooks import Route, RouteResponse, StoredSubmission, hookimpl

    class Backlog:
        \"\"\"Keeps numbers until a slot is free, and writes down what becomes of them.\"\"\"

        name = "backlog"

        @hookimpl
        def penstock_service(self, app):
            return self

        @hookimpl
        def penstock_routes(self):
            return [
                Route(path="/backlog", method="POST", name="backlog", handler=self.add, reads_body=True),
                Route(path="/backlog", name="results", handler=self.show),
            ]

        def start(self, engine):
            if os.environ.get("BROKEN"):
                raise RuntimeError("the backlog cannot be opened")
            self.engine = engine
            self.waiting, self.running, self.most, self.results, self.reports = [], 0, 0, {}, []
            self.reason = "the backlog is being opened"
            engine.watch_slots(self.look)
            engine.create_task(self.open())

        async def open(self):
            await asyncio.sleep(0.3)
            self.reason = None
            threading.Thread(target=self.engine.call_soon_threadsafe, args=(self.look,)).start()

        def unready_reason(self):
            return self.reason

        def drain(self, deadline):
            self.note("drain")
            self.waiting.clear()

        def stop(self):
            self.note("stop")

        def note(self, what):
            with open(os.environ["LEDGER"], "a") as file:
                print(what, file=file)

        def add(self, request, engine):
            self.waiting += json.loads(request.body)
            self.look()
            return RouteResponse.json(None, status=202)

        def show(self, request, engine):
            return RouteResponse.json({"results": self.results, "most": self.most, "reports": self.reports})

        def look(self):
            while self.waiting and self.engine.spare_slots("slow"):
                number = self.waiting.pop(0)
                submission = StoredSubmission(self.engine.app.endpoints[0], job_id=f"job-{number}", claim=number)
                body = json.dumps({"number": number}).encode()
                call = self.engine.submit(submission, body, on_report=lambda report: self.reports.append(report.done))
                call.on_progress = lambda call=call, number=number: self.end(call, number)
                self.running += 1
                self.most = max(self.most, self.running)

        def end(self, call, number):
            self.running -= 1
            self.results[number] = json.loads(call.outcome.body)

    app = App(__name__, plugins=[Backlog()])

    @app.endpoint("/slow", concurrency=2)
    def slow(number: int, context: Context) -> list:
        context.progress(number)
        time.sleep(0.1)
        return [context.job_id, context.claim]
"""

WAYS = [(), ("--http-workers", "2")]
NAMES = ["one", "shared"]


def serve(folder: Path, *options: str, **environment: str) -> Served:
    return Served(write_app(folder, APP), *options, environment={"LEDGER": str(folder / "ledger"), **environment})


@pytest.fixture(scope="module", params=WAYS, ids=NAMES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("services"), *request.param) as served:
        yield served


def results(served: Served) -> Any:
    return served.get("/backlog").json()


def test_jobs_of_a_service_run_in_free_slots(served: Served) -> None:
    """Never more than there are slots, each with its own id and claim, and their reports arrive."""
    assert served.request("POST", "/backlog", json.dumps(list(range(10))).encode()).status == 202
    wait_until(lambda: len(results(served)["results"]) == 10, "ten results")
    found = results(served)
    assert found["results"] == {str(number): [f"job-{number}", number] for number in range(10)}
    assert found["most"] == 2
    assert sorted(found["reports"]) == [float(number) for number in range(10)]


def test_direct_calls_come_first(served: Served) -> None:
    """While they wait, the service has no slot; then it goes on."""
    with in_background() as begin:
        direct = [begin(served.post_json, "/slow", {"number": 100}) for _ in range(6)]
        served.request("POST", "/backlog", json.dumps([20, 21]).encode())
        assert [answer.result().status for answer in direct] == [200] * 6
    wait_until(lambda: "21" in results(served)["results"], "the rest of the backlog")
    assert results(served)["most"] == 2


@pytest.mark.parametrize("options", WAYS, ids=NAMES)
def test_a_service_ends_with_the_server(tmp_path: Path, options: tuple[str, ...]) -> None:
    """It learns of the drain first, and is stopped once the jobs have ended."""
    with serve(tmp_path, *options) as served:
        assert served.stop() == 0
    assert (tmp_path / "ledger").read_text().split() == ["drain", "stop"]


@pytest.mark.parametrize("options", WAYS, ids=NAMES)
def test_a_service_that_cannot_start_ends_the_server(tmp_path: Path, options: tuple[str, ...]) -> None:
    """The last words have its name and the reason, and the exit code is not 0."""
    served = serve(tmp_path, *options, BROKEN="1")
    served.ready_timeout = None
    with served:
        assert served.wait() != 0
        text = served.output()
    reason = "RuntimeError: the backlog cannot be opened"
    assert f"the service of plug-in 'backlog' of the app cannot be started: {reason}" in text
