"""Where the time of a request goes: the time spent in each stage, for one request in flight and for 64.

Needs wrk, which is the client: keep-alive connections from a process of its own. Prints Markdown tables for ``penstock
serve`` with its default set-up, and for bare Falcon, after about 30 seconds. The product is not changed for this, and
pays nothing for it: ``stage_probes.py`` replaces the functions at which stages begin and end.

With one request in flight, a stage takes as long as its code, and the wake-up before it. With more, the loop serves
others in between: their time is in the stages that wait for a turn of the loop, which are the parser's, the frame out,
the engine's wake-up and the response. The best of several rounds is shown.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.util import find_spec
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

import stage_probes as at
from stage_probes import FOLDER_VARIABLE, read_records, seconds_per_probe

IN_FLIGHT = (1, 64)
ROUNDS = 3
WARM_UP_SECONDS, SECONDS = 1, 2
START_SECONDS = 30
_SCRIPT = 'wrk.method="POST"; wrk.body=\'{"input": 4.0}\'; wrk.headers["Content-Type"]="application/json"'

_WORKER_MARKS = {"read", "began", "ended", "returned"}
# A write returns after the reader has been woken, and on a busy machine after it has read.
_READERS = {"flushed": "read", "returned": "received"}
# Each stage ends where the next one begins.
PENSTOCK_STAGES = {
    "arrived": "parse",
    "served": "framework",
    "identified": "policies and submit",
    "submitted": "wait in the queue",
    "sending": "frame out",
    "flushed": "worker wakes, or finishes others",
    "read": "frame parsed, wait in the line",
    "began": "decode, predict, encode",
    "ended": "frame back",
    "returned": "engine wakes, or finishes others",
    "received": "result taken in",
    "settled": "task wakes, response written",
    "written": "next request",
    "next": "",
}
BARE_STAGES = {
    "arrived": "parse",
    "served": "framework",
    "called": "handler",
    "handled": "response written",
    "written": "next request",
    "next": "",
}


@dataclass
class Timeline:
    """The marks of one request: by the name of the stage that begins there, the instant in ns and the place.

    The place is that among the records of its process, by which the probes in between are counted.
    """

    marks: dict[str, tuple[int, int]] = field(default_factory=dict)

    def micros(self, begin: str, end: str, probe_micros: float, *, same_process: bool) -> float:
        """Return the time between two marks in microseconds, less that of the probes in between."""
        (first, first_place), (last, last_place) = self.marks[begin], self._end_of(end)
        probes = last_place - first_place if same_process else 1
        return max(0.0, (last - first) / 1000 - max(0, probes) * probe_micros)

    def _end_of(self, name: str) -> tuple[int, int]:
        """Return the mark at which a stage ends. A frame is out at the latest when the other process has read it."""
        reader = _READERS.get(name)
        if reader is not None and self.marks[reader][0] < self.marks[name][0]:
            return self.marks[reader][0], self.marks[name][1]
        return self.marks[name]


class HttpTimelines:
    """The timelines of an HTTP process, made from its records."""

    def __init__(self) -> None:
        self.found: list[Timeline] = []
        self.by_attempt: dict[int, Timeline] = {}
        self._present: dict[int, Timeline] = {}  # by connection
        self._arrivals: dict[int, tuple[int, int]] = {}  # by connection
        self._by_number: dict[int, Timeline] = {}
        self._unflushed: list[Timeline] = []
        self._connection = 0
        self._read = (0, 0)

    def read(self, records: list[tuple[int, int, int]]) -> None:
        """Take in all records, in their order."""
        take = {
            at.ARRIVED: self._arrived,
            at.SERVED: self._served,
            at.IDENTIFIED: self._identified,
            at.SUBMITTED: self._submitted,
            at.SENDING: self._sending,
            at.FLUSHED: self._flushed,
            at.READ: self._frames_read,
            at.SETTLED: self._settled,
            at.WRITTEN: self._written,
            at.CALLED: lambda mark, _key: self._of_connection("called", mark),
            at.HANDLED: lambda mark, _key: self._of_connection("handled", mark),
        }
        for place, (instant, mark, key) in enumerate(records):
            take[mark]((instant, place), key)

    def _arrived(self, mark: tuple[int, int], connection: int) -> None:
        self._connection = connection
        previous = self._present.pop(connection, None)
        if previous is not None:
            previous.marks["next"] = mark
        timeline = self._present[connection] = Timeline({"arrived": mark})
        self.found.append(timeline)

    def _served(self, mark: tuple[int, int], connection: int) -> None:
        self._connection = connection
        self._of_connection("served", mark)

    def _of_connection(self, name: str, mark: tuple[int, int]) -> None:
        timeline = self._present.get(self._connection)
        if timeline is not None:
            timeline.marks[name] = mark

    def _identified(self, mark: tuple[int, int], number: int) -> None:
        timeline = self._present.get(self._connection)
        if timeline is not None:
            timeline.marks["identified"] = mark
            timeline.marks.setdefault("served", mark)
            self._by_number[number] = timeline

    def _submitted(self, mark: tuple[int, int], number: int) -> None:
        timeline = self._by_number.get(number)
        if timeline is not None:
            # If it was sent at once, nothing was queued.
            timeline.marks["submitted"] = timeline.marks.get("sending", mark)

    def _sending(self, mark: tuple[int, int], key: int) -> None:
        timeline = self._by_number.get(key & 0xFFFFFFFF)
        if timeline is not None:
            timeline.marks["sending"] = mark
            self.by_attempt[key >> 32] = timeline
            self._unflushed.append(timeline)

    def _flushed(self, mark: tuple[int, int], _key: int) -> None:
        for timeline in self._unflushed:
            timeline.marks["flushed"] = mark
        self._unflushed.clear()

    def _frames_read(self, mark: tuple[int, int], _key: int) -> None:
        self._read = mark

    def _settled(self, mark: tuple[int, int], number: int) -> None:
        timeline = self._by_number.pop(number, None)
        if timeline is not None:
            timeline.marks["received"], timeline.marks["settled"] = self._read, mark

    def _written(self, mark: tuple[int, int], connection: int) -> None:
        timeline = self._present.get(connection)
        if timeline is not None:
            timeline.marks["written"] = mark


def add_worker(records: list[tuple[int, int, int]], by_attempt: dict[int, Timeline]) -> None:
    """Add what the worker did to the timelines of the attempts."""
    read = (0, 0)
    unflushed: list[Timeline] = []
    for place, (instant, mark, key) in enumerate(records):
        here = (instant, place)
        if mark == at.READ:
            read = here
        elif mark == at.FLUSHED:
            for timeline in unflushed:
                timeline.marks["returned"] = here
            unflushed.clear()
        elif key in by_attempt:
            timeline = by_attempt[key]
            if mark == at.BEGAN:
                timeline.marks["read"], timeline.marks["began"] = read, here
            else:
                timeline.marks["ended"] = here
                unflushed.append(timeline)


@dataclass(frozen=True)
class StageTime:
    """The time of one stage over all requests, in microseconds, and its share of their total."""

    name: str
    median: float
    p90: float
    share: float


def stage_times(stages: dict[str, str], timelines: list[Timeline], probe_micros: float) -> list[StageTime]:
    """Return the time of each stage, and of the whole.

    Raises
    ------
    SystemExit
        If most requests lack a mark.
    """
    complete = [timeline for timeline in timelines if all(name in timeline.marks for name in stages)]
    if len(complete) * 2 < len(timelines) or not complete:
        counts = {name: sum(name in timeline.marks for timeline in timelines) for name in stages}
        raise SystemExit(
            f"of {len(timelines)} requests, only {len(complete)} have all marks: {counts}. Requests no longer pass "
            "through the functions in bench/stage_probes.py: name those that they pass through now"
        )
    columns: dict[str, list[float]] = {}
    names = list(stages)
    for begin, end in pairwise(names):
        same = (begin in _WORKER_MARKS) == (end in _WORKER_MARKS)
        columns[stages[begin]] = [each.micros(begin, end, probe_micros, same_process=same) for each in complete]
    columns["total"] = [sum(parts) for parts in zip(*columns.values(), strict=True)]
    whole = sum(columns["total"])
    return [
        StageTime(name, statistics.median(column), quantile(column), sum(column) / whole)
        for name, column in columns.items()
    ]


def quantile(values: list[float], share: float = 0.9) -> float:
    """Return a quantile."""
    return sorted(values)[int(len(values) * share)]


@contextmanager
def running(command: list[str], ready_path: str, folder: Path) -> Iterator[str]:
    """Run a server whose probes write into ``folder``; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", *(part.format(port=port) for part in command)],
        cwd=Path(__file__).parent,
        env={**os.environ, FOLDER_VARIABLE: str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}{ready_path}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"the server does not answer: try {' '.join(map(str, process.args))} in bench/")


