"""The access log: the content of a line, its safety against forgery, and that it never makes the server wait."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import App
from penstock.errors import PluginError
from penstock.eventlog import JsonFormatter, TextFormatter
from penstock.hooks import DrainEnded, RequestAnswered
from penstock.hooks.registry import Registry
from penstock.hooks.settings import Sources
from penstock_accesslog import AccessLogPlugin, AccessLogSettings
from penstock_accesslog.access_lines import LONGEST_VALUE, MOST_SHOWN_VALUES, Format, ShownValues, formatter_for
from penstock_accesslog.log_file import PIPE_BYTES, LogFile
from penstock_accesslog.writer import LOSS_SECONDS, Writer
from tests.serving import ROOT, wait_until

NOW = 1795158980.125  # 2026-11-20 07:16:20 UTC
DRAINED = DrainEnded(who="SIGTERM", why="", seconds=0.1, finished=0, abandoned=0)


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the time zone to UTC: text lines are in local time, and must be the same on every machine."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def answered(**more: Any) -> RequestAnswered:
    usual = {
        "endpoint": "square",
        "request_id": "k3x-1",
        "method": "POST",
        "path": "/square",
        "status": 200,
        "code": "ok",
        "seconds": 0.0301234,
        "principal": "anna",
        "address": "10.0.0.1",
        "attempts": 1,
        "queue_seconds": 0.0031234,
        "execution_seconds": 0.0212346,
    }
    return RequestAnswered(**(usual | more))


STRAY = answered(
    endpoint="",
    path="/nothing",
    status=404,
    code="not-found",
    principal=None,
    address="",
    attempts=0,
    queue_seconds=None,
    execution_seconds=None,
)


def line(record: RequestAnswered, format: Format, now: float = NOW) -> str:
    text = formatter_for(format)(record, now).decode("utf-8")
    assert text.endswith("\n")
    return text[:-1]


def observers(*, clock: Callable[[], float] = lambda: NOW, **settings: Any) -> dict[Any, Callable[[Any], None]]:
    """Return the plug-in's observers."""
    plugin = AccessLogPlugin(AccessLogSettings(enabled=True, **settings), clock=clock)
    return plugin.penstock_observer(App("tests"))


def tell_all(told: dict[Any, Callable[[Any], None]], *records: RequestAnswered) -> None:
    for record in records:
        told[RequestAnswered](record)
    told[DrainEnded](DRAINED)


# ---- what a line says


def test_a_text_line_reads_like_an_event() -> None:
    """Time, level, ``request``, the request and its outcome come first; then the fields."""
    assert line(answered(), "text") == (
        "07:16:20.125 INFO    request  POST /square 200 ok  [ms=30.123 queue_ms=3.123 execution_ms=21.235 attempts=1 "
        "endpoint=square principal=anna address=10.0.0.1 request_id=k3x-1]"
    )


def test_a_text_line_leaves_out_what_there_is_not() -> None:
    """A path that matches nothing has no endpoint, no job and no job times."""
    assert line(STRAY, "text") == (
        "07:16:20.125 INFO    request  POST /nothing 404 not-found  [ms=30.123 request_id=k3x-1]"
    )


def test_a_json_line_has_an_events_fields_and_the_requests() -> None:
    """All fields are always present; missing values are null."""
    assert line(answered(), "json") == (
        '{"time": "2026-11-20T07:16:20.125Z", "level": "info", "event": "request", "message": "POST /square 200", '
        '"request_id": "k3x-1", "principal": "anna", "address": "10.0.0.1", "method": "POST", "path": "/square", '
        '"endpoint": "square", "status": 200, "code": "ok", "ms": 30.123, "queue_ms": 3.123, "execution_ms": 21.235, '
        '"attempts": 1}'
    )
    found = json.loads(line(STRAY, "json"))
    assert found.keys() == json.loads(line(answered(), "json")).keys()
    missing = {"principal", "address", "endpoint", "queue_ms", "execution_ms"}
    assert {name for name, value in found.items() if value is None} == missing
    assert "" not in found.values()


