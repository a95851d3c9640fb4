"""Background responses by OpenAI's own client: stored as jobs by a real server, fetched and cancelled by their ids."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response

from tests.serving import ROOT, Served, wait_until

pytestmark = pytest.mark.e2e

TARGET = ROOT / "tests" / "e2e" / "apps" / "background_app.py"
TOOL: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
ADA, BOB = "ada-" + "a" * 40, "bob-" + "b" * 40
PENDING = {"queued", "in_progress"}


def server(folder: Path, *options: str, store: bool = True) -> Served:
    environment = {"LEDGER": str(folder / "ledger"), "PENSTOCK_AUTH_KEYS": f"ada={ADA},bob={BOB}"}
    if store:
        environment["PENSTOCK_JOBS_STORE"] = f"sqlite:///{folder}/jobs.db"
    return Served(TARGET, "--log-format", "json", *options, environment=environment)


def client_of(served: Served, key: str = ADA) -> OpenAI:
    return OpenAI(base_url=f"{served.base_url}/v1", api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("background")


@pytest.fixture(scope="module", params=["1", "2"], ids=["one-process", "two-processes"])
def served(request: pytest.FixtureRequest, folder: Path) -> Iterator[Served]:
    with server(folder, "--http-workers", request.param) as served:
        yield served
        assert not served.events("internal-error")


@pytest.fixture
def client(served: Served) -> Iterator[OpenAI]:
    with client_of(served) as client:
        yield client


def ended(client: OpenAI, response: Response, timeout: float = 30.0) -> Response:
    """Poll for a response as OpenAI's documentation does."""
    give_up_at = time.monotonic() + timeout
    while response.status in PENDING and time.monotonic() < give_up_at:
        time.sleep(0.05)
        response = client.responses.retrieve(response.id)
    return response


def when(client: OpenAI, response: Response, is_so: Callable[[Response], bool], what: str) -> None:
    wait_until(lambda: is_so(client.responses.retrieve(response.id)), what)


def ledger(folder: Path) -> list[str]:
    return (folder / "ledger").read_text().split("\n") if (folder / "ledger").exists() else []


def test_a_background_response(client: OpenAI) -> None:
    """It is queued at once, without output, and complete in the end, with all that it repeats of the request."""
    begun = time.time()
    asked: dict[str, Any] = {"instructions": "Be brief.", "temperature": 0.5, "metadata": {"order": "17"}}
    first = client.responses.create(model="able", input="hi", background=True, **asked)
    assert (first.status, first.output, first.background, first.id[:5]) == ("queued", [], True, "resp_")
    last = ended(client, first)
    assert (last.status, last.output_text, last.id, last.model) == ("completed", "Hello", first.id, "able")
    assert (last.instructions, last.temperature, last.metadata) == ("Be brief.", 0.5, {"order": "17"})
    assert last.usage is not None
    assert last.usage.total_tokens == 4
    assert begun - 2 < last.created_at == first.created_at < time.time() + 2
    assert client.responses.retrieve(first.id) == last


