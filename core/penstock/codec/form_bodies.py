"""The bodies of forms, as browsers and curl send them: pairs of a name and a value.

Nothing is written to a disk. A form is parsed where JSON is decoded: in the worker, unless it is small.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qsl, unquote_to_bytes

from penstock.codec.uploads import Upload
from penstock.errors import MalformedRequest, PayloadTooLarge, UnsupportedMediaType
from penstock.response import JSON, OCTETS

if TYPE_CHECKING:  # imported by the first form that needs it, and by no process that never sees one
    from multipart import MultipartSegment

FormPair: TypeAlias = tuple[str, str | bytes | Upload]
"""A name with its text, which is bytes if it may not be UTF-8, or its file."""

MULTIPART: Final = "multipart/form-data"
URLENCODED: Final = "application/x-www-form-urlencoded"

MAX_PARTS: Final = 64
MAX_PART_HEADER_BYTES: Final = 8192
MAX_FIELDS: Final = 1000

_PARSED_BYTES = 1 << 20  # at a time, so that the parser keeps no second copy of the whole body
_LONGEST_NAME = 255

_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')
_EXTENDED_NAME = re.compile(r";\s*filename\*\s*=\s*([\w-]+)'[^']*'([^;\s]+)", re.IGNORECASE)


def media_type_of(content_type: str) -> str:
    """Return a media type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def is_json(media_type: str) -> bool:
    """Return whether a media type is JSON's, or that of a format which is written in JSON."""
    return media_type == JSON or (media_type.startswith("application/") and media_type.endswith("+json"))


def form_pairs(body: bytes, content_type: str) -> list[FormPair]:
    """Return the fields and files of a form, in order.

    Raises
    ------
    MalformedRequest
        If it is not such a form, or is cut short.
    PayloadTooLarge
        If it has too many parts, or too large part headers.
    UnsupportedMediaType
        If it is JSON that was announced as a form.
    """
    if media_type_of(content_type) == MULTIPART:
        return _multipart_pairs(body, content_type)
    return _urlencoded_pairs(body)


def text_pairs(text: str, what: str) -> list[tuple[str, str]]:
    """Return the names and values of a query or of a form that is written like one.

    Raises
    ------
    MalformedRequest
        If it is not UTF-8.
    PayloadTooLarge
        If it has too many fields.
    """
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeDecodeError:
        raise MalformedRequest(f"the {what} is not UTF-8") from None
    except ValueError:
        raise PayloadTooLarge(f"the {what} may have at most {MAX_FIELDS} fields") from None


def _urlencoded_pairs(body: bytes) -> list[FormPair]:
    if body.lstrip()[:1] in (b"{", b"["):  # curl -d announces everything as a form
        raise UnsupportedMediaType(
            f"the body is JSON, but was announced as {URLENCODED!r}: send it with -H 'Content-Type: application/json'"
        )
    try:
        text = body.decode("ascii")
    except UnicodeDecodeError:
        text = body.decode("utf-8", "surrogateescape")  # some clients leave letters as they are
        if not _is_utf8(text):
            raise MalformedRequest("the form is not UTF-8") from None
    return [*text_pairs(text.strip("\r\n"), "form")]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# ---- multipart


def _multipart_pairs(body: bytes, content_type: str) -> list[FormPair]:
    from multipart import (  # noqa: PLC0415 - see above
        MultipartError,
        ParserLimitReached,
        PushMultipartParser,
        parse_options_header,
    )

    boundary = parse_options_header(content_type)[1].get("boundary")
    if not boundary:
        raise MalformedRequest(f"the Content-Type {content_type[:100]!r} has no boundary")
    view = memoryview(body)
    found: list[FormPair] = []
    try:
        with PushMultipartParser(
            boundary, max_segment_count=MAX_PARTS, max_header_size=MAX_PART_HEADER_BYTES
        ) as parser:
            part: Any = None
            pieces: list[bytes] = []
            for start in range(0, len(view), _PARSED_BYTES):
                for event in parser.parse(bytes(view[start : start + _PARSED_BYTES])):
                    if event is None:
                        found += _pair_of(part, b"".join(pieces))
                    elif isinstance(event, bytes):
                        pieces.append(event)
                    else:
                        part, pieces = event, []
                        _require_small_head(part)
    except ParserLimitReached:
        raise PayloadTooLarge(
            f"the form may have at most {MAX_PARTS} parts, with at most {MAX_PART_HEADER_BYTES} bytes of headers each"
        ) from None
    except (MultipartError, UnicodeError) as error:
        raise MalformedRequest(f"the form cannot be read: {error}") from None
    return found


def _require_small_head(part: MultipartSegment) -> None:
    if sum(len(name) + len(value) for name, value in part.headerlist) > MAX_PART_HEADER_BYTES:
        raise PayloadTooLarge(f"the headers of a part of the form may have at most {MAX_PART_HEADER_BYTES} bytes")


def _pair_of(part: MultipartSegment, content: bytes) -> Iterator[FormPair]:
    """Yield the pair of a part; none for the file that a browser sends where none was chosen."""
    filename = _filename_of(part)
    if filename is None:
        yield part.name, content
    elif filename or content:
        yield part.name, Upload(content, _harmless(filename), _header_of(part, "Content-Type").strip() or OCTETS)


def _header_of(part: MultipartSegment, name: str) -> str:
    return next((value for key, value in part.headerlist if key == name), "")


def _filename_of(part: MultipartSegment) -> str | None:
    """Return the name of a file, or None if the part is not one. ``filename*`` is forbidden there, and sent."""
    disposition = _QUOTED.sub('""', _header_of(part, "Content-Disposition"))
    extended = _EXTENDED_NAME.search(disposition)
    if extended is not None:
        try:
            return unquote_to_bytes(extended[2]).decode(extended[1])
        except (LookupError, UnicodeDecodeError):  # an unknown character set, or not in that one
            return part.filename or ""
    filename: str | None = part.filename
    return filename


def _harmless(filename: str) -> str:
    """Return the last part of a path, without control characters: what a client sends may have been made to harm."""
    last = filename.replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C")
    kept = kept.replace("\u2028", "").replace("\u2029", "").strip()[:_LONGEST_NAME]
    return "" if kept in (".", "..") else kept
