"""The services of one engine: their life, and the engine as they see it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from penstock.app import App
from penstock.body_files import Body
from penstock.engine.calls import Call
from penstock.engine.reactors.reactor import Callback, Reactor, TimerHandle
from penstock.errors import EngineError
from penstock.hooks.guarded_services import GuardedService
from penstock.hooks.program_jobs import CallerJobs, ProgramJobs
from penstock.hooks.routes import RouteRequest
from penstock.hooks.services import OnReport, StoredSubmission
from penstock.hooks.submission import Submission
from penstock.job_store import JobStore
from penstock.scheduler import Scheduler


class ServedEngine(Protocol):
    """The part of the engine that services use, through ``EngineForService``."""

    app: App
    reactor: Reactor
    scheduler: Scheduler
    draining: bool
    on_readiness: Callable[[], None] | None

    def submit(
        self,
        submission: Submission,
        body: Body,
        *,
        headers: dict[str, str] | None = None,
        on_report: OnReport | None = None,
    ) -> Call:
        """Submit a job."""


class EngineServices:
    """The services of one engine.

    Parameters
    ----------
    engine:
        The engine.
    services:
        The services, guarded.
    job_store:
        The store of background jobs, if a plug-in provides one.
    """

    def __init__(
        self, engine: ServedEngine, services: Sequence[GuardedService], job_store: JobStore | None = None
    ) -> None:
        self._scheduler = engine.scheduler
        self._served = [EngineForService(engine, service, job_store) for service in services]
        self._free = self._ended = 0

    def start(self, after_turn: list[Callback]) -> None:
        """Start all; if one cannot be started, stop the others, and raise its error.

        Parameters
        ----------
        after_turn:
            The callbacks at the end of each turn of the engine. One is added if there are services.
        """
        if self._served:
            after_turn.append(self._after_turn)
        try:
            for served in self._served:
                served.service.start(served)
        except BaseException:
            self.stop()
            raise

    def unready_reasons(self) -> list[str]:
        """Return why the services want no work yet; empty if they do."""
        reasons = [served.service.unready_reason() for served in self._served]
        return [reason for reason in reasons if reason is not None]

    def status(self) -> dict[str, Any]:
        """Return their part of the status page, by plug-in; empty if they have none."""
        found = {served.service.name: served.service.status() for served in self._served}
        known = {name: status for name, status in found.items() if status is not None}
        return {"services": known} if known else {}

    @property
    def jobs(self) -> ProgramJobs:
        """The background jobs of the first service that has some.

        Raises
        ------
        EngineError
            If none has.
        """
        jobs = self._jobs()
        if jobs is None:
            raise EngineError(
                "no plug-in runs background jobs; install penstock[jobs], and name a store in the setting 'store' of "
                "plug-in 'jobs'"
            )
        return jobs

    def jobs_of(self, request: RouteRequest) -> CallerJobs | None:
        """Return the background jobs that the caller of a route sees; None if no service has any."""
        jobs = self._jobs()
        return None if jobs is None else jobs.seen_by(request.principal)

    def _jobs(self) -> ProgramJobs | None:
        found = (served.service.jobs for served in self._served)
        return next((jobs for jobs in found if jobs is not None), None)

    def drain(self, deadline: float) -> None:
        """Have them give the engine no more jobs."""
        for served in self._served:
            served.service.drain(deadline)

    def stop(self) -> None:
        """End all, and their tasks; the last one first."""
        for served in reversed(self._served):
            served.service.stop()
            served.end()

    def _after_turn(self) -> None:
        """Call those that wait for free slots, if attempts have ended or workers have come in this turn."""
        scheduler = self._scheduler
        free = sum(worker.free for pool in scheduler.pools.values() for worker in pool.working())
        ended = max((worker.latest for worker in scheduler.workers.values()), default=0) - len(scheduler.attempts)
        if free > self._free or ended > self._ended:
            for served in self._served:
                served.slots_freed()
        self._free, self._ended = free, ended


class EngineForService:
    """The engine as one service sees it: a ``ServiceEngine``.

    Parameters
    ----------
    engine:
        The engine.
    service:
        The service, whose callbacks are guarded.
    job_store:
        The store of background jobs; None if no plug-in provides one.
    """

    def __init__(self, engine: ServedEngine, service: GuardedService, job_store: JobStore | None = None) -> None:
        self.service = service
        self.job_store = job_store
        self._engine = engine
        self._tasks: set[TimerHandle] = set()
        self._is_over = False
        self.slots_freed: Callback = _do_nothing

    def __repr__(self) -> str:
        return f"<EngineForService {self.service!r}>"

    @property
    def app(self) -> App:
        """The app that is served."""
        return self._engine.app

    @property
    def draining(self) -> bool:
        """True once a drain has begun."""
        return self._engine.draining

    def time(self) -> float:
        """Return the current instant of ``time.monotonic``."""
        return self._engine.reactor.time()

    def call_at(self, when: float, callback: Callback) -> TimerHandle:
        """Call ``callback`` at the instant ``when``, unless the service has ended by then."""
        return self._engine.reactor.call_at(when, self._while_alive(callback))

    def call_soon_threadsafe(self, callback: Callback) -> object:
        """Call ``callback`` on the engine's thread, unless the service has ended by then. Callable from any thread."""
        return self._engine.reactor.call_soon_threadsafe(self._while_alive(callback))

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> TimerHandle:
        """Run a coroutine on the engine's loop, until it ends or the service does."""
        task = self._engine.reactor.create_task(self._guarded(coroutine))
        self._tasks.add(task)
        return task

    def spare_slots(self, endpoint: str) -> int:
        """Return how many more jobs of an endpoint would begin at once."""
        return self._engine.scheduler.spare_slots(self._engine.scheduler.lanes[endpoint])

    def slots(self, endpoint: str) -> int:
        """Return how many jobs of an endpoint its workers can run at a time."""
        return self._engine.scheduler.slots(self._engine.scheduler.lanes[endpoint])

    def watch_slots(self, callback: Callback) -> None:
        """Have ``callback`` called whenever slots have become free."""
        self.slots_freed = self._while_alive(callback)

    def note_readiness(self) -> None:
        """Have the engine ask for ``unready_reason`` again."""
        if self._engine.on_readiness is not None:
            self._engine.on_readiness()

    def is_working(self, call: Call) -> bool:
        """Return whether a worker still runs code for a job, which may have its outcome already."""
        return any(call in attempt.jobs for attempt in self._engine.scheduler.attempts.values())

    def submit(
        self,
        submission: StoredSubmission,
        body: Body,
        *,
        headers: Mapping[str, str] | None = None,
        on_report: OnReport | None = None,
    ) -> Call:
        """Submit a job, and return at once."""
        heard = None if on_report is None else self.service.safely(on_report)
        return self._engine.submit(submission, body, headers=dict(headers or {}), on_report=heard)

    def end(self) -> None:
        """Cancel the tasks of the service; nothing of it is called any more."""
        self._is_over = True
        self.slots_freed = _do_nothing
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    def _while_alive(self, callback: Callback) -> Callback:
        safely: Callable[[], None] = self.service.safely(callback)
        return lambda: None if self._is_over else safely()

    async def _guarded(self, coroutine: Coroutine[Any, Any, None]) -> None:
        await self.service.awaited(coroutine)


def _do_nothing() -> None:
    pass
