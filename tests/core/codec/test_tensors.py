"""Tensors as parameters and results: what fits, what does not, and how batches of them are joined."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import ml_dtypes
import msgspec
import numpy as np
import pytest

from penstock import App, Batching, DeclarationError, HandlerError, InvalidRequest, Tensor
from penstock.codec.codec import Codec, _taken
from penstock.codec.tensors import DATATYPES
from penstock.hooks import DialectInput

Rows = Annotated[np.ndarray, Tensor("FP32", [-1, 2])]
Names = Annotated[np.ndarray, Tensor("BYTES", [-1])]


def codec_of(handler: Callable[..., Any], **options: Any) -> Codec:
    app = App("it")
    app.endpoint("/it", **options)(handler)
    return app.endpoints[0].codec


def double(x: Rows, factor: float = 2.0) -> Rows:
    return x * np.float32(factor)


class Features(msgspec.Struct):
    rows: Rows
    names: Names | None = None
    top_k: int = 3


@dataclasses.dataclass
class Scores:
    scores: Annotated[np.ndarray, Tensor("FP64", [-1])]
    label: str


def score(features: Features) -> Scores:
    return Scores(features.rows.sum(axis=1, dtype="float64"), f"top {features.top_k}")


def answer(codec: Codec, handler: Callable[..., Any], body: bytes) -> Any:
    return msgspec.json.decode(codec.encode(codec.call(handler, codec.decode(body))).body)


# ---- inputs


def test_lists_become_arrays_of_the_datatype() -> None:
    """The handler gets an array of just this dtype; other parameters are as ever."""
    codec = codec_of(double)
    assert answer(codec, double, b'{"x": [[1, 2.5]], "factor": 3}') == [[3.0, 7.5]]
    (x, _) = msgspec.structs.astuple(codec.decode(b'{"x": [[1, 2.5]]}'))
    assert (x.dtype, x.shape) == (np.float32, (1, 2))


@pytest.mark.parametrize("datatype", DATATYPES)
def test_each_datatype_is_read_and_written(datatype: str) -> None:
    """Values that the datatype has come back as they were sent."""
    values: list[Any] = {"BOOL": [True, False], "BYTES": ["a", "é"]}.get(datatype, [1, 0])
    tensor = Tensor(datatype, [2])
    array = tensor.read(values)
    assert array.dtype == tensor.dtype
    assert tensor.plain(array) == values
    assert (tensor.write(array) == array).all()


@pytest.mark.parametrize("datatype", DATATYPES)
def test_an_empty_result_keeps_its_shape(datatype: str) -> None:
    """Its dimensions that are not empty as well."""
    tensor = Tensor(datatype, [-1, -1])
    assert tensor.write(np.empty((0, 3), dtype=tensor.dtype)).shape == (0, 3)


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32", "FP64"])
def test_a_result_may_have_numbers_that_are_not_finite(datatype: str) -> None:
    """As arrays, as lists, and as a number of numpy, which arithmetic makes of a scalar."""
    scalar, vector = Tensor(datatype, []), Tensor(datatype, [2])
    for number in (float("nan"), float("inf")):
        array = np.array(number, dtype=scalar.dtype)
        for result in (array, array + np.array(1, dtype=scalar.dtype), number):
            assert not np.isfinite(scalar.write(result))
        assert np.isfinite(vector.write([number, 1.0])).tolist() == [False, True]


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("FP32", ["1"]),
        ("FP32", [True]),
        ("FP32", [None]),
        ("FP32", [1e39]),
        ("FP16", [70000]),
        ("BF16", ["1"]),
        ("INT8", [128]),
        ("INT64", [2**63]),
        ("UINT8", [-1]),
        ("INT32", [1.5]),
        ("INT32", [1e30]),
        ("BOOL", [1]),
        ("BYTES", [1]),
        ("FP32", [{}]),
        ("FP32", 1.0),
        ("FP32", [1, 2]),
        ("FP32", [[1]]),
        ("FP32", [[1], [1, 2]]),
        ("BYTES", [["a"], ["b", "c"]]),
    ],
)
def test_what_does_not_fit_is_refused(datatype: str, values: Any) -> None:
    """No other type of item passes for the right one, no number is cut, and the shape is kept to."""
    with pytest.raises(ValueError, match=f"Expected {datatype} of shape"):
        Tensor(datatype, [1]).read(values)


def test_an_integral_float_is_an_integer() -> None:
    """That is what JSON Schema says, and JavaScript has no other numbers."""
    assert Tensor("INT32", [2]).read([1.0, -2.0]).tolist() == [1, -2]


@pytest.mark.parametrize(
    ("body", "path", "param"),
    [
        (b'{"x": [[1]]}', "$.x", "x"),
        (b'{"x": "a"}', "$.x", "x"),
        (b"{}", "$.x", "x"),
        (b'{"x": [[1, 2]], "y": 1}', "$.y", "y"),
    ],
)
def test_an_error_names_the_field(body: bytes, path: str, param: str) -> None:
    """As for any other parameter."""
    with pytest.raises(InvalidRequest) as caught:
        codec_of(double).decode(body)
    assert (caught.value.errors[0]["path"], caught.value.param) == (path, param)


def test_a_class_with_tensors_is_the_whole_body() -> None:
    """The handler gets an instance of the class, with its defaults, and may return another one."""
    codec = codec_of(score)
    assert answer(codec, score, b'{"rows": [[1, 2], [3, 4]]}') == {"scores": [3.0, 7.0], "label": "top 3"}
    decoded = codec.decode(b'{"rows": [], "names": ["a"], "top_k": 1}'.replace(b"[]", b"[[1, 2]]"))
    assert type(decoded) is Features
    assert decoded.names is not None
    assert decoded.names.tolist() == [b"a"]


def test_a_typed_dict_with_tensors_is_the_whole_body() -> None:
    """It is a dict for the handler."""

    class Typed(TypedDict):
        rows: Rows

    def handler(body: Typed) -> int:
        return len(body["rows"])

    handler.__annotations__["body"] = Typed
    codec = codec_of(handler)
    assert answer(codec, handler, b'{"rows": [[1, 2]]}') == 1


def test_the_schema_has_the_shape() -> None:
    """Free dimensions have no bounds."""
    schema = codec_of(double).input_schema()["properties"]["x"]
    assert schema["description"] == "FP32 of shape [-1, 2]"
    assert schema["items"] == {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    assert codec_of(double).output_schema() == schema


def test_a_dialect_passes_arrays_as_they_are() -> None:
    """They are not copied, and checked all the same; other values are read as JSON."""
    codec = codec_of(double)
    array = np.ones((1, 2), dtype=np.float32)
    (x, factor) = msgspec.structs.astuple(_taken(codec, DialectInput({"x": array, "factor": 3})))
    assert (x is array, factor) == (True, 3.0)
    with pytest.raises(InvalidRequest, match="got dtype float64"):
        _taken(codec, DialectInput({"x": array.astype("float64")}))


def test_a_dialect_writes_the_answer_from_arrays() -> None:
    """It gets those of the result by name, once they fit the handler's tensors."""
    codec = codec_of(double)
    array = np.ones((1, 2), dtype=np.float32)
    found = _taken(codec, DialectInput({"x": array}, arrays_answer=lambda arrays: arrays["output"].tolist()))
    value, answer = codec.with_filter(found)
    assert answer is not None
    assert answer.whole(codec.call(double, value)) == [[2.0, 2.0]]
    assert answer.feed(array) == ([[[1.0, 1.0]]], False)
    assert answer.finish() == []
    with pytest.raises(HandlerError, match="got dtype float64"):
        answer.whole(array.astype("float64"))


