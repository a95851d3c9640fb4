"""Writing results, and the values and results of embedding callers."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import math
import uuid
from typing import Any

import msgspec
import numpy as np
import pydantic
import pytest

from penstock.errors import HandlerError, InvalidRequest
from penstock.response import OCTETS, Encoded, Response
from tests.core.codec.sample_types import Box, Colour, Name, Point, Relaxed, Tensor, codec, square

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
