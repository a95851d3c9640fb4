"""The three line formats: text, JSON and combined.

Formatting is fast, because it runs once per request and shares the interpreter with the engine. It is also safe,
because half of the values come from clients: a value cannot end its line, imitate another field, or send control
sequences to a terminal.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Final, Literal, Protocol, TypeAlias
from urllib.parse import quote

from penstock.hooks import RequestAnswered, text_value

Format: TypeAlias = Literal["text", "json", "combined"]

LONGEST_VALUE: Final = 512
"""Characters kept of each value; the rest is cut off. Nearly every line then fits into one atomic write to a pipe."""
MOST_SHOWN_VALUES: Final = 4096


class LineFormatter(Protocol):
    """A callable that turns a record into a line."""

    def __call__(self, record: RequestAnswered, now: float) -> bytes:
        """Return the record's line, with its newline; ``now`` is in seconds since 1970."""
        ...


def formatter_for(format: Format) -> LineFormatter:
    """Return a new formatter of this format."""
    formatters: dict[Format, Callable[[], LineFormatter]] = {
        "text": TextLines,
        "json": JsonLines,
        "combined": CombinedLines,
    }
    return formatters[format]()


class ShownValues(dict[str, str]):
    """A cache of formatted values: the same paths, callers and addresses recur in line after line."""

    def __init__(self, show: Callable[[str], str]) -> None:
        super().__init__()
        self._show = show

    def __missing__(self, value: str) -> str:
        if len(self) >= MOST_SHOWN_VALUES:
            self.clear()
        shown = self._show(_cut(value))
        if len(value) <= LONGEST_VALUE:  # caching longer values would cost more memory than the time saved is worth
            self[value] = shown
        return shown


def _is_plain(request_id: str) -> bool:
    """Return whether the ID needs no escaping in any format; the IDs that Penstock generates need none."""
    return request_id.replace("-", "").isalnum() and request_id.isascii() and len(request_id) <= LONGEST_VALUE


def _cut(value: str) -> str:
    return value if len(value) <= LONGEST_VALUE else value[:LONGEST_VALUE] + "..."


class Seconds:
    """The time of day to the second, formatted once per second."""

    def __init__(self, show: Callable[[int], str]) -> None:
        self._show = show
        self._second = -1
        self._shown = ""

    def __call__(self, second: int) -> str:
        """Return the second as text."""
        if second != self._second:
            self._second, self._shown = second, self._show(second)
        return self._shown


class TextLines:
    """The text format: like an event line, in local time.

    For example ``07:16:20.123 INFO    request  POST /square 200 ok  [ms=1.520 ...]``.
    """

    def __init__(self) -> None:
        self._clock = Seconds(lambda second: time.strftime("%H:%M:%S", time.localtime(second)))
        self._shown = ShownValues(text_value)

    def __call__(self, record: RequestAnswered, now: float) -> bytes:
        """Return the line; see ``LineFormatter``."""
        shown = self._shown
        second = int(now)
        request_id = record.request_id
        if not _is_plain(request_id):
            request_id = text_value(_cut(request_id))  # not cached: each occurs only once
        line = (
            f"{self._clock(second)}.{int((now - second) * 1000):03d} INFO    request  {shown[record.method]} "
            f"{shown[record.path]} {record.status} {shown[record.code]}  [ms={record.seconds * 1000:.3f}"
        )
        queue, execution = record.queue_seconds, record.execution_seconds
        if queue is not None:
            line += f" queue_ms={queue * 1000:.3f}"
        if execution is not None:
            line += f" execution_ms={execution * 1000:.3f}"
        if record.attempts:
            line += f" attempts={record.attempts}"
        if record.endpoint:
            line += f" endpoint={shown[record.endpoint]}"
        if record.principal is not None:
            line += f" principal={shown[record.principal]}"
        if record.address:
            line += f" address={shown[record.address]}"
        if record.trace is not None:
            line += f" trace_id={record.trace.trace_id} span_id={record.trace.span_id}"
        return f"{line} request_id={request_id}]\n".encode()


class JsonLines:
    """The JSON format: one object per line, with the fields of an event line followed by those of the request.

    The object is assembled from strings that are already JSON, which takes half the time of encoding a dictionary.
    """

    def __init__(self) -> None:
        self._clock = Seconds(lambda second: time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
        self._shown = ShownValues(_json_string)

    def __call__(self, record: RequestAnswered, now: float) -> bytes:
        """Return the line; see ``LineFormatter``."""
        shown = self._shown
        second = int(now)
        request_id = record.request_id
        request_id = f'"{request_id}"' if _is_plain(request_id) else _json_string(_cut(request_id))
        method, path = shown[record.method], shown[record.path]
        principal = "null" if record.principal is None else shown[record.principal]
        address = shown[record.address] if record.address else "null"
        endpoint = shown[record.endpoint] if record.endpoint else "null"
        queue, execution = record.queue_seconds, record.execution_seconds
        queue_ms = "null" if queue is None else f"{queue * 1000:.3f}"
        execution_ms = "null" if execution is None else f"{execution * 1000:.3f}"
        trace = record.trace
        ids = "" if trace is None else f'"trace_id": "{trace.trace_id}", "span_id": "{trace.span_id}", '
        return (
            f'{{"time": "{self._clock(second)}.{int((now - second) * 1000):03d}Z", '
            f'"level": "info", "event": "request", '
            f'"message": "{method[1:-1]} {path[1:-1]} {record.status}", "request_id": {request_id}, '
            f'{ids}"principal": {principal}, "address": {address}, "method": {method}, "path": {path}, '
            f'"endpoint": {endpoint}, "status": {record.status}, "code": {shown[record.code]}, '
            f'"ms": {record.seconds * 1000:.3f}, "queue_ms": {queue_ms}, "execution_ms": {execution_ms}, '
            f'"attempts": {record.attempts}}}\n'
        ).encode()


def _json_string(value: str) -> str:
    # json.dumps escapes everything outside ASCII, which includes Unicode line separators, bidirectional controls and
    # lone surrogates. DEL is ASCII, so it is escaped here.
    return json.dumps(value).replace("\x7f", r"\u007f")


class CombinedLines:
    """The "combined" format of Apache and nginx, for tools that read no other.

    Size, referrer and user agent are unknown here and shown as "-". The protocol is always shown as HTTP/1.1.
    """

    def __init__(self) -> None:
        self._clock = Seconds(lambda second: time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(second)))
        self._shown = ShownValues(_quoted)

    def __call__(self, record: RequestAnswered, now: float) -> bytes:
        """Return the line; see ``LineFormatter``."""
        shown = self._shown
        return (
            f"{shown[record.address]} - {shown[record.principal or '']} [{self._clock(int(now))}] "
            f'"{shown[record.method]} {shown[record.path]} HTTP/1.1" {record.status} - "-" "-"\n'
        ).encode()


def _quoted(value: str) -> str:
    """Return the value with spaces, quotes and other special characters as %XX, the way a client may have sent them."""
    return quote(value, safe="/:@!$&'()*+,;=~%", errors="backslashreplace") or "-"
