"""The messages between a shared engine and its hosts: the processes that take requests and pass them on to it.

Each frame holds all messages of one turn of a loop, so that what happens together is encoded, sent, received and
decoded together. Calls and questions have numbers from 1, which their host chooses. As in ``penstock.wire``, both
ends are the same release on the same machine, and share the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from penstock.errors import PenstockError
from penstock.hooks.records import RequestAnswered
from penstock.raised_errors import fields_of, rebuild
from penstock.response import Encoded
from penstock.wire import InputForm, Progress, Trace, WireError, frame_into

HeaderPairs: TypeAlias = list[tuple[str, str]]

ANSWERED_FIELDS = [name for name in RequestAnswered.__struct_fields__ if name != "trace"]
"""The names of the ``fields`` of ``ReportAnswer``."""


class Fault(msgspec.Struct, array_like=True, tag=1, gc=False):
    """An error, as ``penstock.raised_errors`` describes it."""

    error: str
    fields: dict[str, Any]


def fault_of(error: PenstockError) -> Fault:
    """Return the description of an error."""
    return Fault(*fields_of(error))


def error_of(fault: Fault) -> PenstockError:
    """Return the error that was described."""
    return rebuild(fault.error, fault.fields)


class RequestFacts(msgspec.Struct, array_like=True, gc=False):
    """A request as policies see it."""

    request_id: str
    address: str
    query: str
    headers: Mapping[bytes, bytes]
    """By lower-case name; empty if neither a policy nor the handler could look at them."""
    principal: str | None = None
    scopes: tuple[str, ...] = ()
    trace: Trace | None = None


# ---- host -> engine


class HostHello(msgspec.Struct, array_like=True, tag=1, gc=False):
    """The first message of a host: its process, and the digest of its manifest."""

    pid: int
    digest: str


class JobFacts(msgspec.Struct, array_like=True, gc=False):
    """A request, as the policies that need nothing but the request have left it."""

    endpoint: str
    request: RequestFacts
    began: float
    """The instant of the request's first byte."""
    rank: int
    limits: tuple[float | None, ...] | None = None
    """The fields of ``Timeouts`` in their order; None for the endpoint's own."""
    caller_timeout: float | None = None
    credential_headers: tuple[str, ...] = ()


class OpenUpload(msgspec.Struct, array_like=True, tag=2, gc=False):
    """Ask the admission policies about a request whose large body is still to come, and whether there is room for it.

    The body counts from now until its job is submitted, or the request refused.
    """

    call: int
    job: JobFacts
    size_bytes: int


class GrowUpload(msgspec.Struct, array_like=True, tag=3, gc=False):
    """Ask for room for more of a body that was not announced in full."""

    call: int
    size_bytes: int


class SubmitJob(msgspec.Struct, array_like=True, tag=4, gc=False):
    """Ask the admission policies about a request, unless ``OpenUpload`` did, and submit its job."""

    call: int
    job: JobFacts | None
    """None after ``OpenUpload``."""
    body: bytes
    """Empty if it is in a file."""
    file_bytes: int = 0
    """The size of a body that is in a file, whose descriptor has been sent before; otherwise 0."""
    fault: Fault | None = None
    """The fault of the request, which becomes no job then. The policies are asked first, and may refuse it."""
    input_form: InputForm | None = None
    """The way in which the input is to be read; None for a plain body."""
    part: int = 0
    """The number of the job among those of one request, from 1; the policies are asked with the first. Otherwise 0."""
    job_memo: bytes | None = None
    """Set if the request asks for a background job: the memo of a dialect, to be stored with it."""
    wants_reports: bool = False
    """True if the host wants the progress reports of the job."""


class CancelJob(msgspec.Struct, array_like=True, tag=5, gc=False):
    """Cancel the job of a call."""

    call: int
    reason: str


class CreditChunks(msgspec.Struct, array_like=True, tag=6, gc=False):
    """The caller has taken this much of a stream."""

    call: int
    size_bytes: int


class AskRoute(msgspec.Struct, array_like=True, tag=7, gc=False):
    """Have a route of a plug-in answered."""

    question: int
    route: str
    """Its method and path: the method of the request may be HEAD."""
    method: str
    path: str
    request: RequestFacts
    path_values: dict[str, str] = {}
    body: bytes = b""


class CancelQuestion(msgspec.Struct, array_like=True, tag=11, gc=False):
    """The caller no longer waits for the answer to a question, or for the rest of it."""

    question: int
    reason: str


