"""Types that handlers take, and short ways to a codec, for the tests of the codec package."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, NotRequired, TypedDict

import msgspec
import pydantic
import pytest

from penstock.codec.codec import Codec, codec_for
from penstock.context import Context
from penstock.errors import InvalidRequest, MalformedRequest


class Point(msgspec.Struct):
    x: float
    y: float = 0.0


class Shape(msgspec.Struct, tag="shape", rename="camel"):
    side_length: float


@dataclasses.dataclass
class Box:
    width: int
    corner: Point | None = None


class Options(TypedDict):
    depth: int
    title: NotRequired[str]


class Relaxed(pydantic.BaseModel):
    size: int
    tags: list[int] = []


class Sealed(pydantic.BaseModel, extra="forbid"):
    size: int = 3


class Vain(msgspec.Struct):
    value: int

    def __post_init__(self) -> None:
        if self.value == 1:
            raise ValueError("one is not to my taste")
        if self.value == 2:
            raise LookupError("two")
        if self.value == 3:
            raise MalformedRequest("three")


class Name(str):
    __slots__ = ()


class Tensor:
    def tolist(self) -> list[float]: ...


class Colour(enum.Enum):
    RED = "red"


def codec(function: Any, *, batched: bool = False, namespace: dict[str, Any] | None = None) -> Codec:
    return codec_for(function, owner="endpoint 'it'", batched=batched, namespace=namespace)


def run(function: Any, body: bytes, context: Context | None = None) -> Any:
    its = codec(function)
    its.validate(body)
    return its.call(function, its.decode(body), context)


def misfit(function: Any, body: bytes, *, batched: bool = False) -> InvalidRequest:
    its = codec(function, batched=batched)
    with pytest.raises(InvalidRequest) as caught:
        its.decode(body)
    with pytest.raises(InvalidRequest) as validated:
        its.validate(body)
    assert (validated.value.errors, validated.value.status) == (caught.value.errors, caught.value.status)
    return caught.value


def square(input: float) -> float:
    return input**2


def join(first: str, second: int = 2, *, third: bool = False) -> tuple[str, int, bool]:
    return first, second, third


def encode_chunk(its: Codec, value: Any) -> bytes:
    """Encode a value as a chunk of a stream that the handler has returned."""
    stream = its.stream_of(iter(()))
    assert stream is not None
    return stream.encode(value)
