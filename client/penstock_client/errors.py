"""The errors of a call: the same names and codes as in ``penstock.errors``, and those of the way to the server.

::

    ClientError
    ├── ConnectionFailed               no connection: refused, no such host, TLS
    │   ├── ConnectTimeout             also a TimedOut
    │   ├── PoolTimeout                also a TimedOut
    │   └── ConnectionLost             was connected, and ended before the response was complete
    ├── TimedOut
    │   ├── WriteTimeout               the request could not be sent in time
    │   ├── FirstByteTimeout           no response in time
    │   ├── IdleTimeout                the response has stopped arriving
    │   ├── EventTimeout               the stream is alive, but without an event
    │   └── TotalTimeout               the limit of the whole call, waits and retries included
    ├── ResponseError                  a response with an error status; its class by Penstock's code, or by the status
    ├── InvalidAnswer                  a response with a good status that cannot be read
    ├── StreamError
    │   ├── TruncatedStream            the stream ended before its end
    │   └── StreamFailed               the stream's last line is the reason
    ├── CircuitOpen                    the server has failed too often of late; nothing was sent
    └── LimitTimeout                   the client's own limits left no time to send the request

A server's own ``total-timeout`` and ``circuit-open`` are both a ``ResponseError`` and the client's error of that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from penstock_client.call_records import Attempt


class ClientError(Exception):
    """The root of the tree.

    Parameters
    ----------
    detail:
        One sentence for a person.

    Attributes
    ----------
    retryable:
        True if the same call may safely be made again: it has not run, or is idempotent.
    retry_after:
        The seconds after which the server wants to see it again, or None.
    request_id:
        The ``X-Request-Id`` of the call, for the server's log.
    attempts:
        The requests that were sent, and what became of each.
    may_have_run:
        True if the server may have done the work.
    partial:
        The part of the answer that had arrived: a list of a stream's events, the last ones of a long stream; of a chat,
        the ``ChatAnswer`` so far; otherwise the bytes of a body.
    retries_refused:
        The reason why the call was not tried again: ``"rule"``, ``"attempts"``, ``"deadline"``, ``"retry-after"``,
        ``"budget"``, ``"breaker"``; or "" if there was nothing to refuse.
    """

    code: ClassVar[str] = "client-error"
    title: ClassVar[str] = "The call failed"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.retryable = False
        self.retry_after: float | None = None
        self.request_id = ""
        self.attempts: tuple[Attempt, ...] = ()
        self.may_have_run = False
        self.partial: Any = None
        self.retries_refused = ""


class ConnectionFailed(ClientError):
    """There is no connection to the server: it refuses, has no address, or TLS fails."""

    code = "connection-failed"
    title = "The server cannot be reached"


class ConnectionLost(ConnectionFailed):
    """The connection ended before the response was complete."""

    code = "connection-lost"
    title = "The connection was lost"


class TimedOut(ClientError):
    """The base of the errors of time that ran out on this side."""

    code = "timed-out"
    title = "Time ran out"


class ConnectTimeout(ConnectionFailed, TimedOut):
    """The connection was not made in time."""

    code = "connect-timeout"
    title = "The server did not accept the connection in time"


class PoolTimeout(ConnectionFailed, TimedOut):
    """All connections of the client were in use for too long."""

    code = "pool-timeout"
    title = "No connection of the pool became free in time"


class WriteTimeout(TimedOut):
    """The server did not take the whole request in time."""

    code = "write-timeout"
    title = "The request could not be sent in time"


class FirstByteTimeout(TimedOut):
    """The request was sent, and the response did not begin in time."""

    code = "first-byte-timeout"
    title = "The response did not begin in time"


class IdleTimeout(TimedOut):
    """The response began, and then nothing more arrived in time."""

    code = "idle-timeout"
    title = "The response stopped arriving"


class EventTimeout(TimedOut):
    """The stream had no event in time, whatever else it has sent."""

    code = "event-timeout"
    title = "The stream had no event in time"


class TotalTimeout(TimedOut):
    """The limit of the whole call was reached, waits and retries included."""

    code = "total-timeout"
    title = "The time for the whole call is over"


class CircuitOpen(ClientError):
    """Calls have failed too often of late, so none is sent for a while. ``retry_after`` says for how long."""

    code = "circuit-open"
    title = "The circuit is open"


class LimitTimeout(ClientError):
    """The client's own limits on calls left no time to send this one."""

    code = "limit-timeout"
    title = "The client's own limit left no time for the call"


class InvalidAnswer(ClientError):
    """A response with a good status whose body is missing, or is not what its media type says."""

    code = "invalid-answer"
    title = "The answer cannot be read"


class StreamError(ClientError):
    """The base of the errors of streams. ``partial`` has the events that arrived."""

    code = "stream-error"
    title = "The stream failed"


class TruncatedStream(StreamError):
    """The connection ended in the middle of the stream."""

    code = "truncated-stream"
    title = "The stream was cut"


class StreamFailed(StreamError):
    """The server ended the stream with an error. ``server_code`` and ``server_type`` are the names of that error."""

    code = "stream-failed"
    title = "The stream ended with an error"

    server_code: str = ""
    server_type: str = ""


