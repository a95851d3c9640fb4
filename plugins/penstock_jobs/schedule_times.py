"""The times of a schedule, by cron in a time zone. Pure: no clock.

The days on which clocks are changed are handled as by Debian's cron. For schedules at fixed hours, a time that does not
exist is moved to the first one after the gap, and a time that exists twice counts once, the first time. Schedules whose
minute or hour begins with ``*`` follow the real time: each ``*/10`` is ten minutes after the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from penstock.hooks import Schedule


class ScheduleTimes:
    """The instants at which a schedule is due.

    Parameters
    ----------
    schedule:
        The declaration.

    Raises
    ------
    ValueError
        If ``cron`` is not a cron expression, or never matches.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._cron = schedule.cron
        self._zone = ZoneInfo(schedule.timezone)
        try:
            next(CronSim(self._cron, datetime(2000, 1, 1, tzinfo=UTC)))
        except CronSimError as error:
            raise ValueError(f"schedule {schedule.name!r}: {self._cron!r} is not a cron expression: {error}") from None
        except StopIteration:
            raise ValueError(f"schedule {schedule.name!r}: {self._cron!r} never comes") from None

    def after(self, instant: float) -> float:
        """Return the first time after an instant. Both are in Unix seconds."""
        return next(self._from(instant))

    def latest(self, instant: float) -> float:
        """Return the last time that is not after an instant."""
        # Backwards from the hour that exists twice, CronSim misses the last time; so forwards again from what it finds.
        local = datetime.fromtimestamp(int(instant), tz=self._zone)
        found = next(CronSim(self._cron, local, reverse=True)).timestamp()
        for following in self._from(found):
            if following > instant:
                break
            found = following
        return found

    def _from(self, instant: float) -> Iterator[float]:
        """Yield the times after an instant."""
        # In the hour that exists twice, CronSim begins anew with times that are over.
        local = datetime.fromtimestamp(instant, tz=self._zone)
        latest = instant
        for at in map(datetime.timestamp, CronSim(self._cron, local)):
            if at > latest:
                latest = at
                yield at


def nominal_text(nominal: float) -> str:
    """Return a nominal time as it stands in a job's id: ``2027-03-28T01:00:00Z``."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=nominal)).strftime("%Y-%m-%dT%H:%M:%SZ")


def nominal_of(text: str) -> float | None:
    """Return the nominal time in the id of a job; None if there is none."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
