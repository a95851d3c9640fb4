"""Requests for responses: the request that a handler receives, and refusals."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.errors import InvalidRequest
from penstock_chat import Audio, ChatRequest, File, Image, Message, Text, Tool, ToolCall, read_object
from penstock_openai.response_body import ResponseBody
from penstock_openai.response_request import chat_request_of_response
from tests.plugins.openai.response_scene import ResponseScene

TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}


def request_of(**fields: Any) -> ChatRequest:
    """Return the request that a handler gets."""
    body, raw = read_object(msgspec.json.encode({"input": "hello", **fields}), ResponseBody)
    return chat_request_of_response(body, raw)


def messages_of(items: list[Any]) -> list[Message]:
    return request_of(input=items).messages


def test_a_text_is_the_message_of_a_user() -> None:
    """Instructions are the system message before it."""
    assert request_of().messages == [Message(role="user", content="hello")]
    assert request_of(instructions="Be brief.").messages[0] == Message(role="system", content="Be brief.")


def test_items_are_messages() -> None:
    """With and without a type; the output of an earlier response may be sent back as it was."""
    items = [
        {"role": "developer", "content": "a"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "b"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "x"}]},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "c", "annotations": [], "logprobs": []}],
        },
    ]
    assert messages_of(items) == [
        Message(role="developer", content="a"),
        Message(role="user", content=[Text("b")]),
        Message(role="assistant", content=[Text("c")]),
    ]


def test_calls_join_the_message_that_they_follow() -> None:
    """Chat templates expect one message with all calls; their outputs are messages of the tool."""
    items = [
        {"role": "user", "content": "go"},
        CALL,
        {**CALL, "call_id": "c2", "id": "fc_1", "status": "completed"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
    ]
    assert messages_of(items)[1:] == [
        Message(role="assistant", tool_calls=[ToolCall("c1", "f", "{}"), ToolCall("c2", "f", "{}")]),
        Message(role="tool", content="1", tool_call_id="c1"),
        Message(role="tool", content=[Text("2")], tool_call_id="c2"),
    ]


def test_parts() -> None:
    """Images by address and by content, documents with and without a ``data:`` URL, sounds."""
    parts = [
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
        {"type": "input_image", "image_url": "data:image/png;base64,cG5n", "detail": "auto"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,cGRm"},
        {"type": "input_file", "file_data": "cGRm"},
        {"type": "input_audio", "input_audio": {"data": "d2F2", "format": "wav"}},
        {"type": "refusal", "refusal": "no"},
    ]
    assert messages_of([{"role": "user", "content": parts}])[0].parts == [
        Image("https://example.com/a.png", detail="low"),
        Image(data=b"png", media_type="image/png", detail="auto"),
        File(b"pdf", "a.pdf", "application/pdf"),
        File(b"pdf"),
        Audio(b"wav"),
        Text("no"),
    ]


def test_settings() -> None:
    """Each has its name in ``ChatRequest``; null counts as absent, and unknown fields are passed on."""
    found = request_of(
        max_output_tokens=5,
        temperature=0.5,
        top_p=None,
        top_logprobs=2,
        reasoning={"effort": "low", "summary": "auto"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}}, "verbosity": "low"},
        metadata={"a": "b"},
        include=["reasoning.encrypted_content"],
        truncation="auto",
        top_k=7,
        service_tier=None,
    )
    assert (found.max_tokens, found.temperature, found.top_p, found.top_logprobs) == (5, 0.5, None, 2)
    assert (found.logprobs, found.reasoning_effort, found.parallel_tool_calls) == (True, "low", False)
    assert (found.response_format.type, found.response_format.schema) == ("json_schema", {"type": "object"})
    assert (found.metadata, found.raw) == ({"a": "b"}, {"top_k": 7, "verbosity": "low"})


@pytest.mark.parametrize(
    ("choice", "told", "forced", "names"),
    [
        (None, "auto", None, ["f", "g"]),
        ("required", "required", None, ["f", "g"]),
        ({"type": "function", "name": "g"}, "required", "g", ["f", "g"]),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]},
            "required",
            None,
            ["g"],
        ),
    ],
    ids=["absent", "required", "one", "some"],
)
def test_tools(choice: Any, told: str, forced: str | None, names: list[str]) -> None:
    """They are flat here, and so is the choice among them."""
    found = request_of(tools=[TOOL, {"type": "function", "name": "g"}], tool_choice=choice)
    assert (found.tool_choice, found.forced_tool, [tool.name for tool in found.tools]) == (told, forced, names)
    assert found.tools[-1] == Tool(name="g")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "c"}}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 1}, "input"),
        ({"input": [{"role": "nobody"}]}, "input[0].role"),
        ({"input": [{"content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "web_search_call"}]}, "input[0].type"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "output": "1"}]}, "input[0].call_id"),
        ({"input": [{"role": "user", "content": [{"type": "video"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].image_url",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "?"}]}]},
            "input[0].content[0].file_data",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [TOOL], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "s"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "schema": {"type": 1}}}}, "text.format.schema"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals_name_the_field(fields: Any, param: str) -> None:
    """Requests that need a store, that no handler could answer, or that do not fit are a 400; nothing runs."""
    scene = ResponseScene(tools=True, structured="validate", inputs=("text", "image", "file"))
    assert scene.refusal(**fields)["param"] == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [TOOL]}, "tools"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://a.b/c"}]}]},
            "input",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_offer_does_not_promise_is_refused(fields: Any, param: str) -> None:
    """The error names the field of this protocol."""
    assert ResponseScene().refusal(**fields)["param"] == param


def test_an_unknown_model_is_a_404() -> None:
    """With the code that clients know, and the models that there are."""
    status, body = ResponseScene().ask("never sent", model="nobody")
    assert (status, body["error"]["code"], body["error"]["param"]) == (404, "model_not_found", "model")
    assert "tiny" in body["error"]["message"]


def test_tools_of_other_types_are_named() -> None:
    """The message says which type it is, and which are supported."""
    with pytest.raises(InvalidRequest, match="'code_interpreter' are not supported, only functions are"):
        request_of(tools=[{"type": "code_interpreter", "container": {"type": "auto"}}])
