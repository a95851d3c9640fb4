"""Log records that a handler is about to write to a stream of the process, taken as records and not as text."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TextIO

LONGEST_MESSAGE: Final = 8_000
LONGEST_TRACEBACK: Final = 32_000


class StreamRecord(NamedTuple):
    """The content of a log record.

    Attributes
    ----------
    level, logger, message, traceback:
        The record's own.
    time:
        When it was made, in seconds since 1970.
    """

    level: int
    logger: str
    time: float
    message: str
    traceback: str


Take = Callable[[TextIO, StreamRecord], None]


class _Diversion:
    """The streams of this process whose records are taken, and what takes them. A fork inherits it."""

    def __init__(self) -> None:
        self.is_installed = False
        self.streams: list[TextIO] = []
        self.take: Take


_diversion = _Diversion()
_emit_text = logging.StreamHandler.emit
_plain = logging.Formatter()


def divert_records(streams: Iterable[TextIO | None], take: Take) -> None:
    """Pass each record that a handler is about to write to one of the streams to ``take``, with the stream.

    User code may set up logging at any time, at import or in ``setup``, so this is done where the standard library's
    handlers write, and not by a handler of ours. A further call replaces the streams.
    """
    _diversion.streams = [stream for stream in streams if stream is not None]
    _diversion.take = take
    if not _diversion.is_installed:
        _diversion.is_installed = True
        logging.StreamHandler.emit = _take_or_emit  # type: ignore[method-assign, assignment]


def _take_or_emit(handler: logging.StreamHandler[TextIO], record: logging.LogRecord) -> None:
    stream = handler.stream
    if not any(stream is ours for ours in _diversion.streams):
        _emit_text(handler, record)
        return
    try:
        _diversion.take(stream, _content_of(handler, record))
    except RecursionError:
        raise
    except Exception:
        handler.handleError(record)


def _content_of(handler: logging.Handler, record: logging.LogRecord) -> StreamRecord:
    is_plain = handler.formatter is None or type(handler.formatter) is logging.Formatter
    # A formatter of the user's own may show more than the message, and its exception.
    message = record.getMessage() if is_plain else handler.format(record)
    traceback = _cut(_traceback_of(record), LONGEST_TRACEBACK) if is_plain else ""
    return StreamRecord(record.levelno, record.name, record.created, _cut(message, LONGEST_MESSAGE), traceback)


def _traceback_of(record: logging.LogRecord) -> str:
    text: Any = record.exc_text
    if record.exc_info and not text:
        text = _plain.formatException(record.exc_info)
    return "\n".join(filter(None, (text, record.stack_info)))


def _cut(text: str, longest: int) -> str:
    """Return the text, without its middle if it is too long: a traceback's first and last lines matter most."""
    if len(text) > longest:
        text = f"{text[: longest // 2]} ... {text[-longest // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()  # lone surrogates are not valid in JSON
