"""The codec of one endpoint, built from the handler's signature: a body becomes arguments, a result becomes a body.

All reflection happens once, when the endpoint is declared. Each request then costs one call of a msgspec decoder or
encoder, and one call of the handler.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec.structs import astuple

from penstock.codec import decoding, encoding, json_schema
from penstock.codec.body_types import read_form_type
from penstock.codec.chunk_filters import ChunkFilter
from penstock.codec.chunk_stream import ChunkStream, stream_of
from penstock.codec.class_names import class_names
from penstock.codec.default_values import maker_of, require_fitting
from penstock.codec.dialect_decoders import ArraysFilter, DialectInput, FilteredInput, decoded
from penstock.codec.encoding import ResultEncoder
from penstock.codec.endpoint_tensors import NO_TENSORS, EndpointTensors
from penstock.codec.event_chunks import EVENT_MARK, decode_event, split_chunk
from penstock.codec.form_bodies import form_pairs
from penstock.codec.input_parameters import InputParameter, parameters_of, resolved
from penstock.codec.npy_bodies import NPY, accepts_npy, read_npy
from penstock.codec.pydantic_types import adapted, with_field_info
from penstock.codec.result_checks import JsonCheck, ResultCheck, json_check, result_check
from penstock.codec.routed_input import FieldsForm, FormBody, RoutedInput, WholeForm
from penstock.codec.signature import NO_DEFAULT, Parameter, Signature, read_signature, returned_type
from penstock.codec.tensor_batches import JoinedTensors
from penstock.codec.tensor_inputs import arrays_reader, joins_tensors, record_of, tensor_inputs, with_tensors
from penstock.codec.tensor_results import tensor_results
from penstock.codec.tensor_types import is_twin, original
from penstock.context import Context
from penstock.errors import DeclarationError, PenstockError
from penstock.response import Encoded, Response
from penstock.wire import InputForm

DecodedInput: TypeAlias = Any
"""The value that ``Codec.decode`` returns and ``Codec.call`` takes; opaque to all other code."""

_JSON = ResultEncoder()

Reads: TypeAlias = Literal["json", "bytes", "form", "query"]

_HandlerCall: TypeAlias = Callable[[Callable[..., Any], Any, Context | None], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """The way one endpoint's bodies are read, its handler called, and its results written. Built by ``codec_for``."""

    reads: Reads
    """The content of a request: ``"json"``, raw ``"bytes"``, a ``"form"`` with files, or a ``"query"`` and no body."""
    context_parameter: str | None
    """The name of the parameter that takes the ``Context``, or None."""
    _read: decoding.Reader
    _call: _HandlerCall
    _input_type: Any
    _output_type: Any
    _read_empty: Callable[[], Any] | None = None
    returned_stream: Literal["sync", "async"] | None = None
    """The kind of iterator that the handler is annotated to return, or None."""
    _results: ResultEncoder = _JSON
    _chunk_type: Any = None
    returns_response: bool = False
    """True if the handler is annotated to return a ``Response``, which may have any media type and any status."""
    _whole: Parameter | None = None
    _form: FormBody | None = None
    _routed: RoutedInput | None = None
    has_filter: bool = False
    """True if the type that is the whole body has a ``chunk_filter``."""
    tensors: EndpointTensors = NO_TENSORS
    _after: Callable[[Any], Any] | None = None

    def decode(self, body: bytes, input_form: InputForm | None = None) -> DecodedInput:
        """Decode a body, with what the path and the query say.

        Without an ``InputForm`` it is a plain body. Where parameters come from the path or the query, that is an
        object with all of them, which is how embedding programs pass them.

        Raises
        ------
        MalformedRequest
            If it is not JSON or a form at all: bad syntax, bad UTF-8, nested too deeply, cut short, or empty where
            something is required.
        InvalidRequest
            If it does not fit; ``errors`` and ``param`` name the fields.
        PayloadTooLarge
            If a form has too many parts.
        HandlerError
            If code of the user's own types raised an exception that is not a validation error.
        """
        if input_form is not None:
            return self._decode_form(body, input_form)
        try:
            return self._read(body) if body or self._read_empty is None else self._read_empty()
        except PenstockError:  # the user's own types may raise one themselves
            raise
        except Exception as error:
            raise decoding.explain(error, body, is_json=not self._is_raw) from error

    def _decode_form(self, body: bytes, input_form: InputForm) -> DecodedInput:
        if input_form.answer_type:
            own = self.decode(body, msgspec.structs.replace(input_form, answer_type=""))
            return FilteredInput(own, self.tensors.npy_answer())
        if input_form.decoder:
            plain = decoded(body, input_form.decoder, input_form.media_type)
            return _taken(self, plain) if isinstance(plain, DialectInput) else self.decode(plain)
        if self._routed is not None:
            return self._routed.read(body, input_form)
        if not input_form.media_type:
            return self.decode(body)
        if input_form.media_type == NPY:
            return _taken(self, DialectInput({str(self.tensors.npy_input): read_npy(body)}))
        assert self._form is not None, "only an endpoint that reads the query alone has no form"
        return self._form.read(form_pairs(body, input_form.media_type))

    def validate(self, body: bytes, input_form: InputForm | None = None) -> None:
        """Check an input exactly as ``decode`` does, and discard the result."""
        self.decode(body, input_form)

    def input_form(
        self, path_values: Mapping[str, str], query: str, form_type: str, accept: str | None = None
    ) -> InputForm | None:
        """Return how the input of a request is to be read; None for a plain body.

        Parameters
        ----------
        path_values:
            The values of the variables in the path, decoded.
        query:
            The query string as it was sent.
        form_type:
            The ``Content-Type``, if it is that of a form; otherwise "".
        accept:
            The header ``Accept``, if there is one.

        Raises
        ------
        NotFound
            If a variable of the path is empty.
        MalformedRequest
            If the path or the query is not UTF-8.
        """
        answer_type = NPY if accept and self.tensors.answers_npy and accepts_npy(accept) else ""
        if self._routed is None:
            return InputForm(form_type, answer_type=answer_type) if form_type or answer_type else None
        return InputForm(form_type, self._routed.values(path_values, query), answer_type=answer_type)

    def call(self, function: Callable[..., Any], decoded: DecodedInput, context: Context | None = None) -> Any:
        """Call the handler with a decoded body, or a batching handler with a list of them.

        Return what the handler returns: a value, a coroutine or a generator.
        """
        return self._call(function, decoded, context)

    def encode(self, value: Any) -> Encoded:
        """Encode a result.

        Raises
        ------
        HandlerError
            If it cannot be sent; names the type and its place in the value.
        """
        return self._results.encode(value)

    def stream_of(self, value: Any) -> ChunkStream | None:
        """Return the stream that a handler has returned, or None if it has returned a single value.

        Raises
        ------
        HandlerError
            If it is not the iterator that the handler is annotated to return, or has a bad header.
        """
        return stream_of(value, self._results, is_promised=self.returned_stream is not None)

    def decode_chunk(self, body: bytes, head: Encoded) -> Any:
        """Return a chunk for a caller without HTTP: bytes if the stream has a media type.

        Otherwise it is what was yielded, as JSON carries it: a value, or an ``Event`` with one.
        """
        if head.media_type is not None:
            return body
        return decode_event(body) if body.startswith(EVENT_MARK) else encoding.decode_result(Encoded(body))

    @property
    def media_type(self) -> str | None:
        """The ``Content-Type`` of results and chunks that are sent as they are, or None for JSON."""
        return self._results.media_type

    def encode_input(self, value: Any) -> bytes:
        """Return the body for a value passed without HTTP. Bytes are already a body; None is an empty one.

        Raises
        ------
        InvalidRequest
            If the value has no such body.
        """
        return encoding.encode_input(value, raw=self._is_raw)

    def decode_output(self, encoded: Encoded) -> Any:
        """Return the result for a caller without HTTP: a value from JSON, bytes, or a ``Response`` if it says more."""
        return encoding.decode_result(encoded)

    def result_check(self) -> ResultCheck | None:
        """Return a check of results against the return annotation, or None if there is nothing to check.

        Results that are filtered may have become something else.
        """
        return None if self.media_type is not None or self.has_filter else result_check(self._output_type)

    def chunk_check(self) -> JsonCheck | None:
        """Return a check of the chunks of a stream against ``T`` of ``-> Iterator[T]``, or None if there is none.

        It is for chunks that are JSON: not for those of a ``Response`` with a media type. The data of an
        ``Event`` is checked. Chunks that are filtered may have become something else.
        """
        if self._chunk_type is None or self.media_type is not None or self.has_filter:
            return None
        check = json_check(self._chunk_type)
        return None if check is None else lambda chunk: check(split_chunk(chunk)[1])

    @property
    def accepts_empty(self) -> bool:
        """True if an empty body will do: because there is none, nothing in it is required, or it is a raw one."""
        if self._routed is not None:
            return self._routed.rest is None or self._routed.rest.accepts_empty
        return self._read_empty is not None or self.reads == "bytes"

    def input_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a plain body, with all parameters: see ``decode``."""
        return json_schema.input_schema(self._input_type, raw=self._is_raw)

    def body_schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema of the body of a request, without what comes from the path; None if it has none."""
        if self._routed is None:
            return self.input_schema()
        return None if self._routed.rest is None else self._routed.rest.input_schema()

    def form_type(self, content_type: str | None) -> str | None:
        """Return a content type, if it is that of a form; "" if the body is a plain one; None if it is not read."""
        takes_npy = self._routed is None and self.tensors.npy_input is not None
        return read_form_type(self.reads, content_type, takes_npy=takes_npy)

    @property
    def has_values(self) -> bool:
        """True if parameters come from the path or the query."""
        return self._routed is not None

    @property
    def form_fields(self) -> tuple[InputParameter, ...]:
        """The fields of a form that this endpoint reads as its body."""
        schema = resolved(self.body_schema() or {})
        fields = parameters_of(schema, dict.fromkeys(schema.get("properties", {}), "body"))
        return fields or tuple(parameter for parameter in self.parameters if parameter.source == "body")

    @property
    def parameters(self) -> tuple[InputParameter, ...]:
        """The parameters of the handler, in the order of its signature, each with the place that it comes from.

        A parameter that is the whole body counts as one.
        """
        if self._routed is not None:
            return parameters_of(self.input_schema(), self._routed.sources)
        if self._whole is not None:
            return (InputParameter(self._whole.name, "body", self._whole.required, self.input_schema()),)
        schema = self.input_schema()
        return parameters_of(schema, dict.fromkeys(schema.get("properties", {}), "body"))

    @property
    def is_whole(self) -> bool:
        """True if the body is one parameter, and not an object with a field for each."""
        return self._whole is not None

    @property
    def whole_type(self) -> Any:
        """The type of the one parameter that is the whole body, of one item if there are batches; None if none is."""
        return None if self._whole is None or self._routed is not None else self._whole.annotation

    def with_filter(self, decoded: DecodedInput) -> tuple[DecodedInput, ChunkFilter | None]:
        """Return what to call the handler with for a decoded body, and the filter of its answer, or None."""
        has_one = type(decoded) is FilteredInput
        return decoded if has_one else (decoded, decoded.chunk_filter() if self.has_filter else None)

    @property
    def _is_raw(self) -> bool:
        """True if a plain body is taken as it is: see ``decode``."""
        return self.reads == "bytes" and self._routed is None

    def output_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a result, or of one chunk of a stream, as far as the handler is annotated."""
        if self.media_type is not None:
            return {"type": "string", "contentMediaType": self.media_type}
        return json_schema.output_schema(self._output_type)

    def class_names(self) -> dict[str, set[str]]:
        """Return the qualified names of the classes that the two schemas describe, by the name without its module."""
        return class_names((self._input_type, self._output_type))


def codec_for(
    function: Callable[..., Any],
    *,
    owner: str,
    batched: bool,
    most_items: int = 1,
    namespace: Mapping[str, Any] | None = None,
    results: ResultEncoder = _JSON,
    path_names: Sequence[str] = (),
    reads_query: bool = False,
    step: Callable[..., Any] | None = None,
) -> Codec:
    """Build the codec of a handler.

    Parameters
    ----------
    function:
        The handler; a method must be bound.
    owner:
        The declaration to name in errors, for instance ``endpoint 'square'``.
    batched:
        True if the handler takes a list with one item per request, or arrays that are joined.
    most_items:
        The size of a batch.
    namespace:
        Local names that postponed annotations may use.
    results:
        The way in which results become bodies.
    path_names:
        The names of the parameters that come from the path.
    reads_query:
        True if the others come from the query, and not from a body.
    step:
        For a generation loop, its ``step``, which returns the chunks. ``function`` is its ``admit``, which takes a slot
        before anything else.

    Raises
    ------
    DeclarationError
        If bodies cannot be read for this signature; names the parameter and the fix.
    """
    signature = read_signature(function, owner=owner, namespace=namespace, leading=0 if step is None else 1)
    if step is not None:
        returns = json_schema.stream_of_steps(returned_type(step, owner=owner, namespace=namespace))
        signature = replace(signature, returns=returns)
    signature = with_tensors(signature, owner=owner)
    joins = batched and joins_tensors(signature)
    batched = batched and not joins
    if batched:
        signature = replace(signature, parameters=_items(signature, owner))
    signature = _with_field_infos(signature, owner)
    streams = signature.stream is not None or inspect.isgeneratorfunction(function)
    streams = streams or inspect.isasyncgenfunction(function)
    output_type = json_schema.output_type(signature.returns, batched=batched, streams=streams)
    if path_names or reads_query:
        codec = _routed(signature, output_type, owner, path_names, batched=batched, reads_query=reads_query)
    elif len(signature.parameters) == 1 and (batched or _is_whole(signature.parameters[0])):
        codec = _whole_body(signature.parameters[0], signature.context, output_type, owner)
    else:
        codec = _fields_body(signature, output_type, owner, batched=batched)
    chunk_type = json_schema.chunk_type(signature.returns)
    results = replace(results, tensors=tensor_results(output_type))
    codec = replace(codec, tensors=EndpointTensors(tensor_inputs(signature), results.tensors))
    if joins:
        codec = _joining(codec, signature, results, owner, most_items)
    return replace(
        codec,
        _results=results,
        returned_stream=signature.stream,
        _chunk_type=chunk_type,
        returns_response=Response in (signature.returns, *typing.get_args(signature.returns)),
    )


def _fields_body(signature: Signature, output_type: Any, owner: str, *, batched: bool) -> Codec:
    fields = decoding.fields_type(signature.name, signature.parameters, owner=owner)
    read = decoding.json_reader(fields, owner=owner)
    by_name = batched or signature.context is not None or any(p.keyword_only for p in signature.parameters)
    names = [parameter.name for parameter in signature.parameters]
    arguments_of = _columns(names) if batched else _paired_with(names)
    call = _call_by_name(arguments_of, signature.context) if by_name else _call_with_fields
    return Codec(
        "form" if decoding.has_uploads(fields) else "json",
        signature.context,
        read,
        call,
        fields,
        output_type,
        _reader_of_empty(read),
        _form=FieldsForm(fields),
    )


def _routed(
    signature: Signature, output_type: Any, owner: str, path_names: Sequence[str], *, batched: bool, reads_query: bool
) -> Codec:
    """Return the codec of a handler some of whose parameters come from the path or the query."""
    everything = _fields_body(signature, output_type, owner, batched=batched)
    rest = replace(signature, parameters=tuple(p for p in signature.parameters if p.name not in path_names))
    body = None
    if not reads_query:
        is_whole = len(rest.parameters) == 1 and _is_whole(rest.parameters[0])
        body = (
            _whole_body(rest.parameters[0], None, output_type, owner)
            if is_whole
            else _fields_body(rest, output_type, owner, batched=batched)
        )
    routed = RoutedInput.of(signature, path_names, everything._input_type, body, owner=owner)
    return replace(everything, reads="query" if body is None else body.reads, _routed=routed)


def _with_field_infos(signature: Signature, owner: str) -> Signature:
    parameters = tuple(
        with_field_info(parameter, owner=f"{owner}, parameter `{parameter.name}`") for parameter in signature.parameters
    )
    return replace(signature, parameters=parameters)


def _is_whole(parameter: Parameter) -> bool:
    return decoding.is_struct(parameter.annotation) or decoding.is_bytes(parameter.annotation)


def _items(signature: Signature, owner: str) -> tuple[Parameter, ...]:
    """Return the parameters of a batching handler, each with the type of one item."""
    is_batching = [typing.get_origin(parameter.annotation) is list for parameter in signature.parameters]
    if not is_batching or not all(is_batching):
        raise DeclarationError(
            f"{owner}: with batching, every parameter of a handler is annotated list[T], with one T for each request, "
            f"except for a Context; it takes ({', '.join(p.name for p in signature.parameters)}). Annotate them, for "
            "instance `text: list[str]`, or leave out batching"
        )
    return tuple(_item(parameter, is_body=len(is_batching) == 1) for parameter in signature.parameters)


def _item(batch: Parameter, *, is_body: bool) -> Parameter:
    (item,) = typing.get_args(batch.annotation)
    return replace(batch, annotation=Any if item is object else item, default=NO_DEFAULT if is_body else batch.default)


def _whole_body(parameter: Parameter, context: str | None, output_type: Any, owner: str) -> Codec:
    owner = f"{owner}, parameter `{parameter.name}`"
    by_name = context is not None or parameter.keyword_only
    call = _call_by_name(_named(parameter.name), context) if by_name else _call_with_whole
    annotation = parameter.annotation
    validated = adapted(annotation, owner=owner)
    require_fitting(validated, parameter.default, owner=owner)
    if decoding.is_bytes(annotation):
        read = decoding.bytes_reader(annotation, owner=owner)
        return Codec(
            "bytes", context, read, call, annotation, output_type, _whole=parameter, _form=WholeForm(parameter, owner)
        )
    read = decoding.json_reader(validated, owner=owner)
    empty = _reader_of_empty(read) if parameter.required else maker_of(parameter)
    form: FormBody = FieldsForm(validated) if decoding.is_struct(annotation) else WholeForm(parameter, owner)
    reads: Reads = "form" if decoding.has_uploads(validated) else "json"
    codec = Codec(reads, context, read, call, validated, output_type, empty, _whole=parameter, _form=form)
    if is_twin(validated):
        codec = _followed_by(original, codec)
    return replace(codec, has_filter=callable(getattr(annotation, "chunk_filter", None)))


def _joining(codec: Codec, signature: Signature, results: ResultEncoder, owner: str, most_items: int) -> Codec:
    """Return a codec that joins the arrays of a batch for each call of the handler."""
    record = record_of(signature)
    inputs = codec.tensors.inputs
    joined = JoinedTensors(
        inputs, arrays_reader(list(inputs), record), results.tensors, most_items=most_items, owner=owner
    )

    def arguments_of(inputs: Any) -> dict[str, Any]:
        arrays = joined.joined(inputs)
        return arrays if record is None else {signature.parameters[0].name: record(**arrays)}

    codec = _followed_by(joined.checked, codec)
    tensors = replace(codec.tensors, _joined=joined)
    return replace(codec, tensors=tensors, _call=_call_by_name(arguments_of, signature.context))


def _followed_by(step: Callable[[Any], Any], codec: Codec) -> Codec:
    """Return a codec that takes a further step with what it has decoded."""

    def after(first: Callable[..., Any] | None) -> Callable[..., Any]:
        return step if first is None else lambda *arguments: step(first(*arguments))

    return replace(
        codec,
        _read=after(codec._read),
        _read_empty=None if codec._read_empty is None else after(codec._read_empty),
        _form=None if codec._form is None else _FollowedForm(codec._form, step),
        _after=after(codec._after),
    )


class _FollowedForm:
    """A form with a further step."""

    def __init__(self, form: FormBody, step: Callable[[Any], Any]) -> None:
        self.read: Callable[[Any], Any] = lambda pairs: step(form.read(pairs))


def _reader_of_empty(read: decoding.Reader) -> Callable[[], Any] | None:
    """Return a reader of ``{}`` to use for an empty body, or None if the type does not accept ``{}``."""
    try:
        read(b"{}")
    except Exception:  # the same error is reported to each caller who sends an empty body
        return None
    return lambda: read(b"{}")


# ---- values from a dialect


def _taken(codec: Codec, found: DialectInput) -> DecodedInput:
    """Return the input that a dialect has decoded to values."""
    values, whole = found.values, codec._whole
    if whole is not None and not decoding.is_struct(codec._input_type):
        taken = decoding.converted(values.get(whole.name), codec._input_type)
    else:
        taken = decoding.converted(values, codec._input_type)
    if codec._after is not None:
        taken = codec._after(taken)
    if found.arrays_answer is None:
        return taken
    return FilteredInput(taken, ArraysFilter(codec.tensors.arrays_of, found.arrays_answer))


# ---- calling


def _call_with_fields(function: Callable[..., Any], decoded: msgspec.Struct, _: Context | None) -> Any:
    return function(*astuple(decoded))


def _call_with_whole(function: Callable[..., Any], decoded: Any, _: Context | None) -> Any:
    return function(decoded)


def _paired_with(names: list[str]) -> Callable[[Any], dict[str, Any]]:
    return lambda decoded: dict(zip(names, astuple(decoded), strict=True))


def _columns(names: list[str]) -> Callable[[Any], dict[str, Any]]:
    """Return a function from the bodies of a batch, at least one, to one list for each parameter."""
    return lambda batch: dict(zip(names, map(list, zip(*map(astuple, batch), strict=True)), strict=True))


def _named(name: str) -> Callable[[Any], dict[str, Any]]:
    return lambda decoded: {name: decoded}


def _call_by_name(arguments_of: Callable[[Any], dict[str, Any]], context_parameter: str | None) -> _HandlerCall:
    def call(function: Callable[..., Any], decoded: Any, context: Context | None) -> Any:
        arguments = arguments_of(decoded)
        if context_parameter is not None:
            arguments[context_parameter] = context
        return function(**arguments)

    return call
