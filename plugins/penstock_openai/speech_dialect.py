"""``/v1/audio/speech`` as a dialect."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from penstock.errors import HandlerError
from penstock.hooks import Dialect, DialectRequest, Framing, Operation, Payload, RawFraming, RouteResponse
from penstock_chat import ModelTable, encoded_input, read_object, refuse
from penstock_openai.audio_offers import Speech
from penstock_openai.audio_requests import AudioFormat, SpeechRequest
from penstock_openai.openai_errors import error_response

MEDIA_TYPES: Final[dict[str, str]] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",  # RFC 7845: Opus in a file is in Ogg
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


class VoiceBody(msgspec.Struct):
    """A voice by its id."""

    id: str


class SpeechBody(msgspec.Struct, kw_only=True):
    """The body of a request to speak. None: absent, or null."""

    input: Annotated[str, msgspec.Meta(min_length=1)]
    model: str | None = None
    voice: str | VoiceBody | None = None
    response_format: AudioFormat | None = None
    speed: Annotated[float, msgspec.Meta(ge=0.25, le=4.0)] | None = None
    instructions: str | None = None
    stream_format: Literal["audio", "sse"] | None = None


def speech_dialect(table: ModelTable[Speech], prefix: str) -> Dialect:
    """Return the dialect of the models that speak.

    Parameters
    ----------
    table:
        The models.
    prefix:
        The beginning of its path.
    """

    def read(request: DialectRequest) -> Payload:
        body, raw = read_object(request.body, SpeechBody)
        endpoint, offer = table.find(body.model)
        if body.stream_format == "sse":
            refuse("stream_format", "the audio is sent as it is; leave it out")
        spoken = _request_of(body, raw, offer)
        offer.accept(spoken)
        return Payload(endpoint=endpoint.name, body=encoded_input(spoken), memo=MEDIA_TYPES[spoken.response_format])

    return Dialect(
        name="openai-speech",
        operations=(Operation(path=f"{prefix}/audio/speech", read=read),),
        endpoints=tuple(endpoint.name for endpoint, _ in table.offers),
        result=_result,
        framing=_framing,
        error=error_response,
    )


def _request_of(body: SpeechBody, raw: dict[str, Any], offer: Speech) -> SpeechRequest:
    return SpeechRequest(
        input=body.input,
        model=body.model or "",
        voice=body.voice.id if isinstance(body.voice, VoiceBody) else body.voice or "",
        response_format=body.response_format or offer.formats[0],
        speed=1.0 if body.speed is None else body.speed,
        instructions=body.instructions or "",
        raw=raw,
    )


def _result(answer: Any, payload: Payload) -> RouteResponse:
    """Return the audio, whose type is that of the format, whatever the handler says."""
    _require_audio(answer, payload)
    return RouteResponse(body=answer.body, media_type=payload.memo, headers=answer.headers or {})


def _framing(head: Any, payload: Payload) -> Framing:
    _require_audio(head, payload)
    return RawFraming(payload.memo)


def _require_audio(answer: Any, payload: Payload) -> None:
    if answer.media_type is None:
        raise HandlerError(
            f"endpoint {payload.endpoint!r} answers with JSON, not with audio; return bytes, or declare it with "
            "media_type='application/octet-stream' and yield bytes"
        )
