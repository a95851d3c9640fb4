"""Handlers called with one body or with a batch of them."""

from __future__ import annotations

from typing import Any

import pytest

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


def test_batching_without_a_list_is_refused() -> None:
    """A batching handler takes exactly one list[T]."""

    def no_list(a: float) -> None: ...

    def bare(a: list) -> None: ...

    def two(a: list[int], b: int) -> None: ...

    def none() -> None: ...

    for handler in (no_list, bare, two, none):
        with pytest.raises(DeclarationError, match=r"endpoint 'it': with batching.*list\[T\].*leave out batching"):
            codec(handler, batched=True)
