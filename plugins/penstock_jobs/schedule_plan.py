"""The plan of all schedules of an app: which are due, and when to look again. Pure: no clock, no store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.hooks import Schedule
from penstock_jobs.schedule_times import ScheduleTimes


@dataclass
class _Planned:
    times: ScheduleTimes
    done: float
    """The last nominal time that has its job, or the start."""
    looked_at: float = 0.0
    next_at: float = 0.0
    """No time after ``done`` comes before this one."""


class SchedulePlan:
    """The nominal times that are due.

    Parameters
    ----------
    schedules:
        The declarations.
    now:
        The current instant, in Unix seconds. Earlier times are not due, until ``resume`` says otherwise.

    Raises
    ------
    ValueError
        If one has no valid cron expression.
    """

    def __init__(self, schedules: Iterable[Schedule], now: float) -> None:
        self._planned = {schedule.name: _Planned(ScheduleTimes(schedule), now) for schedule in schedules}

    def __repr__(self) -> str:
        return f"<SchedulePlan: {', '.join(self._planned) or 'no schedules'}>"

    def resume(self, name: str, nominal: float) -> None:
        """Note, at the start, the last nominal time that has had its job: later ones that were missed are due."""
        planned = self._planned[name]
        planned.done, planned.next_at = nominal, 0.0

    def due(self, now: float) -> list[tuple[str, float]]:
        """Return the names and nominal times that are due, and are so until they are done.

        Of several missed times of one schedule it is the last one.
        """
        return [(name, latest) for name, planned in self._planned.items() if (latest := _due(planned, now)) is not None]

    def done(self, name: str, nominal: float) -> None:
        """Note that a nominal time has its job, whichever engine has stored it."""
        planned = self._planned[name]
        planned.done = max(planned.done, nominal)

    def next(self, now: float) -> float | None:
        """Return the instant of the next time after now; None without schedules."""
        return min((planned.times.after(now) for planned in self._planned.values()), default=None)


def _due(planned: _Planned, now: float) -> float | None:
    if now < planned.looked_at:
        # The clock was set back. Times are due again, as the clock may have been wrong since the start. The store
        # refuses those that have had their job.
        planned.done, planned.next_at = min(planned.done, now), 0.0
    planned.looked_at = now
    if now < planned.next_at:
        return None
    latest = planned.times.latest(now)
    if latest > planned.done:
        return latest
    planned.next_at = planned.times.after(now)
    return None
