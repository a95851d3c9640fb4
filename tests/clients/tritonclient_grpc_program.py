"""The gRPC client of Triton, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
import queue
import time
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from inference_values import FLOWERS, PLAIN_VALUES
from ml_dtypes import bfloat16
from program import URL, expect, raised_by, run
from tritonclient.utils import InferenceServerException

HOST = URL.partition("://")[2]
VALUES = {**PLAIN_VALUES, "BF16": np.array([[0.5, -3.0]], dtype=bfloat16)}
client = triton.InferenceServerClient(HOST)


def sent(name: str, array: Any, datatype: str) -> Any:
    """Return an input with the data of an array."""
    return triton.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array)


def inferred(model: str, *inputs: Any, output: str = "output", **options: Any) -> Any:
    """Return an output of a model, as an array."""
    return client.infer(model, list(inputs), **options).as_numpy(output)


def refused(model: str, *inputs: Any, **options: Any) -> InferenceServerException:
    """Return the error of a request."""
    return raised_by(lambda: client.infer(model, list(inputs), **options), InferenceServerException)


def expect_words(error: InferenceServerException, status: str, *words: str) -> None:
    """Expect an error with this status, and a message that has these words."""
    expected = (f"StatusCode.{status}", [])
    expect((error.status(), [word for word in words if word not in error.message()]), expected)


# ---- the server and its models


def check_health() -> None:
    expect((client.is_server_live(), client.is_server_ready()), (True, True))
    expect((client.is_model_ready("iris"), client.is_model_ready("none")), (True, False))


def check_server_metadata() -> None:
    expect(client.get_server_metadata().name, "penstock")


def check_model_metadata() -> None:
    metadata = client.get_model_metadata("iris")
    expect((metadata.name, [version != "" for version in metadata.versions]), ("iris", [True]))
    expect([(each.name, each.datatype, list(each.shape)) for each in metadata.inputs], [("x", "FP32", [-1, 4])])
    expect([(each.datatype, list(each.shape)) for each in metadata.outputs], [("INT64", [-1])])
    expect(client.get_model_metadata("org/shout it").name, "org/shout it")


def check_unknown_models() -> None:
    expect_words(refused("none", sent("x", FLOWERS, "FP32")), "NOT_FOUND", "none")
    expect_words(raised_by(lambda: client.get_model_metadata("none"), InferenceServerException), "NOT_FOUND", "none")
    expect_words(refused("iris", sent("x", FLOWERS, "FP32"), model_version="99"), "NOT_FOUND", "99")


# ---- tensors


def check_every_datatype() -> None:
    for datatype, array in VALUES.items():
        found = inferred(f"echo-{datatype.lower()}", sent("x", array, datatype))
        if datatype == "BYTES":
            found = np.array([[item.decode() for item in found[0]]], dtype=object)
        expect((datatype, str(found.dtype), found.tolist()), (datatype, str(array.dtype), array.tolist()))


def check_bytes_that_are_not_text() -> None:
    texts = np.array([[b"\xff\x00", b"", b"a" * 100_000]], dtype=object)
    expect(inferred("echo-bytes", sent("x", texts, "BYTES")).tolist(), texts.tolist())


def check_numbers_that_are_not_finite() -> None:
    for datatype in ("FP16", "FP32", "FP64"):
        numbers = [[float("nan"), float("inf"), float("-inf"), -0.0]]
        array = np.array(numbers, dtype=VALUES[datatype].dtype)
        found = inferred(f"echo-{datatype.lower()}", sent("x", array, datatype))
        expect((datatype, str(found.tolist())), (datatype, str(numbers)))


def check_scalars() -> None:
    found = inferred("scalar", sent("x", np.array(1.5), "FP64"))
    expect((found.shape, found.item()), ((), 2.5))


def check_empty_tensors() -> None:
    for datatype, array in VALUES.items():
        found = inferred(f"echo-{datatype.lower()}", sent("x", np.empty((0, 3), dtype=array.dtype), datatype))
        expect((datatype, found.shape), (datatype, (0, 3)))


def check_typed_contents() -> None:
    """The other way to send data, for which the client has no method."""
    request = triton.service_pb2.ModelInferRequest(model_name="iris")
    given = request.inputs.add(name="x", datatype="FP32", shape=[2, 4])
    given.contents.fp32_contents.extend(FLOWERS.ravel().tolist())
    answer = client._client_stub.ModelInfer(request)
    [output] = answer.outputs
    expect((output.datatype, list(output.shape)), ("INT64", [2]))
    expect(list(output.contents.int64_contents), [0, 3])


# ---- inputs and outputs


def pair_of() -> list[Any]:
    """Return the inputs of a model with two."""
    a, b = np.array([1, 2, 3], dtype=np.float32), np.array([3, 2, 1], dtype=np.float32)
    return [sent("a", a, "FP32"), sent("b", b, "FP32")]


def check_several_outputs() -> None:
    result = client.infer("pair", pair_of())
    expect(result.as_numpy("total").tolist(), [4, 4, 4])
    expect(result.as_numpy("difference").tolist(), [-2, 0, 2])
    expect(result.as_numpy("signs").tolist(), [b"<", b"=", b">"])


def check_named_outputs() -> None:
    result = client.infer("pair", pair_of(), outputs=[triton.InferRequestedOutput(name) for name in ("signs", "total")])
    expect([each.name for each in result.get_response().outputs], ["signs", "total"])
    expect(result.as_numpy("difference"), None)
    expect(result.as_numpy("signs").tolist(), [b"<", b"=", b">"])


def check_ids() -> None:
    answer = client.infer("iris", [sent("x", FLOWERS, "FP32")], request_id='a "1"').get_response()
    expect((answer.id, answer.model_name, answer.model_version != ""), ('a "1"', "iris", True))


# ---- mistakes and parameters


def check_mistakes_are_readable() -> None:
    kind = "INVALID_ARGUMENT"
    expect_words(refused("iris", sent("y", FLOWERS, "FP32")), kind, "y")
    expect_words(refused("iris", sent("x", FLOWERS.astype(np.float64), "FP64")), kind, "FP64", "FP32")
    expect_words(refused("iris", sent("x", FLOWERS[:, :3], "FP32")), kind, "x", "[2, 3]")
    expect_words(refused("pair", pair_of()[0]), kind, "b")
    expect_words(refused("iris", sent("x", FLOWERS, "FP32").set_shape([3, 4])), kind, "x")
    expect_words(refused("pair", *pair_of(), outputs=[triton.InferRequestedOutput("none")]), kind, "none")
    expect_words(refused("pair", *pair_of(), outputs=[triton.InferRequestedOutput("total", class_count=2)]), kind)


def check_the_error_of_a_model() -> None:
    expect_words(refused("failing", sent("x", np.zeros(1, dtype=np.float32), "FP32")), "INTERNAL")


def check_a_timeout_in_microseconds() -> None:
    begin = time.monotonic()
    error = refused("slow", sent("seconds", np.array(30.0), "FP64"), timeout=200_000)
    expect((error.status() in ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.UNAVAILABLE")), True)
    expect(time.monotonic() - begin < 10, True)


def check_the_deadline_of_the_call() -> None:
    begin = time.monotonic()
    error = refused("slow", sent("seconds", np.array(30.0), "FP64"), client_timeout=0.2)
    expect((error.status(), time.monotonic() - begin < 10), ("StatusCode.DEADLINE_EXCEEDED", True))


def check_sequences_are_refused() -> None:
    error = refused("iris", sent("x", FLOWERS, "FP32"), sequence_id=7, sequence_start=True)
    expect_words(error, "INVALID_ARGUMENT", "sequence")


def check_parameters() -> None:
    options: dict[str, Any] = {"priority": 1, "parameters": {"text": "a", "number": 1, "flag": True}}
    expect(inferred("iris", sent("x", FLOWERS, "FP32"), **options).tolist(), [0, 3])


def check_compression() -> None:
    array = np.zeros((100, 1000), dtype=np.float32)
    for algorithm in ("gzip", "deflate"):
        expect(inferred("echo-fp32", sent("x", array, "FP32"), compression_algorithm=algorithm).shape, (100, 1000))


# ---- many at a time, and large ones


def check_parallel_requests() -> None:
    answers: queue.Queue[Any] = queue.Queue()
    for number in range(50):
        array = np.full((1, 3), number, dtype=np.float32)
        client.async_infer("echo-fp32", [sent("x", array, "FP32")], lambda result, error: answers.put((result, error)))
    found = [answers.get(timeout=30) for _ in range(50)]
    expect([error for _, error in found if error], [])
    expect(sorted(result.as_numpy("output")[0, 0] for result, _ in found), list(range(50)))


def check_a_stream_of_requests() -> None:
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    try:
        for number in range(20):
            array = np.full((1, 3), number, dtype=np.float32)
            client.async_stream_infer("echo-fp32", [sent("x", array, "FP32")], request_id=str(number))
        client.async_stream_infer("iris", [sent("y", FLOWERS, "FP32")], request_id="wrong")
        found = [answers.get(timeout=30) for _ in range(21)]
    finally:
        client.stop_stream()
    results = [(result.get_response().id, result.as_numpy("output")[0, 0]) for result, error in found if not error]
    expect(results, [(str(number), number) for number in range(20)])
    expect(["y" in str(error) for _, error in found if error], [True])


def check_large_tensors() -> None:
    array = np.arange(8 * 2**20, dtype=np.float32).reshape(8, 2**20)
    expect(bool((inferred("echo-fp32", sent("x", array, "FP32")) == array).all()), True)


async def check_asynchronously() -> None:
    async with triton_aio.InferenceServerClient(HOST) as asynchronous:
        expect((await asynchronous.is_server_live(), await asynchronous.is_model_ready("iris")), (True, True))
        results = await asyncio.gather(
            *(asynchronous.infer("iris", [sent("x", FLOWERS, "FP32")]) for _ in range(20)),
        )
        expect([each.as_numpy("output").tolist() for each in results], [[0, 3]] * 20)


if __name__ == "__main__":
    run(dict(globals()))
