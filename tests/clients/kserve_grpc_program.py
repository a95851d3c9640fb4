"""The gRPC client of KServe."""

from __future__ import annotations

from typing import Any

import numpy as np
from grpc import StatusCode
from grpc.aio import AioRpcError
from inference_values import FLOWERS, PLAIN_VALUES
from kserve import InferenceGRPCClient, InferInput, InferRequest
from program import URL, expect, run

HOST = URL.partition("://")[2]


def sent(name: str, array: Any, datatype: str, *, binary: bool) -> InferInput:
    """Return an input with the data of an array: as raw bytes, or as typed contents."""
    infer_input = InferInput(name, list(array.shape), datatype)
    infer_input.set_data_from_numpy(array, binary_data=binary)
    return infer_input


async def inferred(model: str, *inputs: InferInput, **options: Any) -> Any:
    """Return the response of a model."""
    async with InferenceGRPCClient(HOST) as client:
        return await client.infer(InferRequest(model, list(inputs), **options))


async def check_health_over_grpc() -> None:
    async with InferenceGRPCClient(HOST) as client:
        expect((await client.is_server_live(), await client.is_server_ready()), (True, True))
        expect(await client.is_model_ready("iris"), True)


async def expect_echo(datatype: str, array: Any, *, binary: bool) -> None:
    response = await inferred(f"echo-{datatype.lower()}", sent("x", array, datatype, binary=binary))
    found = response.outputs[0].as_numpy()
    if datatype == "BYTES":
        found = np.array([[item if isinstance(item, str) else item.decode() for item in found[0]]], dtype=object)
    expect((datatype, found.tolist()), (datatype, array.tolist()))


async def check_every_datatype_as_raw_bytes() -> None:
    for datatype, array in PLAIN_VALUES.items():
        await expect_echo(datatype, array, binary=True)


async def check_every_datatype_as_typed_contents() -> None:
    for datatype, array in PLAIN_VALUES.items():
        if datatype != "FP16":  # which has none
            await expect_echo(datatype, array, binary=False)


async def check_errors_over_grpc() -> None:
    for status, model, name in (
        (StatusCode.NOT_FOUND, "none", "x"),
        (StatusCode.INVALID_ARGUMENT, "iris", "none"),
        (StatusCode.INTERNAL, "failing", "x"),
    ):
        try:
            array = FLOWERS[0] if model == "failing" else FLOWERS
            await inferred(model, sent(name, array, "FP32", binary=True))
        except AioRpcError as error:
            expect(error.code(), status)
        else:
            raise AssertionError("nothing was raised")


async def check_an_id_over_grpc() -> None:
    response = await inferred("iris", sent("x", FLOWERS, "FP32", binary=True), request_id="an id")
    expect((response.id, response.model_name, response.outputs[0].as_numpy().tolist()), ("an id", "iris", [0, 3]))


if __name__ == "__main__":
    run(dict(globals()))
