"""Writing results, and the values and results of embedding callers."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import math
import pathlib
import re
import types
import uuid
from functools import partial
from typing import Annotated, Any

import attrs
import msgspec
import numpy as np
import pydantic
import pytest

from penstock.app import App
from penstock.errors import UNENCODABLE, DeclarationError, HandlerError, InvalidRequest
from penstock.response import OCTETS, Encoded, Response
from tests.core.codec import stand_ins
from tests.core.codec.sample_types import Box, Colour, Name, Point, Relaxed, Tensor, codec, encode_chunk, square


class Stamp(dt.datetime):
    """A subclass, as pandas' Timestamp is one."""


class Score(pydantic.BaseModel):
    value: float


class Report(pydantic.BaseModel, arbitrary_types_allowed=True):
    content: Any = None
    array: np.ndarray | None = None


@attrs.define
class Pair:
    first: Any
    second: Any = None


def nanoseconds(*texts: str) -> Any:
    return np.array(texts, dtype="datetime64[ns]")


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
        (pathlib.PurePosixPath("/a/b"), b'"/a/b"'),
        (collections.deque([1, 2]), b"[1,2]"),
        (range(3), b"[0,1,2]"),
        ({"a": 1}.keys(), b'["a"]'),
        ({"a": 1}.values(), b"[1]"),
        (types.MappingProxyType({"a": None}), b'{"a":null}'),
        (Stamp(2026, 1, 2), b'"2026-01-02T00:00:00"'),
        (collections.UserString("ab"), b'"ab"'),
        ([Pair(np.int8(1))], b'[{"first":1,"second":null}]'),
        (Report(content=[np.float32(1.5)], array=np.arange(2)), b'{"content":[1.5],"array":[0,1]}'),
        (np.ma.array([1, 2], mask=[False, True]), b"[1,null]"),
        (nanoseconds("2026-01-02T00:00:00.000000001"), b'["2026-01-02T00:00:00.000000001"]'),
        (nanoseconds("2026-01-02T00:00:00.000001000"), b'["2026-01-02T00:00:00.000001"]'),
        (np.ma.array(nanoseconds("2026-01-02", "NaT"), mask=[False, True]), b'["2026-01-02T00:00:00",null]'),
        (np.timedelta64(-1, "ns"), b'"-PT0.000000001S"'),
        (np.timedelta64(1500, "ms"), b'"PT1.5S"'),
        (stand_ins.timedelta(1_000), b'"PT0.000001S"'),
        (stand_ins.timedelta(86_400_000_000_001), b'"P1DT0.000000001S"'),
    ],
    ids=repr,
)
def test_results_are_json(value: Any, body: bytes) -> None:
    """A result becomes the body as msgspec writes it, with numpy and pydantic values anywhere in it."""
    its = codec(square)
    assert its.encode(value) == Encoded(body)
    assert encode_chunk(its, value) == body


@pytest.mark.parametrize("value", [b"ab", bytearray(b"ab"), memoryview(b"a-b-")[::2]])
def test_bytes_are_sent_as_they_are(value: Any) -> None:
    """Bytes as the whole result are an octet-stream; as a chunk of a stream they are refused, with the fix."""
    its = codec(square)
    assert its.encode(value) == Encoded(b"ab", OCTETS)
    with pytest.raises(HandlerError, match="a line of JSON; yield base64"):
        encode_chunk(its, value)


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
        encode_chunk(its, Response("text"))


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
        (object(), r"object at \$; return a dict, list, string or number, a dataclass or a struct in its place"),
        ([Tensor()], r"Tensor at \$\[0\]; convert it with \.tolist"),
        (np.array([1j]), r"numpy.ndarray of dtype complex128 at \$"),
        ({"a": [1, object()]}, r"object at \$\.a\[1\]; "),
        (_Treacherous({"x": 1j}), r"complex at \$\.inner\.x; write \[it\.real, it\.imag\]"),
        (Box(1, object()), r"object at \$\.corner; "),
        ({"a": np.array([None])}, r"numpy.ndarray of dtype object at \$\.a; convert it with \.tolist"),
        (Pair([Report(content={"x": Tensor()})]), r"Tensor at \$\.first\[0\]\.content\.x; convert"),
        (pydantic.RootModel[Any]([Tensor()]), r"Tensor at \$\[0\]; convert"),
        (collections.deque([1j]), r"complex at \$\[0\]; write"),
        (types.MappingProxyType({"a": 1j}), r"complex at \$\.a; write"),
        (Report(content=stand_ins.NaT), r"NaTType at \$\.content; write None"),
        (Report(content=b"\xff"), r"bytes at \$\.content .*; write model_config .*base64"),
        (np.timedelta64(1, "M"), r"timedelta64 at \$ \(ValueError: a timedelta64 in months has no fixed length\)"),
        (np.array([1], "m8"), "a timedelta64 in no unit has no fixed length"),
        (np.timedelta64(10**9, "D"), "a timedelta64 is too large"),
        (np.datetime64("30000-01-01"), r"dates are written with the years 1 to 9999\); write str\(it\)"),
        (np.datetime64("300000-01-01"), "dates are written with the years 1 to 9999"),
        ({"a": {(1, 2): 3, "b": 4}}, r"dict with keys of type tuple at \$\.a; write {str\(key\): value for key"),
        ([["\ud800"]], r"str at \$\[0\]\[0\] \(UnicodeEncodeError"),
        (10**5000, r"int at \$ \(ValueError"),
        (_cycle(), "nested too deeply, or contains itself"),
        ({"a": (number for number in [1])}, r"generator at \$\.a; write list\(it\)"),
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

    with pytest.raises(HandlerError, match=r"object at \$\[0\]\.a"):
        codec(square).encode([Hostile(a=object())])


