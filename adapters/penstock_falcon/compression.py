"""Compressed responses: which, with what, and where the work is done.

A stream is never compressed: a compressor that has not seen enough holds chunks back.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any, Final

from penstock.hosting import SMALL_BODY_BYTES, Body, BodyFile
from penstock_falcon.added_headers import add_headers, headers_of
from penstock_falcon.responses import HttpResponse
from penstock_falcon.transport import HeaderLookup, Transport
from penstock_falcon.zstd_library import zstd_module

COMPRESSED_FROM_BYTES: Final = 1024
"""Below this, what is saved is less than a packet."""
AT_ONCE_BYTES: Final = SMALL_BODY_BYTES
STEP_BYTES: Final = 8 << 20
READ_BYTES: Final = 1 << 18
GZIP_LEVEL: Final = 1
"""Level 6 makes JSON smaller by a fifth at most, and takes two to five times as long."""
ZSTD_LEVEL: Final = 1

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_TEXT_TYPES: Final = frozenset({
    "application/javascript", "application/json", "application/sql", "application/toml", "application/wasm",
    "application/x-javascript", "application/x-yaml", "application/xml", "application/yaml", "font/otf", "font/ttf",
    "image/bmp",
})  # fmt: skip
_TEXT_SUFFIXES: Final = ("+json", "+xml", "+yaml")
_WITHOUT_CONTENT: Final = frozenset({204, 206, 304})
# A handler that sets one of these speaks of the bytes as they are.
_FINAL_HEADERS: Final = frozenset({"content-digest", "content-encoding", "content-range"})


def coding_for(response: HttpResponse, method: str, header: HeaderLookup) -> str:
    """Return the coding with which to compress a response, or ""; add ``Vary`` if it depends on the request."""
    if not _is_compressible(response, method):
        return ""
    add_headers(response, [("vary", "Accept-Encoding")])
    return chosen_coding(header("accept-encoding") or "")


def _is_compressible(response: HttpResponse, method: str) -> bool:
    if response.body is None or len(response.body) < COMPRESSED_FROM_BYTES:
        return False
    if response.status in _WITHOUT_CONTENT or method == "HEAD":
        return False
    headers = headers_of(response)
    if not _FINAL_HEADERS.isdisjoint(headers) or "no-transform" in headers.get("cache-control", "").lower():
        return False
    media_type = headers["content-type"].partition(";")[0].strip().lower()
    is_text = media_type.startswith("text/") and media_type != "text/event-stream"
    return is_text or media_type in _TEXT_TYPES or media_type.endswith(_TEXT_SUFFIXES)


@lru_cache(maxsize=256)  # clients of a kind send the same header
def chosen_coding(accept: str) -> str:
    """Return the best coding that an ``Accept-Encoding`` header allows (RFC 9110, section 12.5.3).

    It is "" if the client prefers none, or accepts none that we have. ``*`` stands for gzip, which every client knows.
    """
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (item.strip() for item in part.split(";"))
        weights[name] = _weight(parameters)
    ours = {"zstd": weights.get("zstd", 0.0), "gzip": weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))}
    if zstd_module() is None:
        del ours["zstd"]
    best = max(ours, key=ours.__getitem__)
    return best if ours[best] > 0 and ours[best] >= weights.get("identity", 0.0) else ""


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0 <= weight <= 1 else 0.0
    return 1.0


class CompressedBody:
    """A body that is being compressed.

    Parameters
    ----------
    body:
        The body as it is. One in a file is read piece by piece, and the result is in a file too.
    coding:
        The coding.

    Raises
    ------
    OSError
        If there is no room for another file.
    """

    def __init__(self, body: Body, coding: str) -> None:
        self._body = body
        self._place = 0
        self._pieces: list[bytes] = []
        self._file = BodyFile.in_memory() if isinstance(body, BodyFile) else None
        self._compressor: Any = (
            zlib.compressobj(GZIP_LEVEL, wbits=_GZIP_WINDOW)
            if coding == "gzip"
            else zstd_module().ZstdCompressor(level=ZSTD_LEVEL)
        )

    @property
    def is_finished(self) -> bool:
        """True if nothing is left to compress."""
        return self._place >= len(self._body)

    def advance(self, most_bytes: int) -> None:
        """Compress the next ``most_bytes``, or what is left."""
        end = min(self._place + most_bytes, len(self._body))
        while self._place < end:
            piece = self._read(min(READ_BYTES, end - self._place))
            self._place += len(piece)
            self._write(self._compressor.compress(piece))
        if self.is_finished:
            self._write(self._compressor.flush())

    def _read(self, size_bytes: int) -> bytes:
        if not isinstance(self._body, BodyFile):
            return self._body[self._place : self._place + size_bytes]
        piece = self._body.read(self._place, size_bytes)
        if not piece:
            raise OSError("the file of a body has been shortened")
        return piece

    def _write(self, piece: bytes) -> None:
        if self._file is None:
            self._pieces.append(piece)
        else:
            self._file.write(piece)

    def take(self) -> Body:
        """Return the result."""
        return b"".join(self._pieces) if self._file is None else self._file


def compress_at_once(response: HttpResponse, coding: str) -> None:
    """Compress a response that is small enough for that."""
    assert response.body is not None, "it has a coding"
    compressed = CompressedBody(response.body, coding)
    compressed.advance(len(response.body))
    _replace_body(response, compressed.take(), coding)


async def compress(response: HttpResponse, coding: str, transport: Transport) -> None:
    """Compress a response, a small one at once, and others where they delay no other request."""
    assert response.body is not None, "it has a coding"
    if len(response.body) <= AT_ONCE_BYTES:
        compress_at_once(response, coding)
        return
    try:
        compressed = CompressedBody(response.body, coding)
        while not compressed.is_finished:
            await transport.run_blocking(compressed.advance, STEP_BYTES)
    except OSError:
        return  # it is sent as it is
    _replace_body(response, compressed.take(), coding)


def _replace_body(response: HttpResponse, body: Body, coding: str) -> None:
    response.body = body  # type: ignore[assignment] # until the response is written, it may be a file here too
    added = [("content-encoding", coding)]
    tag = headers_of(response).get("etag", "")
    if tag.startswith('"'):  # RFC 9110, section 8.8.1: a strong one stands for the bytes that it was sent with
        added.append(("etag", f"W/{tag}"))
    add_headers(response, added)
