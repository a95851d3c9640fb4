"""Requests to infer: what is read, what is refused before there is a job, and how the answer is written."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from penstock.errors import MalformedRequest, NotFound, PenstockError
from penstock.hooks import DialectRequest
from tests.plugins.oip.inference_scene import InferenceScene, described, raw_input, texts
from tests.plugins.oip.oip_models import models_app

ROW = described("x", "FP32", [1, 2], [1.0, 2.5])
RAW = np.array([1, 2.5], dtype="<f4").tobytes()
RAW_ROW = raw_input("x", "FP32", [1, 2], RAW)
PAIR = "org/a pair"
JSON_SIZE = "inference-header-content-length"
NO_REQUEST = DialectRequest(request_id="r1", method="POST", path="/", path_values={}, header=lambda _name: None)


@pytest.fixture(scope="module")
def scene() -> InferenceScene:
    return InferenceScene(models_app())


# ---- JSON


def test_a_whole_request_and_its_answer(scene: InferenceScene) -> None:
    """The answer repeats the id, and names the model, its version and its outputs; the data are flat."""
    found = scene.infer("double", {"id": "42", "inputs": [ROW]})
    assert (found.status, found.media_type, found.headers) == (200, "application/json", {})
    output = {"name": "twice", "datatype": "FP32", "shape": [1, 2], "data": [2.0, 5.0]}
    assert found.content == {"model_name": "double", "model_version": "1", "id": "42", "outputs": [output]}


def test_data_are_nested_or_flat(scene: InferenceScene) -> None:
    """Either is read row by row."""
    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]], [[[1], [2]], [[3], [4]]]):
        found = scene.infer("double", {"inputs": [described("x", "FP32", [2, 2], data)]})
        assert found.data == {"twice": [2.0, 4.0, 6.0, 8.0]}


def test_fields_of_other_clients_are_ignored(scene: InferenceScene) -> None:
    """They send the name of the model, nulls for what they leave out, and parameters of their own."""
    extra = {"model_name": "double", "id": None, "outputs": None, "parameters": {"content_type": "np", "headers": {}}}
    assert scene.infer("double", {"inputs": [{**ROW, "parameters": None}], **extra}).status == 200


def test_parameters_of_the_model(scene: InferenceScene) -> None:
    """Those that the handler takes besides tensors are the request's parameters, checked like any input."""
    assert scene.infer("double", {"inputs": [ROW], "parameters": {"factor": 3}}).data == {"twice": [3.0, 7.5]}
    assert scene.infer("double", {"inputs": [ROW], "parameters": {"factor": None}}).data == {"twice": [2.0, 5.0]}
    assert "factor" in scene.infer("double", {"inputs": [ROW], "parameters": {"factor": "x"}}).refusal


def test_an_optional_input(scene: InferenceScene) -> None:
    """It may be left out, and is then not among the outputs."""
    rows = described("rows", "FP32", [1, 2], [1, 2])
    assert scene.infer(PAIR, {"inputs": [rows]}).data == {"rows": [1.0, 2.0]}
    both = scene.infer(PAIR, {"inputs": [described("names", "BYTES", [2], ["a", "é"]), rows]})
    assert both.data == {"rows": [1.0, 2.0], "names": ["a", "é"]}


def test_outputs_are_chosen(scene: InferenceScene) -> None:
    """In the order of the request."""
    inputs = [described("names", "BYTES", [1], ["a"]), described("rows", "FP32", [1, 2], [1, 2])]
    for names in (["names"], ["names", "rows"]):
        found = scene.infer(PAIR, {"inputs": inputs, "outputs": [{"name": name} for name in names]})
        assert [output["name"] for output in found.content["outputs"]] == names


# ---- raw data


def test_raw_inputs_and_outputs(scene: InferenceScene) -> None:
    """The JSON is followed by the data; the header of the answer has the size of its JSON."""
    found = scene.infer("double", {"inputs": [RAW_ROW], "parameters": {"binary_data_output": True}}, RAW)
    assert found.media_type == "application/octet-stream"
    assert (found.data, found.raw) == ({}, {"twice": np.array([2, 5], dtype="<f4").tobytes()})


def test_mixed_inputs_and_outputs(scene: InferenceScene) -> None:
    """Each input and each output is JSON or raw data, whatever the others are."""
    names = texts(b"\xff", b"", b"abc")
    inputs = [described("rows", "FP32", [1, 2], [1, 2]), raw_input("names", "BYTES", [3], names)]
    outputs = [{"name": "names", "parameters": {"binary_data": True}}, {"name": "rows"}]
    found = scene.infer(PAIR, {"inputs": inputs, "outputs": outputs}, names)
    assert (found.data, found.raw) == ({"rows": [1.0, 2.0]}, {"names": names})
    swapped = [described("names", "BYTES", [1], ["a"]), raw_input("rows", "FP32", [1, 2], RAW)]
    assert scene.infer(PAIR, {"inputs": swapped}, RAW).data == {"rows": [1.0, 2.5], "names": ["a"]}


