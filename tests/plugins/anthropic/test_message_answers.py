"""Answers as Anthropic's clients expect them: whole, and as streams of events."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from penstock import App
from penstock.response import Encoded
from penstock.testing import PluginHarness
from penstock_anthropic import AnthropicPlugin, Messages
from penstock_chat import ChatRequest, Finish, Piece, Reasoning, Text, ToolCall, Usage

NO_USAGE = {"input_tokens": 0, "output_tokens": 0}


@pytest.fixture(scope="module")
def harness() -> PluginHarness:
    app = App(__name__)

    @app.endpoint("/chat", dialects=[Messages(model="tiny", tools=True)])
    def chat(request: ChatRequest) -> Iterator[Piece]:
        yield request.model

    return PluginHarness(app, [AnthropicPlugin])


def answered(harness: PluginHarness, pieces: list[Piece], *, stream: bool) -> bytes:
    body = {"model": "tiny", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    chunks = [msgspec.json.encode(piece) for piece in pieces]
    answer = harness.operation("POST", "/v1/messages", msgspec.json.encode(body), answer=chunks)
    assert answer.status == 200, answer.body
    return answer.body


def whole(harness: PluginHarness, *pieces: Piece) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(answered(harness, list(pieces), stream=False))
    return found


def events(harness: PluginHarness, *pieces: Piece) -> list[dict[str, Any]]:
    """Return the events of a stream; the name of each is its type."""
    found = []
    for event in answered(harness, list(pieces), stream=True).decode().removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        found.append(msgspec.json.decode(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def content_of(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the blocks of a stream, each of which begins when the one before it has ended."""
    blocks: list[dict[str, Any]] = []
    is_open = False
    arguments = ""
    for event in found:
        if event["type"] == "content_block_start":
            assert not is_open
            assert event["index"] == len(blocks)
            blocks.append(event["content_block"])
            is_open, arguments = True, ""
        elif event["type"] == "content_block_delta":
            assert is_open
            assert event["index"] == len(blocks) - 1
            delta = event["delta"]
            if delta["type"] == "input_json_delta":
                arguments += delta["partial_json"]
            else:
                field = delta["type"].removesuffix("_delta")
                blocks[-1][field] += delta[field]
        elif event["type"] == "content_block_stop":
            assert is_open
            assert event["index"] == len(blocks) - 1
            is_open = False
            if arguments:
                blocks[-1]["input"] = msgspec.json.decode(arguments)
    assert not is_open
    return blocks


ANSWERS: dict[str, list[Piece]] = {
    "nothing": [],
    "text": ["He", Text("llo"), ""],
    "all kinds": [Reasoning("Hm"), Reasoning("."), "I ", "look.", ToolCall("a", "add", '{"x": 1}'), "Done."],
    "thoughts between": [Reasoning("a"), "b", Reasoning("c"), "d"],
    "calls": [
        ToolCall("a", "add", "{"),
        ToolCall(arguments='"x": 1}'),
        ToolCall("b", "add", {"x": 2}),
        ToolCall("c", "now"),
    ],
    "calls that take turns": [
        ToolCall("a", "add", index=0),
        ToolCall("b", "add", index=1),
        ToolCall(arguments='{"x": ', index=0),
        ToolCall(arguments='{"x": ', index=1),
        "Between.",
        ToolCall(arguments="2}", index=1),
        ToolCall(arguments="1}", index=0),
        ToolCall(arguments="\n", index=0),
    ],
    "a call without arguments, and more": [ToolCall("a", "now"), "Text.", ToolCall("b", "add", '{"x": {}}')],
    "lines": ["a\u2028b\u0085c\n\nd", Reasoning("\u2029")],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_has_the_blocks_of_the_whole_answer(harness: PluginHarness, name: str) -> None:
    """One after the other, each begun and ended."""
    found = events(harness, *ANSWERS[name])
    assert content_of(found) == whole(harness, *ANSWERS[name])["content"]
    types = [event["type"] for event in found if not event["type"].startswith("content_block")]
    assert types == ["message_start", "message_delta", "message_stop"]


def pieces_in_turns(dice: random.Random) -> tuple[list[Piece], list[dict[str, int]]]:
    """Return the pieces of text, of thoughts and of some calls, in any order, and the arguments of the calls."""
    inputs = [{f"key {{{n}}}": n} for n in range(dice.randint(0, 4))]
    rests = {index: msgspec.json.encode(given).decode() for index, given in enumerate(inputs)}
    pieces: list[Piece] = []
    begun: list[int] = []
    while rests or dice.random() < 0.5:
        choice = dice.choice(["text", "thought", "call", "call"])
        if choice != "call" or not rests:
            pieces.append(dice.choice(["a", Text("b"), ""]) if choice == "text" else Reasoning("c"))
        elif len(begun) < len(inputs) and dice.random() < 0.5:
            begun.append(len(begun))
            pieces.append(ToolCall(f"id {begun[-1]}", "add", index=begun[-1]))
        elif begun:
            index = dice.choice(begun)
            size = dice.randint(1, 9)
            if index in rests:
                pieces.append(ToolCall(arguments=rests[index][:size], index=index))
                rests[index] = rests[index][size:]
                if not rests[index]:
                    del rests[index]
    return pieces, inputs


def test_any_order_of_pieces_makes_the_same_blocks(harness: PluginHarness) -> None:
    """Nothing is lost, and each call has its own arguments, streamed and whole."""
    dice = random.Random(7)
    for _ in range(200):
        pieces, inputs = pieces_in_turns(dice)
        content = whole(harness, *pieces)["content"]
        assert content_of(events(harness, *pieces)) == content
        assert [block["input"] for block in content if block["type"] == "tool_use"] == inputs
        for kind, field, expected in (("text", "text", (str, Text)), ("thinking", "thinking", (Reasoning,))):
            texts = [piece if isinstance(piece, str) else piece.text for piece in pieces if isinstance(piece, expected)]
            assert "".join(block[field] for block in content if block["type"] == kind) == "".join(texts)


def test_blocks_of_calls_that_take_turns(harness: PluginHarness) -> None:
    """None of their pieces is lost, and text that comes between stays between them, or after."""
    found = whole(harness, *ANSWERS["calls that take turns"])["content"]
    assert [(block["type"], block.get("input")) for block in found] == [
        ("tool_use", {"x": 1}),
        ("tool_use", {"x": 2}),
        ("text", None),
    ]


def test_a_call_is_streamed_while_it_is_written(harness: PluginHarness) -> None:
    """A block ends as soon as the next one begins, and its pieces are not held back."""
    types = [event["type"].removeprefix("content_block_") for event in events(harness, *ANSWERS["calls"])]
    assert types[1:-2] == ["start", "delta", "delta", "stop", "start", "delta", "stop", "start", "stop"]


def test_the_head_of_a_message(harness: PluginHarness) -> None:
    """A stream begins with a message without content."""
    found = whole(harness, "Hi", Usage(1, 2))
    first, *_, delta, _ = events(harness, Usage(1), "Hi", Usage(1, 2))
    for message in (found, first["message"]):
        assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "tiny")
        assert message["id"].startswith("msg_")
    assert (first["message"]["content"], first["message"]["stop_reason"]) == ([], None)
    assert first["message"]["usage"] == {"input_tokens": 1, "output_tokens": 0}
    assert found["usage"] == delta["usage"] == {"input_tokens": 1, "output_tokens": 2}