# ---- results


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.ones((1, 2)), r"got dtype float64; write .astype\('float32'\)"),
        (np.ones((2, 3), dtype=np.float32), r"got shape \[2, 3\]"),
        ("text", "got text"),
        (None, "got None"),
    ],
)
def test_a_result_that_does_not_fit_is_an_error(value: Any, words: str) -> None:
    """The message says what it is, and how to correct it."""

    def handler() -> Rows:
        return value

    with pytest.raises(HandlerError, match=words):
        codec_of(handler).encode(value)


def test_a_result_may_be_none_if_its_annotation_says_so() -> None:
    """Then it is null."""

    def handler() -> Rows | None: ...

    assert codec_of(handler).encode(None).body == b"null"


def test_bytes_that_are_not_text_are_no_json() -> None:
    """A client that asks for binary data gets them."""

    def handler() -> Names: ...

    handler.__annotations__["return"] = Names
    with pytest.raises(HandlerError, match="ask for binary data"):
        codec_of(handler).encode(np.array([b"\xff"], dtype=object))


def test_bf16_is_json_numbers() -> None:
    """JSON has one kind of number."""

    def handler() -> Annotated[np.ndarray, Tensor("BF16", [-1])]: ...

    assert codec_of(handler).encode(np.array([1.5], dtype=ml_dtypes.bfloat16)).body == b"[1.5]"


# ---- batches


def joined_codec() -> tuple[Codec, Callable[..., Any]]:
    def predict(x: Rows) -> Rows:
        return x + np.float32(len(x))

    return codec_of(predict, batching=Batching(max_size=4, max_wait=0.1)), predict


def test_arrays_are_joined_and_the_result_is_taken_apart() -> None:
    """Each request gets as many rows as it has sent."""
    codec, predict = joined_codec()
    inputs = [codec.decode(b'{"x": [[0, 0]]}'), codec.decode(b'{"x": [[1, 1], [2, 2]]}')]
    assert codec.tensors.groups(inputs) == [[0, 1]]
    parts = codec.tensors.taken_apart(codec.call(predict, inputs), inputs)
    assert [part.tolist() for part in parts] == [[[3, 3]], [[4, 4], [5, 5]]]


def test_a_group_has_no_more_rows_than_a_batch() -> None:
    """The next input begins another call; later ones may still join the first of their kind that has room."""
    codec, _ = joined_codec()
    inputs = [codec.decode(msgspec.json.encode({"x": [[0, 0]] * rows})) for rows in (3, 2, 1)]
    assert codec.tensors.groups(inputs) == [[0], [1, 2]]


