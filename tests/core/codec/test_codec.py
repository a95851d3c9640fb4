from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import json
import math
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from penstock.codec.codec import Codec, codec_for
from penstock.context import Context
from penstock.errors import DeclarationError, HandlerError, InvalidRequest, MalformedRequest
from penstock.response import OCTETS, Encoded, Response


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
    """JSON of another kind than an object fits no fields: 422 with the root as its path."""
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
    """A default that has no JSON form, or cannot be copied, is passed as it is."""
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


# ---- batches


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


# ---- contexts


def test_a_context_is_injected_wherever_it_stands() -> None:
    """A parameter annotated ``Context`` (or ``Context | None``) is not a field, at any position."""
    context = Context(job_id="j")

    def first(context: Context, a: int) -> Any:
        return context, a

    def last(a: int, *, where: Context | None = None) -> Any:
        return where, a

    def alone(context: Context) -> Any:
        return context, 1

    def whole(context: Context, p: Point) -> Any:
        return context, int(p.x)

    assert run(first, b'{"a": 1}', context) == (context, 1)
    assert run(last, b'{"a": 1}', context) == (context, 1)
    assert run(alone, b"", context) == (context, 1)
    assert run(whole, b'{"x": 1}', context) == (context, 1)
    assert codec(last).context_parameter == "where"
    assert codec(square).context_parameter is None
    assert misfit(first, b'{"a": 1, "context": 1}').param == "context"


# ---- declarations


def test_local_types_are_resolved_if_their_names_are_passed() -> None:
    """Postponed annotations may use the names of the function that declares the handler."""

    class Local(msgspec.Struct):
        a: int

    def handler(x: Local) -> Any:
        return x

    its = codec(handler, namespace=locals())
    assert its.decode(b'{"a": 1}') == Local(1)
    with pytest.raises(
        DeclarationError, match=r"endpoint 'it': the annotation 'Local' of the parameter `x`.*TYPE_CHECK"
    ):
        codec(handler)


def test_decorated_functions_keep_their_signature() -> None:
    """``functools.wraps`` leads to the wrapped signature, and to the names of its module."""

    @functools.wraps(square)
    def wrapped(*args: Any, **kwargs: Any) -> float:
        return square(*args, **kwargs) + 1

    assert run(wrapped, b'{"input": 2}') == 5.0


def _positional(a: int, /) -> None: ...


def _stars(*args: int) -> None: ...


def _keywords(**kwargs: int) -> None: ...


def _two_contexts(a: Context, b: Context) -> None: ...


def _array(a: NDArray[np.float64]) -> None: ...


def _nested_array(a: dict[str, list[np.float32]]) -> None: ...


def _complex(a: complex) -> None: ...


def _union(a: list[int] | set[int]) -> None: ...


def _undefined(a: Missing) -> None: ...  # noqa: F821 - not defined, on purpose


def _no_type(a: 5) -> None: ...


class Unfinished(pydantic.BaseModel):
    part: Missing  # noqa: F821 - not defined, on purpose


def _unfinished(a: Unfinished) -> None: ...


def _iterator(a: Iterator[int]) -> None: ...


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (_positional, r"`a` is positional-only.*remove the `/`"),
        (_stars, r"\*args.*name each parameter"),
        (_keywords, r"\*\*kwargs.*name each parameter"),
        (_two_contexts, "a and b are each a Context; keep one"),
        (_array, r"parameter `a`: numpy.ndarray cannot be decoded from JSON; use list\[float\]"),
        (_nested_array, r"parameter `a`: numpy.float32 cannot be decoded from JSON"),
        (_complex, "complex cannot be decoded from JSON; use built-in types"),
        (_union, "parameter `a`.*cannot be used"),
        (_undefined, "'Missing' of the parameter `a` cannot be resolved"),
        (_no_type, "parameter `a`"),
        (_unfinished, "the model Unfinished cannot be used"),
        (_iterator, "Iterator cannot be decoded from JSON"),
    ],
)
def test_a_signature_that_cannot_be_served_is_refused(handler: Any, words: str) -> None:
    """The refusal names the endpoint, the parameter and the fix."""
    with pytest.raises(DeclarationError, match=f"endpoint 'it'.*{words}"):
        codec(handler)


