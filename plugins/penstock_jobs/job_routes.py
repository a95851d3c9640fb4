"""The routes of background jobs, for callers and for operators."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec

from penstock.errors import UnsupportedMediaType
from penstock.hooks import App, Principal, Route, RouteEngine, RouteRequest, RouteResponse
from penstock.job_store import JobNotFinal, StoredJob
from penstock_jobs.event_streams import EventStreams
from penstock_jobs.job_answers import answer_of, document_answer, job_headers
from penstock_jobs.job_desk import JobDesk
from penstock_jobs.job_documents import JOBS_PATH, document_of, etag_of
from penstock_jobs.job_intake import JobIntake
from penstock_jobs.job_operations import operator_routes
from penstock_jobs.job_queries import ListQuery, last, parameters, wait_seconds
from penstock_jobs.job_requests import ReadWebhook
from penstock_jobs.job_views import JobViews, is_admin
from penstock_jobs.prefer import preferences, wait_in
from penstock_jobs.route_descriptions import DESCRIPTIONS
from penstock_jobs.thread_flags import settled

MOST_BODY_BYTES: Final = 16 << 20
NDJSON: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/json-lines"})


def job_routes(desk: JobDesk, app: App, *, read_webhook: ReadWebhook) -> list[Route]:
    """Return the routes of background jobs.

    Parameters
    ----------
    desk:
        The desk of the engine's jobs.
    app:
        The app.
    read_webhook:
        Reads the option ``webhook`` of a job.
    """
    views = JobViews(desk, app.endpoints)
    intake = JobIntake(desk, app.endpoints, views, read_webhook)
    handlers = JobHandlers(desk, views, intake)
    one = f"{JOBS_PATH}/{{id}}"
    events = EventStreams(views, desk)
    return [
        _route("POST", JOBS_PATH, "jobs-submit", handlers.submit, reads_body=True),
        _route("GET", JOBS_PATH, "jobs-list", handlers.list_jobs),
        _route("PUT", one, "jobs-put", handlers.put, reads_body=True),
        _route("GET", one, "jobs-get", handlers.get),
        _route("DELETE", one, "jobs-delete", handlers.delete),
        _route("GET", f"{one}/result", "jobs-result", handlers.result),
        _route("GET", f"{one}/events", "jobs-events", events.follow),
        _route("POST", f"{one}/cancel", "jobs-cancel", handlers.cancel),
        _route("POST", f"{one}/retry", "jobs-retry", handlers.retry),
        *operator_routes(views),
    ]


def _route(method: Any, path: str, name: str, handler: Any, *, reads_body: bool = False) -> Route:
    return Route(
        path=path,
        name=name,
        handler=handler,
        method=method,
        is_for_callers=True,
        reads_body=reads_body,
        max_body=MOST_BODY_BYTES,
        description=DESCRIPTIONS[name],
    )


class JobHandlers:
    """The handlers of the routes for callers.

    Parameters
    ----------
    desk, views, intake:
        The jobs, as they are cancelled, looked at and made.
    """

    def __init__(self, desk: JobDesk, views: JobViews, intake: JobIntake) -> None:
        self._desk = desk
        self._views = views
        self._intake = intake

    # ---- new jobs

    async def submit(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        """Answer ``POST /v1/jobs``: one job, or a group of them."""
        media_type = (request.header("content-type") or "application/json").partition(";")[0].strip().lower()
        if media_type in NDJSON:
            return await self._submit_group(request, engine)
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise UnsupportedMediaType(
                f"{JOBS_PATH} reads one job as application/json, or lines of them as application/x-ndjson, "
                f"not {media_type[:80]!r}"
            )
        put = await self._intake.create(request, engine)
        return await self._answer(put.job, request, status=202 if put.is_new else 200)

    async def _submit_group(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        found = parameters(request.query)
        group, puts = await self._intake.create_group(request, engine, last(found, "group") or None)
        new = sum(put.is_new for put in puts)
        address = f"{prefix_of(request)}{JOBS_PATH}?group={quote(group, safe='')}"
        counts = {"jobs": len(puts), "new": new, "repeated": len(puts) - new}
        document = {"group": group, **counts, "ids": [put.job.id for put in puts], "links": {"self": address}}
        answer = RouteResponse.json(document, status=202 if new else 200)
        return msgspec.structs.replace(answer, headers={"location": address})

    async def put(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        """Answer ``PUT /v1/jobs/{id}``."""
        put = await self._intake.create(request, engine, request.path_values["id"])
        return await self._answer(put.job, request, status=201 if put.is_new else 200)

    async def retry(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        """Answer ``POST /v1/jobs/{id}/retry``: a new job with the request of one that has ended."""
        job = await self._find(request)
        if not job.is_final:
            raise JobNotFinal(f"job {job.id!r} has not ended; only one that has can be run anew")
        put = await self._intake.again(job, request, engine)
        return await self._answer(put.job, request, status=201 if put.is_new else 200)

    # ---- jobs that are there

    async def get(self, request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        """Answer ``GET /v1/jobs/{id}``, once the job has ended, or changed, if the request waits."""
        job = await self._find(request)
        known = _tags(request.header("if-none-match"))
        seconds = _wait_of(request)

        def is_known(job: StoredJob) -> bool:
            return "*" in known or etag_of(job, self._views.now()) in known

        if seconds is not None:
            job = await self._views.wait(job, lambda job: job.is_final or bool(known and not is_known(job)), seconds)
        if known and is_known(job):
            return RouteResponse(status=304, headers=job_headers(self._views, job, prefix_of(request)))
        return await self._answer(job, request, status=200)

    async def result(self, request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        """Answer ``GET /v1/jobs/{id}/result``."""
        job = await self._find(request)
        seconds = _wait_of(request)
        if seconds is not None:
            job = await self._views.wait(job, lambda job: job.is_final, seconds)
        if not job.is_final:
            return await self._answer(job, request, status=202)
        return answer_of(job, await self._views.result(job), is_retryable=False)

    async def cancel(self, request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        """Answer ``POST /v1/jobs/{id}/cancel``."""
        job = await self._find(request)
        if job.is_final:
            return await self._answer(job, request, status=200)
        job = await settled(self._desk.cancel(job.id))
        status = 200 if job.is_final and job.state != "cancelled" else 202  # it ended before the cancel
        job = await self._views.wait(job, lambda job: job.is_final, _wait_of(request) or 0.0)
        return await self._answer(job, request, status=status)

    async def delete(self, request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        """Answer ``DELETE /v1/jobs/{id}``."""
        job = await self._find(request)
        await settled(self._views.store.delete(job.id))
        return RouteResponse(status=204)

    async def list_jobs(self, request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        """Answer ``GET /v1/jobs``: a page of jobs, newest first."""
        found = parameters(request.query)
        query = ListQuery(found, _owner(request.principal, last(found, "principal")))
        page = await settled(self._views.store.list_jobs(query.rows))
        now, prefix = self._views.now(), prefix_of(request)
        jobs = [job for job in page.jobs if query.shows(job, now)]
        metadata = await settled(self._views.store.metadata([job.id for job in jobs]))
        documents = [document_of(job, now=now, prefix=prefix, metadata=metadata.get(job.id)) for job in jobs]
        return RouteResponse.json({"jobs": documents, "next_after": page.next_after})

    # ---- answers

    async def _find(self, request: RouteRequest) -> StoredJob:
        return await self._views.find(request.path_values["id"], request.principal)

    async def _answer(self, job: StoredJob, request: RouteRequest, *, status: int) -> RouteResponse:
        return await document_answer(self._views, job, status=status, prefix=prefix_of(request))


def prefix_of(request: RouteRequest) -> str:
    """Return the prefix of a mounted application, which links need."""
    before, found, _ = request.path.partition(JOBS_PATH)
    return before if found else ""


def _wait_of(request: RouteRequest) -> float | None:
    seconds = wait_seconds(parameters(request.query))
    return wait_in(preferences(request.header("prefer"))) if seconds is None else seconds


def _tags(header: str | None) -> set[str]:
    """Return the tags in ``If-None-Match``, as weak ones: that is how they are compared (RFC 9110, section 13.1.2)."""
    tags = (tag.strip() for tag in (header or "").split(","))
    return {tag if tag == "*" or tag.startswith("W/") else f"W/{tag}" for tag in tags if tag}


def _owner(caller: Principal | None, wanted: str | None) -> str | None:
    """Return whose jobs to list; None: everyone's."""
    if is_admin(caller):
        return wanted
    return "" if caller is None else caller.name
