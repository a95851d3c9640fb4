"""Inputs that are more than a plain body: forms, and parameters from the path and the query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, Self, TypeAlias

import msgspec
from msgspec.structs import astuple

from penstock.codec import decoding, json_schema
from penstock.codec.form_bodies import FormPair, text_pairs
from penstock.codec.input_parameters import Source
from penstock.codec.signature import Parameter, Signature
from penstock.codec.text_readers import TextReader
from penstock.codec.text_shapes import TextShape
from penstock.errors import DeclarationError, MalformedRequest, NotFound
from penstock.wire import InputForm

TextPart: TypeAlias = tuple[TextReader, list[int]]


class FormBody(Protocol):
    """The way in which a form becomes what a plain body would have been decoded to."""

    def read(self, pairs: Iterable[FormPair]) -> Any:
        """Return the decoded input; errors as for ``TextReader.read``."""


class BodyCodec(Protocol):
    """The codec of the parameters that come from the body."""

    @property
    def is_whole(self) -> bool:
        """True if the body is one parameter, and not an object with a field for each."""

    @property
    def accepts_empty(self) -> bool:
        """True if an empty body will do."""

    def decode(self, body: bytes, input_form: InputForm | None = None) -> Any:
        """Decode a body."""

    def input_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a body."""


def _reader_of(annotation: Any, noun: str = "field") -> TextReader:
    return TextReader(annotation, partial(json_schema.input_schema, annotation, raw=False), noun)


class FieldsForm:
    """A form whose fields are those of an object: the handler's parameters, or a struct that is the whole body."""

    def __init__(self, annotation: Any) -> None:
        self.read: Callable[[Iterable[FormPair]], Any] = _reader_of(annotation).read


class WholeForm:
    """A form with one field, which stands for a body that is a single value or a single file."""

    def __init__(self, parameter: Parameter, owner: str) -> None:
        self._reader = _reader_of(decoding.fields_type("Form", (parameter,), owner=owner))

    def read(self, pairs: Iterable[FormPair]) -> Any:
        """Return the value of the field."""
        return astuple(self._reader.read(pairs))[0]


class RoutedInput:
    """The input of an endpoint some of whose parameters come from the path or the query.

    Parameters
    ----------
    path:
        The reader of the parameters from the path, and their places in the signature.
    query:
        The same of those from the query; None if the others come from the body.
    rest:
        The codec of the body; None if there is none.
    rest_places:
        The places in the signature of the parameters from the body.
    fields:
        The struct with a field for each parameter, in which the input ends up.
    sources:
        Where each parameter comes from, by name.
    """

    def __init__(
        self,
        *,
        path: TextPart,
        query: TextPart | None,
        rest: BodyCodec | None,
        rest_places: list[int],
        fields: type[msgspec.Struct],
        sources: dict[str, Source],
    ) -> None:
        self._path = path
        self._query = query
        self._fields = fields
        self._rest_places = rest_places
        self.rest = rest
        self.sources = sources
        self._path_names = [name for name, source in sources.items() if source == "path"]

    @classmethod
    def of(
        cls,
        signature: Signature,
        path_names: Sequence[str],
        fields: type[msgspec.Struct],
        rest: BodyCodec | None,
        *,
        owner: str,
    ) -> Self:
        """Return the input of a handler with this signature.

        Raises
        ------
        DeclarationError
            If a parameter cannot come from where it should.
        """
        other: Source = "query" if rest is None else "body"
        sources: dict[str, Source] = {p.name: "path" if p.name in path_names else other for p in signature.parameters}
        _require_parameters(path_names, sources, signature, owner)

        def part(source: Source, noun: str) -> TextPart:
            places = [place for place, p in enumerate(signature.parameters) if sources[p.name] == source]
            chosen = [signature.parameters[place] for place in places]
            reader = _reader_of(decoding.fields_type(signature.name, chosen, owner=owner), noun)
            for parameter in chosen:
                _require_textual(parameter.name, reader.shapes.get(parameter.name), source, owner)
            return reader, places

        query = part("query", "query parameter") if rest is None else None
        if query is not None:
            _require_fields([p for p in signature.parameters if sources[p.name] == "query"], owner)
        rest_places = [place for place, p in enumerate(signature.parameters) if sources[p.name] == "body"]
        path = part("path", "path variable")
        return cls(path=path, query=query, rest=rest, rest_places=rest_places, fields=fields, sources=sources)

    def values(self, path_values: Mapping[str, str], query: str) -> list[tuple[str, str]]:
        """Return the values of an ``InputForm``.

        Raises
        ------
        NotFound
            If a segment of the path is empty.
        MalformedRequest
            If one of them is not UTF-8.
        """
        values = [(name, path_values[name]) for name in self._path_names]
        if not all(value for _, value in values):
            raise NotFound("nothing is served where a part of the path is empty")
        if not all(_is_text(value) for _, value in values):
            raise MalformedRequest("the path is not UTF-8")
        return values if self._query is None else values + text_pairs(query, "query")

    def read(self, body: bytes, input_form: InputForm) -> msgspec.Struct:
        """Return the input, as the codec decodes the body of an endpoint with several fields."""
        values = input_form.values
        count = len(self._path_names)
        found: dict[str, Any] = {}
        for part, pairs in ((self._path, values[:count]), (self._query, values[count:])):
            if part is not None:
                reader, places = part
                found.update(_named(places, astuple(reader.read(pairs))))
        if self.rest is not None:
            rest = self.rest.decode(body, InputForm(input_form.media_type) if input_form.media_type else None)
            found.update(_named(self._rest_places, (rest,) if self.rest.is_whole else astuple(rest)))
        return self._fields(**found)


def _named(places: list[int], values: Iterable[Any]) -> dict[str, Any]:
    return {decoding.field_name(place): value for place, value in zip(places, values, strict=True)}


def _is_text(value: str) -> bool:
    """Return whether a value was UTF-8: most servers put U+FFFD in the place of bytes that were not."""
    if "\ufffd" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


# ---- checks of declarations


def _require_parameters(
    path_names: Sequence[str], sources: Mapping[str, Source], signature: Signature, owner: str
) -> None:
    for name in path_names:
        if name == signature.context:
            raise DeclarationError(f"{owner}: the path has {{{name}}}, but that parameter is the Context; rename one")
        if name not in sources:
            raise DeclarationError(
                f"{owner}: the path has {{{name}}}, but the handler has no parameter `{name}`; add it, for instance "
                f"`{name}: str`, or remove it from the path"
            )


def _require_textual(name: str, shape: TextShape | None, source: Source, owner: str) -> None:
    """Check that a parameter can be written in a path or a query."""
    shape = shape or TextShape("any")
    kind = shape.kind if shape.item is None else shape.item.kind
    if source == "path" and (shape.item is not None or kind == "json"):
        raise DeclarationError(
            f"{owner}, parameter `{name}`: a path variable is one number or text, so it cannot be of this type; take "
            "it from the body"
        )
    if kind in ("bytes", "upload"):
        raise DeclarationError(
            f"{owner}, parameter `{name}`: bytes and files cannot come from the {source}; annotate it str, or take it "
            'from the body of a request with method="POST"'
        )


def _require_fields(parameters: Sequence[Parameter], owner: str) -> None:
    """Check that a query is not one struct, whose fields would be parameters in some places and JSON in others."""
    if len(parameters) == 1 and decoding.is_struct(parameters[0].annotation):
        raise DeclarationError(
            f"{owner}, parameter `{parameters[0].name}`: a struct is a body, which a GET request does not have; write "
            'its fields as parameters, or use method="POST"'
        )
