"""All that lives with an engine for its background jobs: the service that runs them, webhooks, and schedules."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec

from penstock.errors import PluginError
from penstock.hooks import App, ProgramJobs, Schedule, ServiceEngine
from penstock.job_store import JobDelivery, NewJob
from penstock_jobs.embedded_jobs import EmbeddedJobs
from penstock_jobs.job_desk import JobDesk
from penstock_jobs.job_documents import document_of, has_result
from penstock_jobs.job_requests import ttls_and_limits
from penstock_jobs.job_service import JobService
from penstock_jobs.jobs_settings import JobsSettings
from penstock_jobs.schedule_runner import ScheduleRunner
from penstock_jobs.webhook_options import read_webhook
from penstock_jobs.webhook_sender import WebhookSender
from penstock_jobs.webhook_signing import secret_source

LAST_WEBHOOKS_SECONDS: Final = 1.0
"""The time for webhooks about the last jobs of a drain. Another engine sends those that it does not suffice for."""
STORE_SECONDS: Final = 30.0


class JobsOfEngine:
    """The ``EngineService`` of the plug-in.

    Parameters
    ----------
    app:
        The app.
    settings:
        The settings of the plug-in.
    desk:
        The desk of the jobs.

    Attributes
    ----------
    jobs:
        The jobs for a program around the engine.
    """

    def __init__(self, app: App, settings: JobsSettings, desk: JobDesk) -> None:
        self._app = app
        self._settings = settings
        self._desk = desk
        self.jobs: ProgramJobs = EmbeddedJobs(desk, app, partial(read_webhook, settings=settings))
        self._service = JobService(app, settings, desk)
        self._service.on_owned = self._owned
        self._sender: WebhookSender | None = None
        self._runner: ScheduleRunner | None = None
        self._documents = ThreadPoolExecutor(1, "penstock-webhook-documents")
        self._policies = {endpoint.name: endpoint.jobs for endpoint in app.endpoints}

    def __repr__(self) -> str:
        return f"<JobsOfEngine: {self._service!r}>"

    def start(self, engine: ServiceEngine) -> None:
        """Open the store.

        Raises
        ------
        PluginError, StoreRejected
            If the store or the secrets of webhooks cannot be used.
        """
        settings = self._settings
        if settings.sends_webhooks:
            try:
                secret_source(settings.webhook_secret, settings.webhook_secret_file)()
            except (OSError, ValueError) as error:
                raise PluginError(f"webhooks cannot be signed: {error}") from None
        self._service.start(engine)

    def unready_reason(self) -> str | None:
        """Return why the server should get no work yet, or None."""
        return self._service.unready_reason()

    def status(self) -> dict[str, Any]:
        """Return the part of the status page about background jobs."""
        return self._service.status()

    def drain(self, deadline: float) -> None:
        """Claim and schedule no more. Webhooks go on: jobs still end."""
        self._service.drain(deadline)
        if self._runner is not None:
            self._runner.drain(deadline)

    def stop(self) -> None:
        """End all, and close the store."""
        if self._runner is not None:
            self._runner.stop()
        if self._sender is not None:
            with suppress(TimeoutError):
                self._sender.drain(time.monotonic() + LAST_WEBHOOKS_SECONDS).result(2 * LAST_WEBHOOKS_SECONDS)
            self._sender.stop()
        self._documents.shutdown(wait=False, cancel_futures=True)
        self._service.stop()

    def _owned(self, owner: str) -> None:
        """Begin, or go on as another owner: the store is open."""
        if self._runner is None:
            self._runner = ScheduleRunner(self._desk.store, self._app.schedules, complete=self._complete)
            self._runner.start()
            if self._settings.sends_webhooks:
                self._sender = WebhookSender(self._desk.store, owner, self._settings, self._document_of)
                self._sender.start()
                self._desk.listen(lambda _: self._wake_sender())
        elif self._sender is not None:
            self._sender.owner = owner

    def _wake_sender(self) -> None:
        if self._sender is not None:
            self._sender.wake()

    def _complete(self, job: NewJob, schedule: Schedule) -> NewJob:
        policy = self._policies[schedule.endpoint]
        if policy is None:
            return job
        fields = ttls_and_limits(policy)
        return msgspec.structs.replace(job, **{**fields, "record_ttl": max(job.record_ttl, policy.record_ttl)})

    # ---- documents for webhooks

    def _document_of(self, delivery: JobDelivery) -> Future[Mapping[str, Any]]:
        return self._documents.submit(self._document, delivery.job)

    def _document(self, job_id: str) -> Mapping[str, Any]:
        """Return the document of a job, on a thread that may wait for the store."""
        store, now = self._desk.store, self._desk.now()
        job = store.get(job_id).result(STORE_SECONDS)
        metadata = store.metadata([job_id]).result(STORE_SECONDS)
        result = store.result(job_id).result(STORE_SECONDS) if has_result(job, now) else None
        return document_of(job, now=now, metadata=metadata.get(job_id), result=result)
