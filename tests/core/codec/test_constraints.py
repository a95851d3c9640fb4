"""Constraints and defaults in the words of pydantic and annotated_types are obeyed, or refused at declaration."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated, Any

import annotated_types
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from typing_extensions import TypedDict

from penstock.errors import DeclarationError
from tests.core.codec.sample_types import codec, misfit, run


def _upper(text: str) -> str:
    if text == "bad":
        raise ValueError("this word is not accepted")
    return text.upper()


Name = Annotated[str, pydantic.AfterValidator(_upper)]


@pydantic.dataclasses.dataclass
class Checked:
    x: float = pydantic.Field(0.5, ge=0)


@dataclasses.dataclass
class Plain:
    x: Annotated[float, pydantic.Field(ge=0)] = 0.5
    names: list[Name] = dataclasses.field(default_factory=list)


class Table(TypedDict):
    x: pydantic.PositiveFloat


class Struct(msgspec.Struct):
    x: Annotated[float, pydantic.Field(ge=0)] = 0.5


def by_default(x: float = pydantic.Field(0.5, ge=0)) -> Any:
    return x


def in_annotation(x: Annotated[float, pydantic.Field(ge=0)] = 0.5) -> Any:
    return x


def default_in_annotation(x: Annotated[float, pydantic.Field(default=0.5, ge=0)]) -> Any:
    return x


def by_annotated_types(x: Annotated[float, annotated_types.Ge(0)] = 0.5) -> Any:
    return x


@pytest.mark.parametrize("handler", [by_default, in_annotation, default_in_annotation, by_annotated_types])
def test_a_constraint_is_enforced_and_in_the_schema(handler: Any) -> None:
    """However a bound and a default are written, they hold, and the schema has both."""
    assert run(handler, b"{}") == 0.5
    assert run(handler, b'{"x": 2}') == 2.0
    error = misfit(handler, b'{"x": -1}')
    assert (error.status, error.param, error.errors[0]["path"]) == (422, "x", "$.x")
    schema = codec(handler).input_schema()
    assert (schema["properties"]["x"]["minimum"], schema["properties"]["x"]["default"]) == (0, 0.5)
    assert "required" not in schema or schema["required"] == []


def test_validators_run_and_may_change_the_value() -> None:
    """``AfterValidator`` is called, at the top and inside containers; its complaint is a 422 with the path."""

    def handler(name: Name, names: list[Name] = []) -> Any:  # noqa: B006 - defaults are copied
        return name, names

    assert run(handler, b'{"name": "a", "names": ["b"]}') == ("A", ["B"])
    assert misfit(handler, b'{"name": "bad"}').param == "name"
    assert misfit(handler, b'{"name": "a", "names": ["b", "bad"]}').errors[0]["path"] == "$.names[1]"


@pytest.mark.parametrize("kind", [Checked, Plain, Table])
def test_constraints_inside_a_whole_body_are_enforced(kind: Any) -> None:
    """Dataclasses of both kinds and TypedDicts keep the constraints of their fields, as a body and as parts of one."""

    def whole(body) -> Any:
        return body

    def part(body, other: int = 1) -> Any:
        return body

    whole.__annotations__["body"] = kind
    part.__annotations__["body"] = kind
    assert misfit(whole, b'{"x": -1}').errors[0]["path"] == "$.x"
    assert misfit(part, b'{"body": {"x": -1}}').errors[0]["path"] == "$.body.x"
    value = run(whole, b'{"x": 1}')
    assert (value["x"] if kind is Table else value.x) == 1.0


def test_an_unknown_field_is_refused_with_constraints_too() -> None:
    """A plain dataclass as the whole body refuses unknown fields, also if pydantic validates it."""

    def handler(body: Plain) -> Any:
        return body

    assert misfit(handler, b'{"x": 1, "y": 2}').param == "y"
    assert codec(handler).input_schema()["additionalProperties"] is False


def test_batches_and_raw_bodies_keep_their_constraints() -> None:
    """The items of a batch are constrained, and so is a raw body."""

    def batch(items: list[pydantic.PositiveFloat]) -> Any:
        return items

    def raw(body: Annotated[bytes, pydantic.Field(max_length=3)]) -> Any:
        return body

    assert misfit(batch, b"-1", batched=True).status == 422
    assert run(raw, b"abc") == b"abc"
    assert misfit(raw, b"abcd").status == 422


def test_a_factory_makes_a_value_for_each_call() -> None:
    """``Field(default_factory=list)`` is called for each request that omits the field."""

    def handler(items: list[int] = pydantic.Field(default_factory=list)) -> Any:  # noqa: B008 - pydantic is used like this
        items.append(1)
        return items

    assert run(handler, b"{}") == [1]
    assert run(handler, b"{}") == [1]


def test_types_of_pydantic_may_be_parameters() -> None:
    """A class that pydantic knows how to validate is a type like any other."""

    def handler(key: pydantic.SecretStr) -> str:
        return key.get_secret_value()

    assert run(handler, b'{"key": "s3"}') == "s3"


def test_definitions_of_parts_are_found() -> None:
    """The schema of a part that refers to models has their definitions where it refers to."""

    class Inner(pydantic.BaseModel):
        n: int

    class Outer(pydantic.BaseModel):
        inner: Inner

    def handler(outer, second: int = 1) -> Any:
        return outer

    handler.__annotations__["outer"] = Outer
    schema = codec(handler).input_schema()
    inner = next(iter(schema["$defs"].values()))
    assert inner["properties"]["n"]["type"] == "integer"
    (reference,) = {f"#/$defs/{name}" for name in schema["$defs"]}
    assert reference in msgspec.json.encode(schema["properties"]).decode()


def test_metadata_for_others_is_ignored() -> None:
    """Text, and other libraries' metadata, are not constraints."""

    def handler(x: Annotated[float, "metres", object()]) -> float:
        return x

    assert run(handler, b'{"x": 1}') == 1.0