def test_an_output_may_differ_from_the_rest(scene: InferenceScene) -> None:
    """Its own parameter outweighs that of the request."""
    outputs = [{"name": "rows", "parameters": {"binary_data": False}}, {"name": "names"}]
    inputs = [described("names", "BYTES", [1], ["a"]), described("rows", "FP32", [1, 2], [1, 2])]
    wish = {"inputs": inputs, "outputs": outputs, "parameters": {"binary_data_output": True}}
    found = scene.infer(PAIR, wish)
    assert (found.data, found.raw) == ({"rows": [1.0, 2.0]}, {"names": texts(b"a")})


def test_a_size_of_0_is_legal(scene: InferenceScene) -> None:
    """An empty tensor has no data."""
    found = scene.infer("double", {"inputs": [raw_input("x", "FP32", [0, 2], b"")]}, b"")
    assert found.content["outputs"][0] == {"name": "twice", "datatype": "FP32", "shape": [0, 2], "data": []}


def test_raw_data_alone(scene: InferenceScene) -> None:
    """The shape follows from the size; the answer is raw data, too."""
    found = scene.infer("double", RAW + RAW, json_bytes=0)
    assert found.content["outputs"][0]["shape"] == [2, 2]
    assert found.raw == {"twice": np.array([2, 5, 2, 5], dtype="<f4").tobytes()}
    assert scene.infer("upper", b"abc", json_bytes=0).raw == {"output": texts(b"ABC")}
    assert scene.infer("upper", b"", json_bytes=0).raw == {"output": texts(b"")}


def test_raw_data_alone_are_one_item_of_a_batch(scene: InferenceScene) -> None:
    """Where requests are joined, the first dimension is 1, and the rest may have one free size."""
    assert scene.infer("joined", RAW, json_bytes=0).raw == {"output": np.array([3.5], dtype="<f4").tobytes()}


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        (PAIR, RAW, "for one input"),
        ("fp32", RAW, "does not say its shape"),
        ("double", RAW[:-1], "7 bytes of data"),
        ("bytes", b"abc", None),
    ],
)
def test_raw_data_that_say_too_little(scene: InferenceScene, model: str, body: bytes, words: str | None) -> None:
    """A model with several inputs, or several free dimensions, needs JSON; free dimensions of one text are 1."""
    found = scene.infer(model, body, json_bytes=0)
    if words is None:
        assert found.content["outputs"][0]["shape"] == [1, 1]
    else:
        assert words in found.refusal


# ---- what is refused before there is a job


