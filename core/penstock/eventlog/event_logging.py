"""The way of events into the log, and of the log to stderr."""

from __future__ import annotations

import logging
import sys
from contextlib import nullcontext
from typing import Any, Literal, TextIO

from penstock.eventlog.event_records import EventRecord, escaped
from penstock.eventlog.import_records import note_shown
from penstock.eventlog.log_formatters import JsonFormatter, TextFormatter
from penstock.eventlog.log_writer import LogWriter, loss_message, writer_of
from penstock.eventlog.stream_records import StreamRecord

LOGGER_NAME = "penstock"

_logger = logging.getLogger(LOGGER_NAME)


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
        _handle(EventRecord(_logger.name, level, event, message, fields))


def log_output(worker: str, text: str) -> None:
    """Log a line that user code has printed in a worker."""
    if _logger.hasHandlers():
        log_event(logging.INFO, "output", text, worker=worker)
    else:
        # A program that has not configured logging still expects to see what its model prints.
        _handler_of_last_resort().write_line(f"[{worker}] {escaped(text)}")


def log_foreign(level: int, name: str, message: str, created: float, fields: dict[str, Any]) -> None:
    """Log a record that user code has logged in another process, with the level, the logger's name and the time it had.

    Parameters
    ----------
    level, name, message:
        The record's own; ``name`` is that of its logger.
    created:
        Its time, in seconds since 1970.
    fields:
        Values for programs, with its ``traceback`` if it has one.
    """
    if _logger.isEnabledFor(level):
        record = EventRecord(name, level, name, message, fields)
        record.created = created
        record.msecs = created % 1 * 1000
        _handle(record)


def log_stream_record(record: StreamRecord, worker: str, fields: dict[str, Any] | None = None) -> None:
    """Log what user code has logged in the process ``worker``."""
    values: dict[str, Any] = {"worker": worker} | (fields or {})
    if record.traceback:
        values["traceback"] = record.traceback
    log_foreign(record.level, record.logger, record.message, record.time, values)


def shows_records_of(name: str) -> bool:
    """Return whether a record of this logger reaches a handler that ``configure_logging`` has set up."""
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        if any(isinstance(handler, _EventHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _handle(record: EventRecord) -> None:
    if _logger.hasHandlers():
        _logger.handle(record)
    elif record.levelno >= logging.WARNING and not _logger.disabled:
        _handler_of_last_resort().handle(record)


def configure_logging(
    format: Literal["text", "json"] = "text",
    stream: TextIO | None = None,
    level: int | str = logging.INFO,
    *,
    color: bool = False,
) -> None:
    """Send Penstock's events, and the log records and warnings of all other code, to one stream.

    It may be called again. If the root logger has handlers that were set up elsewhere, it is left alone, and only
    Penstock's events go to the stream.

    A thread does the writing, and drops lines, counted, while the reader of the stream is too slow. Streams without a
    descriptor, which are in memory, are written to directly.

    Parameters
    ----------
    format:
        ``text`` for people, ``json`` for programs: one object per line.
    stream:
        Default: stderr.
    level:
        The lowest level that is shown: a number of ``logging``, or a name such as ``"info"``.
    color:
        True to color the level, in the text format only.

    Raises
    ------
    ValueError
        If there is no such format or level.
    """
    threshold = _level_number(level)
    if format not in ("text", "json"):
        raise ValueError(f"format={format!r} is unknown; use 'text' or 'json'")
    handler = _EventHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter(color=color))
    _replace_handler(_logger, handler)
    # A user's dictConfig() disables, by default, every logger that it does not name.
    _logger.disabled = False
    _logger.propagate = False
    _logger.setLevel(threshold)
    root = logging.getLogger()
    if all(isinstance(other, _EventHandler) for other in root.handlers):
        _replace_handler(root, handler)
        root.setLevel(threshold)
    logging.captureWarnings(True)


def _level_number(level: int | str) -> int:
    if isinstance(level, int):
        return level
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"level={level!r} is unknown; use 'debug', 'info', 'warning', 'error' or 'critical'")
    return number


def current_format() -> Literal["text", "json"]:
    """Return the format in which events are written: ``text`` if handlers set up elsewhere write them."""
    return "json" if any(isinstance(handler.formatter, JsonFormatter) for handler in _logger.handlers) else "text"


class _EventHandler(logging.Handler):
    """A handler that formats, and leaves the writing to the writer of its stream's descriptor."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self.stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._writer = _writer_to(stream)
        if self._writer is not None:
            self._writer.loss_line = self._loss_line

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, soon."""
        try:
            note_shown(record)
            self.write_line(self.format(record))
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the method of logging.Handler
        """Name a record that cannot be written. Not by a traceback on stderr, which may lead back to this handler."""
        self.write_line(f"a log record of {escaped(record.name)} could not be written: {sys.exc_info()[1]!r}")

    def write_line(self, line: str) -> None:
        """Write a line, soon; at once if its stream is in memory."""
        if self._writer is not None:
            with self.lock or nullcontext():
                self._writer.put(self._encoded(line))
        elif self.stream is not None and not self.stream.closed:
            self.stream.write(f"{line}\n")
            self.stream.flush()

    def _encoded(self, line: str) -> bytes:
        return f"{line}\n".encode(self._encoding, "backslashreplace")

    def _loss_line(self, count: int) -> bytes:
        record = EventRecord(LOGGER_NAME, logging.WARNING, "log-dropped", loss_message(count), {"lines": count})
        return self._encoded(self.format(record))

    def end(self) -> None:
        """End the thread of the writer, until there is something to write again."""
        if self._writer is not None:
            with self.lock or nullcontext():
                self._writer.end_thread()

    def flush(self) -> None:
        """Wait until everything is written, but not long. The interpreter does that at its exit."""
        if self._writer is not None:
            self._writer.flush()


def _writer_to(stream: TextIO | None) -> LogWriter | None:
    """Return the writer for a stream's descriptor; None if it has none, and so never makes its writers wait."""
    try:
        return None if stream is None else writer_of(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return None


def _handler_of_last_resort() -> _EventHandler:
    """Return the handler for programs that have set up none: to stderr, whatever that is now, as ``logging`` does."""
    global _last_resort  # noqa: PLW0603 - made on first use, and again when stderr has been replaced
    if _last_resort is None or _last_resort.stream is not sys.stderr:
        _last_resort = _EventHandler(sys.stderr)
        _last_resort.setFormatter(TextFormatter())
    return _last_resort


_last_resort: _EventHandler | None = None


def end_last_resort() -> None:
    """End the thread that writes for a program without a logging set-up: an engine that has ended leaves no thread."""
    if _last_resort is not None:
        _last_resort.end()


def _replace_handler(logger: logging.Logger, handler: logging.Handler) -> None:
    for other in list(logger.handlers):
        if isinstance(other, _EventHandler):
            logger.removeHandler(other)
    logger.addHandler(handler)
