"""The output of user code, and its log records, logged line by line with the name of its worker."""

from __future__ import annotations

import os
from collections import deque
from typing import Any, Final

from penstock.engine.processes.crash_traces import new_crash_filter
from penstock.engine.reactors.reactor import Reactor, TimerHandle
from penstock.eventlog import log_output, log_stream_record
from penstock.eventlog.import_records import ImportRecords
from penstock.eventlog.log_writer import is_congested
from penstock.eventlog.stream_records import StreamRecord
from penstock.wire import WireError, unpack_log

READ_BYTES: Final = 1 << 16
LONGEST_LINE: Final = 1 << 18
MOST_LEFT_BYTES: Final = 1 << 20
"""The most that a pipe can be set to hold."""
LINES_PER_TURN: Final = 32
"""Lines logged in one turn of the loop: they take about a millisecond."""
FEW_LINES: Final = 4
TURN_PAUSE: Final = 0.003
"""Seconds between the turns of a process that writes many lines, times the number of such processes: the rest of the
loop has most of the time, however many there are."""
CONGESTED_PAUSE: Final = 0.05
"""Seconds until the next look at whether the reader of the log has caught up."""
MOST_LAST_LINES: Final = 1000
"""Lines logged when the pipe is closed: the last ones, where a crash says what it was."""
PROGRESS_SECONDS: Final = 1.0
"""A progress bar is shown at most this often."""

_busy_pumps: set[OutputPump] = set()  # the pumps of this program that pause between two turns


class OutputPump:
    """Reads a pipe that carries a process's stdout and stderr, and logs each line whole.

    It reads only as fast as lines can be logged. A process that writes faster finds its pipe full, and waits there.

    Parameters
    ----------
    reactor:
        The engine's reactor.
    fd:
        The read end of the pipe. Owned: ``close`` closes it.
    name:
        The name of the process.
    mark:
        The mark in front of log records; ``b""`` if the process sends none.
    imports:
        The log records of the import, of all processes of the engine.
    """

    def __init__(
        self, reactor: Reactor, fd: int, name: str, mark: bytes = b"", imports: ImportRecords | None = None
    ) -> None:
        self._reactor = reactor
        self._fd = fd
        self._name = name
        self._mark = mark
        self._is_new_import = (imports or ImportRecords()).of_process()
        self._lines: deque[bytes] = deque()  # complete, and not yet logged
        self._partial = b""
        self._is_shown = new_crash_filter()
        self._progress_at = -PROGRESS_SECONDS
        self._pause: TimerHandle | None = None
        os.set_blocking(fd, False)
        reactor.watch_readable(fd, self._turn)

    def _turn(self) -> None:
        """Read once, and log some lines; then wait for more, or pause."""
        if is_congested():
            self._go_on_after(CONGESTED_PAUSE)
            return
        if not self._lines and self._read() == b"":
            self._reactor.watch_readable(self._fd, None)
            return
        count = min(len(self._lines), LINES_PER_TURN)
        for _ in range(count):
            self._log(self._lines.popleft())
        if count > FEW_LINES:
            _busy_pumps.add(self)
            self._go_on_after(TURN_PAUSE * len(_busy_pumps))
        else:
            _busy_pumps.discard(self)

    def _go_on_after(self, pause: float) -> None:
        if self._pause is None:
            self._reactor.watch_readable(self._fd, None)
            self._pause = self._reactor.call_at(self._reactor.time() + pause, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        if self._fd < 0:
            return
        self._reactor.watch_readable(self._fd, self._turn)
        if self._lines:
            self._turn()

    def _read(self) -> bytes | None:
        """Read once, and return the bytes: ``b""`` at the end of the pipe, or None if there are none yet."""
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return None
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._lines.extend(lines)
        if len(self._partial) > LONGEST_LINE:
            self._end_line()
        elif b"\r" in self._partial and not (self._mark and self._mark in self._partial):
            self._show_progress()
        return data

    def _show_progress(self) -> None:
        """Log the latest state of a line that is overwritten again and again, if it is time to."""
        state = _last_state(self._partial)
        self._partial = b"\r" + state
        now = self._reactor.time()
        if state and now - self._progress_at >= PROGRESS_SECONDS:
            self._progress_at = now
            self._lines.append(state)

    def _end_line(self) -> None:
        line, self._partial = self._partial, b""
        if line:
            self._lines.append(line)

    def _log(self, line: bytes) -> None:
        if not self._mark or self._mark not in line:
            self._log_text(line)
            return
        text, *records = line.split(self._mark)
        if text:
            self._log_text(text)
        for record in records:
            self._log_record(record)

    def _log_text(self, text: bytes) -> None:
        if self._is_shown(text):
            log_output(self._name, _last_state(text).decode("utf-8", "backslashreplace"))

    def _log_record(self, record: bytes) -> None:
        try:
            log = unpack_log(record)
        except WireError:  # it was cut off when its worker died
            self._log_text(record)
            return
        if log.is_import and not self._is_new_import((log.level, log.logger, log.message)):
            return
        fields: dict[str, Any] = {}
        if len(log.request_ids) == 1:
            fields["request_id"] = log.request_ids[0]
        elif log.request_ids:
            fields["request_ids"] = log.request_ids
        if len(log.trace_ids) == 1:
            fields["trace_id"] = log.trace_ids[0]
        elif log.trace_ids:
            fields["trace_ids"] = log.trace_ids
        if log.span_id:
            fields["span_id"] = log.span_id
        said = StreamRecord(log.level, log.logger, log.time, log.message, log.traceback)
        log_stream_record(said, self._name, fields)

    def close(self) -> None:
        """Log the bytes left in the pipe, and close it: a grandchild may hold the other end open indefinitely."""
        if self._fd < 0:
            return
        _busy_pumps.discard(self)
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._reactor.watch_readable(self._fd, None)
        for _ in range(MOST_LEFT_BYTES // READ_BYTES):  # bounded, however fast a grandchild goes on writing
            if not self._read():
                break
        self._end_line()
        os.close(self._fd)
        self._fd = -1
        self._log_last_lines()

    def _log_last_lines(self) -> None:
        left_out = len(self._lines) - MOST_LAST_LINES
        for _ in range(left_out):
            self._lines.popleft()
        if left_out > 0:
            log_output(self._name, f"... {left_out} lines of output left out")
        while self._lines:
            self._log(self._lines.popleft())


def _last_state(line: bytes) -> bytes:
    r"""Return what a terminal would show of a line in the end: what follows the last ``\r`` that something follows."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]
