"""Background responses: how they are asked for, and the responses that jobs are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from penstock import App, Jobs
from penstock.hooks import RouteRequest, RouteResponse
from penstock.job_store import JobGone, JobNotFound
from penstock.response import Encoded, Response
from penstock.testing import PluginHarness
from penstock_chat import ChatRequest, Piece
from penstock_jobs import JobsPlugin
from penstock_jobs.jobs_settings import JobsSettings
from penstock_openai import OpenAIPlugin, Responses
from penstock_openai.stored_responses import job_memo_of
from penstock_openai.stored_routes import stored_routes

JOB = "0196aa00-0000-7000-8000-000000000001"
MEMO = job_memo_of({"model": msgspec.Raw(b'"tiny"'), "background": msgspec.Raw(b"true")})
PROBLEM = {"status": 500, "detail": "The handler raised an exception."}


def harness(*plugins: Any, jobs: Jobs | None = None) -> PluginHarness:
    app = App("background")

    @app.endpoint("/chat", jobs=jobs, dialects=[Responses(model="tiny")])
    def chat(request: ChatRequest) -> Iterator[Piece]:
        yield "never called"

    return PluginHarness(app, [OpenAIPlugin, *plugins])


def ask(harness: PluginHarness, **fields: Any) -> tuple[int, Any]:
    document = Encoded(msgspec.json.encode({"id": JOB, "created_at": "2026-11-29T12:00:00.500Z"}), None, 202)
    body = msgspec.json.encode({"model": "tiny", "input": "hi", "background": True, **fields})
    answer = harness.operation("POST", "/v1/responses", body, answer=document)
    return answer.status, msgspec.json.decode(answer.body)


class FakeJobs:
    """The jobs of a caller who has one."""

    def __init__(self, state: str = "succeeded", result: Any = (), memo: bytes | None = MEMO, **fields: Any) -> None:
        self.document = {"id": JOB, "created_at": "2026-11-29T12:00:00.500Z", "state": state, "error": None, **fields}
        self._result, self._memo = result, memo
        self.waits: list[float] = []

    async def get(self, job_id: str) -> Any:
        if job_id != JOB:
            raise JobNotFound("none")
        return self.document

    async def result(self, job_id: str) -> Any:
        await self.get(job_id)
        if isinstance(self._result, Exception):
            raise self._result
        return list(self._result) if isinstance(self._result, tuple) else self._result

    async def memo(self, job_id: str) -> bytes | None:
        await self.get(job_id)
        return self._memo

    async def cancel(self, job_id: str, *, wait: float) -> Any:
        await self.get(job_id)
        self.waits.append(wait)
        self.document["state"] = "cancelled"
        return self.document


def send(jobs: FakeJobs, method: str = "GET", path: str = f"resp_{JOB}", query: str = "") -> tuple[int, Any]:
    class Engine:
        def jobs_of(self, _request: RouteRequest) -> FakeJobs:
            return jobs

    [route] = [route for route in stored_routes("/v1") if route.method == method]
    request = RouteRequest(
        request_id="r",
        method=method,
        path="/v1/responses/x",
        header={}.get,
        path_values={"response": path},
        query=query,
    )

    async def call() -> RouteResponse:
        answer: Any = route.handler(request, Engine())  # type: ignore[arg-type] # it has what is used of an engine
        response: RouteResponse = await answer
        return response

    found = asyncio.run(call())
    return found.status, msgspec.json.decode(found.body)


def test_an_accepted_request_is_a_queued_response() -> None:
    """Its id is made of that of the job, and it repeats the settings."""
    jobs = JobsPlugin(JobsSettings(store="memory:"))
    status, response = ask(harness(jobs, jobs=Jobs()), instructions="Be brief.", store=True)
    assert (status, response["id"], response["status"], response["output"]) == (200, f"resp_{JOB}", "queued", [])
    assert (response["created_at"], response["background"], response["store"]) == (1_795_953_600, True, True)
    assert response["instructions"] == "Be brief."


def test_a_model_without_jobs_refuses_the_field() -> None:
    """It says what to declare."""
    status, body = ask(harness())
    assert (status, body["error"]["param"]) == (400, "background")
    assert "jobs=Jobs()" in body["error"]["message"]


def test_a_server_without_a_store_refuses_the_request() -> None:
    """It says which setting is missing."""
    status, body = ask(harness(jobs=Jobs()))
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    assert "name a store in the setting 'store' of plug-in 'jobs'" in body["error"]["message"]


def test_a_background_response_is_not_streamed() -> None:
    """By its field."""
    status, body = ask(harness(jobs=Jobs()), stream=True)
    assert (status, body["error"]["param"]) == (400, "background")


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("scheduled", "queued"),
        ("queued", "queued"),
        ("running", "in_progress"),
        ("cancelled", "cancelled"),
        ("failed", "failed"),
        ("timed_out", "failed"),
        ("expired", "failed"),
    ],
)
def test_the_states_of_jobs_are_statuses(state: str, status: str) -> None:
    """Without an output; a failure has the error of the job's problem document."""
    code, response = send(FakeJobs(state, error=PROBLEM))
    assert (code, response["status"], response["output"], response["model"]) == (200, status, [], "tiny")
    error = {"code": "server_error", "message": PROBLEM["detail"]}
    assert response["error"] == (error if status == "failed" else None)


