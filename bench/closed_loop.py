"""Closed-loop load from wrk: each connection sends its next request when it has the response to the last one."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from http_client import Payload
from servers import Server, tool

_UNITS = {"us": 1.0, "ms": 1000.0, "s": 1e6, "m": 60e6}


class Load(NamedTuple):
    """The result of a run: requests per second, latencies in microseconds, CPU microseconds per request, failures."""

    rate: float
    p50: float
    p99: float
    cpu: float
    failed: int


def closed_loop(server: Server, payload: Payload, *, connections: int, seconds: int) -> Load:
    """Load a server with wrk; the CPU time is that of all processes of the server."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        body = Path(folder) / "body"
        body.write_bytes(payload.content)
        headers = {"Content-Type": payload.content_type, **server.headers}
        lines = [f"wrk.headers[{json.dumps(name)}]={json.dumps(value)}" for name, value in headers.items()]
        lines += ['wrk.method="POST"', f'wrk.body=io.open({json.dumps(str(body))}, "rb"):read("*a")']
        script.write_text("\n".join(lines), encoding="utf-8")
        url = f"http://127.0.0.1:{server.port}/{server.endpoint}"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency"]
        before = server.cpu_seconds()
        with tool([*command, "-s", str(script), url], stdout=subprocess.PIPE) as wrk:
            text = wrk.communicate(timeout=seconds + 30)[0].decode()
        cpu = server.cpu_seconds() - before
    return _parse(text, cpu)


def _parse(text: str, cpu: float) -> Load:
    def latency(share: str) -> float:
        found = re.search(rf"\b{share}%\s+([\d.]+)(us|ms|s|m)\b", text)
        return float(found[1]) * _UNITS[found[2]] if found else float("nan")

    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
    total = int(re.search(r"(\d+) requests in", text)[1])  # type: ignore[index]
    errors = [int(number) for line in re.findall(r"Socket errors: (.*)", text) for number in re.findall(r"\d+", line)]
    refused = [int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", text)]
    return Load(rate, latency("50"), latency("99"), cpu / max(total, 1) * 1e6, sum(errors) + sum(refused))
