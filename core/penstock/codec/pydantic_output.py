"""pydantic models as results: how they are written, and whether that is what their JSON Schema says."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

from penstock.codec.pydantic_types import is_written_by_alias, survey


def dump(model: Any, *, fallback: Callable[[Any], Any], **options: Any) -> Any:
    """Return a model in the form in which it is written.

    Parameters
    ----------
    model:
        The instance.
    fallback:
        Returns the plain form of a value that pydantic does not support, such as a numpy array.
    **options:
        Further options of ``model_dump``.
    """
    try:
        return model.model_dump(mode="json", **options)
    except Exception as error:
        try:
            return model.model_dump(mode="json", fallback=fallback, **options)
        except Exception:  # the value has no plain form, or this pydantic has no `fallback`
            raise error from error.__cause__


def undumpable_fields(model: Any, *, fallback: Callable[[Any], Any]) -> Iterator[tuple[str, Any, Exception]]:
    """Yield the path, the value and the error of each field for which ``dump`` fails.

    None if the model is not written field by field.
    """
    if _has_own_dump(type(model)) or type(model).__pydantic_decorators__.model_serializers:
        return
    for name in type(model).model_fields:
        step, only = ("", {}) if name == "root" else (f".{name}", {"include": {name}})
        try:
            dump(model, fallback=fallback, **only)
        except Exception as error:
            yield step, getattr(model, name, None), error


def raw_values(model: Any) -> Any:
    """Return a model as Python values, in which NaN is still NaN: in ``Any``, pydantic writes it as null.

    If a serialiser is only for JSON, it may be there to replace NaN, so that its model is returned as it is written.
    """
    cls: Any = type(model)
    return model.model_dump(mode="json" if _serialises_for_json(cls) else "python")


@functools.lru_cache(maxsize=1000)
def _serialises_for_json(cls: Any) -> bool:
    return "'when_used': 'json" in repr(cls.__pydantic_core_schema__)


# ---- schemas


def union_schema(annotation: Any) -> dict[str, Any] | None:
    """Return the JSON Schema of results whose annotation has a union of models, which msgspec does not support.

    None if the annotation has no model, or has parts that msgspec would write and pydantic describe.
    """
    parts = survey(annotation)
    if not parts.models or parts.native or parts.foreign or parts.records:
        return None
    by_alias = all(map(is_written_by_alias, parts.models))
    adapter = sys.modules["pydantic"].TypeAdapter(annotation)
    schema: dict[str, Any] = adapter.json_schema(mode="serialization", by_alias=by_alias)
    return schema


def is_described(model: Any) -> bool:
    """Return whether the JSON Schema of a model describes what is written.

    Not if the model has a ``model_dump`` of its own, or a serialiser without a return annotation, and not if aliases
    are written for some of the models inside it only.
    """
    if _has_own_dump(model):
        return False
    nodes = list(_nodes(model.__pydantic_core_schema__))
    serialisers = [node["serialization"] for node in nodes if isinstance(node.get("serialization"), dict)]
    if not all(map(_says_what_it_returns, serialisers)):
        return False
    configs = [node.get("config") or {} for node in nodes if node.get("type") == "model"]
    return len({bool(config.get("serialize_by_alias")) for config in configs}) <= 1


def _has_own_dump(model: Any) -> bool:
    return not model.model_dump.__module__.startswith("pydantic.")


def _says_what_it_returns(serialiser: dict[str, Any]) -> bool:
    """Return whether the schema follows from a serialiser: it is annotated, or pydantic's own, as those of paths."""
    function = serialiser.get("function")
    module = getattr(function, "__module__", None) or ""
    return function is None or "return_schema" in serialiser or module.startswith("pydantic.")


def _nodes(core_schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the nodes of pydantic's own description of a type, at whatever depth."""
    seen: set[int] = set()
    left = [core_schema]
    while left:
        node = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, dict):
            yield node
            left += [child for name, child in node.items() if name not in ("default", "metadata")]
        elif isinstance(node, (list, tuple)):
            left += node
