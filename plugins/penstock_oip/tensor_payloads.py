"""From a request in terms of tensors to the payload that becomes its job."""

from __future__ import annotations

from penstock.hooks import Payload, decoded_by
from penstock_oip.control_parameters import plain_values, priority_of, refuse_sequences, timeout_of
from penstock_oip.served_models import ServedModel
from penstock_oip.tensor_checks import items_of, planned_inputs, planned_outputs
from penstock_oip.tensor_requests import RequestPlan, TensorRequest, encode_plan
from penstock_oip.worker_inputs import decoded_body


def payload_of(model: ServedModel, request: TensorRequest) -> Payload:
    """Return the payload of a request, whose body goes to the worker as it came.

    Parameters
    ----------
    model:
        The model that it is for.
    request:
        The request, as far as its tensors are described.

    Raises
    ------
    InvalidRequest
        If it does not fit the model.
    """
    parameters = request.parameters
    refuse_sequences(parameters)
    inputs = planned_inputs(model, request)
    plan = RequestPlan(
        model_name=model.name,
        model_version=model.version,
        id=request.id,
        json_bytes=request.json_bytes,
        is_one_element=request.is_one_element,
        inputs=inputs,
        outputs=planned_outputs(model, request),
        plain=plain_values(model, parameters),
    )
    items = items_of(model, inputs)
    return Payload(
        endpoint=model.endpoint.name,
        input_form=decoded_by(decoded_body, encode_plan(plan).decode(), items=items),
        timeout=timeout_of(parameters),
        priority=priority_of(parameters),
    )
