"""The store as the commands of the plug-in open it: beside running engines, without being one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import msgspec

from penstock.errors import PenstockError
from penstock.hooks import settings_for
from penstock.job_store import JobGone, JobNotFinal, JobNotFound, JobStore, NewJob, StoredJob
from penstock_jobs.job_documents import document_of, has_result, shown_state
from penstock_jobs.job_ids import new_job_id
from penstock_jobs.job_queries import ListQuery
from penstock_jobs.job_requests import digest_of
from penstock_jobs.job_views import MOST_LOOKED_AT_BYTES
from penstock_jobs.jobs_settings import JobsSettings
from penstock_jobs.store_opening import MEMORY, is_known, make_store

LOOK_SECONDS: Final = 0.5
"""A wait looks at the job at least this often, in case the news of a change is lost."""
DELETED_TOGETHER: Final = 200


class NoStore(PenstockError):
    """The command line and the settings name no store that a command can open."""


class CommandStore:
    """An open store, with what the commands do to it. Every method waits for the store.

    Parameters
    ----------
    store:
        The store, which is not open.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._changed = threading.Event()

    def __repr__(self) -> str:
        return f"<CommandStore: {self._store!r}>"

    def open(self) -> None:
        """Open the store.

        Raises
        ------
        StoreRejected, StoreUnavailable
            If that is not possible.
        """
        self._store.start(lambda _: self._changed.set())

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def matching(self, query: ListQuery, now: float) -> Iterator[StoredJob]:
        """Yield the jobs that a query asks for, newest first, page by page."""
        rows = query.rows
        while True:
            page = self._store.list_jobs(rows).result()
            yield from (job for job in page.jobs if query.shows(job, now))
            if page.next_after is None:
                return
            rows = msgspec.structs.replace(rows, after=page.next_after)

    def documents(self, jobs: Sequence[StoredJob], now: float) -> list[dict[str, Any]]:
        """Return the documents of jobs as a list has them: without results."""
        metadata = self._store.metadata([job.id for job in jobs]).result()
        return [document_of(job, now=now, metadata=metadata.get(job.id)) for job in jobs]

    def document(self, job_id: str, now: float) -> dict[str, Any]:
        """Return the whole document of a job, and the number of its events.

        Raises
        ------
        JobNotFound
            If there is none.
        """
        store = self._store
        job = store.get(job_id).result()
        result = None
        if has_result(job, now) and job.body_bytes <= MOST_LOOKED_AT_BYTES:
            with suppress(JobGone):  # since the row was read
                result = store.result(job_id).result()
        document = document_of(
            job,
            now=now,
            metadata=store.metadata([job_id]).result().get(job_id),
            ahead=store.ahead(job_id).result() if shown_state(job, now) == "queued" else None,
            deliveries=store.deliveries(job_id).result(),
            result=result,
        )
        return document | {"events": job.events}

    def cancel(self, job_id: str, seconds: float) -> tuple[StoredJob, bool]:
        """Cancel a job, and wait for its end; return it as it is then, and whether it had ended before.

        Raises
        ------
        JobNotFound
            If there is none.
        """
        had_ended = self._store.get(job_id).result().is_final
        job = self._store.cancel(job_id, now=time.time()).result()
        give_up_at = time.monotonic() + seconds
        while not job.is_final and (left := give_up_at - time.monotonic()) > 0:
            self._changed.wait(min(left, LOOK_SECONDS))
            self._changed.clear()
            job = self._store.get(job_id).result()
        return job, had_ended

    def retry(self, job_id: str) -> StoredJob:
        """Store a new job with the request and the options of one that has ended; return it.

        Raises
        ------
        JobNotFound, JobNotFinal, JobGone
            If there is none, it has not ended, or its request has been removed.
        StoreFull
            If there is no room.
        """
        job, now = self._store.get(job_id).result(), time.time()
        if not job.is_final:
            raise JobNotFinal(f"job {job_id!r} has not ended; only one that has can be run anew")
        stored = self._store.request(job_id).result()
        new = NewJob(
            id=new_job_id(now),
            endpoint=job.endpoint,
            request=stored.body,
            media_type=stored.media_type,
            head=stored.head,
            digest=digest_of(job_id.encode(), b"retry"),
            principal=job.principal,
            priority=job.priority,
            timeout=job.timeout,
            group=job.group,
            request_id=job.request_id,
            metadata=stored.metadata,
            webhook=job.webhook,
            retry_of=job_id,
            result_ttl=job.result_ttl,
            record_ttl=job.record_ttl,
            on_lost=job.on_lost,
            max_claims=job.max_claims,
        )
        [put] = self._store.put([new], now=now).result()
        return put.job

    def delete(self, job_ids: Sequence[str]) -> int:
        """Remove final jobs, in short transactions; return the number. Those that are gone already do not count."""
        number = 0
        for start in range(0, len(job_ids), DELETED_TOGETHER):
            futures = [self._store.delete(job_id) for job_id in job_ids[start : start + DELETED_TOGETHER]]
            failures = [future.exception() for future in futures]
            for failure in failures:
                if failure is not None and not isinstance(failure, JobNotFound):
                    raise failure
            number += failures.count(None)
        return number


@contextmanager
def opened(target: str | None, address: str | None) -> Iterator[CommandStore]:
    """Open the store at an address, or the one of the settings; close it at the end.

    Parameters
    ----------
    target:
        The app whose settings name the store; None: the environment and the TOML file do.
    address:
        The address, if the command line has it.

    Raises
    ------
    NoStore
        If there is none, or it is of a kind that no command can open.
    PluginError, DeclarationError
        If the settings cannot be read, or a library is missing.
    StoreRejected, StoreUnavailable
        If the store is not there, or cannot be used.
    """
    settings = settings_for(target, "jobs", JobsSettings)
    address = address or settings.store
    _check(address)
    store = CommandStore(make_store(str(address), settings.limits, must_exist=True))
    store.open()
    try:
        yield store
    finally:
        store.close()


def _check(address: str | None) -> None:
    if not address:
        raise NoStore(
            "no job store is set; pass --store sqlite:///jobs.db, set PENSTOCK_JOBS_STORE, "
            "or name the app whose settings have it"
        )
    if address == MEMORY:
        raise NoStore("the store memory: is inside its server, where only the server's routes reach it")
    if not is_known(address):
        raise NoStore("the address of the store cannot be used; write sqlite:///jobs.db or postgresql://user@host/db")
