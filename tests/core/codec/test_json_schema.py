"""The JSON Schema of bodies and results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Annotated

import msgspec

from penstock.response import OCTETS, Response
from tests.core.codec.sample_types import Box, Point, Relaxed, codec


def test_schemas_describe_bodies_and_results() -> None:
    """The input schema describes the body; the output schema describes the result, one chunk or one item."""

    def chunks(n: Annotated[int, msgspec.Meta(ge=1)], p: Point | None = None) -> Iterator[Point]: ...

    async def tokens() -> AsyncIterator[str]:
        yield ""

    def batch(batch: list[float]) -> list[Relaxed]: ...

    schema = codec(chunks).input_schema()
    assert schema["properties"]["n"] == {"type": "integer", "minimum": 1}
    assert (schema["required"], schema["additionalProperties"]) == (["n"], False)
    assert "Point" in schema["$defs"]
    assert codec(chunks).output_schema()["properties"]["x"] == {"type": "number"}
    assert codec(tokens).output_schema() == {"type": "string"}
    assert codec(batch, batched=True).input_schema() == {"type": "number"}
    assert codec(batch, batched=True).output_schema()["properties"]["size"]["type"] == "integer"


def test_schemas_of_whole_bodies_are_as_strict_as_the_reader() -> None:
    """Unknown fields are refused, and the schema says so; a pydantic model has its own schema."""

    def box(b: Box) -> bytes: ...

    def model(r: Relaxed) -> Response: ...

    def nested(a: list[Relaxed], b: int) -> None: ...

    assert codec(box).input_schema()["additionalProperties"] is False
    assert codec(box).output_schema() == {"type": "string", "contentMediaType": OCTETS}
    assert codec(model).input_schema() == Relaxed.model_json_schema()
    assert codec(model).output_schema() == {}
    assert codec(nested).input_schema()["properties"]["a"]["type"] == "array"
    assert codec(nested).output_schema() == {"type": "null"}


def test_an_iterable_is_an_array_unless_it_is_streamed() -> None:
    """``-> Iterable[T]`` describes the chunks of a generator, and the whole result of any other handler."""

    def whole() -> Iterable[int]:
        return [1]

    def streamed() -> Iterable[int]:
        yield 1

    assert codec(whole).output_schema() == {"type": "array", "items": {"type": "integer"}}
    assert codec(streamed).output_schema() == {"type": "integer"}
