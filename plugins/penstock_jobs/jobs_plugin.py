"""The plug-in ``jobs``: it stores background jobs, and runs them in the engine's spare slots."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from penstock.errors import PluginError
from penstock.hooks import Acceptor, App, Endpoint, EndpointDescription, EngineService, Route, hookimpl
from penstock.job_store import JobStore
from penstock_jobs.job_acceptors import job_acceptor
from penstock_jobs.job_desk import JobDesk
from penstock_jobs.job_routes import job_routes
from penstock_jobs.jobs_settings import JobsSettings
from penstock_jobs.route_descriptions import OF_DIRECT_CALLS
from penstock_jobs.store_opening import is_known, make_store, needed_extra


class JobsPlugin:
    """The plug-in for background jobs. It is off until its setting ``store`` names a store.

    Parameters
    ----------
    settings:
        The settings.
    """

    name = "jobs"
    Settings = JobsSettings

    def __init__(self, settings: JobsSettings) -> None:
        self.settings = settings
        self._desk: JobDesk | None = None

    def __repr__(self) -> str:
        return f"<JobsPlugin: {'on' if self.is_on else 'off'}>"

    @property
    def is_on(self) -> bool:
        """True if there is a store."""
        return self.settings.store is not None

    @property
    def runs_schedules(self) -> bool:
        """True if it runs the schedules of an app."""
        return self.is_on

    def desk(self, app: App) -> JobDesk:
        """Return the desk, which the routes and the service share."""
        if self._desk is None:
            self._desk = JobDesk(app)
        return self._desk

    def check(self, app: App) -> None:
        """Reject a store that no endpoint uses, and schedules that cannot be run.

        Raises
        ------
        PluginError
            If no endpoint takes background jobs, a schedule calls one that does not, its times are not valid, or a
            library is missing.
        """
        if not self.is_on:
            return
        with needed_extra("jobs"):
            from penstock_jobs.schedule_runner import check_schedules  # noqa: PLC0415 - it loads an extra

        check_schedules(app.schedules)
        _require_takers(app)
        if not any(endpoint.jobs for endpoint in app.endpoints):
            raise PluginError(
                "plug-in 'jobs' has a store, but no endpoint takes background jobs; "
                "declare one with @app.endpoint(..., jobs=Jobs()), or remove the setting"
            )

    @hookimpl
    def penstock_job_store(self) -> JobStore | None:
        """Return the store that the setting names, unless it is of a kind that only another plug-in knows."""
        address = self.settings.store
        if address is None or not is_known(address):
            return None
        return make_store(address, self.settings.limits)

    @hookimpl
    def penstock_service(self, app: App) -> EngineService | None:
        """Return the service that runs the jobs, if there is a store."""
        if not self.is_on:
            return None
        with needed_extra("jobs"):
            from penstock_jobs.jobs_of_engine import JobsOfEngine  # noqa: PLC0415 - it loads an extra

        return JobsOfEngine(app, self.settings, self.desk(app))

    @hookimpl
    def penstock_routes(self, app: App) -> list[Route] | None:
        """Return the routes of background jobs, if there is a store."""
        if not self.is_on:
            return None
        with needed_extra("jobs"):
            from penstock_jobs.webhook_options import read_webhook  # noqa: PLC0415 - it loads an extra

        return job_routes(self.desk(app), app, read_webhook=partial(read_webhook, settings=self.settings))

    @hookimpl
    def penstock_description(self, endpoint: Endpoint) -> EndpointDescription | None:
        """Describe the headers that make a job of a direct call, if there is a store."""
        return OF_DIRECT_CALLS if self.is_on and endpoint.jobs is not None else None

    @hookimpl
    def penstock_cli_commands(self) -> Iterable[Any]:
        """Add the command ``penstock jobs``."""
        from penstock_jobs.job_commands import jobs  # noqa: PLC0415 - a server does not need click

        return [jobs]

    @hookimpl
    def penstock_acceptor(self, endpoint: Endpoint, app: App) -> Acceptor | None:
        """Return the acceptor for calls with ``Prefer: respond-async``, if there is a store."""
        return job_acceptor(self.desk(app), endpoint, jobs_only=self.settings.only) if self.is_on else None


def _require_takers(app: App) -> None:
    takers = {endpoint.name for endpoint in app.endpoints if endpoint.jobs}
    for schedule in app.schedules:
        if schedule.endpoint not in takers:
            raise PluginError(
                f"schedule {schedule.name!r} calls endpoint {schedule.endpoint!r}, which takes no background jobs; "
                "declare it with @app.endpoint(..., jobs=Jobs()), or remove the schedule"
            )
