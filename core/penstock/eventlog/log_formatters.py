"""The two formats of the log."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from penstock.eventlog.event_records import TRACEBACK, EventRecord, escaped, indented, with_fields

RESERVED = frozenset({"time", "level", "event", "message"})

_COLORS = {logging.DEBUG: "2", logging.INFO: "32", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}


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
        line = f"{clock}.{int(record.msecs):03d} {level} {escaped(event)}  {escaped(message)}"
        line = with_fields(line, fields)
        return "\n".join([line, *indented(traceback)])


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
    if isinstance(record, EventRecord):
        return record.event, str(record.msg), fields, traceback.rstrip("\n")
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


def _json_value(value: Any) -> Any:
    """Return the value with its non-finite floats, which JSON does not have, as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    return value
