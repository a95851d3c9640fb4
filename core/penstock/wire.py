"""Frames and messages between the engine, the zygote and the workers. Sans-I/O: bytes in, messages out.

A frame is a 4-byte big-endian length and that many bytes of MessagePack. Messages are array-like tagged structs, which
msgspec decodes in one pass. Both ends are of one release and on one machine, so there is no version negotiation, and an
instant of the monotonic clock means the same to both.
"""

from __future__ import annotations

from struct import Struct

import msgspec

from penstock.response import Encoded

MAX_FRAME_BYTES = 1 << 30

# What engine and worker share beside the socket: a page of 64-bit words, for what must take effect between two
# instructions of the user's code, with no message to be read first. Each word has one writer.
SHARED_BYTES = 4096
WORD_INTERRUPT = 0  # the engine's: the attempt that is to stop; SIGUSR1 follows
WORD_RECALLED = 1  # the engine's: no inline attempt up to this one is to be started any more
WORD_STARTED = 2  # the worker's: the last inline attempt that it has begun, written before it looks at WORD_RECALLED

WINDOW_BYTES = 1 << 20  # of a stream's chunks that may be under way and not yet taken

_LENGTH = Struct(">I")


class WireError(Exception):
    """The bytes are not a frame of ours: the other end is not what we think it is."""


class About(msgspec.Struct, array_like=True, gc=False):
    """What ``Context`` tells about a job."""

    job_id: str
    attempt: int
    principal: str | None
    headers: dict[str, str]
    deadline: float


class Work(msgspec.Struct, array_like=True, gc=False):
    """One job inside a ``Run``.

    ``body`` is what the client sent, undecoded. ``about`` is there only for handlers that take a ``Context``.
    """

    body: bytes
    about: About | None = None


# ---- engine -> worker


class Run(msgspec.Struct, array_like=True, tag=1, gc=False):
    """Run one attempt.

    ``endpoint`` is the index in the app's endpoints; ``deadline`` an instant of the monotonic clock (``inf``: none).
    """

    attempt: int
    endpoint: int
    deadline: float
    works: list[Work]


class Cancel(msgspec.Struct, array_like=True, tag=2, gc=False):
    """Stop this attempt. It is acknowledged by its ``Done``."""

    attempt: int


class Credit(msgspec.Struct, array_like=True, tag=3, gc=False):
    """So many more bytes of chunks of this stream may be sent."""

    attempt: int
    size_bytes: int


class Stop(msgspec.Struct, array_like=True, tag=4, gc=False):
    """Finish what runs, tear the models down, exit."""


# ---- worker -> engine


class Ready(msgspec.Struct, array_like=True, tag=10, gc=False):
    """The models are set up. ``seconds`` is how long that took; ``pid`` may be news, for the zygote is heard later."""

    seconds: float
    pid: int


class SetupFailed(msgspec.Struct, array_like=True, tag=11, gc=False):
    """``setup`` raised; the worker exits after this."""

    endpoint: str
    traceback: str


class Failure(msgspec.Struct, array_like=True, tag=1, gc=False):
    """A job that did not succeed.

    ``kind`` is one of the ``FAILED_*`` constants; ``errors`` belongs to ``FAILED_INVALID``. ``may_retry`` is the
    worker's to say, for only there is the exception itself; ``retry_delay`` is what the code has asked for, in seconds.
    """

    kind: str
    detail: str = ""
    exception_type: str = ""
    traceback: str = ""
    errors: list[dict[str, str]] = []
    status: int = 500
    may_retry: bool = False
    retry_delay: float | None = None


FAILED_HANDLER = "handler"  # the user's code raised, or returned what cannot be sent
FAILED_INVALID = "invalid"  # the body does not fit the schema (large bodies are looked at only in the worker)
FAILED_CANCELLED = "cancelled"  # acknowledges an interrupt
FAILED_RECALLED = "recalled"  # was never begun, because the engine wants it back


