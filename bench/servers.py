"""Start the servers that are measured, read what they cost, and stop them with all their processes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from contenders import BARE, PEERS, PENSTOCK, Contender
from http_client import HOST, Client, Payload, as_json, message

EXIT_SECONDS = 15.0
READY_SECONDS = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")
_SET_CHILD_SUBREAPER = 36
SAMPLE = Path(__file__).resolve().parent.parent / "examples" / "data" / "table.csv"
IRIS = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}]}
"""An inference of the Open Inference Protocol, about one flower."""

Options = Mapping[str, float]


class NotReadyError(Exception):
    """A server did not become ready; the message says what happened."""


@dataclass
class Server:
    """A running server.

    Parameters
    ----------
    contender:
        The program that it runs.
    endpoint:
        The endpoint that it was started for.
    port:
        Its port on the loopback address.
    process:
        Its main process.
    start_seconds:
        The time from its start to its first response with status 200.
    """

    contender: Contender
    endpoint: str
    port: int
    process: subprocess.Popen[bytes]
    start_seconds: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The contender's title."""
        return self.contender.title

    def pids(self) -> list[int]:
        """Return the IDs of the process, its descendants, and those whose parent has ended."""
        return [*_with_descendants(self.process.pid), *_adopted(self.process.pid)]

    def living_pids(self) -> list[int]:
        """Return the IDs of those processes that have not ended."""
        return [pid for pid in self.pids() if _is_alive(pid)]

    def cpu_seconds(self) -> float:
        """Return the user and system time of all its processes so far."""
        return sum(_cpu_ticks(pid) for pid in self.pids()) / _TICKS

    def fine_cpu_seconds(self) -> float:
        """Return the CPU time of all threads that are alive, from a counter of nanoseconds."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def memory_mib(self) -> float:
        """Return the memory of all its processes in MiB; pages that processes share are counted once."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
                total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        return total / 1024

    def request(self, payload: Payload, headers: Mapping[str, str] | None = None) -> bytes:
        """Return a request for the endpoint."""
        return message(f"/{self.endpoint}", payload, {**self.headers, **(headers or {})})

    def file(self, content: bytes) -> Payload:
        """Return bytes in the form in which this server takes them."""
        return self.contender.file(content)

    def item(self, content: bytes) -> Payload:
        """Return bytes in the form in which this server takes an item of a batch."""
        return (self.contender.item or self.contender.file)(content)

    def cheap(self) -> bytes:
        """Return a request that costs the endpoint next to nothing."""
        bodies: dict[str, dict[str, object]] = {
            "square": {"input": 4.0},
            "count": {"n": 1},
            "sleep": {"seconds": 0},
            "loop": {"seconds": 0},
            "v1/chat/completions": {"model": "tiny", "messages": [{"role": "user", "content": "1"}]},
            "v2/models/iris/infer": IRIS,
            "v2/models/same/infer": {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}]},
        }
        if self.endpoint in bodies:
            return self.request(as_json(bodies[self.endpoint]))
        if self.endpoint == "identify":
            return self.request(self.item(SAMPLE.read_bytes()))
        return self.request(self.file(b"x"))

    def client(self, timeout: float = 30.0) -> Client:
        """Return a new connection."""
        return Client(self.port, timeout)


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent ends, so that none of them can be left behind."""
    ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _own.update(_children(os.getpid()))
    _adopts.set()


def _children(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
    return found


def _with_descendants(pid: int) -> list[int]:
    found = [pid]
    for known in found:
        found += _children(known)
    return found


_adopts = threading.Event()
_own: set[int] = set()  # the children of this process that are not a server, such as wrk


def _adopted(server: int) -> list[int]:
    """Return the descendants of servers whose parent has ended. Only one server runs at a time."""
    if not _adopts.is_set():
        return []
    orphans = [pid for pid in _children(os.getpid()) if pid != server and pid not in _own]
    return [pid for orphan in orphans for pid in _with_descendants(orphan)]


@contextmanager
def tool(command: list[str], **options: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that is not a server during the block, such as wrk; end it if it still runs afterwards."""
    process = subprocess.Popen(command, **options)  # type: ignore[call-overload]
    _own.add(process.pid)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        _own.discard(process.pid)


def _cpu_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


@contextmanager
def started(contender: Contender, endpoint: str, options: Options | None = None) -> Iterator[Server]:
    """Run a server during the block.

    Parameters
    ----------
    contender:
        The program to run.
    endpoint:
        The endpoint to serve.
    options:
        ``deadline``, the seconds that a request may take, and ``queue``, the number of jobs that may wait. Without
        them, the program keeps its defaults.

    Raises
    ------
    NotReadyError
        If the server ends or does not respond with 200 in time.
    """
    port = free_port()
    environment = {**os.environ, **contender.environment, "BENCH_ENDPOINT": endpoint, "BENCH_PORT": str(port)}
    environment |= {f"BENCH_{name.upper()}": f"{value:g}" for name, value in (options or {}).items()}
    begin = time.perf_counter()
    process = subprocess.Popen(
        contender.command(port, options or {}),
        cwd=PEERS,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    server = Server(contender, endpoint, port, process, headers=contender.headers)
    try:
        _wait_until_it_answers(server, begin + READY_SECONDS)
        server.start_seconds = time.perf_counter() - begin
        yield server
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # a time limit of the harness must not cut this short
        ignored = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            _stop(server)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, ignored)


def _wait_until_it_answers(server: Server, until: float) -> None:
    seen = "nothing listens"
    while time.perf_counter() < until:
        code = server.process.poll()
        if code is not None:
            raise NotReadyError(f"ended with {code} during its start")
        try:
            with server.client(until - time.perf_counter()) as client:
                answer = client.ask(server.cheap())
            if answer.status == 200:
                return
            seen = f"answered {answer.status}"
        except ConnectionRefusedError:
            pass
        except (OSError, ValueError) as error:
            seen = repr(error)
        time.sleep(0.005)
    raise NotReadyError(f"not ready within {READY_SECONDS:g} s: {seen}")


def _stop(server: Server) -> None:
    """End a server: SIGTERM to its main process, and SIGKILL to each of its processes that remains."""
    with contextlib.suppress(ProcessLookupError):
        server.process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.process.wait(EXIT_SECONDS)
    for _ in range(100):
        remaining = server.living_pids()
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.process.poll()
        reap(server.process.pid)
        if not remaining:
            return
        time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0] != "Z"
        )
    except OSError:
        return False


def reap(server: int) -> None:
    """Collect adopted processes that have ended."""
    for pid in _adopted(server):
        if not _is_alive(pid):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def bare() -> AbstractContextManager[Server]:
    """Run bare Falcon on gunicorn, with the settings that ``penstock serve`` uses."""
    return started(BARE, "square")


def penstock() -> AbstractContextManager[Server]:
    """Run ``penstock serve`` with its default options."""
    return started(PENSTOCK, "square")
