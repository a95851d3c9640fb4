"""The store of background jobs, as engines, routes and senders of webhooks see it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol

from penstock.job_store.stored_jobs import (
    Beat,
    ChunkReport,
    ClaimedJob,
    ClaimKey,
    DeliveryKey,
    JobDelivery,
    JobEnding,
    JobEvent,
    JobPage,
    JobQuery,
    JobRequest,
    JobResult,
    NewJob,
    ProgressReport,
    PutJob,
    Settlement,
    StoreChange,
    StoreCounts,
    StoredJob,
    StoreOwner,
    SweepResult,
)


class JobStore(Protocol):
    """A durable store of jobs, shared by any number of engines.

    Each call returns a future at once. It is done when the effect is durable; its callbacks run on a thread of the
    store, so an engine's must do no more than ``call_soon_threadsafe``. Each call is one transaction, and may be
    repeated. A call that fails with ``StoreUnavailable`` may have had its effect. ``now`` is the wall clock, in Unix
    seconds; leases are measured on a clock of the store's own.

    ``penstock.testing.JobStoreSuite`` is the specification, as tests.
    """

    @property
    def stale_writes(self) -> int:
        """The number of writes that were refused because their claim no longer held the job."""

    def start(self, on_change: Callable[[StoreChange], None]) -> None:
        """Open the store.

        ``on_change`` is called after each transaction that has queued, changed or ended a job, be it another process's.
        It runs on a thread of the store and may be called without a cause. Reset your flag before you query.

        Raises
        ------
        StoreRejected
            If the store cannot be used: it is corrupt, newer than this version, or in an unsuitable place.
        StoreUnavailable
            If the database does not answer.
        """

    def close(self) -> None:
        """Finish what was called, and close. Owners stay registered until they are removed or found dead."""

    # ---- callers

    def put(self, jobs: Sequence[NewJob], *, now: float) -> Future[list[PutJob]]:
        """Store jobs, all or none. Fails with ``IdempotencyMismatch`` or ``StoreFull``."""

    def put_scheduled(self, name: str, nominal: float, job: NewJob, *, now: float) -> Future[PutJob | None]:
        """Store the job of a schedule for a nominal time; None if this time, or a later one, has had its job."""

    def cancel(self, job_id: str, *, now: float) -> Future[StoredJob]:
        """Cancel a queued job, flag a running one, leave a final one. Fails with ``JobNotFound``."""

    def delete(self, job_id: str) -> Future[None]:
        """Remove a final job. Fails with ``JobNotFound`` or ``JobNotFinal``."""

    def get(self, job_id: str) -> Future[StoredJob]:
        """Return a job. Fails with ``JobNotFound``."""

    def list_jobs(self, query: JobQuery) -> Future[JobPage]:
        """Return a page of jobs, newest first."""

    def ahead(self, job_id: str, limit: int = 1000) -> Future[int | None]:
        """Return the number of jobs before a queued one; None if it is not in its queue, or over ``limit``."""

    def metadata(self, job_ids: Sequence[str]) -> Future[Mapping[str, Mapping[str, str]]]:
        """Return the callers' metadata of those of the jobs that exist, as long as their records do."""

    def request(self, job_id: str) -> Future[JobRequest]:
        """Return the request of a job. Fails with ``JobNotFound`` or ``JobGone``."""

    def result(self, job_id: str) -> Future[JobResult | None]:
        """Return the result of a job. Fails with ``JobNotFound``, ``JobNotFinal`` or ``JobGone``."""

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> Future[Sequence[JobEvent]]:
        """Return the events of a job after a number, in order; none of a job that does not exist."""

    # ---- engines

    def register(self, owner: StoreOwner, *, now: float) -> Future[None]:
        """Add an owner, which may claim jobs until it is removed or found dead."""

    def remove(self, owner: str, *, now: float) -> Future[int]:
        """Remove an owner, and put back what it holds, uncounted; return the number of jobs."""

    def beat(self, owner: str) -> Future[Beat]:
        """Renew the lease of an owner."""

    def cancels(self, owner: str) -> Future[tuple[ClaimKey, ...]]:
        """Return the jobs of an owner that callers want cancelled."""

    def claim(
        self, owner: str, endpoint: str, number: int, *, now: float, most_running: int | None = None
    ) -> Future[list[ClaimedJob]]:
        """Hand queued jobs to an owner, at most ``number``. Fails with ``OwnerLost``.

        ``most_running``: the number of jobs of the endpoint that may be running afterwards, of whatever owners.
        """

    def started(self, key: ClaimKey, *, now: float) -> Future[bool]:
        """Note that an attempt has started in a worker. False, here and below: the claim no longer holds the job."""

    def report(self, key: ClaimKey, reports: Sequence[ProgressReport | ChunkReport], *, now: float) -> Future[bool]:
        """Add progress and chunks. Fails with ``StoreFull`` if there is no room for the chunks."""

    def finish(self, key: ClaimKey, outcome: JobEnding, *, now: float) -> Future[bool]:
        """Write the end of a job."""

    def retry_later(self, key: ClaimKey, not_before: float, reason: str, *, now: float) -> Future[bool]:
        """Queue a job that has failed once more; cancel it if a caller wants that."""

    def give_back(self, keys: Sequence[ClaimKey], *, now: float) -> Future[int]:
        """Put back jobs that will not be run here; their claims do not count. Return the number that were held."""

    def keep_claims(self, owner: str, keys: Collection[ClaimKey], *, now: float) -> Future[int]:
        """Put back what an owner holds besides these claims; they do not count. Return the number.

        An engine calls it when the answer to a claim was lost, and while no other claim of its own is under way. Claims
        that the database has not ended yet are waited for. Fails with ``OwnerLost``.
        """

    # ---- maintenance

    def sweep(self, *, now: float, lease: float = 30.0) -> Future[SweepResult]:
        """Remove dead owners and free their jobs, in one transaction; let jobs with a missed start deadline expire."""

    def retain(self, *, now: float, limit: int = 200) -> Future[int]:
        """Remove a portion of what has outlived its retention; return its number of jobs. Repeat until that is 0."""

    def counts(self) -> Future[StoreCounts]:
        """Return the content in numbers, at a cost that does not grow with the number of jobs."""

    # ---- deliveries

    def claim_deliveries(self, owner: str, number: int, *, now: float) -> Future[Sequence[JobDelivery]]:
        """Hand deliveries that are to be sent now to an owner. Fails with ``OwnerLost``."""

    def keep_deliveries(self, owner: str, keys: Collection[DeliveryKey]) -> Future[int]:
        """Have sent again what an owner holds besides these deliveries, as ``keep_claims`` does. Return the number."""

    def settle(self, delivery_id: str, claim: int, settlement: Settlement) -> Future[bool]:
        """Write the result of sending a delivery."""

    def deliveries(self, job_id: str) -> Future[Sequence[JobDelivery]]:
        """Return the deliveries of a job, in order."""

    def retry_delivery(self, delivery_id: str, *, now: float) -> Future[bool]:
        """Send a delivery again; False if it is not there, or still on its way."""
