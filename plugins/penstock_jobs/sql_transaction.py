"""A transaction of a job store on an SQL database."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import msgspec
from msgspec.structs import asdict
from sqlalchemy import Connection, Executable

from penstock.job_store import (
    IdTaken,
    JobDelivery,
    JobEnding,
    JobEvent,
    JobPage,
    JobProgress,
    JobQuery,
    JobRequest,
    JobResult,
    JobTally,
    NewJob,
    StoreCounts,
    StoredJob,
    StoreLimits,
    StoreOwner,
    Webhook,
    cursor_of,
    parse_cursor,
)
from penstock_jobs import statements as run
from penstock_jobs.tables import jobs as job_table

SPARE_CANDIDATES: Final = 64
"""A claim looks at this many more jobs than it wants, for those that others have locked."""

_encode = msgspec.json.Encoder().encode
_webhook = msgspec.json.Decoder(Webhook).decode
_progress = msgspec.json.Decoder(JobProgress).decode
_texts = msgspec.json.Decoder(dict[str, str]).decode


class SqlJobs:
    """The primitives for one job. Inserts are collected, and written with the commit or before they are read.

    Parameters
    ----------
    connection:
        A connection on which a transaction has begun.
    upserts:
        The insertions of its dialect.
    limits:
        The limits of the store.
    slot:
        The slot of the tallies to write to.
    lease_clock:
        The clock of the leases.

    Attributes
    ----------
    connection:
        The connection.
    writes:
        The number of calls that have written.
    """

    def __init__(
        self,
        connection: Connection,
        upserts: run.Upserts,
        limits: StoreLimits,
        slot: int,
        lease_clock: Callable[[Connection], float],
    ) -> None:
        self.limits = limits
        self.changed_endpoints: set[str] = set()
        self.changed_jobs: set[str] = set()
        self.writes = 0
        self.connection = connection
        self._upserts = upserts
        self._slot = slot
        self._lease_clock = lease_clock
        self._owners: dict[str, StoreOwner] = {}
        self._inserts: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        self._tally_changes: Counter[tuple[str, str, str]] = Counter()

    def _rows(self, statement: Executable, **parameters: Any) -> Sequence[Any]:
        if self._inserts:
            self.flush()
        return self.connection.execute(statement, parameters).all()

    def _jobs(self, statement: Executable, **parameters: Any) -> list[StoredJob]:
        return [_job_of(row) for row in self._rows(statement, **parameters)]

    def _write(self, statement: Executable, parameters: Mapping[str, Any]) -> int:
        self.writes += 1
        # SQLAlchemy forgets the number for insertions, unless it is asked to remember it.
        done = self.connection.execute(statement, parameters, execution_options={"preserve_rowcount": True})
        assert done.rowcount >= 0
        return done.rowcount

    def _insert_later(self, statement: Executable, rows: Iterable[dict[str, Any]]) -> None:
        self.writes += 1
        self._inserts[statement].extend(rows)

    def flush(self) -> None:
        """Write the rows that were collected."""
        inserts, self._inserts = self._inserts, defaultdict(list)
        for statement, rows in inserts.items():
            if rows:
                self.connection.execute(statement, rows)

    def finish(self) -> None:
        """Write everything that is left, directly before the commit."""
        self.flush()
        changes = sorted({(endpoint, state) for endpoint, state, _ in self._tally_changes})
        rows = [
            {
                "endpoint": endpoint,
                "state": state,
                "slot": self._slot,
                "jobs": self._tally_changes[endpoint, state, "jobs"],
                "size_bytes": self._tally_changes[endpoint, state, "size_bytes"],
            }
            for endpoint, state in changes
        ]
        # Last, and in one order: a transaction that waits for these rows holds nothing that this one waits for.
        if rows:
            self.connection.execute(self._upserts.tally, rows)

    def find(self, job_id: str) -> StoredJob | None:
        """Return a job, and lock it."""
        return next(iter(self._jobs(run.FIND, job=job_id)), None)

    def find_key(self, principal: str, key: str) -> StoredJob | None:
        """Return the job with an idempotency key, and lock it."""
        return next(iter(self._jobs(run.FIND_KEY, principal=principal, key=key)), None)

    def peek(self, job_id: str) -> StoredJob | None:
        """Return a job."""
        return next(iter(self._jobs(run.PEEK, job=job_id)), None)

    def insert(self, job: StoredJob, new: NewJob) -> None:
        """Add a job."""
        if self._write(self._upserts.job, _row_of(job)) == 0:
            raise IdTaken(job.id)
        body = {
            "job": job.id,
            "request": new.request,
            "media_type": new.media_type,
            "head": new.head,
            "metadata": _encode(new.metadata),
        }
        self._insert_later(run.INSERT_BODIES, [body])
        self._count(job, 1)
        self._note(job)

    def update(self, before: StoredJob, after: StoredJob) -> None:
        """Replace a job."""
        values = {f"new_{name}": value for name, value in _row_of(after).items() if name not in run.FIXED}
        old = {"old_id": before.id, "old_claim": before.claim, "old_state": before.state}
        if self._write(run.UPDATE_JOB, values | old) != 1:
            raise RuntimeError(f"job {before.id!r} has changed although it was locked")
        if (before.state, before.size_bytes) != (after.state, after.size_bytes):
            self._count(before, -1)
            self._count(after, 1)
        self._note(after)

    def _note(self, job: StoredJob) -> None:
        self.changed_jobs.add(job.id)
        if job.state == "queued":
            self.changed_endpoints.add(job.endpoint)

    def _count(self, job: StoredJob, sign: int) -> None:
        self._tally_changes[job.endpoint, job.state, "jobs"] += sign
        self._tally_changes[job.endpoint, job.state, "size_bytes"] += sign * job.size_bytes

    def add_events(self, events: Sequence[JobEvent]) -> None:
        """Add events."""
        self._insert_later(run.INSERT_EVENTS, map(asdict, events))

    def write_result(self, job_id: str, ending: JobEnding) -> None:
        """Write a result."""
        self.flush()
        parameters = {
            "of_job": job_id,
            "new_result": ending.result,
            "new_type": ending.media_type,
            "new_status": ending.status,
            "new_headers": _encode(ending.headers),
        }
        self._write(run.WRITE_RESULT, parameters)

    def requests(self, job_ids: Sequence[str]) -> Mapping[str, JobRequest]:
        """Return requests."""
        rows = self._rows(run.REQUESTS, ids=job_ids)
        return {job: JobRequest(body, kind, head, _texts(metadata)) for job, body, kind, head, metadata in rows}

    def metadata(self, job_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Return the metadata of jobs."""
        return {job: _texts(metadata) for job, metadata in self._rows(run.METADATA, ids=job_ids)}

    def result(self, job_id: str) -> JobResult | None:
        """Return a result."""
        rows = self._rows(run.RESULT, job=job_id)
        return next((JobResult(body, kind, status, _texts(headers)) for body, kind, status, headers in rows), None)

    def events(self, job_id: str, after: int, limit: int) -> Sequence[JobEvent]:
        """Return events."""
        return [JobEvent(*row) for row in self._rows(run.EVENTS, job=job_id, after=after, limit=limit)]

    def erase_bodies(self, job_ids: Collection[str]) -> None:
        """Remove bodies."""
        self.flush()
        self._write(run.ERASE_BODIES, {"ids": list(job_ids)})

    def erase(self, job_ids: Collection[str]) -> None:
        """Remove jobs."""
        for endpoint, state, size_bytes in self._rows(run.SIZES, ids=list(job_ids)):
            self._tally_changes[endpoint, state, "jobs"] -= 1
            self._tally_changes[endpoint, state, "size_bytes"] -= size_bytes
        for statement in run.ERASE:
            self._write(statement, {"ids": list(job_ids)})


