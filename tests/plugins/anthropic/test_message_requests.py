"""Bodies as Anthropic's clients send them, and the requests that handlers take of them."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from penstock.errors import InvalidRequest
from penstock_anthropic.message_body import MessagesBody
from penstock_anthropic.message_requests import messages_request
from penstock_chat import ChatRequest, File, Image, Message, Text, Tool, ToolCall, read_object

PNG = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"png").decode()},
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "description": "Of today.", "input_schema": SCHEMA}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "20"}
ASKED = {"role": "user", "content": "Hi"}


def read(*turns: dict[str, Any], **more: Any) -> ChatRequest:
    """Return the request of a body with these messages."""
    body = {"model": "m", "max_tokens": 5, "messages": list(turns) or [ASKED], **more}
    return messages_request(*read_object(msgspec.json.encode(body), MessagesBody))


def messages(*turns: dict[str, Any], **more: Any) -> list[Message]:
    return read(*turns, **more).messages


def refused(*turns: dict[str, Any], **more: Any) -> str:
    """Return the field for which a body is refused."""
    with pytest.raises(InvalidRequest) as error:
        read(*turns, **more)
    return error.value.param or ""


# ---- messages


def test_a_text_and_one_block_of_text_are_the_same() -> None:
    """As the protocol has it; several blocks stay parts."""
    assert messages(ASKED) == [Message(role="user", content="Hi")]
    assert messages({"role": "user", "content": [{"type": "text", "text": "Hi"}]}) == messages(ASKED)
    two = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    assert messages(two) == [Message(role="user", content=[Text("a"), Text("b")])]
    assert messages({"role": "user", "content": []}) == [Message(role="user")]


def test_the_system_prompt_is_the_first_message() -> None:
    """As a text or as blocks; a message of the system may come later, too."""
    assert messages(ASKED, system="Rhyme.")[0] == Message(role="system", content="Rhyme.")
    blocks = [{"type": "text", "text": "Rhyme.", "cache_control": {"type": "ephemeral"}}]
    assert messages(ASKED, system=blocks)[0] == Message(role="system", content="Rhyme.")
    assert messages(ASKED, system="") == messages(ASKED, system=[]) == messages(ASKED)
    assert [message.role for message in messages(ASKED, {"role": "system", "content": "x"})] == ["user", "system"]


def test_images_and_documents() -> None:
    """Contents in base64 are decoded, addresses are passed on, and documents of blocks become these."""
    address = {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(b"%PDF").decode()}
    plain = {"type": "text", "media_type": "text/plain", "data": "Plain."}
    content = [
        PNG,
        address,
        {"type": "document", "source": pdf, "title": "Report"},
        {"type": "document", "source": plain},
        {"type": "document", "source": {"type": "content", "content": "Inline."}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "Block."}, PNG]}},
    ]
    image = Image(data=b"png", media_type="image/png")
    [message] = messages({"role": "user", "content": content})
    assert message.content == [
        image,
        Image("https://example.com/cat.png"),
        File(b"%PDF", "Report", "application/pdf"),
        File(b"Plain.", "", "text/plain"),
        Text("Inline."),
        Text("Block."),
        image,
    ]


@pytest.mark.parametrize(
    ("block", "place"),
    [
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, ".source"),
        ({"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}}, ".source.url"),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}}, ".source.data"),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, ".source"),
        ({"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}, ".source"),
        (CALL, ""),
    ],
    ids=["stored", "local", "no base64", "stored document", "remote document", "call of the user"],
)
def test_contents_that_are_not_here_are_refused(block: dict[str, Any], place: str) -> None:
    """The field says which block it is."""
    assert (
        refused({"role": "user", "content": [{"type": "text", "text": "a"}, block]}) == f"messages[0].content[1]{place}"
    )


def test_blocks_of_servers_are_refused() -> None:
    """Their tools are not run here."""
    block = {"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}}
    assert refused({"role": "assistant", "content": [block]}).startswith("messages[0].content[0]")
    assert refused(ASKED, mcp_servers=[{"type": "url", "url": "https://example.com", "name": "x"}]) == "mcp_servers"


def test_calls_and_their_results() -> None:
    """Each result is a message of its own, behind the message with the calls; the rest of the turn comes after them."""
    calls = [{"type": "text", "text": "I look."}, CALL, {**CALL, "id": "toolu_2"}]
    other = {"type": "tool_result", "tool_use_id": "toolu_2", "content": [PNG, {"type": "text", "text": "x"}]}
    answered = [{"type": "text", "text": "Here."}, RESULT, {**other, "is_error": True}, {"type": "text", "text": "So?"}]
    found = messages(ASKED, {"role": "assistant", "content": calls}, {"role": "user", "content": answered})
    arguments = '{"city":"Rome"}'
    assert found[1:] == [
        Message(
            role="assistant",
            content="I look.",
            tool_calls=[ToolCall("toolu_1", "weather", arguments), ToolCall("toolu_2", "weather", arguments)],
        ),
        Message(role="tool", content="20", tool_call_id="toolu_1"),
        Message(
            role="tool",
            content=[Image(data=b"png", media_type="image/png"), Text("x")],
            tool_call_id="toolu_2",
            is_error=True,
        ),
        Message(role="user", content=[Text("Here."), Text("So?")]),
    ]


def test_a_turn_of_results_alone_adds_no_empty_message() -> None:
    """And a result may be empty."""
    empty = {"type": "tool_result", "tool_use_id": "toolu_1"}
    found = messages({"role": "user", "content": [RESULT, empty]})
    assert [(message.role, message.content) for message in found] == [("tool", "20"), ("tool", "")]


def test_thoughts_are_not_repeated() -> None:
    """Those of earlier answers are ignored, readable or not."""
    thoughts = [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "redacted_thinking", "data": "x"}]
    found = messages(ASKED, {"role": "assistant", "content": [*thoughts, CALL]})
    assert found[1] == Message(role="assistant", tool_calls=[ToolCall("toolu_1", "weather", '{"city":"Rome"}')])


def test_results_belong_to_the_user() -> None:
    """Anywhere else they are refused."""
    assert refused({"role": "assistant", "content": [RESULT]}) == "messages[0].content[0]"


# ---- tools


def test_tools() -> None:
    """With a name, a description and a schema; ``custom`` is the type of all of them."""
    tool = Tool(name="weather", description="Of today.", parameters=SCHEMA)
    assert read(ASKED, tools=[WEATHER, {**WEATHER, "type": "custom"}]).tools == [tool, tool]
    assert read(ASKED, tools=[{**WEATHER, "strict": True}]).tools[0].strict


def test_tools_of_a_type_of_their_own_are_refused() -> None:
    """Their schemas are known to Anthropic's models alone."""
    assert refused(ASKED, tools=[WEATHER, {"type": "web_search_20260318", "name": "web_search"}]) == "tools[1]"
    assert refused(ASKED, tools=[{"name": "weather"}]) == "tools[0].input_schema"


