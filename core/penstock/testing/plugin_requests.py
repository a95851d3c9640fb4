"""The requests of a ``PluginHarness``: to endpoints, to routes, and in dialects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from penstock.app import App, Endpoint
from penstock.engine.observers import Observers
from penstock.errors import NotFound, PayloadTooLarge, PenstockError
from penstock.hooks.dialects import DialectRequest
from penstock.hooks.pipeline import Pipeline, access_check, route_pipeline
from penstock.hooks.registry import Registry
from penstock.hooks.routes import Route, RouteRequest, RouteResponse
from penstock.hooks.submission import Submission
from penstock.response import Encoded
from penstock.scheduler import Job, Lane
from penstock.scheduler import events as on
from penstock.testing.dialect_requests import FakeAnswers, FakeOperations
from penstock.testing.fake_engine import FakeEngine
from penstock.testing.fake_worker import Behaviour, FakeJob
from penstock.testing.path_patterns import pattern_of
from penstock.testing.whole_responses import whole_response
from penstock.wire import Progress

NULL: Final = Encoded(b"null")


class FakeRequest:
    """A request and its outcome.

    Attributes
    ----------
    submission:
        The submission that the policies saw, with their changes to it: ``principal``, ``timeouts``, ``priority``, and
        ``response_headers``.
    behaviour:
        The behaviour of the user's code, if the request gets that far.
    error:
        The error with which it was refused or failed; None if it succeeded or is undecided.
    job:
        The request's job; None if the request was refused.
    """

    def __init__(self, submission: Submission, behaviour: Behaviour) -> None:
        self.submission = submission
        self.behaviour = behaviour
        self.error: PenstockError | None = None
        self.job: Job | None = None

    def __repr__(self) -> str:
        return f"<FakeRequest {self.request_id} of {self.endpoint.name}: {self.code or 'undecided'}>"

    @property
    def code(self) -> str | None:
        """``ok`` or the error's code; None while the request is undecided."""
        if self.error is not None:
            return self.error.code
        return "ok" if self.job is not None and self.job.outcome is not None else None

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the policies have added to the response."""
        return dict(self.submission.response_headers)

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that was called."""
        assert isinstance(self.submission.endpoint, Endpoint)
        return self.submission.endpoint

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self.submission.request_id

    @property
    def principal(self) -> str | None:
        """The caller's name, if an authenticator has identified the caller."""
        return None if self.submission.principal is None else self.submission.principal.name

    @property
    def queue_seconds(self) -> float | None:
        """Seconds that the job waited for its latest attempt; None if there is no attempt."""
        return None if self.job is None or not self.job.attempts else self.job.queue_seconds

    @property
    def execution_seconds(self) -> float | None:
        """Seconds that the latest attempt took; None until the outcome, and if no attempt started."""
        return None if self.job is None else self.job.execution_seconds


class RequestJob(FakeJob):
    """The job of a ``FakeRequest``."""

    __slots__ = ("request",)

    def __init__(self, lane: Lane, request: FakeRequest, size_bytes: int) -> None:
        submission = request.submission
        super().__init__(
            lane,
            submission.timeouts,
            size_bytes,
            request.behaviour,
            priority=submission.rank,
            share=submission.share,
        )
        self.request = request


