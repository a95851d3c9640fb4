"""The real client of OpenAI and its audio models, synchronous and asynchronous, with a real server."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.serving import ROOT, Served, wait_until

pytestmark = pytest.mark.e2e

TARGET = ROOT / "tests" / "e2e" / "apps" / "audio_app.py"


@pytest.fixture(scope="module", params=["1", "2"], ids=["one-process", "two-processes"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with Served(TARGET, "--log-format", "json", "--http-workers", request.param) as served:
        yield served
        assert not served.events("internal-error")


@pytest.fixture
def client(served: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{served.base_url}/v1", api_key="k", max_retries=0) as client:
        yield client


def in_loop(served: Served, ask: Callable[[AsyncOpenAI], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with AsyncOpenAI(base_url=f"{served.base_url}/v1", api_key="k", max_retries=0) as client:
            return await ask(client)

    return asyncio.run(run())


# ---- speech


def test_speech_is_audio_of_the_format(client: OpenAI) -> None:
    """The format that is asked for, or the first of the offer, with its content type."""
    spoken = client.audio.speech.create(model="voice", input="Hello", voice="ada")
    assert spoken.response.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(spoken.content)) as sound:
        assert sound.readframes(5) == "Hello".encode("utf-16-le")
    raw = client.audio.speech.create(
        model="voice",
        input="Hello",
        voice={"id": "bob"},
        response_format="pcm",
        speed=1.5,
        instructions="softly",
        extra_body={"pitch": 2},
    )
    assert raw.response.headers["content-type"] == "audio/pcm"
    assert raw.content == b"bob 1.5 softly {'pitch': 2}"


def test_streamed_speech(client: OpenAI, served: Served) -> None:
    """Bytes as they come, by both clients."""
    asked: dict[str, Any] = {"model": "tts-1", "input": "to be or not", "voice": "any"}
    with client.audio.speech.with_streaming_response.create(**asked) as response:
        assert response.headers["content-type"] == "audio/mpeg"
        assert b"".join(response.iter_bytes()) == b"<to><be><or><not>"

    async def ask(client: AsyncOpenAI) -> bytes:
        async with client.audio.speech.with_streaming_response.create(**asked) as response:
            return b"".join([piece async for piece in response.iter_bytes()])

    assert in_loop(served, ask) == b"<to><be><or><not>"


def test_speech_that_fails(client: OpenAI) -> None:
    """Before the first byte it is a status; after that, the connection is cut."""
    with pytest.raises(openai.InternalServerError) as caught:
        client.audio.speech.create(model="voice", input="fail", voice="ada")
    assert "secret" not in str(caught.value)
    with pytest.raises(openai.APIConnectionError):
        client.audio.speech.create(model="tts-1", input="to be fail", voice="any")


def test_json_is_not_audio(client: OpenAI) -> None:
    """A handler that returns a text fails, rather than send it as audio."""
    with pytest.raises(openai.InternalServerError):
        client.audio.speech.create(model="mistaken", input="x", voice="any")


def test_speech_that_is_refused(client: OpenAI) -> None:
    """Formats and voices that the offer does not name, by the field."""
    refused: list[Any] = []
    for fields in ({"response_format": "mp3"}, {"voice": "eve"}, {"speed": 5.0}, {"input": ""}, {"model": "nobody"}):
        with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as caught:
            client.audio.speech.create(**{"model": "voice", "input": "x", "voice": "ada", **fields})
        refused.append((caught.value.status_code, caught.value.param))
    assert refused == [
        (400, "response_format"),
        (400, "voice"),
        (400, "speed"),
        (400, "input"),
        (404, "model"),
    ]


def test_a_listener_that_leaves_frees_the_worker(served: Served, client: OpenAI) -> None:
    """In the middle of the audio."""
    asked: Any = {"model": "tts-1", "input": "wait " * 200, "voice": "any"}
    with client.audio.speech.with_streaming_response.create(**asked) as response:
        pieces = response.iter_bytes()
        assert next(pieces).startswith(b"<wait>")
        assert served.status()["endpoints"]["read-aloud"]["running"] == 1
    wait_until(lambda: not served.status()["endpoints"]["read-aloud"]["running"], "the worker to be free")


# ---- transcriptions


def test_a_transcription(client: OpenAI) -> None:
    """The fields of the form reach the handler; a name in other letters too."""
    found = client.audio.transcriptions.create(
        model="whisper-1",
        file=("grüße.wav", b"sound", "audio/wav"),
        language="de",
        prompt="p",
        temperature=0.5,
        extra_body={"hotwords": "x"},
    )
    assert found.text == " Hello. transcribe de p 0.5 grüße.wav 5 [] {'hotwords': 'x'}"


def test_formats_of_a_transcription(client: OpenAI) -> None:
    """Text, subtitles, and all that is known, with times of what is asked for."""
    file = ("a.wav", b"sound")
    text: Any = client.audio.transcriptions.create(model="whisper-1", file=file, response_format="text")
    assert text.startswith(" Hello.")
    srt: Any = client.audio.transcriptions.create(model="whisper-1", file=file, response_format="srt")
    assert srt.startswith("1\n00:00:00,000 --> 00:00:01,500\nHello.\n\n2\n00:00:01,500 --> 01:01:01,250\ntranscribe")
    vtt: Any = client.audio.transcriptions.create(model="whisper-1", file=file, response_format="vtt")
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello.\n\n")
    verbose = client.audio.transcriptions.create(model="whisper-1", file=file, response_format="verbose_json")
    assert (verbose.language, verbose.duration, verbose.words) == ("english", 3661.5, None)
    assert verbose.segments is not None
    assert [(each.id, each.start, each.avg_logprob) for each in verbose.segments] == [(0, 0.0, -0.25), (1, 1.5, 0.0)]
    words = client.audio.transcriptions.create(
        model="whisper-1", file=file, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert words.words is not None
    assert [(word.word, word.end) for word in words.words] == [("Hello.", 1.5)]
    assert "['word', 'segment']" in words.text


def test_a_large_recording(client: OpenAI, served: Served) -> None:
    """It is taken out of the form by the worker, by both clients."""
    found = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", bytes(3_000_000)))
    assert " 3000000 " in found.text

    async def ask(client: AsyncOpenAI) -> str:
        found = await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", bytes(300_000)))
        return found.text

    assert " 300000 " in in_loop(served, ask)


@pytest.mark.filterwarnings("ignore:deprecated")
def test_a_translation(client: OpenAI) -> None:
    """The same handler, if its offer says so; otherwise it is refused."""
    found = client.audio.translations.create(model="whisper-1", file=("a.wav", b"sound"))
    assert found.text.startswith(" Hello. translate")
    with pytest.raises(openai.BadRequestError, match="does not translate"):
        client.audio.translations.create(model="plain", file=("a.wav", b"sound"))


@pytest.mark.parametrize("model", ["plain", "whisper-1"])
def test_a_streamed_transcription(client: OpenAI, model: str) -> None:
    """Pieces of text, and all of it at the end; a transcript that is returned as a whole is one piece."""
    *pieces, last = client.audio.transcriptions.create(model=model, file=("a.txt", b"to be or"), stream=True)
    assert last.type == "transcript.text.done"
    deltas = [piece.delta for piece in pieces if piece.type == "transcript.text.delta"]
    assert "".join(deltas) == last.text
    assert len(pieces) == len(deltas) == (3 if model == "plain" else 1)


def test_pieces_are_collected_for_a_whole_transcription(client: OpenAI) -> None:
    """For clients that want no stream."""
    assert client.audio.transcriptions.create(model="plain", file=("a.txt", b"to be")).text == "to be "


def test_a_transcription_that_fails(client: OpenAI) -> None:
    """As a status, or in the middle of a stream as the client's own exception; what the handler refuses, too."""
    with pytest.raises(openai.InternalServerError) as caught:
        client.audio.transcriptions.create(model="whisper-1", file=("a", b"fail"))
    assert "secret" not in str(caught.value)
    with pytest.raises(openai.BadRequestError, match="no speech"):
        client.audio.transcriptions.create(model="whisper-1", file=("a", b"noise"))
    stream = client.audio.transcriptions.create(model="plain", file=("a", b"to fail"), stream=True)
    with pytest.raises(openai.APIError) as failed:
        list(stream)
    assert failed.value.code == "handler-error"


