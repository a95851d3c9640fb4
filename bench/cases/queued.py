"""Many queued jobs, and whether a job costs more if many others wait."""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import time
from pathlib import Path

from harness import Case, Figures, Pace
from http_client import HOST, as_json
from results import Column, Result
from servers import Server

NUMBERS = (100, 1_000, 10_000)
PATIENCE = 60.0


def allow_sockets() -> int:
    """Raise the limit on open files as far as it goes; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def collect(sockets: list[socket.socket]) -> list[int]:
    """Wait for a response on each socket; return the statuses, 0 if there is none within ``PATIENCE`` seconds."""
    statuses = []
    with selectors.DefaultSelector() as selector:
        for sock in sockets:
            selector.register(sock, selectors.EVENT_READ)
        end = time.perf_counter() + PATIENCE
        while selector.get_map() and (left := end - time.perf_counter()) > 0:
            for key, _events in selector.select(left):
                data = b""
                with contextlib.suppress(OSError):
                    data = key.fileobj.recv(4096)  # type: ignore[union-attr]
                statuses.append(int(data.split(maxsplit=2)[1]) if data.startswith(b"HTTP/") else 0)
                selector.unregister(key.fileobj)
        statuses += [0] * len(selector.get_map())
    return statuses


def measure(server: Server, _pace: Pace, number: int) -> Figures:
    """Queue jobs that do nothing behind one that blocks; measure the CPU time until the last answer."""
    blocked = 1 + number / 1000
    before = server.fine_cpu_seconds()
    with contextlib.ExitStack() as stack:
        blocker = stack.enter_context(server.client())
        blocker.send(server.request(as_json({"seconds": blocked})))
        begin = time.perf_counter()
        time.sleep(0.1)
        sockets = []
        for count in range(number):
            if count % 20 == 0:
                time.sleep(0.005)  # some servers have a short queue of new connections
            sock = stack.enter_context(socket.create_connection((HOST, server.port), timeout=10))
            sock.sendall(server.cheap())
            sockets.append(sock)
        queued = time.perf_counter() - begin
        blocker.receive()
        begin = time.perf_counter()
        statuses = collect(sockets)
        drained = time.perf_counter() - begin
    failed = number - statuses.count(200)
    return {
        "cpu": (server.fine_cpu_seconds() - before) / number * 1e6,
        "drain": drained / number * 1e6,
        "failed": failed,
        "queued_in_time": "yes" if queued < blocked else f"no: it took {queued:.1f} s to send them",
    }


CASE = Case(
    name="queued",
    endpoint="sleep",
    measure=measure,
    parameters=NUMBERS,
    options={"queue": 20_000},
    most_rounds=2,
    limit=150,
)


def section(result: Result, _folder: Path) -> list[str]:
    """Return the part of the page."""
    lines = [
        "## Many queued jobs",
        "",
        (
            "Jobs that do nothing wait behind one that blocks, each on a connection of its own, and are then "
            "worked off. The CPU time of all processes includes the connection. Servers with a limit on their "
            "queue are configured for more."
        ),
    ]
    for heading, key in (
        ("CPU per job, us", "cpu"),
        ("time per job once unblocked, us", "drain"),
        ("failed", "failed"),
    ):
        lines += ["", *result.across(Column(heading, key), NUMBERS, "{:,} jobs")]
    late = [
        f"{result.title(name)} with {number:,} jobs ({words.removeprefix('no: ')})"
        for name in result.names
        for number in NUMBERS
        if (words := result.words(name, "queued_in_time", number)) and words.startswith("no")
    ]
    if late:
        lines += ["", f"Not all jobs were queued before the first one was done: {'; '.join(late)}."]
    return lines
