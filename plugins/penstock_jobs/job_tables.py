"""Jobs as lines of a table, for people at a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.job_store import JobProgress, StoredJob
from penstock_jobs.job_documents import shown_state

HEADINGS: Final = ("ID", "ENDPOINT", "STATE", "AGE", "PROGRESS", "PRINCIPAL")
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60))
_LEAST_OF_A_UNIT: Final = 2
"""90 seconds are ``90s``: below two of a unit, the smaller one tells more."""


def table_of(jobs: Sequence[StoredJob], now: float) -> list[str]:
    """Return the lines of the table, with headings."""
    rows = [HEADINGS, *(_row(job, now) for job in jobs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def age_text(seconds: float) -> str:
    """Return a duration in one unit: ``45s``, ``12m``, ``30h``, ``3d``."""
    whole = max(0, int(seconds))
    for unit, size in _UNITS:
        if whole >= _LEAST_OF_A_UNIT * size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def _row(job: StoredJob, now: float) -> tuple[str, ...]:
    state = shown_state(job, now)
    if job.cancel_requested and not job.is_final:
        state += " (cancelling)"
    cells = (job.id, job.endpoint, state, age_text(now - job.created_at), _progress(job.progress), job.principal or "-")
    return tuple(map(_printable, cells))


def _progress(progress: JobProgress | None) -> str:
    if progress is None:
        return "-"
    return f"{progress.done:g}" if progress.total is None else f"{progress.done:g}/{progress.total:g}"


def _printable(text: str) -> str:
    # Names of callers must not be able to control the terminal.
    return "".join(character if character.isprintable() else "?" for character in text)
