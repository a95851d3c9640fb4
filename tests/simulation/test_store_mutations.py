"""Deliberate bugs of a job store: its simulation finds each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from penstock.job_store import ClaimKey, StoredJob, StoreOwner, StoreTransaction, job_changes, store_operations
from penstock.testing import memory_transaction, store_simulation
from penstock.testing.memory_transaction import MemoryTransaction
from penstock.testing.store_simulation import StoreSimulationFailed, simulate_store


def the_fence_ignores_the_number_of_the_claim(patch: pytest.MonkeyPatch) -> None:
    def held(tx: StoreTransaction, key: ClaimKey) -> StoredJob | None:
        job = tx.find(key.job)
        return job if job is not None and job.state == "running" else None

    patch.setattr(store_operations, "_held", held)


def a_final_row_can_be_written_again(patch: pytest.MonkeyPatch) -> None:
    def held(tx: StoreTransaction, key: ClaimKey) -> StoredJob | None:
        job = tx.find(key.job)
        return job if job is not None and job.claim == key.claim and job.state != "queued" else None

    patch.setattr(store_operations, "_held", held)
    patch.setattr(job_changes, "STEPS", {state: ["queued", "running", "succeeded", "failed"] for state in job_states()})


def job_states() -> list[str]:
    return ["queued", "running", "succeeded", "failed", "timed_out", "cancelled", "expired"]


def a_claim_number_is_used_again(patch: pytest.MonkeyPatch) -> None:
    def put_back(tx: StoreTransaction, job: StoredJob, now: float) -> None:
        job_changes.requeue(tx, job, now, "given-back", claims=job.claims - 1, claim=job.claim - 1)

    patch.setattr(store_operations, "_put_back", put_back)


def giving_back_counts(patch: pytest.MonkeyPatch) -> None:
    def put_back(tx: StoreTransaction, job: StoredJob, now: float) -> None:
        job_changes.requeue(tx, job, now, "given-back")

    patch.setattr(store_operations, "_put_back", put_back)


def a_crash_does_not_count(patch: pytest.MonkeyPatch) -> None:
    lose = job_changes.lose
    patch.setattr(job_changes, "lose", lambda tx, job, now: lose(tx, replace(job, losses=-1), now))


def a_dead_owner_goes_and_its_jobs_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(job_changes, "lose", lambda tx, job, now: job)


def a_job_that_must_not_run_twice_runs_twice(patch: pytest.MonkeyPatch) -> None:
    lose = job_changes.lose
    patch.setattr(job_changes, "lose", lambda tx, job, now: lose(tx, replace(job, on_lost="retry"), now))


def a_sweep_trusts_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    sweep = store_operations.sweep

    def swept(tx: Any, lease: float, dead: Any, now: float) -> Any:
        tx.lease_now = lambda: now - 1_800_000_000.0 + 1000.0
        return sweep(tx, lease, dead, now)

    patch.setattr(store_operations, "sweep", swept)


def a_crash_leaves_half_a_transaction(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryTransaction, "roll_back", lambda self: None)


def priorities_do_not_matter(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(memory_transaction, "_level", lambda job, now: 0)


def principals_do_not_take_turns(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(memory_transaction, "fair_order", lambda jobs, now, served: list(jobs))


def the_last_claim_of_a_principal_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryTransaction, "serve", lambda self, endpoint, principal, now: None)


def a_job_starts_after_its_start_deadline(patch: pytest.MonkeyPatch) -> None:
    ready = MemoryTransaction.ready
    patch.setattr(MemoryTransaction, "ready", lambda self, endpoint, n, now: ready(self, endpoint, n, now - 3.0))


def jobs_of_later_never_get_their_turn(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(store_operations, "promote", lambda tx, now: None)


def late_jobs_do_not_expire(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryTransaction, "late", lambda self, now, limit: ())


def a_number_of_an_event_is_left_out(patch: pytest.MonkeyPatch) -> None:
    add_chunk = job_changes.add_chunk
    patch.setattr(
        job_changes,
        "add_chunk",
        lambda tx, job, data, now: add_chunk(tx, replace(job, events=job.events + 1), data, now),
    )


def a_cancelled_job_has_no_delivery(patch: pytest.MonkeyPatch) -> None:
    name = job_changes._public_name
    patch.setattr(
        job_changes,
        "_public_name",
        lambda event, before, after: None if after.state == "cancelled" else name(event, before, after),
    )


def a_job_that_is_to_be_cancelled_is_queued_again(patch: pytest.MonkeyPatch) -> None:
    requeue = job_changes.requeue

    def forgetful(tx: Any, job: StoredJob, *values: Any, **named: Any) -> StoredJob:
        return requeue(tx, replace(job, cancel_requested=False), *values, **named, cancel_requested=True)

    patch.setattr(job_changes, "requeue", forgetful)


def nobody_is_woken_for_a_job_that_was_given_back(patch: pytest.MonkeyPatch) -> None:
    update = MemoryTransaction.update

    def silent(self: MemoryTransaction, before: StoredJob, after: StoredJob) -> None:
        update(self, before, after)
        self.changed_endpoints.clear()

    patch.setattr(MemoryTransaction, "update", silent)


def a_full_store_takes_more(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(store_operations, "_require_room", lambda tx, new_jobs: None)


def events_outlive_their_job(patch: pytest.MonkeyPatch) -> None:
    erase = MemoryTransaction.erase

    def forgetful(self: MemoryTransaction, job_ids: Any) -> None:
        kept = {job_id: self._rows.events[job_id] for job_id in job_ids}
        erase(self, job_ids)
        self._rows.events.update(kept)

    patch.setattr(MemoryTransaction, "erase", forgetful)


def a_tally_forgets_what_was_removed(patch: pytest.MonkeyPatch) -> None:
    count = MemoryTransaction._count

    def forgetful(self: MemoryTransaction, job: StoredJob, sign: int) -> None:
        if not (sign < 0 and job.is_final):
            count(self, job, sign)

    patch.setattr(MemoryTransaction, "_count", forgetful)


def an_idempotency_key_is_ignored(patch: pytest.MonkeyPatch) -> None:
    find = store_operations._find_repeated

    def forgetful(tx: Any, new: Any) -> StoredJob | None:
        return find(tx, new) if new.is_named else None

    patch.setattr(store_operations, "_find_repeated", forgetful)


def a_nominal_time_has_two_jobs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryTransaction, "advance_schedule", lambda self, name, nominal: True)


def each_engine_has_a_limit_of_its_own(patch: pytest.MonkeyPatch) -> None:
    claim = store_operations.claim

    def claimed(tx: Any, owner: str, **rest: Any) -> Any:
        tx.count_running = lambda endpoint: sum(job.endpoint == endpoint for job in tx.held(owner))
        return claim(tx, owner, **rest)

    patch.setattr(store_operations, "claim", claimed)


def an_engine_without_a_registration_claims(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryTransaction, "owner", lambda self, owner: StoreOwner(owner))


def a_delivery_is_settled_by_anyone(patch: pytest.MonkeyPatch) -> None:
    settle = store_operations.settle

    def settled(tx: Any, delivery_id: str, claim: int, settlement: Any) -> bool:
        delivery = tx.find_delivery(delivery_id)
        return settle(tx, delivery_id, claim if delivery is None else delivery.claim, settlement)

    patch.setattr(store_operations, "settle", settled)


def a_cancel_does_nothing_to_a_running_job(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(job_changes, "flag_cancel", lambda tx, job, now: job)


MUTATIONS = [
    the_fence_ignores_the_number_of_the_claim,
    a_final_row_can_be_written_again,
    a_claim_number_is_used_again,
    giving_back_counts,
    a_crash_does_not_count,
    a_dead_owner_goes_and_its_jobs_stay,
    a_job_that_must_not_run_twice_runs_twice,
    a_sweep_trusts_the_wall_clock,
    a_crash_leaves_half_a_transaction,
    priorities_do_not_matter,
    principals_do_not_take_turns,
    the_last_claim_of_a_principal_is_forgotten,
    a_job_starts_after_its_start_deadline,
    jobs_of_later_never_get_their_turn,
    late_jobs_do_not_expire,
    a_number_of_an_event_is_left_out,
    a_cancelled_job_has_no_delivery,
    a_job_that_is_to_be_cancelled_is_queued_again,
    nobody_is_woken_for_a_job_that_was_given_back,
    a_full_store_takes_more,
    events_outlive_their_job,
    a_tally_forgets_what_was_removed,
    an_idempotency_key_is_ignored,
    a_nominal_time_has_two_jobs,
    each_engine_has_a_limit_of_its_own,
    an_engine_without_a_registration_claims,
    a_delivery_is_settled_by_anyone,
    a_cancel_does_nothing_to_a_running_job,
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_broken_store_is_found_out(
    mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each bug is found within some ten thousand steps."""
    monkeypatch.setattr(store_simulation, "SETTLING_ROUNDS", 100)
    mutation(monkeypatch)
    with pytest.raises(StoreSimulationFailed, match=r"^seed=\d+ step=\d+ "):
        simulate_store(50_000, 5)
