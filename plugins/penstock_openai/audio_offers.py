"""Offers of models that speak, and of models that write down what is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

from penstock.errors import DeclarationError
from penstock_chat import refuse
from penstock_openai.audio_requests import AudioFormat, Granularity, SpeechRequest, TranscriptionRequest
from penstock_openai.openai_offers import OpenAIOffer


@dataclass(frozen=True, kw_only=True)
class Speech(OpenAIOffer):
    """An endpoint as a model of ``/v1/audio/speech``. Its handler takes a ``SpeechRequest``.

    Parameters
    ----------
    model, aliases, is_default:
        The name of the model, further ones, and whether it serves requests that name none.
    formats:
        The formats that the handler can return: ``mp3``, ``opus``, ``aac``, ``flac``, ``wav``, ``pcm``. Requests for
        others are refused. A request that names none gets the first.
    voices:
        The names of its voices; requests for others are refused. Empty: any name is passed on.
    """

    formats: tuple[AudioFormat, ...]
    voices: tuple[str, ...] = ()

    takes: ClassVar[tuple[type, ...]] = (SpeechRequest,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.formats or not set(self.formats) <= set(get_args(AudioFormat)):
            choices = ", ".join(map(repr, get_args(AudioFormat)))
            raise DeclarationError(f"{self}: formats={self.formats!r} is not a tuple of {choices}")
        if isinstance(self.voices, str):
            raise DeclarationError(f"{self}: voices is a str; write voices=({self.voices!r},)")
        object.__setattr__(self, "formats", tuple(self.formats))
        object.__setattr__(self, "voices", tuple(self.voices))

    def accept(self, request: SpeechRequest) -> None:
        """Refuse a request for a format or a voice that the handler does not have; raise ``InvalidRequest``."""
        if request.response_format not in self.formats:
            refuse("response_format", f"the model {self.model!r} returns {' or '.join(self.formats)}")
        if self.voices and request.voice not in self.voices:
            refuse("voice", f"the model {self.model!r} has the voices {', '.join(self.voices)}")


@dataclass(frozen=True, kw_only=True)
class Transcriptions(OpenAIOffer):
    """An endpoint as a model of ``/v1/audio/transcriptions``. Its handler takes a ``TranscriptionRequest``.

    Parameters
    ----------
    model, aliases, is_default:
        The name of the model, further ones, and whether it serves requests that name none.
    times:
        The parts of a transcript for which the handler returns times: ``segment``, ``word``. Requests for
        ``verbose_json``, ``srt`` and ``vtt`` need segments, and are refused otherwise.
    translates:
        True if the handler looks at ``task``: the model then answers at ``/v1/audio/translations`` too.
    """

    times: tuple[Granularity, ...] = ()
    translates: bool = False

    takes: ClassVar[tuple[type, ...]] = (TranscriptionRequest,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not set(self.times) <= set(get_args(Granularity)):  # the letters of a lone str are not in it either
            choices = ", ".join(map(repr, get_args(Granularity)))
            raise DeclarationError(f"{self}: times={self.times!r} is not a tuple of {choices}")
        object.__setattr__(self, "times", tuple(self.times))
