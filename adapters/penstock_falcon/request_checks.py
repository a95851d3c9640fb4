"""The checks that a request passes before its body is read, and a body passes before it becomes a job."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from penstock import Endpoint
from penstock.errors import MalformedRequest, PayloadTooLarge, QueueFull, RequestTimeout
from penstock.hosting import (
    LARGE_BODY_BYTES,
    SMALL_BODY_BYTES,
    Body,
    BodyFile,
    Engine,
    InputForm,
    RemoteUpload,
    ThreadedEngine,
    form_type_of,
)

DEFAULT_SPILL_BYTES = 64 << 20
_WRITTEN_BYTES = 1 << 17  # written to memory in one step
_DISK_BYTES = 1 << 20  # written to a disk in one step, which costs a thread's turn

# No real length has more digits, and int() rejects thousands of digits with an error of its own.
_LENGTH_DIGITS = 18


# RFC 3986, section 3.2.2, without the comma, with which servers join repeated headers.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._~!$&'()*+;=%-]*)(:[0-9]*)?")


class HostCheck:
    """The check of ``Host``, which remembers the few valid ones that a server is called by."""

    __slots__ = ("known",)

    MOST_KNOWN = 256

    def __init__(self) -> None:
        self.known: set[str] = set()

    def check(self, host: str | None, *, is_required: bool) -> None:
        """Check a host that is not ``known``.

        Raises
        ------
        MalformedRequest
            If it is missing although it is required (RFC 9112, section 3.2), or if it is not the name of a host.
        """
        if host is None:
            if is_required:
                raise MalformedRequest("The request has no Host header, which HTTP/1.1 requires", param="Host")
            return
        if not _HOST.fullmatch(host):
            raise MalformedRequest(f"The Host header {host[:100]!r} is not the name of a host", param="Host")
        if len(self.known) < self.MOST_KNOWN:
            self.known.add(host)


class BodyChecks:
    """The checks of bodies, whatever they are for, the same for ASGI and WSGI.

    The size of a body is checked where it becomes known: in ``check_headers`` if the client announces it, piece by
    piece in a ``BodyCollector`` while it arrives, and in ``check_size`` if it arrives all at once.

    Parameters
    ----------
    max_body:
        The largest body, in bytes.
    spill_above:
        Bodies above this size are written to a disk.
    """

    __slots__ = ("_spill_above", "max_body")

    def __init__(self, max_body: int, spill_above: int = DEFAULT_SPILL_BYTES) -> None:
        self._spill_above = spill_above
        self.max_body = max_body

    def collector(self, announced: int | None, budget: AnyBudget | None) -> BodyCollector:
        """Return a collector for a body that arrives in pieces.

        Parameters
        ----------
        announced:
            Its length in bytes; None if that is unknown.
        budget:
            The budget that must cover it; None if it is known to be small.
        """
        if budget is None:  # it is known to be small
            return BodyCollector(self.max_body, budget)
        may_be_large = announced is None or announced > LARGE_BODY_BYTES
        # A body of unknown length may become a large one, and a file in memory cannot become one on a disk without a
        # pause.
        largest = min(announced or self.max_body, self.max_body)
        return BodyCollector(self.max_body, budget, has_file=may_be_large, is_on_disk=largest > self._spill_above)

    def check_headers(self, header: Callable[[str], str | None]) -> int | None:
        """Return the announced length of the body in bytes, or None if the client does not announce one.

        Raises
        ------
        PayloadTooLarge
            If the announced length is over the limit.
        MalformedRequest
            If the length is not a number.
        """
        length = header("content-length")
        if length is None:
            return None
        if not (length.isascii() and length.isdigit()):
            raise MalformedRequest(f"Content-Length {length[:40]!r} is not a number of bytes")
        if len(length) > _LENGTH_DIGITS or int(length) > self.max_body:
            raise too_large(self.max_body)
        return int(length)

    def check_size(self, body: Body, announced: int | None) -> None:
        """Check the size of a body that has arrived in full.

        Raises
        ------
        PayloadTooLarge
            If it is over the limit.
        MalformedRequest
            If it is cut short.
        """
        if len(body) > self.max_body:
            raise too_large(self.max_body)
        if announced is not None and len(body) < announced:
            raise cut_short()


class RequestChecks(BodyChecks):
    """The checks of one endpoint.

    Parameters
    ----------
    endpoint:
        The endpoint that the requests are for.
    max_body, spill_above:
        As for the checks of every body.

    Attributes
    ----------
    takes_json:
        True if JSON is a plain body here, with all the parameters in it, and is answered in one way; otherwise ask
        ``input_form``.
    takes_body:
        False if all parameters come from the path and the query.
    """

    __slots__ = ("_codec", "_decode", "_endpoint", "_joins_tensors", "takes_body", "takes_json")

    def __init__(self, endpoint: Endpoint, max_body: int, spill_above: int = DEFAULT_SPILL_BYTES) -> None:
        super().__init__(max_body, spill_above)
        self._endpoint = endpoint
        self._codec = endpoint.codec
        self._decode = endpoint.codec.decode
        codec = endpoint.codec
        self.takes_json = not (codec.has_values or codec.tensors.answers_npy) and codec.reads != "form"
        self.takes_body = codec.reads != "query"
        self._joins_tensors = codec.tensors.are_joined

    def input_form(
        self, content_type: str | None, values: Mapping[str, str], query: str, accept: str | None
    ) -> InputForm | None:
        """Return how the input of a request is to be read; None for a plain body. ``values`` are those of the path.

        Raises
        ------
        UnsupportedMediaType
            If the endpoint does not read this content type.
        NotFound
            If a variable of the path is empty.
        MalformedRequest
            If the path or the query is not UTF-8.
        """
        return self._codec.input_form(values, query, form_type_of(self._endpoint, content_type), accept)

    def check_body(self, body: Body, announced: int | None, input_form: InputForm | None = None) -> InputForm | None:
        """Check a body that has arrived in full, and return how it is to be read: with its share of a batch, if known.

        Raises
        ------
        PayloadTooLarge
            If it is over the limit.
        MalformedRequest, InvalidRequest
            If it is cut short, cannot be decoded, or does not fit the endpoint's schema.
        UnsupportedMediaType
            If it is not the form that it was announced as.
        """
        if len(body) > self.max_body or (announced is not None and len(body) < announced):
            self.check_size(body, announced)
        # Others are decoded in the worker alone: here, that would delay other requests.
        if len(body) <= SMALL_BODY_BYTES and (input_form is None or not input_form.decoder):
            assert not isinstance(body, BodyFile), "only a large one is in a file"
            decoded = self._decode(body, input_form)
            if self._joins_tensors:
                return self._codec.tensors.counted(decoded, input_form)
        return input_form


class BodyBudget:
    """The bytes that one body takes of the bound on queued bytes, from its announcement until it has arrived.

    A small body takes none: most often it arrives together with the head of its request.

    Parameters
    ----------
    engine:
        The engine, which knows the bound.
    endpoint:
        The endpoint that the body is for.
    """

    __slots__ = ("_endpoint", "_ends", "_engine", "_taken_bytes")

    def __init__(self, engine: Engine | ThreadedEngine, endpoint: Endpoint) -> None:
        self._engine = engine
        self._endpoint = endpoint
        self._ends: list[Callable[[], None]] = []
        self._taken_bytes = 0

    async def open(self, announced: int | None) -> None:
        """Take enough for a body of this length in bytes, as far as it is announced.

        Raises
        ------
        Draining, QueueFull, NotReady
            If its job would be refused.
        """
        if announced is None:
            self._engine.check_room(self._endpoint)
        else:
            self.cover(announced)

    def cover(self, size_bytes: int) -> None:
        """Take enough for a body of this size.

        Raises
        ------
        QueueFull
            If the bodies that arrive or wait leave too little.
        """
        if size_bytes > SMALL_BODY_BYTES and size_bytes > self._taken_bytes:
            self._ends.append(self._engine.begin_upload(self._endpoint, size_bytes - self._taken_bytes))
            self._taken_bytes = size_bytes

    def release(self) -> None:
        """Give it back: the body has arrived, and its job counts from now on; or it never will."""
        while self._ends:
            self._ends.pop()()


AnyBudget: TypeAlias = BodyBudget | RemoteUpload


class BodyCollector:
    """A body that arrives in pieces, and never grows beyond the limit.

    Once it is large, it is written to a file. One in memory is written here; for one on a disk, ask ``is_due`` after
    each piece, and call ``write_out`` where it may block.

    Parameters
    ----------
    max_body:
        The largest body, in bytes.
    budget:
        The budget that must cover it; None if it is known to be small.
    has_file:
        True if it goes into a file once it is large.
    is_on_disk:
        True if that file is on a disk.
    """

    __slots__ = (
        "_budget",
        "_file",
        "_has_file",
        "_is_on_disk",
        "_max_body",
        "_pending_bytes",
        "_pieces",
        "_size_bytes",
    )

    def __init__(
        self, max_body: int, budget: AnyBudget | None = None, *, has_file: bool = False, is_on_disk: bool = False
    ) -> None:
        self._max_body = max_body
        self._budget = budget
        self._has_file = has_file
        self._is_on_disk = is_on_disk
        self._file: BodyFile | None = None
        self._pieces: list[bytes] = []
        self._size_bytes = 0
        self._pending_bytes = 0

    def add(self, piece: bytes) -> None:
        """Append a piece.

        Raises
        ------
        PayloadTooLarge
            As soon as the pieces together are over the limit.
        QueueFull
            As soon as its budget cannot cover them, or there is no room for its file.
        """
        self._size_bytes += len(piece)
        if self._size_bytes > self._max_body:
            raise too_large(self._max_body)
        if self._budget is not None:
            self._budget.cover(self._size_bytes)
        self._pieces.append(piece)
        if self._has_file:
            self._pending_bytes += len(piece)
            if not self._is_on_disk and self._pending_bytes >= _WRITTEN_BYTES:
                self.write_out()

    @property
    def is_due(self) -> bool:
        """True if there is something to write to a disk."""
        return self._is_on_disk and self._pending_bytes >= _DISK_BYTES and self._size_bytes > LARGE_BODY_BYTES

    @property
    def ends_on_disk(self) -> bool:
        """True if ``finish`` blocks, because it writes to a disk."""
        return self._is_on_disk and self._size_bytes > LARGE_BODY_BYTES

    def write_out(self) -> None:
        """Write what has arrived to the file, if the body is large by now.

        Raises
        ------
        QueueFull
            If there is no room.
        """
        if self._size_bytes <= LARGE_BODY_BYTES:
            return
        if self._file is None:
            self._file = self._open()
        file = self._file
        if file is None:
            return
        pieces, self._pieces, self._pending_bytes = self._pieces, [], 0
        try:
            for piece in pieces:
                file.write(piece)
        except OSError as error:
            raise QueueFull(f"no room to keep a body of {self._size_bytes} bytes: {error.strerror}") from None

    def _open(self) -> BodyFile | None:
        """Return a new file; None if there can be none, so that the body stays where it is."""
        for create in (BodyFile.on_disk, BodyFile.in_memory)[not self._is_on_disk :]:
            try:
                return create()
            except OSError:  # no descriptor is left, or there is no folder that can be written to
                continue
        self._has_file = self._is_on_disk = False
        return None

    def drop(self) -> None:
        """Drop what has arrived. A thread that is writing it goes on, and closes the file."""
        self._file, self._pieces = None, []

    def finish(self) -> Body:
        """Return the whole body.

        Raises
        ------
        QueueFull
            If there is no room to write the end of it.
        """
        if self._has_file:
            self.write_out()
        if self._file is None:
            return b"".join(self._pieces)
        self._file.seal()
        return self._file


@contextmanager
def dropped_on_error(collector: BodyCollector) -> Iterator[None]:
    """Close the file of a body that is not complete when the block ends: the error may refer to it for long."""
    try:
        yield
    except BaseException:
        collector.drop()
        raise


def too_large(max_body: int) -> PayloadTooLarge:
    """Return the error that names the limit."""
    return PayloadTooLarge(f"The body may have at most {max_body} bytes")


def late_body() -> RequestTimeout:
    """Return the error for an upload that was not over at the request's deadline."""
    return RequestTimeout("The body had not arrived in full at the deadline of the request, so nothing was started")


def cut_short() -> MalformedRequest:
    """Return the error for an upload that ended too early."""
    return MalformedRequest("The body ended before it was complete")
