"""New jobs: a request is read, its input checked as over HTTP, and stored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Final, TypeVar

import msgspec

from penstock.errors import InvalidRequest, MalformedRequest, PayloadTooLarge
from penstock.hooks import Endpoint, RouteEngine, RouteRequest, near_miss
from penstock.job_store import NewJob, PutJob, StoredJob, StoreUnavailable
from penstock.policies import Jobs
from penstock_jobs.job_desk import JobDesk
from penstock_jobs.job_ids import ID_PATTERN, is_job_id, new_job_id
from penstock_jobs.job_requests import (
    Origin,
    ReadWebhook,
    WantedJob,
    digest_of,
    inside_input,
    invalid,
    new_job,
    origin_of,
    read_wanted,
    ttls_and_limits,
)
from penstock_jobs.job_views import JobViews
from penstock_jobs.thread_flags import settled

T = TypeVar("T")

CHECKED_AT_ONCE_BYTES: Final = 64 << 10
"""The size up to which an input is checked on the engine's thread; larger ones are checked in a thread."""
MOST_LINES: Final = 10_000


class JobIntake:
    """Makes jobs of requests, and stores them.

    Parameters
    ----------
    desk:
        The desk.
    endpoints:
        All endpoints of the app.
    views:
        The jobs that are there.
    read_webhook:
        Reads the webhook of a job.
    """

    def __init__(
        self, desk: JobDesk, endpoints: Sequence[Endpoint], views: JobViews, read_webhook: ReadWebhook
    ) -> None:
        self._desk = desk
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._views = views
        self._read_webhook = read_webhook

    async def create(self, request: RouteRequest, engine: RouteEngine, job_id: str | None = None) -> PutJob:
        """Store the job that a request asks for, by the caller's id if there is one.

        Raises
        ------
        PenstockError
            If it is refused; nothing was stored.
        """
        if job_id is not None and not is_job_id(job_id):
            raise invalid("id", f"{job_id[:128]!r} is not an id; use {ID_PATTERN}")
        wanted = read_wanted(request.body)
        if wanted.id not in (None, job_id):
            raise invalid("id", "PUT a job with an id of yours to /v1/jobs/ and the id")
        origin = self._origin(request)
        if job_id is not None:
            origin = replace(origin, key=None)  # the id is the key
        self._require_access([wanted], request, engine)
        digest = digest_of(request.body)
        new = await _off_loop(len(request.body), lambda: self._checked(wanted, origin, digest, job_id))
        [put] = await store_jobs(self._desk, [new])
        return put

    async def create_group(
        self, request: RouteRequest, engine: RouteEngine, group: str | None
    ) -> tuple[str, list[PutJob]]:
        """Store the jobs of all lines of a request, or none of them, under one group; return its name and the jobs.

        Raises
        ------
        PenstockError
            If one of them is refused; the message has the number of its line.
        """
        origin, size_bytes = self._origin(request), len(request.body)
        lines = [(number, line) for number, line in enumerate(request.body.splitlines(), start=1) if line.strip()]
        if not lines:
            raise MalformedRequest("The body has no lines; send one JSON object for each job")
        if len(lines) > MOST_LINES:
            raise PayloadTooLarge(f"A group may have at most {MOST_LINES} jobs; send more of them in further requests")
        wanted = await _off_loop(size_bytes, lambda: [_at_line(n, read_wanted, line) for n, line in lines])
        self._require_access(wanted, request, engine)
        whole = digest_of(request.body) if origin.key is not None else ""
        name = _group_name(wanted, group, whole, origin)

        def new_jobs() -> list[NewJob]:
            return [
                _at_line(number, self._of_line, each, line, whole, name, number, origin)
                for each, (number, line) in zip(wanted, lines, strict=True)
            ]

        return name, await store_jobs(self._desk, await _off_loop(size_bytes, new_jobs))

    def _of_line(  # noqa: PLR0917 - a closure in all but name
        self, wanted: WantedJob, line: bytes, whole: str, group: str, number: int, origin: Origin
    ) -> NewJob:
        wanted = msgspec.structs.replace(wanted, group=group)
        if origin.key is not None:
            origin = replace(origin, key=f"{origin.key}#{number}")
        return self._checked(wanted, origin, digest_of(line, whole.encode()), wanted.id)

    def _origin(self, request: RouteRequest) -> Origin:
        return origin_of(request.principal, request.request_id, request.header, self._views.now())

    def _require_access(self, wanted: Sequence[WantedJob], request: RouteRequest, engine: RouteEngine) -> None:
        for name in dict.fromkeys(each.endpoint for each in wanted):
            engine.require_access(self._target(name)[0].name, request)

    def _checked(self, wanted: WantedJob, origin: Origin, digest: str, job_id: str | None) -> NewJob:
        """Return the job that is wanted, after its input was checked. On any thread."""
        endpoint, policy = self._target(wanted.endpoint)
        new = new_job(
            wanted,
            endpoint,
            policy,
            origin,
            job_id=new_job_id(origin.now) if job_id is None else job_id,
            is_named=job_id is not None,
            digest=digest,
            read_webhook=self._read_webhook,
        )
        try:
            endpoint.codec.validate(new.request)
        except InvalidRequest as error:
            raise inside_input(error) from None
        return new

    def _target(self, name: str) -> tuple[Endpoint, Jobs]:
        endpoint, policy = self._endpoints.get(name), self._desk.jobs_of(name)
        if endpoint is not None and policy is not None:
            return endpoint, policy
        if endpoint is not None:
            raise invalid("endpoint", f"{name!r} takes no background jobs; its app can declare it with jobs=Jobs()")
        takers = [name for name in self._endpoints if self._desk.jobs_of(name) is not None]
        raise invalid("endpoint", f"there is no endpoint {name[:80]!r}; {near_miss(name, takers)}")

    async def again(self, job: StoredJob, request: RouteRequest, engine: RouteEngine) -> PutJob:
        """Store a new job with the request of one that has ended.

        Raises
        ------
        JobGone
            If its request has been removed.
        """
        policy = self._target(job.endpoint)[1]
        engine.require_access(job.endpoint, request)
        now = self._views.now()
        origin = self._origin(request)
        stored = await settled(self._views.store.request(job.id))
        new = NewJob(
            id=new_job_id(now),
            endpoint=job.endpoint,
            request=stored.body,
            media_type=stored.media_type,
            head=stored.head,
            digest=digest_of(job.id.encode(), b"retry"),
            idempotency_key=origin.key,
            principal=job.principal,
            priority=job.priority,
            start_by=origin.start_by,
            timeout=job.timeout if origin.timeout is None else origin.timeout,
            group=job.group,
            request_id=request.request_id,
            metadata=stored.metadata,
            webhook=job.webhook,
            retry_of=job.id,
            **ttls_and_limits(policy, job.result_ttl),
        )
        [put] = await store_jobs(self._desk, [new])
        return put


