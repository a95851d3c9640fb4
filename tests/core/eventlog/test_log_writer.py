"""The writer of the log: a slow reader loses lines, which are counted, and holds nothing up."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import threading
import time
from collections.abc import Iterator

import pytest

import penstock
from penstock.eventlog import EventRecord, configure_logging, log_event
from penstock.eventlog.log_writer import LogWriter
from tests.core.eventlog.test_eventlog import fresh_logging
from tests.serving import wait_until

LINE = b"x" * 99 + b"\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe, as its read end and its write end."""
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def read_all(reader: int, ending: bytes) -> bytes:
    """Read until the text ends like this."""
    text = b""
    while not text.endswith(ending):
        text += os.read(reader, 1 << 16)
    return text


def fill(writer: int) -> None:
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"." * 4096)
    os.set_blocking(writer, True)


def test_lines_come_out_whole_and_in_order(pipe: tuple[int, int]) -> None:
    """Every line that fits is written, after those before it."""
    log = LogWriter(pipe[1])
    lines = [b"%d\n" % number for number in range(2000)]
    for line in lines:
        log.put(line)
    assert read_all(pipe[0], b"1999\n") == b"".join(lines)
    assert log.flush(5.0)


def test_a_slow_reader_loses_counted_lines(pipe: tuple[int, int]) -> None:
    """Lines that do not fit into the buffer are dropped at once; one line tells how many, once there is room."""
    fill(pipe[1])
    log = LogWriter(pipe[1], most_bytes=10 * (len(LINE) + 64))
    for _ in range(25):
        log.put(LINE)
    assert log.is_congested
    text = read_all(pipe[0], b"too slow\n").lstrip(b".")
    assert text.count(LINE) == 10
    assert b"15 log lines were dropped: the reader of stderr is too slow\n" in text
    assert log.flush(5.0)
    assert not log.is_congested


def test_a_flush_does_not_wait_for_a_reader_that_never_reads(pipe: tuple[int, int]) -> None:
    """It gives up in time, and does not wait again for the same reader."""
    fill(pipe[1])
    log = LogWriter(pipe[1])
    log.put(LINE)
    assert not log.flush(0.05)
    started = time.monotonic()
    assert not log.flush(30.0)
    assert time.monotonic() - started < 5


def test_a_reader_that_is_gone_costs_lines_only(pipe: tuple[int, int]) -> None:
    """Writing to a pipe without a reader raises nothing."""
    os.close(pipe[0])
    log = LogWriter(pipe[1])
    log.put(LINE)
    assert log.flush(5.0)


def test_a_descriptor_that_does_not_block_gets_all_lines_too(pipe: tuple[int, int]) -> None:
    """Another process may have made the shared stderr non-blocking."""
    os.set_blocking(pipe[1], False)
    log = LogWriter(pipe[1])
    for _ in range(3000):
        log.put(LINE)
    log.put(b"end\n")
    assert read_all(pipe[0], b"end\n").count(LINE) == 3000


def test_a_fork_writes_its_own_lines_and_not_its_parents(pipe: tuple[int, int]) -> None:
    """The child has no thread and no waiting lines; it gets a thread of its own with its first line."""
    fill(pipe[1])
    logging_to = os.fdopen(os.dup(pipe[1]), "w", encoding="utf-8")
    with fresh_logging():
        configure_logging("text", logging_to)
        log_event(logging.INFO, "one", "of the parent")
        pid = os.fork()
        if pid == 0:  # pragma: no cover - it ends without a report
            log_event(logging.INFO, "two", "of the child")
            for handler in logging.getLogger("penstock").handlers:
                handler.flush()
            os._exit(0)
        text = b""
        while b"of the child" not in text or b"of the parent" not in text:
            text += os.read(pipe[0], 1 << 16)
        assert os.waitpid(pid, 0)[1] == 0
    assert text.count(b"of the parent") == 1
    logging_to.close()


def test_logging_to_a_full_pipe_does_not_wait(pipe: tuple[int, int]) -> None:
    """An event, or a record of any other logger, is handed over at once; the loss is an event too."""
    fill(pipe[1])
    stream = os.fdopen(os.dup(pipe[1]), "w", encoding="utf-8")
    with fresh_logging():
        configure_logging("json", stream)
        done = threading.Event()

        def log_much() -> None:
            for _ in range(100):
                logging.getLogger("chatty").error("x" * 100_000)
            done.set()

        threading.Thread(target=log_much, daemon=True).start()
        assert done.wait(10)
        text = b""
        while b'"event": "log-dropped"' not in text:
            text += os.read(pipe[0], 1 << 20)
        os.close(pipe[0])
        logging.getLogger("penstock").handlers[0].flush()  # before the descriptor's number belongs to another file
    stream.close()


