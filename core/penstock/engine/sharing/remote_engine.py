"""A shared engine as its host sees it: submits over a socket, and survives the end of the engine's process.

When that process ends, its successor is asked again for every job that may run again: the bodies are still here. The
others are answered ``worker-lost``, and new requests are refused until the successor has introduced itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.app import App, Endpoint
from penstock.app.manifest import Manifest
from penstock.body_files import Body, BodyFile
from penstock.engine.operator_log import log_refusal
from penstock.engine.reactors.reactor import Reactor
from penstock.engine.route_calls import RouteCall
from penstock.engine.sharing.engine_connection import EngineConnection
from penstock.engine.sharing.host_messages import (
    ANSWERED_FIELDS,
    JobFacts,
    ReportAnswer,
    ReportHost,
    ReportRefusal,
    RequestFacts,
    RouteAnswer,
    RoutePiece,
    SubmitJob,
    ToHost,
    fault_of,
)
from penstock.engine.sharing.hosted_requests import limits_of
from penstock.engine.sharing.remote_calls import RemoteCall
from penstock.engine.sharing.remote_jobs import NO_ENGINE, RemoteJobs
from penstock.engine.sharing.remote_questions import RemoteQuestions
from penstock.engine.sharing.remote_uploads import RemoteUpload
from penstock.errors import Draining, NotReady, PenstockError
from penstock.hooks.records import RequestAnswered
from penstock.hooks.registry import Registry
from penstock.hooks.routes import Route, RouteRequest
from penstock.hooks.services import OnReport
from penstock.hooks.submission import Submission

REPORT_SECONDS = 1.0


class RemoteEngine:
    """An engine in a process of its own, which other hosts use too.

    Parameters
    ----------
    app:
        The app, which must be the same as the engine's.
    reactor:
        The loop of the host.
    path:
        The path of the engine's socket.
    registry:
        The plug-ins of this process.

    Attributes
    ----------
    connection:
        The connection to the engine.
    closed:
        True once ``close`` has been called.
    on_connected:
        Called whenever an engine has introduced itself.
    on_disagreement:
        Called with the reason if the engine serves another app.
    host_status:
        Called for what this host adds to the status page.
    """

    def __init__(self, app: App, reactor: Reactor, path: str, registry: Registry) -> None:
        app.freeze()
        self.app = app
        self.reactor = reactor
        self.registry = registry
        self.closed = False
        self.on_connected: Callable[[], None] = _do_nothing
        self.on_disagreement: Callable[[str], None] = _ignore
        self.host_status: Callable[[], dict[str, Any]] = dict
        self.connection = EngineConnection(
            reactor,
            path,
            Manifest.of(app).digest,
            self._receive,
            on_connected=self._connected,
            on_lost=self._lost,
            on_disagreement=self._disagrees,
        )
        self.send = self.connection.send
        self._number = 0
        self._jobs = RemoteJobs(reactor, self.connection, self._on_settled)
        self._questions = RemoteQuestions(reactor, self.send)
        self._is_draining = False
        self._on_drained: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<RemoteEngine of {self.app.import_name}: {self.connection!r}>"

    # ---- life

    def start(self) -> None:
        """Connect to the engine, and return at once."""
        self.connection.connect()
        self._report_host()

    def _report_host(self) -> None:
        if not self.closed:
            self.send(ReportHost(self.host_status()))
            self.reactor.call_at(self.reactor.time() + REPORT_SECONDS, self._report_host)

    @property
    def draining(self) -> bool:
        """True once this host or the engine drains: no new work is accepted."""
        return self._is_draining or self.connection.state.is_draining

    def drain(
        self,
        timeout: float,
        on_drained: Callable[[], None] | None = None,
        *,
        who: str = "the program",  # noqa: ARG002 - as an engine has it
        why: str = "",  # noqa: ARG002 - the same
    ) -> None:
        """Finish this host's jobs and refuse new ones. The engine, and other hosts, are not affected.

        Parameters
        ----------
        timeout:
            Seconds after which the jobs that are left are answered ``draining``, and cancelled.
        on_drained:
            Called when no job of this host is left.
        who, why:
            As for ``Engine.drain``; the engine has observers of its own.
        """
        if on_drained is not None:
            self._on_drained.append(on_drained)
        if not self._is_draining:
            self._is_draining = True
            self.reactor.call_at(self.reactor.time() + timeout, self._end_drain)
        self._check_drained()

    def _end_drain(self) -> None:
        self._jobs.abandon_all(Draining("the server is shutting down"), "the drain timeout has passed")

    def _on_settled(self) -> None:
        if self._is_draining:
            self._check_drained()

    def _check_drained(self) -> None:
        if not self._jobs.calls:
            waiting, self._on_drained = self._on_drained, []
            for callback in waiting:
                callback()
            self._questions.end_soon()

    def close(self) -> None:
        """Disconnect. Unanswered jobs fail with ``Draining``. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._end_drain()
        self._questions.end()
        self.connection.close()
        self._check_drained()

    def _disagrees(self, reason: str) -> None:
        self.on_disagreement(reason)

    def _connected(self) -> None:
        self._jobs.submit_again()
        self.on_connected()

    def _lost(self) -> None:
        self._jobs.keep_what_may_run_again()
        self._questions.lose(NotReady("the engine's process has ended"))

    # ---- calls

    def check_room(self, endpoint: Endpoint) -> None:  # noqa: ARG002 - as an engine has it
        """Return if a job with a small body might be admitted now; the engine decides when it is submitted.

        Raises
        ------
        Draining, NotReady
            If it would be refused.
        """
        if self.draining or self.closed:
            raise Draining("the server is shutting down")
        if not self.connection.is_connected:
            raise NotReady(NO_ENGINE)

    def begin_upload(self, submission: Submission) -> RemoteUpload:
        """Return the upload of a large body, which is then to be opened.

        Raises
        ------
        Draining, NotReady
            If it would be refused.
        """
        self.check_room(submission.endpoint)  # type: ignore[arg-type] # a route takes no body
        number = self._number = self._number + 1
        return self._jobs.begin_upload(number, _job_facts(submission, None, self.reactor.time()), submission)

    def submit(
        self,
        submission: Submission,
        body: Body,
        *,
        headers: dict[str, str] | None = None,
        fault: PenstockError | None = None,
        on_report: OnReport | None = None,
    ) -> RemoteCall:
        """Submit a job and return at once.

        Parameters
        ----------
        submission, body, headers, on_report:
            As for ``Engine.submit``.
        fault:
            The fault of the request, if it has one. The admission policies are asked first, and may refuse it.

        Raises
        ------
        Draining, NotReady
            If the job is refused here. All other refusals are outcomes of the call.
        """
        self.check_room(submission.endpoint)  # type: ignore[arg-type] # a route never becomes a job
        upload = self._jobs.take_upload(submission)
        if upload is None:
            number = self._number = self._number + 1
            job = _job_facts(submission, headers, self.reactor.time())
        else:
            number, job = upload.number, upload.job
        file = body if isinstance(body, BodyFile) else None
        message = _submit_job(number, job, submission, body, fault, wants_reports=on_report is not None)
        is_open = upload is not None and upload.is_open
        return self._jobs.submit(submission, message, file, is_open=is_open, on_report=on_report)

    def submit_fault(self, submission: Submission, fault: PenstockError) -> RemoteCall:
        """Have a request refused for what is wrong with it, unless the engine's policies refuse it first.

        Raises
        ------
        PenstockError
            The fault itself, if the engine has refused the request already; as ``submit``.
        """
        upload = self._jobs.upload_of(submission)
        if isinstance(fault, (Draining, NotReady)) or (upload is not None and upload.refusal is not None):
            raise fault
        return self.submit(submission, b"", fault=fault)

    def refuse(self, submission: Submission, error: PenstockError) -> None:
        """Let the engine know that the request was refused here and will not become a job."""
        upload = self._jobs.take_upload(submission)
        if upload is not None and upload.refusal is not None:
            return  # the engine has refused it
        if not self.connection.is_connected:
            log_refusal(submission, error)
            return
        number = upload.number if upload is not None and upload.is_open else 0
        facts = _request_facts(submission, None)
        self.send(ReportRefusal(number, submission.endpoint.name, facts, fault_of(error)))

    def _receive(self, message: ToHost) -> None:
        if isinstance(message, RouteAnswer | RoutePiece):
            self._questions.receive(message)
        else:
            self._jobs.receive(message)

    # ---- routes, records and state

    def ask(self, route: Route, request: RouteRequest, submission: Submission) -> RouteCall:
        """Have a route answered beside the engine, and return at once.

        Raises
        ------
        NotReady
            If the engine is not there.
        """
        if not self.connection.is_connected:
            raise NotReady(NO_ENGINE)
        return self._questions.ask(route, request, _request_facts(submission, None))

    def report(self, record: RequestAnswered) -> None:
        """Pass a record on to the observers, which are beside the engine."""
        if self.connection.hello.sees_requests:
            self.send(ReportAnswer(tuple([getattr(record, name) for name in ANSWERED_FIELDS]), record.trace))

    def unready_reasons(self) -> list[str]:
        """Return why work should not be sent here now, as far as this process knows."""
        reasons = {"draining": self.draining or self.closed, NO_ENGINE: not self.connection.is_connected}
        return [reason for reason, holds in reasons.items() if holds]


