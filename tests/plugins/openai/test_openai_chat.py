"""Chat completions: what a handler gets of a body, and what a client gets of the answer."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from penstock import App
from penstock.hooks import DialectRequest, Payload
from penstock.response import Encoded
from penstock.testing import PluginHarness
from penstock_chat import Audio, ChatRequest, File, Image, Message, ResponseFormat, Text, Tool, ToolCall
from penstock_openai import Chat, OpenAIPlugin, choices
from tests.plugins.openai.model_app import make_harness

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
OTHER_TOOL = {"type": "function", "function": {"name": "g", "description": "d", "strict": True}}


@pytest.fixture(scope="module")
def harness() -> PluginHarness:
    return make_harness()


def payload(harness: PluginHarness, **body: Any) -> Payload:
    """Return the payload that a body is read as."""
    [dialect] = [each for each in harness.registry.dialects(harness.app) if each.name == "openai-chat"]
    content = msgspec.json.encode({"messages": [USER], **body})
    request = DialectRequest(request_id="r", method="POST", path="", path_values={}, header={}.get, body=content)
    found = dialect.operations[0].read(request)
    assert isinstance(found, Payload)
    return found


def asked(harness: PluginHarness, **body: Any) -> ChatRequest:
    """Return the request that a handler gets of a body."""
    found = payload(harness, **body)
    assert found.body is not None
    return msgspec.json.decode(found.body, type=ChatRequest)


def post(harness: PluginHarness, body: dict[str, Any] | bytes, answer: Any = (), **more: Any) -> tuple[int, Any]:
    content = body if isinstance(body, bytes) else msgspec.json.encode({"messages": [USER], **body})
    found = harness.operation("POST", "/v1/chat/completions", content, answer or Encoded(b'"Hello"'), **more)
    return found.status, msgspec.json.decode(found.body)


def events(harness: PluginHarness, body: dict[str, Any], answer: Any) -> list[Any]:
    """Return the objects of a stream, checked for its form."""
    content = msgspec.json.encode({"messages": [USER], "stream": True, **body})
    found = harness.operation("POST", "/v1/chat/completions", content, answer)
    assert found.media_type == "text/event-stream; charset=utf-8"
    *lines, done, nothing = found.body.split(b"\n\n")
    assert (done, nothing) == (b"data: [DONE]", b"")
    assert all(line.startswith(b"data: {") and b"\n" not in line for line in lines)
    return [msgspec.json.decode(line.removeprefix(b"data: ")) for line in lines]


# ---- what a handler gets


def test_the_fields_of_a_body(harness: PluginHarness) -> None:
    """Each has its place; what a handler may want besides is in ``raw``."""
    found = asked(
        harness,
        model="alias",
        temperature=1,
        top_p=0.5,
        max_tokens=5,
        stop="END",
        seed=3,
        presence_penalty=-1,
        frequency_penalty=1,
        logit_bias={"7": -100},
        logprobs=True,
        top_logprobs=2,
        parallel_tool_calls=False,
        reasoning_effort="low",
        user="u",
        metadata={"k": "v"},
        top_k=40,
        guided={"a": [1]},
        nothing=None,
    )
    assert found == ChatRequest(
        messages=[Message(role="user", content="hi")],
        model="alias",
        temperature=1.0,
        top_p=0.5,
        max_tokens=5,
        stop=["END"],
        seed=3,
        presence_penalty=-1.0,
        frequency_penalty=1.0,
        logit_bias={"7": -100.0},
        logprobs=True,
        top_logprobs=2,
        parallel_tool_calls=False,
        reasoning_effort="low",
        user="u",
        metadata={"k": "v"},
        raw={"top_k": 40, "guided": {"a": [1]}},
    )
    assert asked(harness, max_tokens=5, max_completion_tokens=6).max_tokens == 6


def test_null_counts_as_absent(harness: PluginHarness) -> None:
    """Clients send every field that they know."""
    names = """model stream stream_options n temperature top_p max_tokens max_completion_tokens stop seed
        presence_penalty frequency_penalty logit_bias user metadata logprobs top_logprobs tools tool_choice
        parallel_tool_calls response_format reasoning_effort functions modalities audio store service_tier"""
    assert asked(harness, **dict.fromkeys(names.split())) == asked(harness)


def test_messages(harness: PluginHarness) -> None:
    """All roles, with the parts of their content, and the calls of tools."""
    data = base64.b64encode(b"data").decode()
    parts = [
        {"type": "text", "text": "a"},
        {"type": "refusal", "refusal": "b"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/y"}},
        {"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{data}", "filename": "n"}},
    ]
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    found = asked(
        harness,
        messages=[
            {"role": "developer", "content": "be", "name": "d"},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "x", "tool_call_id": "1"},
        ],
    )
    assert found.messages == [
        Message(role="developer", content="be", name="d"),
        Message(
            role="user",
            content=[
                Text("a"),
                Text("b"),
                Image(data=b"data", media_type="image/png", detail="low"),
                Image("https://x/y"),
                Audio(b"data", "mp3"),
                File(b"data", "n", "application/pdf"),
            ],
        ),
        Message(role="assistant", tool_calls=[ToolCall("1", "f", "{}")]),
        Message(role="tool", content="x", tool_call_id="1"),
    ]


def test_tools_and_the_choice_among_them(harness: PluginHarness) -> None:
    """A tool that is forced, and tools that are allowed, are said in plain words."""
    tools = [Tool(name="f", parameters={"type": "object"}), Tool(name="g", description="d", strict=True)]
    for choice, kind, forced, left in (
        ("auto", "auto", None, tools),
        ("required", "required", None, tools),
        ("none", "none", None, tools),
        ({"type": "function", "function": {"name": "g"}}, "required", "g", tools),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]},
            },
            "required",
            None,
            tools[1:],
        ),
    ):
        found = asked(harness, tools=[TOOL, OTHER_TOOL], tool_choice=choice)
        assert (found.tool_choice, found.forced_tool, found.tools) == (kind, forced, left)


def test_the_form_of_the_answer(harness: PluginHarness) -> None:
    """Its schema, with its name."""
    form = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}}}
    assert asked(harness, response_format=form).response_format == ResponseFormat(
        type="json_schema", name="n", schema={"type": "object"}, strict=True
    )
    assert asked(harness, response_format={"type": "json_object"}).response_format.type == "json_object"


def test_several_choices_are_several_inputs(harness: PluginHarness) -> None:
    """Each knows its number, and has a seed of its own."""
    parts = [msgspec.json.decode(part, type=ChatRequest) for part in payload(harness, n=3, seed=5).parts]
    assert [(part.choice, part.seed) for part in parts] == [(0, 5), (1, 6), (2, 7)]
    assert payload(harness, n=1).parts == ()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [USER, {"role": "user", "content": [{"type": "video"}]}]}, "messages[1].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
         "messages[0].content[0].image_url.url"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png"}}]}]},
         "messages[0].content[0].image_url.url"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "?"}}]}]},
         "messages[0].content[0].input_audio.data"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
         "messages[0].content[0].file"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": ["a" * 257]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"logprobs": 3}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"tool_choice": "some"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "h"}}}, "tool_choice"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"stream": "yes"}, "stream"),
        ({"model": 3}, "model"),
        ({"model": "plain", "tools": [TOOL]}, "tools"),
    ],
)  # fmt: skip
def test_a_body_that_does_not_fit(harness: PluginHarness, body: dict[str, Any], param: str) -> None:
    """It is a 400 that names the field, and no job."""
    harness.records.clear()
    status, found = post(harness, body)
    assert (status, found["error"]["type"], found["error"]["param"]) == (400, "invalid_request_error", param)
    assert found["error"]["message"].startswith(f"`{param}`: ")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"messages"', b"\xff", b"[" * 5000, b'{"a": 1e999}'])
def test_a_body_that_is_no_object(harness: PluginHarness, body: bytes) -> None:
    """It is a 400, too."""
    assert post(harness, body)[0] == 400


def test_a_field_that_is_nested_too_deeply(harness: PluginHarness) -> None:
    """Wherever its depth is too much: in reading it, in passing it on, or in the worker."""
    for depth in range(100, 2000, 100):
        body = b'{"messages":[{"role":"user","content":"x"}],"deep":' + b"[" * depth + b"]" * depth + b"}"
        assert post(harness, body)[0] in (200, 400)


def test_a_large_request_is_not_multiplied(harness: PluginHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer is a job with an input of its own."""
    monkeypatch.setattr(choices, "MOST_INPUT_BYTES", 10_000)
    long = [{"role": "user", "content": "x" * 6000}]
    assert post(harness, {"messages": long})[0] == 200
    status, found = post(harness, {"messages": long, "n": 2})
    assert (status, found["error"]["param"]) == (400, "n")


