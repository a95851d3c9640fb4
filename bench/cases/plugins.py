"""The cost of Penstock's plug-ins: all off, as installed, and all at work."""

from __future__ import annotations

import atexit
import secrets
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from cases.noop import NUMBER
from closed_loop import closed_loop
from contenders import PENSTOCK
from harness import Case, Figures, Pace
from results import Column, Result
from servers import Server

NAMES = ["accesslog", "auth", "breaker", "metrics", "overload", "ratelimit", "retries", "shutdown", "timeouts"]
KEY = secrets.token_urlsafe(32)
FOLDER = tempfile.TemporaryDirectory(prefix="penstock-bench-")
atexit.register(FOLDER.cleanup)

OFF = replace(
    PENSTOCK,
    name="off",
    title="all off",
    environment={f"PENSTOCK_{name.upper()}_ENABLED": "false" for name in NAMES},
)
INSTALLED = replace(PENSTOCK, name="installed", title="as installed")
# No plug-in is idle: keys, limits that are never reached, a deadline, a line per request.
AT_WORK = replace(
    PENSTOCK,
    name="at work",
    title="all at work",
    environment={
        "PENSTOCK_AUTH_KEYS": f"bench={KEY}",
        "PENSTOCK_RATELIMIT_REQUESTS": "1000000000/minute",
        "PENSTOCK_RATELIMIT_CONCURRENT": "1000",
        "PENSTOCK_BREAKER_ENABLED": "true",
        "PENSTOCK_SHUTDOWN_ENABLED": "true",
        "PENSTOCK_SHUTDOWN_KEY": secrets.token_urlsafe(32),
        "PENSTOCK_ACCESSLOG_ENABLED": "true",
        "PENSTOCK_ACCESSLOG_FILE": str(Path(FOLDER.name) / "access.log"),
    },
    headers={"Authorization": f"Bearer {KEY}", "X-Request-Timeout": "30"},
)


def measure(server: Server, pace: Pace, _: Any) -> Figures:
    """Measure the no-op at 64 connections."""
    closed_loop(server, NUMBER, connections=8, seconds=1)
    load = closed_loop(server, NUMBER, connections=64, seconds=pace.seconds)
    return {"rate": load.rate, "cpu": load.cpu, "failed": load.failed}


CASE = Case(name="plugins", endpoint="square", measure=measure, contenders=(OFF, INSTALLED, AT_WORK))


def section(result: Result, _folder: Path) -> list[str]:
    """Return the part of the page."""
    lines = [
        "## Cost of plug-ins",
        "",
        (
            "The no-op at 64 connections. `as installed` is the default: overload, metrics, callers' deadlines "
            "and retries are at work, and the others are idle. `all at work` adds keys, two kinds of rate limits, "
            "a breaker, a caller's deadline and an access log."
        ),
        "",
        "| plug-ins | requests/s | ratio | CPU per request, us | ratio | failed |",
        "|---|---|---|---|---|---|",
    ]
    for name in result.names:
        cells = []
        for column in (Column("", "rate"), Column("", "cpu", "{:.1f}")):
            ratio = result.ratio(column.key, name, OFF.name)
            cells += [result.cell(name, column), f"{ratio:.2f}" if ratio else "-"]
        lines.append(f"| {result.title(name)} | {' | '.join(cells)} | {result.cell(name, Column('', 'failed'))} |")
    ratio = result.ratio("cpu", AT_WORK.name, INSTALLED.name)
    if ratio is not None:
        lines += ["", f"With everything configured, a request costs {ratio:.2f} times the CPU time of the default."]
    return lines
