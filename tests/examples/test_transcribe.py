from __future__ import annotations

import io
import shutil
import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples import transcribe
from penstock import Context, InvalidRequest
from penstock_client import Client
from tests.serving import ROOT, Served

SPEECH = "one two three four five"


def spoken(text: str, path: Path) -> bytes:
    """Return a recording of a synthetic voice that reads a text."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", "130", "-w", path, text], check=True, timeout=60)
    return path.read_bytes()


def wav(*, channels: int = 1, width: int = 2, rate: int = 22_050, frames: bytes = b"") -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(channels)
        written.setsampwidth(width)
        written.setframerate(rate)
        written.writeframes(frames)
    return file.getvalue()


@pytest.fixture(scope="module")
def model() -> transcribe.Transcribe:
    model = transcribe.Transcribe()
    model.setup()
    return model


def heard(transcript: transcribe.Transcript) -> set[str]:
    return {word for segment in transcript.segments for word in segment.text.split()}


def test_speech_is_recognized(model: transcribe.Transcribe, tmp_path: Path) -> None:
    """Most of the numbers that a synthetic voice reads are in the text."""
    transcript = model.predict(spoken(SPEECH, tmp_path / "speech.wav"), Context())
    assert len(heard(transcript) & set(SPEECH.split())) >= 3


def test_the_progress_is_in_seconds_of_the_recording(model: transcribe.Transcribe, tmp_path: Path) -> None:
    """Each segment is reported with its end and its text, and the total is the length of the recording."""
    reports: list[tuple[float, float | None, str | None]] = []
    context = Context(report=lambda *report: reports.append(report))
    transcript = model.predict(spoken(SPEECH, tmp_path / "speech.wav"), context)
    assert [text for _, _, text in reports] == [segment.text for segment in transcript.segments]
    assert [done for done, _, _ in reports] == sorted(done for done, _, _ in reports)
    assert [total for _, total, _ in reports] == [pytest.approx(transcript.seconds, abs=0.01)] * len(reports)


def test_silence_has_no_segments(model: transcribe.Transcribe) -> None:
    """A recording without speech is an answer, not an error."""
    assert model.predict(wav(frames=bytes(44_100)), Context()) == transcribe.Transcript(1.0, [])


def test_stereo_becomes_mono_at_the_rate_of_the_model() -> None:
    """Both channels count, and a second stays a second."""
    frames = (100).to_bytes(2, "little") + (300).to_bytes(2, "little")
    samples = transcribe.samples_of(wav(channels=2, rate=8_000, frames=frames * 8_000))
    assert samples == (200).to_bytes(2, "little") * transcribe.RATE


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "not a WAV file"),
        (b"RIFF\0\0\0\0WAVE", "not a WAV file"),
        ((ROOT / "examples" / "data" / "page.png").read_bytes(), "not a WAV file"),
        (wav(width=1, frames=b"\x80"), "has 8 bits for each sample"),
    ],
)
def test_what_is_not_a_recording_is_the_callers_error(body: bytes, problem: str) -> None:
    """It is refused as an invalid request, with the reason."""
    with pytest.raises(InvalidRequest, match=problem):
        transcribe.samples_of(body)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(ROOT / "examples" / "transcribe.py") as served:
        yield served


@pytest.mark.e2e
def test_a_recording_is_transcribed_over_http(served: Served, tmp_path: Path) -> None:
    """The call of the example's docstring works."""
    answer = served.post("/transcribe", spoken(SPEECH, tmp_path / "speech.wav"))
    assert answer.status == 200
    assert answer.json()["seconds"] > 1
    assert served.post("/transcribe", b"no recording").status == 422


@pytest.mark.e2e
def test_a_recording_is_transcribed_in_the_background(tmp_path: Path) -> None:
    """The calls of the docstring work: the job is accepted, and its events have the progress and the end."""
    body = spoken(SPEECH, tmp_path / "speech.wav")
    store = {"PENSTOCK_JOBS_STORE": f"sqlite:///{tmp_path / 'jobs.db'}"}
    with Served(ROOT / "examples" / "transcribe.py", environment=store) as served:
        accepted = served.post("/transcribe", body, headers={"Prefer": "respond-async"})
        assert accepted.status == 202
        with Client(served.base_url) as client:
            with client.jobs.events(accepted.json()["id"], timeout=60) as events:
                kinds = [event.kind for event in events]
            result = client.jobs.result(accepted.json()["id"]).value
    assert "progress" in kinds
    assert kinds[-1] == "end"
    assert result["seconds"] > 1