@pytest.mark.parametrize(
    ("choice", "chosen", "forced"),
    [
        ({"type": "auto"}, "auto", None),
        ({"type": "any"}, "required", None),
        ({"type": "tool", "name": "weather"}, "required", "weather"),
        ({"type": "none"}, "none", None),
    ],
)
def test_the_choice_among_tools(choice: dict[str, Any], chosen: str, forced: str | None) -> None:
    """``any`` is a call that has to be; parallel calls are allowed unless they are switched off."""
    request = read(ASKED, tools=[WEATHER], tool_choice=choice)
    assert (request.tool_choice, request.forced_tool, request.parallel_tool_calls) == (chosen, forced, True)
    if chosen != "none":
        request = read(ASKED, tools=[WEATHER], tool_choice={**choice, "disable_parallel_tool_use": True})
        assert not request.parallel_tool_calls


# ---- settings


def test_settings() -> None:
    """Each has its field; what has none is in ``raw``, ``top_k`` too."""
    request = read(
        ASKED,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop_sequences=["END"],
        metadata={"user_id": "u"},
        service_tier="auto",
        speed=None,
    )
    assert (request.model, request.max_tokens, request.temperature, request.top_p) == ("m", 5, 0.5, 0.9)
    assert (request.stop, request.user, request.raw) == (["END"], "u", {"top_k": 40, "service_tier": "auto"})


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        ({"type": "disabled"}, "none"),
        ({"type": "adaptive"}, None),
        ({"type": "enabled", "budget_tokens": 1024}, "low"),
        ({"type": "enabled", "budget_tokens": 2048}, "medium"),
        ({"type": "enabled", "budget_tokens": 4096}, "high"),
    ],
)
def test_thinking_is_an_effort(thinking: dict[str, Any], effort: str | None) -> None:
    """A budget stands for one, and is in ``raw`` as it came; an effort that the client names itself counts more."""
    request = read(ASKED, thinking=thinking)
    assert (request.reasoning_effort, request.raw["thinking"]) == (effort, thinking)
    assert read(ASKED, thinking=thinking, output_config={"effort": "max"}).reasoning_effort == "max"


def test_the_form_of_the_answer() -> None:
    """A schema in ``output_config``, which is where the client puts it."""
    form = read(ASKED, output_config={"format": {"type": "json_schema", "schema": SCHEMA}}).response_format
    assert (form.type, form.schema, form.strict) == ("json_schema", SCHEMA, True)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"top_k": "x"}, "top_k"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"stop_sequences": ["x"] * 17}, "stop_sequences"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ],
    ids=str,
)
def test_wrong_fields_are_named(wrong: dict[str, Any], field: str) -> None:
    """The error has the field, as the client has sent it."""
    assert refused(**wrong) == field
