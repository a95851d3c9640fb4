"""Progress reports on their way from a worker to those who listen."""

from __future__ import annotations

from collections.abc import Callable

from penstock.engine.calls import Call
from penstock.engine.observers import Observers
from penstock.scheduler import Scheduler
from penstock.wire import PROGRESS_BURST, PROGRESS_PER_SECOND, Progress

_ALLOWANCE = 1.2  # clocks and scheduling: a worker that keeps to its limit is never taken for one that does not


class ProgressRelay:
    """Passes the reports of attempts on to the callers of their jobs, and to observers.

    Parameters
    ----------
    scheduler:
        Knows the attempts.
    observers:
        The observers of plug-ins.
    time:
        The engine's clock.
    """

    def __init__(self, scheduler: Scheduler, observers: Observers, time: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._observers = observers
        self._time = time

    def receive(self, worker: int, progress: Progress) -> str | None:
        """Pass a report on; return why this worker cannot have sent it, or None if it can."""
        attempt = self._scheduler.attempts.get(progress.attempt)
        if attempt is None:  # it has ended; a thread that the handler has left behind may go on reporting
            return None
        if attempt.worker.id != worker:
            return f"it has reported the progress of attempt {attempt.id}, which is not its own"
        for job in attempt.jobs:
            assert type(job) is Call
            job.reports += 1
            if job.reports > self._most(job):
                limit = f"more than {PROGRESS_PER_SECOND} times a second"
                return f"it has reported the progress of attempt {attempt.id} {limit}"
            if job.outcome is None:
                self._pass_on(job, progress)
        return None

    def _most(self, call: Call) -> float:
        """Return the most reports that a job can have by now."""
        seconds = self._time() - call.arrived
        return _ALLOWANCE * (PROGRESS_BURST * (call.attempts + 1) + PROGRESS_PER_SECOND * seconds)

    def _pass_on(self, call: Call, progress: Progress) -> None:
        if call.on_report is not None:
            call.on_report(progress)
        if self._observers.see_progress:
            self._observers.job_progressed(call, call.job_id, progress)
