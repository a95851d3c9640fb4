"""The HTTP client of Triton, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from inference_values import FLOWERS, PLAIN_VALUES
from ml_dtypes import bfloat16
from program import KEY, URL, expect, raised_by, run
from tritonclient.utils import InferenceServerException

HOST = URL.partition("://")[2]  # it may have a path
VALUES = {**PLAIN_VALUES, "BF16": np.array([[0.5, -3.0]], dtype=bfloat16)}


class KeyPlugin(triton.InferenceServerClientPlugin):
    """The client's own way to send a key with each request."""

    def __call__(self, request: triton.Request) -> None:
        request.headers["Authorization"] = f"Bearer {KEY}"


def with_key(new_client: Any) -> Any:
    """Return a client that sends the key."""
    new_client.register_plugin(KeyPlugin())
    return new_client


client = with_key(triton.InferenceServerClient(HOST, concurrency=16))
"""One for all checks, as its documentation recommends; it has 16 connections."""


def sent(name: str, array: Any, datatype: str, *, binary: bool = True) -> triton.InferInput:
    """Return an input with the data of an array."""
    return triton.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array, binary_data=binary)


def output_of(model: str) -> str:
    """Return the name of the only output of a model."""
    [output] = client.get_model_metadata(model)["outputs"]
    return str(output["name"])


def inferred(model: str, *inputs: Any, **options: Any) -> Any:
    """Return the only output of a model, as an array."""
    return client.infer(model, list(inputs), **options).as_numpy(output_of(model))


def refused(model: str, *inputs: Any, **options: Any) -> InferenceServerException:
    """Return the error of a request."""
    return raised_by(lambda: client.infer(model, list(inputs), **options), InferenceServerException)


def expect_words(error: InferenceServerException, status: str, *words: str) -> None:
    """Expect an error with this status, and a message that has these words; and that it can be printed."""
    expect((error.status(), [word for word in words if word not in error.message()]), (status, []))
    expect(f"[{status}] {error.message()}", str(error))


# ---- the server and its models


def check_health() -> None:
    expect((client.is_server_live(), client.is_server_ready()), (True, True))
    expect((client.is_model_ready("iris"), client.is_model_ready("none")), (True, False))


def check_server_metadata() -> None:
    metadata = client.get_server_metadata()
    expect((metadata["name"], "binary_tensor_data" in metadata["extensions"]), ("penstock", True))
    expect(type(metadata["version"]), str)


def check_model_metadata() -> None:
    metadata = client.get_model_metadata("iris")
    expect((metadata["name"], metadata["platform"] != ""), ("iris", True))
    expect(metadata["inputs"], [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}])
    expect([(each["datatype"], each["shape"]) for each in metadata["outputs"]], [("INT64", [-1])])
    several = client.get_model_metadata("pair")
    expect([each["name"] for each in several["inputs"]], ["a", "b"])
    expect([each["name"] for each in several["outputs"]], ["total", "difference", "signs"])


def check_versions() -> None:
    [version] = client.get_model_metadata("iris")["versions"]
    expect(client.is_model_ready("iris", version), True)
    expect(client.get_model_metadata("iris", version)["name"], "iris")
    expect(inferred("iris", sent("x", FLOWERS, "FP32"), model_version=version).tolist(), [0, 3])
    expect_words(refused("iris", sent("x", FLOWERS, "FP32"), model_version="99"), "404", "99")
    expect(client.is_model_ready("iris", "99"), False)


def check_config() -> None:
    config = client.get_model_config("iris")
    expect((config["name"], [each["name"] for each in config["input"]]), ("iris", ["x"]))
    expect(config["input"][0]["data_type"], "TYPE_FP32")
    expect(int(client.get_model_config("rows")["max_batch_size"]), 64)