class ResponseError(ClientError):
    """A response with an error status.

    Attributes
    ----------
    status:
        The status of the response.
    server_code, server_type, server_message:
        The names and the sentence in the response, as OpenAI's ``code``, ``type`` and ``message``; "" if it had none.
        Without a code, the type is in its place.
    param:
        The name of the request field at fault, or None.
    errors:
        Each fault of the request, as ``{"path": "$.field", "reason": "..."}``.
    headers:
        The headers of the response, with names in lower case.
    """

    code = "response-error"
    title = "The server answered with an error"

    status: int = 0
    server_code: str = ""
    server_type: str = ""
    server_message: str = ""
    param: str | None = None
    errors: tuple[Mapping[str, str], ...] = ()
    headers: Mapping[str, str] = {}


class InvalidRequest(ResponseError):
    """The body does not fit the endpoint's schema; ``errors`` lists the faults."""

    code = "invalid-request"
    title = "The request does not fit the schema"


class MalformedRequest(InvalidRequest):
    """The body cannot be decoded at all."""

    title = "The request cannot be read"


class Unauthorized(ResponseError):
    """The credentials are missing or wrong."""

    code = "unauthorized"
    title = "Unauthorized"


class Forbidden(ResponseError):
    """The caller is known, but not allowed to do this."""

    code = "forbidden"
    title = "Forbidden"


class NotFound(ResponseError):
    """The path or the endpoint does not exist."""

    code = "not-found"
    title = "Not found"


class JobNotFound(ResponseError):
    """There is no job with this id, or it is another caller's."""

    code = "job-not-found"
    title = "No such job"


class JobGone(ResponseError):
    """The job, or its result, was kept for as long as it had to be, and has been removed."""

    code = "job-gone"
    title = "The result has been removed"


class JobNotFinal(ResponseError):
    """The job has not ended, so it can be neither deleted nor run anew."""

    code = "job-not-final"
    title = "The job has not ended"


class IdempotencyMismatch(ResponseError):
    """The job's id, or the idempotency key, was used before with another request."""

    code = "idempotency-mismatch"
    title = "The id belongs to another request"


class InvalidWebhook(InvalidRequest):
    """The webhook of a job cannot be used. Nothing was stored."""

    code = "invalid-webhook"
    title = "The webhook cannot be used"


class MethodNotAllowed(ResponseError):
    """The path exists, but does not accept this method."""

    code = "method-not-allowed"
    title = "Method not allowed"


class RequestTimeout(ResponseError):
    """The request did not arrive at the server in time."""

    code = "request-timeout"
    title = "The request took too long to arrive"


class PayloadTooLarge(ResponseError):
    """The body is larger than the server accepts."""

    code = "payload-too-large"
    title = "Payload too large"


class UnsupportedMediaType(ResponseError):
    """The endpoint does not accept the body's content type, or its compression."""

    code = "unsupported-media-type"
    title = "Unsupported media type"


class RateLimited(ResponseError):
    """The caller sends too many requests."""

    code = "rate-limited"
    title = "Too many requests"


class InternalError(ResponseError):
    """The server failed, and says no more than that."""

    code = "internal-error"
    title = "Internal error"


class HandlerError(InternalError):
    """The endpoint's own code raised an exception."""

    code = "handler-error"
    title = "The handler failed"


class HookError(InternalError):
    """A plug-in of the server raised an exception."""

    code = "hook-error"
    title = "A hook failed"


class Cancelled(ResponseError):
    """The job was cancelled on the server."""

    code = "cancelled"
    title = "Cancelled"


class Unavailable(ResponseError):
    """The base of the answers that mean "not now"."""

    code = "unavailable"
    title = "Unavailable"


class QueueFull(Unavailable):
    """The queue has reached its limit. Nothing was started."""

    code = "queue-full"
    title = "The queue is full"


class QueueTimeout(Unavailable):
    """The job waited for its whole queue timeout. It was never started."""

    code = "queue-timeout"
    title = "Timed out in the queue"


class DeadlineInfeasible(Unavailable):
    """The deadline cannot be met at the server's current load, so nothing was started."""

    code = "deadline-infeasible"
    title = "The deadline cannot be met"


class ServerCircuitOpen(CircuitOpen, Unavailable):
    """The endpoint has failed so often that the server accepts no jobs for a while."""


class Draining(Unavailable):
    """The server is shutting down and accepts no new jobs."""

    code = "draining"
    title = "Draining"


class NotReady(Unavailable):
    """The server has no worker ready, and will not have one soon."""

    code = "not-ready"
    title = "Not ready"


class StoreFull(Unavailable):
    """The store of background jobs has as many jobs or bytes as it may. Nothing was stored."""

    code = "store-full"
    title = "The job store is full"


class StoreUnavailable(Unavailable):
    """The database of background jobs does not answer. Nothing was stored."""

    code = "store-unavailable"
    title = "The job store does not answer"


class WorkerLost(Unavailable):
    """The worker died while the job ran."""

    code = "worker-lost"
    title = "The worker was lost"


class DeadlineExceeded(ResponseError):
    """The base of the answers to jobs that ran, and were stopped at a deadline."""

    code = "deadline-exceeded"
    title = "Deadline exceeded"


class ExecutionTimeout(DeadlineExceeded):
    """The job ran for longer than its endpoint allows."""

    code = "execution-timeout"
    title = "Execution timed out"


class ServerTotalTimeout(TotalTimeout, DeadlineExceeded):
    """The server reached the time limit of the call, after the job had started."""
