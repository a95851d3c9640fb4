"""A job store on any database that has transactions: every call is an operation in one of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from penstock.job_store import store_operations
from penstock.job_store.store_transaction import StoreTransaction
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
    StoreCounts,
    StoredJob,
    StoreOwner,
    SweepResult,
)

T = TypeVar("T")


class TransactionStore:
    """The calls of ``JobStore``, which documents them; a subclass runs operations in transactions, opens and closes."""

    def __init__(self) -> None:
        self._stale = 0

    def write(self, operation: Callable[[StoreTransaction], T]) -> Future[T]:
        """Run an operation in a transaction that writes."""
        raise NotImplementedError

    def read(self, operation: Callable[[StoreTransaction], T]) -> Future[T]:
        """Run an operation in a transaction that only reads."""
        raise NotImplementedError

    def dead_owners(self) -> Sequence[str]:
        """Return owners that are known to be dead, whatever their leases say."""
        return ()

    def can_judge(self, tx: StoreTransaction, lease: float) -> bool:  # noqa: ARG002 - for stores whose clocks may leap
        """Return whether the ages of beats can be relied on now."""
        return True

    @property
    def stale_writes(self) -> int:
        """The number of writes whose claim no longer held the job."""
        return self._stale

    # ---- callers

    def put(self, jobs: Sequence[NewJob], *, now: float) -> Future[list[PutJob]]:
        """Store jobs."""
        return self.write(partial(store_operations.put, jobs=tuple(jobs), now=now))

    def put_scheduled(self, name: str, nominal: float, job: NewJob, *, now: float) -> Future[PutJob | None]:
        """Store the job of a schedule."""
        return self.write(partial(store_operations.put_scheduled, name=name, nominal=nominal, new=job, now=now))

    def cancel(self, job_id: str, *, now: float) -> Future[StoredJob]:
        """Cancel a job."""
        return self.write(partial(store_operations.cancel, job_id=job_id, now=now))

    def delete(self, job_id: str) -> Future[None]:
        """Remove a final job."""
        return self.write(partial(store_operations.delete, job_id=job_id))

    def get(self, job_id: str) -> Future[StoredJob]:
        """Return a job."""
        return self.read(partial(store_operations.get, job_id=job_id))

    def list_jobs(self, query: JobQuery) -> Future[JobPage]:
        """Return a page of jobs."""
        return self.read(lambda tx: tx.list_jobs(query))

    def ahead(self, job_id: str, limit: int = 1000) -> Future[int | None]:
        """Return the number of jobs before a queued one."""
        return self.read(partial(store_operations.ahead, job_id=job_id, limit=limit))

    def metadata(self, job_ids: Sequence[str]) -> Future[Mapping[str, Mapping[str, str]]]:
        """Return the callers' metadata of jobs."""
        return self.read(lambda tx: tx.metadata(tuple(job_ids)))

    def request(self, job_id: str) -> Future[JobRequest]:
        """Return the request of a job."""
        return self.read(partial(store_operations.request, job_id=job_id))

    def result(self, job_id: str) -> Future[JobResult | None]:
        """Return the result of a job."""
        return self.read(partial(store_operations.result, job_id=job_id))

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> Future[Sequence[JobEvent]]:
        """Return the events of a job."""
        return self.read(lambda tx: tx.events(job_id, after, limit))

    # ---- engines

    def register(self, owner: StoreOwner, *, now: float) -> Future[None]:
        """Add an owner."""
        return self.write(partial(store_operations.register, owner=owner, now=now))

    def remove(self, owner: str, *, now: float) -> Future[int]:
        """Remove an owner."""
        return self.write(partial(store_operations.remove, owner=owner, now=now))

    def beat(self, owner: str) -> Future[Beat]:
        """Renew the lease of an owner."""
        return self.write(partial(store_operations.beat, owner=owner))

    def cancels(self, owner: str) -> Future[tuple[ClaimKey, ...]]:
        """Return the jobs of an owner that callers want cancelled."""
        return self.read(partial(store_operations.cancels, owner=owner))

    def claim(
        self, owner: str, endpoint: str, number: int, *, now: float, most_running: int | None = None
    ) -> Future[list[ClaimedJob]]:
        """Hand queued jobs to an owner."""
        claim = partial(store_operations.claim, owner=owner, endpoint=endpoint, number=number)
        return self.write(partial(claim, now=now, most_running=most_running))

    def started(self, key: ClaimKey, *, now: float) -> Future[bool]:
        """Note the start of an attempt."""
        return self._fenced(partial(store_operations.start, key=key, now=now))

    def report(self, key: ClaimKey, reports: Sequence[ProgressReport | ChunkReport], *, now: float) -> Future[bool]:
        """Add progress and chunks."""
        return self._fenced(partial(store_operations.report, key=key, reports=tuple(reports), now=now))

    def finish(self, key: ClaimKey, outcome: JobEnding, *, now: float) -> Future[bool]:
        """Write the end of a job."""
        return self._fenced(partial(store_operations.finish, key=key, outcome=outcome, now=now))

    def retry_later(self, key: ClaimKey, not_before: float, reason: str, *, now: float) -> Future[bool]:
        """Queue a failed job again."""
        return self._fenced(
            partial(store_operations.retry_later, key=key, not_before=not_before, reason=reason, now=now)
        )

    def give_back(self, keys: Sequence[ClaimKey], *, now: float) -> Future[int]:
        """Put claimed jobs back."""
        return self.write(partial(store_operations.give_back, keys=tuple(keys), now=now))

    def keep_claims(self, owner: str, keys: Collection[ClaimKey], *, now: float) -> Future[int]:
        """Put back what an owner has not heard of."""
        return self.write(partial(store_operations.keep_claims, owner=owner, keys=frozenset(keys), now=now))

    def _fenced(self, operation: Callable[[StoreTransaction], bool]) -> Future[bool]:
        def counted(tx: StoreTransaction) -> bool:
            # Not in a callback of the future, which runs after its waiters go on.
            holds = operation(tx)
            if not holds:
                self._stale += 1
            return holds

        return self.write(counted)

    # ---- maintenance

    def sweep(self, *, now: float, lease: float = 30.0) -> Future[SweepResult]:
        """Free the jobs of dead owners."""
        dead = self.dead_owners()

        def sweep(tx: StoreTransaction) -> SweepResult:
            return store_operations.sweep(tx, lease if self.can_judge(tx, lease) else None, dead, now)

        return self.write(sweep)

    def retain(self, *, now: float, limit: int = store_operations.BATCH) -> Future[int]:
        """Remove what has outlived its retention."""
        return self.write(partial(store_operations.retain, now=now, limit=limit))

    def counts(self) -> Future[StoreCounts]:
        """Return the content in numbers."""
        return self.read(lambda tx: tx.counts())

    # ---- deliveries

    def claim_deliveries(self, owner: str, number: int, *, now: float) -> Future[Sequence[JobDelivery]]:
        """Hand deliveries to an owner."""
        return self.write(partial(store_operations.claim_deliveries, owner=owner, number=number, now=now))

    def keep_deliveries(self, owner: str, keys: Collection[DeliveryKey]) -> Future[int]:
        """Have deliveries sent again that an owner has not heard of."""
        return self.write(partial(store_operations.keep_deliveries, owner=owner, keys=frozenset(keys)))

    def settle(self, delivery_id: str, claim: int, settlement: Settlement) -> Future[bool]:
        """Write the result of sending a delivery."""
        return self._fenced(
            partial(store_operations.settle, delivery_id=delivery_id, claim=claim, settlement=settlement)
        )

    def deliveries(self, job_id: str) -> Future[Sequence[JobDelivery]]:
        """Return the deliveries of a job."""
        return self.read(lambda tx: tx.deliveries(job_id))

    def retry_delivery(self, delivery_id: str, *, now: float) -> Future[bool]:
        """Send a delivery again."""
        return self.write(partial(store_operations.retry_delivery, delivery_id=delivery_id, now=now))
