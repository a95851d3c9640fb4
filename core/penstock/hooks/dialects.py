"""Dialects: other HTTP interfaces to the same endpoints, as records of pure functions, which any adapter can mount.

A dialect knows nothing of transports, and an adapter knows nothing of what a dialect says. Policies, deadlines, the
queue, retries and the watch for clients that leave are the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from penstock.codec.dialect_decoders import DialectInput
from penstock.errors import DeclarationError
from penstock.hooks.dialect_answers import CancelRequest, ReportFraming
from penstock.hooks.routes import Route, RouteEngine, RouteRequest, RouteResponse
from penstock.hooks.submission import Priority, Submission
from penstock.response import Encoded
from penstock.wire import InputForm

OperationMethod: TypeAlias = Literal["GET", "POST", "PUT", "DELETE"]


class DialectRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as a dialect sees it.

    Attributes
    ----------
    request_id:
        The request id, as in ``X-Request-Id``.
    method:
        The HTTP method.
    path:
        The path, decoded, with the prefix of a mounted application.
    path_values:
        The values of the variables in the operation's path, decoded.
    header:
        Looks up a request header by its lower-case name; returns None if it is missing.
    query:
        The query string, not decoded.
    body:
        The body; empty in ``Operation.choose``, and where the operation does not read it. Only its beginning, if the
        operation reads no more: see ``Operation.head_bytes``.
    size_bytes:
        The size of the whole body; 0 in ``Operation.choose``.
    """

    request_id: str
    method: str
    path: str
    path_values: Mapping[str, str]
    header: Callable[[str], str | None]
    query: str = ""
    body: bytes = b""
    size_bytes: int = 0


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """A request in the endpoint's own terms: the input, and how the client wants it answered.

    Attributes
    ----------
    endpoint:
        The name of the endpoint.
    body:
        The input as the endpoint itself would read it: JSON, or raw bytes. None: the body of the request, as it came.
    input_form:
        For a body as it came: the way to read it, if it is not a plain one. ``decoded_by`` makes one for a format that
        only the dialect can read; ``Codec.input_form`` one for forms, and for values from the path and the query.
    is_streamed:
        True if the client wants a stream, and False if it wants a single answer, whatever the endpoint's handler does:
        a single result is streamed as one chunk, and chunks are collected. None: as the handler answers.
    timeout:
        Seconds from the first byte of the request after which the client wants no answer any more; None if it has not
        said. It can only shorten the endpoint's own.
    priority:
        The urgency that the client asks for; None if it has not said.
    parts:
        For a request with several inputs that are answered together, each of them, as ``body`` would be: each becomes a
        job of its own. If one fails, so does the request, and the others are cancelled. ``together`` writes the answer;
        the chunks of a stream are then instances of ``PartChunk``.
    memo:
        Anything that the dialect wants to know again when it writes the answer.
    job_memo:
        For a client that wants a background job: what a route of the plug-in wants to know again of the request. It is
        stored with the job, and may be empty; see ``CallerJobs.memo``. ``accepted`` writes the answer. The request is
        refused if there is no store, or the endpoint takes no background jobs. None: only the header ``Prefer`` makes a
        job of the request.
    wants_reports:
        True if the client wants to hear of the progress of the job in the answer to this request, which
        ``Dialect.reporting`` then writes. ``is_streamed`` must be False, and there are no ``parts``.
    cancel_key:
        The key by which another request of the same caller can cancel the job: see ``CancelRequest``. If several
        running jobs of a caller have the same key, all of them are cancelled. None: there is no such request.
    """

    endpoint: str
    body: bytes | None = None
    parts: Sequence[bytes] = ()
    input_form: InputForm | None = None
    is_streamed: bool | None = None
    timeout: float | None = None
    priority: Priority | None = None
    memo: Any = None
    job_memo: bytes | None = None
    wants_reports: bool = False
    cancel_key: str | None = None

    def apply_to(self, submission: Submission) -> None:
        """Tighten the deadline of a submission, set its priority, and make a job of it, as the client asks for."""
        submission.input_form = self.input_form
        submission.job_memo = self.job_memo
        if self.timeout is not None:
            total = submission.timeouts.total
            limit = self.timeout if total is None else min(total, self.timeout)
            submission.timeouts = replace(submission.timeouts, total=limit)
            submission.tighten_caller_timeout(self.timeout)
        if self.priority is not None:
            submission.priority = self.priority


ReadRequest: TypeAlias = Payload | RouteResponse | CancelRequest
"""The types that ``Operation.read`` may return."""


