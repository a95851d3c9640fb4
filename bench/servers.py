"""Start the servers that are measured, and read their CPU time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """A running server: its port and its main process."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    def pids(self) -> list[int]:
        """Return the IDs of the process and all its descendants."""
        found = [self.process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def cpu_seconds(self) -> float:
        """Return the user and system time of all its processes so far."""
        total = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / _TICKS


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def started(
    name: str, command: list[str], port: int, ready_path: str, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server during the block; ``environment`` is added to that of this process."""
    process = subprocess.Popen(
        command,
        cwd=HERE,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}{ready_path}", process)
        yield Server(name, port, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except urllib.error.HTTPError as error:
            if error.code in (404, 405):
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{url} did not answer within 30 s")


def bare() -> AbstractContextManager[Server]:
    """Run bare Falcon on gunicorn, with the settings that ``penstock serve`` uses."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "bare:app", "-k", "asgi", "-w", "1", "-b", f"127.0.0.1:{port}"]
    command += ["--keep-alive", "75", "--no-control-socket", "--log-level", "error"]
    return started("bare Falcon", command, port, "/")


def penstock(name: str = "Penstock", environment: Mapping[str, str] | None = None) -> AbstractContextManager[Server]:
    """Run ``penstock serve`` with its default options, and ``environment`` added."""
    port = free_port()
    command = [sys.executable, "-m", "penstock_cli", "serve", "noop:app", "--port", str(port)]
    return started(name, command, port, "/readyz", environment)
