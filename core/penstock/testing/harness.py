"""A plug-in under test: what an app does with it, without processes, sockets or waiting.

::

    harness = PluginHarness(app, [MyPlugin], settings={"MyPlugin": {"limit": 1}})
    first = harness.request("square", headers={"X-Api-Key": "k"})
    assert harness.request("square").code == "rate-limited"
    harness.advance(1.0)
    assert first.code == "ok"

The requests, the policies, the scheduler and the records are the real ones; only the workers are fakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from penstock.app import App, Endpoint
from penstock.engine.observers import Observers
from penstock.engine.specs import lane_specs, pool_specs
from penstock.engine.status import StatusPage
from penstock.errors import NotFound, PenstockError
from penstock.hooks import records
from penstock.hooks.hookspecs import hookimpl
from penstock.hooks.pipeline import Pipeline, endpoint_pipeline, route_pipeline
from penstock.hooks.records import Record, ShutdownRequest
from penstock.hooks.registry import Registry
from penstock.hooks.routes import Route, RouteEngine, RouteRequest, RouteResponse
from penstock.hooks.settings import Sources
from penstock.hooks.submission import RANK_OF_PRIORITY, Submission
from penstock.scheduler import Job, Lane
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.testing.clock import MockClock
from penstock.testing.fake_engine import FakeEngine
from penstock.testing.fake_worker import Behaviour, FakeJob

RecordT = TypeVar("RecordT", bound=Record)

NOWHERE: Final = Path("/nowhere")  # so that no pyproject.toml of the folder the tests run in has a say
SETUP_SECONDS: Final = 1.0  # more than what a fake worker takes to set up


class Recorder:
    """Observes everything."""

    name = "penstock.testing"

    def __init__(self) -> None:
        self.records: list[Record] = []

    @hookimpl
    def penstock_observer(self) -> dict[type[Record], Any]:
        """Keep every record."""
        kinds = [kind for kind in vars(records).values() if isinstance(kind, type) and issubclass(kind, Record)]
        return {kind: self.records.append for kind in kinds if kind is not Record}


class FakeRequest:
    """A request, and what became of it.

    Attributes
    ----------
    submission:
        What the policies saw, with what they made of it: ``principal``, ``timeouts``, ``priority``, and
        ``response_headers``.
    behaviour:
        What the user's code does with it, if it comes so far.
    error:
        Why it was refused or failed; None if it succeeded, or is undecided.
    job:
        None if it was refused before there was one.
    """

    def __init__(self, submission: Submission, behaviour: Behaviour) -> None:
        self.submission = submission
        self.behaviour = behaviour
        self.error: PenstockError | None = None
        self.job: Job | None = None

    def __repr__(self) -> str:
        return f"<FakeRequest {self.request_id} of {self.endpoint.name}: {self.code or 'undecided'}>"

    @property
    def code(self) -> str | None:
        """``ok``, the code of the error, or None while it is undecided."""
        if self.error is not None:
            return self.error.code
        return "ok" if self.job is not None and self.job.outcome is not None else None

    @property
    def headers(self) -> dict[str, str]:
        """What the policies have added to the response."""
        return dict(self.submission.response_headers)

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that was called."""
        assert isinstance(self.submission.endpoint, Endpoint)
        return self.submission.endpoint

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self.submission.request_id

    @property
    def principal(self) -> str | None:
        """The caller's name, if an authenticator has identified the caller."""
        return None if self.submission.principal is None else self.submission.principal.name

    @property
    def queue_seconds(self) -> float | None:
        """Seconds that the job waited for its latest attempt; None if there was none."""
        return None if self.job is None or not self.job.attempts else self.job.queue_seconds

    @property
    def execution_seconds(self) -> float | None:
        """Seconds that the latest attempt took, if it has ended."""
        return None if self.job is None else self.job.execution_seconds


class RequestJob(FakeJob):
    """The job of a ``FakeRequest``."""

    __slots__ = ("request",)

    def __init__(self, lane: Lane, request: FakeRequest, size_bytes: int) -> None:
        submission = request.submission
        super().__init__(
            lane,
            submission.timeouts,
            size_bytes,
            request.behaviour,
            priority=RANK_OF_PRIORITY[submission.priority],
            share=submission.share,
        )
        self.request = request


def _submission_of(job: Any) -> Submission:
    submission: Submission = job.request.submission
    return submission