async def store_jobs(desk: JobDesk, new_jobs: Sequence[NewJob]) -> list[PutJob]:
    """Store jobs, all or none.

    Raises
    ------
    IdempotencyMismatch, StoreFull, StoreUnavailable
        If they are refused.
    """
    if not desk.is_open:
        raise StoreUnavailable("the store of background jobs is not open", retry_after=1.0)
    return await settled(desk.submit(new_jobs))


async def check_input(endpoint: Endpoint, body: bytes, input_form: Any = None) -> None:
    """Check an input as the endpoint does over HTTP.

    Raises
    ------
    InvalidRequest, PayloadTooLarge
        If it does not fit.
    """
    await _off_loop(len(body), lambda: endpoint.codec.validate(body, input_form))


async def _off_loop(size_bytes: int, function: Callable[[], T]) -> T:
    """Call a function: in a thread of its own if it has to read a lot. That is rare, and no pool is to be ended."""
    if size_bytes <= CHECKED_AT_ONCE_BYTES:
        return function()
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # raised where the future is waited for
            future.set_exception(error)

    threading.Thread(target=work, name="penstock-job-input", daemon=True).start()
    return await settled(future)


def _group_name(wanted: Sequence[WantedJob], group: str | None, whole: str, origin: Origin) -> str:
    names = {each.group for each in wanted if each.group is not None} | ({group} if group else set())
    if len(names) > 1:
        raise invalid("group", "all jobs of a request are in one group; name one, or none")
    # The same name for the same request: a repeated one stores nothing new.
    return names.pop() if names else f"group-{whole[:32]}" if whole else new_job_id(origin.now)


def _at_line(number: int, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function; its error has the number of the line."""
    try:
        return function(*arguments)
    except InvalidRequest as error:
        faults = [{**fault, "path": f"line {number}: {fault['path']}"} for fault in error.errors]
        raise type(error)(f"line {number}: {error.detail}", errors=faults, param=error.param) from None
