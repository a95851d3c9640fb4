"""Direct calls that become background jobs.

Those with the header ``Prefer: respond-async`` (RFC 7240), and those of a dialect whose body asks for a job.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from penstock.body_files import Body
from penstock.errors import Unavailable
from penstock.hooks import PRIORITIES, Acceptor, Endpoint, RouteResponse, Submission
from penstock.job_store import NewJob
from penstock.policies import Jobs
from penstock_jobs.job_answers import answer_of, document_answer
from penstock_jobs.job_desk import JobDesk
from penstock_jobs.job_documents import links_of
from penstock_jobs.job_heads import JobHead
from penstock_jobs.job_ids import new_job_id
from penstock_jobs.job_intake import off_loop, store_jobs
from penstock_jobs.job_requests import digest_of, origin_of, ttls_and_limits
from penstock_jobs.job_views import JobViews
from penstock_jobs.prefer import preferences, wait_in

RESPOND_ASYNC: Final = "respond-async"
_APPLIED: Final = {"preference-applied": RESPOND_ASYNC}
_NORMAL: Final = PRIORITIES.index("normal")
_BATCH: Final = PRIORITIES.index("batch")


def job_acceptor(desk: JobDesk, endpoint: Endpoint, *, jobs_only: bool = False) -> Acceptor | None:
    """Return the acceptor of an endpoint; None if it takes no background jobs: then the preference is ignored.

    With ``jobs_only``, it takes all requests, and refuses direct calls.
    """
    policy = desk.jobs_of(endpoint.name)
    jobs = None if policy is None else JobAcceptor(desk, endpoint, policy)
    if jobs_only:
        return Acceptor(lambda _: True, partial(_accept_jobs_only, jobs))
    return None if jobs is None else Acceptor(wants_a_job, jobs.accept)


async def _accept_jobs_only(
    jobs: JobAcceptor | None, submission: Submission, body: Body, headers: Mapping[str, str] | None
) -> RouteResponse:
    """Refuse a direct call, which another server of the app may answer."""
    if jobs is None or not wants_a_job(submission):
        raise Unavailable(
            "this server runs background jobs only; send the header 'Prefer: respond-async', or call another server",
            retry_after=1.0,
        )
    return await jobs.accept(submission, body, headers)


def wants_a_job(submission: Submission) -> bool:
    """Return whether the caller would rather have a job than wait for the answer."""
    if submission.job_memo is not None:
        return True
    header = submission.header("prefer")
    return header is not None and RESPOND_ASYNC in preferences(header)


class JobAcceptor:
    """Stores the requests of an endpoint as jobs, and answers as soon as they have ended, or have taken too long.

    Parameters
    ----------
    desk:
        The desk of the engine's jobs.
    endpoint, policy:
        The endpoint, and its background jobs.
    """

    def __init__(self, desk: JobDesk, endpoint: Endpoint, policy: Jobs) -> None:
        self._desk = desk
        self._endpoint = endpoint
        self._policy = policy
        self._views = JobViews(desk, [endpoint])

    async def accept(self, submission: Submission, body: Body, headers: Mapping[str, str] | None) -> RouteResponse:
        """Store the request, and wait for as long as the caller prefers. A client that hangs up cancels nothing.

        A dialect that asks for a job has the job's document at once, even if a repeated request finds it ended.

        Raises
        ------
        PenstockError
            If the request is refused; nothing was stored.
        """
        new = await off_loop(len(body), lambda: self._checked(submission, body, headers))
        [put] = await store_jobs(self._desk, [new])
        if submission.job_memo is not None:
            return await document_answer(self._views, put.job, status=202)
        seconds = wait_in(preferences(submission.header("prefer"))) or 0.0
        job = await self._views.wait(put.job, lambda job: job.is_final, seconds)
        prefix = _prefix_of(submission, self._endpoint)
        if not job.is_final:
            return await document_answer(self._views, job, status=202, prefix=prefix, headers=_APPLIED)
        applied = {"location": links_of(job.id, prefix)["self"], **_APPLIED}
        return answer_of(job, await self._views.result(job), headers=applied)

    def _checked(self, submission: Submission, body: Body, headers: Mapping[str, str] | None) -> NewJob:
        """Return the job of a request, after its body was checked. On any thread."""
        content = body if isinstance(body, bytes) else body.read_all()
        self._endpoint.codec.validate(content, submission.input_form)
        return self._new_job(submission, content, headers)

    def _new_job(self, submission: Submission, body: bytes, headers: Mapping[str, str] | None) -> NewJob:
        now, form = self._views.now(), submission.input_form
        origin = origin_of(submission.principal, submission.request_id, submission.header, now)
        head = JobHead(
            query=submission.query,
            scopes=None if origin.caller is None else tuple(sorted(origin.scopes)),
            headers=None if headers is None else _without(headers, submission.credential_headers),
            media_type=None if form is None else form.media_type,
            values=() if form is None else tuple((name, value) for name, value in form.values),
            decoder="" if form is None else form.decoder,
            memo=submission.job_memo,
        )
        how = f"{self._endpoint.name}\n{submission.query}\n{head.media_type}\n{head.values}\n{head.decoder}"
        return NewJob(
            id=new_job_id(now),
            endpoint=self._endpoint.name,
            request=body,
            media_type=submission.header("content-type") or "application/json",
            head=head.encode(),
            digest=digest_of(how.encode(), body),
            idempotency_key=origin.key,
            principal=origin.principal,
            priority=_BATCH if submission.rank == _NORMAL else submission.rank,
            start_by=origin.start_by,
            timeout=origin.timeout,
            request_id=submission.request_id,
            **ttls_and_limits(self._policy),
        )


def _prefix_of(submission: Submission, endpoint: Endpoint) -> str:
    """Return the prefix of a mounted application, which links need. The submission of an adapter knows its path."""
    path: str = getattr(submission, "path", "")
    return path.removesuffix(endpoint.path) if path.endswith(endpoint.path) else ""


def _without(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """Return headers without some: the caller's credentials are not for a disk."""
    return {name: value for name, value in headers.items() if name not in names}
