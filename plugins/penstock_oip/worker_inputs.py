"""The decoding of a body in the worker, by the plan that the server has made of its description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from penstock.hooks import DialectInput
from penstock_chat import refuse
from penstock_oip.json_requests import data_objects
from penstock_oip.tensor_requests import PlannedInput, RequestPlan, decode_plan


def decoded_body(body: bytes, plan_text: str) -> DialectInput:
    """Return the arrays of a body, and the way to write the answer. Runs in a worker.

    Parameters
    ----------
    body:
        The body, as it came.
    plan_text:
        The plan, as ``encode_plan`` has written it.

    Raises
    ------
    InvalidRequest
        If data do not fit their datatype and shape.
    """
    from penstock_oip.tensor_answers import answered  # noqa: PLC0415 - apps without such models need no numpy

    plan = decode_plan(plan_text)
    values: dict[str, Any] = dict(plan.plain)
    values.update(_arrays(plan, body))
    return DialectInput(values, arrays_answer=partial(answered, plan))


def _arrays(plan: RequestPlan, body: bytes) -> Mapping[str, Any]:
    from penstock_oip.tensor_bytes import array_of_bytes, array_of_element  # noqa: PLC0415 - as above

    if plan.is_one_element:
        [planned] = plan.inputs
        return {planned.name: array_of_element(body, planned.shape)}
    found = {planned.name: array_of_bytes(body, planned) for planned in plan.inputs if planned.size_bytes is not None}
    plain = [planned for planned in plan.inputs if planned.size_bytes is None]
    return found | _json_arrays(plain, body[: plan.json_bytes]) if plain else found


def _json_arrays(inputs: list[PlannedInput], content: bytes) -> dict[str, Any]:
    from penstock_oip.tensor_lists import array_of_lists  # noqa: PLC0415 - as above

    data = _data_of(content, inputs)
    return {planned.name: array_of_lists(data[planned.place], planned) for planned in inputs}


def _data_of(content: bytes, inputs: list[PlannedInput]) -> dict[int, Any]:
    """Return the data of some inputs, by their places, as nested lists."""
    places = [planned.place for planned in inputs]
    try:
        objects = data_objects(content)
        return {place: msgspec.json.decode(objects[place].data or b"null") for place in places}
    except (msgspec.DecodeError, UnicodeError, RecursionError):  # NaN and infinities, which Python's own JSON has
        try:
            found = json.loads(content)
            return {place: found["inputs"][place]["data"] for place in places}
        except (ValueError, RecursionError) as error:
            refuse("inputs", f"their data cannot be read: {error}")