def check_statistics() -> None:
    def count() -> int:
        [stats] = client.get_inference_statistics("iris")["model_stats"]
        expect(stats["name"], "iris")
        return int(stats["inference_stats"]["success"]["count"])

    before = count()
    client.infer("iris", [sent("x", FLOWERS, "FP32")])
    expect(count() - before, 1)
    names = {each["name"] for each in client.get_inference_statistics()["model_stats"]}
    expect({"iris", "pair", "org/shout it"} <= names, True)


def check_repository_index() -> None:
    index = client.get_model_repository_index()
    expect([each["state"] for each in index if each["name"] == "iris"], ["READY"])
    expect("org/shout it" in {each["name"] for each in index}, True)


def check_loading_is_refused() -> None:
    for change in (client.load_model, client.unload_model):
        error = raised_by(lambda change=change: change("iris"), InferenceServerException)
        expect((error.status() in ("400", "501"), error.message() != ""), (True, True))
    expect(client.is_model_ready("iris"), True)


def check_unknown_models() -> None:
    expect_words(refused("none", sent("x", FLOWERS, "FP32")), "404", "none")
    for ask in (client.get_model_metadata, client.get_model_config, client.get_inference_statistics):
        expect_words(raised_by(lambda ask=ask: ask("none"), InferenceServerException), "404", "none")


def check_a_name_with_a_slash_and_a_space() -> None:
    text = np.array(["quiet"], dtype=object)
    expect(client.is_model_ready("org/shout it"), True)
    expect(client.get_model_metadata("org/shout it")["name"], "org/shout it")
    expect(inferred("org/shout it", sent("text", text, "BYTES")).tolist(), [b"QUIET"])
    [version] = client.get_model_metadata("org/shout it")["versions"]
    expect(inferred("org/shout it", sent("text", text, "BYTES"), model_version=version).tolist(), [b"QUIET"])
    expect(client.get_model_config("org/shout it")["name"], "org/shout it")


# ---- tensors


def expect_echo(datatype: str, *, binary: bool, binary_output: bool) -> None:
    array, model = VALUES[datatype], f"echo-{datatype.lower()}"
    outputs = [triton.InferRequestedOutput(output_of(model), binary_data=binary_output)]
    result = client.infer(model, [sent("x", array, datatype, binary=binary)], outputs=outputs)
    expect("data" in result.get_output(output_of(model)), not binary_output)
    found = result.as_numpy(output_of(model))
    if datatype == "BYTES" and binary_output:
        found = np.array([[item.decode() for item in found[0]]], dtype=object)
    expect((datatype, str(found.dtype), found.tolist()), (datatype, str(array.dtype), array.tolist()))


def check_json_to_json() -> None:
    for datatype in VALUES:
        if datatype != "BF16":  # which this client sends and reads as binary data only
            expect_echo(datatype, binary=False, binary_output=False)


def check_json_to_binary() -> None:
    for datatype in VALUES:
        if datatype != "BF16":
            expect_echo(datatype, binary=False, binary_output=True)


def check_binary_to_json() -> None:
    for datatype in VALUES:
        expect_echo(datatype, binary=True, binary_output=False)


def check_binary_to_binary() -> None:
    for datatype in VALUES:
        expect_echo(datatype, binary=True, binary_output=True)


def check_bytes_that_are_not_text() -> None:
    texts = np.array([[b"\xff\x00", b"", b"a" * 100_000]], dtype=object)
    expect(inferred("echo-bytes", sent("x", texts, "BYTES")).tolist(), texts.tolist())
    outputs = [triton.InferRequestedOutput(output_of("echo-bytes"), binary_data=False)]
    error = refused("echo-bytes", sent("x", texts, "BYTES"), outputs=outputs)
    expect((error.status() in ("400", "500"), "UTF-8" in error.message()), (True, True))


