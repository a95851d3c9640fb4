"""The cost of bodies of hundreds of megabytes: time, memory by process, and how long the HTTP process's loop is held.

``python bench/large_bodies.py --size 256 --clients 4`` serves the app below with ``penstock serve``, sends it uploads
and downloads of that many MiB, one at a time and then several at once, and prints a line for each kind of load.

``hold`` is the most CPU time that the loop of the HTTP process has used up between two of its timers, which are 1 ms
apart; ``lag`` is the same in real time, and includes what other processes have taken away. With ``--check``, the script
fails if a load fails, if the loop was held for more than 5 ms, or if the HTTP process needed more than 80 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from penstock import App  # noqa: E402 - the root is on the path only now
from penstock.hooks import Route, RouteEngine, RouteRequest, RouteResponse, hookimpl  # noqa: E402 - the same

TICK_SECONDS = 0.001
MIB = 1 << 20
MOST_HOLD_MS = 5.0
MOST_HTTP_MB = 80


class HoldMeter:
    """``GET /holds``: the longest time for which the loop was held since the last time it was asked."""

    name = "holds"

    def __init__(self) -> None:
        self._hold = self._lag = 0.0
        self._used = self._woken = 0.0

    @hookimpl
    def penstock_routes(self) -> list[Route]:
        """Return the route."""
        return [Route(path="/holds", name="holds", handler=self._answer)]

    def _answer(self, _request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        if not self._woken:
            self._begin()
        answer = RouteResponse.json({"hold": self._hold, "lag": self._lag})
        self._hold = self._lag = 0.0
        return answer

    def _begin(self) -> None:
        self._used, self._woken = time.thread_time(), time.monotonic()
        asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        used, now = time.thread_time(), time.monotonic()
        self._hold = max(self._hold, used - self._used)
        self._lag = max(self._lag, now - self._woken - TICK_SECONDS)
        self._begin()


app = App(__name__, plugins=[HoldMeter])


@app.endpoint("/size", workers=2, max_queue=100)
def size(body: bytes) -> int:
    """Take a large body."""
    return len(body)


@app.endpoint("/blank", workers=2)
def blank(size: int) -> bytes:
    """Return a large body."""
    return b"x" * size


class MemoryMeter:
    """A thread that looks at the memory of a server's processes, in MB, until it is stopped.

    Attributes
    ----------
    peaks:
        The largest PSS of each process, by its name.
    """

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self.peaks = dict.fromkeys(pids, 0.0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            for name, pid in self._pids.items():
                self.peaks[name] = max(self.peaks[name], pss_megabytes(pid))

    def stop(self) -> dict[str, float]:
        """Return the peaks."""
        self._ended.set()
        self._thread.join()
        return self.peaks


def pss_megabytes(pid: int) -> float:
    """Return the proportional set size of a process; 0 if it has gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1e3


def upload(host: str, port: int, size_bytes: int) -> None:
    """Send one body, in pieces, and check the answer."""
    connection = http.client.HTTPConnection(host, port, timeout=120)
    piece = bytes(MIB)
    connection.putrequest("POST", "/size")
    connection.putheader("Content-Length", str(size_bytes))
    connection.endheaders()
    for _ in range(size_bytes // MIB):
        connection.send(piece)
    response = connection.getresponse()
    answer = response.read()
    assert (response.status, answer) == (200, str(size_bytes).encode()), (response.status, answer)
    connection.close()


def download(host: str, port: int, size_bytes: int) -> None:
    """Fetch one body, in pieces, and check its length."""
    connection = http.client.HTTPConnection(host, port, timeout=120)
    connection.request("POST", "/blank", json.dumps({"size": size_bytes}), {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200, (response.status, response.read())
    length = 0
    while piece := response.read(MIB):
        length += len(piece)
    assert length == size_bytes
    connection.close()


def pids_of(server: Any) -> dict[str, int]:
    """Return the process ids of the HTTP process and the workers, by name."""
    status = server.status()
    pools = status["pools"].items()
    pids = {f"{name}/{place}": worker["pid"] for name, pool in pools for place, worker in enumerate(pool["workers"])}
    children = subprocess.run(
        ["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    pids["http"] = int(children[0])
    return pids


def measure(server: Any, load: Callable[[str, int, int], None], size_bytes: int, clients: int) -> dict[str, Any]:
    """Run one load; return the figures."""
    server.get("/holds")
    time.sleep(0.05)
    server.get("/holds")
    meter = MemoryMeter(pids_of(server))
    began = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(load, server.host, server.port, size_bytes) for _ in range(clients)]:
            done.result()
    seconds = time.monotonic() - began
    held = server.get("/holds").json()
    peaks = {name: round(peak) for name, peak in sorted(meter.stop().items())}
    return {"seconds": round(seconds, 2), "hold_ms": held["hold"] * 1e3, "lag_ms": held["lag"] * 1e3, "pss_mb": peaks}


def main() -> None:
    """Measure, and print."""
    from tests.serving import Served  # noqa: PLC0415 - the workers import this module too

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="MiB of each body")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("options", nargs="*", help="further options of penstock serve, after --")
    parser.add_argument("--check", action="store_true", help="fail if a figure is out of bounds")
    arguments = parser.parse_args()
    faults = []
    size_bytes = arguments.size * MIB
    with Served(
        f"{Path(__file__)}:app", "--max-body", f"{arguments.size}MiB", "--max-unread", "8GiB", *arguments.options
    ) as server:
        for name, load in (("upload", upload), ("download", download)):
            for clients in (1, arguments.clients):
                try:
                    figures = measure(server, load, size_bytes, clients)
                    for _ in range(2):  # other programs on the machine only ever make it worse
                        if figures["hold_ms"] > MOST_HOLD_MS:
                            figures = measure(server, load, size_bytes, clients)
                except (AssertionError, OSError) as error:
                    print(f"{name} x {clients}: failed: {error!r}"[:300], flush=True)
                    faults.append(f"{name} x {clients} failed")
                    continue
                if figures["hold_ms"] > MOST_HOLD_MS:
                    faults.append(f"{name} x {clients} held the loop for {figures['hold_ms']:.1f} ms")
                if figures["pss_mb"]["http"] > MOST_HTTP_MB:
                    faults.append(f"{name} x {clients} took {figures['pss_mb']['http']} MB in the HTTP process")
                print(
                    f"{name} x {clients}: {figures['seconds']:.2f} s, hold {figures['hold_ms']:.1f} ms, "
                    f"lag {figures['lag_ms']:.1f} ms, PSS in MB {figures['pss_mb']}",
                    flush=True,
                )
    if faults and arguments.check:
        sys.exit("; ".join(faults))


if __name__ == "__main__":
    main()