def _mixed(x: Annotated[int, msgspec.Meta(ge=1), annotated_types.Le(9)]) -> Any: ...


def _in_struct(body: Struct) -> Any: ...


def _alias(x: float = pydantic.Field(0.5, alias="y")) -> Any: ...


def _dataclass_field(x: float = dataclasses.field(default=0.5)) -> Any: ...


def _any_field(x: Any = msgspec.field(default=1)) -> Any: ...  # noqa: B008 - pydantic is used like this


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (_mixed, "one of them would not be enforced"),
        (_in_struct, "one of them would not be enforced"),
        (_alias, "cannot rename a parameter"),
        (_dataclass_field, "write the value itself"),
        (_any_field, "write the value itself"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(handler: Any, words: str) -> None:
    """A constraint or default that would be dropped is a ``DeclarationError`` that names the parameter."""
    with pytest.raises(DeclarationError, match=words) as caught:
        codec(handler)
    assert "parameter `" in str(caught.value)


def test_without_pydantic_its_constraints_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Penstock does not import pydantic; ``annotated_types`` alone is refused, with what to write."""
    monkeypatch.delitem(sys.modules, "pydantic")
    with pytest.raises(DeclarationError, match=r"write msgspec\.Meta"):
        codec(by_annotated_types)


# ---- defaults that do not match


@dataclasses.dataclass
class Wrong:
    size: int = None  # type: ignore[assignment]


class WrongStruct(msgspec.Struct):
    size: int = "one"  # type: ignore[assignment] # wrong on purpose


def _none(x: float = None) -> Any: ...  # type: ignore[assignment] # noqa: RUF013 - wrong on purpose


def _text(x: int = "1") -> Any: ...  # type: ignore[assignment] # wrong on purpose


def _ellipsis(x: int = ...) -> Any: ...


def _out_of_bounds(x: Annotated[int, msgspec.Meta(ge=1)] = 0) -> Any: ...


def _field_out_of_bounds(x: int = pydantic.Field(0, ge=1)) -> Any: ...


def _whole(body: Wrong) -> Any: ...


def _part(n: int, body: list[WrongStruct]) -> Any: ...


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (_none, r"parameter `x`: the default None is not a `float`; write `\| None`"),
        (_text, "parameter `x`: the default '1' is not a `int`"),
        (_ellipsis, "the default Ellipsis"),
        (_out_of_bounds, "the default 0 is not"),
        (_field_out_of_bounds, "the default 0 is not"),
        (_whole, "field `size` of Wrong: the default None"),
        (_part, "field `size` of WrongStruct: the default 'one'"),
    ],
)
def test_a_default_that_does_not_match_is_refused(handler: Any, words: str) -> None:
    """A default is a value of its annotation, in parameters and in the fields of their types."""
    with pytest.raises(DeclarationError, match=words):
        codec(handler)
