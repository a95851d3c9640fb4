"""The requests that handlers of audio models take."""

from __future__ import annotations

import io
from typing import Any, BinaryIO, Literal, TypeAlias

import msgspec

AudioFormat: TypeAlias = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
Granularity: TypeAlias = Literal["segment", "word"]


class SpeechRequest(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A request to speak a text: the one parameter of a handler of ``Speech``.

    The handler returns the audio as bytes in the format that is asked for, or yields it.

    Parameters
    ----------
    input:
        The text.
    model:
        The name of the model, as the client has given it; an alias, for instance.
    voice:
        The name of the voice.
    response_format:
        The format of the audio, one of those that the offer names.
    speed:
        1.0 is normal; from 0.25 to 4.0.
    instructions:
        The manner of speaking, in words.
    raw:
        The fields of the body that are none of these, as the client has sent them.
    """

    input: str
    model: str = ""
    voice: str = ""
    response_format: AudioFormat = "mp3"
    speed: float = 1.0
    instructions: str = ""
    raw: dict[str, Any] = {}


class TranscriptionRequest(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A recording to write down: the one parameter of a handler of ``Transcriptions``.

    The handler returns a ``str`` or a ``Transcript``, or yields ``str`` and ``Segment``.

    Parameters
    ----------
    file:
        The content of the recording.
    name, media_type:
        Its name, without folders, and its type, as the client says. They may be anything.
    model:
        The name of the model, as the client has given it; an alias, for instance.
    task:
        ``translate`` if the text is to be in English, whatever the recording is in.
    language:
        The language that is spoken, if the client has said so, such as ``en``.
    prompt:
        A text that the recording continues, or words that are in it.
    temperature:
        The sampler's temperature, from 0.0 to 1.0.
    granularities:
        The parts of the transcript that need times. Empty if the answer is the text alone.
    raw:
        The fields of the form that are none of these, as texts.
    """

    file: bytes
    name: str = ""
    media_type: str = ""
    model: str = ""
    task: Literal["transcribe", "translate"] = "transcribe"
    language: str | None = None
    prompt: str = ""
    temperature: float = 0.0
    granularities: list[Granularity] = []
    raw: dict[str, Any] = {}

    def open(self) -> BinaryIO:
        """Return the recording as a file, for libraries that read one."""
        return io.BytesIO(self.file)