class SqlTransaction(SqlJobs):
    """A ``StoreTransaction``: the primitives for many jobs, for owners, deliveries, schedules and counts."""

    def ready(self, endpoint: str, number: int, now: float) -> Sequence[StoredJob]:
        """Return the jobs that are next in turn."""
        queue = {"endpoint": endpoint, "now": now}
        window = {"window": self.limits.fair_window} | run.level_limits(now)
        if number == 1:
            return self._next(queue, window)
        [(first, last)] = self._rows(run.EXTREMES, **queue, **window)
        if first == last:  # the usual case, and an order of magnitude cheaper: the order is that of the index
            return self._jobs(run.IN_TURN, number=number, **queue)
        return self._ranked(number, queue, window)

    def _next(self, queue: dict[str, Any], window: dict[str, Any]) -> list[StoredJob]:
        """Return the job that is next in turn."""
        lines = self._rows(run.LINES, candidates=SPARE_CANDIDATES, **queue, **window)
        if not lines:
            return []
        ties = [line.principal for line in lines if line[:3] == lines[0][:3]]
        found = self._jobs(run.FIRST_OF_LINE, turn=lines[0].first_turn, principals=ties, **queue)
        return found or self._ranked(1, queue, window)  # another transaction has locked it

    def _ranked(self, number: int, queue: dict[str, Any], window: dict[str, Any]) -> list[StoredJob]:
        """Return the jobs that are next in turn, of any principals."""
        found = self._jobs(run.CLAIMABLE, number=number, candidates=number + SPARE_CANDIDATES, **queue, **window)
        if len(found) < number and self.connection.dialect.name != "sqlite":
            # Others may have locked all the candidates. Jobs that are in ``found`` are locked here, and come again.
            found = self._jobs(run.CLAIMABLE, number=number, candidates=window["window"], **queue, **window)
        return found

    def count_running(self, endpoint: str) -> int:
        """Count the running jobs."""
        if self.connection.dialect.name == "postgresql":
            # A statement of its own: the snapshot of the next one is taken when the lock is held. SQLite has one
            # transaction that writes at a time.
            self._rows(run.LOCK_ENDPOINT, endpoint=endpoint)
        [(number,)] = self._rows(run.COUNT_RUNNING, endpoint=endpoint)
        return int(number)

    def serve(self, endpoint: str, principal: str, now: float) -> None:
        """Note that a principal was served."""
        self._insert_later(self._upserts.served, [{"endpoint": endpoint, "principal": principal, "at": now}])

    def forget_served(self, before: float) -> None:
        """Forget principals."""
        self.flush()
        self._write(run.FORGET_SERVED, {"before": before})

    def due(self, now: float, limit: int) -> Sequence[StoredJob]:
        """Return jobs whose start has come."""
        return self._jobs(run.DUE, now=now, limit=limit)

    def late(self, now: float, limit: int) -> Sequence[StoredJob]:
        """Return jobs whose start deadline has passed."""
        return self._jobs(run.LATE, now=now, limit=limit)

    def held(self, owner: str) -> Sequence[StoredJob]:
        """Return the jobs of an owner."""
        return self._jobs(run.HELD, owner=owner)

    def cancels(self, owner: str) -> Sequence[StoredJob]:
        """Return the jobs of an owner that are to be cancelled."""
        return self._jobs(run.CANCELS, owner=owner)

    def bodies_overdue(self, now: float, limit: int) -> Sequence[StoredJob]:
        """Return jobs whose bodies are to go."""
        return self._jobs(run.BODIES_OVERDUE, now=now, limit=limit)

    def records_overdue(self, now: float, limit: int) -> Sequence[StoredJob]:
        """Return jobs that are to go."""
        return self._jobs(run.RECORDS_OVERDUE, now=now, limit=limit)

    def list_jobs(self, query: JobQuery) -> JobPage:
        """Return a page of jobs."""
        names = ("principal", "endpoint", "group", "code")
        wanted = {name: value for name in names if (value := getattr(query, name)) is not None}
        conditions = [job_table.c[name] == value for name, value in wanted.items()]
        if query.states:
            conditions.append(job_table.c.state.in_(query.states))
        after = None if query.after is None else parse_cursor(query.after)
        found = self._jobs(run.listing(conditions, after, query.limit + 1))
        page = tuple(found[: query.limit])
        return JobPage(page, cursor_of(page[-1]) if len(found) > len(page) > 0 else None)

    def ahead(self, job: StoredJob, limit: int) -> int:
        """Return the number of jobs before one."""
        [[number]] = self._rows(run.AHEAD, endpoint=job.endpoint, turn=job.turn, job=job.id, limit=limit)
        return int(number)

    # ---- owners

    def lease_now(self) -> float:
        """Return the time on the clock of the leases."""
        return self._lease_clock(self.connection)

    def owner(self, owner: str) -> StoreOwner | None:
        """Return an owner, and keep it from being removed."""
        if owner not in self._owners:  # many claims of one owner are committed together
            found = next((StoreOwner(*row) for row in self._rows(run.OWNER, owner=owner)), None)
            if found is None:
                return None
            self._owners[owner] = found
        return self._owners[owner]

    def owners(self) -> Sequence[StoreOwner]:
        """Return all owners."""
        return [StoreOwner(*row) for row in self._rows(run.OWNERS)]

    def save_owner(self, owner: StoreOwner) -> None:
        """Add or replace an owner."""
        self._owners.pop(owner.id, None)
        self._write(self._upserts.owner, asdict(owner))

    def remove_owner(self, owner: StoreOwner) -> bool:
        """Remove an owner, unless it has shown a sign of life."""
        self._owners.pop(owner.id, None)
        return self._write(run.REMOVE_OWNER, {"owner": owner.id, "last_beat": owner.beat}) == 1

    # ---- deliveries, schedules and counts

    def add_deliveries(self, deliveries: Sequence[JobDelivery]) -> None:
        """Add deliveries."""
        self._insert_later(run.INSERT_DELIVERIES, map(asdict, deliveries))

    def ready_deliveries(self, number: int, now: float) -> Sequence[JobDelivery]:
        """Return deliveries that are to be sent now."""
        return self._deliveries(run.READY_DELIVERIES, number=number, now=now)

    def _deliveries(self, statement: Executable, **parameters: Any) -> list[JobDelivery]:
        return [JobDelivery(**row._mapping) for row in self._rows(statement, **parameters)]

    def find_delivery(self, delivery_id: str) -> JobDelivery | None:
        """Return a delivery, and lock it."""
        return next(iter(self._deliveries(run.FIND_DELIVERY, delivery=delivery_id)), None)

    def update_delivery(self, delivery: JobDelivery) -> None:
        """Replace a delivery."""
        names = ("next_at", "state", "owner", "claim", "sent", "status", "error")
        values = {f"new_{name}": getattr(delivery, name) for name in names}
        self._write(run.UPDATE_DELIVERY, values | {"old_id": delivery.id})

    def sending(self, owner: str) -> Sequence[JobDelivery]:
        """Return the deliveries that an owner is sending."""
        return self._deliveries(run.SENDING, sender=owner)

    def deliveries(self, job_id: str) -> Sequence[JobDelivery]:
        """Return the deliveries of a job."""
        return self._deliveries(run.DELIVERIES, job=job_id)

    def advance_schedule(self, name: str, nominal: float) -> bool:
        """Move a schedule forward."""
        return self._write(self._upserts.schedule, {"name": name, "last_nominal": nominal}) == 1

    @cached_property
    def _committed(self) -> dict[tuple[str, str], tuple[int, int]]:
        """The tallies before this transaction."""
        rows = self._rows(run.TALLIES)
        return {(endpoint, state): (int(number), int(size)) for endpoint, state, number, size in rows}

    def tallies(self) -> Sequence[JobTally]:
        """Return the counts of jobs."""
        changes = self._tally_changes
        keys = {*self._committed, *((endpoint, state) for endpoint, state, _ in changes)}
        found = []
        for endpoint, state in sorted(keys):
            number, size_bytes = self._committed.get((endpoint, state), (0, 0))
            number += changes[endpoint, state, "jobs"]
            if number:
                size_bytes += changes[endpoint, state, "size_bytes"]
                found.append(JobTally(endpoint, state, number, size_bytes))  # type: ignore[arg-type] # a state, from the row
        return found

    def counts(self) -> StoreCounts:
        """Return all counts."""
        tallies = tuple(self.tallies())
        heads = {
            tally.endpoint: row[0]
            for tally in tallies
            if tally.state == "queued"
            for row in self._rows(run.HEAD, endpoint=tally.endpoint)
        }
        deliveries = dict(self._rows(run.DELIVERY_COUNTS))
        return StoreCounts(tallies, heads, tuple(self.owners()), deliveries)


def _row_of(job: StoredJob) -> dict[str, Any]:
    row = asdict(job)
    row["webhook"] = None if job.webhook is None else _encode(job.webhook)
    row["progress"] = None if job.progress is None else _encode(job.progress)
    return row


_NAMES: Final = tuple(column.name for column in job_table.c)


def _job_of(row: Sequence[Any]) -> StoredJob:
    values = dict(zip(_NAMES, row, strict=True))
    if values["webhook"] is not None:
        values["webhook"] = _webhook(values["webhook"])
    if values["progress"] is not None:
        values["progress"] = _progress(values["progress"])
    return StoredJob(**values)
