"""Output holds nothing up: not the event loop, not the other workers, not the deadlines."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.watching import instant, new_id, seconds_between, wait_event
from tests.serving import HOST, ROOT, Served, free_port, wait_until, write_app

pytestmark = pytest.mark.e2e

APP = """
    import logging
    import time

    import penstock

    app = penstock.App(__name__)


    @app.endpoint("/noop")
    def noop() -> int:
        return 1


    @app.endpoint("/fail", pool="noisy")
    def fail() -> int:
        raise ValueError("x" * 5000)


    @app.endpoint("/noisy", pool="noisy", timeouts=penstock.Timeouts(execution=0.5))
    def noisy() -> int:
        for number in range(10**9):
            print("a line of output", number)
"""


class _Unread:
    """A ``penstock serve`` whose output goes to a pipe that is not read, or to nowhere at all."""

    def __init__(self, app: Path, *, stderr: int | None) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "penstock_cli", "serve", str(app), "--port", str(self.port)]
        if stderr is None:
            command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, cwd=ROOT, start_new_session=True
        )

    def ask(self, method: str, path: str, timeout: float = 5.0) -> tuple[int, float]:
        started = time.monotonic()
        with contextlib.closing(http.client.HTTPConnection(HOST, self.port, timeout=timeout)) as connection:
            connection.request(method, path, b"{}" if method == "POST" else None)
            response = connection.getresponse()
            response.read()
            return response.status, time.monotonic() - started

    def is_ready(self) -> bool:
        assert self.process.poll() is None, f"it ended with exit code {self.process.returncode}"
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except OSError:
            return False


@contextlib.contextmanager
def unread(app: Path, *, stderr: int | None) -> Iterator[_Unread]:
    served = _Unread(app, stderr=stderr)
    try:
        wait_until(served.is_ready, "/readyz", timeout=30)
        yield served
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(served.process.pid, signal.SIGKILL)
        served.process.wait(timeout=10)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return write_app(tmp_path, APP)


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The write end of a pipe that is not read, and full, so that the next write to it waits."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


@pytest.mark.timed
def test_a_pipe_that_is_not_read_stops_nothing(app: Path, full_pipe: int) -> None:
    """A handler that prints is held back by its own pipe and meets its deadline; everything else goes on."""
    with unread(app, stderr=full_pipe) as served:
        status, seconds = served.ask("POST", "/noisy")
        assert status == 504
        assert seconds < 1.5
        assert served.ask("POST", "/fail")[0] == 500
        for method, path in [("POST", "/noop"), ("GET", "/livez")]:
            status, seconds = served.ask(method, path)
            assert status == 200
            assert seconds < 0.5
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=10) == 0


def test_a_closed_stderr_stops_nothing(app: Path) -> None:
    """``penstock serve app.py 2>&-`` serves: no socket takes the number of stderr, and nothing is written into one."""
    with unread(app, stderr=None) as served:
        assert served.ask("POST", "/fail")[0] == 500
        assert served.ask("POST", "/noop")[0] == 200
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=10) == 0


@pytest.mark.timed
def test_printing_in_a_loop_delays_no_other_worker(app: Path) -> None:
    """A handler that prints without end takes a bounded part of the loop's time; its deadline is met."""
    with Served(app) as served, contextlib.closing(http.client.HTTPConnection(HOST, served.port)) as connection:

        def seconds() -> float:
            started = time.monotonic()
            connection.request("POST", "/noop", b"{}", {"Content-Type": "application/json"})
            assert connection.getresponse().read() == b"1"
            return time.monotonic() - started

        noisy = http.client.HTTPConnection(HOST, served.port)
        with contextlib.closing(noisy):
            noisy.request("POST", "/noisy", b"{}", {"Content-Type": "application/json"})
            started = time.monotonic()
            while time.monotonic() - started < 0.4:
                latencies = sorted(seconds() for _ in range(20))
                assert latencies[10] < 0.02
            assert json.loads(noisy.getresponse().read())["status"] == 504
        assert time.monotonic() - started < 1.0


# ---- log records of user code

