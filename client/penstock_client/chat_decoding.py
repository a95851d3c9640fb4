"""The bytes of a chat answer, whole or streamed: whatever was asked for, the server may send the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from penstock_client.call_records import Attempt
from penstock_client.chat_answers import ChatAnswer
from penstock_client.chat_assembly import ChatAssembly, is_error
from penstock_client.error_bodies import error_body_of
from penstock_client.errors import ClientError, InvalidAnswer, StreamError
from penstock_client.event_framing import DONE
from penstock_client.failures import cut, error_of_response, failed_stream
from penstock_client.plan_messages import HeadArrived
from penstock_client.server_sent_events import EventDecoder, ServerSentEvent
from penstock_client.stream_decoders import Arrived

_LARGEST_BODY: Final = 256 * 1024 * 1024
_SPACE: Final = b" \t\r\n\xef\xbb\xbf"


class ChatDecoder:
    """Turns the bytes of a chat answer into its events.

    Server-sent events begin with a name or a colon, and a whole answer with a brace. The bytes decide, and not the
    media type, which some servers have wrong. A stream is complete at ``[DONE]``, or at its clean end if each choice
    has a reason for its end.
    """

    def __init__(self) -> None:
        self.seen = 0
        self.is_complete = False
        self.assembly = ChatAssembly()
        self.whole: Any = None
        self._body: bytearray | None = None
        self._events: EventDecoder | None = None

    def feed(self, piece: bytes) -> Iterator[Arrived]:
        """Yield the events that are complete.

        Raises
        ------
        StreamFailed
            If there is an error in the stream.
        ResponseError
            If there is an error in place of an answer.
        StreamError, InvalidAnswer
            If the bytes cannot be read, or are not a chat answer.
        """
        if self._events is None and self._body is None:
            piece = self._begin(piece)
        if self._body is not None:
            self._body += piece
            if len(self._body) > _LARGEST_BODY:
                raise _invalid("it is larger than 256 MiB")
        elif self._events is not None:
            for event in self._events.feed(piece):
                yield from self._on_event(event)

    def finish(self) -> Iterator[Arrived]:
        """Yield the last events, at the clean end of the response.

        Raises
        ------
        TruncatedStream
            If this is not the end of the answer.
        StreamFailed, ResponseError, InvalidAnswer
            As for ``feed``.
        """
        if self._body is not None:
            yield from self._on_body(bytes(self._body))
            return
        if self._events is None:
            raise _invalid("it is empty")
        for event in self._events.finish():
            yield from self._on_event(event)
        if self.is_complete:
            return
        if not self.seen:
            raise _invalid("it is neither a chat answer nor a stream of one")
        if not self.assembly.is_finished:
            raise cut("it ended without a finish_reason and without [DONE]")
        yield from self._end()

    def failure(self, detail: str) -> StreamError:
        """Return the reason of a cut."""
        return cut(detail)

    def value_of(self, event: Any) -> Any:
        """Return the event."""
        return event

    def _begin(self, piece: bytes) -> bytes:
        """Decide by the first byte, and return the piece from there; empty lines before it keep a connection alive."""
        piece = piece.lstrip(_SPACE)
        if piece[:1] in {b"{", b"["}:
            self._body = bytearray()
        elif piece:
            self._events = EventDecoder()
        return piece

    def _on_event(self, event: ServerSentEvent) -> Iterator[Arrived]:
        if self.is_complete or not event.data.strip():
            return
        self.seen += 1
        if event.data.strip() == DONE:
            yield from self._end()
            return
        try:
            chunk = msgspec.json.decode(event.data)
        except msgspec.DecodeError as error:
            if event.event == "error":
                raise failed_stream(event.data) from None
            raise cut(f"the data of an event is not JSON: {error}") from None
        if event.event == "error":
            raise failed_stream(chunk)
        yield from ((found, event.size_bytes) for found in self.assembly.add(chunk))

    def _end(self) -> Iterator[Arrived]:
        self.is_complete = True
        yield from ((event, 0) for event in self.assembly.finish())

    def _on_body(self, body: bytes) -> Iterator[Arrived]:
        try:
            self.whole = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _invalid(f"it says that it is JSON, and is not: {error}") from None
        self.seen += 1
        if is_error(self.whole):
            raise error_of_response(error_body_of(self.whole).status or 200, {}, body)
        yield from ((event, 0) for event in self.assembly.add(self.whole))
        yield from self._end()


def answer_of(attempts: tuple[Attempt, ...], arrived: HeadArrived) -> ChatAnswer:
    """Return the answer in a whole response; see ``whole_answer``."""
    return whole_answer(arrived.headers, attempts, arrived.body)


def whole_answer(headers: Mapping[str, str], attempts: tuple[Attempt, ...], body: bytes) -> ChatAnswer:
    """Return the answer in the whole body of a response.

    Raises
    ------
    ClientError
        As for ``ChatDecoder``. ``partial`` is the answer as far as it could be read, or the body.
    """
    decoder = ChatDecoder()
    try:
        for _ in itertools.chain(decoder.feed(body), decoder.finish()):
            pass
    except ClientError as error:
        answer = decoder.assembly.answer(headers=headers, attempts=attempts)
        error.partial = answer if answer.choices else body
        error.may_have_run = True
        raise
    return decoder.assembly.answer(raw=decoder.whole, headers=headers, attempts=attempts)


def _invalid(reason: str) -> InvalidAnswer:
    error = InvalidAnswer(f"{InvalidAnswer.title}: {reason}")
    error.may_have_run = True
    return error
