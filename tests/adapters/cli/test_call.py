"""``penstock call``: what it prints, where, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import write_app

pytestmark = pytest.mark.e2e

APP = """
    import time
    from penstock import App, Event, Response

    print("imported")
    app = App("a name that is not its module's")

    @app.endpoint("/square")
    def square(input: float) -> float:
        print("squaring")
        if input < 0:
            raise ValueError("it is negative")
        return input**2

    @app.endpoint("/count")
    def count(n: int, delay: float = 0.0):
        for i in range(n):
            yield Event({"token": i}, event="token", id=i) if i % 2 else i
            time.sleep(delay)

    @app.endpoint("/upload", name="keep")
    def upload(body: bytes) -> bytes:
        return body[::-1]

    @app.endpoint("/undeclared", media_type="text/plain")
    def undeclared():
        return iter(["a", "b"])

    @app.endpoint("/teapot")
    def teapot() -> Response:
        return Response({"short": True}, status=418)

    @app.endpoint("/users/{user_id}", method="GET", name="show")
    def show(user_id: int, tags: list[str]) -> list[str]:
        return [str(user_id), *tags]

    @app.endpoint("/users/{user_id}", name="change")
    def change(user_id: int) -> int:
        return user_id

    @app.endpoint("/sleep")
    def sleep() -> None:
        time.sleep(30.0)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("call")
    write_app(folder, APP, "demo.py")
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "penstock_cli", "call", "demo.py", *arguments]


def call(folder: Path, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Return the exit code, stdout and stderr of a call."""
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(
        command(*arguments), cwd=folder, env=environment, input=stdin, capture_output=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr.decode()


def test_the_result_alone_is_on_stdout(folder: Path) -> None:
    """As a client would receive it; what the app prints is on stderr."""
    exit_code, printed, logged = call(folder, "/square", '{"input": 3}')
    assert (exit_code, printed) == (0, b"9.0\n")
    assert "imported" in logged
    assert "squaring" in logged


def test_bytes_go_in_and_out_as_they_are(folder: Path) -> None:
    """``-`` reads the body from stdin; an endpoint is known by its name, too."""
    assert call(folder, "keep", "-", stdin=b"\xff\n\x00")[:2] == (0, b"\x00\n\xff")


def test_a_stream_is_lines_or_what_it_consists_of(folder: Path) -> None:
    """An event is its data alone; a raw stream is its bytes, whether or not the endpoint declares that it streams."""
    assert call(folder, "/count", '{"n": 3}')[:2] == (0, b'0\n{"token":1}\n2\n')
    assert call(folder, "/undeclared")[:2] == (0, b"ab")


def test_all_parameters_are_in_one_object(folder: Path) -> None:
    """Parameters of the path and the query are in it, too."""
    assert call(folder, "show", '{"user_id": 7, "tags": ["a"]}')[:2] == (0, b'["7","a"]\n')


def test_a_failure_is_told_on_stderr(folder: Path) -> None:
    """Exit code 1, with the code and the reason in the last line; also if a ``Response`` says that it failed."""
    exit_code, printed, logged = call(folder, "square", '{"input": -1}')
    assert (exit_code, printed, logged.splitlines()[-1]) == (1, b"", "handler-error: it is negative")
    assert 'demo.py", line' in logged
    exit_code, printed, logged = call(folder, "/sleep", "--timeout", "0.1")
    assert (exit_code, printed) == (1, b"")
    assert logged.splitlines()[-1] == "total-timeout: sleep: not finished within 0.1 s of its arrival"
    assert call(folder, "/teapot")[:2] == (1, b'{"short":true}\n')


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["/squar", "1"], "demo.py has no endpoint /squar; did you mean /square?"),
        (["/square", '{"input": 3'], "/square cannot take this input: the body is not JSON"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_started(folder: Path, arguments: list[str], reason: str) -> None:
    """Exit code 2, with the reason and the name that was probably meant."""
    exit_code, printed, logged = call(folder, *arguments)
    assert (exit_code, printed) == (2, b"")
    assert reason in logged
    assert "zygote" not in logged


def test_chunks_are_printed_as_they_arrive_and_ctrl_c_is_quiet(folder: Path) -> None:
    """Exit code 130, and not a word about it."""
    arguments = command("count", '{"n": 2, "delay": 30}')
    with subprocess.Popen(
        arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"0\n"
        process.send_signal(signal.SIGINT)
        printed, logged = process.communicate(timeout=10)
    assert (process.returncode, printed) == (130, b"")
    assert [line for line in logged.decode().splitlines() if "imported" not in line] == []