def test_a_combined_line_is_apaches() -> None:
    """Values unknown to Penstock are shown as a dash."""
    usual = '10.0.0.1 - anna [20/Nov/2026:07:16:20 +0000] "POST /square HTTP/1.1" 200 - "-" "-"'
    assert line(answered(), "combined") == usual
    assert line(STRAY, "combined").startswith("- - - [20/Nov/2026:07:16:20 +0000] ")


@pytest.mark.parametrize("format", ["text", "json", "combined"])
def test_a_hang_up_is_a_499(format: Format) -> None:
    """A hang-up has the status 499 in every format."""
    assert re.search(r"\b499\b", line(answered(status=499, code="cancelled"), format))


def test_the_clock_goes_on() -> None:
    """The second is formatted once a second, the milliseconds for every line."""
    made = formatter_for("text")
    shown = [made(answered(), now)[:12].decode() for now in (NOW, NOW + 0.5, NOW + 0.875, NOW + 86400.125)]
    assert shown == ["07:16:20.125", "07:16:20.625", "07:16:21.000", "07:16:20.250"]


# ---- that it cannot be forged

FORGERIES = [
    "/x\n07:16:20.125 INFO    request  GET /forged 200 ok",
    "/x\r\n",
    "/x 200 ok  [ms=1]",
    '/x" 200 - "-" "-"',
    "/\x1b[31mred\x1b[0m",
    "/\x7f\x9b1m\x00",
    "/\u2028\u2029\x85\x0b\x0c",
    "/\u202etxt.exe",
    "/\udc80",
    "\\n\\",
    "",
]
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
TOKEN = r'(?:[^\s"\[\]=]+|"(?:[^"\\]|\\.)*")'
TEXT = re.compile(
    rf"\d\d:\d\d:\d\d\.\d\d\d INFO    request  {TOKEN} (?P<path>{TOKEN}) 200 {TOKEN}"
    rf"  \[ms=30\.123 queue_ms=3\.123 execution_ms=21\.235 attempts=1(?: endpoint={TOKEN})?"
    rf" principal={TOKEN}(?: address={TOKEN})? request_id={TOKEN}\]"
)
COMBINED = re.compile(r'[^\s"]+ - [^\s"]+ \[[^\]]+\] "[^\s"]+ [^\s"]+ HTTP/1\.1" 200 - "-" "-"')


def poisoned(value: str) -> RequestAnswered:
    return answered(
        **dict.fromkeys(("endpoint", "request_id", "method", "path", "code", "principal", "address"), value)
    )


def assert_cannot_be_forged(value: str) -> None:
    text, as_json, combined = (line(poisoned(value), how) for how in ("text", "json", "combined"))
    for each in (text, as_json, combined):
        assert not UNSAFE.search(each)
    assert TEXT.fullmatch(text), text
    assert COMBINED.fullmatch(combined), combined
    whole = value if len(value) <= LONGEST_VALUE else value[:LONGEST_VALUE] + "..."
    found = json.loads(as_json)
    assert len(found) == 16
    names = ("endpoint", "request_id", "method", "path", "code", "principal", "address")
    # An empty endpoint or address is one that is missing.
    assert {found[name] or "" for name in names} == {whole}


@pytest.mark.parametrize("value", FORGERIES)
def test_no_value_forges_a_line_or_a_field(value: str) -> None:
    """Line breaks, quotes, escape sequences and field lookalikes stay within the value that holds them."""
    assert_cannot_be_forged(value)


@given(st.text(st.characters(exclude_categories=[]), max_size=600))
def test_nothing_whatever_forges_a_line(value: str) -> None:
    """No text at all forges a line, lone surrogates included."""
    assert_cannot_be_forged(value)


@pytest.mark.parametrize("format", ["text", "json", "combined"])
def test_a_line_is_not_as_long_as_the_caller_likes(format: Format) -> None:
    """Values are cut off, even if each character takes twelve when escaped."""
    assert len(line(poisoned("a" * 100_000), format)) < PIPE_BYTES + 1000
    assert len(line(answered(path="/" + "\U0001f600" * 100_000), format)) < 16_000