def changed(**fields: Any) -> dict[str, Any]:
    return {"inputs": [{**ROW, **fields}]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (changed(name="y"), "there is no input 'y'"),
        ({"inputs": []}, "the input 'x' is missing"),
        ({"inputs": [ROW, ROW]}, "occurs twice"),
        (changed(datatype="FP64"), "its datatype is 'FP64', and the model takes FP32 of shape [-1, 2]"),
        (changed(datatype="float"), "its datatype is 'float'"),
        (changed(shape=[2]), "its shape is [2]"),
        (changed(shape=[1, 3]), "its shape is [1, 3]"),
        (changed(shape=[-1, 2]), "its shape is [-1, 2]"),
        (changed(shape=[2**60, 2]), "too many elements"),
        ({"inputs": [described("x", "FP32", [1, 2])]}, "neither data nor a binary_data_size"),
        (changed(data=None), "neither data nor a binary_data_size"),
        (changed(parameters={"binary_data_size": 8}), "as well; leave one out"),
        (changed(data=None, parameters={"binary_data_size": 8}), "needs the header"),
        (changed(parameters={"binary_data_size": "8"}), "a whole number of bytes"),
        (changed(parameters={"shared_memory_region": "r"}), "shared memory is not supported"),
        ({"inputs": [ROW], "outputs": [{"name": "output"}]}, "there is no output 'output'"),
        ({"inputs": [ROW], "outputs": [{"name": "twice"}] * 2}, "occurs twice"),
        ({"inputs": [ROW], "outputs": [{"name": "twice", "parameters": {"classification": 2}}]}, "classification"),
        ({"inputs": [ROW], "outputs": [{"name": "twice", "parameters": {"binary_data": 1}}]}, "is true or false"),
        ({"inputs": [ROW], "parameters": {"binary_data_output": "yes"}}, "is true or false"),
        ({"inputs": [ROW], "parameters": {"timeout": -1}}, "microseconds"),
        ({"inputs": [ROW], "parameters": {"timeout": "5"}}, "microseconds"),
        ({"inputs": [ROW], "parameters": {"timeout": True}}, "microseconds"),
        ({"inputs": [ROW], "parameters": {"priority": 1.5}}, "whole number"),
        ({"inputs": [ROW], "parameters": {"sequence_id": 7}}, "sequences are not supported"),
        ({"inputs": [ROW], "parameters": {"sequence_start": True}}, "sequences are not supported"),
        ({"inputs": [{"name": "x"}]}, "`inputs[0].datatype`: it is missing"),
        ({"inputs": {}}, "`inputs`: expected `array`"),
        ([], "expected `object`"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"inputs": "\xff"}', None),
        (b'{"inputs": [' + b"[" * 100_000, None),
    ],
)
def test_a_request_that_does_not_fit(scene: InferenceScene, body: Any, words: str | None) -> None:
    """It is refused by the server itself, with a sentence that names the place."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    with pytest.raises(PenstockError) as caught:
        scene.read("/v2/models/double/infer", content)
    assert caught.value.status in (400, 422)
    refusal = scene.infer("double", content).refusal
    assert words is None or words in refusal


@pytest.mark.parametrize(
    ("inputs", "raw", "words"),
    [
        ([RAW_ROW], RAW[:-1], "and the body has"),
        ([RAW_ROW], RAW + b"x", "and the body has"),
        ([raw_input("x", "FP32", [1, 2], RAW[:-1])], RAW[:-1], "7 bytes of data, and FP32 of shape [1, 2] takes 8"),
        ([described("x", "FP32", [1, 2], parameters={"binary_data_size": -8})], RAW, "0 or more"),
    ],
)
def test_sizes_have_to_add_up(scene: InferenceScene, inputs: list[Any], raw: bytes, words: str) -> None:
    """The JSON, each input and the whole body are compared."""
    content = msgspec.json.encode({"inputs": inputs})
    with pytest.raises(PenstockError):
        scene.read("/v2/models/double/infer", content + raw, {JSON_SIZE: str(len(content))})
    assert words in scene.infer("double", content, raw).refusal


@pytest.mark.parametrize("size", ["x", "-1", "1e3", "٣", "9" * 30, "1000"])
def test_the_header_is_the_size_of_the_json(scene: InferenceScene, size: str) -> None:
    """It is a number, and no more than the body has."""
    body = msgspec.json.encode({"inputs": [ROW]})
    with pytest.raises(MalformedRequest, match="Inference-Header-Content-Length"):
        scene.read("/v2/models/double/infer", body, {JSON_SIZE: size})


def test_the_items_of_a_batch_are_checked(scene: InferenceScene) -> None:
    """A request has at most as many rows as a batch, and takes as much of it as it has rows."""
    path = "/v2/models/joined/infer"

    def rows(number: int) -> bytes:
        return msgspec.json.encode({"inputs": [described("x", "FP32", [number, 1], [0] * number)]})

    form = scene.read(path, rows(3)).input_form
    assert form is not None
    assert form.items == 3
    assert "takes 4 at a time" in scene.post(path, rows(5)).refusal


def test_a_batch_of_lists_takes_any_number_of_rows(scene: InferenceScene) -> None:
    """Its requests are not joined, so each counts as one."""
    body = {"inputs": [described("x", "FP32", [5, 2], [1] * 10)]}
    form = scene.read("/v2/models/listed/infer", msgspec.json.encode(body)).input_form
    assert form is not None
    assert form.items == 1
    assert scene.infer("listed", body).data == {"output": [3.0] * 10}


def test_nothing_of_raw_data_is_read_by_the_server(scene: InferenceScene) -> None:
    """The JSON alone decides: the rest is looked at by the worker only."""
    [operation] = [each for each in scene.dialect.operations if each.path == "/v2/models/double/infer"]
    assert operation.head_bytes is not None
    for headers, wanted in (({}, None), ({JSON_SIZE: "7"}, 7), ({JSON_SIZE: "0"}, 0)):
        assert operation.head_bytes(msgspec.structs.replace(NO_REQUEST, header=headers.get)) == wanted


def test_models_are_found_by_name_and_version(scene: InferenceScene) -> None:
    """Names may have slashes and spaces; what does not exist is a 404."""
    rows = {"inputs": [described("rows", "FP32", [1, 2], [1, 2])]}
    assert scene.infer(f"{PAIR}/versions/3", rows).content["model_version"] == "3"
    for path in ("org/a pair/versions/1/infer", "nothing/infer", "double/versions//infer", "double/generate"):
        with pytest.raises(NotFound):
            scene.read(f"/v2/models/{path}", b"")


def test_timeouts_and_priorities(scene: InferenceScene) -> None:
    """A timeout is in microseconds, and 0 is none; 1 is the highest priority, and 0 says nothing."""
    for parameters, timeout, priority in (
        ({"timeout": 1_500_000, "priority": 1}, 1.5, "interactive"),
        ({"timeout": 0, "priority": 0}, None, None),
        ({"priority": 2}, None, "normal"),
        ({"priority": 7, "sequence_id": 0, "sequence_start": False}, None, "batch"),
        ({"sequence_id": ""}, None, None),
    ):
        payload = scene.read(
            "/v2/models/double/infer", msgspec.json.encode({"inputs": [ROW], "parameters": parameters})
        )
        assert (payload.timeout, payload.priority) == (timeout, priority)