def test_an_input_without_rows_is_part_of_a_group() -> None:
    """Alone, and behind others that fill a batch."""
    codec, predict = joined_codec()
    none, full = (DialectInput({"x": np.zeros((rows, 2), dtype=np.float32)}) for rows in (0, 4))
    inputs = [_taken(codec, each) for each in (none, full, none)]
    assert codec.tensors.groups(inputs[:1]) == [[0]]
    assert codec.tensors.groups(inputs) == [[0, 1, 2]]
    assert codec.tensors.groups(inputs[1:]) == [[0, 1]]
    parts = codec.tensors.taken_apart(codec.call(predict, inputs), inputs)
    assert [part.shape for part in parts] == [(0, 2), (4, 2), (0, 2)]


def test_only_equal_shapes_are_joined() -> None:
    """Where another dimension is free, inputs that differ in it go in calls of their own."""

    def predict(x: Annotated[np.ndarray, Tensor("FP32", [-1, -1])]) -> Annotated[np.ndarray, Tensor("FP32", [-1])]: ...

    codec = codec_of(predict, batching=Batching(max_size=8, max_wait=0.1))
    inputs = [codec.decode(msgspec.json.encode({"x": x})) for x in ([[0]], [[0, 0]], [[0]])]
    assert codec.tensors.groups(inputs) == [[0, 2], [1]]


def test_more_rows_than_a_batch_are_refused() -> None:
    """The error says how many the model takes."""
    codec, _ = joined_codec()
    with pytest.raises(InvalidRequest, match="is 5; this model takes 4 at a time"):
        codec.decode(msgspec.json.encode({"x": [[0, 0]] * 5}))


def test_the_inputs_of_a_request_have_one_first_dimension() -> None:
    """Otherwise it would have no share of the batch."""

    class Pair(msgspec.Struct):
        a: Rows
        b: Rows

    def predict(pair: Pair) -> Rows: ...

    predict.__annotations__["pair"] = Pair
    codec = codec_of(predict, batching=Batching(max_size=4, max_wait=0.1))
    with pytest.raises(InvalidRequest, match=r"\$\.b: its first dimension is 2"):
        codec.decode(b'{"a": [[0, 0]], "b": [[0, 0], [1, 1]]}')


def test_a_request_without_any_tensor_is_refused() -> None:
    """It would have no share of the batch."""

    class Optional(msgspec.Struct):
        x: Rows | None = None

    def predict(pair: Optional) -> Rows: ...

    predict.__annotations__["pair"] = Optional
    codec = codec_of(predict, batching=Batching(max_size=4, max_wait=0.1))
    with pytest.raises(InvalidRequest, match="no tensor at all"):
        codec.decode(b"{}")


def test_too_few_rows_of_a_result_are_an_error() -> None:
    """They could not be assigned."""
    codec, _ = joined_codec()
    inputs = [codec.decode(b'{"x": [[0, 0], [1, 1]]}')]
    with pytest.raises(HandlerError, match="with 1 rows for a batch of 2"):
        codec.tensors.taken_apart(np.zeros((1, 2), dtype=np.float32), inputs)


def test_a_list_of_tensors_is_not_joined() -> None:
    """The handler gets the arrays of the requests one by one."""

    def predict(x: list[Rows]) -> list[Rows]: ...

    codec = codec_of(predict, batching=Batching(max_size=4, max_wait=0.1))
    assert codec.tensors.groups([1, 2]) is None
    assert codec.decode(b"[[1, 2]]").tolist() == [[1.0, 2.0]]


# ---- declarations


@pytest.mark.parametrize(
    ("datatype", "shape", "words"),
    [
        ("FP8", [1], "there is no such datatype"),
        ("FP32", [-2], "a shape is a list of sizes"),
        ("FP32", [True], "a shape is a list of sizes"),
        ("FP32", "4", "a shape is a list of sizes"),
        ("FP32", 4, "a shape is a list of sizes"),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(datatype: str, shape: Any, words: str) -> None:
    """At import, with the fix."""
    with pytest.raises(DeclarationError, match=words):
        Tensor(datatype, shape)


def test_joined_tensors_need_a_free_first_dimension() -> None:
    """Nothing can be joined along one that is fixed; the message names the alternatives."""

    def fixed(x: Annotated[np.ndarray, Tensor("FP32", [2])]) -> Rows: ...

    def unknown(x: Rows) -> Any: ...

    for handler, words in ((fixed, r"has to be -1 and is not in \[2\]"), (unknown, "returns tensors")):
        with pytest.raises(DeclarationError, match=words):
            codec_of(handler, batching=Batching(max_size=4, max_wait=0.1))


def test_a_class_with_tensors_is_the_only_parameter() -> None:
    """It is the whole body, so nothing can stand beside it."""

    def handler(features: Features, more: int) -> int: ...

    with pytest.raises(DeclarationError, match="a class with tensors is the whole body"):
        codec_of(handler)
