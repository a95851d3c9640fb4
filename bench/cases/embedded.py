"""Many queued jobs without HTTP: Penstock's engine in a Python program, up to 100,000 jobs at once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from contenders import PENSTOCK, Contender
from harness import Case, Figures, Pace
from results import Column, Result
from servers import Server, tool

SCRIPT = Path(__file__).resolve().parent.parent / "peers" / "penstock_embedded.py"
NUMBERS = (100, 10_000, 100_000)


class EmbeddedCase(Case):
    """A case without a server: a script measures itself and prints its figures."""

    def _round(self, contender: Contender, _pace: Pace, parameter: Any) -> Figures:
        with tool([contender.python, str(SCRIPT), str(parameter)], stdout=subprocess.PIPE) as process:
            figures: Figures = json.loads(process.communicate(timeout=self.limit)[0])
        return figures


def measure(_server: Server, _pace: Pace, _: Any) -> Figures:
    """Measure nothing: the script does."""
    raise NotImplementedError


CASE = EmbeddedCase(
    name="embedded", endpoint="", measure=measure, parameters=NUMBERS, contenders=(PENSTOCK,), most_rounds=3
)


def section(result: Result, _folder: Path) -> list[str]:
    """Return the part of the page."""
    lines = [
        "## Many queued jobs without HTTP",
        "",
        (
            "More connections than that need more open files than many machines allow. So the same with Penstock's "
            "engine in a Python program: the CPU time is that of this program, and includes a task of asyncio per "
            "job."
        ),
    ]
    for heading, key in (("CPU per job, us", "cpu"), ("time per job once unblocked, us", "drain")):
        lines += ["", *result.across(Column(heading, key), NUMBERS, "{:,} jobs")]
    return lines
