"""The data of tensors: all datatypes, as JSON and as raw data, in both directions; and what does not fit."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import pytest

from penstock.codec.tensors import DATATYPES
from penstock.hooks import DialectInput
from penstock_oip.tensor_bytes import array_of_bytes
from penstock_oip.tensor_checks import ITEM_BYTES
from penstock_oip.tensor_requests import PlannedInput
from penstock_oip.worker_inputs import decoded_body
from tests.plugins.oip.inference_scene import InferenceScene, Inferred, described, raw_input, texts
from tests.plugins.oip.oip_models import models_app

NUMBERS = [datatype for datatype in DATATYPES if datatype != "BYTES"]
FLOATS = ["FP16", "BF16", "FP32", "FP64"]
INTEGERS = [datatype for datatype in NUMBERS if "INT" in datatype]
AS_RAW = {"parameters": {"binary_data_output": True}}


@pytest.fixture(scope="module")
def scene() -> InferenceScene:
    return InferenceScene(models_app())


def dtype_of(datatype: str) -> Any:
    return np.dtype(ml_dtypes.bfloat16 if datatype == "BF16" else DATATYPES[datatype].dtype)


def extremes(datatype: str) -> Any:
    """Return the smallest and the largest value, and two others."""
    dtype = dtype_of(datatype)
    if datatype == "BOOL":
        return np.array([[True, False], [False, True]])
    info: Any = ml_dtypes.finfo(dtype) if datatype in FLOATS else np.iinfo(dtype)
    return np.array([[info.min, info.max], [0, 1]], dtype=dtype)


def sent(scene: InferenceScene, datatype: str, data: Any, shape: list[int], **more: Any) -> Inferred:
    return scene.infer(datatype.lower(), {"inputs": [described("x", datatype, shape, data)], **more})


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_as_raw_data(scene: InferenceScene, datatype: str) -> None:
    """Little-endian, row by row, and the same back; the sizes of elements are those of numpy."""
    values = extremes(datatype)
    raw = values.tobytes()
    assert len(raw) == 4 * ITEM_BYTES[datatype]
    found = scene.infer(datatype.lower(), {"inputs": [raw_input("x", datatype, [2, 2], raw)], **AS_RAW}, raw)
    assert found.raw == {"output": raw}


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_as_json(scene: InferenceScene, datatype: str) -> None:
    """The largest and the smallest value come back exactly."""
    values = extremes(datatype)
    plain = values.astype("float64").tolist() if datatype == "BF16" else values.tolist()
    found = sent(scene, datatype, plain, [2, 2])
    assert np.array(found.data["output"], dtype=values.dtype).tobytes() == values.tobytes()
    assert sent(scene, datatype, plain, [2, 2], **AS_RAW).raw == {"output": values.tobytes()}


def test_texts(scene: InferenceScene) -> None:
    """UTF-8 in JSON; any bytes as raw data, each with its length in front."""
    assert sent(scene, "BYTES", [["a", "é"], ["", "😀"]], [2, 2]).data == {"output": ["a", "é", "", "😀"]}
    raw = texts(b"\x00\xff", b"", b"long" * 100, b"x")
    found = scene.infer("bytes", {"inputs": [raw_input("x", "BYTES", [2, 2], raw)], **AS_RAW}, raw)
    assert found.raw == {"output": raw}


def test_bytes_that_are_no_text_are_not_sent_as_json(scene: InferenceScene) -> None:
    """The error says to ask for raw data."""
    raw = texts(b"\xff")
    found = scene.infer("bytes", {"inputs": [raw_input("x", "BYTES", [1, 1], raw)]}, raw)
    assert "ask for it with binary_data" in found.refusal


@pytest.mark.parametrize("datatype", DATATYPES)
def test_scalars(scene: InferenceScene, datatype: str) -> None:
    """A scalar has the shape [], and one element, with or without a list around it."""
    value = {"BYTES": "a", "BOOL": True}.get(datatype, 1)
    for data in (value, [value]):
        found = scene.infer(f"{datatype.lower()}-scalar", {"inputs": [described("x", datatype, [], data)]})
        assert (found.content["outputs"][0]["shape"], found.data) == ([], {"output": [value]})


@pytest.mark.parametrize("datatype", FLOATS)
def test_numbers_that_json_does_not_have(scene: InferenceScene, datatype: str) -> None:
    """Bare names, as clients send them and read them; null is NaN."""
    body = b'{"inputs": [{"name": "x", "datatype": "%s", "shape": [1, 5], ' % datatype.encode()
    body += b'"data": [[NaN, Infinity, -Infinity, null, 1]]}]}'
    found = scene.infer(datatype.lower(), body)
    assert list(map(str, found.data["output"])) == ["nan", "inf", "-inf", "nan", "1.0"]
    assert list(map(str, sent(scene, datatype, [None], [1, 1]).data["output"])) == ["nan"]


def test_a_nan_inside_of_text_is_text(scene: InferenceScene) -> None:
    """Nothing of a text is taken for a number."""
    body = b'{"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1, 2], "data": ["NaN", "-Infinity \\" NaN"]}]}'
    payload = scene.read("/v2/models/bytes/infer", body)
    assert payload.input_form is not None
    found = decoded_body(body, payload.input_form.media_type)
    assert isinstance(found, DialectInput)
    assert found.values["x"].tolist() == [[b"NaN", b'-Infinity " NaN']]


@pytest.mark.parametrize("datatype", [each for each in NUMBERS if each not in FLOATS] + ["BYTES"])
def test_other_datatypes_have_no_nan(scene: InferenceScene, datatype: str) -> None:
    """Neither by its bare name, nor as null."""
    for data in ("NaN", "Infinity", "null, null"):
        body = f'{{"inputs": [{{"name": "x", "datatype": "{datatype}", "shape": [1, 1], "data": [{data}]}}]}}'
        assert scene.infer(datatype.lower(), body.encode()).refusal.startswith("`inputs.x`")


@pytest.mark.parametrize(
    ("datatype", "data", "words"),
    [
        ("FP32", [["1"]], "such as '1'"),
        ("FP32", [[True]], "such as True"),
        ("FP32", [[{}]], "such as {}"),
        ("FP32", "text", "such as 'text'"),
        ("FP32", [[1e39]], "a number that FP32 cannot hold"),
        ("FP16", [[70000]], "a number that FP16 cannot hold"),
        ("BF16", [[1e39]], "a number that BF16 cannot hold"),
        ("FP64", [[10**400]], "cannot"),
        ("INT8", [[128]], "a number that INT8 cannot hold"),
        ("UINT8", [[-1]], "a number that UINT8 cannot hold"),
        ("UINT64", [[2**64]], "a number that UINT64 cannot hold"),
        ("INT32", [[1.5]], "a number that INT32 cannot hold"),
        ("INT32", [[1e30]], "a number that INT32 cannot hold"),
        ("INT32", [[None]], "such as null"),
        ("BOOL", [[1]], "such as 1"),
        ("BYTES", [[1]], "its elements are text"),
        ("FP32", [[1, 2]], "it has 2 elements, and its shape [1, 1] has 1"),
        ("FP32", [], "it has 0 elements"),
    ],
)
def test_json_data_that_do_not_fit(scene: InferenceScene, datatype: str, data: Any, words: str) -> None:
    """No other type of element passes for the right one, no number is cut, and the shape is kept to."""
    assert words in sent(scene, datatype, data, [1, 1]).refusal


def test_a_whole_float_is_an_integer(scene: InferenceScene) -> None:
    """JavaScript has no other numbers."""
    assert sent(scene, "INT64", [[1.0, -2.0]], [1, 2]).data == {"output": [1, -2]}


def test_large_integers_are_exact(scene: InferenceScene) -> None:
    """Also among numbers with which numpy would make floats of them."""
    assert sent(scene, "UINT64", [[2**64 - 1, 0]], [1, 2]).data == {"output": [2**64 - 1, 0]}
    assert sent(scene, "INT64", [[2**63 - 1, -(2**63)]], [1, 2]).data == {"output": [2**63 - 1, -(2**63)]}


def test_lists_are_not_nested_without_end(scene: InferenceScene) -> None:
    """No shape has that many dimensions."""
    deep = b"[" * 100 + b"1" + b"]" * 100
    body = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": %s}]}' % deep
    assert "levels deep" in scene.infer("fp32", body).refusal


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (texts(b"a") + b"\x01\x00", "too few"),
        (texts(b"a") + b"\xff\xff\xff\xff", "longer than what is left"),
        (texts(b"a", b"b") + b"x", "1 bytes of its data are left"),
        (texts(b"abcdefgh"), "end within the length"),
    ],
)
def test_raw_texts_that_do_not_fit(scene: InferenceScene, raw: bytes, words: str) -> None:
    """Each length has to be there, and to lead to the next one."""
    found = scene.infer("bytes", {"inputs": [raw_input("x", "BYTES", [2, 1], raw)]}, raw)
    assert words in found.refusal


def test_raw_booleans_are_0_or_anything_else(scene: InferenceScene) -> None:
    """They become 0 and 1: numpy relies on 0 and 1, so others must not reach it."""
    found = scene.infer(
        "bool", {"inputs": [raw_input("x", "BOOL", [1, 3], b"\x00\x02\xff")], **AS_RAW}, b"\x00\x02\xff"
    )
    assert found.raw == {"output": b"\x00\x01\x01"}


@pytest.mark.parametrize("datatype", NUMBERS)
def test_arrays_are_the_handlers_own(datatype: str) -> None:
    """It may change them, and code that needs aligned memory may use them, wherever they were in the body."""
    values = extremes(datatype)
    body = b"{" + values.tobytes()
    planned = PlannedInput("x", datatype, [2, 2], values.nbytes, 1)
    array = array_of_bytes(body, planned)
    assert (array.flags.writeable, array.flags.aligned, array.flags.c_contiguous) == (True, True, True)
    assert array.dtype == values.dtype
    array[:] = 0
    assert body[1:] == values.tobytes()


def test_results_that_are_not_in_order(scene: InferenceScene) -> None:
    """A transposed array, or every second row, is written row by row."""
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    raw = rows.tobytes()
    found = scene.infer("transposed", {"inputs": [raw_input("x", "FP32", [3, 2], raw)], **AS_RAW}, raw)
    assert found.raw == {"output": rows.T.tobytes()}


def test_a_float_is_written_as_it_is(scene: InferenceScene) -> None:
    """All digits that tell a float32 from its neighbours, so that clients read the same number."""
    value = float(np.float32(0.1))
    assert sent(scene, "FP32", [[value]], [1, 1]).data["output"] == [value]
    assert math.isclose(value, 0.1, rel_tol=1e-7)
    assert msgspec.json.encode(value) == b"0.10000000149011612"
