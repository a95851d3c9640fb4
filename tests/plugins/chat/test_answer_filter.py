"""The pieces that a chat handler may yield, the end of its answer, and the form that was asked for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.errors import InvalidRequest
from penstock_chat import (
    AnswerFilter,
    ChatRequest,
    Finish,
    Message,
    Reasoning,
    ResponseFormat,
    SchemaMismatch,
    Text,
    ToolCall,
    Usage,
)

SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}


def passed(answer_filter: AnswerFilter, *pieces: Any) -> list[Any]:
    ready: list[Any] = []
    for piece in pieces:
        more, is_done = answer_filter.feed(piece)
        ready += more
        if is_done:
            return ready
    return ready + answer_filter.finish()


def test_pieces_come_through_in_their_order() -> None:
    """Text that is held back comes before a call of a tool, and before the reason."""
    pieces = [Reasoning("hm"), "aE", Usage(1, 1), ToolCall("1", "f"), Text("E"), Finish("length")]
    assert passed(AnswerFilter([], None), *pieces) == pieces
    found = passed(AnswerFilter(["END"], None), *pieces)
    assert found == [Reasoning("hm"), "a", Usage(1, 1), "E", ToolCall("1", "f"), Text("E"), Finish("length")]


def test_several_pieces_may_be_yielded_at_once() -> None:
    """As the last step of a generation loop does: each of them is passed on, up to a stop."""
    assert passed(AnswerFilter([], None), ["a", Usage(1, 1)], [], ["b"]) == ["a", Usage(1, 1), "b"]
    assert passed(AnswerFilter(["c"], None), ["a", "bc", "d"], "e") == ["a", "b", Finish("stop", "c")]


def test_nothing_comes_after_a_stop() -> None:
    """But the reason, with the sequence."""
    assert passed(AnswerFilter(["b"], None), "abc", "d", Usage(1, 1)) == ["a", Finish("stop", "b")]


@pytest.mark.parametrize("wrong", [{"text": "a"}, None, 1, b"a", [1]])
def test_anything_else_is_an_error_of_the_handler(wrong: Any) -> None:
    """Its message names the types that are pieces."""
    with pytest.raises(TypeError, match="yield str, Text, Reasoning, ToolCall, Usage or Finish"):
        AnswerFilter([], None).feed(wrong)


def test_a_whole_result_is_one_piece_or_a_list() -> None:
    """A piece stays one, where nothing has ended it."""
    assert AnswerFilter([], None).whole("ab") == "ab"
    assert AnswerFilter(["c"], None).whole("ab") == "ab"
    assert AnswerFilter(["b"], None).whole("abc") == ["a", Finish("stop", "b")]
    assert AnswerFilter([], None).whole(["a", "b", Usage(1, 1)]) == ["ab", Usage(1, 1)]


def test_a_count_of_tokens_passes() -> None:
    """It is the answer of an endpoint that counts, whatever the request says about answers."""
    assert AnswerFilter(["1"], SCHEMA).whole(12) == 12


def test_an_answer_that_matches_the_schema() -> None:
    """Also if it ends by a reason of the handler's, or at a stop sequence."""
    for pieces in (['{"x"', ": 1}"], ['{"x": 1}', Finish("stop")], ['{"x": 1}', "END"]):
        passed(AnswerFilter(["END"], SCHEMA), *pieces)


@pytest.mark.parametrize(
    ("text", "reason"),
    [('{"x": "a"}', r"at \$\.x: 'a' is not of type 'integer'"), ("{}", "'x' is a required property"), ("no", "JSON")],
)
def test_an_answer_that_does_not_match(text: str, reason: str) -> None:
    """It is an error before the reason is sent, and names the place."""
    answer_filter = AnswerFilter([], SCHEMA)
    answer_filter.feed(text)
    with pytest.raises(SchemaMismatch, match=reason):
        answer_filter.feed(Finish("stop"))
    with pytest.raises(SchemaMismatch, match=reason):
        AnswerFilter([], SCHEMA).whole(text)


def test_what_is_not_compared() -> None:
    """An answer that was cut, or that calls tools: the client sees that it is not what it asked for."""
    assert passed(AnswerFilter([], SCHEMA), '{"x', Finish("length"))
    assert passed(AnswerFilter([], SCHEMA), ToolCall("1", "f"))


@pytest.mark.parametrize(
    "schema", [{"$ref": "http://example.com/schema"}, {"$ref": "#/missing"}, {"pattern": "("}, {"$ref": "#"}]
)
def test_a_schema_that_cannot_be_used(schema: Any) -> None:
    """A reference to somewhere else is not followed. It is an error of the request, and not of the model."""
    with pytest.raises(InvalidRequest, match="the schema cannot be used") as refused:
        AnswerFilter([], schema).whole('"a"')
    assert refused.value.param == "response_format"


def test_a_request_has_its_filter() -> None:
    """The form is compared only if the offer says so."""
    request = ChatRequest(messages=[Message(role="user", content="x")], stop=["b"])
    assert request.chunk_filter().whole("abc") == ["a", Finish("stop", "b")]
    for form, is_compared in (
        (ResponseFormat(type="json_object"), False),
        (ResponseFormat(type="json_object", is_validated=True), True),
        (ResponseFormat(type="text", is_validated=True), False),
    ):
        chunk_filter = msgspec.structs.replace(request, response_format=form).chunk_filter()
        if is_compared:
            with pytest.raises(SchemaMismatch):
                chunk_filter.whole("[]")
        else:
            assert chunk_filter.whole("[]") == "[]"