def check_numbers_that_are_not_finite() -> None:
    for datatype in ("FP16", "FP32", "FP64"):
        model, numbers = f"echo-{datatype.lower()}", [[float("nan"), float("inf"), float("-inf"), -0.0]]
        array = np.array(numbers, dtype=VALUES[datatype].dtype)
        for binary in (True, False):
            for binary_output in (True, False):
                outputs = [triton.InferRequestedOutput(output_of(model), binary_data=binary_output)]
                found = inferred(model, sent("x", array, datatype, binary=binary), outputs=outputs)
                expect(
                    (model, binary, binary_output, str(found.tolist())), (model, binary, binary_output, str(numbers))
                )


def check_a_bfloat16_keeps_its_bits() -> None:
    bits = np.array([[0x0001, 0x7F80, 0xFF80, 0x7FC0, 0x3F80, 0x8000]], dtype=np.uint16)
    expect(inferred("echo-bf16", sent("x", bits.view(bfloat16), "BF16")).view(np.uint16).tolist(), bits.tolist())


def check_scalars() -> None:
    for binary in (True, False):
        found = inferred("scalar", sent("x", np.array(1.5), "FP64", binary=binary))
        expect((binary, found.shape, found.item()), (binary, (), 2.5))


def check_empty_tensors() -> None:
    for datatype, array in VALUES.items():
        empty = np.empty((0, 3), dtype=array.dtype)
        for binary in (True, False):
            if binary or datatype != "BF16":
                found = inferred(f"echo-{datatype.lower()}", sent("x", empty, datatype, binary=binary))
                expect((datatype, binary, found.shape), (datatype, binary, (0, 3)))


def check_fortran_order() -> None:
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    expect(inferred("echo-fp32", sent("x", array, "FP32")).tolist(), array.tolist())


# ---- inputs and outputs


def pair_of(*, first: bool = True, second: bool = True) -> list[Any]:
    """Return the inputs of a model with two, each as binary data or not."""
    a, b = np.array([1, 2, 3], dtype=np.float32), np.array([3, 2, 1], dtype=np.float32)
    return [sent("a", a, "FP32", binary=first), sent("b", b, "FP32", binary=second)]


def check_several_outputs() -> None:
    for first in (True, False):
        for second in (True, False):
            result = client.infer("pair", pair_of(first=first, second=second))
            expect(result.as_numpy("total").tolist(), [4, 4, 4])
            expect(result.as_numpy("difference").tolist(), [-2, 0, 2])
            expect(result.as_numpy("signs").tolist(), [b"<", b"=", b">"])


def check_the_order_of_inputs_is_free() -> None:
    expect(client.infer("pair", pair_of()[::-1]).as_numpy("difference").tolist(), [-2, 0, 2])
    mixed = pair_of(first=False)[::-1]
    expect(client.infer("pair", mixed).as_numpy("difference").tolist(), [-2, 0, 2])


def check_named_outputs() -> None:
    wanted = [triton.InferRequestedOutput("signs"), triton.InferRequestedOutput("total", binary_data=False)]
    result = client.infer("pair", pair_of(), outputs=wanted)
    expect([each["name"] for each in result.get_response()["outputs"]], ["signs", "total"])
    expect(result.get_output("total")["data"], [4, 4, 4])
    expect(result.as_numpy("signs").tolist(), [b"<", b"=", b">"])
    expect(result.as_numpy("difference"), None)


def check_an_unknown_output() -> None:
    expect_words(refused("pair", *pair_of(), outputs=[triton.InferRequestedOutput("none")]), "400", "none")


def check_classification_is_refused() -> None:
    wanted = [triton.InferRequestedOutput("total", class_count=2)]
    expect_words(refused("pair", *pair_of(), outputs=wanted), "400", "classification")


def check_shared_memory_is_refused() -> None:
    shared = triton.InferInput("x", [1, 4], "FP32")
    shared.set_shared_memory("region", 16)
    expect_words(refused("iris", shared), "400", "shared")
    output = triton.InferRequestedOutput(output_of("iris"))
    output.set_shared_memory("region", 16)
    expect_words(refused("iris", sent("x", FLOWERS, "FP32"), outputs=[output]), "400", "shared")


