"""The frames and messages between the engine, the zygote, the templates and the workers. Sans-I/O: bytes in and out.

A frame is a 4-byte big-endian length, followed by that number of bytes of MessagePack. Messages are array-like tagged
structs, which msgspec decodes in one pass. Both ends are the same release on the same machine, so there is no version
negotiation, and an instant of the monotonic clock means the same to both.

Constants that both ends must agree on are defined here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from struct import Struct
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from penstock.response import Encoded

MAX_FRAME_BYTES = 1 << 30

# Besides the socket, the engine and a worker share a page of 64-bit words, for signals that must take effect between
# two instructions of the user's code, before any message can be read. Each word has one writer.
SHARED_BYTES = 4096
WORD_INTERRUPT = 0  # written by the engine: the attempt that must stop; SIGUSR1 follows
WORD_RECALLED = 1  # written by the engine: no inline attempt up to this one may be started any longer
WORD_STARTED = 2  # written by the worker: the last inline attempt it started, written before it reads WORD_RECALLED
WORD_LOG_KEY = 3  # this one and the next, written by the engine before the worker starts: see ``log_mark``
WORD_ABANDONED = 5  # written by the engine: no caller waits for any attempt up to this one; SIGUSR1 follows

# A stream's chunks that may be sent and not yet taken by the client, in bytes; then the stream waits for its Credit.
WINDOW_BYTES = 1 << 20

# The progress reports that an attempt may send: as many at once, and as many per second.
PROGRESS_BURST: Final = 10
PROGRESS_PER_SECOND: Final = 10
MOST_PROGRESS_CHARACTERS: Final = 500

_LENGTH = Struct(">I")
_LENGTH_BYTES = _LENGTH.size
_unpack_length = _LENGTH.unpack_from
# Below this, copying a payload behind its length costs less than a second piece to write.
_COPIED_BYTES = 1 << 16

# For ids that follow from other ids: odd, so that different numbers lead to different ids.
_SPREAD: Final = 0x9E3779B97F4A7C15
_TRACE_SPREAD: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835
_SPAN_MASK: Final = (1 << 64) - 1
_TRACE_MASK: Final = (1 << 128) - 1

_FileBytes: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_FRAME_BYTES)]
_Amount: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, le=1e15)]
_Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]
"""A finite duration: anything that is learnt from durations would be spoilt by one that is not."""


class WireError(Exception):
    """The bytes are not a valid frame, so the other end is not the process that it should be."""


class Trace(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A place in a distributed trace: the span of which everything that happens next is a part.

    A tracer (``penstock_tracer``) says to which trace a request belongs, the engine makes a place below it for each
    attempt, and the worker passes that on to the handler. See W3C's Trace Context.

    Attributes
    ----------
    trace_id:
        32 hexadecimal digits in lower case.
    span_id:
        16 hexadecimal digits in lower case: the request's own span, or its caller's if the request is not sampled.
    is_sampled:
        True if the spans of the request are recorded here.
    flags:
        The flags of ``traceparent`` for those who continue the trace.
    state, baggage:
        The caller's ``tracestate`` and ``baggage``, to be passed on as they are; "" if there are none.
    parent_id:
        The span of the caller; "" if the trace begins here.
    user_agent, host:
        The request's headers of these names, if it is sampled.
    """

    trace_id: str
    span_id: str
    is_sampled: bool = False
    flags: int = 0
    state: str = ""
    baggage: str = ""
    parent_id: str = ""
    user_agent: str = ""
    host: str = ""

    def headers(self) -> dict[str, str]:
        """Return the headers with which another service continues the trace."""
        headers = {"traceparent": f"00-{self.trace_id}-{self.span_id}-{self.flags & 0xFF:02x}"}
        if self.state:
            headers["tracestate"] = self.state
        if self.baggage:
            headers["baggage"] = self.baggage
        return headers

    def log_fields(self) -> dict[str, str]:
        """Return the fields that a log line about this request has."""
        return {"trace_id": self.trace_id, "span_id": self.span_id}

    def attempt_id(self, number: int) -> str:
        """Return the span of an attempt of this request, by the attempt's number.

        It follows from the request's own, so that nothing has to be kept to find it again.
        """
        return _span_id(int(self.span_id, 16) + number * _SPREAD)

    def of_attempt(self, number: int) -> Trace:
        """Return the place of what an attempt does: below its own span if the request is sampled, else its caller's."""
        if not self.is_sampled:
            return self
        return Trace(self.trace_id, self.attempt_id(number), True, self.flags, self.state, self.baggage)

    def of_batch(self, attempt: int) -> Trace:
        """Return the place of what a batch does whose first sampled job this is: a trace of its own."""
        trace_id = (int(self.trace_id, 16) + attempt * _TRACE_SPREAD) & _TRACE_MASK or 1
        span_id = _span_id((int(self.span_id, 16) ^ _SPREAD) + attempt * _SPREAD)
        return Trace(f"{trace_id:032x}", span_id, True, self.flags)


