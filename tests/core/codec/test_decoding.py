"""Reading bodies: fields, whole bodies and raw bodies, and the errors of those that do not fit."""

from __future__ import annotations

import contextlib
import json
import math
import threading
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.context import Context
from penstock.errors import HandlerError, InvalidRequest, MalformedRequest
from penstock.response import OCTETS
from tests.core.codec.sample_types import (
    Box,
    Options,
    Point,
    Relaxed,
    Sealed,
    Shape,
    Vain,
    codec,
    join,
    misfit,
    run,
    square,
)

# ---- fields


def test_parameters_are_the_fields_of_the_body() -> None:
    """A body's fields are the arguments of the same names, whatever their order; defaults fill in for absent ones."""
    assert run(square, b'{"input": 4}') == 16.0
    assert run(join, b'{"third": true, "first": "a"}') == ("a", 2, True)
    assert run(join, b'{"second": 5, "first": "a"}') == ("a", 5, False)


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        (b'{"input": "four"}', "$.input", "Expected `float`, got `str`"),
        (b"{}", "$.input", "required but missing"),
        (b'{"input": 1, "inptu": 2}', "$.inptu", "unknown field"),
        (b'{"input": 1e400}', "$.input", "Number out of range"),
        (b'{"input": null}', "$.input", "Expected `float`, got `null`"),
    ],
)
def test_a_misfit_names_the_field(body: bytes, path: str, reason: str) -> None:
    """Wrong types, missing fields and unknown fields are a 422 with the field's path and name."""
    error = misfit(square, body)
    assert (error.status, error.errors) == (422, [{"path": path, "reason": reason}])
    assert error.param == path.removeprefix("$.")
    assert path in error.detail


def test_a_misfit_deep_inside_names_the_way_to_it() -> None:
    """``param`` is the parameter, ``path`` leads to the value."""

    def handler(rows: list[Point]) -> None: ...

    error = misfit(handler, b'{"rows": [{"x": 1}, {"x": "a"}]}')
    assert (error.param, error.errors[0]["path"]) == ("rows", "$.rows[1].x")
    missing = misfit(handler, b'{"rows": [{}]}')
    assert (missing.param, missing.errors[0]["path"]) == ("rows", "$.rows[0].x")


def test_a_body_that_is_no_object_is_a_misfit() -> None:
    """JSON that is not an object is a 422 with the root as its path."""
    error = misfit(square, b"[1]")
    assert (error.status, error.param, error.errors[0]["path"]) == (422, None, "$")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"{",
        b'{"input": NaN}',
        b'{"input": Infinity}',
        b'{"input": 1} x',
        b"{'input': 1}",
        b'{"input": "\xff"}',
        b'{"input": "\\ud800"}',
        b"\xff\xfe",
        b'{"input": "text", ',
        b"[" * 200_000,
        b'{"input": ' + b"[" * 200_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_not_json_is_a_400(body: bytes) -> None:
    """Bad syntax, bad UTF-8 and bottomless nesting are a 400, even where a misfit comes first."""
    assert misfit(square, body).status == 400


def test_a_name_as_long_as_a_book_is_cut() -> None:
    """Input that an error quotes is cut to a limited length."""
    error = misfit(square, b'{"' + b"n" * 100_000 + b'": 1}')
    assert len(error.errors[0]["path"]) < 300
    assert len(error.detail) < 400


@given(st.binary(max_size=40) | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(repr).map(str.encode))
def test_no_body_makes_it_fail_otherwise(body: bytes) -> None:
    """Every body is decoded or refused as an invalid request."""
    with contextlib.suppress(InvalidRequest):
        codec(square).validate(body)


@given(st.text(min_size=1, max_size=20))
def test_any_unknown_name_is_refused(name: str) -> None:
    """An unknown field is a 422 under any name, quotes and dollars included."""
    its = codec(square)
    if name == "input":
        return
    with pytest.raises(InvalidRequest) as caught:
        its.validate(json.dumps({"input": 1, name: 2}, ensure_ascii=True).encode())
    assert caught.value.status == 422


def test_numbers_of_any_size_are_read_or_refused() -> None:
    """A number never causes a crash."""

    def handler(n: int) -> int:
        return n

    assert run(handler, b'{"n": ' + b"9" * 400 + b"}") == int("9" * 400)
    assert misfit(handler, b'{"n": ' + b"9" * 100_000 + b"}").status == 422


