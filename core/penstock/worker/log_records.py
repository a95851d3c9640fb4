"""Log records of user code: sent to the engine with their level, logger, time and job, not as text to be guessed from.

They travel in the output pipe, among the lines that user code prints. So they keep their order, a process that logs too
much is held back by its own pipe, and threads and forks of user code need no connection to the engine.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any, TextIO

from penstock.wire import Log, pack_log

LONGEST_MESSAGE = 8_000
LONGEST_TRACEBACK = 32_000

REQUEST_IDS: ContextVar[list[str]] = ContextVar("penstock_request_ids")
"""The request ids of the attempt that runs in this context."""

_plain = logging.Formatter()


def send_records(mark: bytes) -> None:
    """Send each record that a handler is about to write to this process's stdout or stderr. Call it once, in a worker.

    User code may set up logging at any time, at import or in ``setup``, so this is done where the standard library's
    handlers write, and not by a handler of ours.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__) if stream is not None]
    emit = logging.StreamHandler.emit

    def emit_or_send(handler: logging.StreamHandler[TextIO], record: logging.LogRecord) -> None:
        stream = handler.stream
        if not any(stream is ours for ours in streams):
            emit(handler, record)
            return
        try:
            stream.write(pack_log(mark, _log_of(handler, record)))
            stream.flush()
        except RecursionError:
            raise
        except Exception:
            handler.handleError(record)

    logging.StreamHandler.emit = emit_or_send  # type: ignore[method-assign, assignment]


def _log_of(handler: logging.Handler, record: logging.LogRecord) -> Log:
    is_plain = handler.formatter is None or type(handler.formatter) is logging.Formatter
    # A formatter of the user's own may show more than the message, and its exception.
    message = record.getMessage() if is_plain else handler.format(record)
    return Log(
        record.levelno,
        record.name,
        record.created,
        _cut(message, LONGEST_MESSAGE),
        _cut(_traceback_of(record), LONGEST_TRACEBACK) if is_plain else "",
        REQUEST_IDS.get([]),
    )


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