def test_the_return_annotation_only_describes() -> None:
    """A return annotation is never a reason to refuse a handler, and results are not checked against it."""

    def handler() -> Missing:  # noqa: F821 - not defined, on purpose
        return "x"

    def other() -> NDArray[np.float64]: ...

    assert codec(handler).output_schema() == {}
    assert codec(other).output_schema() == {}
    assert codec(handler).encode("x").body == b'"x"'


# ---- results


@pytest.mark.parametrize(
    ("value", "body"),
    [
        (None, b"null"),
        ("text", b'"text"'),
        (Point(1.0), b'{"x":1.0,"y":0.0}'),
        (Box(1), b'{"width":1,"corner":null}'),
        (Relaxed(size=1), b'{"size":1,"tags":[]}'),
        ([Relaxed(size=1)], b'[{"size":1,"tags":[]}]'),
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), b'"2026-01-02T00:00:00Z"'),
        (uuid.UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        (decimal.Decimal("1.5"), b'"1.5"'),
        (Colour.RED, b'"red"'),
        ({1}, b"[1]"),
        ({1: b"ab"}, b'{"1":"YWI="}'),
        (Name("a"), b'"a"'),
        (math.nan, b"null"),
        (np.float32(1.5), b"1.5"),
        (np.float64(1.5), b"1.5"),
        (np.int64(3), b"3"),
        (np.longdouble(1.5), b"1.5"),
        (np.bool_(1), b"true"),
        (np.str_("a"), b'"a"'),
        (np.array([[1, 2], [3, 4]]), b"[[1,2],[3,4]]"),
        (np.array(5), b"5"),
        ({np.int64(1): np.int64(2)}, b'{"1":2}'),
        ({"a": [np.arange(2), {"b": np.float16(0.5)}]}, b'{"a":[[0,1],{"b":0.5}]}'),
        (np.array([1.5], dtype=np.longdouble), b"[1.5]"),
        (np.array(["2026-01-02"], dtype="datetime64[ns]"), b'["2026-01-02T00:00:00"]'),
        (np.array([math.nan]), b"[null]"),
    ],
    ids=repr,
)
def test_results_are_json(value: Any, body: bytes) -> None:
    """A result becomes the body as msgspec writes it, with numpy and pydantic values anywhere in it."""
    its = codec(square)
    assert its.encode(value) == Encoded(body)
    assert its.encode_chunk(value) == body


@pytest.mark.parametrize("value", [b"ab", bytearray(b"ab"), memoryview(b"a-b-")[::2]])
def test_bytes_are_sent_as_they_are(value: Any) -> None:
    """Bytes as the whole result are an octet-stream; as a chunk of a stream they are refused, with the fix."""
    its = codec(square)
    assert its.encode(value) == Encoded(b"ab", OCTETS)
    with pytest.raises(HandlerError, match="a line of JSON; yield base64"):
        its.encode_chunk(value)


def test_a_response_takes_charge() -> None:
    """``Response`` sets media type, headers and status; a status that has no body is sent without one."""
    its = codec(square)
    assert its.encode(Response("<p>", "text/html", {"X-A": "b"}, 201)) == Encoded(
        b"<p>", "text/html", 201, {"X-A": "b"}
    )
    assert its.encode(Response("text")) == Encoded(b"text", "text/plain; charset=utf-8")
    assert its.encode(Response(b"\xff")) == Encoded(b"\xff", OCTETS)
    assert its.encode(Response({"a": np.int8(1)}, status=202)) == Encoded(b'{"a":1}', None, 202)
    assert its.encode(Response(None, status=204)).body == b""
    with pytest.raises(HandlerError, match="yield its content"):
        its.encode_chunk(Response("text"))


