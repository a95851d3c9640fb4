"""The cost of the plug-ins: all off, as installed, and all at work, side by side in one run.

Needs wrk. Prints a Markdown table after about a minute.
"""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from run import interleaved, throughput
from servers import Server, penstock

NAMES = ["accesslog", "auth", "breaker", "metrics", "overload", "ratelimit", "retries", "shutdown", "timeouts"]
OFF = {f"PENSTOCK_{name.upper()}_ENABLED": "false" for name in NAMES}
KEY = secrets.token_urlsafe(32)
AT_WORK = "all at work"
PLAIN = {"Content-Type": "application/json"}
HEADERS = {**PLAIN, "Authorization": f"Bearer {KEY}", "X-Request-Timeout": "30"}


def at_work(folder: Path) -> dict[str, str]:
    """Return settings with which no plug-in is idle: keys, limits that are never reached, a line per request."""
    return {
        "PENSTOCK_AUTH_KEYS": f"bench={KEY}",
        "PENSTOCK_RATELIMIT_REQUESTS": "1000000000/minute",
        "PENSTOCK_RATELIMIT_CONCURRENT": "1000",
        "PENSTOCK_BREAKER_ENABLED": "true",
        "PENSTOCK_SHUTDOWN_ENABLED": "true",
        "PENSTOCK_SHUTDOWN_KEY": secrets.token_urlsafe(32),
        "PENSTOCK_ACCESSLOG_ENABLED": "true",
        "PENSTOCK_ACCESSLOG_FILE": str(folder / "access.log"),
    }


def lua(path: Path, headers: dict[str, str]) -> str:
    """Write a script for wrk that sends these headers; return its path."""
    lines = [f"wrk.headers[{json.dumps(name)}]={json.dumps(value)}" for name, value in headers.items()]
    path.write_text("\n".join(['wrk.method="POST"', "wrk.body='{\"input\": 4.0}'", *lines]))
    return str(path)


def main() -> None:
    """Measure and print the table."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        plain, full = lua(folder / "plain.lua", PLAIN), lua(folder / "full.lua", HEADERS)
        servers: list[Server] = [
            stack.enter_context(penstock("all off", OFF)),
            stack.enter_context(penstock("as installed")),
            stack.enter_context(penstock(AT_WORK, at_work(folder))),
        ]
        load = interleaved(servers, lambda server: throughput(server, full if server.name == AT_WORK else plain))
    base_rate, base_cpu = load[servers[0].name]
    print("| plug-ins | requests/s at 64 connections | ratio | CPU per request, us | ratio |\n|---|---|---|---|---|")
    for server in servers:
        rate, cpu = load[server.name]
        print(f"| {server.name} | {rate:,.0f} | {rate / base_rate:.2f} | {cpu:.1f} | {cpu / base_cpu:.2f} |")


if __name__ == "__main__":
    sys.exit(main())