class PartChunk(bytes):
    """A chunk of one of several jobs that are answered together; to ``frame``, it is bytes like any other.

    Attributes
    ----------
    part:
        The place of its input in ``Payload.parts``, from 0.
    """

    part: int


class PublicError(msgspec.Struct, frozen=True, kw_only=True):
    """An error as the client may see it: without what only the log and ``--debug`` show.

    Attributes
    ----------
    status:
        The HTTP status.
    code:
        The error's code, such as ``queue-full``.
    title:
        A short sentence that is the same for every error with this code.
    message:
        A sentence about this error.
    type:
        The ``error.type`` that OpenAI-style clients expect.
    param:
        The input that does not fit, or None.
    errors:
        For an input that does not fit: where, and why, for each fault; otherwise empty.
    traceback:
        The traceback of a handler's exception, under ``--debug``; otherwise "".
    request_id:
        The request id.
    """

    status: int
    code: str
    title: str
    message: str
    type: str
    request_id: str
    param: str | None = None
    errors: Sequence[Mapping[str, str]] = ()
    traceback: str = ""

    def as_object(self) -> dict[str, Any]:
        """Return the ``error`` object of the native interface."""
        return {"message": self.message, "type": self.type, "code": self.code, "param": self.param}


class Framing(Protocol):
    """A way to write the chunks of one stream.

    A chunk that the handler has yielded as an ``Event`` is its data. If the framing has an attribute ``takes_events``
    that is true, such a chunk has the event's fields in front of its data: ``split_chunk`` takes them apart.
    """

    media_type: str
    is_piecewise: bool
    """True if each chunk is a write of its own, for clients that take what they read at once for one."""

    @property
    def end(self) -> bytes:
        """The mark of a complete stream; empty if the end of the body is enough."""

    @property
    def keep_alive(self) -> bytes:
        """Sent during a long silence; empty if the format has nothing to send then."""

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        """Return ``chunks``, at least one, as one piece of the body."""

    def error(self, error: PublicError) -> bytes:
        """Return the last piece of a stream that failed. The connection is then cut, so that no client misses it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation:
    """A path and a method of a dialect.

    Parameters
    ----------
    path:
        The path, beginning with a slash. ``{name}`` stands for one segment, and at its end ``{name:path}`` for one or
        more. The prefix of a mounted application is put before it.
    read:
        Takes the request and returns what it asks for; raises a ``PenstockError``, such as ``InvalidRequest``, to
        refuse it. It runs in the HTTP process, so it must be cheap; for a large body, it is called in a thread.
        A request that needs no job is answered at once by what it returns in the place of a payload: a
        ``RouteResponse``, or a ``CancelRequest``.
    method:
        The HTTP method. A ``GET`` operation answers ``HEAD`` as well.
    choose:
        Takes the request without its body and returns the name of the endpoint, so that the endpoint's policies can
        refuse the request before its body is read; raises ``NotFound`` if there is none. None in the place of a name:
        ``read`` decides, and until then the authenticator alone is asked. Without ``choose``, ``read`` decides as well,
        unless the dialect has one endpoint only: then that is the one.
    reads_body:
        False if ``read`` does not look at the body.
    head_bytes:
        Takes the request without its body and returns the number of bytes at the beginning of the body that ``read``
        looks at, or None for all of them. The rest may be large: it is passed on to the worker, and never read here.
    media_types:
        The content types that are read, without parameters; ``*`` stands for any characters. A request without one is
        read, too. None: all of them.
    max_body:
        The largest body, in bytes. None: that of the application.
    description:
        The operation as the OpenAPI document shows it, with ``requestBody``, ``responses`` and the rest. Its id, its
        tag, path variables and credentials are added where they are missing. None: it is not in the document.
    """

    path: str
    read: Callable[[DialectRequest], ReadRequest]
    method: OperationMethod = "POST"
    choose: Callable[[DialectRequest], str | None] | None = None
    reads_body: bool = True
    head_bytes: Callable[[DialectRequest], int | None] | None = None
    media_types: tuple[str, ...] | None = None
    max_body: int | None = None
    description: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Dialect:
    """An HTTP interface to some endpoints.

    Parameters
    ----------
    name:
        The name that logs and error messages use.
    operations:
        Its paths.
    result:
        Takes a result and the payload, and returns the response.
    error:
        Takes an error and returns the response. Its status and the headers that concern retries are added.
    framing:
        Takes the head of one stream, an ``Encoded`` without a body, and the payload, and returns the way to write it;
        or None to send its chunks as they are, if it has a media type of its own. Without it, only such streams can be
        sent.
    collected:
        Takes the chunks of a whole stream, which are ``CollectedChunks``, and the payload, and returns the response.
        None if the dialect never asks for that.
    together:
        Takes, for each of ``Payload.parts``, the chunks of its answer, of which a single result is one; and the
        payload. Returns the response. None if no payload has parts.
    accepted:
        Takes the answer to a payload with a ``job_memo``, an ``Encoded`` with the document of the stored job as
        ``/v1/jobs`` has it; and the payload. Returns the response. None if no payload has a ``job_memo``.
    failure:
        Takes an error and the payload, in the place of ``error`` once the request has been read. None: ``error`` is
        asked then, too.
    reporting:
        Takes a payload that wants reports, and returns the way to write them. The stream begins with the first report,
        so that a job without any is answered as usual. None if no payload wants reports.
    endpoints:
        The names of the endpoints that it serves, besides those that are declared with it.
    is_compressed:
        False if its responses are never compressed, whatever the application does and the client accepts: for clients
        that rely on a length in the response's own headers, for instance.
    passes_bodies:
        True if ``result`` passes the body of a result on as it is, without looking at it: a large one may then be a
        file, which is never read into the memory of the HTTP process. No payload may ask for a stream, or have parts.
    """

    name: str
    operations: tuple[Operation, ...]
    result: Callable[[Encoded, Payload], RouteResponse]
    error: Callable[[PublicError], RouteResponse]
    framing: Callable[[Encoded, Payload], Framing | None] | None = None
    collected: Callable[[list[bytes], Payload], RouteResponse] | None = None
    together: Callable[[list[list[bytes]], Payload], RouteResponse] | None = None
    accepted: Callable[[Encoded, Payload], RouteResponse] | None = None
    failure: Callable[[PublicError, Payload], RouteResponse] | None = None
    reporting: Callable[[Payload], ReportFraming] | None = None
    endpoints: tuple[str, ...] = ()
    is_compressed: bool = True
    passes_bodies: bool = False


Decoder: TypeAlias = Callable[[bytes], bytes | DialectInput] | Callable[[bytes, str], bytes | DialectInput]


def decoded_by(function: Decoder, media_type: str = "", *, items: int = 1) -> InputForm:
    """Return the form of an input that a function decodes in the worker.

    Parameters
    ----------
    function:
        A function at the top level of a module, which workers import for it. It takes the body of a request as it came,
        and returns the input as the endpoint itself would read it: JSON, or raw bytes. Or it returns the values
        themselves, as a ``DialectInput``, which may write the answer as well. To refuse a body, it raises
        ``InvalidRequest``.
    media_type:
        A text that the function takes too: as its second argument. Most often it is the content type of the body,
        without which a form cannot be read.
    items:
        The share of a batch that the input takes: the first dimension of tensors that are joined.

    Raises
    ------
    DeclarationError
        If the function is not at the top level of a module.
    """
    if "." in function.__qualname__ or function.__qualname__ == "<lambda>":
        raise DeclarationError(f"{function!r} cannot be imported by a worker; define it at the top level of a module")
    return InputForm(media_type, decoder=f"{function.__module__}:{function.__qualname__}", items=items)


def door_of(dialect: Dialect, operation: Operation) -> Route:
    """Return the route that stands for an operation until its endpoint is known.

    The authenticator is asked about it, and lets in every caller that may use endpoints.
    """
    return Route(
        path=operation.path,
        name=f"{dialect.name} {operation.path}",
        handler=_never_called,
        method=operation.method,
        is_for_callers=True,
    )


def _never_called(_request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
    raise AssertionError("the route stands for an operation")


def functions_of(dialect: Dialect) -> Iterator[tuple[Callable[..., Any], int, str]]:
    """Yield the functions of a dialect, each with the number of its arguments and the name of its field."""
    for operation in dialect.operations:
        yield operation.read, 1, f"read of {operation.path}"
        if operation.choose is not None:
            yield operation.choose, 1, f"choose of {operation.path}"
        if operation.head_bytes is not None:
            yield operation.head_bytes, 1, f"head_bytes of {operation.path}"
    yield dialect.result, 2, "result"
    yield dialect.error, 1, "error"
    if dialect.framing is not None:
        yield dialect.framing, 2, "framing"
    if dialect.collected is not None:
        yield dialect.collected, 2, "collected"
    if dialect.together is not None:
        yield dialect.together, 2, "together"
    if dialect.accepted is not None:
        yield dialect.accepted, 2, "accepted"
    if dialect.failure is not None:
        yield dialect.failure, 2, "failure"
    if dialect.reporting is not None:
        yield dialect.reporting, 1, "reporting"
