"""A handler's signature, made into the two ways of its data: how a body becomes arguments, and a result a body.

All reflection happens once, when the endpoint is declared. What is left for each request is a call of a msgspec decoder
or encoder, and one call of the handler.
"""

from __future__ import annotations

import collections.abc
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec.structs import astuple

from penstock.codec import decoding, encoding
from penstock.codec.signature import NO_DEFAULT, Parameter, Signature, read_signature
from penstock.context import Context
from penstock.errors import DeclarationError, PenstockError
from penstock.response import Encoded, Response

DecodedInput: TypeAlias = Any
"""What ``Codec.decode`` returns and ``Codec.call`` takes; opaque to everybody else."""

_Caller: TypeAlias = Callable[[Callable[..., Any], Any, "Context | None"], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """How one endpoint's data is read, handed over and written. Built by ``codec_for``.

    Attributes
    ----------
    reads:
        ``"bytes"`` if the handler takes the raw body, else ``"json"``.
    context_parameter:
        The name of the parameter that takes the ``Context``, or None.
    """

    reads: Literal["json", "bytes"]
    context_parameter: str | None
    _read: decoding.Reader
    _call: _Caller
    _input_type: Any
    _output_type: Any
    _read_empty: Callable[[], Any] | None = None

    def decode(self, body: bytes) -> DecodedInput:
        """Read a body.

        Raises
        ------
        MalformedRequest
            If it is not JSON at all: bad syntax, bad UTF-8, nested too deeply, empty where something is required.
        InvalidRequest
            If it does not fit; ``errors`` and ``param`` name the fields.
        HandlerError
            If the code of the user's own types raised something that is no complaint about a value.
        """
        if not body and self._read_empty is not None:
            return self._read_empty()
        try:
            return self._read(body)
        except PenstockError:  # the user's own types may refuse in our words
            raise
        except Exception as error:
            raise decoding.explain(error, body, is_json=self.reads == "json") from error

    def validate(self, body: bytes) -> None:
        """Check a body exactly as ``decode`` does, and keep nothing."""
        self.decode(body)

    def call(self, function: Callable[..., Any], decoded: DecodedInput, context: Context | None = None) -> Any:
        """Call the handler; returns what it returns, be it a value, a coroutine or a generator."""
        return self._call(function, decoded, context)

    def call_batch(
        self, function: Callable[..., Any], decoded: list[DecodedInput], context: Context | None = None
    ) -> Any:
        """Call a batching handler with what the bodies of its batch were decoded to."""
        return self._call(function, decoded, context)

    def encode(self, value: Any) -> Encoded:
        """Encode a result.

        Raises
        ------
        HandlerError
            If it cannot be sent; names the type and its place in the value.
        """
        return encoding.encode_result(value)

    def encode_chunk(self, value: Any) -> bytes:
        """Encode one chunk of a stream: one JSON value in one line.

        Raises
        ------
        HandlerError
            If it cannot be sent, bytes and ``Response`` included.
        """
        return encoding.encode_chunk(value)

    def encode_input(self, value: Any) -> bytes:
        """The body for a value that a caller without HTTP passes; bytes are a body already, None is an empty one.

        Raises
        ------
        InvalidRequest
            If there is no such body.
        """
        return encoding.encode_input(value, raw=self.reads == "bytes")

    def decode_output(self, encoded: Encoded) -> Any:
        """The value for a caller without HTTP: from JSON, or bytes, or a ``Response`` where more was said."""
        return encoding.decode_result(encoded)

    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema of a body."""
        if self.reads == "bytes":
            return dict(_OCTETS_SCHEMA)
        schema = _schema_of(self._input_type, "validation")
        if "properties" in schema and not decoding.is_pydantic(self._input_type):
            schema["additionalProperties"] = False  # as json_reader has it, whatever the type itself would allow
        return schema

    def output_schema(self) -> dict[str, Any]:
        """The JSON Schema of a result, or of one chunk of a stream, as far as the handler's annotation tells."""
        try:
            return _schema_of(self._output_type, "serialization")
        except Exception:  # the annotation only describes; one that has no schema describes nothing
            return {}


def codec_for(
    function: Callable[..., Any], *, owner: str, batched: bool, namespace: Mapping[str, Any] | None = None
) -> Codec:
    """Build the codec of a handler.

    Parameters
    ----------
    function:
        The handler; a method must be bound.
    owner:
        Who is to blame in an error, for instance ``endpoint 'square'``.
    batched:
        Whether the handler takes a list with one item for each request.
    namespace:
        Local names that postponed annotations may use.

    Raises
    ------
    DeclarationError
        If bodies cannot be read for this signature; names the parameter and the mend.
    """
    signature = read_signature(function, owner=owner, namespace=namespace)
    output_type = _output_type(signature.returns, batched=batched)
    if batched:
        parameter = _item(signature, owner)
        return _whole_body(parameter, signature.context, output_type, owner)
    if len(signature.parameters) == 1 and _is_whole(signature.parameters[0], owner):
        return _whole_body(signature.parameters[0], signature.context, output_type, owner)
    fields = decoding.fields_type(signature.name, signature.parameters, owner=owner)
    read = decoding.json_reader(fields, owner=owner)
    by_name = signature.context is not None or any(parameter.keyword_only for parameter in signature.parameters)
    names = [parameter.name for parameter in signature.parameters]
    call = _caller_by_name(_paired_with(names), signature.context) if by_name else _call_with_fields
    return Codec("json", signature.context, read, call, fields, output_type, _reader_of_empty(read))


def _is_whole(parameter: Parameter, owner: str) -> bool:
    owner = f"{owner}, parameter `{parameter.name}`"
    annotation = parameter.annotation
    return decoding.is_struct(annotation, owner=owner) or decoding.is_bytes(annotation, owner=owner)


def _item(signature: Signature, owner: str) -> Parameter:
    """The one parameter of a batching handler, with the type of one item."""
    lists = [parameter for parameter in signature.parameters if typing.get_origin(parameter.annotation) is list]
    if len(signature.parameters) != 1 or len(lists) != 1:
        raise DeclarationError(
            f"{owner}: with batching, a handler takes one parameter annotated list[T] (and a Context, if it likes), "
            f"where T is the body of one request; it takes ({', '.join(p.name for p in signature.parameters)}). "
            "Annotate it, for instance `batch: list[float]`, or leave batching away"
        )
    (batch,) = lists
    (item,) = typing.get_args(batch.annotation)
    return Parameter(batch.name, Any if item is object else item, NO_DEFAULT, batch.keyword_only)


def _whole_body(parameter: Parameter, context: str | None, output_type: Any, owner: str) -> Codec:
    owner = f"{owner}, parameter `{parameter.name}`"
    by_name = context is not None or parameter.keyword_only
    call = _caller_by_name(_named(parameter.name), context) if by_name else _call_with_whole
    annotation = parameter.annotation
    if decoding.is_bytes(annotation, owner=owner):
        read = decoding.bytes_reader(annotation, owner=owner)
        return Codec("bytes", context, read, call, annotation, output_type)
    read = decoding.json_reader(annotation, owner=owner)
    empty = _reader_of_empty(read) if parameter.required else partial(decoding.copied, parameter.default)
    return Codec("json", context, read, call, annotation, output_type, empty)


def _reader_of_empty(read: decoding.Reader) -> Callable[[], Any] | None:
    """Where ``{}`` would do, no body at all will."""
    try:
        read(b"{}")
    except Exception:  # whatever it is, it will be told to the callers who send nothing
        return None
    return lambda: read(b"{}")


# ---- calling


def _call_with_fields(function: Callable[..., Any], decoded: msgspec.Struct, _: Context | None) -> Any:
    return function(*astuple(decoded))


def _call_with_whole(function: Callable[..., Any], decoded: Any, _: Context | None) -> Any:
    return function(decoded)


def _paired_with(names: list[str]) -> Callable[[Any], dict[str, Any]]:
    return lambda decoded: dict(zip(names, astuple(decoded), strict=True))


def _named(name: str) -> Callable[[Any], dict[str, Any]]:
    return lambda decoded: {name: decoded}


def _caller_by_name(arguments_of: Callable[[Any], dict[str, Any]], context_parameter: str | None) -> _Caller:
    def call(function: Callable[..., Any], decoded: Any, context: Context | None) -> Any:
        arguments = arguments_of(decoded)
        if context_parameter is not None:
            arguments[context_parameter] = context
        return function(**arguments)

    return call


# ---- describing

_STREAMS = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)
_OCTETS_SCHEMA = {"type": "string", "contentMediaType": "application/octet-stream"}


def _output_type(returns: Any, *, batched: bool) -> Any:
    origin = typing.get_origin(returns)
    if origin in _STREAMS or (batched and origin in (list, collections.abc.Sequence)):
        return typing.get_args(returns)[0]
    return Any if returns is Response else returns


def _schema_of(annotation: Any, mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    if decoding.is_pydantic(annotation):
        schema: dict[str, Any] = annotation.model_json_schema(mode=mode)
        return schema
    if annotation is bytes:
        return dict(_OCTETS_SCHEMA)
    return _inlined(msgspec.json.schema(annotation, schema_hook=_custom_schema))


def _custom_schema(cls: Any) -> dict[str, Any]:
    if not decoding.is_pydantic(cls):
        raise NotImplementedError(cls)
    # Its definitions would have to move to the root of a schema that is not ours to write: named, not spelled out.
    return {"title": cls.__name__, "type": "object"}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Move the body's own definition to the top, where a reader looks for it."""
    definitions = schema.get("$defs", {})
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if name not in definitions:
        return schema
    used_again = msgspec.json.encode(schema["$ref"]) in msgspec.json.encode(definitions)
    rest = {key: value for key, value in definitions.items() if used_again or key != name}
    return {**definitions[name], **({"$defs": rest} if rest else {})}
