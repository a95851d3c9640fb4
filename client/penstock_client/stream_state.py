"""A stream as both drivers read it: the events so far, its time-outs, and its errors."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import httpx2

from penstock_client.answer_watch import AnswerWatch
from penstock_client.call_records import Attempt
from penstock_client.endpoint_types import OutputDecoder
from penstock_client.errors import ClientError
from penstock_client.event_framing import FramedEvents
from penstock_client.event_lines import EventLines
from penstock_client.failures import error_of_fault
from penstock_client.plan_messages import CallSpec
from penstock_client.retry_table import Fault
from penstock_client.server_sent_events import ServerSentEvent
from penstock_client.stream_decoders import Arrived, PieceDecoder, StreamDecoder
from penstock_client.transport_faults import detail_of

KEPT_BYTES: Final = 16 * 1024 * 1024
"""The bytes of a stream whose events are kept for ``partial``, unless a call says otherwise."""

_DECODERS: Final[Mapping[str, type[StreamDecoder]]] = {
    "application/x-ndjson": EventLines,
    "text/event-stream": FramedEvents,
}


class KeptEvents:
    """The events that a program has read, the last ones if there are too many of them.

    Parameters
    ----------
    keep_bytes:
        The bytes that the kept events may have taken in the stream; None for no limit. The last event is kept even if
        it is larger, unless this is 0.
    """

    def __init__(self, keep_bytes: int | None) -> None:
        self._limit = math.inf if keep_bytes is None else keep_bytes
        self._bytes = 0
        self._events: deque[Arrived] = deque()
        self.dropped = 0

    def add(self, event: Any, size_bytes: int) -> None:
        """Keep an event, and drop the oldest ones if there are too many."""
        self._events.append((event, size_bytes))
        self._bytes += size_bytes
        if self._bytes > self._limit:
            self._drop()

    def keep_all(self) -> None:
        """Drop nothing from now on.

        Raises
        ------
        RuntimeError
            If events have been dropped.
        """
        if self.dropped:
            raise RuntimeError(
                f"the first {self.dropped} events are no longer kept; call text() before the loop, or raise keep_bytes"
            )
        self._limit = math.inf

    def __iter__(self) -> Iterator[Any]:
        return (event for event, _ in self._events)

    def _drop(self) -> None:
        least = 1 if self._limit else 0
        while self._bytes > self._limit and len(self._events) > least:
            self._bytes -= self._events.popleft()[1]
            self.dropped += 1


class StreamState:
    """The part of a stream that does no input and output.

    Parameters
    ----------
    headers:
        The headers of the response.
    attempts:
        The requests that were sent.
    watch:
        The time-outs.
    spec:
        The call.
    keep_bytes:
        The limit of ``partial``.
    decoder:
        Turns bytes into events; None for the one that belongs to the media type.
    output:
        The type of an event; None for any.
    on_error:
        Called with the error of the stream, just before it is raised.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        attempts: tuple[Attempt, ...],
        watch: AnswerWatch,
        spec: CallSpec,
        *,
        keep_bytes: int | None = KEPT_BYTES,
        decoder: StreamDecoder | None = None,
        output: OutputDecoder | None = None,
        on_error: Callable[[ClientError], None],
    ) -> None:
        self.headers = headers
        self.attempts = attempts
        self.watch = watch
        self.request_id = headers.get("x-request-id", spec.request_id)
        self.is_over = False
        self._on_error = on_error
        self.kept = KeptEvents(keep_bytes)
        self._output = output
        self._is_idempotent = spec.is_idempotent
        self._ready: deque[Arrived] = deque()
        self._failure: ClientError | None = None  # raised after the events that arrived before it
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        self._decoder = decoder or _DECODERS.get(media_type, PieceDecoder)()

    @property
    def partial(self) -> Any:
        """The events that were read, as far as they are kept."""
        return list(self.kept)

    def has_event(self) -> bool:
        """Return whether an event has arrived that was not read yet.

        Raises
        ------
        ClientError
            If there is none, and the stream has failed.
        """
        if self._ready:
            return True
        if self._failure is not None:
            error, self._failure = self._failure, None
            raise self.dressed(error)
        return False

    def pop(self) -> Any:
        """Return the value of the next event that has arrived.

        Raises
        ------
        ClientError
            If it cannot be read.
        """
        event, size_bytes = self._ready.popleft()
        try:
            value = self._decoder.value_of(event)
            if self._output is not None:
                value = self._output.converted(value)
        except ClientError as error:
            raise self.dressed(error) from None
        self.kept.add(value, size_bytes)
        return value

    def pop_event(self) -> ServerSentEvent:
        """Return the next event that has arrived, as it is."""
        event: ServerSentEvent
        event, size_bytes = self._ready.popleft()
        self.kept.add(event, size_bytes)
        return event

    def require_events(self) -> None:
        """Check that the stream has server-sent events.

        Raises
        ------
        TypeError
            If it has not.
        """
        if not isinstance(self._decoder, FramedEvents):
            media_type = self.headers.get("content-type", "")
            raise TypeError(
                f"this stream is {media_type!r}, which has no names and ids; "
                'ask for events with headers={"accept": "text/event-stream"}'
            )

    def on_piece(self, piece: bytes, now: float) -> None:
        """Take in what has arrived.

        Raises
        ------
        ClientError
            If a time-out has passed.
        """
        seen = self._decoder.seen
        self._take(self._decoder.feed(piece))
        self.watch.on_piece(now, has_event=self._decoder.seen > seen)
        if self._decoder.is_complete:
            self.watch.on_complete(now)
        fault = self.watch.passed(now)
        if fault is not None and not self._is_settled:
            raise self.timed_out(fault)

    def on_end(self) -> None:
        """Take in the clean end."""
        if not self._is_settled:
            self._take(self._decoder.finish())
        self.is_over = True

    def on_failed(self, error: Exception, now: float) -> None:
        """Take in what the transport has raised.

        Raises
        ------
        ClientError
            Unless the stream is complete without the rest.
        """
        if isinstance(error, httpx2.TimeoutException):
            self.on_silence(now)
        elif self._is_settled:
            self.is_over = True
        else:
            raise self.dressed(self._decoder.failure(detail_of(error)))

    def on_silence(self, now: float) -> None:
        """Take in that a time-out has been reached.

        Raises
        ------
        ClientError
            Unless the stream is complete without the rest.
        """
        if not self._is_settled:
            raise self.timed_out(self.watch.of_silence(now))
        self.is_over = True

    @property
    def _is_settled(self) -> bool:
        """True if nothing that may still arrive makes a difference."""
        return self._decoder.is_complete or self._failure is not None

    def timed_out(self, fault: Fault) -> ClientError:
        """Return the error of a time-out."""
        return self.dressed(error_of_fault(fault, ""))

    def dressed(self, error: ClientError) -> ClientError:
        """Return the error with all that is known about the call."""
        self.is_over = True
        self._ready.clear()
        error.partial = self.partial
        error.attempts = self.attempts
        error.request_id = self.request_id
        error.may_have_run = True
        error.retryable = self._is_idempotent
        error.retries_refused = "rule"
        self._on_error(error)
        return error

    def joined(self) -> str:
        """Return the events as one text.

        Raises
        ------
        TypeError
            If an event is not text.
        """
        events = list(self.kept)
        if isinstance(self._decoder, PieceDecoder):
            return b"".join(events).decode()
        for event in events:
            if not isinstance(event, str):
                raise TypeError(f"text() joins events that are text, and this one is {type(event).__name__}")
        return "".join(events)

    def _take(self, events: Iterator[Arrived]) -> None:
        try:
            self._ready.extend(events)  # those before an error stay
        except ClientError as error:
            self._failure = error
            self.is_over = True