LOGGING_APP = """
    import logging
    import sys
    import threading
    import time

    import penstock

    app = penstock.App(__name__)
    log = logging.getLogger("model.part")
    theirs = logging.getLogger("configured")
    theirs.propagate = False
    theirs.addHandler(logging.StreamHandler(sys.stdout))


    @app.endpoint("/inline")
    def inline(text: str) -> int:
        print("before ", end="")
        log.error("it is %s", text)
        try:
            raise ValueError(text)
        except ValueError:
            theirs.warning("caught", exc_info=True)
        print("after")
        return 1


    @app.endpoint("/print")
    def show(text: str) -> int:
        print(text)
        return 1


    @app.endpoint("/task", concurrency=2)
    async def task(text: str) -> int:
        log.warning("it is %s", text)
        return 1


    @app.endpoint("/thread", concurrency=2)
    def thread(text: str) -> int:
        log.critical("it is %s", text)
        other = threading.Thread(target=log.error, args=("elsewhere",))
        other.start()
        other.join()
        return 1


    @app.endpoint("/batch", batching=penstock.Batching(max_size=4, max_wait=0.0))
    def batch(texts: list[str]) -> list[int]:
        log.error("a batch of %s", texts[0])
        return [1] * len(texts)


    @app.endpoint("/bar", timeouts=penstock.Timeouts(execution=10))
    def bar() -> int:
        for percent in range(101):
            sys.stderr.write(f"\\r{percent} %")
            sys.stderr.flush()
            time.sleep(0.012)
        sys.stderr.write("\\rdone\\n")
        return 1
"""


IMPORT_APP = """
    import logging
    import sys

    log = logging.getLogger("mine")
    log.error("x")
    own = logging.getLogger("own")
    own.propagate = False
    own.addHandler(logging.StreamHandler())
    both = logging.getLogger("both")
    both.addHandler(logging.StreamHandler())
    try:
        raise ValueError("caught")
    except ValueError:
        own.exception("failed")
    both.warning("twice?")
    if "penstock_cli.serving" not in sys.modules:
        log.critical("not in the HTTP process")

    import penstock

    app = penstock.App(__name__)


    @app.endpoint("/square", workers=2)
    def square(input: float) -> float:
        own.info("not shown")
        own.warning("in a job")
        return input**2
"""


@pytest.mark.parametrize(("start_method", "process"), [("fork", "zygote"), ("fresh", "square/")])
def test_records_of_the_import_are_records_and_each_is_shown_once(
    tmp_path: Path, start_method: str, process: str
) -> None:
    """They keep their level, logger, time and traceback in each process that imports the app, however it logs."""
    before = time.time()
    with Served(write_app(tmp_path, IMPORT_APP), "--log-format", "json", "--start-method", start_method) as served:
        assert served.post_json("/square", {"input": 3}).status == 200
        elsewhere = wait_event(served, "mine", level="critical")
        wait_event(served, "own", message="in a job")
        served.stop()
        assert [(event["level"], event["message"]) for event in served.events("mine")] == [
            ("error", "x"),
            ("critical", "not in the HTTP process"),
        ]
        assert elsewhere["worker"].startswith(process)
        assert before - 0.1 <= instant(elsewhere) <= time.time() + 0.1
        failed, in_a_job = served.events("own")
        assert (failed["level"], failed["message"], failed["worker"]) == ("error", "failed", "http")
        assert "ValueError: caught" in failed["traceback"]
        assert in_a_job["worker"].startswith("square/")
        assert len(served.events("both")) == 1
        assert served.events("output") == []


@pytest.fixture(scope="module")
def logging_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    app = write_app(tmp_path_factory.mktemp("logging"), LOGGING_APP)
    with Served(app, "--log-format", "json") as served:
        yield served


@pytest.mark.parametrize(
    ("path", "level"), [("/inline", "error"), ("/task", "warning"), ("/thread", "critical"), ("/batch", "error")]
)
def test_a_record_keeps_its_level_logger_and_time_and_carries_its_job(
    logging_server: Served, path: str, level: str
) -> None:
    """Whatever runs the handler, its log records are records, so that an alert on the level works."""
    job, before = new_id(), time.time()
    body = "marvellous" if path == "/batch" else {"text": "marvellous"}
    assert logging_server.post_json(path, body, headers={"X-Request-Id": job}).status == 200
    event = wait_event(logging_server, "model.part", request_id=job)
    assert event["level"] == level
    assert event["message"].endswith(" marvellous")
    assert event["worker"].endswith("/0")
    assert before - 0.1 <= instant(event) <= time.time() + 0.1


