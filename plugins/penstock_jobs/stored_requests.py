"""A stored request on its way back into the engine."""

from __future__ import annotations

import dataclasses

from penstock.hooks import PRIORITIES, Endpoint, InputForm, Principal, StoredSubmission, Timeouts
from penstock.job_store import ClaimedJob, StoredJob
from penstock_jobs.job_heads import JobHead, read_head


def submission_of(claimed: ClaimedJob, endpoint: Endpoint) -> tuple[StoredSubmission, dict[str, str]]:
    """Return the submission of a claimed job, and the headers for its handler."""
    job, head = claimed.job, read_head(claimed.request.head)
    submission = StoredSubmission(
        endpoint,
        job_id=job.id,
        claim=job.claim,
        request_id=job.request_id or job.id,
        principal=_principal(job, head),
        query=head.query,
    )
    submission.timeouts = _timeouts(endpoint.timeouts, job.timeout)
    submission.priority = PRIORITIES[min(max(job.priority, 0), len(PRIORITIES) - 1)]
    if head.media_type is not None:
        submission.input_form = InputForm(head.media_type, list(head.values), head.decoder)
    return submission, dict(head.headers or {})


def _principal(job: StoredJob, head: JobHead) -> Principal | None:
    return Principal(job.principal, frozenset(head.scopes or ())) if job.principal else None


def _timeouts(declared: Timeouts, budget: float | None) -> Timeouts:
    """Return the timeouts of a job: its budget is for running, and tightens the declared total."""
    if budget is None or (declared.total is not None and declared.total <= budget):
        return declared
    return dataclasses.replace(declared, total=budget)