def test_an_unannotated_parameter_takes_anything() -> None:
    """No annotation is ``Any``, and so is ``object``."""

    def handler(a, b: object = None):
        return a, b

    assert run(handler, b'{"a": [1, {"b": null}], "b": "x"}') == ([1, {"b": None}], "x")


def test_constraints_are_kept() -> None:
    """``Annotated[..., Meta(...)]`` is checked, with postponed annotations too."""

    def handler(n: Annotated[int, msgspec.Meta(ge=1)]) -> int:
        return n

    assert run(handler, b'{"n": 1}') == 1
    assert misfit(handler, b'{"n": 0}').errors == [{"path": "$.n", "reason": "Expected `int` >= 1"}]


def test_an_empty_body_counts_as_an_empty_object_where_nothing_is_required() -> None:
    """An empty body is accepted where ``{}`` is, and is a 400 elsewhere."""

    def nothing() -> str:
        return "done"

    def optional(a: int = 1) -> int:
        return a

    assert run(nothing, b"") == "done"
    assert run(nothing, b"{}") == "done"
    assert run(optional, b"") == 1
    assert misfit(nothing, b'{"a": 1}').param == "a"
    assert misfit(square, b"").detail == "the body is empty; send JSON"


def test_a_mutable_default_is_not_shared() -> None:
    """A change that one request makes to a default is not visible to the next."""

    def handler(items: list[int] = [1], names: dict[str, int] = {}) -> Any:  # noqa: B006 - shared mutable defaults are the point
        items.append(2)
        names["x"] = 1
        return items

    assert run(handler, b"{}") == [1, 2]
    assert run(handler, b"{}") == [1, 2]


def test_any_default_will_do() -> None:
    """A default that has no JSON form, or cannot be copied, is passed unchanged."""
    lock = threading.Lock()
    sentinel = object()

    def handler(a: Any = lock, b: float = math.nan, c: Any = sentinel) -> Any:
        return a, b, c

    assert math.isnan(run(handler, b"")[1])
    assert run(handler, b"")[0] is lock
    assert set(codec(handler).input_schema()["properties"]) == {"a", "b", "c"}


def test_a_lambda_is_a_function_too() -> None:
    """A handler without a name of its own is served, too."""
    assert run(lambda x: [x], b'{"x": 1}') == [1]


def test_any_python_name_is_a_field_name() -> None:
    """Parameters may have names that are special in a class."""

    def handler(__post_init__: int, __private: int, self: int, *, type: int = 4) -> Any:
        return __post_init__, __private, self, type

    assert run(handler, b'{"__post_init__": 1, "__private": 2, "self": 3}') == (1, 2, 3, 4)
    assert misfit(handler, b'{"__post_init__": 1, "__private": "x", "self": 3}').param == "__private"


def test_malformed_is_a_kind_of_invalid() -> None:
    """Code that catches ``InvalidRequest`` catches the 400, too."""
    with pytest.raises(MalformedRequest):
        codec(square).decode(b"{")


# ---- whole bodies


def test_one_struct_is_the_whole_body() -> None:
    """A single parameter of a struct type takes the body itself: Struct, dataclass, TypedDict, pydantic model."""

    def point(p: Point) -> Any:
        return p

    def box(b: Box) -> Any:
        return b

    def options(*, o: Options) -> Any:
        return o

    def relaxed(r: Relaxed) -> Any:
        return r

    def shape(s: Shape) -> Any:
        return s

    assert run(point, b'{"x": 1}') == Point(1.0)
    assert run(box, b'{"width": 1, "corner": {"x": 2, "more": 3}}') == Box(1, Point(2.0))
    assert run(options, b'{"depth": 1}') == {"depth": 1}
    assert run(relaxed, b'{"size": 1, "unknown": 2}') == Relaxed(size=1)
    assert run(shape, b'{"type": "shape", "sideLength": 2}') == Shape(2.0)