def wrk(address: str, connections: int, seconds: int, script: str) -> float:
    """Load a server; return the requests per second."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script, f"{address}/square"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if rate is None or "Non-2xx" in text:
        raise SystemExit(f"{address} answered errors:\n{text}")
    return float(rate[1])


def load(address: str, script: str) -> dict[int, tuple[int, int, float]]:
    """Load the server; return the best window in ns, and its requests per second, for each number of connections."""
    windows = dict.fromkeys(IN_FLIGHT, (0, 0, 0.0))
    for _ in range(ROUNDS):
        for connections in IN_FLIGHT:
            wrk(address, connections, WARM_UP_SECONDS, script)
            begin = time.monotonic_ns()
            rate = wrk(address, connections, SECONDS, script)
            windows[connections] = max(windows[connections], (begin, time.monotonic_ns(), rate), key=itemgetter(2))
    return windows


def records_of(folder: Path, role: str) -> list[tuple[int, int, int]]:
    """Return the records of the process in that role that has the most."""
    found = [read_records(path) for path in folder.glob(f"{role}-*")]
    if not found:
        raise SystemExit(f"no probe of the {role} process was reached; see the table in bench/stage_probes.py")
    return max(found, key=len)


def table(stages: dict[str, str], timelines: list[Timeline], windows: dict[int, tuple[int, int, float]]) -> list[str]:
    """Return the lines of a Markdown table."""
    with tempfile.TemporaryDirectory() as folder:
        probe_micros = seconds_per_probe(folder) * 1e6
    columns = []
    for begin, end, _ in windows.values():
        inside = [each for each in timelines if begin <= each.marks["arrived"][0] <= end - 10_000_000]
        columns.append(stage_times(stages, inside, probe_micros))
    heads = [f"{n} in flight: median | p90 | share" for n in windows]
    lines = [f"| stage, in us | {' | '.join(heads)} |", "|---|" + "---|" * 3 * len(windows)]
    for row in zip(*columns, strict=True):
        cells = [f"{each.median:.0f} | {each.p90:.0f} | {each.share:.0%}" for each in row]
        lines.append(f"| {row[0].name} | {' | '.join(cells)} |")
    rates = ", ".join(f"{rate:,.0f}/s with {n}" for n, (_, _, rate) in windows.items())
    lines.append(f"\nWith the probes in place: {rates} in flight. {probe_micros:.2f} us for each probe are subtracted.")
    return lines


def measure_penstock(folder: Path, script: str) -> list[str]:
    """Return the table for ``penstock serve`` with its default set-up."""
    command = ["penstock_cli", "serve", "stages_app:app", "--port", "{port}"]
    with running(command, "/readyz", folder) as address:
        windows = load(address, script)
    timelines = HttpTimelines()
    timelines.read(records_of(folder, "http"))
    add_worker(records_of(folder, "worker"), timelines.by_attempt)
    return table(PENSTOCK_STAGES, timelines.found, windows)


def measure_bare(folder: Path, script: str) -> list[str]:
    """Return the table for bare Falcon, with the settings that ``penstock serve`` uses."""
    command = ["gunicorn", "stages_bare:app", "-k", "asgi", "-w", "1", "-b", "127.0.0.1:{port}"]
    command += ["--keep-alive", "75", "--no-control-socket", "--log-level", "error"]
    with running(command, "/", folder) as address:
        windows = load(address, script)
    timelines = HttpTimelines()
    timelines.read(records_of(folder, "bare"))
    return table(BARE_STAGES, timelines.found, windows)


def main() -> None:
    """Measure and print the tables."""
    if shutil.which("wrk") is None:
        raise SystemExit("bench needs wrk: apt-get install wrk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "post.lua"
        script.write_text(_SCRIPT)
        ours = measure_penstock(folder / "penstock", str(script))
        bare = measure_bare(folder / "bare", str(script))
    loop = "uvloop" if find_spec("uvloop") else "asyncio"
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {loop}; the client is wrk\n")
    print("\n".join(["Penstock:\n", *ours, "\nBare Falcon:\n", *bare]))


if __name__ == "__main__":
    sys.exit(main())