def test_more_answers_than_the_queue_takes() -> None:
    """The request is refused for good: it would never be admitted."""
    app = App("tests", plugins=[OpenAIPlugin])

    @app.endpoint("/small", dialects=[Chat(model="m")], max_queue=2)
    def small(request: ChatRequest) -> str:
        return ""

    harness = PluginHarness(app)
    assert post(harness, {"model": "m", "n": 2})[0] == 200
    status, found = post(harness, {"model": "m", "n": 3})
    assert (status, found["error"]["param"]) == (400, "n")


def test_an_unknown_model(harness: PluginHarness) -> None:
    """A 404 with the code that clients look for."""
    status, found = post(harness, {"model": "abel"})
    assert (status, found["error"]["code"], found["error"]["param"]) == (404, "model_not_found", "model")
    assert "did you mean able?" in found["error"]["message"]


# ---- what a client gets


def test_a_whole_answer(harness: PluginHarness) -> None:
    """Every field that clients read is there, and the model is called as the client has called it."""
    _, found = post(harness, {"model": "alias"}, [b'"Hel"', b'"lo"', b'{"type":"usage","prompt_tokens":3}'])
    assert found.pop("id").startswith("chatcmpl-")
    assert isinstance(found.pop("created"), int)
    message = {"role": "assistant", "content": "Hello", "refusal": None}
    assert found == {
        "object": "chat.completion",
        "model": "alias",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3},
    }
    assert post(harness, {})[1]["model"] == "able"


