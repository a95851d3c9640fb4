"""The rows of a job store in dictionaries, and transactions on them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from penstock.job_store import (
    AGEING_SECONDS,
    IdTaken,
    JobDelivery,
    JobEnding,
    JobEvent,
    JobPage,
    JobQuery,
    JobRequest,
    JobResult,
    JobTally,
    NewJob,
    StoreCounts,
    StoredJob,
    StoreLimits,
    StoreOwner,
    cursor_of,
    parse_cursor,
)


@dataclass
class MemoryRows:
    """The tables, each by its key."""

    jobs: dict[str, StoredJob] = field(default_factory=dict)
    requests: dict[str, JobRequest] = field(default_factory=dict)
    metadata: dict[str, Mapping[str, str]] = field(default_factory=dict)
    results: dict[str, JobResult] = field(default_factory=dict)
    events: dict[str, tuple[JobEvent, ...]] = field(default_factory=dict)
    owners: dict[str, StoreOwner] = field(default_factory=dict)
    deliveries: dict[str, JobDelivery] = field(default_factory=dict)
    schedules: dict[str, float] = field(default_factory=dict)
    served: dict[tuple[str, str], float] = field(default_factory=dict)
    tallies: dict[tuple[str, str], JobTally] = field(default_factory=dict)

    def of_jobs(self) -> tuple[dict[str, Any], ...]:
        """Return the tables with a row for each job."""
        return self.jobs, self.requests, self.metadata, self.results, self.events


class MemoryJobs:
    """The primitives for one job, of a transaction that can be undone.

    Parameters
    ----------
    rows:
        The tables. One transaction at a time.
    limits:
        The limits of the store.
    clock:
        The clock of the leases.
    before_statement:
        Called before each primitive, by name; for a simulation, which ends the process there.
    """

    def __init__(
        self,
        rows: MemoryRows,
        limits: StoreLimits,
        clock: Callable[[], float],
        before_statement: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.limits = limits
        self.changed_endpoints: set[str] = set()
        self.changed_jobs: set[str] = set()
        self._rows = rows
        self._clock = clock
        self._before = before_statement
        self._undo: list[tuple[MutableMapping[Any, Any], Any, Any]] = []

    def roll_back(self) -> None:
        """Undo everything."""
        while self._undo:
            table, key, value = self._undo.pop()
            if value is None:
                del table[key]
            else:
                table[key] = value

    def _set(self, table: MutableMapping[Any, Any], key: Any, value: Any) -> None:
        self._undo.append((table, key, table.get(key)))
        table[key] = value

    def _remove(self, table: MutableMapping[Any, Any], key: Any) -> None:
        if key in table:
            value = table.pop(key)
            self._undo.append((table, key, value))

    # ---- one job

    def find(self, job_id: str) -> StoredJob | None:
        """Return a job."""
        self._before("find")
        return self._rows.jobs.get(job_id)

    def find_key(self, principal: str, key: str) -> StoredJob | None:
        """Return the job with an idempotency key."""
        self._before("find_key")
        return self._key_owner(principal, key)

    def _key_owner(self, principal: str, key: str) -> StoredJob | None:
        jobs = self._rows.jobs.values()
        return next((job for job in jobs if (job.principal, job.idempotency_key) == (principal, key)), None)

    peek = find

    def insert(self, job: StoredJob, new: NewJob) -> None:
        """Add a job."""
        self._before("insert")
        key = job.idempotency_key
        if job.id in self._rows.jobs or (key is not None and self._key_owner(job.principal, key) is not None):
            raise IdTaken(job.id)
        self._set(self._rows.jobs, job.id, job)
        self._set(self._rows.requests, job.id, JobRequest(new.request, new.media_type, new.head, new.metadata))
        self._set(self._rows.metadata, job.id, new.metadata)
        self._count(job, 1)
        self._note(job)

    def update(self, before: StoredJob, after: StoredJob) -> None:
        """Replace a job."""
        self._before("update")
        assert self._rows.jobs[before.id].claim == before.claim
        self._set(self._rows.jobs, after.id, after)
        self._count(before, -1)
        self._count(after, 1)
        self._note(after)

    def _note(self, job: StoredJob) -> None:
        self.changed_jobs.add(job.id)
        if job.state == "queued":
            self.changed_endpoints.add(job.endpoint)

    def _count(self, job: StoredJob, sign: int) -> None:
        key = (job.endpoint, job.state)
        tally = self._rows.tallies.get(key) or JobTally(job.endpoint, job.state, 0, 0)
        counted = replace(tally, jobs=tally.jobs + sign, size_bytes=tally.size_bytes + sign * job.size_bytes)
        self._set(self._rows.tallies, key, counted)

    def add_events(self, events: Sequence[JobEvent]) -> None:
        """Add events."""
        self._before("add_events")
        for event in events:
            self._set(self._rows.events, event.job, (*self._rows.events.get(event.job, ()), event))

    def write_result(self, job_id: str, outcome: JobEnding) -> None:
        """Write a result."""
        self._before("write_result")
        result = JobResult(outcome.result or b"", outcome.media_type, outcome.status, outcome.headers)
        self._set(self._rows.results, job_id, result)

    def requests(self, job_ids: Sequence[str]) -> Mapping[str, JobRequest]:
        """Return requests."""
        self._before("requests")
        return {job_id: self._rows.requests[job_id] for job_id in job_ids if job_id in self._rows.requests}

    def metadata(self, job_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Return the metadata of jobs."""
        self._before("metadata")
        return {job_id: self._rows.metadata[job_id] for job_id in job_ids if job_id in self._rows.metadata}

    def result(self, job_id: str) -> JobResult | None:
        """Return a result."""
        self._before("result")
        return self._rows.results.get(job_id)

    def events(self, job_id: str, after: int, limit: int) -> Sequence[JobEvent]:
        """Return events."""
        self._before("events")
        return self._rows.events.get(job_id, ())[after : after + limit]

    def erase_bodies(self, job_ids: Collection[str]) -> None:
        """Remove bodies."""
        self._before("erase_bodies")
        for job_id in job_ids:
            self._remove(self._rows.requests, job_id)
            self._remove(self._rows.results, job_id)

    def erase(self, job_ids: Collection[str]) -> None:
        """Remove jobs."""
        self._before("erase")
        for job_id in job_ids:
            self._count(self._rows.jobs[job_id], -1)
            for table in self._rows.of_jobs():
                self._remove(table, job_id)
            for delivery in [d for d in self._rows.deliveries.values() if d.job == job_id]:
                self._remove(self._rows.deliveries, delivery.id)


