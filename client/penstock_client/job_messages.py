"""The requests about background jobs."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

JOBS: Final = "v1/jobs"
LONGEST_POLL: Final = 30.0
"""The seconds that one request waits for a change."""

_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(frozen=True)
class JobRequest:
    """One request about jobs."""

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class JobOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The options of a job, besides its endpoint and input.

    Attributes
    ----------
    priority:
        ``batch``, ``normal`` or ``interactive``.
    not_before, start_by:
        The instants before which it does not start, and after which it is not wanted any more.
    group:
        A name that several jobs share.
    metadata:
        Names and values of your own, which its document and its webhooks have.
    webhook:
        Where its end is reported: ``{"url": "https://..."}``.
    result_ttl:
        The seconds for which its result is kept.
    """

    priority: str | None = None
    not_before: datetime | None = None
    start_by: datetime | None = None
    group: str | None = None
    metadata: Mapping[str, str] | None = None
    webhook: Mapping[str, Any] | None = None
    result_ttl: float | None = None


def put_request(
    endpoint: str, input: Any, job_id: str | None, run_timeout: float | None, options: Mapping[str, Any]
) -> JobRequest:
    """Return the request that stores a job. Its id is chosen here, so that it may be sent any number of times."""
    known = msgspec.to_builtins(_options(options))
    headers = {} if run_timeout is None else {"x-request-timeout": f"{run_timeout:g}"}
    body = {"endpoint": endpoint, "input": input, **known}
    return JobRequest("PUT", _path(secrets.token_hex(16) if job_id is None else job_id), body, headers)


def _options(options: Mapping[str, Any]) -> JobOptions:
    for name in ("not_before", "start_by"):
        instant = options.get(name)
        if isinstance(instant, datetime) and instant.tzinfo is None:
            raise ValueError(
                f"{name}={instant!r} has no time zone; write datetime.now(UTC), or datetime(..., tzinfo=UTC)"
            )
    return JobOptions(**options)


def get_request(job_id: str, *, wait: float | None = None, etag: str = "") -> JobRequest:
    """Return the request for the document of a job, perhaps once it has ended."""
    query = "" if wait is None else f"?wait={wait:g}"
    return JobRequest("GET", _path(job_id) + query, headers={"if-none-match": etag} if etag else {})


def action_request(job_id: str, action: str, *, wait: float | None = None) -> JobRequest:
    """Return the request for ``cancel`` or ``retry``."""
    query = "" if wait is None else f"?wait={wait:g}"
    return JobRequest("POST", f"{_path(job_id)}/{action}{query}")


def part_request(job_id: str, part: str, *, after: int = 0) -> JobRequest:
    """Return the request for the ``result`` or the ``events`` of a job; of these, for those after a number."""
    headers = {"accept": "text/event-stream", "accept-encoding": "identity"} if part == "events" else {}
    if after:
        headers["last-event-id"] = str(after)
    return JobRequest("GET", f"{_path(job_id)}/{part}", headers=headers)


def delete_request(job_id: str) -> JobRequest:
    """Return the request that removes a job."""
    return JobRequest("DELETE", _path(job_id))


def list_request(filters: Mapping[str, Any], cursor: str | None) -> JobRequest:
    """Return the request for a page of jobs, the newest first."""
    given = {name: value for name, value in {**filters, "after": cursor}.items() if value is not None}
    return JobRequest("GET", f"{JOBS}?{urlencode(given)}" if given else JOBS)


def _path(job_id: str) -> str:
    if not _ID.fullmatch(job_id):
        raise ValueError(f"{job_id!r} is not the id of a job; it has 1 to 128 letters, digits, and characters of ._:-")
    return f"{JOBS}/{quote(job_id, safe=':')}"
