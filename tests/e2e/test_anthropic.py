"""The real client of Anthropic, synchronous and asynchronous, with a real server."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from pydantic import BaseModel

from penstock_anthropic.message_memo import MessageMemo
from penstock_anthropic.message_stream import MessageStream
from tests.e2e.watching import worker_pid
from tests.serving import ROOT, Served, wait_until, write_app

pytestmark = pytest.mark.e2e

TARGET = ROOT / "tests" / "e2e" / "apps" / "anthropic_app.py"
WEATHER: Any = {"name": "weather", "description": "Of today.", "input_schema": {"type": "object"}}
PNG: Any = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"png").decode()}


@pytest.fixture(scope="module", params=["1", "2"], ids=["one-process", "two-processes"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with Served(TARGET, "--log-format", "json", "--http-workers", request.param) as served:
        yield served
        assert not served.events("internal-error")


def new_client(served: Served, key: str = "k") -> Anthropic:
    return Anthropic(base_url=served.base_url, api_key=key, max_retries=0)


@pytest.fixture
def client(served: Served) -> Iterator[Anthropic]:
    with new_client(served) as client:
        yield client


def said(text: str, model: str = "words", **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


def in_loop(served: Served, ask: Callable[[AsyncAnthropic], Awaitable[Any]], key: str = "k") -> Any:
    async def run() -> Any:
        async with AsyncAnthropic(base_url=served.base_url, api_key=key, max_retries=0) as client:
            return await ask(client)

    return asyncio.run(run())


def told(client: Anthropic, **fields: Any) -> Any:
    """Return what the handler of ``mirror`` was asked."""
    [block] = client.messages.create(**{**said("Hi", model="mirror"), **fields}).content
    assert block.type == "text"
    return json.loads(block.text)


# ---- answers


def test_a_whole_answer(client: Anthropic) -> None:
    """Text, the reason, the usage, the model by the name that was used, and the request id."""
    found = client.messages.create(**said("Hello!", model="claude-words"))
    assert (found.type, found.role, found.model, found.id[:4]) == ("message", "assistant", "claude-words", "msg_")
    [block] = found.content
    assert (block.type, block.text if block.type == "text" else "") == ("text", "Hello!")
    assert (found.stop_reason, found.stop_sequence) == ("end_turn", None)
    usage = found.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens) == (8, 2, 4)
    assert found._request_id


def test_a_stream(client: Anthropic) -> None:
    """The events in their order, each of the class that the client has for it."""
    events = list(client.messages.create(**said("Hello!"), stream=True))
    assert [type(event).__name__ for event in events] == [
        "RawMessageStartEvent",
        "RawContentBlockStartEvent",
        "RawContentBlockDeltaEvent",
        "RawContentBlockDeltaEvent",
        "RawContentBlockStopEvent",
        "RawMessageDeltaEvent",
        "RawMessageStopEvent",
    ]


def test_the_streaming_helper(client: Anthropic) -> None:
    """It puts the whole together, and hands out the text as it comes."""
    with client.messages.stream(**said("Hello!")) as stream:
        assert list(stream.text_stream) == ["Hel", "lo!"]
        final = stream.get_final_message()
    assert (final.stop_reason, final.usage.input_tokens, final.usage.output_tokens) == ("end_turn", 8, 2)
    with client.messages.stream(**said("Hello!")) as stream:
        assert stream.get_final_text() == "Hello!"


def test_the_asynchronous_client(served: Served) -> None:
    """It gets the same."""

    async def ask(client: AsyncAnthropic) -> tuple[Any, list[str], Any]:
        whole = await client.messages.create(**said("Hello!"))
        async with client.messages.stream(**said("Hello!")) as stream:
            texts = [text async for text in stream.text_stream]
            final = await stream.get_final_message()
        return whole.content[0], texts, final.content[0]

    whole, texts, final = in_loop(served, ask)
    assert (whole.text, texts, final.text) == ("Hello!", ["Hel", "lo!"], "Hello!")


@pytest.mark.parametrize("stop", ["END", "lloE", "E"])
def test_a_stop_sequence_ends_the_answer(client: Anthropic, stop: str) -> None:
    """Wherever chunks begin and end, the text is cut in front of it, and the answer names it."""
    text = "Hello END of it"
    fields = said(text, stop_sequences=["never", stop] if stop in text else ["never", "END"])
    whole = client.messages.create(**fields)
    with client.messages.stream(**fields) as stream:
        streamed = stream.get_final_message()
    for found in (whole, streamed):
        assert found.content[0].type == "text"
        assert found.content[0].text == text.partition(found.stop_sequence or "?")[0]
        assert (found.stop_reason, found.stop_sequence) == ("stop_sequence", fields["stop_sequences"][1])


def test_an_answer_that_is_too_long(client: Anthropic) -> None:
    """The handler stops at ``max_tokens``, and says so."""
    found = client.messages.create(**said("Hello!", max_tokens=1))
    assert found.stop_reason == "max_tokens"
    with client.messages.stream(**said("Hello!", max_tokens=1)) as stream:
        assert stream.get_final_message().stop_reason == "max_tokens"


def test_a_refusal(client: Anthropic) -> None:
    """The model may end an answer so."""
    assert client.messages.create(**said("refuse", model="fault")).stop_reason == "refusal"


class Point(BaseModel):
    """A form for an answer."""

    x: int


def test_the_parse_helper(client: Anthropic) -> None:
    """The client sends the schema where the handler finds it, and reads the answer by it."""
    fields = said('{"x": 3}', model="form")
    assert client.messages.parse(**fields, output_format=Point).parsed_output == Point(x=3)
    with client.messages.stream(**fields, output_format=Point) as stream:
        assert stream.get_final_message().parsed_output == Point(x=3)
    with pytest.raises(anthropic.InternalServerError, match="does not match the schema"):
        client.messages.parse(**said('{"x": "a"}', model="form"), output_format=Point)


# ---- requests


def test_images_documents_and_the_system_prompt(client: Anthropic) -> None:
    """They reach the handler as parts."""
    content: Any = [
        {"type": "text", "text": "Compare."},
        {"type": "image", "source": PNG},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": {**PNG, "media_type": "application/pdf"}, "title": "Report"},
    ]
    found = told(client, messages=[{"role": "user", "content": content}], system="Rhyme.")
    system, user = found["messages"]
    assert (system["role"], system["content"]) == ("system", "Rhyme.")
    assert [part["type"] for part in user["content"]] == ["text", "image", "image", "file"]
    assert user["content"][1]["data"] == PNG["data"]
    assert user["content"][3]["name"] == "Report"


def test_settings_of_the_sampler(client: Anthropic) -> None:
    """Those that are not in a ``ChatRequest`` are in its ``raw``. This client sends most of them in ``extra_body``."""
    found = told(
        client,
        extra_body={"temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1},
        metadata={"user_id": "u"},
        thinking={"type": "enabled", "budget_tokens": 1024},
        service_tier="auto",
    )
    assert (found["temperature"], found["top_p"], found["user"], found["reasoning_effort"]) == (0.5, 0.9, "u", "low")
    assert found["raw"] == {
        "top_k": 3,
        "min_p": 0.1,
        "service_tier": "auto",
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }


def test_a_round_trip_with_tools(client: Anthropic) -> None:
    """The answer with thoughts, text and parallel calls goes back as it came, with the results."""
    turns: list[Any] = [{"role": "user", "content": "Rome Oslo"}]
    asked = {"model": "agent", "max_tokens": 100, "tools": [WEATHER]}
    whole = client.messages.create(messages=turns, **asked)
    with client.messages.stream(messages=turns, **asked) as stream:
        streamed = stream.get_final_message()
    for answer in (whole, streamed):
        assert answer.stop_reason == "tool_use"
        assert [block.type for block in answer.content] == ["thinking", "text", "tool_use", "tool_use"]
        calls = [block for block in answer.content if block.type == "tool_use"]
        assert [(call.name, call.input) for call in calls] == [("weather", {"city": c}) for c in ("Rome", "Oslo")]
        results: list[Any] = [
            {"type": "tool_result", "tool_use_id": call.id, "content": degrees}
            for call, degrees in zip(calls, ("20", "3"), strict=True)
        ]
        messages = [*turns, {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
        final = client.messages.create(messages=messages, **asked)
        assert final.content[0].type == "text"
        assert final.content[0].text == "The sum is 23."


def test_the_loop_of_the_client_runs_the_tools(client: Anthropic) -> None:
    """It sends the results by itself, until there are no more calls."""

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """Return the length of a city's name."""
        return str(len(city))

    asked: Any = said("Rome Oslo", model="agent")
    for is_streamed in (False, True):
        runner = client.beta.messages.tool_runner(**asked, tools=[weather], stream=is_streamed)
        final = runner.until_done()
        assert [block.text for block in final.content if block.type == "text"] == ["The sum is 8."]