def test_the_output_of_a_stream() -> None:
    """Its chunks become items, with the same ids each time."""
    call = {"type": "tool_call", "name": "f", "arguments": "{}"}
    jobs = FakeJobs(result=("Hel", "lo", call))
    response = send(jobs)[1]
    message, called = response["output"]
    assert (response["status"], message["content"][0]["text"], called["name"]) == ("completed", "Hello", "f")
    assert send(jobs)[1] == response


def test_the_output_of_one_result() -> None:
    """A value, or a ``Response`` around it."""
    for result in ("Hello", Response("Hello", headers={"x-cost": "1"})):
        assert send(FakeJobs(result=result))[1]["output"][0]["content"][0]["text"] == "Hello"


def test_a_cancel_waits_for_the_end_of_the_work() -> None:
    """For a few seconds, and returns the response."""
    jobs = FakeJobs("running")
    assert send(jobs, "POST", f"resp_{JOB}/cancel")[1]["status"] == "cancelled"
    assert jobs.waits == [5.0]


@pytest.mark.parametrize(
    ("jobs", "path"),
    [
        (FakeJobs(), "resp_1"),
        (FakeJobs(), JOB),
        (FakeJobs(memo=None), f"resp_{JOB}"),
        (FakeJobs(memo=b'{"type": "another"}'), f"resp_{JOB}"),
        (FakeJobs(result=JobGone("removed")), f"resp_{JOB}"),
    ],
    ids=["no-job", "no-prefix", "no-memo", "another-memo", "gone"],
)
def test_what_is_not_a_response_is_a_404(jobs: FakeJobs, path: str) -> None:
    """In the shape of OpenAI; it is not cancelled either."""
    status, body = send(jobs, "GET", path)
    assert (status, body["error"]["type"], body["error"]["code"]) == (404, "invalid_request_error", "not-found")
    if not isinstance(jobs._result, JobGone):
        assert send(jobs, "POST", f"{path}/cancel")[0] == 404
        assert jobs.waits == []


@pytest.mark.parametrize(
    ("method", "path", "query", "status"),
    [
        ("GET", f"resp_{JOB}", "stream=true", 400),
        ("DELETE", f"resp_{JOB}", "", 400),
        ("DELETE", "resp_1", "", 404),
        ("GET", f"resp_{JOB}/input_items", "", 404),
        ("POST", f"resp_{JOB}", "", 404),
    ],
)
def test_what_cannot_be_done_is_refused(method: str, path: str, query: str, status: int) -> None:
    """Streams of stored responses, and to delete them."""
    assert send(FakeJobs(), method, path, query)[0] == status
