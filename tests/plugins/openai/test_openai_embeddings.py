"""Embeddings: each input is a job, and the answer has a vector for each of them."""

from __future__ import annotations

import base64
import struct
from typing import Any

import msgspec
import pytest

from penstock import App, Batching, Context
from penstock.errors import DeclarationError, HandlerError
from penstock.hooks import DialectRequest
from penstock.response import Encoded
from penstock.testing import PluginHarness
from penstock_openai import Embeddings
from tests.plugins.openai.model_app import make_harness

VECTOR = Encoded(b"[1.0,0.5]")


@pytest.fixture(scope="module")
def harness() -> PluginHarness:
    return make_harness()


def inputs(harness: PluginHarness, **body: Any) -> list[bytes]:
    """Return the bodies that a handler gets."""
    [dialect] = [each for each in harness.registry.dialects(harness.app) if each.name == "openai-embeddings"]
    content = msgspec.json.encode(body)
    request = DialectRequest(request_id="r", method="POST", path="", path_values={}, header={}.get, body=content)
    payload = dialect.operations[0].read(request)
    return list(payload.parts) or [payload.body or b""]


def post(harness: PluginHarness, body: dict[str, Any], answer: Any = VECTOR) -> tuple[int, Any]:
    found = harness.operation("POST", "/v1/embeddings", msgspec.json.encode(body), answer)
    return found.status, msgspec.json.decode(found.body)


def test_inputs(harness: PluginHarness) -> None:
    """One or several, as the handler's parameter takes them."""
    assert inputs(harness, input="a") == [b'"a"']
    assert inputs(harness, input=["a", " "]) == [b'"a"', b'" "']
    assert inputs(harness, model="tokens", input="a") == [b'{"input":"a"}']
    assert inputs(harness, model="tokens", input=[1, 2]) == [b'{"input":[1,2]}']
    assert inputs(harness, model="tokens", input=[[1], [2]], dimensions=5) == [
        b'{"input":[1],"dimensions":5}',
        b'{"input":[2],"dimensions":5}',
    ]
    assert len(inputs(harness, input=["a"] * 2048)) == 2048


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [[1], []]}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [True]}, "input[0]"),
        ({"input": [1, 2]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": ["a"] * 101, "model": "tokens"}, "input"),
        ({"input": "a", "dimensions": 3}, "dimensions"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_a_body_that_does_not_fit(harness: PluginHarness, body: dict[str, Any], param: str) -> None:
    """It is a 400 that names the field."""
    status, found = post(harness, body)
    assert (status, found["error"]["param"]) == (400, param)


def test_the_answer(harness: PluginHarness) -> None:
    """The vectors in the order of the inputs, with the tokens that the handler has counted."""
    answers = (Encoded(b"[1,2]"), Encoded(b'{"embedding":[3.5],"tokens":7}'))
    _, found = post(harness, {"input": ["a", "b"]}, answers)
    assert found == {
        "object": "list",
        "model": "embed",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [1.0, 2.0]},
            {"object": "embedding", "index": 1, "embedding": [3.5]},
        ],
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }


def test_base64_has_little_endian_floats_of_four_bytes(harness: PluginHarness) -> None:
    """As clients decode them."""
    _, found = post(harness, {"input": "a", "encoding_format": "base64"})
    assert struct.unpack("<2f", base64.b64decode(found["data"][0]["embedding"])) == (1.0, 0.5)


@pytest.mark.parametrize("answer", [b'"a"', b"[[1.0]]", b"null", b'["a"]'])
def test_a_result_that_is_no_vector(harness: PluginHarness, answer: bytes) -> None:
    """It is an error of the handler."""
    assert post(harness, {"input": "a"}, Encoded(answer))[0] == HandlerError.status


def test_handlers_that_do_not_fit_are_refused_at_import() -> None:
    """With the line to write."""
    app = App("tests")

    def two(text: str, other: int) -> list[float]:
        return []

    def number(value: int) -> list[float]:
        return []

    def many(pairs: list[dict[str, str]]) -> list[list[float]]:
        return []

    for handler, message, batching in (
        (two, "needs a handler with one parameter for the input", None),
        (number, "annotate `value: str`", None),
        (many, "annotate `pairs: str`", Batching(max_size=2)),
    ):
        with pytest.raises(DeclarationError, match=message):
            app.endpoint("/x", dialects=[Embeddings(model="m")], batching=batching)(handler)


def test_handlers_that_fit() -> None:
    """With a context, with further parameters that have defaults, and without an annotation."""
    app = App("tests")

    def with_context(text: str, context: Context, normalize: bool = True) -> list[float]:
        return []

    def plain(text):  # type: ignore[no-untyped-def]
        return []

    app.endpoint("/a", dialects=[Embeddings(model="a")])(with_context)
    app.endpoint("/b", dialects=[Embeddings(model="b")])(plain)
