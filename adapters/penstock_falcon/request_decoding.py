"""Compressed request bodies: inflated step by step, and never beyond the limit.

The first step is taken at once if the body is small; others run in a thread. Between two steps the size, the room in
the queue and the deadline are checked, so a small body that would expand to gigabytes ends with the step that is over
the limit.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from time import monotonic
from typing import Any, Final, Protocol

from penstock.errors import MalformedRequest, UnsupportedMediaType
from penstock.hosting import SMALL_BODY_BYTES, Body, BodyFile
from penstock_falcon.request_checks import BodyCollector, dropped_on_error, late_body
from penstock_falcon.transport import Transport
from penstock_falcon.zstd_library import zstd_module

FIRST_STEP_BYTES: Final = 1 << 18  # a millisecond, at most
STEP_BYTES: Final = 1 << 20
STEP_MEMBERS: Final = 64
"""The members of a gzip file, or the frames of Zstandard, in one step: they may be many, and empty."""
READ_BYTES: Final = 1 << 16
PIECE_BYTES: Final = 1 << 17
ZSTD_WINDOW_LOG: Final = 23
"""RFC 9659: over HTTP, no more than 8 MiB of what was inflated are needed to inflate the rest."""

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


class _Inflation(Protocol):
    """The inflating of one member. ``zlib`` and ``zstd`` differ in how they say that they need more input."""

    @property
    def eof(self) -> bool:
        """True at the end of the member."""

    @property
    def needs_input(self) -> bool:
        """True if there is nothing to inflate until more input arrives."""

    @property
    def unused_data(self) -> bytes:
        """The input after the end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take more input, and return at most ``max_length`` bytes."""


class ZlibStream:
    """The inflating of one member with ``zlib``.

    Parameters
    ----------
    window:
        The format and the size of the window: see ``zlib.decompressobj``.
    """

    __slots__ = ("_object", "_tail", "needs_input")

    def __init__(self, window: int) -> None:
        self._object = zlib.decompressobj(window)
        self._tail = b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        """True at the end of the member."""
        return self._object.eof

    @property
    def unused_data(self) -> bytes:
        """The input after the end."""
        return self._object.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take more input, and return at most ``max_length`` bytes."""
        piece = self._object.decompress(self._tail + data if self._tail else data, max_length)
        self._tail = self._object.unconsumed_tail
        self.needs_input = not self._tail and len(piece) < max_length
        return piece


def _new_gzip(_head: bytes) -> _Inflation:
    return ZlibStream(_GZIP_WINDOW)


def _new_deflate(head: bytes) -> _Inflation:
    """Inflate what RFC 9110 calls deflate, with its zlib header, or without, as some clients send it."""
    has_header = len(head) >= 2 and head[0] & 15 == zlib.DEFLATED and int.from_bytes(head[:2], "big") % 31 == 0
    return ZlibStream(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)


@cache
def _codings() -> dict[str, tuple[Callable[[bytes], _Inflation], type[Exception]]]:
    """Return the codings that can be inflated: how to begin, and the error of data that is not valid."""
    found: dict[str, Any] = dict.fromkeys(("gzip", "x-gzip"), (_new_gzip, zlib.error))
    found["deflate"] = _new_deflate, zlib.error
    zstd = zstd_module()
    if zstd is not None:
        options = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
        found["zstd"] = (lambda _head: zstd.ZstdDecompressor(options=options)), zstd.ZstdError
    return found


def content_coding(header: str | None) -> str:
    """Return the coding that a ``Content-Encoding`` header names; "" if it names none, or is missing.

    Raises
    ------
    UnsupportedMediaType
        If there are several, or it cannot be inflated here. The response names those that can.
    """
    if header is None:
        return ""
    names = [name.strip().lower() for name in header.split(",")]
    coding, *more = [name for name in names if name not in {"", "identity"}] or [""]
    if not coding or (coding in _codings() and not more):
        return coding
    accepted = tuple(name for name in _codings() if name != "x-gzip")
    problem = "one coding only" if more else f"only {', '.join(accepted)}"
    raise UnsupportedMediaType(
        f"Content-Encoding {header[:100]!r} is not supported: compress the body with {problem}, or not at all",
        codings=accepted,
    )


class InflatingReader:
    """A compressed body on its way to its content.

    Parameters
    ----------
    body:
        The body as it has arrived.
    coding:
        The coding, as from ``content_coding``.

    Attributes
    ----------
    is_finished:
        True if all of it is inflated.
    """

    def __init__(self, body: Body, coding: str) -> None:
        self._body = body
        self._coding = coding
        self._begin, self._error = _codings()[coding]
        self._place = 0
        self._input = b""
        self._inflation: _Inflation | None = None
        self._pieces: list[bytes] = []
        self.is_finished = False

    def take(self) -> list[bytes]:
        """Return the pieces of the content that were inflated since the last call."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def advance(self, most_bytes: int) -> None:
        """Inflate the next ``most_bytes`` of the content, or less.

        Raises
        ------
        MalformedRequest
            If the body is not what its coding says, or ends too early.
        """
        left_bytes, left_members = most_bytes, STEP_MEMBERS
        while left_bytes > 0 and left_members > 0 and not self.is_finished:
            inflation = self._inflation
            if inflation is None:
                self._begin_member()
                left_members -= 1
                continue
            data, self._input = self._input, b""
            if not data and inflation.needs_input and not (data := self._read()):
                raise MalformedRequest(f"The body ended before its {self._coding} data was complete")
            try:
                piece = inflation.decompress(data, min(PIECE_BYTES, left_bytes))
            except self._error as error:
                raise MalformedRequest(f"The body is not valid {self._coding} data: {error}") from None
            if piece:
                self._pieces.append(piece)
                left_bytes -= len(piece)
            if inflation.eof:
                self._input, self._inflation = inflation.unused_data, None

    def _begin_member(self) -> None:
        if len(self._input) < 2:
            self._input += self._read()
        if self._input:
            self._inflation = self._begin(self._input)
        else:
            self.is_finished = True

    def _read(self) -> bytes:
        if isinstance(self._body, BodyFile):
            data = self._body.read(self._place, READ_BYTES)
        else:
            data = self._body[self._place : self._place + READ_BYTES]
        self._place += len(data)
        return data


async def inflated(
    body: Body, coding: str, collector: BodyCollector, transport: Transport, deadline: float | None
) -> Body:
    """Return the content of a compressed body that has arrived in full.

    Parameters
    ----------
    body:
        The body.
    coding:
        Its coding, as from ``content_coding``.
    collector:
        Takes the content, and raises if it is too large.
    transport:
        Runs what takes time where it delays no other request.
    deadline:
        The instant by which it must be inflated; None if there is none.

    Raises
    ------
    MalformedRequest
        If it is not what its coding says, or ends too early.
    PayloadTooLarge, QueueFull
        As soon as the content is over the limit, or has no room.
    RequestTimeout
        If it is not inflated by the deadline.
    """
    reader = InflatingReader(body, coding)
    with dropped_on_error(collector):
        if len(body) <= SMALL_BODY_BYTES:
            reader.advance(FIRST_STEP_BYTES)
        while True:
            for piece in reader.take():
                collector.add(piece)
            if collector.is_due or (reader.is_finished and collector.ends_on_disk):
                await transport.run_blocking(_write_out, collector)
            if reader.is_finished:
                return collector.finish()
            if deadline is not None and monotonic() >= deadline:
                raise late_body()
            await transport.run_blocking(reader.advance, STEP_BYTES)


def _write_out(collector: BodyCollector) -> None:
    collector.write_out()
