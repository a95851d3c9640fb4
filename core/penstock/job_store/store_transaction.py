"""The primitives that a database offers to the operations: rows in and out, within one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from penstock.job_store.stored_jobs import (
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
)


class StoreTransaction(Protocol):
    """One transaction. The rows that it returns are locked, unless it says otherwise.

    The operations in ``job_store.store_operations`` decide; these primitives only read and write rows.
    """

    @property
    def limits(self) -> StoreLimits:
        """The limits of the store."""

    # ---- one job

    def find(self, job_id: str) -> StoredJob | None:
        """Return a job, and lock it; None if there is none."""

    def find_key(self, principal: str, key: str) -> StoredJob | None:
        """Return the job of a principal with this idempotency key, and lock it."""

    def peek(self, job_id: str) -> StoredJob | None:
        """Return a job without locking it: for reading."""

    def insert(self, job: StoredJob, new: NewJob) -> None:
        """Add a job and its request.

        Raises
        ------
        IdTaken
            If its id or its key is in use.
        """

    def update(self, before: StoredJob, after: StoredJob) -> None:
        """Replace the row of a job that this transaction has found."""

    def add_events(self, events: Sequence[JobEvent]) -> None:
        """Add events."""

    def write_result(self, job_id: str, outcome: JobEnding) -> None:
        """Write the result of a job."""

    def requests(self, job_ids: Sequence[str]) -> Mapping[str, JobRequest]:
        """Return the requests of jobs, without those whose bodies have been removed."""

    def metadata(self, job_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Return the callers' metadata of jobs, which stay as long as the record."""

    def result(self, job_id: str) -> JobResult | None:
        """Return the result of a job; None if it has none, or no longer."""

    def events(self, job_id: str, after: int, limit: int) -> Sequence[JobEvent]:
        """Return the events of a job that follow ``after``, in order."""

    def erase_bodies(self, job_ids: Collection[str]) -> None:
        """Remove the requests and results of jobs; the metadata stay."""

    def erase(self, job_ids: Collection[str]) -> None:
        """Remove jobs with all that belongs to them."""

    # ---- many jobs; those to be changed are locked

    def ready(self, endpoint: str, number: int, now: float) -> Sequence[StoredJob]:
        """Return the jobs that are next in turn, at most ``number``, without those that another transaction has locked.

        They are queued, have a turn, and may still start. By priority with ageing, then by turns between the principals
        of the first ``limits.fair_window``, beginning with the one that was served the longest time ago, then by age.
        """

    def count_running(self, endpoint: str) -> int:
        """Return the number of running jobs of an endpoint.

        Until this transaction has ended, no other one gets an answer to this question about the endpoint.
        """

    def serve(self, endpoint: str, principal: str, now: float) -> None:
        """Note that a job of a principal was claimed, unless a later claim is noted already."""

    def forget_served(self, before: float) -> None:
        """Forget the principals that were last served before an instant."""

    def due(self, now: float, limit: int) -> Sequence[StoredJob]:
        """Return queued jobs without a turn whose ``not_before`` has come."""

    def late(self, now: float, limit: int) -> Sequence[StoredJob]:
        """Return queued jobs whose ``start_by`` has come."""

    def held(self, owner: str) -> Sequence[StoredJob]:
        """Return the running jobs of an owner."""

    def cancels(self, owner: str) -> Sequence[StoredJob]:
        """Return the running jobs of an owner that are to be cancelled; these are not locked."""

    def bodies_overdue(self, now: float, limit: int) -> Sequence[StoredJob]:
        """Return jobs whose ``bodies_until`` has come."""

    def records_overdue(self, now: float, limit: int) -> Sequence[StoredJob]:
        """Return jobs whose ``delete_after`` has come."""

    def list_jobs(self, query: JobQuery) -> JobPage:
        """Return a page of jobs, newest first."""

    def ahead(self, job: StoredJob, limit: int) -> int:
        """Return the number of queued jobs with an earlier turn, counting no further than ``limit``."""

    # ---- owners

    def lease_now(self) -> float:
        """Return the instant on the clock of the leases, which no change of the wall clock affects."""

    def owner(self, owner: str) -> StoreOwner | None:
        """Return an owner, which cannot be removed before the end of this transaction."""

    def owners(self) -> Sequence[StoreOwner]:
        """Return all owners."""

    def save_owner(self, owner: StoreOwner) -> None:
        """Add or replace an owner."""

    def remove_owner(self, owner: StoreOwner) -> bool:
        """Remove an owner unless it has shown a sign of life since it was read; return whether it is removed."""

    # ---- deliveries, schedules and counts

    def add_deliveries(self, deliveries: Sequence[JobDelivery]) -> None:
        """Add deliveries."""

    def ready_deliveries(self, number: int, now: float) -> Sequence[JobDelivery]:
        """Return deliveries that are to be sent now, oldest first, without those that are locked."""

    def find_delivery(self, delivery_id: str) -> JobDelivery | None:
        """Return a delivery, and lock it."""

    def update_delivery(self, delivery: JobDelivery) -> None:
        """Replace the row of a delivery."""

    def sending(self, owner: str) -> Sequence[JobDelivery]:
        """Return the deliveries that an owner is sending."""

    def deliveries(self, job_id: str) -> Sequence[JobDelivery]:
        """Return the deliveries of a job, in order."""

    def advance_schedule(self, name: str, nominal: float) -> bool:
        """Move the last nominal time of a schedule forward; return False if it is there already."""

    def tallies(self) -> Sequence[JobTally]:
        """Return the number of jobs and bytes by endpoint and state, with the changes of this transaction."""

    def counts(self) -> StoreCounts:
        """Return the content of the store in numbers."""
