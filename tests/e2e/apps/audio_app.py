"""Models that speak and that write down what is said, for OpenAI's clients. The input says how they answer."""

from __future__ import annotations

import io
import time
import wave
from collections.abc import Iterator

from penstock import App, InvalidRequest, Response
from penstock_openai import (
    Segment,
    Speech,
    SpeechRequest,
    Transcript,
    TranscriptionRequest,
    Transcriptions,
    Word,
)

app = App(__name__)


def wav_of(text: str) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(text.encode("utf-16-le"))
    return file.getvalue()


@app.endpoint("/speak", workers=1, dialects=[Speech(model="voice", formats=("wav", "pcm"), voices=("ada", "bob"))])
def speak(request: SpeechRequest) -> bytes | Response:
    if request.input == "fail":
        raise RuntimeError("secret")
    if request.response_format == "pcm":
        return Response(f"{request.voice} {request.speed} {request.instructions} {request.raw}".encode())
    return wav_of(request.input)


@app.endpoint(
    "/read-aloud",
    workers=1,
    media_type="application/octet-stream",
    dialects=[Speech(model="tts-1", formats=("mp3",), is_default=True)],
)
def read_aloud(request: SpeechRequest) -> Iterator[bytes]:
    for word in request.input.split():
        if word == "fail":
            time.sleep(0.1)
            raise RuntimeError("secret")
        if word == "wait":
            time.sleep(0.05)
        yield f"<{word}>".encode()


@app.endpoint("/mistaken", dialects=[Speech(model="mistaken", formats=("mp3",))])
def mistaken(request: SpeechRequest) -> str:
    return request.input


@app.endpoint(
    "/transcribe",
    workers=1,
    dialects=[Transcriptions(model="whisper-1", times=("segment", "word"), translates=True, is_default=True)],
)
def transcribe(request: TranscriptionRequest) -> Transcript:
    if request.file == b"noise":
        raise InvalidRequest("there is no speech in it", param="file")
    if request.file == b"fail":
        raise RuntimeError("secret")
    said = (
        f" {request.task} {request.language} {request.prompt} {request.temperature:g} {request.name}"
        f" {len(request.file)} {request.granularities} {request.raw}"
    )
    segments = [Segment(0.0, 1.5, " Hello.", avg_logprob=-0.25), Segment(1.5, 3661.25, said)]
    return Transcript(language="english", duration=3661.5, segments=segments, words=[Word(0.0, 1.5, "Hello.")])


@app.endpoint("/dictate", workers=1, dialects=[Transcriptions(model="plain")])
def dictate(request: TranscriptionRequest) -> Iterator[str]:
    for word in request.file.decode().split():
        if word == "fail":
            time.sleep(0.1)
            raise RuntimeError("secret")
        if word == "wait":
            time.sleep(0.05)
        yield f"{word} "