def test_calls_whose_arguments_take_turns(client: Anthropic) -> None:
    """The blocks are whole all the same, and a call may have no arguments."""
    expected = [("first", {"a": 1}), ("second", {"a": 1}), ("third", {})]
    with client.messages.stream(**said("x", model="turns")) as stream:
        blocks = stream.get_final_message().content
    for found in (blocks, client.messages.create(**said("x", model="turns")).content):
        assert [(block.id, block.input) for block in found if block.type == "tool_use"] == expected


def test_tokens_are_counted(client: Anthropic) -> None:
    """By the endpoint that the model names; for others the path is a 404."""
    turns: Any = [{"role": "user", "content": "one two three"}]
    found = client.messages.count_tokens(model="agent", messages=turns, system="four", tools=[WEATHER])
    assert found.input_tokens == 4
    with pytest.raises(anthropic.NotFoundError, match="not counted"):
        client.messages.count_tokens(model="words", messages=turns)


def test_the_list_of_the_other_protocol_has_the_ids(client: Anthropic) -> None:
    """Without a prefix, ``/v1/models`` is that of OpenAI's plug-in, which the client can read as far."""
    assert "words" in [model.id for model in client.models.list()]


def test_models_under_a_prefix() -> None:
    """They are listed as the client expects."""
    with Served(TARGET, environment={"PENSTOCK_ANTHROPIC_PREFIX": "/anthropic"}) as served:
        client = Anthropic(base_url=f"{served.base_url}/anthropic", api_key="k", max_retries=0)
        models = list(client.models.list())
        assert {(model.type, model.id, model.display_name) for model in models} >= {("model", "words", "words")}
        assert client.models.retrieve("claude-words").created_at.year == 1970
        assert client.messages.create(**said("Hello!")).stop_reason == "end_turn"
        with pytest.raises(anthropic.NotFoundError):
            client.models.retrieve("nothing")