NO_TRACE: Final = Trace("", "")
"""Stands for the trace of a job that has none, where others have."""


def _span_id(number: int) -> str:
    return f"{number & _SPAN_MASK or 1:016x}"


class About(msgspec.Struct, array_like=True, gc=False):
    """The facts about a job from which its ``Context`` is made."""

    job_id: str
    attempt: int
    principal: str | None
    headers: dict[str, str]
    deadline: float
    request_id: str = ""
    query: str = ""
    claim: int = 1
    is_watched: bool = False
    """True if anything in the engine listens to its progress."""


class InputForm(msgspec.Struct, array_like=True, gc=False):
    """The way in which the input of a job is to be read, if it is not the body alone, or the body is a form."""

    media_type: str
    """The ``Content-Type`` of a form, or for a decoder that takes it; empty if the body is as without it."""
    values: list[tuple[str, str]] = []
    """The names and values of the path's variables, in their order, and after them those of the query, decoded."""
    decoder: str = ""
    """``module:function`` of a dialect, which returns a plain body for this one; empty if the endpoint reads it."""
    items: int = 1
    """Its share of the size of a batch."""
    answer_type: str = ""
    """The media type of the answer that the client wants, if the endpoint can write another one than its own."""


class Work(msgspec.Struct, array_like=True, gc=False):
    """One job inside a ``Run``."""

    body: bytes
    """The request body, not decoded."""
    about: About | None = None
    """Set only for handlers that take a ``Context``."""
    input_form: InputForm | None = None
    """None for a plain body."""


# ---- engine -> worker


class Run(msgspec.Struct, array_like=True, tag=1, gc=False):
    """Run one attempt."""

    attempt: int
    endpoint: str
    """Its name: the two processes may have declared their endpoints in different orders."""
    deadline: float
    """An instant of the monotonic clock; ``inf`` if there is none."""
    works: list[Work]
    request_ids: list[str] = []
    """The request id of each job, for the log records of the attempt."""
    trace: Trace | None = None
    """The place of what the handler does, if requests are traced: in its job's trace, or in that of its batch."""
    trace_ids: list[str] = []
    """For a batch, the trace of each job, for the log records; "" for a job that has none."""


class Cancel(msgspec.Struct, array_like=True, tag=2, gc=False):
    """Stop this attempt. Its ``Done`` acknowledges that."""

    attempt: int


class Credit(msgspec.Struct, array_like=True, tag=3, gc=False):
    """Allow ``size_bytes`` more bytes of this stream's chunks to be sent."""

    attempt: int
    size_bytes: int


class Stop(msgspec.Struct, array_like=True, tag=4, gc=False):
    """Finish the running attempts, tear down the models, and exit."""


class Check(msgspec.Struct, array_like=True, tag=9, gc=False):
    """Call the ``check`` methods of the models. There is no answer if all is well."""


class LargeRun(msgspec.Struct, array_like=True, tag=5, gc=False):
    """Run one attempt with at least one body that is in a file: see ``Greeting``."""

    run: Run
    """Its bodies in files are empty."""
    sizes: list[int]
    """The size of the body of each work in bytes, if that is in a file; otherwise 0."""