def test_the_calls_of_tools(client: OpenAI) -> None:
    """They are the same whenever the response is retrieved, and go into the next request."""
    asked: list[Any] = [{"role": "user", "content": "weather?"}]
    response = ended(client, client.responses.create(model="able", input=asked, tools=[TOOL], background=True))
    call = response.output[0]
    assert call.type == "function_call"
    assert (call.name, call.arguments) == ("weather", '{"city": "Paris"}')
    assert client.responses.retrieve(response.id).output == response.output
    asked += [*response.output, {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    assert ended(client, client.responses.create(model="able", input=asked, background=True)).output_text == "Hello"


def test_a_handler_that_returns_its_answer(client: OpenAI) -> None:
    """Its one result is the output."""
    response = ended(client, client.responses.create(model="whole", input="to be", background=True))
    assert (response.status, response.output_text) == ("completed", "to be")


def test_a_response_that_was_cut(client: OpenAI) -> None:
    """Its status is incomplete, with the reason."""
    response = ended(client, client.responses.create(model="able", input="length", background=True))
    assert response.incomplete_details is not None
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_a_failure(client: OpenAI) -> None:
    """The response has an error, in which nothing of the exception is said."""
    response = ended(client, client.responses.create(model="able", input="fail", background=True))
    assert response.error is not None
    assert (response.status, response.error.code) == ("failed", "server_error")
    assert "secret" not in response.error.message


def test_a_cancel_stops_the_work(client: OpenAI, folder: Path) -> None:
    """The handler is interrupted, and the response is cancelled; a second cancel returns it as it is."""
    before = ledger(folder).count("interrupted")
    response = client.responses.create(model="able", input="wait", background=True)
    when(client, response, lambda found: found.status == "in_progress", "the handler to run")
    assert client.responses.cancel(response.id).status == "cancelled"
    wait_until(lambda: ledger(folder).count("interrupted") == before + 1, "the end of the work")
    assert client.responses.cancel(response.id).status == client.responses.retrieve(response.id).status == "cancelled"


def test_a_cancel_after_the_end(client: OpenAI) -> None:
    """It changes nothing."""
    response = ended(client, client.responses.create(model="able", input="hi", background=True))
    assert client.responses.cancel(response.id) == response


def test_only_its_caller_sees_a_response(served: Served, client: OpenAI) -> None:
    """To another key it does not exist, be it to be retrieved, cancelled or deleted."""
    response = client.responses.create(model="able", input="wait", background=True)
    with client_of(served, BOB) as other:
        for ask in (other.responses.retrieve, other.responses.cancel, other.responses.delete):
            with pytest.raises(openai.NotFoundError, match=response.id) as caught:
                ask(response.id)
            assert caught.value.type == "invalid_request_error"
    assert client.responses.retrieve(response.id).status in PENDING
    client.responses.cancel(response.id)


def test_what_is_not_a_response(served: Served, client: OpenAI) -> None:
    """Ids that no response has, and those of jobs that were made in another way."""
    document = {"endpoint": "whole", "input": {"messages": [{"role": "user", "content": "hi"}]}}
    job = served.post_json("/v1/jobs", document, headers={"Authorization": f"Bearer {ADA}"})
    for name in ("resp_1", "1", "resp_" + "x" * 200, f"resp_{job.json()['id']}"):
        with pytest.raises(openai.NotFoundError, match="no response"):
            client.responses.retrieve(name)
        with pytest.raises(openai.NotFoundError, match="no response"):
            client.responses.cancel(name)


def test_refusals(client: OpenAI) -> None:
    """A stream of a background response, a model without jobs, and to delete a response."""
    for ask in (
        lambda: client.responses.create(model="able", input="hi", background=True, stream=True),
        lambda: client.responses.create(model="direct", input="hi", background=True),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            ask()
        assert (caught.value.param, caught.value.type) == ("background", "invalid_request_error")
    response = client.responses.create(model="able", input="hi", background=True)
    with pytest.raises(openai.BadRequestError, match="cannot be streamed"):
        client.responses.retrieve(response.id, stream=True)
    with pytest.raises(openai.BadRequestError, match="not deleted"):
        client.responses.delete(response.id)


def test_a_server_without_a_store_says_what_to_configure(tmp_path: Path) -> None:
    """The request is refused, with several processes too, and there are no responses."""
    with server(tmp_path, "--http-workers", "2", store=False) as served, client_of(served) as client:
        with pytest.raises(openai.BadRequestError, match="name a store in the setting 'store' of plug-in 'jobs'"):
            client.responses.create(model="able", input="hi", background=True)
        with pytest.raises(openai.NotFoundError, match="not stored here"):
            client.responses.retrieve("resp_1")
        assert client.responses.create(model="able", input="hi").output_text == "Hello"


def test_responses_outlive_their_server(tmp_path: Path) -> None:
    """One that has ended is there after a restart; one that the server was running, or had queued, is run again."""
    with server(tmp_path, "--drain-timeout", "0.5") as served, client_of(served) as client:
        done = ended(client, client.responses.create(model="able", input="hi", background=True))
        left = client.responses.create(model="able", input="wait", background=True)
        when(client, left, lambda found: found.status == "in_progress", "the handler to run")
    with server(tmp_path) as served, client_of(served) as client:
        assert client.responses.retrieve(done.id) == done
        when(client, left, lambda found: found.status == "in_progress", "the second run")
        assert client.responses.cancel(left.id).status == "cancelled"


def test_large_requests(client: OpenAI) -> None:
    """A body that waits in a file, and tools that are repeated."""
    tools = [{**TOOL, "name": f"tool_{number}", "description": "x" * 2000} for number in range(200)]
    response = ended(client, client.responses.create(model="able", input="y" * 2_000_000, tools=tools, background=True))
    assert response.status == "completed"
    assert [tool.name for tool in response.tools if tool.type == "function"] == [tool["name"] for tool in tools]


def test_a_job_that_a_header_asks_for_has_its_own_document(served: Served) -> None:
    """``Prefer: respond-async`` is not of OpenAI's protocol, so the answer is the document of the job everywhere."""
    headers = {"Authorization": f"Bearer {ADA}", "Prefer": "respond-async"}
    answer = served.post_json("/v1/responses", {"model": "able", "input": "Hi"}, headers=headers)
    assert (answer.status, answer.headers["preference-applied"]) == (202, "respond-async")
    assert answer.headers["location"].endswith(f"/v1/jobs/{answer.json()['id']}")