class PluginHarness(FakeEngine):
    """See the module's text.

    Parameters
    ----------
    app:
        What is served; the plug-ins and settings that it was declared with count too.
    plugins:
        More plug-ins: classes, objects or modules.
    settings:
        For the plug-ins, a table for each.
    environ:
        Environment variables, such as ``PENSTOCK_NAME_SETTING``. Those of the process do not count.
    clock:
        The time. Give the same one to a plug-in that looks at a clock.

    Attributes
    ----------
    registry:
        The plug-ins, and the core's defaults. Nothing that is installed takes part.
    records:
        All that was told to observers.

    Raises
    ------
    PluginError
        As a server would at its start: for a plug-in that does not fit, or wrong settings.
    """

    def __init__(
        self,
        app: App,
        plugins: Iterable[Any] = (),
        *,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        environ: Mapping[str, str] | None = None,
        clock: MockClock | None = None,
    ) -> None:
        self.app = app
        self._recorder = Recorder()
        sources = Sources({**app.settings, **(settings or {})}, environ or {}, NOWHERE)
        self.registry = Registry([*app.plugins, *plugins, self._recorder], sources=sources, app=app)
        self.registry.observe(app)
        clock = clock or MockClock()
        self._observers = Observers(self.registry, clock, _submission_of)
        self._grant_drain = self.registry.shutdown_policy(app)
        self._intakes: dict[str, Pipeline | None] = {
            endpoint.name: endpoint_pipeline(self.registry, endpoint) for endpoint in app.endpoints
        }
        self._routes: dict[tuple[str, str], Route] = {
            (route.method, route.path): route for route in self.registry.routes(app)
        }
        self._count = 0
        self._shutdown: ShutdownRequest | None = None
        self._drain_began = 0.0
        super().__init__(pool_specs(app), lane_specs(app, self.registry), clock=clock)
        self._status = StatusPage(
            self.scheduler,
            self.registry,
            clock,
            pid_of=lambda _worker: None,
            request_id_of=lambda job: _submission_of(job).request_id,
        )
        self._perform[do.Answer] = self._answer
        self._perform[do.Report] = self._report
        self.start()
        self.advance(SETUP_SECONDS)

    def __repr__(self) -> str:
        return f"<PluginHarness of {self.app.import_name}: {self.registry!r}>"

    @property
    def records(self) -> list[Record]:
        """All that was told to observers, the oldest first."""
        return self._recorder.records

    def records_of(self, kind: type[RecordT]) -> list[RecordT]:
        """Those of one type."""
        return [record for record in self.records if isinstance(record, kind)]

    # ---- asking

    def request(
        self,
        endpoint: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        address: str = "192.0.2.1",
        size_bytes: int = 0,
        behaviour: Behaviour = Behaviour.QUICK,
    ) -> FakeRequest:
        """Ask for something, as over HTTP; returns at once, with a refusal or with a job that needs its time.

        Parameters
        ----------
        endpoint:
            Its name. Default: the app's first.
        headers:
            Of the request, in any case.
        address:
            The client's.
        size_bytes:
            Of the body.
        behaviour:
            What the user's code does with it.

        Raises
        ------
        NotFound
            If there is no such endpoint.
        """
        target = next((e for e in self.app.endpoints if endpoint in ("", e.name)), None)
        if target is None:
            raise NotFound(f"there is no endpoint {endpoint!r}")
        submission = Submission(target, request_id=self._next_id(), header=_lookup(headers), address=address)
        request = FakeRequest(submission, behaviour)
        try:
            intake = self._intakes[target.name]
            if intake is not None:
                intake.pass_through(submission)
        except PenstockError as error:
            self._refuse(request, error)
            return request
        request.job = job = RequestJob(self.scheduler.lanes[target.name], request, size_bytes)
        self.receive(on.Submitted(job))
        if not job.admitted:
            request.job = None
            self._refuse(request, job.outcome)
        return request

    def route(
        self, path: str, method: str = "GET", *, headers: Mapping[str, str] | None = None, query: str = ""
    ) -> RouteResponse:
        """Ask a route for its answer. It is given this harness in the engine's place.

        Raises
        ------
        PenstockError
            If it refuses, or fails; ``NotFound`` if there is none.
        """
        if (method, path) not in self._routes:
            raise NotFound(f"there is no route {method} {path}")
        route = self._routes[method, path]
        submission = Submission(route, request_id=self._next_id(), header=_lookup(headers))
        intake = route_pipeline(self.registry, route)
        if intake is not None:
            intake.pass_through(submission)
        asked = RouteRequest(
            request_id=submission.request_id,
            method=method,
            path=path,
            header=submission.header,
            query=query,
            principal=submission.principal,
        )
        return route.handler(asked, cast("RouteEngine", self))

    def shutdown(self, drain: float = 30.0, *, who: str = "the program", why: str = "") -> float:
        """Begin to shut down; returns the seconds that the shutdown policy grants."""
        granted = self._grant_drain(ShutdownRequest(drain=drain, who=who, why=why))
        self._shutdown = ShutdownRequest(drain=granted, who=who, why=why)
        self._observers.drain_started(self._shutdown, self.scheduler.jobs_live)
        self._drain_began = self.clock.now
        self.drain(granted)
        return granted

    def unready_reasons(self) -> list[str]:
        """As of an engine, for routes."""
        return self.scheduler.unready_reasons()

    def status(self) -> dict[str, Any]:
        """As of an engine, for routes."""
        return self._status.render(self.unready_reasons())

    # ---- what happens

    def receive(self, event: on.Event) -> list[do.Command]:
        """See ``FakeEngine.receive``; the observers are told too."""
        if isinstance(event, on.ResultsArrived) and event.results[0] is not on.NOT_BEGUN:
            attempt = self.scheduler.attempts.get(event.attempt)
            if attempt is not None:
                self._observers.attempt_ended(attempt, attempt.live, event.seconds)
        commands = super().receive(event)
        wish = self._shutdown
        if wish is not None and self.scheduler.is_drained:
            self._shutdown = None
            state = self.scheduler.state
            seconds = self.clock.now - self._drain_began
            self._observers.drain_ended(wish, seconds, state.drain_answered, state.drain_abandoned)
        return commands

    def _answer(self, command: do.Answer) -> None:
        job = command.job
        assert type(job) is RequestJob
        self.answered.append(job)
        job.request.job = job
        if isinstance(job.outcome, PenstockError):
            job.request.error = job.outcome
        if job.admitted:  # a refusal is reported by the submitter
            self._observers.job_answered(job)

    def _report(self, command: do.Report) -> None:
        self.reports.append(command.report)
        self._observers.report(command.report)

    def _refuse(self, request: FakeRequest, error: PenstockError) -> None:
        request.error = error
        self._observers.refused(request.submission, error)

    def _next_id(self) -> str:
        self._count += 1
        return f"r{self._count}"


def _lookup(headers: Mapping[str, str] | None) -> Any:
    lower = {name.lower(): value for name, value in (headers or {}).items()}
    return lower.get