class Greeting(msgspec.Struct, array_like=True, tag=6, gc=False):
    """The first frame on a worker's socket.

    With it comes the descriptor of a second socket, which carries nothing but descriptors, in both directions: those of
    the files of large bodies. Each has been sent there before the frame that announces it.
    """


# ---- worker -> engine


class Ready(msgspec.Struct, array_like=True, tag=10, gc=False):
    """The models are set up."""

    seconds: _Seconds
    """The time that took."""
    pid: int
    """The worker's process id, which may be new to the engine: the zygote's ``Spawned`` can arrive later."""


class Declared(msgspec.Struct, array_like=True, gc=False):
    """The content of a manifest."""

    endpoints: dict[str, dict[str, str]]
    """By the name of each endpoint, its facts: each has a name and a value."""
    files: dict[str, str]
    """By the path of each file with the app or a handler, a hash of its content."""


class SetupFailed(msgspec.Struct, array_like=True, tag=11, gc=False):
    """``setup`` raised an exception; the worker exits after sending this."""

    endpoint: str
    traceback: str
    declared: Declared | None = None
    """The content of its manifest, if the worker has imported an app that differs from the engine's."""


class Failure(msgspec.Struct, array_like=True, tag=1, gc=False):
    """The result of a job that did not succeed."""

    kind: str
    """One of the ``FAILED_*`` constants."""
    detail: str = ""
    exception_type: str = ""
    traceback: str = ""
    may_retry: bool = False
    """True if the job may be attempted again. The worker decides, since only it has the exception."""
    retry_delay: float | None = None
    """The delay that the user's code asked for, in seconds."""
    error: str = ""
    """The class of ``FAILED_ANSWERED``, in ``penstock.errors``."""
    fields: dict[str, Any] = {}
    """Its fields: see ``penstock.raised_errors``."""


FAILED_HANDLER = "handler"  # the user's code raised, or returned a value that cannot be sent
FAILED_ANSWERED = "answered"  # raised an error that is the response, such as a body that does not fit the schema
FAILED_CANCELLED = "cancelled"  # acknowledges an interrupt
FAILED_RECALLED = "recalled"  # was never started, because the engine recalled it


class Done(msgspec.Struct, array_like=True, tag=12, gc=False):
    """An attempt has ended, and its slot is free."""

    attempt: int
    seconds: _Seconds
    """The time spent in the user's code."""
    results: list[Encoded | Failure]
    """One result per job of the ``Run``, in the same order; a stream ends with one ``Encoded`` with an empty body."""


class LargeDone(msgspec.Struct, array_like=True, tag=15, gc=False):
    """An attempt has ended, with at least one result whose body is in a file: see ``Greeting``."""

    done: Done
    """Its bodies in files are empty."""
    sizes: list[_FileBytes]
    """The size of the body of each result in bytes, if that is in a file; otherwise 0."""


class Head(msgspec.Struct, array_like=True, tag=14, gc=False):
    """An attempt answers with a stream: its chunks follow."""

    attempt: int
    response: Encoded
    """The response without its body."""


class Chunk(msgspec.Struct, array_like=True, tag=13, gc=False):
    """One encoded chunk of a stream."""

    attempt: int
    body: bytes


class Progress(msgspec.Struct, array_like=True, tag=16, gc=False):
    """A handler reports how far its attempt has come."""

    attempt: int
    done: _Amount
    total: _Amount | None = None
    message: Annotated[str, msgspec.Meta(max_length=MOST_PROGRESS_CHARACTERS)] | None = None


class Unfit(msgspec.Struct, array_like=True, tag=19, gc=False):
    """A model has found that it does not work any more."""

    reason: str


# ---- worker or zygote -> engine, in the output pipe


