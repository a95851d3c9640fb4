"""The pump of a worker's output: how much it handles at once, and what holds it back."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import pytest

from penstock.engine.processes import output_pump
from penstock.engine.processes.output_pump import LINES_PER_TURN, MOST_LAST_LINES, OutputPump
from penstock.eventlog.import_records import ImportRecords
from penstock.wire import SHARED_BYTES, WORD_LOG_KEY, Log, WireError, log_mark, pack_log, unpack_log


class StepReactor:
    """A loop whose turns and timers are the test's."""

    def __init__(self) -> None:
        self.now = 0.0
        self.on_readable: Callable[[], None] | None = None
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Any:
        self.timers.append((when, callback))
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def watch_readable(self, _fd: int, callback: Callable[[], None] | None) -> None:
        self.on_readable = callback

    def turn(self) -> None:
        """Report the pipe readable, if it is watched."""
        if self.on_readable is not None:
            self.on_readable()

    def pass_time(self) -> None:
        """Go on to the next timer."""
        self.now, callback = self.timers.pop(0)
        callback()


class Fixture:
    """A pump with the worker's end of its pipe, and what it has logged."""

    def __init__(
        self, caplog: pytest.LogCaptureFixture, mark: bytes = b"", imports: ImportRecords | None = None
    ) -> None:
        caplog.set_level(logging.DEBUG, "penstock")
        self.records = caplog.records
        self.reactor = StepReactor()
        reader, self.writer = os.pipe()
        self.pump = OutputPump(self.reactor, reader, "default/0", mark, imports)  # type: ignore[arg-type]

    def write(self, text: bytes) -> None:
        os.write(self.writer, text)

    def logged(self) -> list[str]:
        return [str(record.msg) for record in self.records]

    def close(self) -> None:
        os.close(self.writer)
        self.pump.close()


def test_a_turn_logs_a_bounded_number_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    """The others wait for a timer; meanwhile the pipe is not read."""
    fixture = Fixture(caplog)
    fixture.write(b"line\n" * 100)
    fixture.reactor.turn()
    assert len(fixture.logged()) == LINES_PER_TURN
    assert fixture.reactor.on_readable is None
    while fixture.reactor.timers:
        before = len(fixture.logged())
        fixture.reactor.pass_time()
        assert len(fixture.logged()) - before <= LINES_PER_TURN
    assert len(fixture.logged()) == 100
    assert fixture.reactor.on_readable is not None
    fixture.close()


def test_a_single_line_costs_no_pause(caplog: pytest.LogCaptureFixture) -> None:
    """A process that prints now and then is read at once, each time."""
    fixture = Fixture(caplog)
    for count in range(1, 4):
        fixture.write(b"line\n")
        fixture.reactor.turn()
        assert len(fixture.logged()) == count
    assert fixture.reactor.timers == []
    fixture.close()


def test_a_slow_reader_of_the_log_holds_the_process_back(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pipe is not read until the log has room again; no line of it is lost."""
    congested = True
    monkeypatch.setattr(output_pump, "is_congested", lambda: congested)
    fixture = Fixture(caplog)
    fixture.write(b"line\n")
    fixture.reactor.turn()
    fixture.reactor.pass_time()
    fixture.reactor.turn()
    assert fixture.logged() == []
    congested = False
    fixture.reactor.pass_time()
    fixture.reactor.turn()
    assert fixture.logged() == ["line"]
    fixture.close()


def test_the_last_lines_of_a_process_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """The last lines that a dead process leaves in its pipe are logged, and the number of the others."""
    fixture = Fixture(caplog)
    fixture.write(b"\n" * 20_000 + b"the last one")
    fixture.close()
    logged = fixture.logged()
    assert len(logged) == MOST_LAST_LINES + 1
    assert logged[0] == f"... {20_001 - MOST_LAST_LINES} lines of output left out"
    assert logged[-1] == "the last one"


def test_the_last_state_of_a_progress_bar_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """A terminal would show no other; a line that ends with CR LF is shown whole."""
    fixture = Fixture(caplog)
    fixture.write(b"\r10 %\r50 %\r90 %\ndone\r\n")
    fixture.reactor.turn()
    assert fixture.logged() == ["90 %", "done"]
    fixture.close()


# ---- log records


MARK = log_mark(memoryview(bytearray(SHARED_BYTES)).cast("Q")) or b"\x1e" + b"5" * 32
RECORD = Log(logging.ERROR, "model", 1_700_000_000.5, "it is\nbroken", "Traceback:\nE", ["a"])


def test_records_are_found_within_text_and_keep_what_they_say(caplog: pytest.LogCaptureFixture) -> None:
    """A record may follow text without a line break; both are logged, in this order."""
    fixture = Fixture(caplog, MARK)
    fixture.write(b"text" + pack_log(MARK, RECORD).encode())
    fixture.reactor.turn()
    text, record = fixture.records
    assert (text.msg, record.msg) == ("text", "it is\nbroken")
    assert (record.name, record.levelno, record.created) == ("model", logging.ERROR, 1_700_000_000.5)
    assert record.fields == {"worker": "default/0", "request_id": "a", "traceback": "Traceback:\nE"}  # type: ignore[attr-defined]
    fixture.close()


def test_a_record_that_was_cut_off_is_text(caplog: pytest.LogCaptureFixture) -> None:
    """A worker that is killed while it writes leaves half a line."""
    fixture = Fixture(caplog, MARK)
    fixture.write(pack_log(MARK, RECORD).encode()[:-20])
    fixture.close()
    [record] = fixture.records
    assert record.event == "output"  # type: ignore[attr-defined]


def test_a_record_of_the_import_is_shown_once_for_all_processes(caplog: pytest.LogCaptureFixture) -> None:
    """Each process imports the app. A record that one of them logs twice is shown twice."""
    imports = ImportRecords()
    zygote, worker = Fixture(caplog, MARK, imports), Fixture(caplog, MARK, imports)

    def write(fixture: Fixture, *messages: str, is_import: bool = True) -> None:
        for message in messages:
            fixture.write(pack_log(MARK, Log(logging.INFO, "model", 1.0, message, "", [], is_import)).encode())
        fixture.reactor.turn()

    write(zygote, "a", "a", "b")
    write(worker, "a", "a", "a", "c")
    write(worker, "a", is_import=False)
    assert zygote.logged() == ["a", "a", "b", "a", "c", "a"]
    zygote.close()
    worker.close()


def test_the_mark_is_the_engines_secret() -> None:
    """It is in the memory that the two share; without it, a worker sends no records."""
    words = memoryview(bytearray(SHARED_BYTES)).cast("Q")
    assert log_mark(words) == b""
    words[WORD_LOG_KEY], words[WORD_LOG_KEY + 1] = 1, 2
    assert log_mark(words) == b"\x1e" + b"0" * 15 + b"1" + b"0" * 15 + b"2"


def test_a_record_is_one_line_of_ascii() -> None:
    """Whatever the encoding of the worker's streams, it arrives as it was."""
    log = Log(20, "é\u2028", 1.0, "a\nb\r\x1e\U0001f600", "", [])
    packed = pack_log(MARK, log)
    assert packed.isascii()
    assert packed.count("\n") == 1
    assert unpack_log(packed.encode()[len(MARK) :]) == log
    with pytest.raises(WireError):
        unpack_log(b"[1]")