class MemoryTransaction(MemoryJobs):
    """A ``StoreTransaction`` on ``MemoryRows``."""

    def ready(self, endpoint: str, number: int, now: float) -> Sequence[StoredJob]:
        """Return the jobs that are next in turn."""
        self._before("ready")
        queued = sorted(
            (job for job in self._queued() if job.endpoint == endpoint and job.turn is not None), key=place_of
        )
        may_start = [job for job in queued if job.start_by is None or job.start_by > now]
        served = {key[1]: at for key, at in self._rows.served.items() if key[0] == endpoint}
        return fair_order(may_start[: self.limits.fair_window], now, served)[:number]

    def count_running(self, endpoint: str) -> int:
        """Count the running jobs."""
        self._before("count_running")
        return sum(job.state == "running" and job.endpoint == endpoint for job in self._rows.jobs.values())

    def serve(self, endpoint: str, principal: str, now: float) -> None:
        """Note that a principal was served."""
        self._before("serve")
        key = (endpoint, principal)
        self._set(self._rows.served, key, max(now, self._rows.served.get(key, now)))

    def forget_served(self, before: float) -> None:
        """Forget principals."""
        self._before("forget_served")
        for key in [key for key, at in self._rows.served.items() if at < before]:
            self._remove(self._rows.served, key)

    def _queued(self) -> Iterable[StoredJob]:
        return (job for job in self._rows.jobs.values() if job.state == "queued")

    def due(self, now: float, limit: int) -> Sequence[StoredJob]:
        """Return jobs whose start has come."""
        self._before("due")
        waiting = (job for job in self._queued() if job.turn is None)
        return _first(((job.not_before, job) for job in waiting), now, limit)

    def late(self, now: float, limit: int) -> Sequence[StoredJob]:
        """Return jobs whose start deadline has passed."""
        self._before("late")
        return _first(((job.start_by, job) for job in self._queued()), now, limit)

    def held(self, owner: str) -> Sequence[StoredJob]:
        """Return the jobs of an owner."""
        self._before("held")
        return [job for job in self._rows.jobs.values() if job.owner == owner]

    def cancels(self, owner: str) -> Sequence[StoredJob]:
        """Return the jobs of an owner that are to be cancelled."""
        return [job for job in self.held(owner) if job.cancel_requested]

    def bodies_overdue(self, now: float, limit: int) -> Sequence[StoredJob]:
        """Return jobs whose bodies are to go."""
        self._before("bodies_overdue")
        return _first(((job.bodies_until, job) for job in self._rows.jobs.values()), now, limit)

    def records_overdue(self, now: float, limit: int) -> Sequence[StoredJob]:
        """Return jobs that are to go."""
        self._before("records_overdue")
        return _first(((job.delete_after, job) for job in self._rows.jobs.values()), now, limit)

    def list_jobs(self, query: JobQuery) -> JobPage:
        """Return a page of jobs."""
        self._before("list_jobs")
        jobs = sorted(self._rows.jobs.values(), key=lambda job: (job.created_at, job.id))
        if query.after is not None:
            jobs = jobs[: bisect_left(jobs, parse_cursor(query.after), key=lambda job: (job.created_at, job.id))]
        found = [job for job in reversed(jobs) if _fits(job, query)]
        page = found[: query.limit]
        return JobPage(tuple(page), cursor_of(page[-1]) if len(found) > len(page) > 0 else None)

    def ahead(self, job: StoredJob, limit: int) -> int:
        """Return the number of jobs before one."""
        self._before("ahead")
        earlier = [
            other
            for other in self._queued()
            if other.endpoint == job.endpoint and other.turn is not None and place_of(other) < place_of(job)
        ]
        return min(len(earlier), limit)

    # ---- owners

    def lease_now(self) -> float:
        """Return the time on the clock of the leases."""
        return self._clock()

    def owner(self, owner: str) -> StoreOwner | None:
        """Return an owner."""
        self._before("owner")
        return self._rows.owners.get(owner)

    def owners(self) -> Sequence[StoreOwner]:
        """Return all owners."""
        self._before("owners")
        return tuple(self._rows.owners.values())

    def save_owner(self, owner: StoreOwner) -> None:
        """Add or replace an owner."""
        self._before("save_owner")
        self._set(self._rows.owners, owner.id, owner)

    def remove_owner(self, owner: StoreOwner) -> bool:
        """Remove an owner."""
        self._before("remove_owner")
        self._remove(self._rows.owners, owner.id)
        return True

    # ---- deliveries, schedules and counts

    def add_deliveries(self, deliveries: Sequence[JobDelivery]) -> None:
        """Add deliveries."""
        self._before("add_deliveries")
        for delivery in deliveries:
            self._set(self._rows.deliveries, delivery.id, delivery)

    def ready_deliveries(self, number: int, now: float) -> Sequence[JobDelivery]:
        """Return deliveries that are to be sent now."""
        self._before("ready_deliveries")
        waiting = [d for d in self._rows.deliveries.values() if d.state == "waiting" and d.next_at <= now]
        return sorted(waiting, key=lambda delivery: (delivery.next_at, delivery.id))[:number]

    def find_delivery(self, delivery_id: str) -> JobDelivery | None:
        """Return a delivery."""
        self._before("find_delivery")
        return self._rows.deliveries.get(delivery_id)

    def update_delivery(self, delivery: JobDelivery) -> None:
        """Replace a delivery."""
        self._before("update_delivery")
        self._set(self._rows.deliveries, delivery.id, delivery)

    def sending(self, owner: str) -> Sequence[JobDelivery]:
        """Return the deliveries that an owner is sending."""
        self._before("sending")
        return [d for d in self._rows.deliveries.values() if d.owner == owner]

    def deliveries(self, job_id: str) -> Sequence[JobDelivery]:
        """Return the deliveries of a job."""
        self._before("deliveries")
        return sorted((d for d in self._rows.deliveries.values() if d.job == job_id), key=lambda d: d.seq)

    def advance_schedule(self, name: str, nominal: float) -> bool:
        """Move a schedule forward."""
        self._before("advance_schedule")
        if self._rows.schedules.get(name, nominal - 1) >= nominal:
            return False
        self._set(self._rows.schedules, name, nominal)
        return True

    def tallies(self) -> Sequence[JobTally]:
        """Return the counts of jobs."""
        self._before("tallies")
        return [tally for tally in self._rows.tallies.values() if tally.jobs]

    def counts(self) -> StoreCounts:
        """Return all counts."""
        heads: dict[str, float] = {}
        for job in sorted((job for job in self._queued() if job.turn is not None), key=place_of):
            heads.setdefault(job.endpoint, job.created_at)
        deliveries = Counter(delivery.state for delivery in self._rows.deliveries.values())
        return StoreCounts(tuple(self.tallies()), heads, tuple(self.owners()), dict(deliveries))


