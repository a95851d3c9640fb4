"""The form of a request to write down a recording, as OpenAI's clients send it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from penstock import Upload
from penstock.errors import MalformedRequest
from penstock.hooks import form_pairs
from penstock_chat import encoded_input, refuse, refuse_field
from penstock_openai.audio_offers import Transcriptions
from penstock_openai.audio_requests import Granularity, TranscriptionRequest

_LISTS: Final = ("timestamp_granularities", "include")


class TranscriptionForm(msgspec.Struct, kw_only=True):
    """The fields of the form without the file. None: absent, or empty, as browsers send fields that are left out."""

    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    timestamp_granularities: list[Granularity] = []
    include: list[str] = []
    stream: bool = False

    def granularities(self) -> list[Granularity]:
        """Return what is to have times in the answer."""
        if self.response_format == "verbose_json":
            return self.timestamp_granularities or ["segment"]
        return ["segment"] if self.response_format in ("srt", "vtt") else []

    def check(self, offer: Transcriptions) -> None:
        """Refuse an answer that the handler does not have, or that cannot be a stream; raise ``InvalidRequest``."""
        if self.timestamp_granularities and self.response_format != "verbose_json":
            refuse("timestamp_granularities", "only answers in verbose_json have them")
        if self.stream and self.response_format not in ("json", "text"):
            refuse("stream", f"answers in {self.response_format} are sent as a whole")
        for granularity in self.granularities():
            if granularity not in offer.times:
                field = "timestamp_granularities" if self.timestamp_granularities else "response_format"
                refuse(field, f"the model {offer.model!r} has no times of each {granularity}")


def read_form(body: bytes, content_type: str) -> tuple[TranscriptionForm, dict[str, Any], Upload]:
    """Return the form, its other fields as texts, and the file.

    Raises
    ------
    MalformedRequest
        If it is not a form, or cut short.
    InvalidRequest
        If its fields do not fit; the ``param`` is the first of them.
    """
    if not content_type:
        raise MalformedRequest("the request has no Content-Type; send a form as multipart/form-data")
    texts: dict[str, Any] = {}
    files: list[Upload] = []
    for name, value in form_pairs(body, content_type):
        if name == "file":
            files.append(value if isinstance(value, Upload) else Upload(_bytes_of(value)))
        else:
            _add_text(texts, name, value)
    if len(files) != 1:
        refuse("file", "it is missing" if not files else "there may be one file")
    if not files[0].content:
        refuse("file", "it is empty")
    try:
        form = msgspec.convert(texts, TranscriptionForm, strict=False)
    except msgspec.ValidationError as error:
        refuse_field(str(error))
    known = TranscriptionForm.__struct_fields__
    return form, {name: text for name, text in texts.items() if name not in known}, files[0]


def _add_text(texts: dict[str, Any], name: str, value: str | bytes | Upload) -> None:
    """Add a field. Lists are sent as ``name[]``, or the name again for each item."""
    if isinstance(value, Upload):
        refuse(name, "it is a file")
    name = name.removesuffix("[]")
    text = _text_of(name, value)
    if not text:
        return
    if name in _LISTS:
        texts.setdefault(name, []).append(text)
    elif name in texts:
        refuse(name, "it is there more than once")
    else:
        texts[name] = text


def _text_of(name: str, value: str | bytes) -> str:
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        refuse(name, "it is not UTF-8")


def _bytes_of(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


# ---- in the worker


def transcription_body(body: bytes, content_type: str) -> bytes:
    """Return the input of a handler that writes down a recording, for a form. The recording may be large."""
    return _input_of(body, content_type, "transcribe")


def translation_body(body: bytes, content_type: str) -> bytes:
    """Return the input of a handler that is to translate a recording, for a form."""
    return _input_of(body, content_type, "translate")


def _input_of(body: bytes, content_type: str, task: Literal["transcribe", "translate"]) -> bytes:
    form, others, file = read_form(body, content_type)
    request = TranscriptionRequest(
        file=file.content,
        name=file.name,
        media_type=file.media_type,
        model=form.model or "",
        task=task,
        language=form.language,
        prompt=form.prompt or "",
        temperature=form.temperature,
        granularities=form.granularities(),
        raw=others,
    )
    return encoded_input(request)
