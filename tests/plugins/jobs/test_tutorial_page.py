"""docs/jobs-tutorial.md: its commands run in a shell against its app, and print what is there."""

from __future__ import annotations

import io
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.serving import ROOT, Served, wait_until, write_app
from tests.test_docs_blocks import blocks_of

pytestmark = pytest.mark.e2e

PAGE = ROOT / "docs" / "jobs-tutorial.md"
SESSIONS = re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
APP, RECEIVER = blocks_of(PAGE)


def pattern_of(expected: str) -> str:
    """Return the pattern of an output in which "..." stands for anything."""
    return ".*".join(re.escape(part) for part in expected.rstrip("\n").split("..."))


@pytest.fixture(scope="module")
def printed() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(scope="module")
def receiver(printed: io.StringIO) -> Iterator[str]:
    names: dict[str, Any] = {"print": lambda *parts: print(*parts, file=printed)}
    exec(compile(RECEIVER, str(PAGE), "exec"), names)
    server = HTTPServer(("127.0.0.1", 0), names["Receiver"])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("render")
    [secret] = re.findall(r"PENSTOCK_JOBS_WEBHOOK_SECRET=(\S+)", PAGE.read_text(encoding="utf-8"))
    with Served(write_app(folder, APP), folder=folder, environment={"PENSTOCK_JOBS_WEBHOOK_SECRET": secret}) as server:
        yield server


def test_each_command_prints_what_is_below_it(served: Served, receiver: str, printed: io.StringIO) -> None:
    """A reader who follows the page sees what it shows, and the receiver prints the end of the last job."""
    commands = [match for session in SESSIONS for match in COMMAND.findall(session)]
    assert len(commands) == sum(session.count("$ curl") for session in SESSIONS)
    for command, expected in commands:
        here = command.replace("localhost:8000", f"{served.host}:{served.port}").replace("127.0.0.1:9000", receiver)
        done = subprocess.run(["sh", "-c", here], capture_output=True, text=True, timeout=60, check=True)
        wanted = pattern_of(expected).replace(re.escape("127.0.0.1:9000"), re.escape(receiver))
        assert re.match(wanted, done.stdout.replace("\r", ""), re.DOTALL), f"{command}\n{done.stdout}"
    wait_until(lambda: "job.succeeded film-3 1 frames" in printed.getvalue(), "the webhook")
