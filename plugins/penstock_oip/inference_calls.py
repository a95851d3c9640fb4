"""Calls to infer over gRPC: from messages to payloads, and from the answers of workers to messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError

from penstock.errors import MalformedRequest
from penstock.hooks import Payload, PublicError, RpcRequest
from penstock_chat import refuse
from penstock_oip.infer_requests import JSON_SIZE_HEADER, refuse_classes
from penstock_oip.inference_messages import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse
from penstock_oip.served_models import ServedModels
from penstock_oip.tensor_answers import InferAnswer
from penstock_oip.tensor_payloads import payload_of
from penstock_oip.tensor_requests import InputTensor, OutputWish, TensorRequest
from penstock_oip.typed_contents import add_contents, has_typed_contents, raw_of_contents

_decode_answer: Final = msgspec.json.Decoder(InferAnswer).decode


def decoded(kind: Any, message: bytes) -> Any:
    """Return a message of this kind.

    Raises
    ------
    MalformedRequest
        If it is not one.
    """
    try:
        return kind.FromString(message)
    except DecodeError:
        raise MalformedRequest(f"The message is not an inference.{kind.DESCRIPTOR.name}") from None


def infer_reader(models: ServedModels) -> Callable[[RpcRequest], Payload]:
    """Return the function that reads a ``ModelInferRequest``."""

    def read(request: RpcRequest) -> Payload:
        asked = decoded(ModelInferRequest, request.message)
        model = models.find(asked.model_name, asked.model_version or None)
        is_raw = bool(asked.raw_input_contents)
        data = _raw_data(asked, is_raw=is_raw)
        payload = payload_of(model, _tensor_request(asked, data))
        return msgspec.structs.replace(payload, body=b"".join(data), memo=(asked.id, is_raw))

    return read


def _raw_data(asked: Any, *, is_raw: bool) -> list[bytes]:
    if not is_raw:
        return [raw_of_contents(given.contents, given.datatype, f"inputs.{given.name[:200]}") for given in asked.inputs]
    for given in asked.inputs:
        if given.HasField("contents"):
            refuse(f"inputs.{given.name[:200]}", "it has contents, and the request raw_input_contents; leave one out")
    if len(asked.raw_input_contents) != len(asked.inputs):
        count = len(asked.raw_input_contents)
        refuse("raw_input_contents", f"there are {count} of them, and {len(asked.inputs)} inputs")
    return list(asked.raw_input_contents)


def _tensor_request(asked: Any, data: list[bytes]) -> TensorRequest:
    inputs, place = [], 0
    for given, raw in zip(asked.inputs, data, strict=True):
        described = InputTensor(
            name=given.name, datatype=given.datatype, shape=list(given.shape), size_bytes=len(raw), place=place
        )
        inputs.append(described)
        place += len(raw)
    return TensorRequest(
        inputs=inputs,
        outputs=[_wish(wish) for wish in asked.outputs] or None,
        is_binary=True,
        id=asked.id,
        parameters=_parameters(asked),
    )


def _wish(asked: Any) -> OutputWish:
    refuse_classes(_parameters(asked), f"outputs.{asked.name[:200]}")
    return OutputWish(name=asked.name, is_binary=True)


def _parameters(asked: Any) -> dict[str, Any]:
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "", None)
        for name, value in asked.parameters.items()
    }


def infer_reply(result: Any, payload: Payload) -> bytes:
    """Return the ``ModelInferResponse`` for what a worker has written."""
    reply: bytes = _response(result, payload).SerializeToString()
    return reply


def stream_reply(body: bytes, head: Any, payload: Payload) -> bytes:
    """Return the ``ModelStreamInferResponse`` for what a worker has written."""
    result = msgspec.structs.replace(head, body=body)
    reply: bytes = ModelStreamInferResponse(infer_response=_response(result, payload)).SerializeToString()
    return reply


def stream_error(error: PublicError, payload: Payload | None) -> bytes:
    """Return the ``ModelStreamInferResponse`` that reports an error, with the id of the request."""
    request_id = "" if payload is None else payload.memo[0]
    reply: bytes = ModelStreamInferResponse(
        error_message=error.message, infer_response=ModelInferResponse(id=request_id)
    ).SerializeToString()
    return reply


def _response(result: Any, payload: Payload) -> Any:
    headers = {name.lower(): value for name, value in (result.headers or {}).items()}
    place = int(headers.get(JSON_SIZE_HEADER, len(result.body)))
    written = _decode_answer(result.body[:place])
    response = ModelInferResponse(model_name=written.model_name, model_version=written.model_version, id=written.id)
    is_raw = payload.memo[1] or not all(has_typed_contents(output.datatype) for output in written.outputs)
    data = memoryview(result.body)
    for output in written.outputs:
        assert isinstance(output.parameters, dict), "all outputs are raw data"
        end = place + output.parameters["binary_data_size"]
        described = response.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        if is_raw:
            response.raw_output_contents.append(bytes(data[place:end]))
        else:
            add_contents(described.contents, output.datatype, data[place:end])
        place = end
    return response
