"""Results against the return annotation."""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pydantic
import pytest

from penstock.codec.codec import codec_for
from penstock.codec.encoding import ResultEncoder
from penstock.response import Response
from tests.core.codec.sample_types import Box, Colour, Options, Point, Relaxed, Sealed, Tensor, codec

calls: list[str] = []


class Doubled(pydantic.BaseModel):
    x: int

    @pydantic.computed_field  # type: ignore[prop-decorator] # as pydantic's documentation says
    @property
    def twice(self) -> int:
        return 2 * self.x


class Aliased(pydantic.BaseModel, populate_by_name=True):
    some_name: int = pydantic.Field(alias="someName")


class ByAlias(Aliased, serialize_by_alias=True): ...


class Mixed(pydantic.BaseModel):
    inner: ByAlias
    other: Aliased


class Hiding(pydantic.BaseModel):
    shown: int
    hidden: int = pydantic.Field(exclude=True)


class Terse(pydantic.BaseModel):
    x: int | None = None
    y: int = 1

    def model_dump(self, **options: Any) -> Any:
        return super().model_dump(exclude={"y"}, **options)


class Listed(pydantic.BaseModel):
    x: int

    @pydantic.model_serializer
    def as_list(self) -> list[int]:
        return [self.x]


class Vague(pydantic.BaseModel):
    x: int

    @pydantic.field_serializer("x")
    def as_text(self, x: int):  # type: ignore[no-untyped-def] # the rule is about this
        return str(x)


class Logarithmic(pydantic.BaseModel):
    x: Annotated[float, pydantic.Field(gt=0)]

    @pydantic.field_validator("x")
    @classmethod
    def log(cls, x: float) -> float:
        calls.append("validator")
        return math.log(x)


class Shrinking(msgspec.Struct):
    x: float

    def __post_init__(self) -> None:
        calls.append("post_init")
        if self.x <= 0:
            raise ValueError("only once")
        self.x = -math.log(self.x)


@dataclasses.dataclass
class Holder:
    model: Relaxed


class Envelope(msgspec.Struct):
    model: Relaxed
    again: Relaxed | None = None


@pydantic.dataclasses.dataclass
class Positive:
    x: float = pydantic.Field(ge=0, alias="ex")


class Tagged(pydantic.BaseModel):
    kind: Literal["tagged"] = "tagged"


class Tree(pydantic.BaseModel):
    value: int
    children: list[Tree] = []


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
        (Relaxed, Relaxed(size=1)),
        (Relaxed, {"size": 1}),
        (Relaxed | None, None),
        (Relaxed | Doubled, Doubled(x=1)),
        (list[Relaxed | Doubled], [Doubled(x=1), Relaxed(size=1)]),
        (dict[str, Relaxed | str], {"a": Relaxed(size=1), "b": "c"}),
        (Doubled, Doubled(x=1)),
        (Aliased, Aliased(some_name=1)),
        (ByAlias, ByAlias(some_name=1)),
        (Mixed, Mixed(inner=ByAlias(some_name=1), other=Aliased(some_name=2))),
        (Hiding, Hiding(shown=1, hidden=2)),
        (Terse, Terse()),
        (Listed, Listed(x=1)),
        (Vague, Vague(x=1)),
        (Logarithmic, Logarithmic(x=0.5)),
        (Holder, Holder(Relaxed(size=1))),
        (Envelope, Envelope(Relaxed(size=1))),
        (Positive, Positive(ex=0.5)),
        (Tree, Tree(value=1, children=[Tree(value=2)])),
        (Annotated[float, pydantic.Field(ge=0)], 1.5),
        (pydantic.PositiveInt, 2**70),
        (Shrinking, Shrinking(2.0)),
        (Response | Relaxed, Response({"a": 1})),
        (Iterable[int], [1, 2]),
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
        (Relaxed, {"anything": 1}, "missing required field `size`"),
        (Relaxed | None, 3, r"Expected `object`, got `integer` - at `\$`"),
        (Relaxed | Doubled, {"size": "a"}, r"Expected `integer`, got `string` - at `\$\.size`"),
        (list[Relaxed], [Relaxed(size=1), {"size": None}], r"Expected `integer`, got `null` - at `\$\[1\]\.size`"),
        (dict[str, Relaxed | str], {"a": 1}, r"got `integer` - at `\$\.a`"),
        (Doubled, {"x": 1}, "missing required field `twice`"),
        (ByAlias, {"someName": "a"}, r"at `\$\.someName`"),
        (Aliased, {"some_name": "a"}, r"at `\$\.some_name`"),
        (Sealed, {"size": 1, "colour": 2}, "unknown field `colour`"),
        (Listed, {"x": 1}, "Expected `array`, got `object`"),
        (Logarithmic, {"x": True}, r"Expected `number`, got `boolean` - at `\$\.x`"),
        (Holder, {"model": {"size": 1.5}}, r"Expected `integer`, got `number` - at `\$\.model\.size`"),
        (Envelope, {"model": {}}, r"missing required field `size` - at `\$\.model`"),
        (Positive, {"x": "a"}, r"Expected `float`, got `str` - at `\$\.x`"),
        (Tree, {"value": 1, "children": [{"value": None}]}, r"at `\$\.children\[0\]\.value`"),
        (Tagged, {"kind": "other"}, r"Invalid enum value 'other' - at `\$\.kind`"),
        (tuple[Relaxed, int], [Relaxed(size=1)], "at least length 2, got 1"),
        (pydantic.PositiveInt, "a", "Expected `int`, got `str`"),
        (Shrinking, {"x": "a"}, r"Expected `number`, got `string` - at `\$\.x`"),
        (Iterable[int], [1, "a"], r"Expected `int`, got `str` - at `\$\[1\]`"),
        (str, b"x", "it is bytes"),
        (bytes, "x", "it is JSON, not bytes"),
    ],
    ids=repr,
)
def test_another_result_does_not(annotation: Any, value: Any, words: str) -> None:
    """The reason names the place."""
    assert re.search(words, check(annotation, value) or "")