def test_what_is_remembered_of_values_is_bounded() -> None:
    """An endless series of new paths evicts the old ones, and long values are not cached."""
    shown = ShownValues(str.upper)
    assert [shown[f"/{number}"] for number in range(3)] == ["/0", "/1", "/2"]
    for number in range(3 * MOST_SHOWN_VALUES):
        assert shown[f"/a{number}"] == f"/A{number}"
        assert len(shown) <= MOST_SHOWN_VALUES
    assert shown["b" * 10_000] == "B" * LONGEST_VALUE + "..."
    assert "b" * 10_000 not in shown


# ---- the plug-in


def test_lines_come_in_order_and_whole(tmp_path: Path) -> None:
    """Each request has a line, in the order of the answers, and the end of a drain waits for the last."""
    path = tmp_path / "access.log"
    told = observers(file=str(path), format="json")
    tell_all(told, *(answered(request_id=f"id-{number}") for number in range(5000)))
    found = [json.loads(text)["request_id"] for text in path.read_text().splitlines()]
    assert found == [f"id-{number}" for number in range(5000)]


def test_health_checks_are_left_out(tmp_path: Path) -> None:
    """They come every few seconds and carry no information; a setting lists the excluded names."""
    path = tmp_path / "access.log"
    names = ("livez", "readyz", "metrics", "status", "square", "")
    tell_all(observers(file=str(path), format="json"), *(answered(endpoint=name) for name in names))
    assert [json.loads(text)["endpoint"] for text in path.read_text().splitlines()] == ["status", "square", None]
    path.unlink()
    told = observers(file=str(path), format="json", exclude=("square",))
    tell_all(told, *(answered(endpoint=name) for name in ("livez", "square")))
    assert [json.loads(text)["endpoint"] for text in path.read_text().splitlines()] == ["livez"]


@contextlib.contextmanager
def server_log(formatter: logging.Formatter | None) -> Iterator[None]:
    """Set up the server's own log with this formatter."""
    logger = logging.getLogger("penstock")
    before = list(logger.handlers)
    handler = logging.NullHandler()
    handler.setFormatter(formatter)
    logger.handlers[:] = [handler]
    yield
    logger.handlers[:] = before


@pytest.mark.parametrize(("formatter", "start"), [(JsonFormatter(), "{"), (TextFormatter(), "07:"), (None, "07:")])
def test_the_format_is_that_of_the_servers_own_log(
    formatter: logging.Formatter | None, start: str, tmp_path: Path
) -> None:
    """Unless another is configured; text where another program controls logging."""
    path = tmp_path / "access.log"
    with server_log(formatter):
        tell_all(observers(file=str(path)), answered())
    assert path.read_text().startswith(start)


def test_it_goes_to_stderr_by_default(capfd: pytest.CaptureFixture[str]) -> None:
    """Lines go to stderr, like the server's own."""
    tell_all(observers(format="text"), answered())
    assert capfd.readouterr().err.startswith("07:16:20.125 INFO    request  POST /square 200 ok")


def test_it_is_off_unless_switched_on() -> None:
    """No operator gets a line per request without asking for it."""
    registry = Registry([AccessLogPlugin], sources=Sources({}, {}))
    assert registry.plugins[0].instance is None
    assert AccessLogSettings().enabled is False


def test_a_file_that_cannot_be_opened_is_named_at_the_start(tmp_path: Path) -> None:
    """The error names the fix; creating the plug-in, to list it, opens nothing."""
    path = tmp_path / "missing" / "access.log"
    plugin = AccessLogPlugin(AccessLogSettings(enabled=True, file=str(path)))
    complaint = (
        r"plug-in 'accesslog': cannot append to '.*access\.log': No such file or directory; set its setting 'file'"
    )
    with pytest.raises(PluginError, match=complaint):
        plugin.penstock_observer(App("tests"))


