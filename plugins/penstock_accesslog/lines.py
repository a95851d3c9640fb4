"""What a line says, in three formats.

Quick, because it is done for each request in the engine's thread; and safe, because half of it comes from clients: no
value can end its line, be taken for another field, or speak to a terminal.
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
"""Characters of a value; what is longer is cut. So nearly every line fits into one undivided write to a pipe."""
MOST_REMEMBERED: Final = 4096


class Lines(Protocol):
    """Makes the line of a record, ended, given the time since 1970 in seconds."""

    def __call__(self, record: RequestAnswered, now: float) -> bytes:
        """Make one."""
        ...


def lines_of(format: Format) -> Lines:
    """What makes lines in this format."""
    makers: dict[Format, Callable[[], Lines]] = {"text": TextLines, "json": JsonLines, "combined": CombinedLines}
    return makers[format]()


class Remembered(dict[str, str]):
    """How values are shown: worked out once for each, because paths, callers and addresses come again and again."""

    def __init__(self, show: Callable[[str], str]) -> None:
        super().__init__()
        self._show = show

    def __missing__(self, value: str) -> str:
        if len(self) >= MOST_REMEMBERED:
            self.clear()
        shown = self._show(_cut(value))
        if len(value) <= LONGEST_VALUE:  # or it would cost more memory than it saves time
            self[value] = shown
        return shown


def _is_plain(request_id: str) -> bool:
    """Whether it can stand in any line as it is; those that are made here can."""
    return request_id.replace("-", "").isalnum() and request_id.isascii() and len(request_id) <= LONGEST_VALUE


def _cut(value: str) -> str:
    return value if len(value) <= LONGEST_VALUE else value[:LONGEST_VALUE] + "..."


class Seconds:
    """The time of day, to the second, formatted once a second."""

    def __init__(self, show: Callable[[int], str]) -> None:
        self._show = show
        self._second = -1
        self._shown = ""

    def __call__(self, second: int) -> str:
        """The second as text."""
        if second != self._second:
            self._second, self._shown = second, self._show(second)
        return self._shown


class TextLines:
    """``07:16:20.123 INFO    request  POST /square 200 ok  [ms=1.520 ...]``, like an event line, in local time."""

    def __init__(self) -> None:
        self._clock = Seconds(lambda second: time.strftime("%H:%M:%S", time.localtime(second)))
        self._shown = Remembered(text_value)

    def __call__(self, record: RequestAnswered, now: float) -> bytes:
        """See ``Lines``."""
        shown = self._shown
        second = int(now)
        request_id = record.request_id
        if not _is_plain(request_id):
            request_id = text_value(_cut(request_id))  # not remembered: each comes only once
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
        return f"{line} request_id={request_id}]\n".encode()


class JsonLines:
    """An object in each line, with the fields of an event line and then those of the request.

    It is put together from strings that are JSON already: that takes half the time of encoding an object.
    """

    def __init__(self) -> None:
        self._clock = Seconds(lambda second: time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
        self._shown = Remembered(_json_string)

    def __call__(self, record: RequestAnswered, now: float) -> bytes:
        """See ``Lines``."""
        shown = self._shown
        second = int(now)
        request_id = record.request_id
        request_id = f'"{request_id}"' if _is_plain(request_id) else _json_string(_cut(request_id))
        method, path = shown[record.method], shown[record.path]
        principal = "null" if record.principal is None else shown[record.principal]
        queue, execution = record.queue_seconds, record.execution_seconds
        queue_ms = "null" if queue is None else f"{queue * 1000:.3f}"
        execution_ms = "null" if execution is None else f"{execution * 1000:.3f}"
        return (
            f'{{"time": "{self._clock(second)}.{int((now - second) * 1000):03d}Z", '
            f'"level": "info", "event": "request", '
            f'"message": "{method[1:-1]} {path[1:-1]} {record.status}", "request_id": {request_id}, '
            f'"principal": {principal}, "address": {shown[record.address]}, "method": {method}, "path": {path}, '
            f'"endpoint": {shown[record.endpoint]}, "status": {record.status}, "code": {shown[record.code]}, '
            f'"ms": {record.seconds * 1000:.3f}, "queue_ms": {queue_ms}, "execution_ms": {execution_ms}, '
            f'"attempts": {record.attempts}}}\n'
        ).encode()


def _json_string(value: str) -> str:
    # Nothing that is not ASCII is left as it is: no line separator of Unicode, nothing that turns the direction of
    # reading, no lone surrogate. DEL is ASCII.
    return json.dumps(value).replace("\x7f", r"\u007f")


class CombinedLines:
    """Apache's and nginx' "combined", for tools that read only that.

    Size, referrer and user agent are not known here, and are "-"; the protocol is said to be HTTP/1.1.
    """

    def __init__(self) -> None:
        self._clock = Seconds(lambda second: time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(second)))
        self._shown = Remembered(_quoted)

    def __call__(self, record: RequestAnswered, now: float) -> bytes:
        """See ``Lines``."""
        shown = self._shown
        return (
            f"{shown[record.address]} - {shown[record.principal or '']} [{self._clock(int(now))}] "
            f'"{shown[record.method]} {shown[record.path]} HTTP/1.1" {record.status} - "-" "-"\n'
        ).encode()


def _quoted(value: str) -> str:
    """The value with blanks, quotes and everything else that is special as %XX, as it may have come."""
    return quote(value, safe="/:@!$&'()*+,;=~%", errors="backslashreplace") or "-"
