"""Log records of user code: sent to the engine with their level, logger, time and job, not as text to be guessed from.

They travel in the output pipe, among the lines that user code prints. So they keep their order, a process that logs too
much is held back by its own pipe, and threads and forks of user code need no connection to the engine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

from penstock.eventlog.stream_records import StreamRecord, divert_records
from penstock.wire import Log, pack_log
from penstock.worker.trace_entry import TRACE_IDS

REQUEST_IDS: ContextVar[list[str]] = ContextVar("penstock_request_ids")
"""The request ids of the attempt that runs in this context."""

_UNTRACED: tuple[list[str], str] = [], ""


class _Sending:
    """The way in which this process sends its records.

    Attributes
    ----------
    mark:
        The mark in front of each.
    is_import:
        True while the app is imported, which other processes do as well.
    """

    mark = b""
    is_import = False


def send_records(mark: bytes) -> None:
    """Send each record that a handler is about to write to this process's stdout or stderr.

    Called in the zygote, and again in each worker, which has a mark of its own.
    """
    _Sending.mark = mark
    divert_records((sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__), _send)


@contextmanager
def import_of_app() -> Iterator[None]:
    """Mark the records of the block as records of the import."""
    _Sending.is_import = True
    try:
        yield
    finally:
        _Sending.is_import = False


def _send(stream: TextIO, record: StreamRecord) -> None:
    trace_ids, span_id = TRACE_IDS.get(_UNTRACED)
    log = Log(*record, REQUEST_IDS.get([]), _Sending.is_import, trace_ids, span_id)
    stream.write(pack_log(_Sending.mark, log))
    stream.flush()