def test_others_may_not_read_the_file(tmp_path: Path) -> None:
    """The file records which caller asked for what."""
    path = tmp_path / "access.log"
    tell_all(observers(file=str(path)), answered())
    assert path.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [({"file": ""}, "is not a path"), ({"buffer": 0}, "from 1 to 10,000,000"), ({"buffer": 10**9}, "from 1 to")],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], complaint: str) -> None:
    """Useless settings are rejected at start-up."""
    with pytest.raises(ValueError, match=complaint):
        AccessLogSettings(**settings)


def test_settings_may_come_from_the_environment() -> None:
    """Lists are written with commas."""
    environ = {"PENSTOCK_ACCESSLOG_ENABLED": "true", "PENSTOCK_ACCESSLOG_EXCLUDE": "livez, square"}
    settings = Sources({}, environ).resolve("accesslog", AccessLogSettings).settings
    assert (settings.enabled, settings.exclude) == (True, ("livez", "square"))


# ---- the writer


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Scripted(LogFile):
    """A log file whose writes are controlled by the test, and which records them."""

    def __init__(self, path: Path, *errors: OSError | None) -> None:
        super().__init__(str(path))
        self.errors = list(errors)
        self.batches: list[list[bytes]] = []
        self.has_started = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def write(self, lines: Any) -> tuple[int, OSError | None]:
        self.has_started.set()
        assert self.may_go_on.wait(30)
        self.batches.append(list(lines))
        error = self.errors.pop(0) if self.errors else None
        return (0, error) if error else super().write(lines)


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d\n" % number for number in range(first, last)]


def test_lines_that_come_together_are_written_together(tmp_path: Path) -> None:
    """One write holds all lines that arrived while the thread waited for more."""
    output = Scripted(tmp_path / "log")
    writer = Writer(output, bytes, 1000, gather=30.0)
    for each in numbered(0, 100):
        writer.put(each)
    assert writer.flush(30)
    assert output.batches == [numbered(0, 100)]


def test_lines_are_written_without_being_asked_for(tmp_path: Path) -> None:
    """Lines are written soon, also if the thread slept in between."""
    path = tmp_path / "log"
    writer = Writer(LogFile(str(path)), bytes, 1000, gather=0.0)
    for number in range(3):
        writer.put(b"line\n")
        wait_until(lambda count=number + 1: path.read_bytes() == b"line\n" * count, "the line in the file")


def test_what_does_not_fit_is_dropped_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A stuck disk loses the lines beyond the buffer and delays no caller; one line reports the number."""
    output = Scripted(tmp_path / "log")
    output.may_go_on.clear()
    writer = Writer(output, bytes, 10, gather=0.0)
    writer.put(b"first\n")
    assert output.has_started.wait(30)  # the thread now hangs with that one
    for each in numbered(0, 25):
        writer.put(each)
    assert writer.lost == 15
    assert not writer.flush(0.0)
    output.may_go_on.set()
    assert writer.flush(30)
    assert (tmp_path / "log").read_bytes() == b"first\n" + b"".join(numbered(0, 10))
    assert writer.lost == 0
    (told,) = [record for record in caplog.records if record.event == "accesslog-lost"]
    assert told.msg == "15 lines of the access log lost: they arrived faster than they could be written"


@pytest.fixture
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevent threads from starting, as when the interpreter shuts down."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("_no_threads")
def test_losses_are_told_seldom(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line every ten seconds reports all losses since the last."""
    clock = Clock()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    writer = Writer(Scripted(tmp_path / "log", *[full] * 4), bytes, 1000, clock=clock)
    for seconds in (0.0, 1.0, LOSS_SECONDS - 1.5, 0.5):
        clock.now += seconds
        writer.put(b"line\n")
    assert [record.fields["lines"] for record in caplog.records] == [1, 3]
    assert {record.fields["reason"] for record in caplog.records} == {"No space left on device"}


def test_a_full_disk_loses_lines_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """The reason is reported, and the thread survives."""
    tell_all(observers(file="/dev/full"), answered(), answered())
    assert "2 lines of the access log lost: No space left on device" in [record.msg for record in caplog.records]


def test_nothing_to_flush_needs_no_thread(tmp_path: Path) -> None:
    """An engine that has served nothing stops immediately."""
    writer = Writer(LogFile(str(tmp_path / "log")), bytes, 10)
    assert writer.flush(0.0)
    assert writer._thread is None


