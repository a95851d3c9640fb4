"""Write down a recording: PocketSphinx behind ``POST /transcribe``. A WAV file in, its segments of speech as text out.

::

    penstock serve examples/transcribe.py
    espeak-ng -w speech.wav "one two three four five"
    curl --data-binary @speech.wav localhost:8000/transcribe

A minute of speech takes about ten seconds, so long recordings are work to be done in the background. With a store, a
caller need not wait; after each segment the handler reports how far it has come::

    PENSTOCK_JOBS_STORE=sqlite:///jobs.db penstock serve examples/transcribe.py
    curl -i -H 'Prefer: respond-async' --data-binary @speech.wav localhost:8000/transcribe
    curl -N localhost:8000/v1/jobs/ID/events
"""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass

import numpy as np
from pocketsphinx import Decoder, Segmenter

from penstock import App, Context, InvalidRequest, Jobs, Timeouts

app = App(__name__)

RATE = 16_000  # samples per second, which the model was trained with


@dataclass
class Segment:
    """Speech between two silences. Its times are in seconds from the beginning of the recording."""

    start: float
    end: float
    text: str


@dataclass
class Transcript:
    """The segments of a recording, in their order."""

    seconds: float
    segments: list[Segment]


def samples_of(wav: bytes) -> bytes:
    """Decode a WAV file to 16-bit samples at the model's rate; an invalid one is the caller's error (422)."""
    try:
        with wave.open(io.BytesIO(wav)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise InvalidRequest(f"the body is not a WAV file that can be read: {error}") from error
    if width != 2:
        raise InvalidRequest(f"the WAV file has {8 * width} bits for each sample; write it with 16")
    mono = np.frombuffer(frames, "<i2").reshape(-1, channels).mean(axis=1)
    instants = np.arange(0, len(mono), rate / RATE)
    return np.interp(instants, np.arange(len(mono)), mono).astype("<i2").tobytes()


@app.endpoint("/transcribe", timeouts=Timeouts(queue=None, execution=3600), jobs=Jobs())
class Transcribe:
    """One recognizer per worker. The model is inside the wheel."""

    def setup(self) -> None:
        """Load the model."""
        self.decoder = Decoder(samprate=RATE, loglevel="ERROR")

    def predict(self, body: bytes, context: Context) -> Transcript:
        """Recognize the segments one after the other, and report how many seconds are done."""
        samples = samples_of(body)
        seconds = len(samples) / 2 / RATE
        segments = []
        for speech in Segmenter(sample_rate=RATE).segment(io.BytesIO(samples)):
            self.decoder.start_utt()
            self.decoder.process_raw(speech.pcm, full_utt=True)
            self.decoder.end_utt()
            found = self.decoder.hyp()
            segments.append(
                Segment(round(speech.start_time, 2), round(speech.end_time, 2), found.hypstr if found else "")
            )
            context.progress(speech.end_time, seconds, segments[-1].text)
        return Transcript(round(seconds, 2), segments)
