"""A host's request in the engine's process: its submission, and its call once it has become a job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache

from penstock.app import Endpoint
from penstock.engine.calls import Call
from penstock.engine.sharing.host_messages import HeaderPairs, JobFacts, RequestFacts, SubmitJob
from penstock.hooks.principal import Principal
from penstock.hooks.routes import Route
from penstock.hooks.submission import Submission
from penstock.policies import Timeouts
from penstock.wire import WINDOW_BYTES

_LIMIT_NAMES = [field.name for field in fields(Timeouts)]


class HostedRequest:
    """One request of a host.

    Parameters
    ----------
    number:
        The host's number for it.
    submission:
        The submission.
    began:
        The instant of the request's first byte.

    Attributes
    ----------
    call:
        The call; None until the job is submitted.
    upload_ends:
        Functions that end the counting of a large body.
    is_being_admitted:
        True while a policy that blocks is asked about it in another thread.
    is_cancelled:
        True if the host no longer waits for it.
    is_headed:
        True once the host has the head of the stream that answers it.
    credit_bytes:
        The bytes of chunks that may still be sent to the host.
    wants_reports:
        True if the host wants its progress reports.
    """

    __slots__ = (
        "_has_sent_headers",
        "began",
        "call",
        "credit_bytes",
        "is_being_admitted",
        "is_cancelled",
        "is_headed",
        "number",
        "submission",
        "upload_ends",
        "wants_reports",
    )

    def __init__(self, number: int, submission: Submission, began: float) -> None:
        self.number = number
        self.submission = submission
        self.began = began
        self.call: Call | None = None
        self.upload_ends: list[Callable[[], None]] = []
        self.is_being_admitted = False
        self.is_cancelled = False
        self.is_headed = False
        self.credit_bytes = WINDOW_BYTES
        self.wants_reports = False
        self._has_sent_headers = False

    def __repr__(self) -> str:
        return f"<HostedRequest {self.number}: {self.submission!r}>"

    def take_headers(self) -> HeaderPairs:
        """Return, once, what the policies add to the response."""
        if self._has_sent_headers or not self.submission.has_response_headers:
            return []
        self._has_sent_headers = True
        return list(self.submission.response_headers)

    def close_upload(self) -> None:
        """Count the body no longer: it is here, or never will be."""
        while self.upload_ends:
            self.upload_ends.pop()()


class HostedSubmission(Submission):
    """A submission whose host takes a large result in a file."""

    __slots__ = ()
    takes_files = True


def submission_of(target: Endpoint | Route, facts: RequestFacts) -> Submission:
    """Return the submission of a request, for policies that look at nothing but the request."""
    headers = facts.headers

    def header(name: str) -> str | None:
        value = headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    submission = HostedSubmission(
        target,
        request_id=facts.request_id,
        header=header,
        query=facts.query,
        address=facts.address,
        principal=None if facts.principal is None else Principal(facts.principal, frozenset(facts.scopes)),
    )
    submission.received_headers = headers
    submission.trace = facts.trace
    return submission


def job_submission(endpoint: Endpoint, facts: JobFacts) -> Submission:
    """Return the submission of a request as the host's policies have left it."""
    submission = submission_of(endpoint, facts.request)
    submission.rank = facts.rank
    submission.caller_timeout = facts.caller_timeout
    submission.credential_headers = facts.credential_headers
    if facts.limits is not None:
        submission.timeouts = _timeouts(facts.limits)
    return submission


def headers_for(endpoint: Endpoint, submission: Submission) -> dict[str, str] | None:
    """Return the request's headers for the handler's context, or None if the handler takes none."""
    if endpoint.codec.context_parameter is None:
        return None
    received = submission.received_headers or {}
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in received.items()}


def complete(hosted: HostedRequest, message: SubmitJob) -> None:
    """Set what is known of a request once its body is."""
    submission = hosted.submission
    hosted.wants_reports = message.wants_reports
    submission.input_form, submission.part = message.input_form, message.part
    submission.job_memo = message.job_memo


@lru_cache(maxsize=256)  # the same few again and again; validating them costs more than everything else here
def _timeouts(limits: tuple[float | None, ...]) -> Timeouts:
    return Timeouts(**dict(zip(_LIMIT_NAMES, limits, strict=True)))  # type: ignore[arg-type] # grace is never None


def limits_of(timeouts: Timeouts) -> tuple[float | None, ...]:
    """Return timeouts as ``JobFacts`` has them."""
    return tuple([getattr(timeouts, name) for name in _LIMIT_NAMES])