@pytest.mark.parametrize("headers", [{"X-A": "b\r\nX-C: d"}, {"X A": "b"}, {"X-A": 1}, {"": "b"}, {"X-A": "\u20ac"}])
def test_headers_cannot_break_out(headers: Any) -> None:
    """A header with a line break, or with an invalid name or value, is refused."""
    with pytest.raises(HandlerError, match="response header"):
        codec(square).encode(Response("x", headers=headers))


class _Treacherous(msgspec.Struct):
    inner: Any


def _cycle() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), r"object at \$$"),
        ([Tensor()], r"Tensor at \$\[0\]; convert it with \.tolist"),
        (np.array([1j]), r"numpy.ndarray of dtype complex128 at \$"),
        ({"a": [1, object()]}, r"object at \$\.a\[1\]$"),
        (_Treacherous({"x": 1j}), r"complex at \$\.inner\.x$"),
        (Box(1, object()), r"object at \$\.corner$"),
        ({"a": np.array([None])}, r"numpy.ndarray of dtype object at \$\.a"),
        ({"a": {(1, 2): 3}}, r"dict with keys of type tuple at \$\.a; write int\(key\)"),
        ([["\ud800"]], r"str at \$\[0\]\[0\] \(UnicodeEncodeError"),
        (10**5000, r"int at \$ \(ValueError"),
        (_cycle(), "nested too deeply, or contains itself"),
        ((number for number in [1]), "generator at .*decorator"),
        (Response(object()), "the content of the Response"),
        (Response("\ud800"), "UTF-8"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_result_that_cannot_be_sent_is_named(value: Any, words: str) -> None:
    """The error names the type, its place in the value, and the fix if there is one."""
    with pytest.raises(HandlerError, match=words):
        codec(square).encode(value)


def test_whatever_a_result_does_is_a_handler_error() -> None:
    """Code of the user's own types runs while a result is encoded; its exceptions become a ``HandlerError``."""

    class Hostile(pydantic.BaseModel):
        a: Any

    with pytest.raises(HandlerError, match="Hostile"):
        codec(square).encode([Hostile(a=object())])


# ---- embedding


def test_inputs_and_outputs_go_both_ways() -> None:
    """The value of an embedding caller becomes a body, and the response becomes a value again."""
    its = codec(square)
    assert its.decode(its.encode_input({"input": np.float32(4)})) == its.decode(b'{"input":4.0}')
    assert its.encode_input(b'{"input":4}') == b'{"input":4}'
    assert its.encode_input(None) == b""
    for value in ({"a": [1]}, None, "text", b"\xff", Response("x", "text/css", {"A": "b"}, 201), 1.5):
        back = its.decode_output(its.encode(value))
        expected = dataclasses.replace(value, content=b"x") if isinstance(value, Response) else value
        assert back == expected
    assert its.decode_output(its.encode(Response({"a": 1}, status=202))) == Response({"a": 1}, status=202)
    with pytest.raises(InvalidRequest, match=r"the input cannot be sent as JSON: object at \$\.input"):
        its.encode_input({"input": object()})


def test_a_raw_endpoint_takes_bytes_only() -> None:
    """An embedding caller of a bytes endpoint must pass bytes."""

    def handler(image: bytes) -> None: ...

    its = codec(handler)
    assert its.encode_input(memoryview(b"ab")) == b"ab"
    with pytest.raises(InvalidRequest, match="takes bytes, not str"):
        its.encode_input("ab")


# ---- JSON Schema


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


def test_malformed_is_a_kind_of_invalid() -> None:
    """Code that catches ``InvalidRequest`` catches the 400, too."""
    with pytest.raises(MalformedRequest):
        codec(square).decode(b"{")
