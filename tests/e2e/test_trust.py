"""Promises of docs/security.md that no other test holds."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers import UID, needs_containers
from tests.serving import WAYS, Served, write_app

pytestmark = pytest.mark.e2e

CANARY = "canary-7f3a9c"
SOURCE = """
    import os

    from penstock import App

    app = App(__name__)


    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2


    @app.endpoint("/echo")
    def echo(text: str) -> str:
        return text


    @app.endpoint("/sockets")
    def sockets() -> list[str]:
        return [link_of(name).removeprefix("socket:[").removesuffix("]") for name in os.listdir("/proc/self/fd")]


    def link_of(name: str) -> str:
        try:
            return os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            return "the listing itself"


    @app.endpoint("/fail")
    def fail(text: str) -> None:
        raise ValueError("of no particular value")
"""


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[Served]:
    environment = {"PENSTOCK_ACCESSLOG_ENABLED": "true", "TMPDIR": str(temporary)}
    app = write_app(tmp_path_factory.mktemp("trust"), SOURCE)
    with Served(app, "--log-level", "debug", environment=environment) as served:
        yield served


def tcp_sockets() -> set[str]:
    """Return the numbers of this machine's TCP sockets."""
    tables = (Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:] for name in ("tcp", "tcp6"))
    return {line.split()[9] for table in tables for line in table}


def test_workers_hold_no_connection_of_a_client(served: Served) -> None:
    """No descriptor that user code inherits leads to another client, or accepts connections."""
    with served.connect() as client:
        client.sendall(b"POST /square HTTP/1.1\r\n")
        held = served.post_json("/sockets", {}).json()
        open_sockets = tcp_sockets()
    assert [number for number in held if number.isdigit()], "the socket to the engine"
    assert not open_sockets.intersection(held)


def test_what_clients_send_is_not_kept(served: Served) -> None:
    """Bodies, query strings, headers, cookies and results are neither in the log, at any level, nor on any page."""
    headers = {"Authorization": f"Bearer {CANARY}", "Cookie": f"session={CANARY}", "X-Anything": CANARY}
    for way in WAYS.values():
        for path, body in (("/echo", {"text": CANARY}), ("/square", {"input": CANARY}), ("/fail", {"text": CANARY})):
            served.post_json(f"{path}?token={CANARY}", body, headers={**headers, **way})
        served.post("/echo", CANARY.encode(), headers={**headers, **way})
        served.get(f"/nowhere?token={CANARY}", headers={**headers, **way})
    pages = json.dumps(served.status()) + served.get("/metrics").body.decode()
    assert served.wait_for_line("/nowhere")
    assert CANARY not in served.output()
    assert CANARY not in pages


def test_temporary_files_are_the_users_own(served: Served, temporary: Path) -> None:
    """Whatever the server keeps in the temporary folder, no other user can open it."""
    assert served.post_json("/square", {"input": 2}).status == 200
    entries = list(temporary.iterdir())
    assert [entry.name for entry in entries if stat.S_IMODE(entry.stat().st_mode) & 0o077] == []


CONNECTING = """
import socket, sys

with socket.socket(socket.AF_UNIX) as client:
    client.settimeout(float(sys.argv[2]))
    client.connect(sys.argv[1])
    try:
        print("closed" if client.recv(1) == b"" else "answered")
    except ConnectionError:
        print("closed")
    except TimeoutError:
        print("open")
"""
AS_ANOTHER_USER = ["setpriv", "--reuid", str(UID), "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]


@needs_containers
def test_the_engines_socket_turns_other_users_away(tmp_path: Path) -> None:
    """Even a process that may enter the folder, by a capability, is not served if its user is another."""
    target = write_app(tmp_path, SOURCE)
    environment = {"TMPDIR": str(tmp_path)}
    with Served(target, "--http-workers", "2", environment=environment) as served:
        (path,) = tmp_path.glob("penstock-*/engine")

        def connect(*prefix: str, seconds: float) -> str:
            command = [*prefix, sys.executable, "-c", CONNECTING, str(path), str(seconds)]
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

        assert connect(*AS_ANOTHER_USER, seconds=5.0) == "closed"
        assert connect(seconds=0.1) != "closed"
        assert served.post_json("/square", {"input": 3}).json() == 9