def test_a_model_that_fails_as_a_whole_is_named_itself() -> None:
    """No field is blamed for what a serialiser, a computed field or a ``model_dump`` of the model's own raises."""

    class Serialised(pydantic.BaseModel):
        x: int = 1

        @pydantic.model_serializer
        def fail(self) -> int:
            raise LookupError("nothing")

    class Computed(pydantic.BaseModel):
        x: int = 1

        @pydantic.computed_field  # type: ignore[prop-decorator] # as pydantic's documentation says
        @property
        def fail(self) -> int:
            raise LookupError("nothing")

    class Dumped(pydantic.BaseModel):
        x: int = 1

        def model_dump(self, *, mode: str = "json") -> Any:  # type: ignore[override] # some do
            raise LookupError("nothing")

    for model in (Serialised(), Computed(), Dumped()):
        with pytest.raises(HandlerError, match=rf"{type(model).__name__} at \$\[0\] \(.*nothing\)"):
            codec(square).encode([model])


# ---- NaN

NAN_CASES = [
    (math.nan, "nan at $"),
    ({"a": [1.0, None, -math.inf]}, "-inf at $.a[2]"),
    (Point(math.nan), "nan at $.x"),
    (Score(value=math.nan), "nan at $.value"),
    (np.array([[0.0, 1.0], [2.0, math.nan]]), "nan at $[1][1]"),
    ({"a": np.float32(math.inf)}, "inf at $.a"),
    ([decimal.Decimal("NaN")], "NaN at $[0]"),
    ({"a": {decimal.Decimal("-Infinity"): 1}}, "the key -Infinity at $.a"),
    ([{math.nan: 1}], "the key nan at $[0]"),
    ({-math.inf: [1, 2]}, "the key -inf at $"),
    ({stand_ins.NaT: 1}, "the key nan at $"),
    ([stand_ins.NaT], "nan at $[0]"),
    ([np.datetime64("NaT")], "nan at $[0]"),
    (nanoseconds("2026-01-02", "NaT"), "nan at $[1]"),
    (np.timedelta64("NaT", "s"), "nan at $"),
    (Report(content={"a": [math.nan]}), "nan at $.content.a[0]"),
    ([Report(array=np.array([math.inf]))], "inf at $[0].array[0]"),
]


LONG = ["text"] * 1000


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ([LONG, math.nan], "nan at $[1]"),
        ({math.nan: [0.1] * 1000}, "the key nan at $"),
        ([LONG, {math.inf: 1}], "the key inf at $[1]"),
        ([LONG, decimal.Decimal("NaN")], "NaN at $[1]"),
        ([decimal.Decimal("-Infinity"), *LONG], "-Infinity at $[0]"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_large_results_are_searched_as_well(value: Any, place: str) -> None:
    """NaN and infinities are found in results of any size."""
    with pytest.raises(HandlerError, match=re.escape(place)):
        codec(square).encode(value)
    assert codec(square).encode([LONG, [0.5] * 1000, "NaN", {"inf": 1}]).media_type is None


@pytest.mark.parametrize(("value", "place"), NAN_CASES, ids=repr)
def test_what_json_does_not_have_is_refused(value: Any, place: str) -> None:
    """NaN and infinities are an error that names their place, in results, chunks, responses and inputs."""
    its = codec(square)
    for encode in (its.encode, partial(encode_chunk, its), lambda value: its.encode(Response(value))):
        with pytest.raises(HandlerError, match=f"{re.escape(place)}; JSON has no NaN") as caught:
            encode(value)
        assert caught.value.exception_type == UNENCODABLE
    with pytest.raises(InvalidRequest, match=re.escape(place)):
        its.encode_input(value)


def test_nan_may_be_null() -> None:
    """An app may ask for ``null`` in place of NaN and infinities."""
    app = App("tests", nan="null")
    app.endpoint("/square")(square)
    assert app.endpoints[0].codec.encode([math.nan, -math.inf]).body == b"[null,null]"
    with pytest.raises(DeclarationError, match="nan='none' is unknown; use 'error' or 'null'"):
        App("tests", nan="none")  # type: ignore[arg-type] # wrong on purpose


def test_a_model_may_replace_nan_itself() -> None:
    """A serialiser that replaces NaN, be it for JSON only, has the last word."""

    def replaced(value: float) -> float | None:
        return value if math.isfinite(value) else None

    class Careful(pydantic.BaseModel):
        always: Annotated[float, pydantic.PlainSerializer(replaced)]
        in_json: Annotated[float, pydantic.PlainSerializer(replaced, when_used="json")]

    assert codec(square).encode(Careful(always=math.nan, in_json=math.nan)).body == b'{"always":null,"in_json":null}'


def test_null_and_the_word_null_are_no_nan() -> None:
    """A result may have None in it, and text about null, NaN and infinity."""
    its = codec(square)
    assert its.encode({"nan": "NaN", "inf": "-Infinity"}).body == b'{"nan":"NaN","inf":"-Infinity"}'
    assert its.encode([decimal.Decimal("1e400"), None]).body == b'["1E+400",null]'
    assert its.encode(Report(content=[pydantic.AnyUrl("http://a"), None])).body.startswith(b'{"content":["http://a/",')
    assert its.encode([None, "null", {"null": 1}, {1.5: None}]).body == b'[null,"null",{"null":1},{"1.5":null}]'


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
