"""The changes of a job's row, decided without a database: the new row, its events and its deliveries."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from penstock.job_store.job_states import STEPS, JobState
from penstock.job_store.store_transaction import StoreTransaction
from penstock.job_store.stored_jobs import (
    AGEING_SECONDS,
    EventKind,
    JobDelivery,
    JobEnding,
    JobEvent,
    JobProgress,
    NewJob,
    ProgressReport,
    StoredJob,
)

Draft = tuple[EventKind, bytes]

_encode = msgspec.json.Encoder().encode


def turn_of(priority: int, since: float) -> float:
    """Return the turn of a job that may run since that instant: waiting and priority, on one scale."""
    return since + priority * AGEING_SECONDS


def new_row(new: NewJob, now: float) -> StoredJob:
    """Return the row of a new job."""
    is_due = new.not_before is None or new.not_before <= now
    return StoredJob(
        id=new.id,
        endpoint=new.endpoint,
        principal=new.principal,
        state="queued",
        priority=new.priority,
        created_at=now,
        digest=new.identity,
        idempotency_key=new.idempotency_key,
        group=new.group,
        request_id=new.request_id,
        retry_of=new.retry_of,
        webhook=new.webhook,
        timeout=new.timeout,
        result_ttl=new.result_ttl,
        record_ttl=new.record_ttl,
        on_lost=new.on_lost,
        max_claims=new.max_claims,
        start_by=new.start_by,
        not_before=new.not_before,
        turn=turn_of(new.priority, now) if is_due else None,
        size_bytes=new.size_bytes,
        body_bytes=new.body_bytes,
    )


def insert(tx: StoreTransaction, new: NewJob, now: float) -> StoredJob:
    """Add a new job, with its first event; return its row."""
    events = [JobEvent(new.id, 1, "state", _state_data("queued"), now)]
    row = new_row(new, now)
    row = replace(row, events=1, size_bytes=row.size_bytes + sum(event.size_bytes for event in events))
    tx.insert(row, new)
    tx.add_events(events)
    return row


def change(tx: StoreTransaction, job: StoredJob, now: float, *drafts: Draft, **values: Any) -> StoredJob:
    """Write new values of a job and its events, and a delivery for each event that its webhook wants."""
    events = [JobEvent(job.id, job.events + n, kind, data, now) for n, (kind, data) in enumerate(drafts, start=1)]
    after = replace(
        job,
        events=job.events + len(events),
        size_bytes=values.pop("size_bytes", job.size_bytes) + sum(event.size_bytes for event in events),
        **values,
    )
    assert after.state == job.state or after.state in STEPS[job.state], f"{job.state} -> {after.state}"
    tx.update(job, after)
    if events:
        tx.add_events(events)
        _add_deliveries(tx, job, after, events)
    return after


def claim(tx: StoreTransaction, job: StoredJob, owner: str, now: float) -> StoredJob:
    """Hand a queued job to an owner. No event: it has not started."""
    return change(tx, job, now, state="running", owner=owner, claim=job.claim + 1, claims=job.claims + 1)


def start(tx: StoreTransaction, job: StoredJob, now: float) -> StoredJob:
    """Note that an attempt has started in a worker. The chunks of an earlier one are void."""
    drafts: list[Draft] = [("restarted", _encode({"claim": job.claim}))] if job.has_chunks else []
    drafts.append(("state", _state_data("running", claim=job.claim)))
    return change(tx, job, now, *drafts, started_at=now, has_chunks=False, progress=None)


def add_progress(tx: StoreTransaction, job: StoredJob, report: ProgressReport, now: float) -> StoredJob:
    """Note the progress of a handler."""
    data = _encode({"done": report.done, "total": report.total, "message": report.message})
    progress = JobProgress(report.done, report.total, report.message, now)
    return change(tx, job, now, ("progress", data), progress=progress)


def add_chunk(tx: StoreTransaction, job: StoredJob, data: bytes, now: float) -> StoredJob:
    """Add a chunk of a stream."""
    return change(tx, job, now, ("chunk", data), has_chunks=True)


def end(tx: StoreTransaction, job: StoredJob, outcome: JobEnding, now: float) -> StoredJob:
    """Bring a job to its end, for good."""
    if outcome.result is not None:
        tx.write_result(job.id, outcome)
    return change(
        tx,
        job,
        now,
        ("state", _state_data(outcome.state, code=outcome.code)),
        state=outcome.state,
        owner=None,
        turn=None,
        code=outcome.code,
        error=outcome.error,
        finished_at=now,
        bodies_until=now + min(job.result_ttl, job.record_ttl),
        delete_after=now + job.record_ttl,
        size_bytes=job.size_bytes + len(outcome.result or b""),
        body_bytes=job.body_bytes + len(outcome.result or b""),
    )


def requeue(
    tx: StoreTransaction, job: StoredJob, now: float, reason: str, *, not_before: float | None = None, **values: Any
) -> StoredJob:
    """Put a running job back into its queue, at its old place or for later; cancel it if that is wanted."""
    if job.cancel_requested:
        return end(tx, job, JobEnding(state="cancelled", code="cancelled"), now)
    if not_before is not None:
        values |= {"not_before": not_before, "turn": None if not_before > now else turn_of(job.priority, now)}
    data = _state_data("queued", reason=reason)
    return change(tx, job, now, ("state", data), state="queued", owner=None, started_at=None, **values)


def lose(tx: StoreTransaction, job: StoredJob, now: float) -> StoredJob:
    """Free a running job of an owner that has died."""
    losses = job.losses + 1
    if job.cancel_requested or (job.on_lost == "retry" and losses < job.max_claims):
        return requeue(tx, job, now, "owner-lost", losses=losses)
    lost = replace(job, losses=losses)
    return end(tx, lost, JobEnding(state="failed", code="worker-lost"), now)


def flag_cancel(tx: StoreTransaction, job: StoredJob, now: float) -> StoredJob:
    """Ask the owner of a running job to stop it."""
    if job.cancel_requested:
        return job
    return change(tx, job, now, ("state", _state_data(job.state, cancel_requested=True)), cancel_requested=True)


def _state_data(state: JobState, **rest: Any) -> bytes:
    return _encode({"state": state} | {name: value for name, value in rest.items() if value is not None})


def _add_deliveries(tx: StoreTransaction, before: StoredJob, after: StoredJob, events: list[JobEvent]) -> None:
    webhook = after.webhook
    if webhook is None:
        return
    names = {event.seq: _public_name(event, before, after) for event in events}
    wanted = [event for event in events if names[event.seq] in webhook.events]
    tx.add_deliveries(
        [
            JobDelivery(
                id=f"{event.job}/{event.seq}",
                job=event.job,
                seq=event.seq,
                event=names[event.seq] or "",
                url=webhook.url,
                created_at=event.at,
                next_at=event.at,
            )
            for event in wanted
        ]
    )


def _public_name(event: JobEvent, before: StoredJob, after: StoredJob) -> str | None:
    """Return the name that webhooks use for an event; None if they cannot ask for it."""
    if event.kind == "progress":
        # Two in a second are enough for a webhook.
        last = before.progress
        return "progress" if last is None or int(last.at * 2) != int(event.at * 2) else None
    if event.kind != "state":
        return None
    if after.is_final:
        return after.state
    return "started" if after.state == "running" and after.started_at != before.started_at else None
