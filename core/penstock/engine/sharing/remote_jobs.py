"""The jobs of one host in a shared engine: calls that wait for an outcome, and bodies on their way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from penstock.body_files import BodyFile, FileMissingError
from penstock.engine.reactors.reactor import Reactor, TimerHandle
from penstock.engine.sharing.engine_connection import EngineConnection
from penstock.engine.sharing.host_messages import (
    CancelJob,
    CreditChunks,
    HeaderPairs,
    JobFacts,
    JobOutcome,
    ReportProgress,
    StreamChunks,
    StreamHead,
    SubmitJob,
    ToHost,
    UploadGrant,
    error_of,
)
from penstock.engine.sharing.remote_calls import RemoteCall
from penstock.engine.sharing.remote_uploads import RemoteUpload
from penstock.errors import Cancelled, NotReady, PenstockError, Unavailable, WorkerLost
from penstock.hooks.services import OnReport
from penstock.hooks.submission import Submission
from penstock.response import Encoded
from penstock.wire import WINDOW_BYTES

PATIENCE_SECONDS = 10.0
"""The time in which a new engine must introduce itself, before the jobs that wait for it are given up."""
NO_ENGINE = "the engine's process has ended, and the next one is starting"


class RemoteJobs:
    """The calls and the uploads of one host.

    Parameters
    ----------
    reactor:
        The loop of the host.
    connection:
        The connection to the engine.
    on_settled:
        Called whenever a call has its outcome.

    Attributes
    ----------
    calls:
        The calls without an outcome, by their number.
    """

    def __init__(self, reactor: Reactor, connection: EngineConnection, on_settled: Callable[[], None]) -> None:
        self.reactor = reactor
        self._connection = connection
        self.send = connection.send
        self.calls: dict[int, RemoteCall] = {}
        self._uploads: dict[Submission, RemoteUpload] = {}
        self._on_settled = on_settled
        self._patience: TimerHandle | None = None
        self._receivers: dict[type, Callable[[Any], None]] = {
            JobOutcome: self._on_outcome,
            StreamHead: self._on_head,
            StreamChunks: self._on_chunks,
            ReportProgress: self._on_progress,
            UploadGrant: self._on_grant,
        }

    def __repr__(self) -> str:
        return f"<RemoteJobs: {len(self.calls)} calls, {len(self._uploads)} uploads>"

    # ---- what the host does

    def begin_upload(self, number: int, job: JobFacts, submission: Submission) -> RemoteUpload:
        """Return the upload of a large body, which is then to be opened."""
        upload = self._uploads[submission] = RemoteUpload(self, number, job, submission)
        return upload

    def upload_of(self, submission: Submission) -> RemoteUpload | None:
        """Return the upload of a request, or None if it has none."""
        return self._uploads.get(submission)

    def take_upload(self, submission: Submission) -> RemoteUpload | None:
        """Return the upload of a request, and forget it."""
        return self._uploads.pop(submission, None) if self._uploads else None

    def submit(
        self,
        submission: Submission,
        message: SubmitJob,
        file: BodyFile | None,
        *,
        is_open: bool,
        on_report: OnReport | None = None,
    ) -> RemoteCall:
        """Submit a job; ``is_open`` says that its upload was opened, so that the engine has its facts."""
        call = self.calls[message.call] = RemoteCall(self, message.call, submission, message, file, on_report=on_report)
        if is_open:
            message = msgspec.structs.replace(message, job=None)
        self._send_job(message, file)
        return call

    def _send_job(self, message: SubmitJob, file: BodyFile | None) -> None:
        if file is not None and not self._connection.send_file(file):  # the engine has not taken the others yet
            message = msgspec.structs.replace(message, body=file.read_all(), file_bytes=0)
        self.send(message)

    def cancel(self, call: RemoteCall, reason: str) -> None:
        """Cancel the job of a call that has no outcome."""
        self.send(CancelJob(call.number, reason))
        self._settle(call, Cancelled(reason))

    def abandon_all(self, error: PenstockError, reason: str) -> None:
        """Answer all calls with an error, and cancel their jobs."""
        for call in list(self.calls.values()):
            self.send(CancelJob(call.number, reason))
            self._settle(call, error)

    def taken(self, call: RemoteCall, count: int, size_bytes: int) -> None:  # noqa: ARG002 - as for every call's host
        """Record that the caller has taken chunks, and let the engine send more."""
        if call.outcome is None:
            call.owed_bytes += size_bytes
            if call.owed_bytes >= WINDOW_BYTES // 4:
                self.send(CreditChunks(call.number, call.owed_bytes))
                call.owed_bytes = 0

    def _settle(self, call: RemoteCall, outcome: Encoded | PenstockError) -> None:
        self.calls.pop(call.number, None)
        call.settle(outcome)
        self._on_settled()

    # ---- when the engine ends

    def keep_what_may_run_again(self) -> None:
        """The engine has ended: keep the jobs that another one may run, and answer the rest."""
        for upload in self._uploads.values():
            upload.lose()
        for call in list(self.calls.values()):
            if not call.endpoint.idempotent:
                self._settle(call, WorkerLost("the engine's process ended while the job may have been running"))
            elif call.has_begun_stream:
                self._settle(call, WorkerLost("the engine's process ended within the stream", retryable=True))
            else:
                self._watch(call)
        self._patience = self.reactor.call_at(self.reactor.time() + PATIENCE_SECONDS, self._lose_patience)

    def _watch(self, call: RemoteCall) -> None:
        """Answer a call when its own time is up, if it still waits for the next engine then."""
        limits, now = call.timeouts, self.reactor.time()
        due = now + PATIENCE_SECONDS if limits.queue is None else now + limits.queue
        if limits.total is not None:
            due = min(due, call.began + limits.total)
        if due < now + PATIENCE_SECONDS:
            self.reactor.call_at(due, partial(self._expire, call))

    def _expire(self, call: RemoteCall) -> None:
        if call.number in self.calls and not self._connection.is_connected:
            self._settle(call, NotReady(NO_ENGINE))

    def submit_again(self) -> None:
        """Submit the jobs that have waited for this engine."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        for call in self.calls.values():
            assert call.message is not None, "it has no outcome"
            self._send_job(call.message, call.file)

    def _lose_patience(self) -> None:
        self._patience = None
        for call in list(self.calls.values()):
            self._settle(call, NotReady(NO_ENGINE))

    # ---- what the engine sends

    def receive(self, message: ToHost) -> None:
        """Take in a message about a call or an upload."""
        self._receivers[type(message)](message)

    def _on_outcome(self, message: JobOutcome) -> None:
        outcome = message.outcome
        result = outcome if type(outcome) is Encoded else error_of(outcome)  # type: ignore[arg-type] # it is a Fault
        if message.file_bytes:
            result = self._with_file(result, message.file_bytes)
        call = self.calls.get(message.call)
        if call is None:
            self._on_upload_refused(message, result)
            return
        if not call.submission.takes_files:
            result = _in_memory(result)
        _add_headers(call.submission, message.headers)
        call.queue_seconds = message.queue_seconds
        call.execution_seconds = message.execution_seconds
        call.attempts = message.attempts
        self._settle(call, result)

    def _with_file(self, result: Any, size_bytes: int) -> Encoded | PenstockError:
        """Return a result with its body, which is in a file."""
        try:
            file: Any = self._connection.receive_file(size_bytes)
        except (FileMissingError, OSError) as error:
            return Unavailable(f"the result cannot be received: {error}")
        complete: Encoded = msgspec.structs.replace(result, body=file)
        return complete

    def _on_upload_refused(self, message: JobOutcome, refusal: Encoded | PenstockError) -> None:
        upload = self._upload_numbered(message.call)
        if upload is not None and isinstance(refusal, PenstockError):
            _add_headers(upload.submission, message.headers)
            upload.refuse(refusal)

    def _on_grant(self, message: UploadGrant) -> None:
        upload = self._upload_numbered(message.call)
        if upload is not None:
            upload.grant()

    def _upload_numbered(self, number: int) -> RemoteUpload | None:
        return next((upload for upload in self._uploads.values() if upload.number == number), None)

    def _on_head(self, message: StreamHead) -> None:
        call = self.calls.get(message.call)
        if call is not None:
            _add_headers(call.submission, message.headers)
            call.head = message.response
            call.queue_seconds = message.queue_seconds
            call.attempts = message.attempts

    def _on_chunks(self, message: StreamChunks) -> None:
        call = self.calls.get(message.call)
        if call is not None:
            call.add_chunks(message.bodies)

    def _on_progress(self, message: ReportProgress) -> None:
        call = self.calls.get(message.call)
        if call is not None and call.on_report is not None:
            call.on_report(message.progress)


def _in_memory(result: Encoded | PenstockError) -> Encoded | PenstockError:
    """Return a result whose body may be in a file with that body as bytes."""
    file: Any = getattr(result, "body", None)
    if isinstance(result, PenstockError) or not isinstance(file, BodyFile):
        return result
    try:
        return msgspec.structs.replace(result, body=file.read_all())
    finally:
        file.release()


def _add_headers(submission: Submission, headers: HeaderPairs) -> None:
    if headers:
        submission.response_headers.extend(headers)
