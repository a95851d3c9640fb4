"""Answers that are put together from pieces."""

from __future__ import annotations

import pytest

from penstock_chat import ChatAnswer, Finish, Logprob, Reasoning, Text, ToolCall, Usage, pieces_of, total_usage
from penstock_chat.pieces import Piece


def test_the_pieces_of_a_result() -> None:
    """A text, a piece, a list, or nothing at all."""
    assert pieces_of(b'"a"') == ["a"]
    assert pieces_of(b'{"type":"finish"}') == [Finish()]
    assert pieces_of(b'["a",{"type":"usage","prompt_tokens":1}]') == ["a", Usage(1)]
    assert pieces_of(b"null") == []


def test_text_and_reasoning() -> None:
    """Each is put together, with the log probabilities of the text."""
    answer = ChatAnswer(["a", Reasoning("x"), Text("b", [Logprob("b", -1.0)]), Reasoning("y")])
    assert (answer.whole_text, answer.whole_reasoning) == ("ab", "xy")
    assert answer.logprobs == [Logprob("b", -1.0)]


def test_calls_of_tools_are_put_together() -> None:
    """By their index, if they have one, whatever the handler counts from; else each name begins a new one."""
    for pieces in (
        [ToolCall("1", "f", '{"a"'), ToolCall(arguments=":1}"), ToolCall("2", "g", {"b": 2})],
        [ToolCall("1", "f", '{"a"', 5), ToolCall("2", "g", '{"b":2}', 9), ToolCall(arguments=":1}", index=5)],
    ):
        answer = ChatAnswer(pieces)
        assert [(call.id, call.name, call.arguments_text) for call in answer.calls] == [
            ("1", "f", '{"a":1}'),
            ("2", "g", '{"b":2}'),
        ]


def test_only_the_first_piece_of_a_call_is_named() -> None:
    """Clients join names and ids as they join arguments. A missing id is made."""
    answer = ChatAnswer()
    first = answer.add(ToolCall(name="f"))
    second = answer.add(ToolCall("x", "f", "{}", 0))
    assert isinstance(first, ToolCall)
    assert first.id.startswith("call_")
    assert (first.index, second) == (0, ToolCall("x", "f", "{}", 1))
    assert answer.add(ToolCall("x", "f", "!", 0)) == ToolCall("", "", "!", 1)


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        (["a"], "stop"),
        ([], "stop"),
        (["a", Finish("length")], "length"),
        ([ToolCall("1", "f")], "tool_calls"),
        ([ToolCall("1", "f"), Finish("stop")], "tool_calls"),
        ([ToolCall("1", "f"), Finish("length")], "length"),
        ([ToolCall("1", "f"), Finish("stop", "END")], "stop"),
    ],
)
def test_there_is_always_a_reason(pieces: list[Piece], reason: str) -> None:
    """Clients rely on it."""
    assert ChatAnswer(pieces).reason == reason


def test_the_usage_of_several_answers() -> None:
    """A prompt that they share counts once; if one has none, there is none."""
    answers = [ChatAnswer([Usage(3, 1, 2)]), ChatAnswer([Usage(9, 9), Usage(3, 4)])]
    assert total_usage(answers, shares_prompt=True) == Usage(3, 5, 2)
    assert total_usage(answers, shares_prompt=False) == Usage(6, 5, 2)
    assert total_usage([*answers, ChatAnswer()], shares_prompt=True) is None
    assert total_usage([], shares_prompt=True) is None