@pytest.mark.parametrize(
    ("pieces", "reason", "sequence"),
    [
        (["Hi"], "end_turn", None),
        (["Hi", Finish("length")], "max_tokens", None),
        (["Hi", Finish("stop", "END")], "stop_sequence", "END"),
        ([ToolCall("a", "add", "{}")], "tool_use", None),
        ([ToolCall("a", "add", "{}"), Finish("stop")], "tool_use", None),
        (["Hi", Finish("content_filter")], "refusal", None),
    ],
    ids=str,
)
def test_the_reason_of_the_end(harness: PluginHarness, pieces: list[Piece], reason: str, sequence: str | None) -> None:
    """In the protocol's words, with the stop sequence if there was one."""
    expected = {"stop_reason": reason, "stop_sequence": sequence}
    found = whole(harness, *pieces)
    assert {name: found[name] for name in expected} == expected
    assert events(harness, *pieces)[-2]["delta"] == expected


def test_tokens_in_a_cache_are_counted_apart(harness: PluginHarness) -> None:
    """The tokens of the input are without them; without any usage, the counts are 0."""
    told = {
        "input_tokens": 7,
        "output_tokens": 5,
        "cache_read_input_tokens": 3,
        "output_tokens_details": {"thinking_tokens": 2},
    }
    usage = Usage(10, 5, cached_tokens=3, reasoning_tokens=2)
    assert whole(harness, "Hi", usage)["usage"] == events(harness, "Hi", usage)[-2]["usage"] == told
    assert whole(harness, "Hi")["usage"] == events(harness, "Hi")[-2]["usage"] == NO_USAGE


def test_ids_are_made_for_calls_without_one(harness: PluginHarness) -> None:
    """They look as clients expect."""
    [call] = whole(harness, ToolCall(name="add", arguments="{}"))["content"]
    assert call["id"].startswith("toolu_")


def test_arguments_that_are_no_object_fail_a_whole_answer(harness: PluginHarness) -> None:
    """A client could not read them. If the answer was cut, they are empty, and its reason says so."""
    body = msgspec.json.encode({"model": "tiny", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})
    chunks = [msgspec.json.encode(ToolCall("a", "add", '{"x'))]
    failed = harness.operation("POST", "/v1/messages", body, answer=chunks)
    assert failed.status == 502
    assert b"'add' with arguments that are not a JSON object" in failed.body
    [call] = whole(harness, ToolCall("a", "add", '{"x'), Finish("length"))["content"]
    assert call["input"] == {}


@pytest.mark.parametrize("stream", [False, True])
def test_a_handler_may_return_a_single_result(harness: PluginHarness, stream: bool) -> None:
    """A piece, or a list of them."""
    body = {"model": "tiny", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    for result in (b'"Hello"', b'[{"type":"text","text":"Hello"}]'):
        found = harness.operation("POST", "/v1/messages", msgspec.json.encode(body), answer=Encoded(result)).body
        assert b'"text":"Hello"' in found


def test_no_line_ends_within_an_event(harness: PluginHarness) -> None:
    """Clients that split text at U+2028 and the like still read whole events."""
    found = answered(harness, ANSWERS["lines"], stream=True).decode()
    assert all(line.startswith(("event: ", "data: ")) for line in found.splitlines() if line)


def test_the_request_id_is_in_a_header(harness: PluginHarness) -> None:
    """The client reads it there."""
    body = msgspec.json.encode({"model": "tiny", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})
    assert harness.operation("POST", "/v1/messages", body, answer=[b'"Hi"']).headers["request-id"]
    assert harness.operation("POST", "/v1/messages", b"{}", answer=[]).headers["request-id"]
