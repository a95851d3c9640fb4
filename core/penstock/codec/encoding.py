"""Encoding: from a handler's result to the body of a response.

msgspec writes the JSON. It supports dataclasses, structs, datetimes, UUIDs, Decimals (as strings), enums and sets; it
writes bytes inside a JSON value as base64. ``plain_forms`` adds further types. A value that cannot be sent is an error
that names its type, its place, and the code to write instead.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from penstock.codec.decoding import class_name
from penstock.codec.event_chunks import event_chunk
from penstock.codec.non_finite import find_non_finite
from penstock.codec.plain_forms import to_json
from penstock.codec.tensor_results import TensorResults
from penstock.codec.unsendable_values import describe, unsendable
from penstock.errors import UNENCODABLE, HandlerError, InvalidRequest
from penstock.response import OCTETS, Encoded, Event, Response, header_mistake

TEXT = "text/plain; charset=utf-8"

_BYTES = (bytes, bytearray, memoryview)
_NOT_PLAIN_JSON = (*_BYTES, Response, Event)
STATUSES_WITHOUT_BODY = (204, 304)


@dataclasses.dataclass(frozen=True, slots=True)
class ResultEncoder:
    """The way in which one endpoint's results become bodies.

    Parameters
    ----------
    nan_is_null:
        True to write NaN and infinities, which JSON does not have, as ``null``; otherwise they are an error.
    media_type:
        The ``Content-Type`` of results and chunks, which are then bytes or text as they are; None for JSON.
    tensors:
        The tensors among the results and chunks; None if there are none.
    """

    nan_is_null: bool = False
    media_type: str | None = None
    tensors: TensorResults | None = None

    def encode(self, value: Any) -> Encoded:
        """Encode a handler's result.

        Raises
        ------
        HandlerError
            If it has no JSON form; names the type and its place in the value.
        """
        if isinstance(value, Response):
            return self._encode_response(value)
        if self.media_type is not None:
            return Encoded(self._raw(value, "the result"), self.media_type)
        if isinstance(value, _BYTES):
            return Encoded(bytes(value), OCTETS)
        return Encoded(self._to_json(value, "the result"))

    def encode_chunk(self, value: Any) -> bytes:
        """Encode one chunk of a stream: JSON on one line, or the bytes and text of a stream with a media type.

        The fields of an ``Event`` are in front of its JSON.

        Raises
        ------
        HandlerError
            If it has no such form. Bytes in a stream of JSON are refused as well: base64 would be a surprise.
        """
        if self.media_type is not None:
            return self._raw(value, "the chunk")
        if isinstance(value, _NOT_PLAIN_JSON):
            if isinstance(value, Event) and not isinstance(value.data, Event):
                return event_chunk(value, self.encode_chunk(value.data))
            raise unencodable(
                f"a chunk of a stream cannot be {describe(value)}: it is a line of JSON; {_fix_for_chunk(value)}"
            )
        return self._to_json(value, "the chunk")

    def _raw(self, value: Any, what: str) -> bytes:
        if isinstance(value, _BYTES):
            return bytes(value)
        if isinstance(value, str):
            return _utf8(value, what)
        raise unencodable(
            f"{what} is {describe(value)}, but the media type is {self.media_type}: return or yield bytes or str, or "
            "leave out media_type="
        )

    def _to_json(self, value: Any, what: str) -> bytes:
        if self.tensors is not None:
            value = self.tensors.plain(value)
        try:
            body = to_json(value)
        except Exception as error:  # properties and hooks of the user's types run in there, and may raise anything
            raise unencodable(unsendable(value, error, what)) from error
        if not self.nan_is_null:
            place = find_non_finite(value, body)
            if place is not None:
                raise unencodable(f"{what} cannot be sent as JSON: {place}; {_NAN_FIX}")
        return body

    def _encode_response(self, response: Response) -> Encoded:
        body, media_type = self._encode_content(response.content)
        if response.status in STATUSES_WITHOUT_BODY:
            body = b""
        headers = checked_headers(response)
        return Encoded(body, response.media_type or self.media_type or media_type, response.status, headers)

    def _encode_content(self, content: Any) -> tuple[bytes, str | None]:
        if isinstance(content, _BYTES):
            return bytes(content), OCTETS
        if isinstance(content, str):
            return _utf8(content, "the text of the Response"), TEXT
        return self._to_json(content, "the content of the Response"), None


def _fix_for_chunk(value: Any) -> str:
    if isinstance(value, Response):
        return "yield its content"
    if isinstance(value, Event):
        return "its data is an Event again"
    return "yield base64.b64encode(chunk).decode(), or set media_type= to stream bytes as they are"


_NAN_FIX = 'JSON has no NaN and no infinity: replace it, for instance by None, or write App(nan="null") to send null'


def encode_input(value: Any, *, raw: bool) -> bytes:
    """Return the body for a value passed without HTTP.

    Parameters
    ----------
    value:
        The endpoint's input. Bytes are already an encoded body; None is an empty one.
    raw:
        True if the endpoint reads raw bytes.

    Raises
    ------
    InvalidRequest
        If the value has no such body.
    """
    if isinstance(value, _BYTES):
        return bytes(value)
    if value is None:
        return b""
    if raw:
        raise InvalidRequest(f"this endpoint takes bytes, not {class_name(type(value))}")
    try:
        body = to_json(value)
    except Exception as error:
        raise InvalidRequest(unsendable(value, error, "the input")) from error
    place = find_non_finite(value, body)
    if place is not None:
        raise InvalidRequest(f"the input cannot be sent as JSON: {place}; JSON has no NaN and no infinity")
    return body


def decode_result(encoded: Encoded) -> Any:
    """Return the result for a caller without HTTP: a value from JSON, bytes, or a ``Response`` if it says more."""
    is_json = encoded.media_type is None
    content = msgspec.json.decode(encoded.body) if is_json and encoded.body else encoded.body
    if encoded.status == 200 and not encoded.headers and encoded.media_type in (None, OCTETS):
        return content
    return Response(content, encoded.media_type, dict(encoded.headers or {}), encoded.status)


def unencodable(detail: str) -> HandlerError:
    """Return the error for a result that cannot be sent."""
    return HandlerError(detail, exception_type=UNENCODABLE)


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise unencodable(f"{what} cannot be sent as UTF-8: {error}") from error


# ---- headers of a Response


def checked_headers(response: Response) -> dict[str, str] | None:
    """Return the additional headers of a ``Response``, None if there are none; raise ``HandlerError`` if one is bad."""
    for name, value in {**response.headers, "Content-Type": response.media_type or ""}.items():
        mistake = header_mistake(name, value)
        if mistake:
            raise unencodable(mistake)
    return dict(response.headers) or None
