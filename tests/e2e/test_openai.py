"""The real client of OpenAI, synchronous and asynchronous, with a real server."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from penstock_client import Client
from tests.e2e.watching import worker_pid
from tests.serving import ROOT, Served, wait_until

pytestmark = pytest.mark.e2e

TARGET = ROOT / "tests" / "e2e" / "apps" / "openai_app.py"
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
PNG = "data:image/png;base64," + base64.b64encode(b"png").decode()
IMAGE: Any = {"type": "image_url", "image_url": {"url": PNG}}


@pytest.fixture(scope="module", params=["1", "2"], ids=["one-process", "two-processes"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with Served(TARGET, "--log-format", "json", "--http-workers", request.param) as served:
        yield served
        assert not served.events("internal-error")


@pytest.fixture
def client(served: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{served.base_url}/v1", api_key="k", max_retries=0) as client:
        yield client


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "able", "messages": [{"role": "user", "content": text}], **more}


def in_loop(served: Served, ask: Callable[[AsyncOpenAI], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with AsyncOpenAI(base_url=f"{served.base_url}/v1", api_key="k", max_retries=0) as client:
            return await ask(client)

    return asyncio.run(run())


# ---- chat


def test_a_whole_answer(client: OpenAI) -> None:
    """Text, the reason, the usage, the model by the name that was used, and the request id."""
    found = client.chat.completions.create(**said("hi", model="gpt-4o"))
    assert (found.object, found.model, found.id[:9]) == ("chat.completion", "gpt-4o", "chatcmpl-")
    [choice] = found.choices
    assert (choice.index, choice.message.role, choice.message.content, choice.finish_reason) == (
        0,
        "assistant",
        "Hello",
        "stop",
    )
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (1, 2, 3)
    assert found._request_id


def test_a_stream(client: OpenAI) -> None:
    """The role first, then the text, then the reason, all with one id; the usage only for those who ask for it."""
    chunks = list(client.chat.completions.create(**said("hi"), stream=True))
    assert [(chunk.choices[0].delta.role, chunk.choices[0].delta.content) for chunk in chunks] == [
        ("assistant", ""),
        (None, "Hel"),
        (None, "lo"),
        (None, None),
    ]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, "stop"]
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)
    chunks = list(client.chat.completions.create(**said("hi"), stream=True, stream_options={"include_usage": True}))
    assert [chunk.usage is None for chunk in chunks] == [True] * 4 + [False]
    assert chunks[-1].choices == []


def test_the_asynchronous_client(served: Served) -> None:
    """It gets the same."""

    async def ask(client: AsyncOpenAI) -> tuple[Any, list[str]]:
        whole = await client.chat.completions.create(**said("hi"))
        stream = await client.chat.completions.create(**said("hi"), stream=True)
        return whole.choices[0].message.content, [chunk.choices[0].delta.content or "" async for chunk in stream]

    assert in_loop(served, ask) == ("Hello", ["", "Hel", "lo", ""])


def test_the_streaming_helper(client: OpenAI) -> None:
    """It asserts the shape of each chunk, and puts the whole together."""
    with client.chat.completions.stream(**said("weather", tools=[TOOL])) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds
    [call] = final.choices[0].message.tool_calls or []
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Paris"})
    with client.chat.completions.stream(**said("hi")) as stream:
        assert stream.get_final_completion().choices[0].message.content == "Hello"


class Point(BaseModel):
    """A form for an answer."""

    x: int


def test_the_parse_helper(client: OpenAI) -> None:
    """An answer that matches the schema becomes an object."""
    found = client.chat.completions.parse(**said('say {"x": 3}'), response_format=Point)
    assert found.choices[0].message.parsed == Point(x=3)


def test_an_answer_that_does_not_match_the_schema(client: OpenAI) -> None:
    """It is an error, which is not retried; in a stream, the error comes at the end."""
    with pytest.raises(openai.InternalServerError) as whole:
        client.chat.completions.parse(**said('say {"x": "a"}'), response_format=Point)
    assert (whole.value.status_code, whole.value.code) == (502, "schema-mismatch")
    wish = {"type": "json_schema", "json_schema": {"name": "p", "schema": Point.model_json_schema()}}
    stream = client.chat.completions.create(**said("say no", response_format=wish), stream=True)
    with pytest.raises(openai.APIError) as streamed:
        list(stream)
    assert streamed.value.code == "schema-mismatch"


def test_an_answer_that_was_cut_is_not_compared(client: OpenAI) -> None:
    """The client learns that it is too short."""
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**said("length"), response_format=Point)


def test_calls_of_tools(client: OpenAI) -> None:
    """Whole, without content; and with the tool that the client has chosen."""
    found = client.chat.completions.create(**said("weather", tools=[TOOL])).choices[0]
    assert (found.finish_reason, found.message.content) == ("tool_calls", None)
    [call] = found.message.tool_calls or []
    assert isinstance(call, openai.types.chat.ChatCompletionMessageFunctionToolCall)
    assert (call.id, call.type, call.function.name) == ("call_1", "function", "weather")
    answer = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    messages = [{"role": "user", "content": "weather"}, found.message.model_dump(exclude_none=True), answer]
    second = client.chat.completions.create(model="able", messages=messages, tools=[TOOL])  # type: ignore[arg-type]
    assert second.choices[0].message.content == "Hello"
    forced = {"type": "function", "function": {"name": "weather"}}
    assert client.chat.completions.create(**said("x", tools=[TOOL], tool_choice=forced)).choices[0].message.tool_calls


def test_the_pieces_of_a_call_in_a_stream(client: OpenAI) -> None:
    """Only the first has an id and a name, because clients join them."""
    chunks = client.chat.completions.create(**said("weather", tools=[TOOL]), stream=True)
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert [(call.index, call.id, call.function and call.function.name) for call in calls] == [
        (0, "call_1", "weather"),
        (0, None, None),
        (0, None, None),
    ]
    assert "".join(call.function.arguments or "" for call in calls if call.function) == '{"city": "Paris"}'


def test_several_choices(client: OpenAI) -> None:
    """Each is a job of its own, with its index and its reason, whole and streamed; the prompt counts once."""
    found = client.chat.completions.create(**said("hi", n=2))
    assert [(choice.index, choice.message.content) for choice in found.choices] == [(0, "Hello"), (1, "Hello")]
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (1, 4)
    texts, reasons = ["", ""], {}
    for chunk in client.chat.completions.create(**said("hi", n=2), stream=True):
        [choice] = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        if choice.finish_reason:
            reasons[choice.index] = choice.finish_reason
    assert (texts, reasons) == (["Hello", "Hello"], {0: "stop", 1: "stop"})
    seeds = client.chat.completions.create(**said("x", model="whole", n=2, seed=7)).choices
    assert [choice.message.content for choice in seeds] == ["x 7", "x 8"]


def test_log_probabilities(client: OpenAI) -> None:
    """They have the tokens of the text, with the likeliest in each place."""
    choice = client.chat.completions.create(**said("logprobs", logprobs=True, top_logprobs=2)).choices[0]
    assert choice.logprobs is not None
    found = choice.logprobs.content or []
    assert [(each.token, each.logprob, len(each.top_logprobs)) for each in found] == [("Hi", -0.1, 2), ("!", -0.5, 0)]
    chunks = client.chat.completions.create(**said("logprobs", logprobs=True), stream=True)
    streamed = [chunk.choices[0].logprobs for chunk in chunks]
    assert [each.content[0].token for each in streamed if each is not None and each.content] == ["Hi", "!"]


def test_a_stop_sequence_ends_the_answer(client: OpenAI) -> None:
    """Although the handler yields one character at a time."""
    found = client.chat.completions.create(**said("say one END two", stop=["END"])).choices[0]
    assert (found.message.content, found.finish_reason) == ("one ", "stop")


def test_reasoning_is_beside_the_answer(client: OpenAI) -> None:
    """In a field that some clients know."""
    message = client.chat.completions.create(**said("think")).choices[0].message
    assert (message.content, message.model_extra) == ("so", {"reasoning_content": "hmm"})


def test_parts_of_messages(client: OpenAI) -> None:
    """Images, sounds and files reach the handler as such."""
    parts = [
        {"type": "text", "text": "describe"},
        IMAGE,
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
    ]
    found = client.chat.completions.create(model="able", messages=[{"role": "user", "content": parts}])  # type: ignore[list-item,misc]
    assert json.loads(found.choices[0].message.content or "") == ["Text", "Image", "Image", "Audio", "File"]


def test_our_own_client(served: Served) -> None:
    """It speaks the same protocol."""
    with Client(f"{served.base_url}/v1") as client:
        answer = client.chat("able", [{"role": "user", "content": "weather"}], tools=[TOOL])
        assert [(call.name, call.arguments) for call in answer.tool_calls] == [("weather", {"city": "Paris"})]
        with client.chat_stream("able", [{"role": "user", "content": "think"}]) as stream:
            assert stream.text() == "so"
        assert stream.answer.reasoning == "hmm"


# ---- models, completions, embeddings


def test_models_are_listed(client: OpenAI) -> None:
    """With their aliases; a slash in a name is part of it."""
    names = {model.id for model in client.models.list()}
    assert {"able", "gpt-4o", "org/able", "plain", "whole", "davinci", "embed", "embed-tokens"} == names
    found = client.models.retrieve("org/able")
    assert (found.id, found.object, found.owned_by) == ("org/able", "model", "penstock")
    with pytest.raises(openai.NotFoundError) as unknown:
        client.models.retrieve("nothing")
    assert unknown.value.code == "model_not_found"


def test_completions(client: OpenAI) -> None:
    """One prompt or several, texts or ids of tokens, with an echo, log probabilities and a suffix."""
    create = client.completions.create
    assert create(model="davinci", prompt="x").choices[0].text == " after x"
    several = create(model="davinci", prompt=["x", "y"], n=2, echo=True)
    assert [choice.text for choice in several.choices] == ["x after x"] * 2 + ["y after y"] * 2
    assert several.usage is not None
    assert several.usage.prompt_tokens == 4
    assert create(model="davinci", prompt=[1, 2]).choices[0].text == "3"
    assert create(model="davinci", prompt="x", suffix="!").choices[0].text == " after x!"
    assert create(model="whole", prompt="as a chat").choices[0].text == "as a chat"
    logprobs = create(model="davinci", prompt="x", logprobs=1).choices[0].logprobs
    assert logprobs is not None
    assert (logprobs.tokens, logprobs.top_logprobs, logprobs.text_offset) == ([" a"], [{" a": -1.0}], [0])


def test_a_stream_of_completions(client: OpenAI) -> None:
    """Its object is that of a whole one; each prompt has its index and its reason."""
    chunks = list(client.completions.create(model="davinci", prompt=["x", "y"], stream=True))
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    texts = ["", ""]
    for chunk in chunks:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [" after x", " after y"]
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:]] == ["stop", "stop"]


def test_embeddings(client: OpenAI) -> None:
    """As base64, which the client asks for by itself, and as floats; each input is a job, and they are batched."""
    found = client.embeddings.create(model="embed", input=["a", "bcd"])
    assert [(each.index, each.embedding) for each in found.data] == [(0, [1.0, 0.5, -1.0]), (1, [3.0, 0.5, -1.0])]
    assert client.embeddings.create(model="embed", input="ab", encoding_format="float").data[0].embedding[0] == 2.0
    many = client.embeddings.create(model="embed", input=["x" * (n % 7 + 1) for n in range(500)])
    assert [each.embedding[0] for each in many.data] == [n % 7 + 1 for n in range(500)]
    tokens = client.embeddings.create(model="embed-tokens", input=[[1, 2, 3], [4]], dimensions=3)
    assert [each.embedding for each in tokens.data] == [[3.0] * 3, [1.0] * 3]
    assert tokens.usage.prompt_tokens == 4


def test_one_input_that_fails_is_the_answer_to_all(client: OpenAI, served: Served) -> None:
    """No other input goes on."""
    with pytest.raises(openai.InternalServerError):
        client.embeddings.create(model="embed-tokens", input=["fail", *["x"] * 50])
    wait_until(lambda: not busy(served, "embed-tokens"), "all jobs to be over")


# ---- errors


def busy(served: Served, endpoint: str) -> int:
    found = served.status()["endpoints"][endpoint]
    return int(found["queued"] + found["running"])


def test_errors(client: OpenAI) -> None:
    """Each has the class, the code and the field that the client looks at."""
    create = client.chat.completions.create
    with pytest.raises(openai.NotFoundError) as unknown:
        create(**said("hi", model="nothing"))
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    for wrong, param in (
        ({"temperature": "hot"}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
        ({"model": "plain", "tools": [TOOL]}, "tools"),
        ({"model": "plain", "response_format": {"type": "json_object"}}, "response_format"),
        ({"model": "plain", "logprobs": True}, "logprobs"),
        (
            {
                "model": "plain",
                "messages": [{"role": "user", "content": [IMAGE]}],
            },
            "messages[0].content",
        ),
        ({"stop": [""]}, "stop"),
        ({"n": 1000}, "n"),
        ({"extra_body": {"functions": [{}]}}, "functions"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            create(**{**said("hi"), **wrong})
        assert (refused.value.type, refused.value.param) == ("invalid_request_error", param)
    for given in ("", [], ["a", ""], [[1], "a"]):
        with pytest.raises(openai.BadRequestError) as empty:
            client.embeddings.create(model="embed", input=given)  # type: ignore[arg-type]
        assert empty.value.param == "input"
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="embed", input=[[1]])


def test_a_handler_that_fails(client: OpenAI) -> None:
    """Whole, it is an error of the server; a stream ends with the error after what was sent.

    The text of the exception is in neither.
    """
    with pytest.raises(openai.InternalServerError) as whole:
        client.chat.completions.create(**said("fail"))
    assert whole.value.type == "server_error"
    received = []
    with pytest.raises(openai.APIError) as streamed:
        received += [
            chunk.choices[0].delta.content for chunk in client.chat.completions.create(**said("fail"), stream=True)
        ]
    assert streamed.value.code == "handler-error"
    assert "secret" not in f"{whole.value} {streamed.value}"


def test_a_client_that_leaves_frees_the_slot(client: OpenAI, served: Served) -> None:
    """In the middle of a stream, of one choice and of several."""
    for count in (1, 2):
        stream = client.chat.completions.create(**said("wait", n=count), stream=True)
        next(iter(stream))
        assert busy(served, "able") == count
        stream.close()
        wait_until(lambda: not busy(served, "able"), "the slot to be free")


def test_a_worker_that_is_killed_raises_in_the_client(client: OpenAI, served: Served) -> None:
    """The stream does not just stop."""
    stream = client.chat.completions.create(**said("wait"), stream=True)
    chunks = iter(stream)
    next(chunks)
    os.kill(worker_pid(served, "able"), signal.SIGKILL)
    with pytest.raises(openai.APIError) as error:
        list(chunks)
    assert error.value.code == "worker-lost"
