"""A harness for testing plug-ins: an app that uses them, without processes, sockets or waiting.

::

    harness = PluginHarness(app, [MyPlugin], settings={"MyPlugin": {"limit": 1}})
    first = harness.request("square", headers={"X-Api-Key": "k"})
    assert harness.request("square").code == "rate-limited"
    harness.advance(1.0)
    assert first.code == "ok"

The requests, the policies, the scheduler and the records are the real ones; only the workers are fakes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

from penstock.app import App
from penstock.engine.engine_drain import EngineDrain
from penstock.engine.observers import Observers
from penstock.engine.specs import lane_specs, pool_specs
from penstock.engine.status import StatusPage
from penstock.errors import PenstockError
from penstock.hooks import records
from penstock.hooks.hookspecs import hookimpl
from penstock.hooks.pipeline import Pipeline, endpoint_pipeline
from penstock.hooks.records import Record, ShutdownRequest
from penstock.hooks.registry import Registry
from penstock.hooks.routes import Route
from penstock.hooks.settings import Sources
from penstock.hooks.submission import Submission
from penstock.openapi import documentation_routes
from penstock.policies import DEFAULT_DRAIN_TIMEOUT
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.testing.clock import MockClock
from penstock.testing.plugin_requests import PluginRequests, RequestJob

RecordT = TypeVar("RecordT", bound=Record)

NOWHERE: Final = Path("/nowhere")  # so that the settings in the working directory's pyproject.toml do not count
SETUP_SECONDS: Final = 1.0  # more than a fake worker needs to set up


class Recorder:
    """A plug-in that keeps every record."""

    name = "penstock.testing"

    def __init__(self) -> None:
        self.records: list[Record] = []

    @hookimpl
    def penstock_observer(self) -> dict[type[Record], Any]:
        """Return an observer for each type of record."""
        kinds = [kind for kind in vars(records).values() if isinstance(kind, type) and issubclass(kind, Record)]
        return {kind: self.records.append for kind in kinds if kind is not Record}


def _submission_of(job: Any) -> Submission:
    submission: Submission = job.request.submission
    return submission


class PluginHarness(PluginRequests):
    """A fake engine that serves an app with plug-ins, from the request to the records.

    Parameters
    ----------
    app:
        The app to serve, with the plug-ins and settings of its declaration.
    plugins:
        Additional plug-ins: classes, objects or modules.
    settings:
        Settings for the plug-ins, one table for each. They take precedence over the app's.
    environ:
        Environment variables, such as ``PENSTOCK_NAME_SETTING``. The process's own environment is ignored.
    clock:
        The engine's clock. Pass the same one to a plug-in that reads a clock.

    Attributes
    ----------
    registry:
        The plug-ins and the core's defaults. Installed plug-ins are not loaded.
    records:
        Every record that observers received.
    longest_drain:
        The longest drain that the host allows, in seconds. Unlimited unless a test sets it.

    Raises
    ------
    PluginError
        As at the start of a server: if a plug-in does not fit, or a setting is wrong.
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
        self._drain = EngineDrain(self.registry.shutdown_policy(app), self._observers, clock)
        self._pipelines: dict[str, Pipeline | None] = {
            endpoint.name: endpoint_pipeline(self.registry, endpoint) for endpoint in app.endpoints
        }
        routes = [*self.registry.routes(app), *documentation_routes(app, self.registry)]
        self._routes: dict[tuple[str, str], Route] = {(route.method, route.path): route for route in routes}
        self._ids = map("r{}".format, count(1))
        self.longest_drain = math.inf
        self._on_drained: list[Callable[[], None]] = []
        self._is_stopped = False  # True once the end of the drain has been reported
        super().__init__(pool_specs(app), lane_specs(app, self.registry), clock=clock)
        self._status = StatusPage(
            self.scheduler,
            self._observers,
            clock,
            pid_of=lambda _worker: None,
            request_id_of=lambda job: _submission_of(job).request_id,
        )
        send = _noting(self._observers, self._perform[do.Send])
        self._perform |= {do.Answer: self._answer, do.Report: self._report, do.Send: send}
        self.start()
        self.advance(SETUP_SECONDS)

    def __repr__(self) -> str:
        return f"<PluginHarness of {self.app.import_name}: {self.registry!r}>"

    @property
    def records(self) -> list[Record]:
        """Every record that observers received, oldest first."""
        return self._recorder.records

    def records_of(self, kind: type[RecordT]) -> list[RecordT]:
        """Return the records of one type."""
        return [record for record in self.records if isinstance(record, kind)]

    # ---- the engine's interface

    @property
    def draining(self) -> bool:
        """True once a drain has begun: no new work is accepted."""
        return self.scheduler.is_draining

    def unready_reasons(self) -> list[str]:
        """Return why work should not be sent here now; empty if it should."""
        return self.scheduler.unready_reasons()

    def status(self) -> dict[str, Any]:
        """Return what the status page shows, ready for JSON."""
        return self._status.render(self.unready_reasons())

    def shutdown(
        self,
        drain: float = DEFAULT_DRAIN_TIMEOUT,
        *,
        who: str = "the program",
        why: str = "",
        on_drained: Callable[[], None] | None = None,
    ) -> float:
        """Begin to shut down; return the seconds that the shutdown policy grants. Only the first shutdown counts.

        Parameters
        ----------
        drain:
            Seconds after which the remaining jobs are abandoned.
        who, why:
            For the observers.
        on_drained:
            Called when no job and no worker is left; at once if that is the case already.
        """
        if on_drained is not None:
            if self._is_stopped:
                on_drained()
            else:
                self._on_drained.append(on_drained)
        if self._drain.request is None:
            wish = ShutdownRequest(drain=drain, who=who, why=why)
            self.receive(on.DrainRequested(self._drain.begin(wish, self.longest_drain, self.scheduler.jobs_live)))
        assert self._drain.request is not None
        return self._drain.request.drain

    # ---- events and commands

    def receive(self, event: on.Event) -> list[do.Command]:
        """Do as ``FakeEngine.receive`` does, and notify the observers."""
        if isinstance(event, on.ResultsArrived) and event.results[0] is not on.NOT_BEGUN:
            attempt = self.scheduler.attempts.get(event.attempt)
            if attempt is not None:
                self._observers.attempt_ended(attempt, attempt.live, event.seconds)
        commands = super().receive(event)
        if self.scheduler.is_drained:
            self._end_shutdown()
        return commands

    def _end_shutdown(self) -> None:
        if self._drain.request is None or self._is_stopped:
            return
        self._is_stopped = True
        self._drain.end(self.scheduler, 0)
        for callback in self._on_drained:
            callback()

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


def _noting(observers: Observers, send: Callable[[Any], object]) -> Callable[[Any], object]:
    """Have each attempt noted that is sent, as an engine does, if requests are traced."""
    traces = observers.traces
    if traces is None:
        return send

    def note_and_send(command: do.Send) -> None:
        traces.sent(command.attempt)
        send(command)

    return note_and_send
