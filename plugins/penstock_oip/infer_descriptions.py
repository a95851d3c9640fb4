"""The paths as the OpenAPI document shows them: the fields that every client sends, and not all that are read."""

from __future__ import annotations

from typing import Any, Final

from penstock_oip.served_models import ServedModel

_SHAPE: Final = {"type": "array", "items": {"type": "integer", "minimum": 0}}


def infer_description(model: ServedModel) -> dict[str, Any]:
    """Return the description of the inference by a model."""
    taken = "; ".join(f"{name}: {tensor}" for name, tensor in model.inputs.items())
    datatypes = sorted({tensor.datatype for tensor in model.inputs.values()})
    properties = {
        "name": {"type": "string", "enum": list(model.inputs)},
        "datatype": {"type": "string", "enum": datatypes},
        "shape": _SHAPE,
        "data": {"type": "array", "items": {}},
    }
    item = {"type": "object", "properties": properties, "required": ["name", "datatype", "shape"]}
    schema = {
        "type": "object",
        "properties": {"inputs": {"type": "array", "items": item, "description": taken}},
        "required": ["inputs"],
        "additionalProperties": True,
    }
    return {
        "summary": f"Infer with the model {model.name}, as clients of the Open Inference Protocol ask for it.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
    }
