"""The problem documents of jobs that have not succeeded: as stored, or made from the code alone."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from penstock import errors
from penstock.errors import Cancelled, ExecutionTimeout, HandlerError, PenstockError, QueueTimeout, WorkerLost
from penstock.job_store import StoredJob

PROBLEM: Final = "application/problem+json"

_BY_CODE: Final[dict[str, type[PenstockError]]] = {
    kind.code: kind
    for kind in reversed(list(vars(errors).values()))
    if isinstance(kind, type) and issubclass(kind, PenstockError)
}
_DETAILS: Final = {
    Cancelled.code: "The job was cancelled.",
    ExecutionTimeout.code: "The job ran for longer than it may.",
    QueueTimeout.code: "The job had not started by its start deadline.",
    WorkerLost.code: "The engine died while the job ran, and the job is not run again.",
}
_USUAL_CODES: Final = {"cancelled": Cancelled.code, "expired": QueueTimeout.code, "timed_out": ExecutionTimeout.code}


class _Status(msgspec.Struct):
    status: int = 500


_read_status = msgspec.json.Decoder(_Status).decode


def problem_of(job: StoredJob) -> Any:
    """Return the problem document of a job, as a value for JSON; None if it has not ended, or has succeeded."""
    if not job.is_final or job.state == "succeeded":
        return None
    return msgspec.Raw(job.error) if job.error else _made(job)


def error_of(job: StoredJob) -> PenstockError:
    """Return the error of a job that has ended without a result, as a call would have raised it."""
    problem = msgspec.json.decode(msgspec.json.encode(problem_of(job)))
    detail = problem.get("detail", "") if isinstance(problem, dict) else ""
    return _BY_CODE.get(_code_of(job), HandlerError)(detail)


def is_retryable(job: StoredJob) -> bool:
    """Return whether the request of a failed job may safely be sent again as a new one."""
    kind = _BY_CODE.get(_code_of(job))
    return kind is not None and kind.default_retryable


def status_in(problem: bytes) -> int:
    """Return the status in a problem document; 500 if there is none."""
    try:
        status = _read_status(problem).status
    except msgspec.DecodeError:
        return 500
    return status if 400 <= status <= 599 else 500


def _code_of(job: StoredJob) -> str:
    return job.code or _USUAL_CODES.get(job.state, HandlerError.code)


def _made(job: StoredJob) -> dict[str, Any]:
    code = _code_of(job)
    kind = _BY_CODE.get(code, HandlerError)
    detail = _DETAILS.get(code, f"{kind.title}.")
    return {
        "type": f"urn:penstock:{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": job.request_id,
        "error": {
            "message": detail,
            "type": "timeout_error" if kind.status == 504 else "server_error",
            "code": code,
            "param": None,
        },
    }
