"""The operations on a store. Each is one function, which runs within one transaction of any database.

The time is an argument. An error is raised before anything is written, so an operation that is refused has no effect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate
from typing import Final

from msgspec.structs import replace

from penstock.job_store import job_changes
from penstock.job_store.store_errors import (
    IdempotencyMismatch,
    JobGone,
    JobNotFinal,
    JobNotFound,
    OwnerLost,
    StoreFull,
)
from penstock.job_store.store_transaction import StoreTransaction
from penstock.job_store.stored_jobs import (
    Beat,
    ChunkReport,
    ClaimedJob,
    ClaimKey,
    DeliveryKey,
    JobDelivery,
    JobEnding,
    JobRequest,
    JobResult,
    NewJob,
    ProgressReport,
    PutJob,
    Settlement,
    StoredJob,
    StoreOwner,
    SweepResult,
)

BATCH: Final = 200
"""The most rows that one operation of maintenance changes: transactions stay short."""
BATCH_BYTES: Final = 4 << 20
"""The size from which such an operation ends."""

FULL_RETRY_SECONDS: Final = 30.0
SERVED_SECONDS: Final = 86_400.0
"""The time after which it is forgotten when a principal was last served."""

# ---- callers


def put(tx: StoreTransaction, jobs: Sequence[NewJob], now: float) -> list[PutJob]:
    """Store jobs, all or none. A job that is there already is returned as it is.

    Raises
    ------
    IdempotencyMismatch
        If an id or a key belongs to another request.
    StoreFull
        If the store, or the queue of an endpoint, has no room for them.
    """
    known = {index: found for index, new in enumerate(jobs) if (found := _find_repeated(tx, new)) is not None}
    firsts: dict[str, NewJob] = {}
    for index, new in enumerate(jobs):
        if index not in known:
            _require_same(new, firsts.setdefault(_name(new), new).identity)
    _require_room(tx, firsts.values())
    inserted = {name: job_changes.insert(tx, new, now) for name, new in firsts.items()}
    results = []
    for index, new in enumerate(jobs):
        is_new = index not in known and firsts.get(_name(new)) is new
        results.append(PutJob(known[index] if index in known else inserted[_name(new)], is_new))
    return results


def _name(new: NewJob) -> str:
    """Return the name by which jobs of one call are the same."""
    return f"id {new.id}" if new.idempotency_key is None else f"key {new.principal} {new.idempotency_key}"


def _find_repeated(tx: StoreTransaction, new: NewJob) -> StoredJob | None:
    found = tx.find(new.id) if new.is_named else None
    if found is None and new.idempotency_key is not None:
        found = tx.find_key(new.principal, new.idempotency_key)
    if found is not None:
        _require_same(new, found.digest if found.principal == new.principal else "")
    return found


def _require_same(new: NewJob, digest: str) -> None:
    if new.identity != digest:
        what = f"the id {new.id!r}" if new.is_named else f"the idempotency key {new.idempotency_key!r}"
        raise IdempotencyMismatch(f"{what} belongs to another request; choose a new one for this request")


def _require_room(tx: StoreTransaction, new_jobs: Iterable[NewJob]) -> None:
    new_jobs = list(new_jobs)
    if not new_jobs:
        return
    tallies, limits = tx.tallies(), tx.limits
    if sum(tally.jobs for tally in tallies) + len(new_jobs) > limits.max_jobs:
        raise StoreFull(f"the store keeps at most {limits.max_jobs} jobs", retry_after=FULL_RETRY_SECONDS)
    size_bytes = sum(new.size_bytes for new in new_jobs)
    if sum(tally.size_bytes for tally in tallies) + size_bytes > limits.max_bytes:
        raise StoreFull(f"the store keeps at most {limits.max_bytes} bytes", retry_after=FULL_RETRY_SECONDS)
    queued = {tally.endpoint: tally.jobs for tally in tallies if tally.state == "queued"}
    for endpoint, number in Counter(new.endpoint for new in new_jobs).items():
        most = min(new.max_queued for new in new_jobs if new.endpoint == endpoint)
        if queued.get(endpoint, 0) + number > most:
            raise StoreFull(f"endpoint {endpoint!r} has at most {most} queued jobs", retry_after=FULL_RETRY_SECONDS)


def put_scheduled(tx: StoreTransaction, name: str, nominal: float, new: NewJob, now: float) -> PutJob | None:
    """Store the job of a schedule for one nominal time; None if that time, or a later one, has its job already."""
    if not tx.advance_schedule(name, nominal):
        return None
    [stored] = put(tx, [new], now)
    return stored


def cancel(tx: StoreTransaction, job_id: str, now: float) -> StoredJob:
    """Cancel a queued job at once; ask the owner of a running one; leave a final one as it is.

    Raises
    ------
    JobNotFound
        If there is no such job.
    """
    job = _found(tx.find(job_id), job_id)
    if job.state == "queued":
        return job_changes.end(tx, job, JobEnding(state="cancelled", code="cancelled"), now)
    return job if job.is_final else job_changes.flag_cancel(tx, job, now)


def delete(tx: StoreTransaction, job_id: str) -> None:
    """Remove a job that has ended, with all that belongs to it.

    Raises
    ------
    JobNotFound
        If there is no such job.
    JobNotFinal
        If it has not ended.
    """
    if not _found(tx.find(job_id), job_id).is_final:
        raise JobNotFinal(f"job {job_id!r} has not ended; cancel it first, or wait")
    tx.erase([job_id])


def get(tx: StoreTransaction, job_id: str) -> StoredJob:
    """Return a job.

    Raises
    ------
    JobNotFound
        If there is no such job.
    """
    return _found(tx.peek(job_id), job_id)


def ahead(tx: StoreTransaction, job_id: str, limit: int) -> int | None:
    """Return the number of jobs before a queued one; None if it is not in its queue, or if there are over ``limit``.

    Raises
    ------
    JobNotFound
        If there is no such job.
    """
    job = get(tx, job_id)
    if job.state != "queued" or job.turn is None:
        return None
    number = tx.ahead(job, limit + 1)
    return number if number <= limit else None


def request(tx: StoreTransaction, job_id: str) -> JobRequest:
    """Return the request of a job.

    Raises
    ------
    JobNotFound
        If there is no such job.
    JobGone
        If its bodies have been removed.
    """
    _found(tx.peek(job_id), job_id)
    found = tx.requests([job_id])
    if job_id not in found:
        raise JobGone(f"the request of job {job_id!r} has been removed")
    return found[job_id]


def result(tx: StoreTransaction, job_id: str) -> JobResult | None:
    """Return the result of a job; None if it has ended without one.

    Raises
    ------
    JobNotFound
        If there is no such job.
    JobNotFinal
        If it has not ended.
    JobGone
        If the result has been removed.
    """
    job = _found(tx.peek(job_id), job_id)
    if not job.is_final:
        raise JobNotFinal(f"job {job_id!r} has not ended, so it has no result yet")
    found = tx.result(job_id)
    if found is None and job.bodies_until is None and job.state == "succeeded":
        raise JobGone(f"the result of job {job_id!r} has been removed")
    return found


def _found(job: StoredJob | None, job_id: str) -> StoredJob:
    if job is None:
        raise JobNotFound(f"there is no job {job_id!r}")
    return job


# ---- owners


def register(tx: StoreTransaction, owner: StoreOwner, now: float) -> None:
    """Add an owner, which may claim jobs from now on."""
    tx.save_owner(replace(owner, registered_at=now, beat=tx.lease_now()))


def beat(tx: StoreTransaction, owner: str) -> Beat:
    """Renew the lease of an owner. Return its jobs that callers want cancelled."""
    found = tx.owner(owner)
    if found is None:
        return Beat(is_owner=False)
    tx.save_owner(replace(found, beat=tx.lease_now()))
    return Beat(is_owner=True, cancels=cancels(tx, owner))


def cancels(tx: StoreTransaction, owner: str) -> tuple[ClaimKey, ...]:
    """Return the jobs of an owner that callers want cancelled."""
    return tuple(ClaimKey(job.id, job.claim) for job in tx.cancels(owner))


def remove(tx: StoreTransaction, owner: str, now: float) -> int:
    """Remove an owner that stops, and put back all that it holds, uncounted; return the number."""
    found = tx.owner(owner)
    if found is None:
        return 0
    tx.remove_owner(found)
    _free_deliveries(tx, owner)
    jobs = tx.held(owner)
    for job in jobs:
        _put_back(tx, job, now)
    return len(jobs)


def claim(
    tx: StoreTransaction, owner: str, endpoint: str, number: int, now: float, *, most_running: int | None = None
) -> list[ClaimedJob]:
    """Hand at most ``number`` queued jobs of an endpoint to an owner, so that at most ``most_running`` of it run.

    Raises
    ------
    OwnerLost
        If the owner is not registered, or was found dead.
    """
    if tx.owner(owner) is None:
        raise _owner_lost(owner)
    promote(tx, now)
    if most_running is not None:
        number = min(number, most_running - tx.count_running(endpoint))
        if number <= 0:
            return []
    jobs = [job_changes.claim(tx, job, owner, now) for job in tx.ready(endpoint, number, now)]
    for principal in sorted({job.principal for job in jobs}):
        tx.serve(endpoint, principal, now)
    requests = tx.requests([job.id for job in jobs]) if jobs else {}
    return [ClaimedJob(job, requests[job.id]) for job in jobs]


def promote(tx: StoreTransaction, now: float) -> None:
    """Put jobs whose ``not_before`` has come in their queues."""
    for job in tx.due(now, BATCH):
        since = now if job.not_before is None else job.not_before
        job_changes.change(tx, job, now, turn=job_changes.turn_of(job.priority, since))


def _held(tx: StoreTransaction, key: ClaimKey) -> StoredJob | None:
    """Return the job if this claim is the one that holds it: the fence."""
    job = tx.find(key.job)
    return job if job is not None and job.claim == key.claim and job.state == "running" else None


def start(tx: StoreTransaction, key: ClaimKey, now: float) -> bool:
    """Note that an attempt has started; False if the claim does not hold the job any more."""
    job = _held(tx, key)
    if job is not None:
        job_changes.start(tx, job, now)
    return job is not None


def report(tx: StoreTransaction, key: ClaimKey, reports: Sequence[ProgressReport | ChunkReport], now: float) -> bool:
    """Add progress and chunks of a running job; False if the claim does not hold it any more.

    Raises
    ------
    StoreFull
        If there is no room for chunks.
    """
    job = _held(tx, key)
    if job is None:
        return False
    size_bytes = sum(len(report.data) for report in reports if isinstance(report, ChunkReport))
    if size_bytes and sum(tally.size_bytes for tally in tx.tallies()) + size_bytes > tx.limits.max_bytes:
        raise StoreFull(f"the store keeps at most {tx.limits.max_bytes} bytes")
    for item in reports:
        if isinstance(item, ChunkReport):
            job = job_changes.add_chunk(tx, job, item.data, now)
        else:
            job = job_changes.add_progress(tx, job, item, now)
    return True


def finish(tx: StoreTransaction, key: ClaimKey, outcome: JobEnding, now: float) -> bool:
    """Write the end of a job; False if the claim does not hold it any more, and nothing is written."""
    job = _held(tx, key)
    if job is not None:
        job_changes.end(tx, job, outcome, now)
    return job is not None


def retry_later(tx: StoreTransaction, key: ClaimKey, not_before: float, reason: str, now: float) -> bool:
    """Queue a job again that has failed, to run from ``not_before``; False if the claim does not hold it any more."""
    job = _held(tx, key)
    if job is not None:
        job_changes.requeue(tx, job, now, reason, not_before=not_before)
    return job is not None


def give_back(tx: StoreTransaction, keys: Sequence[ClaimKey], now: float) -> int:
    """Put jobs back that were claimed and will not be run; the claims do not count. Return the number."""
    number = 0
    for key in keys:
        job = _held(tx, key)
        if job is not None:
            _put_back(tx, job, now)
            number += 1
    return number


def keep_claims(tx: StoreTransaction, owner: str, keys: Collection[ClaimKey], now: float) -> int:
    """Put back what an owner holds besides these claims, of which it has not heard; return the number.

    Raises
    ------
    OwnerLost
        If the owner is not registered, or was found dead.
    """
    _await_claims(tx, owner)
    unknown = [job for job in tx.held(owner) if ClaimKey(job.id, job.claim) not in keys]
    for job in unknown:
        _put_back(tx, job, now)
    return len(unknown)


def _await_claims(tx: StoreTransaction, owner: str) -> None:
    """Wait for claims of an owner whose connection was cut, and whose transactions may not have ended yet.

    They lock the row of the owner against changes, so it is changed: a beat more does no harm.
    """
    found = tx.owner(owner)
    if found is None:
        raise _owner_lost(owner)
    tx.save_owner(replace(found, beat=tx.lease_now()))


def _owner_lost(owner: str) -> OwnerLost:
    return OwnerLost(f"engine {owner!r} is not an owner in this store; register it anew")


def _put_back(tx: StoreTransaction, job: StoredJob, now: float) -> None:
    job_changes.requeue(tx, job, now, "given-back", claims=job.claims - 1)


# ---- maintenance


def sweep(tx: StoreTransaction, lease: float | None, dead: Sequence[str], now: float) -> SweepResult:
    """Remove dead owners and free their jobs; let jobs expire whose start deadline has passed.

    An owner is dead if it is named in ``dead``, if its last beat is at least ``lease`` seconds ago, or if that is ahead
    of the clock: the host has restarted since. None: the clock of the leases cannot be relied on now.
    """
    instant = tx.lease_now()
    owners = [o for o in tx.owners() if o.id in dead or (lease is not None and not instant - lease < o.beat <= instant)]
    gone = [owner.id for owner in owners if tx.remove_owner(owner)]
    freed = [job_changes.lose(tx, job, now) for owner in gone for job in tx.held(owner)]
    for owner in gone:
        _free_deliveries(tx, owner)
    late = [_expire(tx, job, now) for job in tx.late(now, BATCH)]
    promote(tx, now)
    return SweepResult(
        owners=tuple(gone),
        expired=tuple(job.id for job in late),
        queued=tuple(job.id for job in freed if job.state == "queued"),
        failed=tuple(job.id for job in freed if job.state == "failed"),
        cancelled=tuple(job.id for job in freed if job.state == "cancelled"),
    )


def _expire(tx: StoreTransaction, job: StoredJob, now: float) -> StoredJob:
    return job_changes.end(tx, job, JobEnding(state="expired", code="queue-timeout"), now)


def _free_deliveries(tx: StoreTransaction, owner: str) -> None:
    for delivery in tx.sending(owner):
        tx.update_delivery(replace(delivery, state="waiting", owner=None))


def retain(tx: StoreTransaction, now: float, limit: int = BATCH) -> int:
    """Remove bodies and records whose time has come, in a small portion; return their number, and 0 at the end."""
    tx.forget_served(now - SERVED_SECONDS)
    overdue = tx.records_overdue(now, limit)
    records = overdue[: _portion(job.size_bytes for job in overdue)]
    if records:
        tx.erase([job.id for job in records])
        return len(records)
    overdue = tx.bodies_overdue(now, limit)
    bodies = overdue[: _portion(job.body_bytes for job in overdue)]
    if bodies:
        tx.erase_bodies([job.id for job in bodies])
    for job in bodies:
        tx.update(job, replace(job, bodies_until=None, size_bytes=job.size_bytes - job.body_bytes, body_bytes=0))
    return len(bodies)


def _portion(sizes: Iterable[int]) -> int:
    """Return how many of the first rows to remove together: a database may write as much as it removes."""
    return next((n for n, total in enumerate(accumulate(sizes), start=1) if total >= BATCH_BYTES), BATCH)


# ---- deliveries


def claim_deliveries(tx: StoreTransaction, owner: str, number: int, now: float) -> list[JobDelivery]:
    """Hand at most ``number`` deliveries that are to be sent now to an owner.

    Raises
    ------
    OwnerLost
        If the owner is not registered, or was found dead.
    """
    if tx.owner(owner) is None:
        raise _owner_lost(owner)
    claimed = [
        replace(delivery, state="sending", owner=owner, claim=delivery.claim + 1, sent=delivery.sent + 1)
        for delivery in tx.ready_deliveries(number, now)
    ]
    for delivery in claimed:
        tx.update_delivery(delivery)
    return claimed


def keep_deliveries(tx: StoreTransaction, owner: str, keys: Collection[DeliveryKey]) -> int:
    """Have the deliveries sent again that an owner holds besides these; return the number.

    Raises
    ------
    OwnerLost
        If the owner is not registered, or was found dead.
    """
    _await_claims(tx, owner)
    unknown = [delivery for delivery in tx.sending(owner) if delivery.key not in keys]
    for delivery in unknown:
        tx.update_delivery(replace(delivery, state="waiting", owner=None))
    return len(unknown)


def settle(tx: StoreTransaction, delivery_id: str, claim: int, settlement: Settlement) -> bool:
    """Write the result of sending a delivery; False if the claim does not hold it any more."""
    delivery = tx.find_delivery(delivery_id)
    if delivery is None or delivery.claim != claim or delivery.state != "sending":
        return False
    again = None if settlement.is_delivered else settlement.next_at
    tx.update_delivery(
        replace(
            delivery,
            state="delivered" if settlement.is_delivered else "failed" if again is None else "waiting",
            owner=None,
            next_at=delivery.next_at if again is None else again,
            status=settlement.status,
            error=settlement.error,
        )
    )
    return True


def retry_delivery(tx: StoreTransaction, delivery_id: str, now: float) -> bool:
    """Send a delivery again that was delivered or given up; False if it is not there, or is still on its way."""
    delivery = tx.find_delivery(delivery_id)
    if delivery is None or delivery.state not in {"delivered", "failed"}:
        return False
    tx.update_delivery(replace(delivery, state="waiting", next_at=now))
    return True
