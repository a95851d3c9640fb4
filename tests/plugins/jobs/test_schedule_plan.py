"""The times of schedules, with days on which clocks are changed, and clocks that jump."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from penstock.errors import PluginError
from penstock.hooks import Schedule
from penstock_jobs.schedule_plan import SchedulePlan
from penstock_jobs.schedule_runner import check_schedules
from penstock_jobs.schedule_times import ScheduleTimes, nominal_of, nominal_text

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
DAY = 86_400.0


def instant(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def schedule(cron: str, timezone: str = "UTC", name: str = "s") -> Schedule:
    return Schedule(name, cron, "e", b"null", timezone)


def times_of_day(cron: str, timezone: str, day: str) -> list[str]:
    """Return the times of one local day, as the local clock shows them, with the offset."""
    zone = ZoneInfo(timezone)
    start = datetime.fromisoformat(day).replace(tzinfo=zone)
    end = (start + timedelta(days=1)).timestamp()
    times, at = ScheduleTimes(schedule(cron, timezone)), start.timestamp() - 1
    found = []
    while (at := times.after(at)) < end:
        found.append(datetime.fromtimestamp(at, tz=zone).strftime("%H:%M%z"))
    return found


@pytest.mark.parametrize(
    ("cron", "timezone", "day", "times"),
    [
        # The hour from two to three does not exist: the first time after it.
        ("30 2 * * *", BERLIN, "2027-03-28", ["03:00+0200"]),
        ("0,30 2 * * *", BERLIN, "2027-03-28", ["03:00+0200"]),
        ("0 2,3 * * *", BERLIN, "2027-03-28", ["03:00+0200"]),
        ("30 2 * * *", NEW_YORK, "2027-03-14", ["03:00-0400"]),
        # It exists twice: the first time.
        ("30 2 * * *", BERLIN, "2027-10-31", ["02:30+0200"]),
        ("0 3 * * *", BERLIN, "2027-10-31", ["03:00+0100"]),
        ("30 1 * * *", NEW_YORK, "2027-11-07", ["01:30-0400"]),
        ("0 1,2 * * *", NEW_YORK, "2027-11-07", ["01:00-0400", "02:00-0500"]),
        # On any other day.
        ("30 2 * * *", BERLIN, "2027-03-29", ["02:30+0200"]),
        ("0 0 L * *", BERLIN, "2028-02-29", ["00:00+0100"]),
    ],
)
def test_the_clocks_are_changed(cron: str, timezone: str, day: str, times: list[str]) -> None:
    """A daily schedule has one time each day, whatever the clocks do."""
    assert times_of_day(cron, timezone, day) == times


@pytest.mark.parametrize(("day", "hours"), [("2027-03-28", 23), ("2027-10-31", 25), ("2027-10-30", 24)])
def test_schedules_of_every_hour_follow_the_real_time(day: str, hours: int) -> None:
    """No hour is left out, none has two jobs."""
    assert len(times_of_day("0 * * * *", BERLIN, day)) == hours
    assert len(times_of_day("*/10 * * * *", BERLIN, day)) == hours * 6


@pytest.mark.parametrize("cron", ["30 2 * * *", "0,30 1,2,3 * * *", "*/20 * * * *", "15 * * * *", "45 1-3 * * SUN"])
@pytest.mark.parametrize(
    ("timezone", "start"),
    [
        (BERLIN, "2027-03-27T12:00"),
        (BERLIN, "2027-10-30T12:00"),
        (NEW_YORK, "2027-03-13T12:00"),
        (NEW_YORK, "2027-11-06T12:00"),
        ("Australia/Lord_Howe", "2027-04-03T00:00"),  # where the clocks are changed by half an hour
    ],
)
def test_each_time_is_due_once(cron: str, timezone: str, start: str) -> None:
    """Every time that lies ahead comes, in order, when it has come and not before, in two days of any kind."""
    begin = now = instant(start)
    plan = SchedulePlan([schedule(cron, timezone)], begin)
    seen: list[float] = []
    while now < begin + 2 * DAY:
        before, now = now, now + 420
        for name, nominal in plan.due(now):
            assert before < nominal <= now
            seen.append(nominal)
            plan.done(name, nominal)
        following = plan.next(now)
        assert following is not None
        assert following > now
        assert plan.due(now) == []
    times, at, expected = ScheduleTimes(schedule(cron, timezone)), begin, []
    while (at := times.after(at)) <= now:
        expected.append(at)
    assert seen == expected


def test_of_missed_times_the_last_one_is_due() -> None:
    """After a stop of three days, one job, with the time of the last night."""
    plan = SchedulePlan([schedule("0 3 * * *")], instant("2027-05-04T12:00"))
    plan.resume("s", instant("2027-05-01T03:00"))
    assert plan.due(instant("2027-05-04T12:00")) == [("s", instant("2027-05-04T03:00"))]


def test_a_new_schedule_has_missed_nothing() -> None:
    """Its first time is the next one."""
    now = instant("2027-05-04T12:00")
    plan = SchedulePlan([schedule("0 0 1 1 *")], now)
    assert plan.due(now) == []
    assert plan.next(now) == instant("2028-01-01T00:00")


def test_a_time_is_due_until_it_is_done() -> None:
    """If the store refuses the job, it is asked again; a later time takes the place of the earlier one."""
    plan = SchedulePlan([schedule("0 * * * *")], instant("2027-05-04T12:30"))
    assert plan.due(instant("2027-05-04T13:00")) == [("s", instant("2027-05-04T13:00"))]
    assert plan.due(instant("2027-05-04T13:01")) == [("s", instant("2027-05-04T13:00"))]
    assert plan.due(instant("2027-05-04T14:00")) == [("s", instant("2027-05-04T14:00"))]
    plan.done("s", instant("2027-05-04T14:00"))
    assert plan.due(instant("2027-05-04T14:00")) == []


def test_a_clock_that_is_set_back_offers_times_again() -> None:
    """The store knows which of them have had their job; without the jump none would be due."""
    plan = SchedulePlan([schedule("*/30 * * * *")], instant("2027-05-04T12:10"))
    [(name, nominal)] = plan.due(instant("2027-05-04T13:10"))
    plan.done(name, nominal)
    assert plan.due(instant("2027-05-04T13:10")) == []
    assert plan.due(instant("2027-05-04T12:10")) == []
    assert plan.due(instant("2027-05-04T12:31")) == [("s", instant("2027-05-04T12:30"))]


@pytest.mark.parametrize(
    ("timezone", "day"),
    [
        (BERLIN, "2027-03-28"),
        (BERLIN, "2027-10-31"),
        (NEW_YORK, "2027-03-14"),
        (NEW_YORK, "2027-11-07"),
        ("Australia/Lord_Howe", "2027-10-03"),
    ],
)
@pytest.mark.parametrize("cron", ["30 2 * * *", "0,30 1,2,3 * * *", "*/20 * * * *", "15 * * * *"])
def test_the_latest_time_is_the_one_before_the_next(cron: str, timezone: str, day: str) -> None:
    """At every second of a change, and at any other: looking back and looking ahead agree."""
    times = ScheduleTimes(schedule(cron, timezone))
    begin = instant(day) - DAY
    listed, at = [], begin - DAY
    while at < begin + 3 * DAY:
        listed.append(at := times.after(at))
    dice = random.Random(day)
    edges = [edge + offset for edge in listed for offset in (-1, 0, 1)]
    for now in [*edges, *(begin + dice.uniform(0, 2 * DAY) for _ in range(300))]:
        if listed[0] <= now < listed[-1]:
            assert times.latest(now) == max(each for each in listed if each <= now)


def test_schedules_do_not_affect_each_other() -> None:
    """Each has its own times, in its own time zone."""
    plan = SchedulePlan(
        [schedule("0 3 * * *", BERLIN, "a"), schedule("0 3 * * *", NEW_YORK, "b")], instant("2027-05-04T00:00")
    )
    assert plan.due(instant("2027-05-04T01:00")) == [("a", instant("2027-05-04T01:00"))]
    plan.done("a", instant("2027-05-04T01:00"))
    assert plan.due(instant("2027-05-04T07:00")) == [("b", instant("2027-05-04T07:00"))]
    assert SchedulePlan([], 0.0).next(0.0) is None


@pytest.mark.parametrize("cron", ["60 3 * * *", "0 3 * * FOO", "x 3 * * *", "0 3 31 2 *", "0 3 30 2 *"])
def test_an_expression_that_never_comes_is_refused(cron: str) -> None:
    """When the server starts, with the name of the schedule."""
    with pytest.raises(PluginError, match="schedule 's'"):
        check_schedules([schedule(cron)])


def test_a_nominal_time_is_written_in_utc() -> None:
    """The id of a job is the same in every engine, whatever its time zone."""
    assert nominal_text(instant("2027-03-28T01:00")) == "2027-03-28T01:00:00Z"
    assert nominal_of("2027-03-28T01:00:00Z") == instant("2027-03-28T01:00")
    assert nominal_of("tomorrow") is None
