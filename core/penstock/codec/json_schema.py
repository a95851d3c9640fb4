"""The JSON Schema of an endpoint's bodies and results, for documentation: nothing is validated against it."""

from __future__ import annotations

import collections.abc
import types
import typing
from functools import partial
from typing import Any, Literal

import msgspec

from penstock.codec.pydantic_output import union_schema
from penstock.codec.pydantic_types import is_adapted, is_pydantic, names_of, schema_of
from penstock.codec.tensor_types import readable, tensor_of
from penstock.codec.uploads import UPLOAD_SCHEMA, Upload
from penstock.response import OCTETS, Event, Response, SlotDone

_OCTETS_SCHEMA = {"type": "string", "contentMediaType": OCTETS}
_STREAMS = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)


def output_type(returns: Any, *, batched: bool, streams: bool) -> Any:
    """Return the type of one result, or of one chunk of a stream, from a handler's return annotation."""
    if batched:
        is_list = (typing.get_origin(returns) or returns) in (list, collections.abc.Sequence)
        return _item_of(returns) if is_list else returns
    chunk = chunk_type(returns)
    if chunk is not None:
        return chunk if streams else list[chunk]  # type: ignore[valid-type] # an Iterable that is returned as a whole
    return Any if returns is Response else returns


def chunk_type(returns: Any) -> Any | None:
    """Return the type of one chunk of a stream, or None if the annotation is not that of a stream.

    The type of an ``Event`` is that of its data.
    """
    return _data_type(_item_of(returns)) if (typing.get_origin(returns) or returns) in _STREAMS else None


def stream_of_steps(returns: Any) -> Any:
    """Return the type of one slot's stream, from the annotation of ``step``: ``dict[int, T | Done]``."""
    is_mapping = (typing.get_origin(returns) or returns) in (dict, collections.abc.Mapping)
    item = (typing.get_args(returns) or (Any, Any))[1] if is_mapping else Any
    is_union = typing.get_origin(item) in (typing.Union, types.UnionType)
    chunks = [each for each in (typing.get_args(item) if is_union else (item,)) if not _ends_a_slot(each)]
    chunk: Any = typing.Union[tuple(chunks)] if chunks else Any  # noqa: UP007 - its members are computed
    return collections.abc.Iterator[chunk]


def _ends_a_slot(member: Any) -> bool:
    """Return whether this is what ``step`` returns besides chunks: an end, a failure, or nothing."""
    if member is types.NoneType:
        return True
    return isinstance(member, type) and issubclass(member, (SlotDone, BaseException))


def _data_type(chunk: Any) -> Any:
    origin = typing.get_origin(chunk)
    if Event in (chunk, origin):
        return _item_of(chunk)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(map(_data_type, typing.get_args(chunk)))]  # noqa: UP007 - its members are computed
    return chunk


def _item_of(annotation: Any) -> Any:
    item = next(iter(typing.get_args(annotation)), Any)
    return type(None) if item is None else item


def input_schema(annotation: Any, *, raw: bool) -> dict[str, Any]:
    """Return the schema of a body of this type; ``raw`` for a body that is taken as bytes."""
    if raw:
        return dict(_OCTETS_SCHEMA)
    schema = _schema_of(annotation, "validation")
    if "properties" in schema and (names_of(annotation) is not None or not _is_pydantics(annotation)):
        schema["additionalProperties"] = False  # json_reader refuses unknown fields, whatever the type itself allows
    return schema


def output_schema(annotation: Any) -> dict[str, Any]:
    """Return the schema of a result of this type, or an empty one, which allows anything, if it has none."""
    try:
        annotation = readable(annotation, owner="the return annotation")
        try:
            return _schema_of(annotation, "serialization")
        except TypeError:  # msgspec does not support the annotation
            return union_schema(annotation) or {}
    except Exception:  # a return annotation only describes the result, so one without a schema is not an error
        return {}


def _schema_of(annotation: Any, mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    if _is_pydantics(annotation):
        return schema_of(annotation, mode=mode)
    if annotation is bytes:
        return dict(_OCTETS_SCHEMA)
    if annotation is Upload:
        return dict(UPLOAD_SCHEMA)
    definitions: dict[str, Any] = {}
    schema = _inlined(msgspec.json.schema(annotation, schema_hook=partial(_custom_schema, definitions, mode)))
    if definitions:
        schema["$defs"] = {**schema.get("$defs", {}), **definitions}
    return schema


def _is_pydantics(cls: Any) -> bool:
    return is_pydantic(cls) or is_adapted(cls)


def _custom_schema(definitions: dict[str, Any], mode: str, cls: Any) -> dict[str, Any]:
    """Return the schema of a part that pydantic validates, and move its definitions to the root, where it refers to."""
    if cls is Upload:
        return dict(UPLOAD_SCHEMA)
    tensor = tensor_of(cls)
    if tensor is not None:
        return tensor.schema()
    if not _is_pydantics(cls):
        raise NotImplementedError(cls)
    prefix = f"part-{len(definitions)}."  # two parts may have definitions of one name
    schema = schema_of(cls, mode=mode, ref_template=f"#/$defs/{prefix}{{model}}")
    definitions |= {prefix + name: definition for name, definition in schema.pop("$defs", {}).items()}
    return schema


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Move the body's own definition to the top, where a reader looks for it."""
    definitions = schema.get("$defs", {})
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if name not in definitions:
        return schema
    used_again = msgspec.json.encode(schema["$ref"]) in msgspec.json.encode(definitions)
    rest = {key: value for key, value in definitions.items() if used_again or key != name}
    return {**definitions[name], **({"$defs": rest} if rest else {})}