class Done(msgspec.Struct, array_like=True, tag=12, gc=False):
    """An attempt has ended, and its slot is free.

    One result for each job of the ``Run``, in its order; a stream ends with one ``Encoded`` of an empty body.
    ``seconds`` is the time spent in the user's code.
    """

    attempt: int
    seconds: float
    results: list[Encoded | Failure]


class Chunk(msgspec.Struct, array_like=True, tag=13, gc=False):
    """One chunk of a stream, encoded."""

    attempt: int
    body: bytes


# ---- engine <-> zygote


class Load(msgspec.Struct, array_like=True, tag=20):
    """Import the app. ``target`` is as ``penstock.app.loader`` reads it."""

    target: str
    sys_path: list[str]
    argv: list[str]


class Loaded(msgspec.Struct, array_like=True, tag=21):
    """The app is imported. ``threads`` names the Python threads that the import started (none is as it should be)."""

    seconds: float
    threads: list[str]


class LoadFailed(msgspec.Struct, array_like=True, tag=22):
    """The import raised."""

    traceback: str


class Spawn(msgspec.Struct, array_like=True, tag=23):
    """Fork worker ``worker`` of ``pool``.

    Three descriptors ride along: its socket, its shared memory, and the pipe that takes its stdout and stderr.
    """

    worker: int
    pool: str
    name: str
    device: str | None


class Spawned(msgspec.Struct, array_like=True, tag=24):
    """The worker runs as ``pid``. Where the platform has them, its pidfd rides along."""

    worker: int
    pid: int


class Exited(msgspec.Struct, array_like=True, tag=25):
    """The worker has been reaped. ``status`` is that of ``os.waitstatus_to_exitcode``: negative for a signal."""

    worker: int
    status: int


ToWorker = Run | Cancel | Credit | Stop
FromWorker = Ready | SetupFailed | Done | Chunk
ToZygote = Load | Spawn
FromZygote = Loaded | LoadFailed | Spawned | Exited

Message = ToWorker | FromWorker | ToZygote | FromZygote

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def pack(message: Message) -> bytes:
    """The frame of a message.

    Raises
    ------
    WireError
        If the message is larger than a frame may be.
    """
    payload = _encode(message)
    if len(payload) > MAX_FRAME_BYTES:
        raise WireError(f"a message of {len(payload)} bytes is larger than a frame may be ({MAX_FRAME_BYTES})")
    return _LENGTH.pack(len(payload)) + payload


class FrameReader:
    """Collects bytes, however they were split, and gives back the messages that are whole."""

    __slots__ = ("_pending", "_wanted")

    def __init__(self) -> None:
        self._pending = bytearray()
        # Bytes that must be there before another look is worth while: a large frame that arrives in small pieces is
        # joined once, and not scanned again for every piece.
        self._wanted = _LENGTH.size

    def feed(self, data: bytes) -> list[Message]:
        """Take what has arrived; return the messages that it completes, in order.

        Raises
        ------
        WireError
            For a length beyond ``MAX_FRAME_BYTES`` or a payload that is none of our messages. The stream has lost its
            framing then: close it.
        """
        if self._pending:
            self._pending += data
            if len(self._pending) < self._wanted:
                return []
            data = bytes(self._pending)
            self._pending.clear()
        messages, used = self._split(data)
        if used < len(data):
            self._pending += data[used:] if used else data
        return messages

    def _split(self, data: bytes) -> tuple[list[Message], int]:
        view = memoryview(data)
        messages: list[Message] = []
        start, end = 0, len(data)
        header = _LENGTH.size
        while end - start >= header:
            (length,) = _LENGTH.unpack_from(data, start)
            if length > MAX_FRAME_BYTES:
                raise WireError(f"a frame of {length} bytes is announced; the most is {MAX_FRAME_BYTES}")
            stop = start + header + length
            if stop > end:
                self._wanted = stop - start
                return messages, start
            try:
                messages.append(_decode(view[start + header : stop]))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise WireError(f"a frame of {length} bytes is no message of ours: {error}") from None
            start = stop
        self._wanted = header
        return messages, start