class PluginRequests(FakeEngine):
    """The part of a ``PluginHarness`` that sends requests."""

    app: App
    registry: Registry
    _ids: Iterator[str]
    _routes: Sequence[Route]
    _pipelines: Mapping[str, Pipeline | None]
    _observers: Observers

    def request(
        self,
        endpoint: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        address: str = "192.0.2.1",
        size_bytes: int = 0,
        behaviour: Behaviour = Behaviour.QUICK,
    ) -> FakeRequest:
        """Send a request, as over HTTP. Return it at once: refused, or with a job that ends as the clock advances.

        Parameters
        ----------
        endpoint:
            The endpoint's name. Default: the app's first endpoint.
        headers:
            The request headers; the case of their names does not matter.
        query:
            The query string.
        address:
            The client's address.
        size_bytes:
            The size of the body.
        behaviour:
            The behaviour of the user's code for this request.

        Raises
        ------
        NotFound
            If there is no such endpoint.
        """
        target = next((e for e in self.app.endpoints if endpoint in ("", e.name)), None)
        if target is None:
            raise NotFound(f"there is no endpoint {endpoint!r}")
        submission = Submission(
            target, request_id=next(self._ids), header=_lookup(headers), query=query, address=address
        )
        request = FakeRequest(submission, behaviour)
        try:
            pipeline = self._pipelines[target.name]
            if pipeline is not None:
                pipeline.pass_through(submission)
        except PenstockError as error:
            self._refuse(request, error)
            return request
        request.job = job = RequestJob(self.scheduler.lanes[target.name], request, size_bytes)
        self.receive(on.Submitted(job))
        if not job.admitted:
            request.job = None
            self._refuse(request, job.outcome)
        return request

    def route(
        self,
        path: str,
        method: str = "GET",
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> RouteResponse:
        """Send a request to a route and return its response. The route's handler receives the harness as its engine.

        A handler that waits, and a stream, are run to their ends on an asyncio loop of their own: call this outside of
        any. The pieces of a stream are then in the ``body`` of the response.

        Raises
        ------
        NotFound
            If there is no such route.
        PayloadTooLarge
            If the route reads the body, and it is over the limit.
        PenstockError
            If the route refuses the request, or fails.
        """
        route, values = self._route_of(method, path)
        submission = Submission(route, request_id=next(self._ids), header=_lookup(headers), query=query)
        pipeline = route_pipeline(self.registry, route)
        if pipeline is not None:
            pipeline.pass_through(submission)
        if route.reads_body and len(body) > route.max_body:
            raise PayloadTooLarge(f"The body may have at most {route.max_body} bytes")
        asked = RouteRequest(
            request_id=submission.request_id,
            method=method,
            path=path,
            path_values=values,
            header=submission.header,
            query=query,
            principal=submission.principal,
            body=body if route.reads_body else b"",
        )
        return whole_response(route, asked, _RouteSide(self))

    def _route_of(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Return the route of a request, with the values of the variables in its path."""
        for route in sorted(self._routes, key=lambda route: "{" in route.path):  # as a router prefers plain paths
            match = pattern_of(route.path).fullmatch(path)
            if match is not None and method == route.method:
                return route, match.groupdict()
        raise NotFound(f"there is no route {method} {path}")

    def operation(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        answer: FakeAnswers = NULL,
        *,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        reports: Sequence[Progress] = (),
    ) -> RouteResponse:
        """Send a request to an operation of a dialect, and return its response, be it an error.

        Parameters
        ----------
        method, path, body, headers, query:
            The request.
        answer:
            The answer of the handler: an ``Encoded`` result, or a list of the chunks of a stream. A tuple has one for
            each of several inputs that are answered together.
        reports:
            The progress reports of the handler, for a client that wants them.

        Raises
        ------
        NotFound
            If no dialect has the operation.
        """
        operations = FakeOperations(self.app, self.registry, self._pipelines, self._run)
        request = DialectRequest(
            request_id=next(self._ids), method=method, path=path, path_values={}, header=_lookup(headers), query=query
        )
        return operations.answer(request, body, answer, reports)

    def _run(self, submission: Submission, size_bytes: int) -> None:
        """Run the job of a submission to its end, or raise the error that it ends with."""
        request = FakeRequest(submission, Behaviour.QUICK)
        request.job = job = RequestJob(self.scheduler.lanes[submission.endpoint.name], request, size_bytes)
        self.receive(on.Submitted(job))
        while job.outcome is None:
            self.advance(1.0)
        if isinstance(job.outcome, PenstockError):
            if not job.admitted:
                self._refuse(request, job.outcome)
            raise job.outcome

    def _refuse(self, request: FakeRequest, error: PenstockError) -> None:
        request.error = error
        self._observers.refused(request.submission, error)


class _RouteSide:
    """The harness as the handler of a route sees it: a ``RouteEngine``, whose ``shutdown`` returns nothing."""

    def __init__(self, harness: Any) -> None:
        self._harness = harness
        self.unready_reasons = harness.unready_reasons
        self.status = harness.status
        self.pause = harness.pause
        self.resume = harness.resume
        self.scale = harness.scale
        self.require_access = access_check(harness.registry, harness.app)

    def jobs_of(self, _request: RouteRequest) -> None:
        """Return None: the harness has no store."""

    def reload(self, *, who: str = "the program", why: str = "") -> bool:  # noqa: ARG002 - as an engine has it
        return False  # the harness has no server around it

    @property
    def draining(self) -> bool:
        return bool(self._harness.draining)

    @property
    def longest_drain(self) -> float:
        return float(self._harness.longest_drain)

    def shutdown(
        self, drain: float, *, who: str = "the program", why: str = "", on_drained: Callable[[], None] | None = None
    ) -> None:
        self._harness.shutdown(drain, who=who, why=why, on_drained=on_drained)


def _lookup(headers: Mapping[str, str] | None) -> Any:
    lower = {name.lower(): value for name, value in (headers or {}).items()}
    return lower.get
