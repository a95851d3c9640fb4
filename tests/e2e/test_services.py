"""A plug-in's service in a real server: it has jobs of its own run in free slots, and ends with the engine."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.watching import in_background
from tests.serving import Answer, Served, wait_until, write_app

pytestmark = pytest.mark.e2e

APP = """
    import asyncio
    import json
    import os
    import sys
    import threading
    import time

    from penstock import App, Context
    from penstock.errors import Unavailable
    from penstock.hooks import Acceptor, Route, RouteResponse, StoredSubmission, hookimpl

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

        @hookimpl
        def penstock_acceptor(self, endpoint):
            return Acceptor(self.wants, self.accept)

        def wants(self, submission):
            return "respond-async" in (submission.header("prefer") or "")

        async def accept(self, submission, body, headers):
            number = json.loads(body)["number"]
            if number < 0:
                raise Unavailable("the backlog is full")
            self.waiting.append(number)
            self.look()
            if submission.header("wait"):
                while number not in self.results:
                    await asyncio.sleep(0.01)
                return RouteResponse.json(self.results[number])
            document = json.dumps({"number": number, "length": len(body)}).encode()
            return RouteResponse(body=document, status=202, headers={"location": f"/jobs/{number}"})

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

        def status(self):
            return {"most": self.most}

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
            facts = {"results": self.results, "most": self.most, "running": self.running, "reports": self.reports}
            return RouteResponse.json(facts)

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

    app = App(__name__, plugins=[Backlog()], settings={"ratelimit": {"concurrent": 8}})

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


def test_a_service_has_a_part_of_the_status_page(served: Served) -> None:
    """Under the name of its plug-in."""
    assert served.status()["services"]["backlog"].keys() == {"most"}


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


# ---- acceptors

ASYNC = {"Prefer": "respond-async", "Content-Type": "application/json"}


def accept(served: Served, number: int, **headers: str) -> Answer:
    body = json.dumps({"number": number}).encode()
    return served.post("/slow", body, headers={**ASYNC, **headers})


def test_a_request_is_taken_away_and_done_later(served: Served) -> None:
    """The answer is the acceptor's, with its status and headers; the service runs the job."""
    answer = accept(served, 40)
    assert (answer.status, answer.headers["location"]) == (202, "/jobs/40")
    assert answer.json() == {"number": 40, "length": 14}
    wait_until(lambda: "40" in results(served)["results"], "the job")


def test_a_request_that_the_acceptor_does_not_want_is_a_job(served: Served) -> None:
    """It is answered by the handler."""
    answer = served.post_json("/slow", {"number": 50})
    assert answer.status == 200
    assert "50" not in results(served)["results"]


def test_an_acceptor_may_wait(served: Served) -> None:
    """Its coroutine runs on the loop of the engine."""
    answer = accept(served, 41, Wait="1")
    assert (answer.status, answer.json()) == (200, ["job-41", 41])


def test_a_request_is_valid_before_it_is_taken_away(served: Served) -> None:
    """The acceptor need not check the body."""
    assert served.post("/slow", b'{"numero": 1}', headers=ASYNC).status == 422


def test_an_acceptor_may_refuse(served: Served) -> None:
    """Its error is the answer."""
    answer = accept(served, -1)
    assert (answer.status, answer.json()["type"]) == (503, "urn:penstock:unavailable")


def test_what_is_taken_away_is_in_progress_until_it_is_answered(served: Served) -> None:
    """The limit of eight concurrent requests counts an accepted one, or one that is refused, until its answer."""
    for number in range(200, 210):
        assert accept(served, number).status == 202
        assert accept(served, -1).status == 503
    wait_until(lambda: "209" in results(served)["results"], "the jobs")


def test_a_large_body_is_taken_away_too(served: Served) -> None:
    """It has come in a file."""
    body = json.dumps({"number": 42}).encode() + b" " * 300_000
    answer = served.post("/slow", body, headers=ASYNC)
    assert (answer.status, answer.json()["length"]) == (202, len(body))


def test_a_client_that_leaves_ends_the_wait_and_nothing_else(served: Served) -> None:
    """The job is in the backlog, and runs."""
    body = b'{"number": 43}'
    with contextlib.closing(served.connect()) as connection:
        lines = ["POST /slow HTTP/1.1", f"Host: {served.host}", f"Content-Length: {len(body)}", "Wait: 1"]
        lines += [f"{name}: {value}" for name, value in ASYNC.items()]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        wait_until(lambda: results(served)["running"], "the job")
    wait_until(lambda: "43" in results(served)["results"], "the end of the job")


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


WSGI = """
import app_under_test
import falcon.testing
import penstock_falcon

client = falcon.testing.TestClient(penstock_falcon.wsgi(app_under_test.app))
for headers in ({"Wait": "1"}, {}):
    answer = client.simulate_post("/slow", json={"number": 5}, headers={"Prefer": "respond-async", **headers})
    print(answer.status_code, answer.text)
"""


def test_a_service_and_an_acceptor_work_under_wsgi(tmp_path: Path) -> None:
    """The engine has a thread of its own there."""
    write_app(tmp_path, APP)
    environment = {**os.environ, "LEDGER": str(tmp_path / "ledger"), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", WSGI]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() == ['200 ["job-5",5]', '202 {"number": 5, "length": 13}'], done.stderr
