"""Results against the return annotation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from penstock.response import Response
from tests.core.codec.sample_types import Box, Colour, Options, Point, Relaxed, Tensor, codec


def check(annotation: Any, value: Any) -> str | None:
    """Return why the value does not match the annotation, or None."""

    def handler() -> None: ...

    handler.__annotations__["return"] = annotation
    its = codec(handler)
    checked = its.result_check()
    return None if checked is None else checked(its.encode(value))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (float, 1),
        (int, 1.0),
        (list[float], np.array([1.5, 2])),
        (Point, {"x": 1}),
        (Point, Point(1.0)),
        (Box, Box(1, Point(1.0))),
        (Options, {"depth": 1}),
        (Colour, Colour.RED),
        (dict[int, set[str]], {1: {"a"}}),
        (str | None, None),
        (bytes, b"x"),
        (bytes, Response(b"x", "image/png")),
        (str, Response("<p>", "text/html")),
        (Relaxed, {"anything": 1}),
        (Tensor, 1),
        (Any, 1),
        (Response, 1),
        ("Missing", 1),
    ],
    ids=repr,
)
def test_a_result_of_its_annotation_matches(annotation: Any, value: Any) -> None:
    """Whatever the caller may read as the annotated type is right; what cannot be checked is not."""
    assert check(annotation, value) is None


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        (float, None, "Expected `float`, got `null`"),
        (float, "1", "Expected `float`, got `str`"),
        (list[int], [1, 1.5], r"Expected `int`, got `float` - at `\$\[1\]`"),
        (Point, {"y": 1}, "missing required field `x`"),
        (str, b"x", "it is bytes"),
        (bytes, "x", "it is JSON, not bytes"),
    ],
    ids=repr,
)
def test_another_result_does_not(annotation: Any, value: Any, words: str) -> None:
    """The reason names the place."""
    import re

    assert re.search(words, check(annotation, value) or "")


def test_a_stream_promises_its_chunks() -> None:
    """The annotation of a stream is that of a chunk."""

    def handler() -> Iterator[int]: ...

    checked = codec(handler).result_check()
    assert checked is not None