def check_ids() -> None:
    result = client.infer("iris", [sent("x", FLOWERS, "FP32")], request_id='a "1" é')
    expect(result.get_response()["id"], 'a "1" é')
    expect(result.get_response()["model_name"], "iris")


# ---- mistakes


def check_mistakes_are_readable() -> None:
    expect_words(refused("iris", sent("y", FLOWERS, "FP32")), "400", "y")
    expect_words(refused("iris", sent("x", FLOWERS.astype(np.float64), "FP64")), "400", "FP64", "FP32")
    expect_words(refused("iris", sent("x", FLOWERS[:, :3], "FP32")), "400", "x", "[2, 3]")
    expect_words(refused("pair", pair_of()[0]), "400", "b")
    expect_words(refused("iris", sent("x", FLOWERS, "FP32"), sent("x", FLOWERS, "FP32")), "400", "x")
    expect_words(refused("iris"), "400", "x")


def check_a_shape_that_the_data_does_not_fit() -> None:
    for binary in (True, False):
        wrong = sent("x", FLOWERS, "FP32", binary=binary).set_shape([3, 4])
        expect_words(refused("iris", wrong), "400", "x")


def check_the_error_of_a_model() -> None:
    error = refused("failing", sent("x", np.zeros(1, dtype=np.float32), "FP32"))
    expect((error.status(), error.message() != ""), ("500", True))
    expect_words(refused("wrong", sent("x", np.zeros(1, dtype=np.float32), "FP32")), "500")


# ---- parameters


def check_a_timeout_in_microseconds() -> None:
    begin = time.monotonic()
    error = refused("slow", sent("seconds", np.array(30.0), "FP64"), timeout=200_000)
    expect((error.status() in ("503", "504"), time.monotonic() - begin < 10), (True, True))
    expect(inferred("slow", sent("seconds", np.array(0.01), "FP64"), timeout=20_000_000).item(), 0.01)


def check_priorities() -> None:
    for priority in (0, 1, 9):
        expect(inferred("iris", sent("x", FLOWERS, "FP32"), priority=priority).tolist(), [0, 3])


def check_sequences_are_refused() -> None:
    for sequence in (7, "seven"):
        error = refused("iris", sent("x", FLOWERS, "FP32"), sequence_id=sequence, sequence_start=True)
        expect_words(error, "400", "sequence")
    expect(inferred("iris", sent("x", FLOWERS, "FP32"), sequence_id=0).tolist(), [0, 3])


def check_further_parameters() -> None:
    parameters = {"text": "a", "number": 1, "flag": True}
    expect(inferred("iris", sent("x", FLOWERS, "FP32"), parameters=parameters).tolist(), [0, 3])


def check_headers_and_queries() -> None:
    options: dict[str, Any] = {"headers": {"X-Request-Id": "from-triton"}, "query_params": {"a": "b"}}
    expect(inferred("iris", sent("x", FLOWERS, "FP32"), **options).tolist(), [0, 3])


# ---- compression


def check_compressed_requests() -> None:
    array = np.zeros((100, 1000), dtype=np.float32)
    for algorithm in ("gzip", "deflate"):
        for binary in (True, False):
            given = sent("x", array, "FP32", binary=binary)
            found = inferred("echo-fp32", given, request_compression_algorithm=algorithm)
            expect((algorithm, binary, found.shape), (algorithm, binary, (100, 1000)))


def check_compressed_responses() -> None:
    array = np.zeros((100, 1000), dtype=np.float32)
    name = output_of("echo-fp32")
    for algorithm in ("gzip", "deflate"):
        for binary in (True, False):
            outputs = [triton.InferRequestedOutput(name, binary_data=binary)]
            options: dict[str, Any] = {"outputs": outputs, "response_compression_algorithm": algorithm}
            found = inferred("echo-fp32", sent("x", array, "FP32"), **options)
            expect((algorithm, binary, found.shape), (algorithm, binary, (100, 1000)))


