"""The real client of OpenAI and its Responses API, synchronous and asynchronous, with a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.serving import ROOT, Served, wait_until

pytestmark = pytest.mark.e2e

TARGET = ROOT / "tests" / "e2e" / "apps" / "response_app.py"
TOOL: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}


@pytest.fixture(scope="module", params=["1", "2"], ids=["one-process", "two-processes"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with Served(TARGET, "--log-format", "json", "--http-workers", request.param) as served:
        yield served
        assert not served.events("internal-error")


@pytest.fixture
def client(served: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{served.base_url}/v1", api_key="k", max_retries=0) as client:
        yield client


def in_loop(served: Served, ask: Callable[[AsyncOpenAI], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with AsyncOpenAI(base_url=f"{served.base_url}/v1", api_key="k", max_retries=0) as client:
            return await ask(client)

    return asyncio.run(run())


class Said(BaseModel):
    word: str


def test_a_whole_response(client: OpenAI) -> None:
    """The text by the client's own helper, the model by the name that was used, the usage and the request id."""
    found = client.responses.create(model="gpt-4o", input="hi", instructions="Be brief.", store=True)
    assert (found.output_text, found.status, found.model, found.id[:5]) == ("Hello", "completed", "gpt-4o", "resp_")
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.total_tokens) == (2, 2, 4)
    assert found.usage.output_tokens_details.reasoning_tokens == 1
    assert found._request_id


@pytest.mark.parametrize("model", ["able", "plain", "whole"])
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_every_handler_answers_both_ways(client: OpenAI, model: str, is_streamed: bool) -> None:
    """Generators, asynchronous ones, and functions that return the answer."""
    text = "say to be" if model == "able" else "to be"
    if is_streamed:
        events = list(client.responses.create(model=model, input=text, stream=True))
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta").strip() == "to be"
        last = events[-1]
        assert last.type == "response.completed"
        found = last.response
    else:
        found = client.responses.create(model=model, input=text)
    assert found.output_text.strip() == "to be"


def test_a_conversation(client: OpenAI) -> None:
    """The output of one response goes into the next request, with what the tool has returned."""
    asked: list[Any] = [{"role": "user", "content": "weather?"}]
    first = client.responses.create(model="able", input=asked, tools=[TOOL])
    [call] = first.output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments), call.call_id) == ("weather", {"city": "Paris"}, "call_1")
    asked += first.output
    asked.append({"type": "function_call_output", "call_id": call.call_id, "output": "describe"})
    second = client.responses.create(model="able", input=asked, tools=[TOOL])
    assert json.loads(second.output_text) == [["user", "weather?"], ["assistant", ""], ["tool", "describe"]]


def test_the_helper_for_streams(client: OpenAI) -> None:
    """It follows text and calls of tools, and returns the final response."""
    with client.responses.stream(model="able", input="think") as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_response().output_text == "so"
    assert "response.reasoning_text.delta" in kinds
    with client.responses.stream(model="able", input="weather?", tools=[TOOL]) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.function_call_arguments.delta"]
        [call] = stream.get_final_response().output
    assert snapshots[-1] == '{"city": "Paris"}'
    assert call.type == "function_call"


def test_parsed_answers(client: OpenAI) -> None:
    """``parse``, whole and streamed: the schema goes to the handler, and its answer is compared with it."""
    found = client.responses.parse(model="able", input='say {"word": "x"}', text_format=Said)
    assert found.output_parsed == Said(word="x")
    with client.responses.stream(model="able", input='say {"word": "x"}', text_format=Said) as stream:
        assert stream.get_final_response().output_parsed == Said(word="x")
    with pytest.raises(openai.InternalServerError, match="does not match the schema"):
        client.responses.parse(model="able", input='say {"other": 1}', text_format=Said)


def test_the_asynchronous_client(served: Served) -> None:
    """Whole, streamed, and with the helper."""

    async def ask(client: AsyncOpenAI) -> list[str]:
        whole = await client.responses.create(model="able", input="hi")
        texts = [whole.output_text]
        stream = await client.responses.create(model="able", input="hi", stream=True)
        texts.append("".join([event.delta async for event in stream if event.type == "response.output_text.delta"]))
        async with client.responses.stream(model="able", input="hi") as helped:
            texts.append((await helped.get_final_response()).output_text)
        return texts

    assert in_loop(served, ask) == ["Hello"] * 3


def test_an_answer_that_was_cut(client: OpenAI) -> None:
    """Whole and streamed."""
    found = client.responses.create(model="able", input="length")
    assert found.incomplete_details is not None
    assert (found.status, found.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    *_, last = client.responses.create(model="able", input="length", stream=True)
    assert last.type == "response.incomplete"


def test_a_failure_before_the_first_chunk_is_a_status(client: OpenAI) -> None:
    """Nothing of the exception is said to the client."""
    for is_streamed in (False, True):
        with pytest.raises(openai.InternalServerError) as caught:
            client.responses.create(model="able", input="refuse to start", stream=is_streamed)
        assert "secret" not in str(caught.value)


def test_a_failure_after_the_first_chunk(client: OpenAI) -> None:
    """The last event is a failed response, and the connection is cut: a client that looks at no event fails, too."""
    events: list[Any] = []
    with pytest.raises(openai.APIConnectionError):
        events.extend(iter_of(client, events))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.code == "server_error"
    assert "secret" not in events[-1].response.error.message
    with pytest.raises(openai.APIConnectionError), client.responses.stream(model="able", input="fail") as stream:
        stream.get_final_response()


def iter_of(client: OpenAI, events: list[Any]) -> Iterator[Any]:
    for event in client.responses.create(model="able", input="fail", stream=True):
        events.append(event)
        yield from ()


def test_refusals(client: OpenAI) -> None:
    """Each is the client's own exception, with the field."""
    with pytest.raises(openai.NotFoundError) as missing:
        client.responses.create(model="nobody", input="hi")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="able", input="hi", previous_response_id="resp_1")
    assert (refused.value.param, refused.value.type) == ("previous_response_id", "invalid_request_error")
    with pytest.raises(openai.NotFoundError, match="not stored here"):
        client.responses.retrieve("resp_1")
    with pytest.raises(openai.NotFoundError, match="not stored here"):
        client.responses.cancel("resp_1")
    with pytest.raises(openai.NotFoundError, match="not stored here"):
        client.responses.delete("resp_1")


def test_a_client_that_leaves_frees_its_worker(served: Served, client: OpenAI) -> None:
    """In the middle of a stream; the worker takes the next request."""
    stream = client.responses.create(model="able", input="wait", stream=True)
    for event in stream:
        if event.type == "response.output_text.delta":
            break
    assert served.status()["endpoints"]["able"]["running"] == 1
    stream.close()
    wait_until(lambda: not served.status()["endpoints"]["able"]["running"], "the worker to be free")
    assert client.responses.create(model="able", input="hi").output_text == "Hello"
