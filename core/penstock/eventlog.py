"""The operator's log: one line per significant event, as text or as JSON.

All of Penstock logs through ``log_event``, to the standard library's logger ``penstock``, so that an embedding program
can route the events as it likes. ``configure_logging`` is for programs that own their stderr, such as
``penstock serve``.

A value cannot forge a line: newlines and control characters in it are escaped. Only a traceback takes more than one
line, each of them indented (in JSON it is a string like any other).
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

LOGGER_NAME = "penstock"
# A field of this name is a traceback: the text format shows it below the line, not in the brackets.
TRACEBACK = "traceback"
RESERVED = frozenset({"time", "level", "event", "message"})

_logger = logging.getLogger(LOGGER_NAME)
# C0 and C1 controls, DEL, the Unicode line and paragraph separators, the marks that change the text direction, and
# lone surrogates, which no stream can encode.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_PLAIN_VALUE = re.compile(r'[^\s"\'\\=\[\]]+')
_SHORT_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_COLORS = {logging.DEBUG: "2", logging.INFO: "32", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}


def log_event(level: int, event: str, message: str, **fields: Any) -> None:
    """Log an event.

    Parameters
    ----------
    level:
        A level of ``logging``.
    event:
        The event's name, stable and in kebab-case, for programs to filter by: ``pool-ready``.
    message:
        One sentence for a person. It is never formatted with ``%``.
    fields:
        Values for programs: ``worker="default/0", pid=123``. The field ``traceback`` is shown as a traceback.
    """
    if _logger.isEnabledFor(level):
        _logger.log(level, message, extra={"event": event, "fields": fields})


def configure_logging(
    format: Literal["text", "json"] = "text",
    stream: TextIO | None = None,
    level: int = logging.INFO,
    *,
    color: bool = False,
) -> None:
    """Send Penstock's events, and the log records and warnings of all other code, to one stream.

    It may be called again. If the root logger has handlers that were set up elsewhere, it is left alone, and only
    Penstock's events go to the stream.

    Parameters
    ----------
    format:
        ``text`` for people, ``json`` for programs: one object per line.
    stream:
        Default: stderr.
    level:
        The lowest level that is shown.
    color:
        True to color the level, in the text format only.
    """
    handler = _EventHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter(color=color))
    _replace_handler(_logger, handler)
    # A user's dictConfig() disables, by default, every logger that it does not name.
    _logger.disabled = False
    _logger.propagate = False
    _logger.setLevel(level)
    root = logging.getLogger()
    if all(isinstance(other, _EventHandler) for other in root.handlers):
        _replace_handler(root, handler)
        root.setLevel(level)
    logging.captureWarnings(True)


def current_format() -> Literal["text", "json"]:
    """Return the format in which events are written: ``text`` if handlers set up elsewhere write them."""
    return "json" if any(isinstance(handler.formatter, JsonFormatter) for handler in _logger.handlers) else "text"


class _EventHandler(logging.StreamHandler[TextIO]):
    """A handler that ``configure_logging`` can recognize as its own."""


def _replace_handler(logger: logging.Logger, handler: logging.Handler) -> None:
    for other in list(logger.handlers):
        if isinstance(other, _EventHandler):
            logger.removeHandler(other)
    logger.addHandler(handler)


class TextFormatter(logging.Formatter):
    """``07:16:20.123 INFO    pool-ready  pool default is ready  [pool=default seconds=0.04]``, in local time."""

    def __init__(self, *, color: bool = False) -> None:
        super().__init__()
        self.color = color

    def format(self, record: logging.LogRecord) -> str:
        """Render one record. For a record of another logger, the logger's name takes the place of the event."""
        event, message, fields, traceback = _parts(record)
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = f"{record.levelname:<7}"
        if self.color:
            level = f"\x1b[{_COLORS.get(record.levelno, '0')}m{level}\x1b[0m"
        line = f"{clock}.{int(record.msecs):03d} {level} {_escaped(event)}  {_escaped(message)}"
        pairs = " ".join(f"{_escaped(name)}={text_value(value)}" for name, value in fields.items() if value is not None)
        if pairs:
            line = f"{line}  [{pairs}]"
        return "\n".join([line, *_indented(traceback)])


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ``time`` (ISO 8601, UTC), ``level``, ``event``, ``message``, then the fields.

    A field named like one of these four gets an underscore appended.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Render one record. For a record of another logger, the logger's name takes the place of the event."""
        event, message, fields, traceback = _parts(record)
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": event,
            "message": message,
        }
        for name, value in fields.items():
            line[f"{name}_" if name in RESERVED else name] = _json_value(value)
        if traceback:
            line[TRACEBACK] = traceback
        return json.dumps(line, default=str)


def _parts(record: logging.LogRecord) -> tuple[str, str, dict[str, Any], str]:
    fields = dict(getattr(record, "fields", {}))
    traceback = str(fields.pop(TRACEBACK, None) or "")
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    pieces = [piece.rstrip("\n") for piece in (traceback, record.exc_text, record.stack_info) if piece]
    return getattr(record, "event", record.name), _message_of(record), fields, "\n".join(pieces)


def _message_of(record: logging.LogRecord) -> str:
    """Return the message. If its arguments do not fit, return both unformatted instead of raising."""
    try:
        return record.getMessage()
    except Exception:
        return f"{record.msg} {record.args!r}"


def _escaped(text: str) -> str:
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    return f"\\x{ord(character):02x}" if character < "\x80" else f"\\u{ord(character):04x}"


def text_value(value: Any) -> str:
    """Return a value as the text format writes it after ``name=``: quoted if it could be misread."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    if _PLAIN_VALUE.fullmatch(text) and not _UNSAFE.search(text):
        return text
    # JSON's quoting is widely known; characters that it leaves alone, such as DEL, are escaped afterwards.
    return _escaped(json.dumps(text, ensure_ascii=False))


def _indented(traceback: str) -> Iterator[str]:
    # Split at newlines only: splitlines() also splits at form feeds and the like, which must be escaped.
    for line in traceback.split("\n") if traceback else ():
        yield "    " + _escaped(line.rstrip("\r"))


def _json_value(value: Any) -> Any:
    """Return the value with its non-finite floats, which JSON does not have, as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    return value
