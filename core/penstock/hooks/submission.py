"""A request on its way to becoming a job, as policies see it: no transport, and no body yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import ClassVar, Final, Literal, Self, TypeAlias

from penstock.app import Endpoint
from penstock.hooks.header_names import HeaderNames
from penstock.hooks.principal import Principal
from penstock.hooks.records import JobAnswered
from penstock.hooks.response_headers import ResponseHeaders
from penstock.hooks.routes import Route
from penstock.policies import Timeouts
from penstock.wire import InputForm, Trace

Priority: TypeAlias = Literal["interactive", "normal", "batch"]
PRIORITIES: Final[tuple[Priority, ...]] = ("interactive", "normal", "batch")
NORMAL_RANK: Final = PRIORITIES.index("normal")

Release: TypeAlias = Callable[[JobAnswered], None]
"""A callable that an admission policy returns in order to learn the outcome of the request it admitted."""

OnFailure: TypeAlias = Callable[[BaseException], object]
"""A callable that takes what a release has raised."""


def _no_header(_name: str) -> str | None:
    return None


class Submission:
    """One request to an endpoint or a route.

    Attributes
    ----------
    endpoint:
        The target of the request: an ``Endpoint``, or a plug-in's ``Route``.
    request_id:
        The request id, as in ``X-Request-Id``.
    header:
        Looks up a request header by its lower-case name; returns None if it is missing.
    received_headers:
        The request's headers as they have arrived, by lower-case name; None if the transport does not have them so.
    query:
        The query string, not decoded.
    address:
        The client's address, or "" if it is unknown.
    credential_headers:
        The names of the headers by which the authenticator has identified the caller. Handlers do not see them.
    principal:
        The caller, once the authenticator has decided.
    timeouts:
        The job's timeouts, once the timeout policy has decided. For a route, the defaults.
    priority:
        The urgency of the job among those queued for the same endpoint. Setting another value raises ``ValueError``.
    rank:
        The priority as a number: 0 is the most urgent.
    elapsed:
        Seconds from the first byte of the request to its submission. They count against its ``total``.
    caller_timeout:
        Seconds from the first byte of the request for which the caller waits, retries of its own included; None if it
        has not said. A timeout policy that reads it from the request sets it with ``tighten_caller_timeout``.
    input_form:
        The way in which the input is to be read, once that is known; None for a plain body.
    trace:
        The request's place in a distributed trace, once the tracer has decided; None if there is no tracer.
    part:
        The number of its job among those of one request, from 1; 0 if the request has one job.
    job_memo:
        Set if the request itself asks for a background job: what a dialect stores with that job. See ``Payload``.
    """

    takes_files: ClassVar[bool] = False
    """True if the caller takes a large result as a file, and not as bytes."""

    __slots__ = (
        "_answered",
        "_releases",
        "_response_headers",
        "address",
        "caller_timeout",
        "credential_headers",
        "elapsed",
        "endpoint",
        "header",
        "input_form",
        "job_memo",
        "part",
        "principal",
        "query",
        "rank",
        "received_headers",
        "request_id",
        "timeouts",
        "trace",
    )

    def __init__(
        self,
        endpoint: Endpoint | Route,
        *,
        request_id: str = "",
        header: Callable[[str], str | None] = _no_header,
        query: str = "",
        address: str = "",
        principal: Principal | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.request_id = request_id
        self.header = header
        self.query = query
        self.address = address
        self.credential_headers: tuple[str, ...] = ()
        self.principal = principal
        self.timeouts: Timeouts = endpoint.timeouts
        self.rank = NORMAL_RANK
        self.elapsed = 0.0
        self.caller_timeout: float | None = None
        self.input_form: InputForm | None = None
        self.received_headers: Mapping[bytes, bytes] | None = None
        self.trace: Trace | None = None
        self.part = 0
        self.job_memo: bytes | None = None
        self._response_headers: ResponseHeaders | None = None
        self._releases: list[tuple[Release, OnFailure | None]] = []
        self._answered: JobAnswered | None = None

    def __repr__(self) -> str:
        return f"<Submission {self.request_id} of {self.endpoint.name} by {self.share or 'an unknown caller'}>"

    @property
    def job_id(self) -> str:
        """The id of the job; "" has the engine make one."""
        return ""

    @property
    def claim(self) -> int:
        """The number of times that an engine has taken the job, this time included."""
        return 1

    def as_part(self, number: int) -> Self:
        """Return a copy for one of several jobs of this request, of which no policy awaits the outcome.

        Parameters
        ----------
        number:
            The number of the job among them, from 1.
        """
        part = copy(self)
        part.part = number
        part._releases = []
        return part

    def has_any_header(self, names: HeaderNames) -> bool:
        """Return whether the request has at least one of these headers. Cheaper than a look-up of each."""
        received = self.received_headers
        if received is None:
            return any(self.header(name) is not None for name in names)
        return not names.encoded.isdisjoint(received)

    def headers_among(self, names: HeaderNames) -> list[str]:
        """Return those of these header names that the request has, in no particular order."""
        received = self.received_headers
        if received is None:
            return [name for name in names if self.header(name) is not None]
        return names.among(received)

    @property
    def response_headers(self) -> ResponseHeaders:
        """Additional headers for the response, whatever it turns out to be: pairs of a lower-case name and a value.

        A header that is not valid cannot be added.
        """
        if self._response_headers is None:
            self._response_headers = ResponseHeaders()
        return self._response_headers

    @property
    def has_response_headers(self) -> bool:
        """True if a policy has added headers for the response."""
        return bool(self._response_headers)

    @property
    def priority(self) -> Priority:
        """The urgency of the job: see the class."""
        return PRIORITIES[self.rank]

    @priority.setter
    def priority(self, priority: Priority) -> None:
        if priority not in PRIORITIES:
            raise ValueError(f"priority = {priority!r} is not one of {', '.join(PRIORITIES)}")
        self.rank = PRIORITIES.index(priority)

    def tighten_caller_timeout(self, seconds: float) -> None:
        """Note that the caller, with its retries, waits no longer than this from the first byte of the request.

        Refusals after which a retry would come too late then say so. ``timeouts`` are not affected.
        """
        seconds = float(seconds)
        if self.caller_timeout is None or seconds < self.caller_timeout:
            self.caller_timeout = seconds

    @property
    def share(self) -> str:
        """The caller that limits count this request against: the principal's name, otherwise the address."""
        return self.address if self.principal is None else self.principal.name

    def add_release(self, release: Release, failed: OnFailure | None = None) -> None:
        """Have ``release`` called when the job is answered, or once it is certain that there will be no job.

        What it raises goes to ``failed``, if there is one.
        """
        self._releases.append((release, failed))
        if self._answered is not None:  # the request was abandoned while a blocking policy was running in its thread
            self.close(self._answered)

    @property
    def has_releases(self) -> bool:
        """True if an admission policy is waiting for the outcome."""
        return bool(self._releases)

    def close(self, answered: JobAnswered) -> None:
        """Report the outcome to the admission policies, once; further calls have no effect."""
        self._answered = answered
        releases, self._releases = self._releases, []
        for release, failed in releases:
            try:
                release(answered)
            except BaseException as error:
                if failed is None:
                    raise
                failed(error)