def test_the_client_passes_over_pings() -> None:
    """They keep a silent stream alive, wherever they come."""
    framing = MessageStream(MessageMemo(model="m", request_id="r"))
    pieces = [framing.keep_alive, framing.frame([b'"Hel"']), framing.keep_alive, framing.frame([b'"lo"']), framing.end]
    answer = httpx2.Response(200, headers={"content-type": framing.media_type}, content=b"".join(pieces))
    transport = httpx2.MockTransport(lambda _request: answer)
    client = Anthropic(base_url="http://test", api_key="k", http_client=httpx2.Client(transport=transport))
    with client.messages.stream(**said("Hi")) as stream:
        assert stream.get_final_text() == "Hello"


# ---- errors


def busy(served: Served, endpoint: str) -> int:
    found = served.status()["endpoints"][endpoint]
    return int(found["queued"] + found["running"])


def test_wrong_requests(client: Anthropic) -> None:
    """Each is an error of the class that the client has for it, and names the field."""
    with pytest.raises(anthropic.NotFoundError, match="'nothing'") as unknown:
        client.messages.create(**said("Hi", model="nothing"))
    assert unknown.value.type == "not_found_error"
    assert unknown.value.request_id
    for wrong, field in (
        ({"extra_body": {"temperature": "hot"}}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"tools": [WEATHER]}, "tools"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": PNG}]}]}, "messages"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, "output_config.format"),
        ({"tools": [{"type": "web_search_20260318", "name": "web_search"}]}, r"tools\[0\]"),
    ):
        with pytest.raises(anthropic.BadRequestError, match=f"`{field}`") as refused:
            client.messages.create(**{**said("Hi"), **wrong})
        assert refused.value.type == "invalid_request_error"


def test_a_handler_that_fails(client: Anthropic) -> None:
    """Whole, it is an error of the server; a stream ends with the error after what was sent. No secret is in it."""
    with pytest.raises(anthropic.InternalServerError) as whole:
        client.messages.create(**said("break", model="fault"))
    received: list[str] = []
    with (
        pytest.raises(anthropic.APIStatusError) as streamed,
        client.messages.stream(**said("break", model="fault")) as stream,
    ):
        received += stream.text_stream
    assert whole.value.type == streamed.value.type == "api_error"
    assert "secret" not in f"{whole.value} {streamed.value}"


def test_a_client_that_leaves_frees_the_slot(client: Anthropic, served: Served) -> None:
    """In the middle of a stream, the job is stopped at once."""
    stream = client.messages.create(**said("x", model="slow"), stream=True)
    next(iter(stream))
    assert busy(served, "slow") == 1
    stream.close()
    wait_until(lambda: not busy(served, "slow"), "the slot to be free")


