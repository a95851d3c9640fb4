"""Jobs as one caller sees them: which it may see, their documents, and the wait for a change."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Final

from penstock.errors import NotReady
from penstock.hooks import Endpoint, Principal
from penstock.job_store import JobGone, JobNotFound, JobResult, JobStore, StoredJob, StoreUnavailable
from penstock_jobs.job_desk import JobDesk
from penstock_jobs.job_documents import document_of, has_result, shown_state
from penstock_jobs.job_ids import created_at, is_job_id
from penstock_jobs.job_requests import ADMIN_SCOPE
from penstock_jobs.thread_flags import ThreadFlag, settled

LONGEST_LOOKLESS_SECONDS: Final = 5.0
"""A wait looks at the job at least this often, in case the news of a change is lost."""
LONGEST_RETRY_AFTER: Final = 60
MOST_LOOKED_AT_BYTES: Final = 8 << 20
"""The size of request and result above which a result is not read to find out whether it fits into the document."""


def is_admin(caller: Principal | None) -> bool:
    """Return whether a caller sees everyone's jobs."""
    return caller is not None and ADMIN_SCOPE in caller.scopes


class JobViews:
    """Looks at the jobs of a desk. Everything is called on the engine's loop.

    Parameters
    ----------
    desk:
        The desk.
    endpoints:
        All endpoints of the app.
    """

    def __init__(self, desk: JobDesk, endpoints: Sequence[Endpoint]) -> None:
        self._desk = desk
        policies = [desk.jobs_of(endpoint.name) for endpoint in endpoints]
        self._least_record_ttl = min((policy.record_ttl for policy in policies if policy is not None), default=inf)

    def now(self) -> float:
        """Return the wall clock."""
        return self._desk.now()

    @property
    def store(self) -> JobStore:
        """The store.

        Raises
        ------
        StoreUnavailable
            If it is not open.
        """
        try:
            return self._desk.store
        except NotReady as error:
            raise StoreUnavailable(error.detail, retry_after=1.0) from None

    async def find(self, job_id: str, caller: Principal | None) -> StoredJob:
        """Return a job that this caller may see.

        Raises
        ------
        JobNotFound
            If there is none with this id, or it is another caller's.
        JobGone
            If its record has outlived its retention.
        """
        store = self.store
        if not is_job_id(job_id):
            raise _unknown(job_id)
        try:
            job = await settled(store.get(job_id))
        except JobNotFound:
            self._require_recent(job_id)
            raise _unknown(job_id) from None
        if not is_admin(caller) and job.principal != ("" if caller is None else caller.name):
            raise _unknown(job_id)
        if job.delete_after is not None and job.delete_after <= self.now():
            raise _gone(job_id)
        return job

    def _require_recent(self, job_id: str) -> None:
        # The server's ids have the time in them, so it needs no memory of the jobs that it has removed.
        created = created_at(job_id)
        if created is not None and created + self._least_record_ttl < self.now():
            raise _gone(job_id)

    async def wait(self, job: StoredJob, is_over: Callable[[StoredJob], bool], seconds: float) -> StoredJob:
        """Return a job as soon as something is true of it, or as it is after some seconds.

        Raises
        ------
        JobNotFound
            If it is deleted meanwhile.
        """
        if seconds <= 0 or is_over(job):
            return job
        give_up_at = time.monotonic() + seconds
        flag = ThreadFlag()
        unwatch = self._desk.watch(job.id, flag.set)
        try:
            while True:
                flag.clear()
                job = await settled(self.store.get(job.id))
                left = give_up_at - time.monotonic()
                if is_over(job) or left <= 0:
                    return job
                await flag.wait(min(left, LONGEST_LOOKLESS_SECONDS, _until_due(job, self.now())))
        finally:
            unwatch()

    async def result(self, job: StoredJob) -> JobResult | None:
        """Return the result of a final job; None if it has ended without one.

        Raises
        ------
        JobGone
            If it was kept for as long as it had to be.
        """
        if job.state == "succeeded" and not has_result(job, self.now()):
            raise JobGone(f"the result of job {job.id!r} was kept for {job.result_ttl:g} s, and has been removed")
        return await settled(self.store.result(job.id))

    async def document(self, job: StoredJob, prefix: str = "", *, with_result: bool = True) -> dict[str, Any]:
        """Return the whole document of a job."""
        store, now = self.store, self.now()
        metadata = await settled(store.metadata([job.id]))
        is_queued = job.state == "queued" and shown_state(job, now) == "queued"
        ahead = await settled(store.ahead(job.id)) if is_queued else None
        deliveries = await settled(store.deliveries(job.id)) if job.webhook is not None else ()
        result = None
        if with_result and has_result(job, now) and job.body_bytes <= MOST_LOOKED_AT_BYTES:
            with contextlib.suppress(JobGone):  # since the row was read
                result = await settled(store.result(job.id))
        return document_of(
            job,
            now=now,
            prefix=prefix,
            metadata=metadata.get(job.id),
            ahead=ahead,
            deliveries=deliveries,
            result=result,
        )


def retry_after(job: StoredJob, now: float) -> str:
    """Return the seconds after which it is worth looking at a job again that has not ended."""
    ahead = 0.0 if job.not_before is None or job.state != "queued" else job.not_before - now
    return str(max(1, min(LONGEST_RETRY_AFTER, int(ahead) + 1)))


def _until_due(job: StoredJob, now: float) -> float:
    """Return the seconds until a scheduled job becomes a queued one, which no transaction may mark."""
    is_ahead = job.state == "queued" and job.not_before is not None and job.not_before > now
    return job.not_before - now + 0.001 if is_ahead and job.not_before is not None else LONGEST_LOOKLESS_SECONDS


def _unknown(job_id: str) -> JobNotFound:
    return JobNotFound(f"there is no job {job_id[:128]!r}")


def _gone(job_id: str) -> JobGone:
    return JobGone(f"job {job_id!r} was kept for as long as it had to be, and has been removed")