def check_compression_both_ways() -> None:
    for algorithm in ("gzip", "deflate"):
        options = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
        expect(inferred("iris", sent("x", FLOWERS, "FP32"), **options).tolist(), [0, 3])
        expect_words(refused("iris", sent("y", FLOWERS, "FP32"), **options), "400", "y")


# ---- many at a time, and large ones


def check_parallel_requests() -> None:
    given = [np.full((1, 3), number, dtype=np.float32) for number in range(100)]
    pending = [client.async_infer("echo-fp32", [sent("x", array, "FP32")]) for array in given]
    found = [each.get_result().as_numpy(output_of("echo-fp32")) for each in pending]
    expect([array.tolist() for array in found], [array.tolist() for array in given])


def check_a_batch_is_joined() -> None:
    given = [np.full((2, 2), number, dtype=np.float32) for number in range(16)]
    pending = [client.async_infer("rows", [sent("x", array, "FP32")]) for array in given]
    name = output_of("rows")
    found = [each.get_result().as_numpy(name) for each in pending]
    expect([array[:, 0].tolist() for array in found], [[number, number] for number in range(16)])
    if max(array[0, 1] for array in found) < 4:
        raise AssertionError(f"at most {max(array[0, 1] for array in found)} rows were handled together")


def check_no_rows_of_a_batch() -> None:
    for binary in (True, False):
        found = inferred("rows", sent("x", np.empty((0, 2), dtype=np.float32), "FP32", binary=binary))
        expect((binary, found.shape), (binary, (0, 2)))


def check_more_rows_than_a_batch_are_refused() -> None:
    expect_words(refused("rows", sent("x", np.zeros((65, 2), dtype=np.float32), "FP32")), "400", "64")


def check_large_tensors() -> None:
    array = np.arange(8 * 2**20, dtype=np.float32).reshape(8, 2**20)
    expect(bool((inferred("echo-fp32", sent("x", array, "FP32")) == array).all()), True)


async def check_asynchronously() -> None:
    async with with_key(triton_aio.InferenceServerClient(HOST)) as asynchronous:
        expect((await asynchronous.is_server_live(), await asynchronous.is_server_ready()), (True, True))
        expect(await asynchronous.is_model_ready("none"), False)
        expect((await asynchronous.get_server_metadata())["name"], "penstock")
        expect((await asynchronous.get_model_metadata("iris"))["inputs"][0]["name"], "x")
        expect(len(await asynchronous.get_model_repository_index()) > 10, True)
        results = await asyncio.gather(
            *(asynchronous.infer("iris", [sent("x", FLOWERS, "FP32", binary=place % 2 == 0)]) for place in range(20))
        )
        expect([each.as_numpy(output_of("iris")).tolist() for each in results], [[0, 3]] * 20)


async def check_errors_asynchronously() -> None:
    async with with_key(triton_aio.InferenceServerClient(HOST)) as asynchronous:
        try:
            await asynchronous.infer("iris", [sent("y", FLOWERS, "FP32")])
        except InferenceServerException as error:
            expect_words(error, "400", "y")
        else:
            raise AssertionError("nothing was raised")


async def check_compression_asynchronously() -> None:
    array = np.zeros((100, 1000), dtype=np.float32)
    async with with_key(triton_aio.InferenceServerClient(HOST)) as asynchronous:
        for algorithm in (None, "gzip", "deflate"):
            result = await asynchronous.infer(
                "echo-fp32",
                [sent("x", array, "FP32")],
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
            )
            expect((algorithm, result.as_numpy(output_of("echo-fp32")).shape), (algorithm, (100, 1000)))


if __name__ == "__main__":
    run(dict(globals()))
