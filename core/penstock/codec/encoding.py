"""Encoding: from a handler's result to the body of a response.

msgspec writes the JSON. It supports dataclasses, structs, datetimes, UUIDs, Decimals (as strings), enums and sets; it
writes bytes inside a JSON value as base64, and NaN and infinities as ``null``. This module adds support for numpy
scalars and arrays, and for pydantic models.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from penstock.codec.decoding import class_name, is_pydantic
from penstock.errors import UNENCODABLE, HandlerError, InvalidRequest
from penstock.response import OCTETS, Encoded, Response, header_mistake

TEXT = "text/plain; charset=utf-8"

_BYTES = (bytes, bytearray, memoryview)
_NOT_PLAIN_JSON = (*_BYTES, Response)
_STATUSES_WITHOUT_BODY = (204, 304)
# The depth to which a value is searched for the part that cannot be encoded; beyond it, the container is named.
_MAX_SEARCH_DEPTH = 50


def encode_result(value: Any) -> Encoded:
    """Encode a handler's result.

    Raises
    ------
    HandlerError
        If it has no JSON form; names the type and its place in the value.
    """
    if isinstance(value, _NOT_PLAIN_JSON):
        return _encode_response(value) if isinstance(value, Response) else Encoded(bytes(value), OCTETS)
    return Encoded(_to_json(value, "the result"))


def encode_chunk(value: Any) -> bytes:
    """Encode one chunk of a stream: always JSON, on one line.

    Raises
    ------
    HandlerError
        If it has no JSON form. Bytes are refused as well: base64 in a line of JSON would be a surprise.
    """
    if isinstance(value, _NOT_PLAIN_JSON):
        raise _unencodable(f"a chunk of a stream cannot be {_describe(value)}: it is a line of JSON; {_fix_for(value)}")
    return _to_json(value, "the chunk")


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
        return _encode(value)
    except Exception as error:
        raise InvalidRequest(_unsendable(value, error, "the input")) from error


def decode_result(encoded: Encoded) -> Any:
    """Return the result for a caller without HTTP: a value from JSON, bytes, or a ``Response`` if it says more."""
    is_json = encoded.media_type is None
    content = msgspec.json.decode(encoded.body) if is_json and encoded.body else encoded.body
    if encoded.status == 200 and not encoded.headers and encoded.media_type in (None, OCTETS):
        return content
    return Response(content, encoded.media_type, dict(encoded.headers or {}), encoded.status)


def _to_json(value: Any, what: str) -> bytes:
    try:
        return _encode(value)
    except Exception as error:  # properties and hooks of the user's types run in there, and may raise anything
        raise _unencodable(_unsendable(value, error, what)) from error


def _unencodable(detail: str) -> HandlerError:
    return HandlerError(detail, exception_type=UNENCODABLE)


# ---- Response


def _encode_response(response: Response) -> Encoded:
    body, media_type = _encode_content(response.content)
    if response.status in _STATUSES_WITHOUT_BODY:
        body = b""
    headers = dict(response.headers) or None
    _require_sane({**response.headers, "Content-Type": response.media_type or ""})
    return Encoded(body, response.media_type or media_type, response.status, headers)


def _encode_content(content: Any) -> tuple[bytes, str | None]:
    if isinstance(content, _BYTES):
        return bytes(content), OCTETS
    if isinstance(content, str):
        try:
            return content.encode(), TEXT
        except UnicodeEncodeError as error:
            raise _unencodable(f"the text of the Response cannot be sent as UTF-8: {error}") from error
    return _to_json(content, "the content of the Response"), None


def _require_sane(headers: Mapping[Any, Any]) -> None:
    for name, value in headers.items():
        mistake = header_mistake(name, value)
        if mistake:
            raise _unencodable(mistake)


# ---- types that msgspec does not support


def _simplified(value: Any) -> Any:
    """Return an equivalent value of a type that msgspec supports. This is msgspec's ``enc_hook``."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return _plain_numpy(numpy, numpy.asanyarray(value))
    if is_pydantic(type(value)):
        return value.model_dump(mode="json")
    for base in (str, int, float):
        if isinstance(value, base):
            return base(value)
    raise TypeError(f"{class_name(type(value))} has no JSON form")


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


def _fix_for(value: Any) -> str:
    if isinstance(value, _BYTES):
        return "yield base64.b64encode(chunk).decode()"
    if isinstance(value, Response):
        return "yield its content"
    if isinstance(value, dict):
        return "write int(key) or str(key)"
    if class_name(type(value)) in ("coroutine", "async_generator", "generator"):
        return "a decorator hides that the handler is `async def` or yields: write its wrapper the same way"
    return "convert it with .tolist()" if hasattr(value, "tolist") else ""
