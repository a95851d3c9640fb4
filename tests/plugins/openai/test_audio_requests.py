"""Requests to audio models, and the formats of transcripts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock import App
from penstock.errors import DeclarationError, HandlerError, InvalidRequest, MalformedRequest
from penstock.response import Encoded
from penstock.testing import PluginHarness
from penstock_openai import (
    OpenAIPlugin,
    Segment,
    Speech,
    SpeechRequest,
    Transcript,
    TranscriptionRequest,
    Transcriptions,
)
from penstock_openai.transcription_form import read_form, transcription_body
from penstock_openai.transcripts import srt_of, transcript_of, vtt_of

FORM = "multipart/form-data; boundary=b"


def form_of(*parts: tuple[str, bytes], file: bytes = b'filename="a.wav"\r\n\r\nsound') -> bytes:
    """Return a form with fields, and a file first, as curl sends what was written first."""
    written = b'--b\r\nContent-Disposition: form-data; name="file"; %b\r\n' % file
    for name, value in parts:
        written += b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), value)
    return written + b"--b--\r\n"


def input_of(*parts: tuple[str, bytes]) -> TranscriptionRequest:
    return msgspec.json.decode(transcription_body(form_of(*parts), FORM), type=TranscriptionRequest)


def test_fields_are_read_as_texts() -> None:
    """Numbers, and lists in both spellings; an empty one counts as left out, and others are passed on."""
    found = input_of(
        ("temperature", b"0.5"),
        ("language", b""),
        ("response_format", b"verbose_json"),
        ("timestamp_granularities[]", b"word"),
        ("timestamp_granularities", b"segment"),
        ("chunking_strategy", b"auto"),
    )
    assert (found.temperature, found.language, found.granularities) == (0.5, None, ["word", "segment"])
    assert found.raw == {"chunking_strategy": "auto"}
    assert (found.open().read(), found.name) == (b"sound", "a.wav")


@pytest.mark.parametrize(("text", "is_streamed"), [(b"true", True), (b"False", False), (b"1", True), (b"", False)])
def test_booleans_are_texts(text: bytes, is_streamed: bool) -> None:
    """As clients in several languages write them."""
    assert read_form(form_of(("stream", text)), FORM)[0].stream is is_streamed


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([("temperature", b"warm")], "temperature"),
        ([("stream", b"maybe")], "stream"),
        ([("model", b"a"), ("model", b"b")], "model"),
        ([("prompt", b"\xff")], "prompt"),
        ([("file", b"again")], "file"),
        ([("timestamp_granularities[]", b"letter")], "timestamp_granularities[0]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_refused_by_its_name(parts: Any, param: str) -> None:
    """As for bodies in JSON."""
    with pytest.raises(InvalidRequest) as caught:
        read_form(form_of(*parts), FORM)
    assert caught.value.param == param


def test_a_form_needs_a_file() -> None:
    """One with content, with or without a file name."""
    assert read_form(form_of(file=b"\r\n\r\nsound"), FORM)[2].content == b"sound"
    with pytest.raises(InvalidRequest, match="`file`: it is empty"):
        read_form(form_of(file=b'filename="a.wav"\r\n\r\n'), FORM)
    with pytest.raises(InvalidRequest, match="`file`: it is missing"):
        read_form(b"--b--\r\n", FORM)
    with pytest.raises(MalformedRequest):
        read_form(form_of()[:-10], FORM)


def test_other_bodies_are_no_forms() -> None:
    """The error says so in the client's terms, whatever the content type."""
    app = App("audio")

    @app.endpoint("/transcribe", dialects=[Transcriptions(model="m", is_default=True)])
    def transcribe(request: TranscriptionRequest) -> str:
        return "never called"

    harness = PluginHarness(app, [OpenAIPlugin])
    for content_type in ("", "multipart/form-data"):
        headers = {"content-type": content_type} if content_type else {}
        answer = harness.operation("POST", "/v1/audio/transcriptions", b"{}", headers=headers)
        assert (answer.status, "error" in msgspec.json.decode(answer.body)) == (400, True)
    good = harness.operation(
        "POST", "/v1/audio/transcriptions", form_of(), answer=Encoded(b'"hello"'), headers={"content-type": FORM}
    )
    assert msgspec.json.decode(good.body) == {"text": "hello"}


# ---- transcripts


def test_pieces_are_joined() -> None:
    """Texts, segments and transcripts, as a handler likes to yield them; what a transcript says counts."""
    segment = Segment(0.0, 1.0, " b")
    pieces: list[Any] = ["a", segment, Transcript(language="en", duration=2.0, segments=[Segment(1.0, 2.0, " c")])]
    found = transcript_of(map(msgspec.json.encode, pieces))
    assert (found.text, found.language, found.duration, len(found.segments)) == ("a b c", "en", 2.0, 2)
    assert transcript_of([msgspec.json.encode(pieces)]) == found


def test_other_values_are_the_handlers_fault() -> None:
    """The error names what may be returned."""
    with pytest.raises(HandlerError, match="str, Segment or Transcript"):
        transcript_of([b"1"])


def test_subtitles_keep_their_structure() -> None:
    """Empty lines and arrows in a text would be taken for more; times are never negative, and rounded once."""
    transcript = Transcript(segments=[Segment(-0.1, 59.9996, " one\n\n--> two ")])
    assert srt_of(transcript) == "1\n00:00:00,000 --> 00:01:00,000\none\n-> two\n\n"
    assert vtt_of(transcript) == "WEBVTT\n\n00:00:00.000 --> 00:01:00.000\none\n-> two\n\n"


# ---- offers


def test_offers_are_checked_when_they_are_declared() -> None:
    """Formats and times that do not exist, lone strings, and handlers of another request."""
    with pytest.raises(DeclarationError, match=r"formats=\('ogg',\)"):
        Speech(model="v", formats=("ogg",))  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="formats=''"):
        Speech(model="v", formats="")  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="voices is a str"):
        Speech(model="v", formats=("mp3",), voices="ada")  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="times='word'"):
        Transcriptions(model="w", times="word")  # type: ignore[arg-type]
    app = App("audio")

    with pytest.raises(DeclarationError, match="write `def listen\\(request: TranscriptionRequest\\)`"):

        @app.endpoint("/listen", dialects=[Transcriptions(model="w")])
        def listen(request: SpeechRequest) -> str:
            return ""