def test_no_code_of_the_user_runs_in_a_check() -> None:
    """Validators and ``__post_init__`` may have side effects, and may refuse what they have made."""
    made = [Shrinking(8.0), Logarithmic(x=0.5)]
    calls.clear()
    assert check(Shrinking, made[0]) is None
    assert check(Logarithmic, made[1]) is None
    assert calls == []


@pytest.mark.parametrize("model", [lambda: Terse, lambda: Vague, lambda: Mixed, lambda: list[Terse]])
def test_what_the_schema_does_not_describe_is_not_checked(model: Any) -> None:
    """Not a model with its own ``model_dump``, a serialiser without an annotation, or aliases in some parts only."""

    def handler() -> None: ...

    handler.__annotations__["return"] = model()
    assert codec(handler).result_check() is None


def test_the_schema_shows_the_names_that_are_written() -> None:
    """Models are written with names, not aliases, unless a model asks for aliases; a union is described as well."""

    def handler() -> None: ...

    def schema_of(annotation: Any) -> Any:
        handler.__annotations__["return"] = annotation
        return codec(handler).output_schema()

    assert list(schema_of(Aliased)["properties"]) == ["some_name"]
    assert list(schema_of(ByAlias)["properties"]) == ["someName"]
    assert [part["$ref"] for part in schema_of(Relaxed | Doubled)["anyOf"]] == ["#/$defs/Relaxed", "#/$defs/Doubled"]


def test_a_stream_promises_its_chunks() -> None:
    """The annotation of a stream is that of a chunk."""

    def handler() -> Iterator[int]: ...

    checked = codec(handler).result_check()
    assert checked is not None


@pytest.mark.parametrize(
    "annotation",
    [
        Iterator[int],
        Iterable[int],
        Generator[int, None, str],
        AsyncIterator[int],
        AsyncIterable[int],
        AsyncGenerator[int, None],
        typing.Iterator[int],
        typing.Generator[int, None, None],
        typing.AsyncIterator[int],
    ],
    ids=repr,
)
def test_chunks_are_checked(annotation: Any) -> None:
    """Each kind of stream has a check of its chunks."""

    def handler() -> None: ...

    handler.__annotations__["return"] = annotation
    checked = codec(handler).chunk_check()
    assert checked is not None
    assert checked(b"1") is None
    assert checked(b'"a"') == "Expected `int`, got `str`"


def test_chunks_of_models_are_checked() -> None:
    """A chunk may be a model, or one of several; and None, if the stream says so."""

    def handler() -> Iterator[Relaxed | Doubled | None]: ...

    checked = codec(handler).chunk_check()
    assert checked is not None
    assert checked(b'{"size":1}') is checked(b"null") is None
    assert "missing required field" in (checked(b'{"colour":1}') or "")

    def nothing() -> Iterator[None]: ...

    checked = codec(nothing).chunk_check()
    assert checked is not None
    assert checked(b"null") is None
    assert checked(b"1") is not None


@pytest.mark.parametrize(
    "annotation",
    [
        int,
        list[int],
        Any,
        Iterator[Any],
        Iterator,
        typing.Iterator,
        typing.Generator,
        Iterator[bytes],
        Iterator[Tensor],
    ],
    ids=repr,
)
def test_other_annotations_promise_nothing_of_chunks(annotation: Any) -> None:
    """There is no check if the annotation is not that of a stream, or does not say of what; nor for raw chunks."""

    def handler() -> None: ...

    handler.__annotations__["return"] = annotation
    assert codec(handler).chunk_check() is None

    def raw() -> Iterator[str]: ...

    assert codec_for(raw, owner="it", batched=False, results=ResultEncoder(media_type="text/csv")).chunk_check() is None