@fresh_logging()
def test_any_program_may_use_the_servers_format(capfd: pytest.CaptureFixture[str]) -> None:
    """``penstock.configure_logging`` is public, and takes the names that the command line takes."""
    penstock.configure_logging(format="json", level="warning")
    logging.getLogger("chatty").info("quiet")
    logging.getLogger("chatty").warning("loud")
    logging.getLogger("penstock").handlers[0].flush()
    [line] = capfd.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "loud"


# ---- formatters of other libraries


def test_an_event_says_everything_in_a_log_of_any_format() -> None:
    """The fields and the traceback are in the one record that a program's own handlers get, and nothing is forged."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    with fresh_logging():
        logging.getLogger().addHandler(handler)
        fields = {"request_id": "abc", "traceback": "Traceback:\nERROR penstock forged\x1b[2J"}
        log_event(logging.ERROR, "handler-error", "it raised\nERROR penstock forged", **fields)
    assert stream.getvalue() == (
        r"ERROR penstock it raised\nERROR penstock forged  [request_id=abc]" + "\n"
        "    Traceback:\n"
        r"    ERROR penstock forged\x1b[2J" + "\n"
    )


def test_events_without_any_handler_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """A program that has not configured logging sees warnings and errors whole."""
    with fresh_logging():
        log_event(logging.INFO, "quiet", "not shown")
        log_event(logging.ERROR, "handler-error", "it raised", request_id="abc", traceback="Traceback:\nE")
    error = capsys.readouterr().err
    assert "not shown" not in error
    assert "ERROR   handler-error  it raised  [request_id=abc]\n    Traceback:\n    E\n" in error


@pytest.mark.parametrize(("level", "is_shown"), [("warning", False), ("INFO", True), (logging.ERROR, False)])
def test_the_level_may_be_a_name(level: int | str, is_shown: bool) -> None:
    """``level`` is a name, in upper or lower case, or a number of ``logging``."""
    stream = io.StringIO()
    with fresh_logging():
        configure_logging("text", stream, level)
        log_event(logging.INFO, "one", "ours")
    assert ("ours" in stream.getvalue()) is is_shown


@pytest.mark.parametrize(("setting", "complaint"), [({"level": "loud"}, "level='loud'"), ({"format": "xml"}, "'xml'")])
def test_a_wrong_setting_is_named(setting: dict[str, str], complaint: str) -> None:
    """The error says what may be given instead."""
    with fresh_logging(), pytest.raises(ValueError, match=complaint):
        configure_logging(**setting)  # type: ignore[arg-type]


def test_a_record_that_cannot_be_shown_costs_no_other() -> None:
    """It is named in the log, without a traceback on stderr."""
    stream = io.StringIO()
    with fresh_logging():
        configure_logging("text", stream)

        class Broken:
            def __str__(self) -> str:
                raise ValueError("broken")

        logging.getLogger("penstock").handle(EventRecord("penstock", logging.INFO, "one", "ours", {"value": Broken()}))
        log_event(logging.INFO, "two", "next")
    assert "a log record of penstock could not be written: ValueError('broken')\n" in stream.getvalue()
    assert "next" in stream.getvalue()


def test_the_thread_can_end_and_start_again(pipe: tuple[int, int]) -> None:
    """It ends when everything is written; the next line starts another."""
    log = LogWriter(pipe[1])
    before = threading.active_count()
    for number in range(3):
        log.put(b"%d\n" % number)
        log.end_thread()
        assert threading.active_count() == before
        assert os.read(pipe[0], 100) == b"%d\n" % number


def test_the_thread_starts_with_the_first_line(pipe: tuple[int, int]) -> None:
    """A process that logs nothing has no thread, so that it can still be forked safely."""
    before = threading.active_count()
    log = LogWriter(pipe[1])
    assert log.flush()
    assert threading.active_count() == before
    log.put(LINE)
    wait_until(lambda: threading.active_count() == before + 1, "the thread")
    assert log.flush(5.0)  # before the descriptor's number belongs to another file