def test_records_keep_their_order_among_what_is_printed(logging_server: Served) -> None:
    """Prints and records share one pipe; the traceback of an exception is part of its record."""
    job = new_id()
    assert logging_server.post_json("/inline", {"text": "sorted"}, headers={"X-Request-Id": job}).status == 200
    caught = wait_event(logging_server, "configured", request_id=job)
    assert caught["level"] == "warning"
    assert "ValueError: sorted" in caught["traceback"]
    after = wait_until(lambda: [e for e in logging_server.events("output") if e["message"] == "after"], "the last line")
    events = logging_server.events()
    end = events.index(after[-1])
    assert [event["message"] for event in events[end - 3 : end]] == ["before ", "it is sorted", "caught"]


def test_a_record_of_no_job_names_none(logging_server: Served) -> None:
    """A thread that user code has started belongs to no job that is known."""
    assert logging_server.post_json("/thread", {"text": "x"}).status == 200
    wait_until(lambda: [e for e in logging_server.events("model.part") if e["message"] == "elsewhere"], "its record")
    found = [event for event in logging_server.events("model.part") if event["message"] == "elsewhere"]
    assert "request_id" not in found[0]


def test_text_that_a_client_sends_is_never_a_record(logging_server: Served) -> None:
    """A record has a secret of its worker in front of it, which no client knows."""
    forged = "\x1e" + "0" * 32 + '[50,"forged",1.0,"forged","",[]]'
    assert logging_server.post_json("/print", {"text": f"{forged}\n{forged}"}).status == 200
    wait_until(lambda: any("forged" in event["message"] for event in logging_server.events("output")), "the output")
    assert logging_server.events("forged") == []


@pytest.mark.timed
def test_a_progress_bar_is_shown_as_it_moves_once_a_second(logging_server: Served) -> None:
    r"""A line that is overwritten with ``\r`` is shown at once, then once a second, and as it is in the end."""
    assert logging_server.post_json("/bar", {}).status == 200
    wait_until(lambda: [event for event in logging_server.events("output") if event["message"] == "done"], "the end")
    shown = [event for event in logging_server.events("output") if event["message"].endswith(" %")]
    assert 2 <= len(shown) <= 4
    assert shown[0]["message"] == "0 %"
    assert all(seconds_between(sooner, later) >= 0.9 for sooner, later in itertools.pairwise(shown))


# ---- under another server


def _status(port: int, method: str, path: str, headers: dict[str, str] | None = None) -> int:
    """Return the status of a response; 0 if there is none yet."""
    with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=5)) as connection:
        try:
            connection.request(method, path, b"{}" if method == "POST" else None, headers or {})
            return connection.getresponse().status
        except OSError:
            return 0


def test_another_servers_log_has_the_traceback_under_the_request_id(app: Path) -> None:
    """Uvicorn sets up its own loggers only; what the answer says about the log is true there too."""
    port = free_port()
    app.with_name("served.py").write_text(
        "import penstock_falcon\nfrom app_under_test import app\nservice = penstock_falcon.asgi(app)\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "uvicorn", "served:service", "--port", str(port), "--log-level", "warning"]
    log = app.with_name("uvicorn.log")
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=app.parent)
    try:
        wait_until(lambda: _status(port, "GET", "/readyz") == 200, "/readyz", timeout=30)
        assert _status(port, "POST", "/fail", {"X-Request-Id": "one-of-a-kind"}) == 500
        wait_until(lambda: "    ValueError: xxx" in log.read_text(encoding="utf-8"), "the traceback")
        text = log.read_text(encoding="utf-8")
    finally:
        process.terminate()
        process.wait(timeout=10)
    [line] = [line for line in text.splitlines() if "request_id=one-of-a-kind" in line]
    assert "ERROR   handler-error  fail raised ValueError" in line
    below = text.partition(line)[2].splitlines()[1:]
    assert below[0] == "    Traceback (most recent call last):"


def test_the_lowest_level_is_an_option(app: Path) -> None:
    """With ``--log-level error`` a server starts and stops without a line, and errors have theirs."""
    with Served(app, "--log-level", "error") as served:
        assert served.log_lines() == []
        assert served.post_json("/fail", {}).status == 500
        assert "handler-error" in served.wait_for_line("fail raised ValueError")
        assert served.stop() == 0
        assert "stopped" not in served.output()
