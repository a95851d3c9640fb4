"""Background responses: what is stored with their jobs, and the response that a job is."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from penstock import Response
from penstock.errors import HandlerError, NotFound, RateLimited
from penstock.hooks import CallerJobs, Payload, RouteResponse
from penstock.job_store import JobGone, JobNotFound
from penstock_openai.response_objects import ResponseMemo, whole_response
from penstock_openai.response_output import ResponseOutput

PREFIX: Final = "resp_"
"""The beginning of a response's id. The id of its job follows."""
_STATUSES: Final = {
    "scheduled": "queued",
    "queued": "queued",
    "running": "in_progress",
    "succeeded": "completed",
    "cancelled": "cancelled",
}
"""The statuses of responses by the states of jobs. All other states are ``failed``."""


class JobMemo(msgspec.Struct, frozen=True, tag="openai-response"):
    """The content of ``Payload.job_memo``: the settings that a response repeats, each encoded."""

    settings: dict[str, msgspec.Raw]


_encode = msgspec.json.Encoder().encode
_read_memo = msgspec.json.Decoder(JobMemo).decode


def job_memo_of(settings: dict[str, msgspec.Raw]) -> bytes:
    """Return what is stored with the job of a response. It is about as large as the request without its input."""
    return _encode(JobMemo(settings))


def accepted_response(document: bytes, payload: Payload) -> RouteResponse:
    """Return a response whose job has just been stored.

    It is ``queued`` in any case: a repeated request may find its job ended, and the client fetches the output anyway.
    """
    memo = _memo_of(msgspec.json.decode(document), payload.memo.settings)
    return RouteResponse.json(memo.as_object(ResponseOutput(), "queued"))


async def stored_response(jobs: CallerJobs, response_id: str) -> dict[str, Any]:
    """Return a response as it is now.

    Raises
    ------
    NotFound
        If the caller has no such response, or it is kept no longer.
    """
    job_id = job_id_of(response_id)
    try:
        stored = await jobs.memo(job_id)
        document = await jobs.get(job_id)
        result = await jobs.result(job_id) if document["state"] == "succeeded" else None
    except (JobNotFound, JobGone):
        raise no_response(response_id) from None
    return _response_of(document, _memo_of(document, _settings_in(stored, response_id)), result)


async def cancelled_response(jobs: CallerJobs, response_id: str, *, wait: float) -> dict[str, Any]:
    """Cancel a response, unless it has ended, and return it as it is at its end, or after ``wait`` seconds.

    Raises
    ------
    NotFound
        If the caller has no such response, or it is kept no longer.
    """
    job_id = job_id_of(response_id)
    try:
        _settings_in(await jobs.memo(job_id), response_id)
        await jobs.cancel(job_id, wait=wait)
    except (JobNotFound, JobGone):
        raise no_response(response_id) from None
    return await stored_response(jobs, response_id)


def job_id_of(response_id: str) -> str:
    """Return the id of the job of a response, or raise ``NotFound``."""
    if not response_id.startswith(PREFIX):
        raise no_response(response_id)
    return response_id.removeprefix(PREFIX)


def no_response(response_id: str) -> NotFound:
    """Return the error for a response that the caller does not have."""
    return NotFound(f"There is no response {response_id[:100]!r}: only background responses are stored, for some time")


def _settings_in(stored: bytes | None, response_id: str) -> dict[str, msgspec.Raw]:
    """Return the settings in the memo of a job, which may not be that of a response."""
    try:
        return _read_memo(stored or b"").settings
    except msgspec.DecodeError:
        raise no_response(response_id) from None


def _memo_of(document: dict[str, Any], settings: dict[str, msgspec.Raw]) -> ResponseMemo:
    created_at = datetime.fromisoformat(document["created_at"])
    return ResponseMemo(id=f"{PREFIX}{document['id']}", created_at=int(created_at.timestamp()), settings=settings)


def _response_of(document: dict[str, Any], memo: ResponseMemo, result: Any) -> dict[str, Any]:
    status = _STATUSES.get(document["state"], "failed")
    if status == "completed":  # or incomplete
        return whole_response(_chunks_of(result), memo, seed=document["id"].replace("-", ""))
    if status == "failed":
        return memo.as_object(ResponseOutput(), status, error=_error_of(document["error"]))
    return memo.as_object(ResponseOutput(), status)


def _chunks_of(result: Any) -> list[bytes]:
    """Return the chunks of a stored result: those of a stream, or the one that a handler has returned."""
    content = result.content if isinstance(result, Response) else result
    return [_encode(chunk) for chunk in (content if isinstance(content, list) else [content])]


def _error_of(problem: dict[str, Any]) -> dict[str, Any]:
    """Return the ``error`` object of a response for the problem document of its job."""
    is_limit = problem.get("status") == RateLimited.status
    message = problem.get("detail") or HandlerError.title
    return {"code": "rate_limit_exceeded" if is_limit else "server_error", "message": message}