def test_a_whole_answer_of_several_choices(harness: PluginHarness) -> None:
    """A handler that yields is answered for like one that returns."""
    _, found = post(harness, {"n": 2}, ([b'"a"', b'"b"'], Encoded(b'["c",{"type":"finish","reason":"length"}]')))
    assert [(each["index"], each["message"]["content"], each["finish_reason"]) for each in found["choices"]] == [
        (0, "ab", "stop"),
        (1, "c", "length"),
    ]


def test_a_stream_has_the_form_that_clients_rely_on(harness: PluginHarness) -> None:
    """An object, an index and a delta in each; the role once; the reason once, and last."""
    found = events(harness, {}, [b'"a"', b'{"type":"text","text":"b"}', b'{"type":"reasoning","text":"c"}'])
    assert all(each["object"] == "chat.completion.chunk" and "usage" not in each for each in found)
    assert all([choice["index"] for choice in each["choices"]] == [0] for each in found)
    assert [each["choices"][0]["delta"] for each in found] == [
        {"role": "assistant", "content": ""},
        {"content": "a"},
        {"content": "b"},
        {"reasoning_content": "c"},
        {},
    ]
    assert [each["choices"][0]["finish_reason"] for each in found] == [None] * 4 + ["stop"]
    assert len({(each["id"], each["created"], each["model"]) for each in found}) == 1


def test_a_stream_without_a_chunk(harness: PluginHarness) -> None:
    """It has the role and the reason all the same."""
    first, last = events(harness, {}, [])
    assert (first["choices"][0]["delta"]["role"], last["choices"][0]["finish_reason"]) == ("assistant", "stop")


def test_a_result_is_streamed_to_those_who_want_it(harness: PluginHarness) -> None:
    """All of its pieces."""
    found = events(harness, {"model": "plain"}, Encoded(b'["a",{"type":"finish","reason":"length"}]'))
    assert [each["choices"][0]["delta"].get("content") for each in found] == ["", "a", None]
    assert found[-1]["choices"][0]["finish_reason"] == "length"


def test_the_usage_is_one_event_for_those_who_ask(harness: PluginHarness) -> None:
    """All others say null then, because some clients add them up."""
    chunks = [b'{"type":"usage","prompt_tokens":1}', b'"a"', b'{"type":"usage","prompt_tokens":1,"cached_tokens":1}']
    found = events(harness, {"stream_options": {"include_usage": True}}, chunks)
    assert [each["usage"] for each in found[:-1]] == [None] * 3
    assert found[-1]["choices"] == []
    assert found[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": 1}
    assert all("usage" not in each for each in events(harness, {}, chunks))
    unknown = events(harness, {"stream_options": {"include_usage": True}}, [b'"a"'])
    assert unknown[-1]["choices"][0]["finish_reason"] == "stop"


def test_events_are_on_one_line(harness: PluginHarness) -> None:
    """Some clients split lines at characters that JSON leaves as they are."""
    found = harness.operation(
        "POST",
        "/v1/chat/completions",
        msgspec.json.encode({"messages": [USER], "stream": True}),
        [msgspec.json.encode("a\u2028b\n")],
    )
    assert b"a\\u2028b\\n" in found.body


def test_calls_of_tools_in_a_stream(harness: PluginHarness) -> None:
    """Each piece has the index of its call; the id and the name come once."""
    chunks = [
        b'{"type":"tool_call","id":"1","name":"f"}',
        b'{"type":"tool_call","arguments":"{}"}',
        b'{"type":"tool_call","id":"2","name":"g","arguments":{"a":1}}',
    ]
    found = events(harness, {"tools": [TOOL, OTHER_TOOL]}, chunks)
    calls = [call for each in found for call in each["choices"][0]["delta"].get("tool_calls", ())]
    assert calls == [
        {"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": "{}"}},
        {"index": 1, "id": "2", "type": "function", "function": {"name": "g", "arguments": '{"a":1}'}},
    ]
    assert found[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_errors_of_policies_have_the_same_form() -> None:
    """The engine, for instance, while it drains."""
    harness = make_harness()
    harness.shutdown()
    status, found = post(harness, {})
    assert (status, found["error"]["type"], found["error"]["code"]) == (503, "server_error", "draining")