class Log(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """A log record of user code. It is one line of its process's output: see ``pack_log``."""

    level: int
    """A level of ``logging``."""
    logger: str
    time: float
    """Seconds since 1970."""
    message: str
    traceback: str
    request_ids: list[str]
    """The jobs of the attempt that was running, if any."""
    is_import: bool = False
    """True if it was logged by the import of the app."""
    trace_ids: list[str] = []
    """The trace of each of those jobs; "" for a job that has none."""
    span_id: str = ""
    """The span of the attempt, if there is one."""


# ---- engine <-> zygote <-> template


class Load(msgspec.Struct, array_like=True, tag=20):
    """Import the app. ``target`` has the syntax of ``penstock.app.loader``, ``start_method`` the values of ``App``."""

    target: str
    sys_path: list[str]
    argv: list[str]
    digest: str = ""
    """The digest of the engine's manifest, which that of the imported app must equal. Empty: any app is accepted."""
    start_method: str = "auto"
    log_mark: bytes = b""
    """The mark in front of the log records of the import. Empty: none are sent."""


class Loaded(msgspec.Struct, array_like=True, tag=21):
    """The app is imported. ``hazards`` are the reasons not to fork after that import; there should be none."""

    seconds: float
    hazards: list[str]


class LoadFailed(msgspec.Struct, array_like=True, tag=22):
    """The import raised an exception."""

    traceback: str
    declared: Declared | None = None
    """As in ``SetupFailed``."""


class Spawn(msgspec.Struct, array_like=True, tag=23):
    """Fork worker ``worker`` of ``pool``.

    Three descriptors are sent with it: its socket, its shared memory, and the pipe for its stdout and stderr.
    """

    worker: int
    pool: str
    name: str
    device: str | None
    preload: bool = False
    """True if it is forked from the pool's template. If there is none yet, it sets the models up and leaves one."""
    setups: list[str] = []
    """The functions of plug-ins to call once its models are set up, each as ``package.module:function``."""


class Spawned(msgspec.Struct, array_like=True, tag=24):
    """The worker runs as ``pid``. On platforms that have pidfds, its pidfd is sent with it."""

    worker: int
    pid: int


class Exited(msgspec.Struct, array_like=True, tag=25):
    """The worker was reaped. ``status`` is as from ``os.waitstatus_to_exitcode``: negative for a signal."""

    worker: int
    status: int


class SpawnFailed(msgspec.Struct, array_like=True, tag=26):
    """The worker could not be started, for this reason: there is no process."""

    worker: int
    reason: str


class Suspended(msgspec.Struct, array_like=True, tag=27):
    """The worker's process was stopped by a signal (SIGSTOP or SIGTSTP), and may be continued."""

    worker: int


class TemplateReady(msgspec.Struct, array_like=True, tag=28):
    """The pool has a template: its workers can be forked, with their models."""

    pool: str
    pid: int


class TemplateLost(msgspec.Struct, array_like=True, tag=29):
    """The pool's template has died. Its workers go on; the next one sets the models up again."""

    pool: str


ToWorker = Run | LargeRun | Cancel | Credit | Stop | Check | Greeting
FromWorker = Ready | SetupFailed | Done | LargeDone | Head | Chunk | Progress | Unfit
ToZygote = Load | Spawn
FromTemplate = TemplateReady | Spawned | SpawnFailed
FromZygote = Loaded | LoadFailed | Spawned | SpawnFailed | Suspended | Exited | TemplateReady | TemplateLost

Message = ToWorker | FromWorker | ToZygote | FromZygote

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode
_decode_log = msgspec.json.Decoder(Log).decode


def pack(message: Message) -> bytes:
    """Return a message as a frame.

    Raises
    ------
    WireError
        If the message is larger than ``MAX_FRAME_BYTES``.
    """
    payload = _encode(message)
    if len(payload) > MAX_FRAME_BYTES:
        raise _oversize(len(payload))
    return _LENGTH.pack(len(payload)) + payload


GREETING = pack(Greeting())


def pack_into(frames: list[bytes | memoryview], message: Message) -> None:
    """Append a message, as a frame, to what is to be written. A large payload follows its length, uncopied.

    Raises
    ------
    WireError
        If the message is larger than ``MAX_FRAME_BYTES``. Nothing is appended then.
    """
    frame_into(frames, _encode(message))


def frame_into(frames: list[bytes | memoryview], payload: bytes) -> None:
    """Append a payload, as a frame: see ``pack_into``."""
    size_bytes = len(payload)
    if size_bytes <= _COPIED_BYTES:
        frames.append(_LENGTH.pack(size_bytes) + payload)
    elif size_bytes <= MAX_FRAME_BYTES:
        frames += (_LENGTH.pack(size_bytes), payload)
    else:
        raise _oversize(size_bytes)


def _too_long(length: int) -> WireError:
    return WireError(f"the frame announces {length} bytes, which exceeds the limit of {MAX_FRAME_BYTES}")


def _oversize(size_bytes: int) -> WireError:
    return WireError(f"a message of {size_bytes} bytes exceeds the limit of {MAX_FRAME_BYTES}")


def log_mark(words: memoryview) -> bytes:
    r"""Return the mark in front of a worker's log records; ``b""`` if it is not to send any.

    It has a secret of the engine and this worker in it. Text that a client sends, and that user code prints, can look
    like a record in everything but this. Like ``\x1e`` in JSON text sequences, it may follow text in the same line.
    """
    first, second = words[WORD_LOG_KEY : WORD_LOG_KEY + 2]
    return mark_of(first, second) if first or second else b""


def mark_of(first: int, second: int) -> bytes:
    """Return the mark with this secret of 128 bits."""
    return b"\x1e%016x%016x" % (first, second)


def pack_log(mark: bytes, log: Log) -> str:
    """Return a log record as a line of output, in ASCII."""
    return f"{mark.decode()}{json.dumps(msgspec.to_builtins(log))}\n"


def unpack_log(data: bytes) -> Log:
    """Return the log record that follows a mark.

    Raises
    ------
    WireError
        If the line is not complete, or not a record.
    """
    try:
        return _decode_log(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"a line of {len(data)} bytes is not a log record: {error}") from None


class FrameReader:
    """A reader that turns bytes, split at any point, into complete messages.

    Parameters
    ----------
    decode:
        Turns the payload of a frame into a message. Default: one between the engine, the zygote and the workers.
    """

    __slots__ = ("_decode", "_pending", "_wanted")

    def __init__(self, decode: Callable[[memoryview], Any] = _decode) -> None:
        self._decode = decode
        self._pending = bytearray()
        # The number of pending bytes below which no message can be complete: a large frame that arrives in small
        # pieces is joined once, and not scanned again for every piece.
        self._wanted = _LENGTH_BYTES

    def feed(self, data: bytes | bytearray) -> list[Any]:
        """Add the bytes that have arrived, and return the messages that they complete, in order.

        Raises
        ------
        WireError
            If a length exceeds ``MAX_FRAME_BYTES``, or a payload is not a valid message. The stream has then lost its
            framing: close it.
        """
        if self._pending:
            self._pending += data
            if len(self._pending) < self._wanted:
                return []
            data, self._pending = self._pending, bytearray()
        messages, used = self._split(data)
        if used < len(data):
            self._pending += data[used:] if used else data
        return messages

    def _split(self, data: bytes | bytearray) -> tuple[list[Any], int]:
        view = memoryview(data)
        decode = self._decode
        messages: list[Any] = []
        start, end = 0, len(data)
        try:
            while end - start >= _LENGTH_BYTES:
                (length,) = _unpack_length(data, start)
                payload = start + _LENGTH_BYTES
                stop = payload + length
                if stop > end:
                    if length > MAX_FRAME_BYTES:
                        raise _too_long(length)
                    self._wanted = stop - start
                    return messages, start
                messages.append(decode(view[payload:stop]))
                start = stop
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise WireError(f"a frame of {length} bytes is not a valid message: {error}") from None
        self._wanted = _LENGTH_BYTES
        return messages, start
