"""The engine's end of one host: its requests pass the admission policies, become jobs, and are answered."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from penstock.app import Endpoint
from penstock.body_files import Body
from penstock.engine.outcomes import file_of
from penstock.engine.sharing.host_messages import (
    ANSWERED_FIELDS,
    AskPiece,
    AskRoute,
    CancelJob,
    CancelQuestion,
    CreditChunks,
    EngineHello,
    Fault,
    GrowUpload,
    HostHello,
    JobOutcome,
    OpenUpload,
    ReportAnswer,
    ReportHost,
    ReportProgress,
    ReportRefusal,
    StreamChunks,
    StreamHead,
    SubmitJob,
    ToEngine,
    UploadGrant,
    decode_for_engine,
    error_of,
    fault_of,
)
from penstock.engine.sharing.hosted_requests import (
    HostedRequest,
    complete,
    headers_for,
    job_submission,
    submission_of,
)
from penstock.engine.sharing.link_files import body_of, with_file_sent
from penstock.engine.sharing.message_link import MessageLink
from penstock.engine.sharing.remote_admission import RemoteAdmission, answer_to
from penstock.engine.sharing.route_answers import RouteAnswers
from penstock.engine.sharing.shared_engine import SharedEngine
from penstock.errors import Cancelled, PenstockError
from penstock.hooks.records import RequestAnswered
from penstock.response import Encoded
from penstock.socket_buffers import ReceiveBuffer
from penstock.wire import Progress

_GONE = "the process that took the request has ended"
_PIECE_BYTES = 1 << 16


class HostLink:
    """The connection to one host.

    Parameters
    ----------
    shared:
        The engine, with its policies and routes.
    connection:
        The connected socket.
    buffer:
        The process's receive buffer.
    on_end:
        Called with the link when the host is gone. Its jobs have been cancelled by then.

    Attributes
    ----------
    pid:
        The host's process; 0 until it has introduced itself.
    status:
        The host's part of the status page.
    """

    def __init__(
        self,
        shared: SharedEngine,
        connection: socket.socket,
        buffer: ReceiveBuffer,
        on_end: Callable[[HostLink], None],
    ) -> None:
        self.pid = 0
        self.status: dict[str, Any] = {}
        self._shared = shared
        self._engine = shared.engine
        self._requests: dict[int, HostedRequest] = {}
        self._on_end = on_end
        self._link = MessageLink(
            shared.engine.reactor,
            connection,
            buffer,
            decode_for_engine,
            on_messages=self._on_messages,
            on_end=self._host_has_ended,
        )
        self._send = self._link.send
        self._answers = RouteAnswers(shared, self._send)
        self._admission = RemoteAdmission(shared, self._refuse)
        self._receivers: dict[type, Callable[[Any], None]] = {
            HostHello: self._on_hello,
            OpenUpload: self._on_upload,
            GrowUpload: self._on_growth,
            SubmitJob: self._on_submission,
            CancelJob: self._on_cancel,
            CreditChunks: self._on_credit,
            AskRoute: self._answers.on_question,
            AskPiece: self._answers.on_piece,
            CancelQuestion: self._answers.on_cancel,
            ReportRefusal: self._on_refusal,
            ReportAnswer: self._on_answer,
            ReportHost: self._on_host,
        }

    def __repr__(self) -> str:
        return f"<HostLink of process {self.pid}: {len(self._requests)} requests>"

    def announce(self) -> None:
        """Let the host know the state of the engine."""
        self._send(self._shared.state)

    def close(self) -> None:
        """Send what has been decided, and close."""
        self._link.close()

    def _on_messages(self, messages: list[ToEngine]) -> None:
        receivers = self._receivers
        for message in messages:
            receivers[type(message)](message)

    def _on_hello(self, message: HostHello) -> None:
        self.pid = message.pid
        shared = self._shared
        sees = shared.on_answered is not None
        self._send(EngineHello(os.getpid(), shared.digest, sees))
        self.announce()

    def _host_has_ended(self) -> None:
        requests, self._requests = self._requests, {}
        for hosted in requests.values():
            self._abandon(hosted, _GONE)
        self._answers.abandon_all(_GONE)
        self._on_end(self)

    # ---- requests

    def _on_upload(self, message: OpenUpload) -> None:
        hosted = self._hosted(message.call, message.job)
        self._admission.ask(hosted, partial(self._open_upload, hosted, message.size_bytes))

    def _open_upload(self, hosted: HostedRequest, size_bytes: int) -> None:
        if self._grow(hosted, size_bytes):
            self._send(UploadGrant(hosted.number))

    def _on_growth(self, message: GrowUpload) -> None:
        hosted = self._requests.get(message.call)
        if hosted is not None:
            self._grow(hosted, message.size_bytes)

    def _grow(self, hosted: HostedRequest, size_bytes: int) -> bool:
        """Count more of a body; return whether there is room for it. If not, the request is refused."""
        endpoint = hosted.submission.endpoint
        assert isinstance(endpoint, Endpoint), "a route takes no body"
        try:
            hosted.upload_ends.append(self._engine.begin_upload(endpoint, size_bytes))
        except PenstockError as error:
            self._refuse(hosted, error)
            return False
        return True

    def _on_submission(self, message: SubmitJob) -> None:
        job = message.job
        body = body_of(self._link, message)
        if job is not None:
            hosted = self._hosted(message.call, job)
            complete(hosted, message)
            self._admission.ask(hosted, partial(self._submit, hosted, body, message.fault))
            return
        opened = self._requests.get(message.call)
        if opened is not None:  # else it was refused meanwhile, which the host is about to learn
            opened.close_upload()
            complete(opened, message)
            self._submit(opened, body, message.fault)

    def _hosted(self, number: int, job: Any) -> HostedRequest:
        endpoint = self._engine.endpoint(job.endpoint)
        hosted = self._requests[number] = HostedRequest(number, job_submission(endpoint, job), job.began)
        return hosted

    def _submit(self, hosted: HostedRequest, body: Body | PenstockError, fault: Fault | None) -> None:
        submission = hosted.submission
        if fault is not None or isinstance(body, PenstockError):
            self._refuse(hosted, body if isinstance(body, PenstockError) else error_of(fault))  # type: ignore[arg-type] # one of the two
            return
        endpoint = submission.endpoint
        assert isinstance(endpoint, Endpoint), "a route never becomes a job"
        if submission.timeouts.total is not None:
            submission.elapsed = self._engine.reactor.time() - hosted.began
        on_report = partial(self._report, hosted) if hosted.wants_reports else None
        try:
            call = self._engine.submit(submission, body, headers=headers_for(endpoint, submission), on_report=on_report)
        except Exception as error:
            self._refuse(hosted, answer_to(error, hosted))
            return
        hosted.call = call
        call.on_progress = partial(self._progress, hosted)
        if call.outcome is not None:  # its queue has shed it at once
            self._progress(hosted)

    def _report(self, hosted: HostedRequest, progress: Progress) -> None:
        self._send(ReportProgress(hosted.number, progress))

    def _progress(self, hosted: HostedRequest) -> None:
        """Pass on what there is of a job's response."""
        call = hosted.call
        assert call is not None, "it is the call that reports progress"
        outcome = call.outcome
        # A job that has no chunk yet may lose its worker, run again, and answer once.
        if call.head is not None and (call.has_chunks or outcome is not None):
            self._stream(hosted)
            if call.has_chunks:
                return
        if outcome is None:
            return
        call.on_progress = None
        hosted.call = None
        del self._requests[hosted.number]
        file = file_of(outcome)
        if file is not None:
            outcome = with_file_sent(self._link, outcome, file)
        self._send(
            JobOutcome(
                hosted.number,
                outcome if type(outcome) is Encoded else fault_of(outcome),
                call.queue_seconds,
                call.execution_seconds,
                call.attempts,
                hosted.take_headers(),
                0 if file is None or outcome.body else len(file),
            )
        )

    def _stream(self, hosted: HostedRequest) -> None:
        call = hosted.call
        assert call is not None, "a stream has a call"
        if not hosted.is_headed:
            hosted.is_headed = True
            headers = hosted.take_headers()
            self._send(StreamHead(hosted.number, call.head, call.queue_seconds, call.attempts, headers))
        while hosted.credit_bytes > 0 and call.has_chunks:
            bodies = call.take(min(hosted.credit_bytes, _PIECE_BYTES))
            hosted.credit_bytes -= sum(map(len, bodies))
            self._send(StreamChunks(hosted.number, bodies))

    def _on_credit(self, message: CreditChunks) -> None:
        hosted = self._requests.get(message.call)
        if hosted is not None and hosted.call is not None:
            hosted.credit_bytes += message.size_bytes
            self._progress(hosted)

    # ---- requests that do not become jobs, or are given up

    def _refuse(self, hosted: HostedRequest, error: PenstockError) -> None:
        self._engine.refuse(hosted.submission, error)
        hosted.close_upload()
        if self._requests.pop(hosted.number, None) is not None:
            self._send(JobOutcome(hosted.number, fault_of(error), None, None, 0, hosted.take_headers()))

    def _on_cancel(self, message: CancelJob) -> None:
        hosted = self._requests.pop(message.call, None)
        if hosted is not None:
            self._abandon(hosted, message.reason)

    def _abandon(self, hosted: HostedRequest, reason: str) -> None:
        """Leave nothing behind of a request that its host no longer waits for."""
        hosted.is_cancelled = True
        hosted.close_upload()
        call, hosted.call = hosted.call, None
        if call is not None:
            call.on_progress = None
            call.cancel(reason)
        elif not hosted.is_being_admitted:
            self._engine.refuse(hosted.submission, Cancelled(reason))

    def _on_refusal(self, message: ReportRefusal) -> None:
        error = error_of(message.fault)
        hosted = self._requests.pop(message.call, None)
        if hosted is None:
            endpoint = self._engine.endpoint(message.endpoint)
            self._engine.refuse(submission_of(endpoint, message.request), error)
        else:
            hosted.close_upload()
            self._engine.refuse(hosted.submission, error)

    # ---- everything else

    def _on_answer(self, message: ReportAnswer) -> None:
        if self._shared.on_answered is not None:
            fields = dict(zip(ANSWERED_FIELDS, message.fields, strict=True))
            self._shared.on_answered(RequestAnswered(**fields, trace=message.trace))

    def _on_host(self, message: ReportHost) -> None:
        self.status = message.status
