"""Encoding: from a handler's result to the body of a response.

msgspec writes the JSON. It supports dataclasses, structs, datetimes, UUIDs, Decimals (as strings), enums and sets; it
writes bytes inside a JSON value as base64. This module adds support for numpy scalars and arrays, for pydantic models,
paths, and any mapping, sequence or set. It finds NaN and infinities, which msgspec would write as ``null``.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import datetime as dt
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

import msgspec

from penstock.codec.decoding import class_name
from penstock.codec.pydantic_types import is_pydantic
from penstock.errors import UNENCODABLE, HandlerError, InvalidRequest
from penstock.response import OCTETS, Encoded, Response, header_mistake

TEXT = "text/plain; charset=utf-8"

_BYTES = (bytes, bytearray, memoryview)
_NOT_PLAIN_JSON = (*_BYTES, Response)
STATUSES_WITHOUT_BODY = (204, 304)
# The depth to which a value is searched for the part that cannot be encoded; beyond it, the container is named.
_MAX_SEARCH_DEPTH = 50


@dataclasses.dataclass(frozen=True, slots=True)
class ResultEncoder:
    """The way in which one endpoint's results become bodies.

    Parameters
    ----------
    nan_is_null:
        True to write NaN and infinities, which JSON does not have, as ``null``; otherwise they are an error.
    media_type:
        The ``Content-Type`` of results and chunks, which are then bytes or text as they are; None for JSON.
    """

    nan_is_null: bool = False
    media_type: str | None = None

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

        Raises
        ------
        HandlerError
            If it has no such form. Bytes in a stream of JSON are refused as well: base64 would be a surprise.
        """
        if self.media_type is not None:
            return self._raw(value, "the chunk")
        if isinstance(value, _NOT_PLAIN_JSON):
            raise unencodable(
                f"a chunk of a stream cannot be {_describe(value)}: it is a line of JSON; {_fix_for(value)}"
            )
        return self._to_json(value, "the chunk")

    def _raw(self, value: Any, what: str) -> bytes:
        if isinstance(value, _BYTES):
            return bytes(value)
        if isinstance(value, str):
            return _utf8(value, what)
        raise unencodable(
            f"{what} is {_describe(value)}, but the media type is {self.media_type}: return or yield bytes or str, or "
            "leave out media_type="
        )

    def _to_json(self, value: Any, what: str) -> bytes:
        try:
            body = _encode(value)
        except Exception as error:  # properties and hooks of the user's types run in there, and may raise anything
            raise unencodable(_unsendable(value, error, what)) from error
        if b"null" in body and not self.nan_is_null:  # msgspec writes NaN as null
            place = _find_non_finite(value)
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
        body = _encode(value)
    except Exception as error:
        raise InvalidRequest(_unsendable(value, error, "the input")) from error
    place = _find_non_finite(value) if b"null" in body else None
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


# ---- types that msgspec does not support


def _simplified(value: Any) -> Any:
    """Return an equivalent value of a type that msgspec supports. This is msgspec's ``enc_hook``."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return _plain_numpy(numpy, numpy.asanyarray(value))
    if is_pydantic(type(value)):
        return value.model_dump(mode="json")
    # msgspec itself writes a list or a tuple, unless it is a key: then a list in its place would be a key again.
    for base, plain in _PLAIN_FORMS if type(value) not in (tuple, list) else ():
        if isinstance(value, base):
            return plain(value)
    raise TypeError(f"{class_name(type(value))} has no JSON form")


def _plain_time(value: Any) -> Any:
    """Return the text of a subclass such as pandas' Timestamp; its NaT is a datetime, too, and counts as NaN."""
    return value.isoformat() if value == value else math.nan  # noqa: PLR0124 - only NaT differs from itself


def _plain_timedelta(value: Any) -> Any:
    return dt.timedelta(value.days, value.seconds, value.microseconds)


_PLAIN_FORMS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (str, str),
    (int, int),
    (float, float),
    (dt.date, _plain_time),
    (dt.time, _plain_time),
    (dt.timedelta, _plain_timedelta),
    (PurePath, str),
    (collections.abc.Mapping, dict),
    ((collections.abc.Sequence, collections.abc.Set, collections.abc.ValuesView, collections.deque), list),
)


