"""Background jobs for the program that an engine is embedded in, the ``jobs`` of its engine; and for routes."""

from __future__ import annotations

from math import inf
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from penstock import Response
from penstock.hooks import PRIORITIES, App, CallerJobs, Principal, near_miss
from penstock.job_store import JobNotFinal, JobResult, NewJob, StoredJob
from penstock_jobs.job_desk import JobDesk
from penstock_jobs.job_failures import error_of
from penstock_jobs.job_heads import read_head
from penstock_jobs.job_ids import new_job_id
from penstock_jobs.job_intake import off_loop, store_jobs
from penstock_jobs.job_output import JSON_LINES
from penstock_jobs.job_requests import ADMIN_SCOPE, Origin, ReadWebhook, digest_of, invalid, new_job, read_wanted
from penstock_jobs.job_views import JobViews
from penstock_jobs.thread_flags import settled

PROGRAM: Final = Principal("the program", frozenset({ADMIN_SCOPE}))
"""The program sees the jobs of all callers. Its own belong to none of them."""
JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"


class JobsOfCaller:
    """A ``penstock.hooks.CallerJobs``. Everything is called on the engine's loop.

    Parameters
    ----------
    desk, views:
        The jobs.
    caller:
        The caller; None for one who was not identified.
    """

    def __init__(self, desk: JobDesk, views: JobViews, caller: Principal | None) -> None:
        self._desk = desk
        self._views = views
        self._caller = caller

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._desk!r}>"

    async def get(self, job_id: str) -> dict[str, Any]:
        """Return the document of a job as it is now."""
        return await self._document(await self._views.find(job_id, self._caller))

    async def wait(self, job_id: str, *, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the end of a job, and return its document."""
        return await self._document(await self._ended(job_id, timeout))

    async def cancel(self, job_id: str, *, wait: float = 0.0) -> dict[str, Any]:
        """Cancel a job; return its document, at the latest after ``wait`` seconds."""
        job = await self._views.find(job_id, self._caller)
        if not job.is_final:
            job = await settled(self._desk.cancel(job.id))
            job = await self._views.wait(job, _is_final, wait)
        return await self._document(job)

    async def result(self, job_id: str, *, timeout: float | None = None) -> Any:
        """Wait for the end of a job, and return its result as a call of the endpoint would."""
        job = await self._ended(job_id, timeout)
        result = await self._views.result(job)
        if result is None:
            raise error_of(job)
        return _value_of(result)

    async def memo(self, job_id: str) -> bytes | None:
        """Return what a dialect has stored with a job."""
        job = await self._views.find(job_id, self._caller)
        stored = await settled(self._views.store.request(job.id))
        return read_head(stored.head).memo

    async def _ended(self, job_id: str, timeout: float | None) -> StoredJob:
        job = await self._views.find(job_id, self._caller)
        job = await self._views.wait(job, _is_final, inf if timeout is None else timeout)
        if not job.is_final:
            raise JobNotFinal(f"job {job_id!r} has not ended within {timeout:g} s; it goes on")
        return job

    async def _document(self, job: StoredJob) -> dict[str, Any]:
        # The results and problems in it are JSON as stored.
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(await self._views.document(job)))
        return plain


class EmbeddedJobs(JobsOfCaller):
    """A ``penstock.hooks.ProgramJobs``. Everything is called on the engine's loop.

    Parameters
    ----------
    desk:
        The desk.
    app:
        The app.
    read_webhook:
        Reads the option ``webhook``.
    """

    def __init__(self, desk: JobDesk, app: App, read_webhook: ReadWebhook) -> None:
        super().__init__(desk, JobViews(desk, app.endpoints), PROGRAM)
        self._endpoints = {endpoint.name: endpoint for endpoint in app.endpoints}
        self._read_webhook = read_webhook

    async def submit(
        self,
        name: str,
        input: Any = None,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        request_id: str = "",
        **options: Any,
    ) -> dict[str, Any]:
        """Store a job; return its document."""
        if "endpoint" in options or "input" in options:
            raise invalid("options", "the endpoint and the input are the first two arguments of submit()")
        wanted = read_wanted(msgspec.json.encode({"endpoint": name, **options}))
        endpoint, policy = self._endpoints.get(name), self._desk.jobs_of(name)
        if endpoint is None or policy is None:
            takers = [name for name in self._endpoints if self._desk.jobs_of(name) is not None]
            raise invalid(
                "endpoint", f"{name!r} names no endpoint that takes background jobs; {near_miss(name, takers)}"
            )
        body = endpoint.codec.encode_input(input)
        await off_loop(len(body), lambda: endpoint.codec.validate(body))
        now = self._views.now()
        draft = new_job(
            replace(wanted, priority="batch"),
            endpoint,
            policy,
            Origin(caller=None, request_id=request_id, now=now, timeout=timeout, key=idempotency_key),
            job_id=wanted.id or new_job_id(now),
            is_named=wanted.id is not None,
            digest=digest_of(msgspec.json.encode({"endpoint": name, "timeout": timeout, **options}), body),
            read_webhook=self._read_webhook,
        )
        media_type = BYTES if endpoint.codec.reads == "bytes" else JSON
        # No scope is asked for: the program may give its jobs any priority.
        priority = PRIORITIES.index(wanted.priority)
        new: NewJob = replace(draft, request=body, media_type=media_type, priority=priority)
        [put] = await store_jobs(self._desk, [new])
        return await self._document(put.job)

    def seen_by(self, caller: Principal | None) -> CallerJobs:
        """Return the jobs that a caller sees."""
        return JobsOfCaller(self._desk, self._views, caller)


def _is_final(job: StoredJob) -> bool:
    return job.is_final


def _value_of(result: JobResult) -> Any:
    """Return a result as an embedding program has those of calls; the chunks of a stream as a list."""
    media_type = result.media_type or JSON
    if media_type == JSON_LINES:
        return [msgspec.json.decode(line) for line in result.body.splitlines()]
    content = msgspec.json.decode(result.body) if media_type == JSON and result.body else result.body
    if result.status == 200 and not result.headers and media_type in {JSON, BYTES}:
        return content
    return Response(content, None if media_type == JSON else media_type, dict(result.headers), result.status)
