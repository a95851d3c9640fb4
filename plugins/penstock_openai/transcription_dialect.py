"""``/v1/audio/transcriptions`` and ``/v1/audio/translations`` as a dialect."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from penstock.errors import HandlerError
from penstock.hooks import (
    Dialect,
    DialectRequest,
    Operation,
    Payload,
    PublicError,
    RouteResponse,
    decoded_by,
    on_one_line,
)
from penstock_chat import ModelTable, refuse
from penstock_openai.audio_offers import Transcriptions
from penstock_openai.audio_requests import Task
from penstock_openai.openai_errors import error_object, error_response
from penstock_openai.path_descriptions import transcription_description
from penstock_openai.transcription_form import TranscriptionForm, read_form, transcription_body, translation_body
from penstock_openai.transcripts import srt_of, text_of, transcript_of, transcript_pieces, verbose_object, vtt_of

_TEXT = "text/plain; charset=utf-8"
_encode = msgspec.json.Encoder().encode


class TranscriptionMemo(msgspec.Struct, frozen=True):
    """The form of the answer that the client asked for."""

    form: TranscriptionForm
    task: Task


def transcription_dialect(table: ModelTable[Transcriptions], prefix: str) -> Dialect:
    """Return the dialect of the models that write down what is said.

    Parameters
    ----------
    table:
        The models.
    prefix:
        The beginning of its paths.
    """
    operations = (
        _operation(table, f"{prefix}/audio/transcriptions", "transcribe", "Write down a recording"),
        _operation(table, f"{prefix}/audio/translations", "translate", "Write down a recording in English"),
    )
    return Dialect(
        name="openai-transcriptions",
        operations=operations,
        endpoints=tuple(endpoint.name for endpoint, _ in table.offers),
        result=lambda answer, payload: _whole([answer.body], payload),
        collected=_whole,
        framing=lambda _head, _payload: TranscriptionStream(),
        error=error_response,
    )


def _operation(table: ModelTable[Transcriptions], path: str, task: Task, summary: str) -> Operation:
    """Return an operation, which is in the OpenAPI document if there is a model for it."""
    able = [offer for _, offer in table.offers if task == "transcribe" or offer.translates]
    names = [name for offer in able for name in offer.names]
    summary = f"{summary}, as OpenAI's clients ask for it."
    return Operation(
        path=path,
        read=partial(_read, table, task),
        media_types=("multipart/form-data",),
        description=transcription_description(names, summary) if names else None,
    )


def _read(table: ModelTable[Transcriptions], task: Task, request: DialectRequest) -> Payload:
    """Read what the request asks for. The recording itself is taken out of the form in the worker."""
    content_type = request.header("content-type") or ""
    form, _, _ = read_form(request.body, content_type)
    endpoint, offer = table.find(form.model)
    if task == "translate" and not offer.translates:
        refuse("model", f"the model {offer.model!r} does not translate")
    form.check(offer)
    decode = translation_body if task == "translate" else transcription_body
    return Payload(
        endpoint=endpoint.name,
        input_form=decoded_by(decode, content_type),
        is_streamed=form.stream,
        memo=TranscriptionMemo(form, task),
    )


def _whole(chunks: Sequence[bytes], payload: Payload) -> RouteResponse:
    """Return the response in the format that the client wants."""
    form: TranscriptionForm = payload.memo.form
    transcript = transcript_of(chunks)
    if form.granularities() and transcript.text and not (transcript.segments or transcript.words):
        raise HandlerError(f"endpoint {payload.endpoint!r} has returned no times, which its offer promises")
    if form.response_format == "text":
        return RouteResponse(body=f"{transcript.text}\n".encode(), media_type=_TEXT)
    if form.response_format == "srt":
        return RouteResponse(body=srt_of(transcript).encode(), media_type=_TEXT)
    if form.response_format == "vtt":
        return RouteResponse(body=vtt_of(transcript).encode(), media_type=_TEXT)
    told: dict[str, Any] = {"text": transcript.text}
    if form.response_format == "verbose_json":
        told = verbose_object(transcript, payload.memo.task, form.granularities())
    if transcript.duration is not None:
        told["usage"] = {"type": "duration", "seconds": transcript.duration}
    return RouteResponse.json(told)


class TranscriptionStream:
    """A framing: an event for each piece of text, and one with all of it."""

    media_type = "text/event-stream; charset=utf-8"
    is_piecewise = False
    keep_alive = b": keep-alive\n\n"

    def __init__(self) -> None:
        self._text: list[str] = []

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        """Return the events of some chunks."""
        texts = [text_of(piece) for chunk in chunks for piece in transcript_pieces(chunk)]
        self._text += texts
        return b"".join(_event({"type": "transcript.text.delta", "delta": text}) for text in texts if text)

    @property
    def end(self) -> bytes:
        """The event with the whole text."""
        return _event({"type": "transcript.text.done", "text": "".join(self._text)})

    def error(self, error: PublicError) -> bytes:
        """Return an event with the error, at which clients raise their own."""
        return _event({"error": error_object(error)})


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + on_one_line(_encode(data)) + b"\n\n"
