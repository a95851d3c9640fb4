"""The REST client of KServe, in the second version of the protocol."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import numpy as np
from inference_values import FLOWERS, PLAIN_VALUES
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from program import URL, expect, run


def new_client() -> InferenceRESTClient:
    return InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=60))


def sent(name: str, array: Any, datatype: str, *, binary: bool) -> InferInput:
    """Return an input with the data of an array."""
    infer_input = InferInput(name, list(array.shape), datatype)
    infer_input.set_data_from_numpy(array, binary_data=binary)
    return infer_input


async def inferred(model: str, *inputs: InferInput, url: str = URL, **options: Any) -> Any:
    """Return the response of a model."""
    async with new_client() as client:
        return await client.infer(url, InferRequest(model, list(inputs), **options), model_name=model)


async def refused(model: str, *inputs: InferInput, **options: Any) -> httpx.HTTPStatusError:
    """Return the error of a request."""
    try:
        await inferred(model, *inputs, **options)
    except httpx.HTTPStatusError as error:
        return error
    raise AssertionError("nothing was raised")


async def check_health() -> None:
    async with new_client() as client:
        expect((await client.is_server_live(URL), await client.is_server_ready(URL)), (True, True))
        expect(await client.is_model_ready(URL, "iris"), True)
        expect(await client.is_model_ready(URL, "none"), False)


async def check_json() -> None:
    for datatype, array in PLAIN_VALUES.items():
        if datatype != "FP16":  # which this client sends as binary data only
            response = await inferred(f"echo-{datatype.lower()}", sent("x", array, datatype, binary=False))
            expect((datatype, response.outputs[0].as_numpy().tolist()), (datatype, array.tolist()))


async def check_binary_inputs() -> None:
    for datatype, array in PLAIN_VALUES.items():
        response = await inferred(f"echo-{datatype.lower()}", sent("x", array, datatype, binary=True))
        expect((datatype, response.outputs[0].as_numpy().tolist()), (datatype, array.tolist()))


async def check_binary_outputs() -> None:
    for datatype, array in PLAIN_VALUES.items():
        given = sent("x", array, datatype, binary=True)
        response = await inferred(f"echo-{datatype.lower()}", given, parameters={"binary_data_output": True})
        expect((datatype, response.outputs[0].as_numpy().tolist()), (datatype, array.tolist()))


async def check_empty_tensors() -> None:
    for binary in (True, False):
        empty = np.empty((0, 3), dtype=np.float32)
        response = await inferred("echo-fp32", sent("x", empty, "FP32", binary=binary))
        expect((binary, response.outputs[0].as_numpy().shape), (binary, (0, 3)))


async def check_numbers_that_are_not_finite() -> None:
    numbers = [[float("nan"), float("inf"), float("-inf"), 0.5]]
    given = sent("x", np.array(numbers, dtype=np.float32), "FP32", binary=True)
    response = await inferred("echo-fp32", given, parameters={"binary_data_output": True})
    expect(str(response.outputs[0].as_numpy().tolist()), str(numbers))


async def check_named_outputs() -> None:
    a, b = np.array([1, 2], dtype=np.float32), np.array([2, 1], dtype=np.float32)
    for binary in (True, False):
        outputs = [RequestedOutput("signs", {"binary_data": True}), RequestedOutput("total", {"binary_data": False})]
        given = [sent("a", a, "FP32", binary=binary), sent("b", b, "FP32", binary=not binary)]
        response = await inferred("pair", *given, request_outputs=outputs)
        expect([output.name for output in response.outputs], ["signs", "total"])
        expect(response.get_output_by_name("total").as_numpy().tolist(), [3, 3])
        expect(response.get_output_by_name("signs").as_numpy().tolist(), ["<", ">"])


async def check_ids() -> None:
    given = sent("x", FLOWERS, "FP32", binary=False)
    expect((await inferred("iris", given, request_id="an id")).id, "an id")
    expect((await inferred("iris", given)).id != "", True)
    expect((await inferred("iris", given)).model_name, "iris")


async def check_a_request_as_a_dictionary() -> None:
    body = {"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": FLOWERS.tolist()}]}
    headers: dict[str, str] = {}
    async with new_client() as client:
        response = await client.infer(URL, body, model_name="iris", response_headers=headers)
    expect(response.outputs[0].data, [0, 3])
    expect("x-request-id" in headers, True)


async def check_errors_are_readable() -> None:
    for status, error in (
        (404, await refused("none", sent("x", FLOWERS, "FP32", binary=False))),
        (400, await refused("iris", sent("none", FLOWERS, "FP32", binary=False))),
        (400, await refused("iris", sent("none", FLOWERS, "FP32", binary=True))),
        (500, await refused("failing", sent("x", FLOWERS[0], "FP32", binary=True))),
    ):
        expect((error.response.status_code, error.response.headers["content-type"]), (status, "application/json"))
        expect(type(json.loads(error.response.content)["error"]), str)
        expect(str(error).startswith(json.loads(error.response.content)["error"]), True)
        if status < 500:
            expect("none" in str(error), True)


async def check_a_timeout() -> None:
    given = sent("seconds", np.array(30.0), "FP64", binary=False)
    error = await refused("slow", given, parameters={"timeout": 200_000})
    expect(error.response.status_code in (503, 504), True)


async def check_parallel_requests() -> None:
    async with new_client() as client:
        requests = [
            InferRequest("iris", [sent("x", np.roll(FLOWERS, place, axis=1), "FP32", binary=place % 2 == 0)])
            for place in range(40)
        ]
        responses = await asyncio.gather(*(client.infer(URL, each, model_name="iris") for each in requests))
    expect([each.outputs[0].data for each in responses], [[place % 4, (3 + place) % 4] for place in range(40)])


async def check_compressed_responses() -> None:
    given = sent("x", np.zeros((100, 1000), dtype=np.float32), "FP32", binary=True)
    for parameters in ({"binary_data_output": True}, None):
        response = await inferred("echo-fp32", given, parameters=parameters)
        expect(response.outputs[0].as_numpy().shape, (100, 1000))


if __name__ == "__main__":
    run(dict(globals()))
