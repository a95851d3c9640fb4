"""Handlers called with one body or with a batch of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pydantic
import pytest

from penstock.codec.codec import codec_for
from penstock.context import Context
from penstock.errors import DeclarationError
from tests.core.codec.sample_types import Point, Relaxed, codec, misfit


@pytest.mark.parametrize(
    ("item", "body", "value"),
    [
        (float, b"4", 4.0),
        (str, b'"text"', "text"),
        (bytes, b"\xff", b"\xff"),
        (Point, b'{"x": 1}', Point(1.0)),
        (Relaxed, b'{"size": 1}', Relaxed(size=1)),
        (dict[str, int], b"", {}),
        (object, b"[1]", [1]),
    ],
)
def test_a_batching_handler_takes_whole_bodies(item: Any, body: bytes, value: Any) -> None:
    """With batching, the body of each request is one T of the list[T], with or without a Context."""

    def handler(batch: list[item]) -> Any:
        return batch

    def with_context(context: Context | None, batch: list[item]) -> Any:
        return batch, context

    names = {"item": item}
    its = codec(handler, batched=True, namespace=names)
    its.validate(body)
    assert its.call(handler, [its.decode(body), its.decode(body)]) == [value, value]
    its = codec(with_context, batched=True, namespace=names)
    context = Context()
    assert its.context_parameter == "context"
    assert its.call(with_context, [its.decode(body)], context) == ([value], context)


def test_items_of_a_batch_are_validated() -> None:
    """An item that does not fit is an error like any other body that does not fit."""

    def handler(batch: list[Point]) -> None: ...

    assert misfit(handler, b'{"x": 1, "z": 1}', batched=True).param == "z"
    assert misfit(handler, b"", batched=True).status == 400


def test_several_lists_are_columns() -> None:
    """With batching, several parameters are the fields of each body, as without it, and the handler gets lists."""

    def one(text: str, top_k: int = 5) -> Any: ...

    def many(text: list[str], context: Context, *, top_k: list[int] = 5) -> Any:  # type: ignore[assignment] # of one item
        return text, top_k

    its = codec(many, batched=True)
    bodies = [its.decode(b'{"text": "a", "top_k": 2}'), its.decode(b'{"text": "b"}')]
    assert its.call(many, bodies, Context()) == (["a", "b"], [2, 5])
    assert its.input_schema()["properties"] == codec(one).input_schema()["properties"]
    assert misfit(many, b'{"text": 1}', batched=True).param == "text"
    assert misfit(many, b'{"text": "a", "topk": 1}', batched=True).param == "topk"
    assert misfit(many, b'"a"', batched=True).status == 422


def test_columns_have_constraints() -> None:
    """The constraints of a column hold for each of its items."""

    def handler(text: list[str], top_k: list[int] = pydantic.Field(5, ge=1)) -> Any:  # noqa: B008 - pydantic is used like this
        return text, top_k

    its = codec(handler, batched=True)
    assert its.call(handler, [its.decode(b'{"text": "a"}')]) == (["a"], [5])
    assert misfit(handler, b'{"text": "a", "top_k": 0}', batched=True).param == "top_k"


def test_batching_without_a_list_is_refused() -> None:
    """Every parameter of a batching handler is a list[T]."""

    def no_list(a: float) -> None: ...

    def bare(a: list) -> None: ...

    def two(a: list[int], b: int) -> None: ...

    def none() -> None: ...

    for handler in (no_list, bare, two, none):
        with pytest.raises(DeclarationError, match=r"endpoint 'it': with batching.*list\[T\].*leave out batching"):
            codec(handler, batched=True)


def test_filtered_answers_are_not_compared_with_the_annotation():
    """The filter may have made something else of them, for which the handler cannot be blamed."""

    class Asked(msgspec.Struct):
        word: str

        def chunk_filter(self) -> None:
            return None

    def one(asked: Asked) -> str:
        return asked.word

    def many(asked: Asked) -> Iterator[str]:
        yield asked.word

    for handler in (one, many):
        codec = codec_for(handler, owner="x", batched=False, namespace={"Asked": Asked})
        assert (codec.whole_type, codec.has_filter) == (Asked, True)
        assert codec.with_filter(codec.decode(b'{"word": "a"}'))[1] is None
        assert (codec.result_check(), codec.chunk_check()) == (None, None)
