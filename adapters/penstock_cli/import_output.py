"""The output of an app in the HTTP process, which imports it too: logged line by line, as that of its workers is."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, TextIO

from penstock.hosting import StreamRecord, divert_records, log_output, log_stream_record, shows_records_of

if TYPE_CHECKING:  # it exists for type checkers alone
    from _typeshed import ReadableBuffer


def output_as_events(worker: str) -> TextIO:
    """Return a text stream that logs each line written to it as an ``output`` event of ``worker``."""
    sink = io.BufferedWriter(_EventSink(worker))
    return io.TextIOWrapper(sink, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def records_as_events(worker: str, *streams: TextIO) -> None:
    """Log each log record that a handler is about to write to one of the streams as a record of ``worker``.

    A record that also reaches the handler of the log itself is left to that one.
    """

    def take(_stream: TextIO, record: StreamRecord) -> None:
        if not shows_records_of(record.logger):
            log_stream_record(record, worker)

    divert_records(streams, take)


class _EventSink(io.RawIOBase):
    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._partial = b""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        # faulthandler and others write to the descriptor, past Python's streams.
        assert sys.__stderr__ is not None
        return sys.__stderr__.fileno()

    def write(self, data: ReadableBuffer) -> int:
        piece = bytes(data)
        *lines, self._partial = (self._partial + piece).split(b"\n")
        for line in lines:
            self._report(line)
        return len(piece)

    def close(self) -> None:
        if not self.closed and self._partial:
            self._report(self._partial)
            self._partial = b""
        super().close()

    def _report(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace").rstrip("\r")
        log_output(self._worker, text)