def test_a_whole_body_refuses_unknown_fields() -> None:
    """Struct, dataclass and TypedDict refuse unknown fields; a pydantic model follows its own setting."""

    def point(p: Point) -> None: ...

    def box(b: Box) -> None: ...

    def options(o: Options) -> None: ...

    def sealed(s: Sealed) -> None: ...

    def shape(s: Shape) -> None: ...

    assert misfit(point, b'{"x": 1, "z": 2}').errors == [{"path": "$.z", "reason": "unknown field"}]
    assert misfit(box, b'{"width": 1, "z": 2}').param == "z"
    assert misfit(options, b'{"depth": 1, "z": 2}').param == "z"
    assert misfit(sealed, b'{"size": 1, "z": 2}').param == "z"
    assert misfit(shape, b'{"type": "shape", "side_length": 2}').param == "side_length"
    assert misfit(point, b"[1]").errors[0]["path"] == "$"


def test_pydantic_errors_have_the_same_shape() -> None:
    """Every error that pydantic finds is reported with its path; a body that is not JSON is a 400 here, too."""

    def handler(r: Relaxed) -> None: ...

    error = misfit(handler, b'{"size": "x", "tags": [1, "y"]}')
    assert [fault["path"] for fault in error.errors] == ["$.size", "$.tags[1]"]
    assert (error.status, error.param) == (422, "size")
    for body in (b'{"size": NaN}', b"{", b"", b'{"size": "\xff"}', b"[" * 200_000):
        assert misfit(handler, body).status == 400
    many = misfit(handler, b'{"size": 1, "tags": [' + b",".join([b'"x"'] * 1000) + b"]}")
    assert len(many.errors) == 50


def test_pydantic_models_may_be_parts() -> None:
    """A pydantic model inside another type is validated by pydantic, and its errors have the whole path."""

    def handler(models: list[Relaxed], factor: int = 1) -> Any:
        return models

    assert run(handler, b'{"models": [{"size": 1}]}') == [Relaxed(size=1)]
    error = misfit(handler, b'{"models": [{"size": 1}, {"size": "x", "tags": [[]]}]}')
    assert [fault["path"] for fault in error.errors] == ["$.models[1].size", "$.models[1].tags[0]"]
    assert error.param == "models"


def test_two_structs_are_two_fields() -> None:
    """With more than one parameter, a struct is a field like any other."""

    def handler(a: Point, b: Point) -> Any:
        return a, b

    assert run(handler, b'{"a": {"x": 1}, "b": {"x": 2}}') == (Point(1.0), Point(2.0))


def test_a_default_of_a_whole_body_is_used_for_an_empty_one() -> None:
    """If the parameter has a default, an empty body means that default."""

    def handler(p: Point = Point(7.0)) -> Any:  # noqa: B008 - a default of a user's own type
        return p

    def optional(s: Sealed) -> Any:
        return s

    assert run(handler, b"") == Point(7.0)
    assert run(optional, b"") == Sealed(size=3)


def test_complaints_of_a_type_are_misfits_and_its_bugs_are_not() -> None:
    """A ValueError of ``__post_init__`` is a 422, Penstock's errors pass through, all else is a handler error."""

    def handler(v: Vain) -> None: ...

    assert misfit(handler, b'{"value": 1}').errors[0]["reason"] == "one is not to my taste"
    with pytest.raises(HandlerError, match="LookupError") as caught:
        codec(handler).validate(b'{"value": 2}')
    assert caught.value.exception_type == "LookupError"
    assert misfit(handler, b'{"value": 3}').detail == "three"


# ---- raw bodies


def test_one_bytes_parameter_is_the_raw_body() -> None:
    """A lone ``bytes`` parameter receives the body unchanged, beside a Context too, and within its limits."""

    def handler(image: bytes, context: Context) -> Any:
        return image, context

    def short(image: Annotated[bytes, msgspec.Meta(max_length=2)]) -> bytes:
        return image

    context = Context(job_id="j")
    assert codec(handler).reads == "bytes"
    assert run(handler, b"\xff\x00", context) == (b"\xff\x00", context)
    assert run(handler, b"", context) == (b"", context)
    assert run(short, b"{x") == b"{x"
    assert misfit(short, b"{xy").status == 422
    assert codec(handler).input_schema() == {"type": "string", "contentMediaType": OCTETS}


def test_bytes_among_others_are_base64() -> None:
    """Beside other parameters, ``bytes`` is a field in base64."""

    def handler(image: bytes, n: int) -> Any:
        return image, n

    assert codec(handler).reads == "json"
    assert run(handler, b'{"image": "YWI=", "n": 1}') == (b"ab", 1)