def place_of(job: StoredJob) -> tuple[float, str]:
    """Return the place of a queued job in its queue."""
    assert job.turn is not None
    return job.turn, job.id


def fair_order(jobs: Sequence[StoredJob], now: float, served: Mapping[str, float]) -> list[StoredJob]:
    """Return jobs, which are in the order of their places, in the order in which they are claimed.

    By level, which is the priority after ageing; then the first job of each principal, the second, and so on; then the
    principals by the time at which they were last served.
    """
    numbered: Counter[tuple[int, str]] = Counter()
    ranked = []
    for job in jobs:
        level = _level(job, now)
        numbered[level, job.principal] += 1
        ranked.append((level, numbered[level, job.principal], served.get(job.principal, 0.0), *place_of(job), job))
    return [rank[-1] for rank in sorted(ranked, key=lambda rank: rank[:-1])]


def _level(job: StoredJob, now: float) -> int:
    assert job.turn is not None
    return next((level for level in range(3) if job.turn <= now + level * AGEING_SECONDS), 3)


def _first(dated: Iterable[tuple[float | None, StoredJob]], now: float, limit: int) -> list[StoredJob]:
    """Return the jobs whose instant has come, the earliest first."""
    overdue = [(instant, job.id, job) for instant, job in dated if instant is not None and instant <= now]
    return [job for _, _, job in sorted(overdue, key=lambda item: item[:2])[:limit]]


def _fits(job: StoredJob, query: JobQuery) -> bool:
    wanted = {
        "principal": query.principal,
        "endpoint": query.endpoint,
        "group": query.group,
        "code": query.code,
    }
    return (not query.states or job.state in query.states) and all(
        value is None or getattr(job, name) == value for name, value in wanted.items()
    )
