"""The annotation to write in place of one that JSON cannot be decoded into; and unions of models, which can be."""

from __future__ import annotations

import collections
import collections.abc
import datetime as dt
import enum
import fractions
import io
import pathlib
import typing
import zoneinfo
from decimal import Decimal
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
import pydantic
import pytest
from PIL import Image

from penstock import Tensor
from penstock.codec.codec import Codec
from penstock.errors import DeclarationError
from tests.core.codec import stand_ins
from tests.core.codec.sample_types import Colour, codec, misfit

NEW_YEAR = dt.datetime.fromisoformat("2026-01-02T03:04:05")


def codec_of(annotation: Any) -> Codec:
    def handler(it: Any, more: int = 0) -> None: ...

    handler.__annotations__["it"] = annotation
    return codec(handler)


@pytest.mark.parametrize(
    ("annotation", "body", "code", "value"),
    [
        (np.ndarray, b"[1.5]", "it", np.array([1.5])),
        (np.float32, b"1.5", "numpy.float32(it)", np.float32(1.5)),
        (np.int64, b"1", "numpy.int64(it)", np.int64(1)),
        (np.bool_, b"true", "numpy.bool_(it)", np.bool_(True)),
        (pathlib.Path, b'"a"', "pathlib.Path(it)", pathlib.Path("a")),
        (complex, b"[1,2]", "complex(*it)", 1 + 2j),
        (fractions.Fraction, b'"1/3"', "fractions.Fraction(it)", fractions.Fraction(1, 3)),
        (io.BytesIO, b'"YWI="', "io.BytesIO(it).read()", b"ab"),
        (BinaryIO, b'"YWI="', "io.BytesIO(it).read()", b"ab"),
        (zoneinfo.ZoneInfo, b'"UTC"', "zoneinfo.ZoneInfo(it)", zoneinfo.ZoneInfo("UTC")),
        (collections.deque[int], b"[1]", "collections.deque(it)", collections.deque([1])),
        (collections.abc.Iterable[int], b"[1]", "it", [1]),
        (collections.OrderedDict[str, int], b'{"a":1}', "it", {"a": 1}),
        (range, b"[1]", "it", [1]),
    ],
    ids=repr,
)
def test_the_advice_works(annotation: Any, body: bytes, code: str, value: Any) -> None:
    """The error names an annotation which JSON can be decoded into, and from which the type can be made."""
    with pytest.raises(DeclarationError, match="cannot be decoded from JSON; use ") as caught:
        codec_of(annotation)
    advised = str(caught.value).rpartition("; use ")[2].split(" (or ")[0].split(" and ")[0].rstrip(",")
    its = codec_of(eval(advised, globals() | {"numpy": np, "Tensor": Tensor}))
    decoded = its.call(lambda it, _: it, its.decode(b'{"it":' + body + b"}"))
    names = {"it": decoded, "numpy": np, "pathlib": pathlib, "fractions": fractions, "io": io, "zoneinfo": zoneinfo}
    assert eval(code, names | {"collections": collections}) == value


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (stand_ins.DataFrame, r"use list\[dict\[str, Any\]\], and write pandas.DataFrame\(it\)"),
        (stand_ins.Timestamp, r"use datetime.datetime, and write pandas.Timestamp\(it\)"),
        (stand_ins.Tensor, r"use list\[float\] \(or bytes\) and create the array"),
        (Image.Image, r"use bytes, and write PIL.Image.open\(io.BytesIO\(it\)\)"),
        (list[np.ndarray], r"use Annotated\[numpy.ndarray, Tensor"),
        (enum.Enum("Mixed", {"A": "a", "B": 1.5}), "Enums must contain either all str or all int values"),
        (typing.Callable[[int], int], "use built-in types, a struct"),
    ],
    ids=repr,
)
def test_what_cannot_be_decoded_is_refused(annotation: Any, words: str) -> None:
    """The error says what to write instead."""
    with pytest.raises(DeclarationError, match=words):
        codec_of(annotation)


@pytest.mark.parametrize(
    ("annotation", "body", "value"),
    [
        (Decimal, b"1.10", Decimal("1.10")),
        (Decimal, b'"1.10"', Decimal("1.10")),
        (Colour, b'"red"', Colour.RED),
        (Literal["a", 1], b"1", 1),
        (dt.datetime, b'"2026-01-02T03:04:05"', NEW_YEAR),
        (dt.datetime, b'"2026-01-02T03:04:05Z"', NEW_YEAR.replace(tzinfo=dt.UTC)),
        (int, b"123456789012345678901234567890", 123456789012345678901234567890),
    ],
    ids=repr,
)
def test_values_are_decoded_exactly(annotation: Any, body: bytes, value: Any) -> None:
    """A decimal keeps its digits, an integer its size, and a time has a zone only if the caller has sent one."""
    its = codec_of(annotation)
    decoded = its.call(lambda it, _: it, its.decode(b'{"it":' + body + b"}"))
    assert decoded == value
    assert str(decoded) == str(value)


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = []


Pet = Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]


@pytest.mark.parametrize("annotation", [Cat | Dog, Pet, Cat | Dog | str], ids=["plain", "discriminated", "text"])
def test_a_union_of_models_is_decoded(annotation: Any) -> None:
    """Handlers may take one of several models, which msgspec alone does not support."""

    def handler(pet: Any) -> None: ...

    handler.__annotations__["pet"] = annotation
    its = codec(handler)
    assert its.call(lambda pet: pet, its.decode(b'{"pet":{"kind":"dog"}}')) == Dog(kind="dog")
    assert {
        error["path"].partition(".lives")[1] for error in misfit(handler, b'{"pet":{"kind":"cat","lives":"x"}}').errors
    }
    assert b"Dog" in repr(its.input_schema()).encode()


def test_models_inside_a_list_may_be_of_several_kinds() -> None:
    """The union may be anywhere in the annotation."""

    def handler(pets: list[Pet], name: str = "") -> None: ...

    its = codec(handler)
    pets, _ = its.call(lambda *arguments: arguments, its.decode(b'{"pets":[{"kind":"dog"},{"kind":"cat"}]}'))
    assert pets == [Dog(kind="dog"), Cat(kind="cat")]
    assert misfit(handler, b'{"pets":[{"kind":"cow"}]}').errors[0]["path"].startswith("$.pets[0]")
