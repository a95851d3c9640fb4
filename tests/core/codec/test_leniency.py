"""Bodies that JSON Schema or the usual clients consider right, although msgspec does not."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from tests.core.codec.sample_types import Box, Point, misfit, run

PICTURE = bytes(range(256))
STANDARD = base64.b64encode(PICTURE).decode()


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    lives: float


@pytest.mark.parametrize(
    ("annotation", "value", "result"),
    [
        (int, b"1.0", 1),
        (int, b"1e3", 1000),
        (int | None, b"2.0", 2),
        (list[int], b"[1.0, 2, 3.0]", [1, 2, 3]),
        (tuple[int, float], b"[1.0, 1.0]", (1, 1.0)),
        (dict[str, int], b'{"a": 1.0}', {"a": 1}),
        (Box, b'{"width": 3.0}', Box(3)),
        (list[Box], b'[{"width": 3.0, "corner": {"x": 1.0}}]', [Box(3, Point(1.0))]),
        (Cat | Dog, b'{"type": "Cat", "lives": 9.0}', Cat(9)),
        (list[Cat | Dog], b'[{"type": "Cat", "lives": 9.0}, {"type": "Dog", "lives": 1.0}]', [Cat(9), Dog(1.0)]),
    ],
)
def test_an_integral_number_is_an_integer(annotation: Any, value: bytes, result: Any) -> None:
    """``1.0`` is accepted for ``int`` at any depth, and stays a float where a float is wanted."""

    def handler(it, other: int = 1) -> Any:
        return it

    handler.__annotations__["it"] = annotation
    got = run(handler, b'{"it": ' + value + b"}")
    assert (got, repr(got)) == (result, repr(result))


def test_other_numbers_are_no_integers() -> None:
    """``1.5`` and text are still refused, with the path; so is another misfit of a body with an integral float."""

    def handler(n: int, m: int = 0) -> int:
        return n

    assert misfit(handler, b'{"n": 1.5}').errors == [{"path": "$.n", "reason": "Expected `int`, got `float`"}]
    assert misfit(handler, b'{"n": "1"}').param == "n"
    assert misfit(handler, b'{"n": 1.0, "m": "x"}').param == "m"
    assert misfit(handler, b'{"n": 1.0, "other": 1}').param == "other"
    assert misfit(handler, b'{"n": 1.0, ').status == 400


@pytest.mark.parametrize(
    "text",
    [
        STANDARD,
        f"data:image/png;base64,{STANDARD}",
        STANDARD.replace("+", "-").replace("/", "_"),
        STANDARD.replace("+", "-").replace("/", "_").rstrip("="),
        "\\r\\n".join(STANDARD[start : start + 76] for start in range(0, len(STANDARD), 76)),
        "data:;base64," + STANDARD.replace("+", "-"),
    ],
)
def test_base64_of_every_usual_kind_is_read(text: str) -> None:
    """A ``data:`` prefix, URL-safe letters, line breaks and missing padding are accepted."""

    def handler(picture: bytes, others: list[bytes] = []) -> Any:  # noqa: B006 - defaults are copied
        return picture, others

    body = f'{{"picture": "{text}", "others": ["{text}"]}}'.encode()
    assert run(handler, body) == (PICTURE, [PICTURE])


def test_what_is_not_base64_is_refused() -> None:
    """Other text is a misfit."""

    def handler(picture: bytes, n: int = 0) -> Any:
        return picture

    assert misfit(handler, b'{"picture": "not base64!"}').param == "picture"