def _job_facts(submission: Submission, headers: dict[str, str] | None, now: float) -> JobFacts:
    endpoint, timeouts = submission.endpoint, submission.timeouts
    return JobFacts(
        endpoint.name,
        _request_facts(submission, headers),
        now - submission.elapsed,
        submission.rank,
        None if timeouts is endpoint.timeouts else limits_of(timeouts),
        submission.caller_timeout,
        submission.credential_headers,
    )


def _submit_job(
    number: int,
    job: JobFacts | None,
    submission: Submission,
    body: Body,
    fault: PenstockError | None,
    *,
    wants_reports: bool,
) -> SubmitJob:
    plain, size_bytes = (b"", len(body)) if isinstance(body, BodyFile) else (body, 0)
    described = None if fault is None else fault_of(fault)
    form, part, memo = submission.input_form, submission.part, submission.job_memo
    return SubmitJob(number, job, plain, size_bytes, described, form, part, memo, wants_reports)


def _request_facts(submission: Submission, headers: dict[str, str] | None) -> RequestFacts:
    received = submission.received_headers
    if received is None:  # the transport has them in another form
        received = {name.encode("latin-1"): value.encode("latin-1") for name, value in (headers or {}).items()}
    principal = submission.principal
    name, scopes = (None, ()) if principal is None else (principal.name, tuple(principal.scopes))
    return RequestFacts(
        submission.request_id, submission.address, submission.query, received, name, scopes, submission.trace
    )


def _do_nothing() -> None: ...


def _ignore(_reason: str) -> None: ...
