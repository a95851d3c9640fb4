"""The runner of schedules: stores a job for each nominal time. Every engine has one, and the first to store it wins."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from penstock.errors import PluginError
from penstock.hooks import Schedule, log_event
from penstock.job_store import JobQuery, JobStore, NewJob
from penstock_jobs.job_ids import SCHEDULED
from penstock_jobs.schedule_plan import SchedulePlan
from penstock_jobs.schedule_times import ScheduleTimes, nominal_of, nominal_text

JobOf: TypeAlias = Callable[[NewJob, Schedule], NewJob]
"""Completes the job of a schedule by the options of its endpoint."""

STEP_SECONDS: Final = 1.0
"""The interval at which the clock is looked at, which may jump."""
STORE_SECONDS: Final = 30.0
KEPT_SECONDS: Final = 604_800.0
MOST_LOOKED_AT: Final = 100


def check_schedules(schedules: Sequence[Schedule]) -> None:
    """Check the cron expressions of an app's schedules; for the ``check`` of a plug-in.

    Raises
    ------
    PluginError
        If one is not valid, or never matches.
    """
    try:
        SchedulePlan(schedules, 0.0)
    except ValueError as error:
        raise PluginError(str(error)) from None


def scheduled_job(schedule: Schedule, nominal: float) -> NewJob:
    """Return the job of a schedule for a nominal time.

    Its id is ``schedule:NAME:TIME``, which callers cannot choose, and its group is ``schedule:NAME``. The record is
    kept until the job after it has run, so that a server that starts later knows that the schedule is not new.
    """
    following = ScheduleTimes(schedule).after(nominal)
    return NewJob(
        id=f"{_group_of(schedule)}:{nominal_text(nominal)}",
        is_named=True,
        endpoint=schedule.endpoint,
        request=schedule.input,
        group=_group_of(schedule),
        metadata={"schedule": schedule.name, "nominal_time": nominal_text(nominal)},
        record_ttl=following - nominal + KEPT_SECONDS,
    )


class ScheduleRunner:
    """Stores the jobs of an app's schedules, from a thread of its own.

    Parameters
    ----------
    store:
        The store, which has been started.
    schedules:
        The declarations.
    complete:
        Completes the job of a schedule by the options of its endpoint. Default: it stays as it is.
    clock:
        The wall clock, in Unix seconds.

    Raises
    ------
    PluginError
        If a cron expression is not valid.
    """

    def __init__(
        self,
        store: JobStore,
        schedules: Sequence[Schedule],
        *,
        complete: JobOf = lambda job, _: job,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_schedules(schedules)
        self._store = store
        self._schedules = {schedule.name: schedule for schedule in schedules}
        self._complete = complete
        self._clock = clock
        self._plan: SchedulePlan | None = None
        self._began: float | None = None
        self._failing: set[str] = set()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="penstock-schedules", daemon=True)

    def __repr__(self) -> str:
        return f"<ScheduleRunner: {', '.join(self._schedules) or 'no schedules'}>"

    def start(self) -> None:
        """Start, if there are schedules."""
        if self._schedules:
            self._thread.start()

    def drain(self, deadline: float) -> None:  # noqa: ARG002 - there is nothing to wait for
        """Store no further jobs. Another engine does, or this one after its restart."""
        self._is_stopping.set()

    def stop(self) -> None:
        """Store no further jobs, and wait for the thread, which is at most in one call of the store."""
        self._is_stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STEP_SECONDS)

    def step(self) -> None:
        """Store the jobs that are due. The thread calls this once a second; tests call it themselves."""
        now = self._clock()
        self._began = now if self._began is None else self._began
        try:
            self._plan = plan = self._plan or self._first_plan(self._began)
        except Exception as error:  # whatever is wrong with the store, the next step may succeed
            self._note_failure("schedules wait", error)
            return
        due = plan.due(now)
        self._failing &= {name for name, _ in due}
        for name, nominal in due:
            try:
                self._store_job(self._schedules[name], nominal, now)
            except Exception as error:  # one endpoint's queue may be full, and no other's
                self._note_failure(f"schedule {name!r} waits", error, name)
            else:
                plan.done(name, nominal)

    def _note_failure(self, what: str, error: Exception, name: str = "") -> None:
        if name not in self._failing:
            log_event(logging.WARNING, "schedule-waits", f"{what}: {type(error).__name__}: {error}", schedule=name)
        self._failing.add(name)

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            self.step()
            self._is_stopping.wait(STEP_SECONDS)

    def _first_plan(self, now: float) -> SchedulePlan:
        """Return the plan, which knows from the store what was missed. A new schedule has missed nothing."""
        plan = SchedulePlan(self._schedules.values(), now)
        for schedule in self._schedules.values():
            last = self._last_nominal(schedule)
            if last is not None:
                plan.resume(schedule.name, last)
        return plan

    def _last_nominal(self, schedule: Schedule) -> float | None:
        group = _group_of(schedule)
        # A caller may give a job of its own this group, but not such an id.
        page = self._store.list_jobs(JobQuery(group=group, limit=MOST_LOOKED_AT)).result(STORE_SECONDS)
        texts = [job.id.removeprefix(f"{group}:") for job in page.jobs if job.id.startswith(f"{group}:")]
        return max((at for at in map(nominal_of, texts) if at is not None), default=None)

    def _store_job(self, schedule: Schedule, nominal: float, now: float) -> None:
        job = self._complete(scheduled_job(schedule, nominal), schedule)
        put = self._store.put_scheduled(schedule.name, nominal, job, now=now).result(STORE_SECONDS)
        if put is not None:
            log_event(
                logging.INFO, "scheduled", f"schedule {schedule.name!r} is due", schedule=schedule.name, job=job.id
            )


def _group_of(schedule: Schedule) -> str:
    return f"{SCHEDULED}{schedule.name}"
