"""Messages: their text, their parts, and the form that chat templates take."""

from __future__ import annotations

import msgspec

from penstock_chat import Audio, ChatRequest, File, Image, Message, Text, Tool, ToolCall


def test_a_message_has_a_text_and_parts() -> None:
    """Whichever of them it was made of."""
    assert Message(role="user", content="a").parts == [Text("a")]
    assert Message(role="assistant").parts == []
    mixed = Message(role="user", content=[Text("a"), Image("http://x"), Text("b")])
    assert mixed.text == "ab"
    assert len(mixed.parts) == 3


def test_the_form_of_chat_templates() -> None:
    """It is that of OpenAI's API."""
    call = ToolCall("1", "f", {"a": 1})
    assert Message(role="assistant", tool_calls=[call]).as_dict() == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
    }
    assert Message(role="tool", content="x", tool_call_id="1", name="f").as_dict() == {
        "role": "tool",
        "content": "x",
        "tool_call_id": "1",
        "name": "f",
    }
    parts = [Text("a"), Image("http://x"), Image(data=b"i", media_type="image/png"), Audio(b"a"), File(b"f", "n")]
    assert Message(role="user", content=parts).as_dict()["content"] == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "http://x"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aQ=="}},
        {"type": "input_audio", "input_audio": {"data": "YQ==", "format": "wav"}},
        {"type": "file", "file": {"filename": "n", "file_data": "data:application/octet-stream;base64,Zg=="}},
    ]
    assert Tool(name="f", parameters={"type": "object"}).as_dict() == {
        "type": "function",
        "function": {"name": "f", "description": "", "parameters": {"type": "object"}},
    }


def test_a_request_survives_the_way_to_the_worker() -> None:
    """As JSON."""
    request = ChatRequest(
        messages=[Message(role="user", content=[Image(data=b"\xff"), Text("a")])], tools=[Tool(name="f")], raw={"k": 1}
    )
    assert msgspec.json.decode(msgspec.json.encode(request), type=ChatRequest) == request
