"""MLServer's types and codecs, which build requests and read responses, and its command for batches of requests."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import urllib3
from inference_values import FLOWERS
from mlserver.codecs import Base64Codec, NumpyCodec, NumpyRequestCodec, PandasCodec, StringCodec, StringRequestCodec
from mlserver.types import (
    InferenceErrorResponse,
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
    Parameters,
    RepositoryIndexResponse,
    RequestInput,
    RequestOutput,
)
from program import URL, expect, run

pool = urllib3.PoolManager(retries=False)


def answered(path: str, body: str | None = None) -> Any:
    """Return the response to a request."""
    headers = {"Content-Type": "application/json"} if body else {}
    return pool.request("POST" if body is not None else "GET", f"{URL}/v2{path}", body=body, headers=headers)


def inferred(model: str, request: InferenceRequest, *, with_nulls: bool = False) -> InferenceResponse:
    """Return the response of a model; the request may have its missing values as nulls, as its users write it."""
    body = json.dumps(request.model_dump(mode="json", exclude_none=not with_nulls))
    answer = answered(f"/models/{quote(model)}/infer", body)
    expect((answer.status, answer.data[:200] if answer.status != 200 else b""), (200, b""))
    return InferenceResponse.model_validate_json(answer.data)


def check_metadata() -> None:
    server = MetadataServerResponse.model_validate_json(answered("").data)
    expect((server.name, "binary_tensor_data" in server.extensions), ("penstock", True))
    model = MetadataModelResponse.model_validate_json(answered("/models/iris").data)
    expect((model.name, model.inputs[0].datatype, model.inputs[0].shape), ("iris", "FP32", [-1, 4]))


def check_the_repository_index() -> None:
    for body in ("", "{}", '{"ready": true}'):
        index = RepositoryIndexResponse.model_validate_json(answered("/repository/index", body).data)
        expect([each.state for each in index.root if each.name == "iris"], ["READY"])


def check_numpy() -> None:
    for dtype in ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"):
        array = np.array([[0, 1], [1, 0]], dtype=dtype)
        response = inferred(f"echo-{dtype}", InferenceRequest(inputs=[NumpyCodec.encode_input("x", array)]))
        found = NumpyCodec.decode_output(response.outputs[0])
        expect((str(found.dtype), found.tolist()), (dtype, array.tolist()))


def check_floats() -> None:
    for bits in (16, 32, 64):
        array = np.array([[0.1, -2.5]], dtype=f"float{bits}")
        response = inferred(f"echo-fp{bits}", InferenceRequest(inputs=[NumpyCodec.encode_input("x", array)]))
        expect(NumpyCodec.decode_output(response.outputs[0]).tolist(), array.tolist())


def check_numpy_requests() -> None:
    request = NumpyRequestCodec.encode_request(FLOWERS)
    request.inputs[0].name = "x"
    for with_nulls in (True, False):
        response = inferred("iris", request, with_nulls=with_nulls)
        expect(NumpyRequestCodec.decode_response(response).tolist(), [0, 3])


def check_a_missing_number_is_null() -> None:
    array = np.array([[1.0, float("nan")]], dtype=np.float32)
    request = InferenceRequest(inputs=[NumpyCodec.encode_input("x", array)])
    expect(request.inputs[0].data.root, [1.0, None])
    [output] = inferred("echo-fp32", request).outputs
    expect(str(np.array(output.data.root, dtype=float).ravel().tolist()), "[1.0, nan]")


def check_strings() -> None:
    given = StringCodec.encode_input("x", ["a", "é", ""], use_bytes=False)
    response = inferred("echo-bytes", InferenceRequest(inputs=[given]))
    expect(StringCodec.decode_output(response.outputs[0]), ["a", "é", ""])
    request = StringRequestCodec.encode_request(["quiet"], use_bytes=False)
    request.inputs[0].name, request.inputs[0].shape = "text", [1]
    expect(StringRequestCodec.decode_response(inferred("org/shout it", request)), ["QUIET"])


def check_base64() -> None:
    given = Base64Codec.encode_input("x", [b"\xff\x00", b"text"], use_bytes=False)
    response = inferred("echo-bytes", InferenceRequest(inputs=[given]))
    expect(Base64Codec.decode_output(response.outputs[0]), [b"\xff\x00", b"text"])


def check_pandas() -> None:
    frame = pd.DataFrame({"amount": [1.5, 2.5], "count": [1, 2], "name": pd.Series(["a", "é"], dtype=object)})
    response = inferred("table", PandasCodec.encode_request(frame, use_bytes=False))
    found = PandasCodec.decode_response(response)
    expect(list(found.columns), ["total", "title"])
    expect(([float(each) for each in found["total"]], list(found["title"])), ([1.5, 5.0], ["A", "É"]))


def check_outputs_and_ids() -> None:
    vectors = [NumpyCodec.encode_input(name, np.array([1, 2], dtype=np.float32)) for name in "ab"]
    for vector in vectors:
        vector.shape = [2]
    request = InferenceRequest(id="1", inputs=vectors, outputs=[RequestOutput(name="total")])
    response = inferred("pair", request, with_nulls=True)
    expect((response.id, [output.name for output in response.outputs]), ("1", ["total"]))
    expect(response.outputs[0].data.root, [2.0, 4.0])


def check_nested_data() -> None:
    given = RequestInput(name="x", shape=[2, 4], datatype="FP32", data=FLOWERS.tolist())
    expect(inferred("iris", InferenceRequest(inputs=[given])).outputs[0].data.root, [0, 3])


def check_parameters_of_its_own() -> None:
    parameters = Parameters(content_type="np", headers={"a": "b"}, extra=[1, {"b": None}])
    request = InferenceRequest(inputs=[NumpyCodec.encode_input("x", FLOWERS)], parameters=parameters)
    expect(inferred("iris", request).outputs[0].data.root, [0, 3])


def check_errors() -> None:
    request = InferenceRequest(inputs=[NumpyCodec.encode_input("none", FLOWERS)])
    answer = answered("/models/iris/infer", request.model_dump_json())
    expect((answer.status, "none" in InferenceErrorResponse.model_validate_json(answer.data).error), (400, True))
    answer = answered("/models/none/infer", request.model_dump_json())
    expect((answer.status, "none" in InferenceErrorResponse.model_validate_json(answer.data).error), (404, True))


def check_its_command_for_many_requests() -> None:
    request = InferenceRequest(inputs=[NumpyCodec.encode_input("x", FLOWERS)])
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "given.jsonl", Path(folder) / "found.jsonl"
        given.write_text(f"{request.model_dump_json(exclude_none=True)}\n" * 40, encoding="utf-8")
        command = [
            str(Path(sys.executable).with_name("mlserver")),
            "infer",
            "-u",
            URL.partition("://")[2],
            "-m",
            "iris",
        ]
        options = ["-i", str(given), "-o", str(found), "--workers", "4", "-t", "rest"]
        subprocess.run([*command, *options], check=True, capture_output=True, timeout=60)
        lines = found.read_text(encoding="utf-8").splitlines()
    responses = [InferenceResponse.model_validate_json(line) for line in lines]
    expect([each.outputs[0].data.root for each in responses], [[0, 3]] * 40)


if __name__ == "__main__":
    run(dict(globals()))