@pytest.mark.usefixtures("_no_threads")
def test_lines_are_written_even_where_no_thread_can_start(tmp_path: Path) -> None:
    """Each line is then written at once, in the calling thread."""
    writer = Writer(LogFile(str(tmp_path / "log")), bytes, 10)
    for each in numbered(0, 3):
        writer.put(each)
    assert (tmp_path / "log").read_bytes() == b"".join(numbered(0, 3))
    assert writer.flush(0.0)


def test_a_forked_child_writes_only_its_own(tmp_path: Path) -> None:
    """Lines waiting in the parent stay the parent's; the child starts over with its own thread."""
    path = tmp_path / "log"
    script = f"""if True:
        import os
        from penstock_accesslog.log_file import LogFile
        from penstock_accesslog.writer import Writer
        writer = Writer(LogFile({str(path)!r}), bytes, 100, gather=30.0)
        writer.put(b"parent\\n")
        child = os.fork()
        if not child:
            writer.put(b"child\\n")
            assert writer.flush(30)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert writer.flush(30)
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)
    assert path.read_bytes() == b"child\nparent\n"


def test_the_last_lines_are_written_when_the_process_ends(tmp_path: Path) -> None:
    """The exit of the interpreter flushes lines that the thread has not reached."""
    path = tmp_path / "log"
    script = f"""if True:
        from penstock_accesslog.log_file import LogFile
        from penstock_accesslog.writer import Writer
        writer = Writer(LogFile({str(path)!r}), bytes, 10000, gather=30.0)
        for number in range(5000):
            writer.put(b"%d\\n" % number)
    """
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert path.read_bytes() == b"".join(numbered(0, 5000))


# ---- the output


def test_a_file_that_was_moved_away_is_opened_again(tmp_path: Path) -> None:
    """As with logrotate; the path is checked once a second, which costs nothing."""
    path, old = tmp_path / "log", tmp_path / "log.1"
    clock = Clock()
    output = LogFile(str(path), clock)
    output.write([b"one\n"])
    path.rename(old)
    output.write([b"two\n"])
    clock.now += 1.0
    output.write([b"three\n"])
    assert (old.read_bytes(), path.read_bytes()) == (b"one\ntwo\n", b"three\n")
    output.close()


def test_a_file_that_was_emptied_is_appended_to(tmp_path: Path) -> None:
    """After ``copytruncate`` there is no gap of zeros."""
    path = tmp_path / "log"
    output = LogFile(str(path))
    output.write([b"one\n"])
    os.truncate(path, 0)
    output.write([b"two\n"])
    assert path.read_bytes() == b"two\n"
    output.close()


def test_better_into_the_old_file_than_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If the new file cannot be opened, the old one is used, with a single warning."""
    folder = tmp_path / "logs"
    folder.mkdir()
    clock = Clock()
    output = LogFile(str(folder / "log"), clock)
    folder.rename(tmp_path / "old")
    for _ in range(3):
        clock.now += 1.0
        assert output.write([b"line\n"]) == (1, None)
    assert (tmp_path / "old" / "log").read_bytes() == b"line\n" * 3
    assert [record.event for record in caplog.records] == ["accesslog-stuck"]
    folder.mkdir()
    clock.now += 1.0
    output.write([b"line\n"])
    assert (folder / "log").read_bytes() == b"line\n"
    output.close()


