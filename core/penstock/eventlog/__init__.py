"""The operator's log: one line per significant event, as text or as JSON.

All of Penstock logs through ``log_event``, to the standard library's logger ``penstock``, so that an embedding program
can route the events as it likes. ``configure_logging`` is for programs that own their stderr, such as
``penstock serve``. If no program has set up any handler, warnings and errors go to stderr all the same.

Nothing waits for a slow reader of stderr: see ``penstock.eventlog.log_writer``.

A value cannot forge a line: newlines and control characters in it are escaped. Only a traceback takes more than one
line, each of them indented (in JSON it is a string like any other).
"""

from penstock.eventlog.event_logging import (
    LOGGER_NAME,
    configure_logging,
    current_format,
    end_last_resort,
    log_event,
    log_foreign,
    log_output,
    log_stream_record,
    shows_records_of,
)
from penstock.eventlog.event_records import EventRecord, text_value
from penstock.eventlog.log_formatters import JsonFormatter, TextFormatter

__all__ = [
    "LOGGER_NAME",
    "EventRecord",
    "JsonFormatter",
    "TextFormatter",
    "configure_logging",
    "current_format",
    "end_last_resort",
    "log_event",
    "log_foreign",
    "log_output",
    "log_stream_record",
    "shows_records_of",
    "text_value",
]
