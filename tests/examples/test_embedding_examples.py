"""Each program that embeds an engine, run as its own docstring says."""

from __future__ import annotations

import fcntl
import http.client
import importlib.util
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.serving import HOST, ROOT, Served, free_port, wait_until

pytestmark = pytest.mark.e2e

EXAMPLES = ROOT / "examples"
SMALLEST_PIPE_BYTES = 4096


def run(name: str, text: str = "") -> list[str]:
    """Run a program to its end; return the lines that it printed."""
    command = [sys.executable, str(EXAMPLES / name)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


# ---- trio


def test_the_pipeline_judges_every_line() -> None:
    """A line that the model refuses is an answer too."""
    answers = {line["line"]: line for line in map(json.loads, run("trio_pipeline.py", "a good day\nnot bad\n\n"))}
    assert answers == {
        1: {"line": 1, "mood": 0.5},
        2: {"line": 2, "mood": 0.5},
        3: {"line": 3, "error": "invalid-request"},
    }


def test_the_pipeline_reads_no_faster_than_it_is_read() -> None:
    """While its output is not taken, its input is not taken either; then everything comes out."""
    count = 2000
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "trio_pipeline.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for pipe in (process.stdin, process.stdout):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, SMALLEST_PIPE_BYTES)
    written = threading.Event()

    def write() -> None:
        with process.stdin as lines:
            for _ in range(count):
                lines.write(b"good " * 20 + b"\n")
        written.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert not written.wait(1.5), "2000 lines fit into no buffer here, so the program has stored them"
        with process.stdout as lines:
            assert sum(1 for _ in lines) == count
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        writer.join()


# ---- asyncio


def test_the_bot_answers_each_line_and_ends_on_ctrl_c() -> None:
    """It keeps the conversation when it cannot answer a line, and leaves no process behind."""
    port = free_port()
    with Bot(port) as bot, bot.connect() as client, client.makefile("rw", encoding="utf-8", newline="\n") as chat:
        for line in ("what a good day", "an awful one", "..."):
            chat.write(f"{line}\n")
            chat.flush()
        assert chat.readline() == "You said 4 words to me. :-)\n"
        assert chat.readline() == "You said 3 words to me. :-(\n"
        assert chat.readline().startswith("I cannot answer that: ")
        assert bot.stop(signal.SIGINT) == 0
        wait_until(lambda: bot.survivors() == [], "the end of every process")
        assert "Traceback" not in bot.output()


class Bot(Served):
    def __init__(self, port: int) -> None:
        super().__init__("")
        self.port = port
        self.command = [sys.executable, str(EXAMPLES / "asyncio_bot.py"), str(port)]

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.output()
        return "listening" in self.output()


# ---- threads


class Hosted(Served):
    def __init__(self, application: str, *options: str) -> None:
        super().__init__("")
        gunicorn = ["-m", "gunicorn", "--no-control-socket", "--chdir", str(EXAMPLES), "--bind", f"{HOST}:{self.port}"]
        self.command = [sys.executable, *gunicorn, *options, application]

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.output()
        try:
            return self.get("/mood?text=good", timeout=10.0).status == 200
        except (OSError, http.client.HTTPException):
            return False


@pytest.fixture(
    params=[
        ("flask", "flask_app:flask_app", "--workers", "2"),
        ("flask", "flask_app:flask_app", "--workers", "2", "--preload"),
        ("django", "django_app:django_app", "--worker-class", "gthread", "--threads", "4"),
    ],
    ids=["Flask", "Flask-preloaded", "Django"],
)
def hosted(request: pytest.FixtureRequest) -> Iterator[Hosted]:
    framework, *command = request.param
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed here")
    with Hosted(*command) as served:
        yield served
        assert served.stop() == 0
        wait_until(lambda: served.survivors() == [], "the end of every process")


def test_a_view_calls_the_model(hosted: Hosted) -> None:
    """In every process of the server, forked before its engine started; an error has its status."""
    for _ in range(6):
        assert hosted.get("/mood?text=never+bad").json() == {"mood": 0.5}
    refused = hosted.get("/mood?text=!")
    assert (refused.status, refused.json()["error"]) == (422, "invalid-request")
    assert "Traceback" not in hosted.output()


def test_many_engines_run_side_by_side() -> None:
    """Two of one app, and one of another; the end of one does not disturb the others."""
    assert run("many_engines.py") == ["0.5 -0.5", "1.0 5"]