@contextlib.contextmanager
def pipe(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A named pipe, and the end that reads from it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield str(path), reading
    os.close(reading)


def test_a_pipe_gets_whole_lines_in_undivided_pieces(tmp_path: Path) -> None:
    """No write exceeds what a pipe takes atomically, and each ends with a whole line."""
    with pipe(tmp_path) as (path, _):
        output = LogFile(path)
        lines = [b"x" * 99 + b"\n"] * 100
        pieces = list(output._pieces([*lines, b"y" * 5000 + b"\n", *lines]))
        output.close()
    assert all(piece.endswith(b"\n") for piece, _ in pieces)
    assert [len(piece) for piece, _ in pieces if len(piece) > PIPE_BYTES] == [5001]
    assert sum(count for _, count in pieces) == 201
    assert len(pieces) == 7


def test_a_pipe_that_nobody_reads_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """A server that hangs at start-up would be worse than an error."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PluginError, match="No such device or address"):
        observers(file=str(tmp_path / "pipe"))


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_slow_reader_gets_it_all(tmp_path: Path, *, is_blocking: bool) -> None:
    """Also if another process has made the shared pipe non-blocking."""
    lines = [b"%06d\n" % number for number in range(20_000)]
    with pipe(tmp_path) as (path, reading):
        output = LogFile(path)
        os.set_blocking(output._descriptor, is_blocking)
        writer = Writer(output, bytes, 100_000)
        for each in lines:
            writer.put(each)
        found = b""

        def read() -> bool:
            nonlocal found
            with contextlib.suppress(BlockingIOError):
                found += os.read(reading, 10_000)
            return len(found) == 7 * len(lines)

        wait_until(read, "all lines")
        assert writer.flush(30)
    assert found == b"".join(lines)


def test_a_reader_that_is_gone_costs_lines_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It causes no signal and no exception: the reason is reported."""
    with pipe(tmp_path) as (path, _):
        told = observers(file=path)
    tell_all(told, answered())
    assert "1 line of the access log lost: Broken pipe" in [record.msg for record in caplog.records]


def test_a_line_that_broke_off_does_not_swallow_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error within a line, the next line starts on a line of its own."""
    path = tmp_path / "log"
    output = LogFile(str(path))
    real_write = os.write
    answers = [3, OSError(errno.ENOSPC, "No space left on device")]

    def write(descriptor: int, data: memoryview) -> int:
        if descriptor != output._descriptor or not answers:
            return real_write(descriptor, data)
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return real_write(descriptor, data[:answer])

    monkeypatch.setattr(os, "write", write)
    written, error = output.write([b"broken\n"])
    assert (written, type(error)) == (0, OSError)
    assert output.write([b"whole\n"]) == (1, None)
    assert path.read_bytes() == b"bro\nwhole\n"
    output.close()


# ---- the docs


def test_the_docs_list_the_settings() -> None:
    """Each setting is in the table of its page."""
    page = (ROOT / "docs" / "how-to" / "accesslog.md").read_text(encoding="utf-8")
    for name in AccessLogSettings.__struct_fields__:
        assert re.search(rf"^\| `{name}` \|", page, re.MULTILINE), name


def test_the_docs_show_lines_as_they_are() -> None:
    """Each format's example has the fields of a real line, in their order."""
    page = (ROOT / "docs" / "how-to" / "accesslog.md").read_text(encoding="utf-8")
    names = re.findall(r'"(\w+)": ', line(answered(), "json"))
    (shown,) = [each for each in page.splitlines() if each.startswith('{"time"')]
    assert re.findall(r'"(\w+)": ', shown) == names
    assert any(TEXT_IN_DOCS.fullmatch(each) for each in page.splitlines())


TEXT_IN_DOCS = re.compile(
    r"\d\d:\d\d:\d\d\.\d\d\d INFO    request  POST /\w+ 200 ok  \[ms=[\d.]+ queue_ms=[\d.]+ execution_ms=[\d.]+ "
    r"attempts=1 endpoint=\w+ address=127\.0\.0\.1 request_id=[\w-]+\]"
)


def test_a_line_that_cannot_be_made_loses_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The thread survives; the lost line is counted, with the reason."""

    def show(item: str) -> bytes:
        return {"good": b"good\n"}[item]

    path = tmp_path / "log"
    writer = Writer(LogFile(str(path)), show, 10, gather=0.0)
    with caplog.at_level(logging.WARNING, "penstock"):
        for item in ("good", "bad", "good"):
            writer.put(item)
        assert writer.flush()
    assert path.read_bytes() == b"good\n" * 2
    assert [record.msg for record in caplog.records] == ["1 line of the access log lost: KeyError: 'bad'"]
