"""The engine: what its callers and its host use. ``performer.py`` is its loop.

Everything runs on one thread, the reactor's. There is no lock, and nothing blocks.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from penstock.app import App, Endpoint
from penstock.body_files import Body
from penstock.engine.accepted_calls import AcceptedCalls
from penstock.engine.calls import Call
from penstock.engine.engine_drain import EngineDrain
from penstock.engine.engine_services import EngineServices
from penstock.engine.observers import Observers
from penstock.engine.operator_log import log_refusal
from penstock.engine.performer import Performer
from penstock.engine.reactors.reactor import Reactor
from penstock.engine.route_calls import RouteCalls
from penstock.engine.specs import lane_specs, pool_specs, require_scalable
from penstock.engine.status import StatusPage
from penstock.errors import Draining, EngineError, NotFound, PenstockError
from penstock.hooks.pipeline import access_check
from penstock.hooks.records import ShutdownRequest
from penstock.hooks.registry import Registry
from penstock.hooks.services import OnReport
from penstock.hooks.submission import Submission
from penstock.scheduler import Job, Scheduler
from penstock.scheduler import events as on
from penstock.scheduler.reports import AnyReport, PoolFailedReport, WorkerReadyReport


class Engine:
    """The owner of the scheduler and the workers of one app.

    Parameters
    ----------
    app:
        The app to serve.
    reactor:
        The loop to run on.
    target:
        Where the worker processes find the app, as ``penstock.app.loader`` reads it.
    registry:
        The plug-ins. Default: the installed ones, and the app's own.

    Attributes
    ----------
    failure:
        The reason why a pool could not be started, and never will be; None if none has failed.
    on_pools_failed:
        Called with that reason, once for each such pool; set it before ``start``.
    on_readiness:
        Called whenever a worker has become ready.
    on_shutdown:
        Called when ``shutdown`` has begun a drain, for a host that has more to stop than the engine.
    reload:
        Called with ``who`` and ``why``; has the host load the app again, or returns False if it cannot.
    longest_drain:
        The longest drain that the host allows, in seconds.
    route_calls, services:
        The requests to routes that wait or stream, and the services of plug-ins.
    draining, closed:
        True once a drain has begun, and once it has ended or ``close`` was called: no new work is accepted.
    """

    def __init__(self, app: App, reactor: Reactor, target: str, *, registry: Registry | None = None) -> None:
        app.freeze()
        self.app, self.reactor = app, reactor
        self.failure: str | None = None
        self.on_pools_failed: Callable[[str], None] | None = None
        self.on_readiness: Callable[[], None] | None = None
        self.on_shutdown: Callable[[ShutdownRequest], None] | None = None
        self.reload: Callable[..., bool] = lambda **_: False
        self.longest_drain = math.inf
        self.registry = registry if registry is not None else Registry.load(app)
        self.registry.observe(app)
        self.registry.failures.run_in_engine = reactor.call_soon_threadsafe
        self._observers = Observers(self.registry, reactor.time, _submission_of)
        self._drain = EngineDrain(self.registry.shutdown_policy(app), self._observers, reactor.time)
        self.scheduler = Scheduler(pool_specs(app), lane_specs(app, self.registry), draw=random.random)
        self.performer = Performer(
            app, reactor, self.scheduler, target, observers=self._observers, on_report=partial(_note, self)
        )
        self.status_page = StatusPage(
            self.scheduler, self._observers, reactor.time, pid_of=self.performer.pid_of, request_id_of=_request_id_of
        )
        self.status_page.of_pool = self.performer.template_of
        self.route_calls = RouteCalls(self)
        self.services = EngineServices(self, self.registry.services(app), self.registry.job_store(app))
        self._accepted, self.require_access = AcceptedCalls(self, self.registry), access_check(self.registry, app)
        self.jobs_of = self.services.jobs_of
        self._endpoints = {endpoint.name: endpoint for endpoint in app.endpoints}
        self._is_started = self.draining = self.closed = False

    def __repr__(self) -> str:
        return f"<Engine of {self.app.import_name}: {self.scheduler!r}>"

    # ---- life

    def start(self) -> None:
        """Start the processes and return at once, while the models load. ``unready_reasons`` is empty when they have.

        Raises
        ------
        EngineError
            If the engine was started before.
        """
        if self._is_started:
            raise EngineError("the engine is already started")
        self.services.start(self.performer.after_turn)
        self._is_started = True
        self.performer.start()

    def drain(
        self, timeout: float, on_drained: Callable[[], None] | None = None, *, who: str = "the program", why: str = ""
    ) -> None:
        """Finish the admitted jobs and refuse new ones. Only the first drain of an engine counts.

        Parameters
        ----------
        timeout:
            Seconds after which the remaining jobs are answered ``draining`` and stopped; the shutdown policy may grant
            fewer.
        on_drained:
            Called when no job and no process is left; at once if that is the case already.
        who, why:
            For the observers.
        """
        if on_drained is not None:
            self._drain.on_ended.append(on_drained)
            self.performer.after_turn.append(partial(_close_if_drained, self))
        if self.closed:
            self._drain.call_back()
        elif self._drain.request is None:
            wish = ShutdownRequest(drain=timeout, who=who, why=why)
            deadline = self._drain.begin(wish, self.longest_drain, self.scheduler.jobs_live)
            self.draining = True
            self.services.drain(deadline)
            self.performer.receive(on.DrainRequested(deadline))

    def shutdown(
        self, drain: float, *, who: str = "the program", why: str = "", on_drained: Callable[[], None] | None = None
    ) -> None:
        """Drain, then close; return at once. A server around the engine stops with it.

        The parameters are those of ``drain``.
        """
        self.drain(drain, on_drained or _do_nothing, who=who, why=why)
        if self.on_shutdown is not None and self._drain.request is not None:
            self.on_shutdown(self._drain.request)

    def pause(self, *, who: str = "the program", why: str = "") -> None:
        """Take the engine out of rotation: new work is refused, admitted jobs go on, the workers stay."""
        if not self.closed:
            self.performer.receive(on.PauseRequested(who, why))

    def resume(self, *, who: str = "the program", why: str = "") -> None:
        """Accept work again. This does not undo a drain."""
        if not self.closed:
            self.performer.receive(on.ResumeRequested(who, why))

    def scale(self, pool: str, workers: int, *, who: str = "the program") -> None:
        """Change the number of a pool's workers, besides its spares. Those that are too many finish, and exit.

        Raises
        ------
        NotFound, InvalidRequest, NotReady, Draining
            If there is no such pool, the number is out of bounds, the pool has failed, or the engine is stopping.
        """
        require_scalable(self.scheduler, pool, workers, is_open=self._is_started and not self.closed)
        self.performer.receive(on.ScaleRequested(pool, workers, who))

    def close(self) -> None:
        """Kill the remaining processes and free everything before returning. Unanswered jobs fail with ``Draining``."""
        if self.closed:
            return
        self.closed = True
        self.performer.close()
        left = _abandon(self.scheduler.live_jobs(), self.reactor.time(), self._observers)
        if self._is_started:
            self._drain.end(self.scheduler, left)
            self.services.stop()
        self._drain.call_back()
        self.route_calls.close(Draining("the server has stopped"))

    def bound_bodies(self, most_bytes: int) -> None:
        """Set the most bytes of large bodies that may arrive or wait at the same time, instead of 256 MiB."""
        self.scheduler.state.max_queue_bytes = most_bytes

    # ---- calls

    def endpoint(self, name: str) -> Endpoint:
        """Return the endpoint of that name, or raise ``NotFound``."""
        if name not in self._endpoints:
            raise NotFound(f"there is no endpoint {name!r}; there are: {', '.join(self._endpoints) or 'none'}")
        return self._endpoints[name]

    def check_room(self, endpoint: Endpoint, size_bytes: int = 0) -> None:
        """Return if a job with a body of this size would be admitted now.

        Raises
        ------
        Draining, QueueFull, NotReady
            If it would be refused.
        EngineError
            If the engine is not started.
        """
        if self.closed:
            raise Draining("the server has stopped")
        if not self._is_started:
            raise EngineError("the engine is not started")
        refusal = self.scheduler.refusal(self.scheduler.lanes[endpoint.name], size_bytes)
        if refusal is not None:
            try:
                raise refusal
            finally:
                del refusal  # the traceback holds this frame, which must not hold the error in return

    def begin_upload(self, endpoint: Endpoint, size_bytes: int) -> Callable[[], None]:
        """Check that there is room for a large body, and count it until the returned function is called."""
        self.check_room(endpoint, size_bytes)
        return self.performer.begin_upload(size_bytes)

    def submit(
        self,
        submission: Submission,
        body: Body,
        *,
        headers: dict[str, str] | None = None,
        on_report: OnReport | None = None,
    ) -> Call:
        """Submit a job and return at once.

        Parameters
        ----------
        submission:
            The request as its policies have left it: what is called, by whom, how urgently and for how long. Its
            admission policies are released when the job has ended; if this method raises, release them with ``refuse``.
        body:
            The undecoded request body. A large one is best in a file.
        headers:
            The request's headers, names in lower case, for the context, which omits the caller's credential.
        on_report:
            Called with each progress report of the handler; must not raise.

        Raises
        ------
        Draining, QueueFull, NotReady
            If the job is refused.
        EngineError
            If the engine is not started.
        """
        if self.closed or not self._is_started:
            self.check_room(submission.endpoint)  # type: ignore[arg-type] # a route never becomes a job
        if (accepted := self._accepted.begin(submission, body, headers)) is not None:
            return accepted  # type: ignore[return-value] # it has what is used of a call
        call = _call_of(self, submission, body, headers, on_report)
        self.performer.receive(on.Submitted(call, submission.elapsed))
        if not call.admitted:
            try:
                raise call.outcome
            finally:
                del call  # as in check_room; the call holds the error
        return call

    def refuse(self, submission: Submission, error: PenstockError) -> None:
        """Release the admission policies and notify observers: the request was refused and will not become a job."""
        log_refusal(submission, error)
        self._observers.refused(submission, error)

    # ---- state

    def unready_reasons(self) -> list[str]:
        """Return why work should not be sent here now; empty if it should."""
        if self.closed or not self._is_started:
            return ["stopped" if self.closed else "not started"]
        return self.scheduler.unready_reasons() + self.services.unready_reasons()

    def status(self) -> dict[str, Any]:
        """Return the content of the status page, ready for JSON. Times are in seconds."""
        return self.status_page.render(self.unready_reasons()) | self.services.status()


def _call_of(
    engine: Engine, submission: Submission, body: Body, headers: dict[str, str] | None, on_report: OnReport | None
) -> Call:
    if headers and submission.credential_headers:
        headers = {name: value for name, value in headers.items() if name not in submission.credential_headers}
    lane = engine.scheduler.lanes[submission.endpoint.name]
    return Call(engine.performer, lane, submission, body, headers=headers, on_report=on_report)


def _note(engine: Engine, report: AnyReport) -> None:
    if type(report) is WorkerReadyReport and engine.on_readiness is not None:
        engine.on_readiness()
    elif type(report) is PoolFailedReport:
        engine.failure = report.error
        if engine.on_pools_failed is not None:
            engine.on_pools_failed(report.error)


def _close_if_drained(engine: Engine) -> None:
    if engine.scheduler.is_drained:
        engine.close()


def _abandon(jobs: list[Job], now: float, observers: Observers) -> int:
    """Answer the jobs that are left when the engine is closed; return their number."""
    for call in jobs:
        assert type(call) is Call
        call.settle(now)
        call.outcome = Draining("the server has stopped")
        call.lane.counts.record(Draining.code, call.queue_seconds, call.execution_seconds)
        observers.job_answered(call)
        call.close()
    return len(jobs)


def _submission_of(job: Job) -> Submission:
    assert type(job) is Call
    return job.submission


def _request_id_of(job: Job) -> str:
    return _submission_of(job).request_id


def _do_nothing() -> None:
    pass
