"""The parameters in the query strings of the routes of jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs

from penstock.errors import WorkerLost
from penstock.job_store import JobQuery, JobState, StoredJob, parse_cursor
from penstock_jobs.job_documents import shown_state
from penstock_jobs.job_requests import invalid
from penstock_jobs.prefer import LONGEST_WAIT

MOST_LISTED: Final = 1000
USUALLY_LISTED: Final = 100

# By the state that callers see, the states of the rows that may be shown so.
_ROWS: Final[Mapping[str, tuple[JobState, ...]]] = {
    "scheduled": ("queued",),
    "queued": ("queued", "running"),
    "running": ("running",),
    "succeeded": ("succeeded",),
    "failed": ("failed",),
    "timed_out": ("timed_out",),
    "cancelled": ("cancelled",),
    "expired": ("expired",),
}
_TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False, "": False}


def parameters(query: str) -> dict[str, list[str]]:
    """Return the parameters of a query string, those without a value included."""
    return parse_qs(query, keep_blank_values=True, max_num_fields=100)


def last(found: Mapping[str, Sequence[str]], name: str) -> str | None:
    """Return the last value of a parameter, or None."""
    return found[name][-1] if name in found else None


def wait_seconds(found: Mapping[str, Sequence[str]]) -> float | None:
    """Return the seconds in ``wait``, at most 60; None without it.

    Raises
    ------
    InvalidRequest
        If it is not a number.
    """
    text = last(found, "wait")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise invalid("wait", f"{text[:40]!r} cannot be used; give seconds, such as 30")
    return min(seconds, LONGEST_WAIT)


def count_in(found: Mapping[str, Sequence[str]], name: str, *, least: int, most: int, usual: int) -> int:
    """Return the whole number in a parameter.

    Raises
    ------
    InvalidRequest
        If it is not one, or out of its range.
    """
    text = last(found, name)
    if text is None:
        return usual
    if not (text.isascii() and text.isdecimal() and len(text) < 16 and least <= int(text) <= most):
        raise invalid(name, f"{text[:40]!r} cannot be used; give a whole number from {least} to {most}")
    return int(text)


class ListQuery:
    """The jobs that a caller wants to have listed.

    Parameters
    ----------
    found:
        The parameters.
    principal:
        The owner of the jobs; None: anyone.

    Attributes
    ----------
    rows:
        The query for the store, whose rows are then looked at with ``shows``.

    Raises
    ------
    InvalidRequest
        If a parameter cannot be used.
    """

    def __init__(self, found: Mapping[str, Sequence[str]], principal: str | None) -> None:
        self._states = set(_states(found.get("state", ())))
        is_dead = _truth(found, "dead")
        if is_dead:
            self._states = {"failed"}
        rows = {row for state in self._states for row in _ROWS[state]}
        after = last(found, "after") or None
        if after is not None:
            try:
                parse_cursor(after)
            except ValueError:
                raise invalid("after", "it is not a cursor; use next_after of the page before") from None
        self.rows = JobQuery(
            principal=principal,
            endpoint=last(found, "endpoint") or None,
            states=tuple(sorted(rows)),
            group=last(found, "group") or None,
            code=WorkerLost.code if is_dead else last(found, "code") or None,
            limit=count_in(found, "limit", least=1, most=MOST_LISTED, usual=USUALLY_LISTED),
            after=after,
        )

    def shows(self, job: StoredJob, now: float) -> bool:
        """Return whether a row is to be listed."""
        return not self._states or shown_state(job, now) in self._states


def _states(values: Iterable[str]) -> Iterable[str]:
    for state in (state for value in values for state in value.split(",") if state):
        if state not in _ROWS:
            raise invalid("state", f"{state[:40]!r} is not a state; there are: {', '.join(_ROWS)}")
        yield state


def _truth(found: Mapping[str, Sequence[str]], name: str) -> Any:
    text = last(found, name) or ""
    if text not in _TRUTHS:
        raise invalid(name, f"{text[:40]!r} cannot be used; write true or false")
    return _TRUTHS[text]