class AskPiece(msgspec.Struct, array_like=True, tag=12, gc=False):
    """The caller has taken the last piece of a streamed answer: send the next."""

    question: int


class ReportRefusal(msgspec.Struct, array_like=True, tag=8, gc=False):
    """A request was refused before it came to the admission policies, or is given up before it became a job."""

    call: int
    """The number of its upload; 0 if it has none."""
    endpoint: str
    request: RequestFacts
    fault: Fault


class ReportAnswer(msgspec.Struct, array_like=True, tag=9, gc=False):
    """A request has been answered: the fields of ``RequestAnswered`` in their order, the trace apart."""

    fields: tuple[Any, ...]
    trace: Trace | None = None


class ReportHost(msgspec.Struct, array_like=True, tag=10, gc=False):
    """The host's part of the status page."""

    status: dict[str, Any]


# ---- engine -> host


class EngineHello(msgspec.Struct, array_like=True, tag=20, gc=False):
    """The first message of the engine: its process, the digest of its manifest, and what it wants to hear."""

    pid: int
    digest: str
    sees_requests: bool
    """True if a plug-in observes ``RequestAnswered``. An ``EngineState`` follows."""


class EngineState(msgspec.Struct, array_like=True, tag=21, gc=False):
    """The present state of the engine."""

    is_draining: bool = False
    is_complete: bool = False
    """True once every pool has been ready."""


class JobOutcome(msgspec.Struct, array_like=True, tag=22, gc=False):
    """A job has its outcome, or was refused. Its chunks, if any, have all been sent."""

    call: int
    outcome: Encoded | Fault
    queue_seconds: float | None
    execution_seconds: float | None
    attempts: int
    headers: HeaderPairs = []
    """The headers that the policies add to the response, unless ``StreamHead`` had them."""
    file_bytes: int = 0
    """As in ``SubmitJob``, for the body of the outcome."""


class StreamHead(msgspec.Struct, array_like=True, tag=23, gc=False):
    """A job is answered with a stream."""

    call: int
    response: Encoded
    queue_seconds: float | None
    attempts: int
    headers: HeaderPairs = []


class StreamChunks(msgspec.Struct, array_like=True, tag=24, gc=False):
    """Chunks of a stream, in order."""

    call: int
    bodies: list[bytes]


class ReportProgress(msgspec.Struct, array_like=True, tag=28, gc=False):
    """The handler of a job reports how far it has come."""

    call: int
    progress: Progress


class UploadGrant(msgspec.Struct, array_like=True, tag=25, gc=False):
    """The request is admitted, and there is room for its body. A refusal comes as ``JobOutcome``."""

    call: int


class RouteAnswer(msgspec.Struct, array_like=True, tag=26, gc=False):
    """The response of a route; without its body, if that is streamed."""

    question: int
    body: bytes = b""
    status: int = 200
    media_type: str = ""
    headers: dict[str, str] = {}
    refusal: Fault | None = None
    is_streamed: bool = False
    """True if the body follows in pieces, and then a ``RouteAnswer`` without one, or with the refusal that ends it."""
    keep_alive: bytes = b""


class RoutePiece(msgspec.Struct, array_like=True, tag=27, gc=False):
    """The next piece of a streamed answer."""

    question: int
    piece: bytes


ToEngine: TypeAlias = (
    HostHello
    | OpenUpload
    | GrowUpload
    | SubmitJob
    | CancelJob
    | CreditChunks
    | AskRoute
    | CancelQuestion
    | AskPiece
    | ReportRefusal
    | ReportAnswer
    | ReportHost
)
ToHost: TypeAlias = (
    EngineHello
    | EngineState
    | JobOutcome
    | StreamHead
    | StreamChunks
    | ReportProgress
    | UploadGrant
    | RouteAnswer
    | RoutePiece
)

_encode = msgspec.msgpack.Encoder().encode
decode_for_engine: Callable[[memoryview], list[ToEngine]] = msgspec.msgpack.Decoder(list[ToEngine]).decode
decode_for_host: Callable[[memoryview], list[ToHost]] = msgspec.msgpack.Decoder(list[ToHost]).decode


def pack_together(frames: list[bytes | memoryview], messages: Sequence[ToEngine | ToHost]) -> None:
    """Append messages as one frame; as one for each where that would be too large.

    Raises
    ------
    WireError
        If a single message is larger than ``penstock.wire.MAX_FRAME_BYTES``.
    """
    try:
        frame_into(frames, _encode(messages))
    except WireError:
        if len(messages) == 1:
            raise
        for message in messages:
            frame_into(frames, _encode([message]))