def test_transcriptions_that_are_refused(client: OpenAI) -> None:
    """By the field, before anything is queued."""
    refused: list[Any] = []
    for fields in (
        {"response_format": "srt", "model": "plain"},
        {"response_format": "diarized_json"},
        {"response_format": "vtt", "stream": True},
        {"timestamp_granularities": ["word"]},
        {"temperature": 3},
        {"file": ("a.wav", b"")},
        {"model": "nobody"},
    ):
        with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as caught:
            client.audio.transcriptions.create(**{"model": "whisper-1", "file": ("a.wav", b"sound"), **fields})
        refused.append((caught.value.status_code, caught.value.param))
    assert refused == [
        (400, "response_format"),
        (400, "response_format"),
        (400, "stream"),
        (400, "timestamp_granularities"),
        (400, "temperature"),
        (400, "file"),
        (404, "model"),
    ]


def test_a_speaker_who_leaves_frees_the_worker(served: Served, client: OpenAI) -> None:
    """In the middle of the stream."""
    stream = client.audio.transcriptions.create(model="plain", file=("a", b"wait " * 200), stream=True)
    next(iter(stream))
    assert served.status()["endpoints"]["dictate"]["running"] == 1
    stream.close()
    wait_until(lambda: not served.status()["endpoints"]["dictate"]["running"], "the worker to be free")