def _plain_numpy(numpy: Any, array: Any) -> Any:
    kind = array.dtype.kind
    if kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(numpy.float64)  # tolist() of a longdouble returns a longdouble again, without end
    elif kind in "mM":
        array = array.astype(f"{kind}8[us]")  # nanoseconds have no Python type: tolist() would return bare integers
    elif kind in "OcV":
        raise TypeError(f"numpy arrays of dtype {array.dtype} have no JSON form")
    return array.tolist()


_encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_simplified).encode


# ---- NaN and infinities


def _find_non_finite(value: Any) -> str | None:
    """Return the first NaN or infinity in a value that can be encoded, and its path, or None if there is none."""
    plain = msgspec.to_builtins(value, enc_hook=_simplified, str_keys=True)
    try:
        json.dumps(plain, allow_nan=False)  # much faster than the search, and most values have only a null
    except ValueError:
        return next(_non_finite(plain, "$"), None)
    return None


def _non_finite(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{value} at {path}"
    for step, child in _children(value):
        yield from _non_finite(child, path + step)


# ---- naming the part that cannot be sent (only after a failure, so it may be slow)


def _unsendable(value: Any, error: Exception, what: str) -> str:
    if isinstance(error, RecursionError):
        return f"{what} cannot be sent as JSON: it is nested too deeply, or contains itself"
    path, culprit, error = _find_culprit(value, error, "$", _MAX_SEARCH_DEPTH)
    reason = "" if type(error) is TypeError else f" ({type(error).__name__}: {error})"
    fix = _fix_for(culprit)
    return f"{what} cannot be sent as JSON: {_describe(culprit)} at {path}{reason}" + (f"; {fix}" if fix else "")


def _find_culprit(value: Any, error: Exception, path: str, depth: int) -> tuple[str, Any, Exception]:
    if depth:
        for step, child in _children(value):
            try:
                _encode(child)
            except Exception as child_error:
                return _find_culprit(child, child_error, path + step, depth - 1)
    return path, value, error


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f".{key}", child) for key, child in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{place}]", child) for place, child in enumerate(value))
    elif isinstance(value, msgspec.Struct):
        yield from ((f".{name}", getattr(value, name, None)) for name in value.__struct_fields__)
    elif dataclasses.is_dataclass(value):
        yield from ((f".{field.name}", getattr(value, field.name, None)) for field in dataclasses.fields(value))


def _describe(value: Any) -> str:
    name = class_name(type(value))
    if name == "numpy.ndarray":
        return f"{name} of dtype {value.dtype}"
    if isinstance(value, dict):
        keys = sorted({class_name(type(key)) for key in value})
        return f"{name} with keys of type {', '.join(keys)}"
    return name


_SAVE_PICTURE = (
    'buffer = io.BytesIO(); image.save(buffer, "PNG"); return Response(buffer.getvalue(), media_type="image/png")'
)
_FIXES = {
    "pandas": {
        "DataFrame": 'write frame.to_dict(orient="records")',
        "NAType": "replace pandas.NA by None",
    },
    "polars": {"DataFrame": "write frame.to_dicts()", "Series": "write series.to_list()"},
    "matplotlib": {"Figure": "write " + _SAVE_PICTURE.replace("image.save(buffer, ", "figure.savefig(buffer, format=")},
}


def _fix_for(value: Any) -> str:
    if isinstance(value, _BYTES):
        return "yield base64.b64encode(chunk).decode(), or set media_type= to stream bytes as they are"
    if isinstance(value, Response):
        return "yield its content"
    if isinstance(value, dict):
        return "write int(key) or str(key)"
    return _fix_for_object(value)


def _fix_for_object(value: Any) -> str:
    if any(base.__module__ == "PIL.Image" for base in type(value).__mro__):
        return f"write {_SAVE_PICTURE}"
    name = class_name(type(value))
    if name == "coroutine":
        return "if a decorator hides that the handler is `async def`, write its wrapper the same way"
    if name in ("async_generator", "generator"):
        return "a generator streams if it is the whole result, without batching; inside a value, write a list"
    fix = _FIXES.get(name.partition(".")[0], {}).get(type(value).__name__, "")
    return fix or ("convert it with .tolist()" if hasattr(value, "tolist") else "")
