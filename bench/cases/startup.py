"""Start-up: from the start of the program to its first answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness import Case, Figures, Pace
from results import Column, Result
from servers import Server


def measure(server: Server, _pace: Pace, _: Any) -> Figures:
    """Report the time that the harness took to start it: it asks every 5 ms."""
    return {"seconds": server.start_seconds}


CASE = Case(name="startup", endpoint="square", measure=measure)


def section(result: Result, _folder: Path) -> list[str]:
    """Return the part of the page."""
    lines = ["## Start-up", "", "From the start of the program to its first answer, with nothing to load.", ""]
    return lines + result.table([Column("s", "seconds", "{:.2f}")])