def test_a_worker_that_is_killed_raises_in_the_client(client: Anthropic, served: Served) -> None:
    """The stream does not just stop."""
    events = iter(client.messages.create(**said("x", model="slow"), stream=True))
    next(events)
    os.kill(worker_pid(served, "slow"), signal.SIGKILL)
    with pytest.raises(anthropic.APIStatusError) as error:
        list(events)
    assert error.value.type == "overloaded_error"


LIMITED = """
    import time

    from penstock import App, Timeouts
    from penstock_anthropic import Messages
    from penstock_chat import ChatRequest

    app = App(
        __name__,
        settings={
            "auth": {"scopes": {"closed": ["special"]}},
            "ratelimit": {"endpoints": {"counted": {"requests": ["1/hour"]}}},
        },
    )

    @app.endpoint("/quick", dialects=[Messages(model="quick", is_default=True)])
    def quick(request: ChatRequest) -> str:
        return "Hi"

    @app.endpoint("/closed", dialects=[Messages(model="closed")])
    def closed(request: ChatRequest) -> str:
        return "Hi"

    @app.endpoint("/counted", dialects=[Messages(model="counted")])
    def counted(request: ChatRequest) -> str:
        return "Hi"

    @app.endpoint("/late", dialects=[Messages(model="late")], timeouts=Timeouts(total=0.2), workers=1)
    def late(request: ChatRequest) -> str:
        time.sleep(30)
        return "Hi"

    @app.endpoint("/full", dialects=[Messages(model="full")], max_queue=1, workers=1)
    def full(request: ChatRequest) -> str:
        time.sleep(30)
        return "Hi"
"""
KEY = "a-key-of-alice-0123456789"


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return a server with keys and limits."""
    target: Path = write_app(tmp_path_factory.mktemp("limited"), LIMITED)
    keys = {"PENSTOCK_AUTH_KEYS": f"alice:operator={KEY}"}
    with Served(target, "--max-body", "10KiB", environment=keys) as served:
        served.extra_headers = {"X-API-Key": KEY}
        yield served


def test_the_key_of_the_client_counts(limited: Served) -> None:
    """It comes as ``x-api-key``; a token would come in ``Authorization``."""
    assert new_client(limited, KEY).messages.create(**said("Hi", model="quick")).stop_reason == "end_turn"
    by_token = Anthropic(base_url=limited.base_url, auth_token=KEY, max_retries=0)
    assert by_token.messages.create(**said("Hi", model="quick")).stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("fields", "error", "kind"),
    [
        (said("Hi", model="closed"), anthropic.PermissionDeniedError, "permission_error"),
        (said("Hi", model="nothing"), anthropic.NotFoundError, "not_found_error"),
        (said("x" * 20_000, model="quick"), anthropic.ContentTooLargeError, "request_too_large"),
        (said("Hi", model="late"), anthropic.GatewayTimeoutError, "timeout_error"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_refusal_has_its_class(
    limited: Served, fields: dict[str, Any], error: type[anthropic.APIStatusError], kind: str
) -> None:
    """The client tells them apart by status and by type."""
    with pytest.raises(error) as refused:
        new_client(limited, KEY).messages.create(**fields)
    assert refused.value.type == kind


def test_an_unknown_key(limited: Served) -> None:
    """It is an error of authentication."""
    with pytest.raises(anthropic.AuthenticationError) as refused:
        new_client(limited, "another-key-0123456789").messages.create(**said("Hi", model="quick"))
    assert refused.value.type == "authentication_error"


def test_a_caller_over_its_limit(limited: Served) -> None:
    """It learns when to come back."""
    client = new_client(limited, KEY)
    client.messages.create(**said("Hi", model="counted"))
    with pytest.raises(anthropic.RateLimitError) as refused:
        client.messages.create(**said("Hi", model="counted"))
    assert refused.value.type == "rate_limit_error"
    assert int(refused.value.response.headers["retry-after"]) > 0


def test_a_full_queue(limited: Served) -> None:
    """It is an overload: one job runs, one waits, and the next is refused."""

    async def ask(client: AsyncAnthropic) -> None:
        held = [asyncio.create_task(client.messages.create(**said("Hi", model="full"))) for _ in range(2)]
        await asyncio.to_thread(wait_until, lambda: busy(limited, "full") == len(held), "both jobs")
        with pytest.raises(anthropic.ServiceUnavailableError) as refused:
            await client.messages.create(**said("Hi", model="full"))
        assert refused.value.type == "overloaded_error"
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)

    in_loop(limited, ask, key=KEY)
