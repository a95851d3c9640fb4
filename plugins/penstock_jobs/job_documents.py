"""The document of a job, as callers see it. Pure: rows of the store go in, values for JSON come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock.hooks import PRIORITIES
from penstock.job_store import JobDelivery, JobResult, StoredJob
from penstock_jobs.job_failures import problem_of
from penstock_jobs.job_times import instant_text

MOST_INLINE_BYTES: Final = 64 << 10
"""The size of a result up to which it is part of the document."""
JOBS_PATH: Final = "/v1/jobs"
_JSON: Final = "application/json"


def shown_state(job: StoredJob, now: float) -> str:
    """Return the state as callers see it.

    A job is ``running`` once an attempt has started in a worker, and ``scheduled`` while its ``not_before`` is ahead.
    """
    if job.state == "running":
        return "queued" if job.started_at is None else "running"
    if job.state == "queued" and job.not_before is not None and job.not_before > now:
        return "scheduled"
    return job.state


def has_result(job: StoredJob, now: float) -> bool:
    """Return whether a job has succeeded and its result is still kept."""
    return job.state == "succeeded" and job.bodies_until is not None and job.bodies_until > now


def etag_of(job: StoredJob, now: float) -> str:
    """Return the tag that changes with the job. Weak: the number of jobs ahead may change without it."""
    return f'W/"{job.events}-{job.claim}-{shown_state(job, now)}{"" if job.body_bytes else "-bare"}"'


def links_of(job_id: str, prefix: str = "") -> dict[str, str]:
    """Return the addresses of what belongs to a job."""
    own = f"{prefix}{JOBS_PATH}/{job_id}"
    return {"self": own, "result": f"{own}/result", "events": f"{own}/events", "cancel": f"{own}/cancel"}


def document_of(
    job: StoredJob,
    *,
    now: float,
    prefix: str = "",
    metadata: Mapping[str, str] | None = None,
    ahead: int | None = None,
    deliveries: Sequence[JobDelivery] = (),
    result: JobResult | None = None,
) -> dict[str, Any]:
    """Return the document of a job.

    Parameters
    ----------
    job:
        The row.
    now:
        The wall clock.
    prefix:
        The prefix of a mounted application.
    metadata, ahead, deliveries:
        As the store has them.
    result:
        The result, if it may be part of the document: it is, as JSON of at most 64 KiB.
    """
    links = links_of(job.id, prefix)
    progress = job.progress
    return {
        "id": job.id,
        "endpoint": job.endpoint,
        "state": shown_state(job, now),
        "cancel_requested": job.cancel_requested or job.state == "cancelled",
        "priority": PRIORITIES[min(max(job.priority, 0), len(PRIORITIES) - 1)],
        "group": job.group,
        "principal": job.principal or None,
        "request_id": job.request_id or None,
        "metadata": dict(metadata or {}),
        "created_at": instant_text(job.created_at),
        "not_before": instant_text(job.not_before),
        "start_by": instant_text(job.start_by),
        "started_at": instant_text(job.started_at),
        "finished_at": instant_text(job.finished_at),
        "delete_after": instant_text(job.delete_after),
        "claim": job.claim,
        "attempts": job.claims,
        "progress": None
        if progress is None
        else {
            "done": progress.done,
            "total": progress.total,
            "message": progress.message,
            "at": instant_text(progress.at),
        },
        "ahead": ahead,
        **_result(job, result, links["result"], now),
        "error": problem_of(job),
        "webhook": _webhook(job, deliveries),
        "retry_of": job.retry_of,
        "links": links,
    }


def fits_inline(result: JobResult) -> bool:
    """Return whether a result may be part of a document."""
    media_type = result.media_type.partition(";")[0].strip().lower()
    return media_type in {"", _JSON} and 0 < len(result.body) <= MOST_INLINE_BYTES


def _result(job: StoredJob, result: JobResult | None, address: str, now: float) -> dict[str, Any]:
    if not has_result(job, now):
        return {}
    if result is not None and fits_inline(result):
        return {"result": msgspec.Raw(result.body)}
    return {"result_url": address}


def _webhook(job: StoredJob, deliveries: Sequence[JobDelivery]) -> dict[str, Any] | None:
    webhook = job.webhook
    if webhook is None:
        return None
    return {
        "url": webhook.url,
        "events": webhook.events,
        "deliveries": [delivery_document(delivery) for delivery in deliveries],
    }


def delivery_document(delivery: JobDelivery) -> dict[str, Any]:
    """Return the document of one delivery; ``n`` is its number in addresses."""
    return {
        "n": delivery.seq,
        "id": delivery.id,
        "event": delivery.event,
        "state": delivery.state,
        "sent": delivery.sent,
        "status": delivery.status,
        "error": delivery.error,
        "created_at": instant_text(delivery.created_at),
        "next_at": instant_text(delivery.next_at) if delivery.state == "waiting" else None,
    }
