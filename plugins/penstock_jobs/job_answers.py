"""The responses about a job: its document, and, once it has ended, the response that its endpoint would have sent."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from penstock.hooks import RouteResponse
from penstock.job_store import JobResult, StoredJob
from penstock_jobs.job_documents import etag_of, links_of
from penstock_jobs.job_failures import PROBLEM, problem_of, status_in
from penstock_jobs.job_failures import is_retryable as is_worth_a_retry
from penstock_jobs.job_views import JobViews, retry_after

_NONE: Mapping[str, str] = MappingProxyType({})
_encode = msgspec.json.Encoder().encode


async def document_answer(
    views: JobViews, job: StoredJob, *, status: int, prefix: str = "", headers: Mapping[str, str] = _NONE
) -> RouteResponse:
    """Return the document of a job, with its tag, its address, and when to look again."""
    return RouteResponse(
        body=_encode(await views.document(job, prefix)),
        status=status,
        headers={**job_headers(views, job, prefix), **headers},
    )


def job_headers(views: JobViews, job: StoredJob, prefix: str = "") -> dict[str, str]:
    """Return the headers of a response about a job."""
    now = views.now()
    headers = {"etag": etag_of(job, now), "location": links_of(job.id, prefix)["self"], "cache-control": "no-store"}
    return headers if job.is_final else {**headers, "retry-after": retry_after(job, now)}


def answer_of(
    job: StoredJob,
    result: JobResult | None,
    *,
    is_retryable: bool | None = None,
    headers: Mapping[str, str] = _NONE,
) -> RouteResponse:
    """Return the response of a final job: the handler's own bytes, type and status, or the problem document.

    Parameters
    ----------
    job:
        The job.
    result:
        Its result, if it has one.
    is_retryable:
        True if the request that is answered may be sent again when the job has failed. Default: as the error says.
    headers:
        Further headers.
    """
    if result is not None:
        return RouteResponse(
            body=result.body,
            status=result.status,
            media_type=result.media_type or "application/json",
            headers={**result.headers, **headers},
        )
    body = _encode(problem_of(job))
    status = status_in(body)
    may_retry = is_worth_a_retry(job) if is_retryable is None else is_retryable
    advice = {"x-should-retry": "true" if may_retry else "false"}
    if may_retry and status in (429, 503):
        advice["retry-after"] = "1"
    return RouteResponse(body=body, status=status, media_type=PROBLEM, headers={**advice, **headers})
