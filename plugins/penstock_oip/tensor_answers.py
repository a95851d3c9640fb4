"""Answers written in the worker: JSON, with raw data behind it for the outputs that are asked for that way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock import Response
from penstock_oip.tensor_bytes import bytes_of_array
from penstock_oip.tensor_lists import json_of_array
from penstock_oip.tensor_requests import PlannedOutput, RequestPlan


class OutputAnswer(msgspec.Struct, omit_defaults=True):
    """An output in the JSON of an answer."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class InferAnswer(msgspec.Struct, omit_defaults=True):
    """The JSON of an answer."""

    model_name: str
    model_version: str
    outputs: list[OutputAnswer]
    id: str = ""


def answered(plan: RequestPlan, arrays: Mapping[str, Any]) -> Response:
    """Return the answer with the arrays of a result. One that is None is left out."""
    outputs: list[OutputAnswer] = []
    buffers: list[Any] = []
    for planned in plan.outputs:
        array = arrays.get(planned.result)
        if array is not None:
            outputs.append(_output(planned, array, buffers))
    content = msgspec.json.encode(InferAnswer(plan.model_name, plan.model_version, outputs, plan.id))
    if not buffers:
        return Response(content, media_type="application/json")
    return Response(
        b"".join([content, *buffers]),
        media_type="application/octet-stream",
        headers={"Inference-Header-Content-Length": str(len(content))},
    )


def _output(planned: PlannedOutput, array: Any, buffers: list[Any]) -> OutputAnswer:
    answer = OutputAnswer(planned.name, planned.datatype, list(array.shape))
    if planned.is_binary:
        buffer = bytes_of_array(array, planned.datatype)
        buffers.append(buffer)
        answer.parameters = {"binary_data_size": len(buffer)}
    else:
        answer.data = msgspec.Raw(json_of_array(array, planned.datatype, planned.name))
    return answer
