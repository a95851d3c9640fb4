"""Transcripts: what handlers of ``Transcriptions`` return or yield, and the formats in which clients get it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from penstock.errors import HandlerError


class Segment(msgspec.Struct, tag="segment", omit_defaults=True):
    """A part of a recording: a sentence, or the speech between two silences.

    Parameters
    ----------
    start, end:
        Seconds from the beginning of the recording.
    text:
        The words that are spoken. The texts of all segments are joined as they are: begin the second with a space.
    tokens:
        The ids of its tokens.
    avg_logprob, no_speech_prob, compression_ratio, temperature:
        Figures that Whisper reports for it.
    """

    start: float
    end: float
    text: str
    tokens: list[int] = []
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0
    compression_ratio: float = 0.0
    temperature: float = 0.0


class Word(msgspec.Struct):
    """A word of a recording, with its times in seconds from the beginning."""

    start: float
    end: float
    word: str


class Transcript(msgspec.Struct, tag="transcript", omit_defaults=True):
    """All that is known of a recording.

    Parameters
    ----------
    text:
        The words that are spoken. Default: the texts of the segments.
    language:
        The language that is spoken, such as ``en``.
    duration:
        The length of the recording in seconds.
    segments, words:
        Its parts, if they are known.
    """

    text: str = ""
    language: str = ""
    duration: float | None = None
    segments: list[Segment] = []
    words: list[Word] = []


TranscriptPiece: TypeAlias = str | Segment | Transcript

_decode = msgspec.json.Decoder(TranscriptPiece | list[TranscriptPiece]).decode
_PIECES = "str, Segment or Transcript of penstock_openai"


def transcript_pieces(chunk: bytes) -> list[TranscriptPiece]:
    """Return the pieces that a handler has yielded, or returned as a whole: one of them, or a list.

    Raises
    ------
    HandlerError
        If it is not one of these.
    """
    try:
        pieces = _decode(chunk)
    except msgspec.DecodeError as error:
        raise HandlerError(f"the handler of a transcription returns or yields {_PIECES}: {error}") from None
    return pieces if isinstance(pieces, list) else [pieces]


def text_of(piece: TranscriptPiece) -> str:
    """Return the text of a piece."""
    if isinstance(piece, str):
        return piece
    if isinstance(piece, Transcript) and not piece.text:
        return "".join(segment.text for segment in piece.segments)
    return piece.text


def transcript_of(chunks: Iterable[bytes]) -> Transcript:
    """Return all pieces of the chunks as one transcript."""
    found = Transcript()
    for chunk in chunks:
        for piece in transcript_pieces(chunk):
            found.text += text_of(piece)
            if isinstance(piece, Segment):
                found.segments.append(piece)
            elif isinstance(piece, Transcript):
                found.segments += piece.segments
                found.words += piece.words
                found.language, found.duration = piece.language, piece.duration
    return found


# ---- formats


def verbose_object(transcript: Transcript, task: str, granularities: Iterable[str]) -> dict[str, Any]:
    """Return a transcript as ``verbose_json``.

    Parameters
    ----------
    transcript:
        The transcript.
    task:
        ``transcribe`` or ``translate``.
    granularities:
        The parts that need times.
    """
    duration = transcript.duration
    if duration is None:
        duration = max((segment.end for segment in transcript.segments), default=0.0)
    told: dict[str, Any] = {
        "task": task,
        "language": transcript.language,
        "duration": duration,
        "text": transcript.text,
    }
    if "segment" in granularities:
        told["segments"] = [_segment_object(segment, number) for number, segment in enumerate(transcript.segments)]
    if "word" in granularities:
        told["words"] = transcript.words
    return told


def _segment_object(segment: Segment, number: int) -> dict[str, Any]:
    fields = {name: getattr(segment, name) for name in Segment.__struct_fields__}
    return {"id": number, "seek": 0, **fields}


def srt_of(transcript: Transcript) -> str:
    """Return a transcript as subtitles of SubRip."""
    return _cues_of(transcript, "", ",", lambda number: f"{number}\n")


def vtt_of(transcript: Transcript) -> str:
    """Return a transcript as subtitles of the web, WebVTT."""
    return _cues_of(transcript, "WEBVTT\n\n", ".", lambda _number: "")


def _cues_of(transcript: Transcript, head: str, point: str, number_line: Callable[[int], str]) -> str:
    cues = [
        f"{number_line(number)}{_time(segment.start, point)} --> {_time(segment.end, point)}\n{_cue_text(segment)}\n\n"
        for number, segment in enumerate(transcript.segments, 1)
    ]
    return head + "".join(cues)


def _cue_text(segment: Segment) -> str:
    """Return a text as a cue: an empty line would end it, and an arrow would be taken for its times."""
    lines = (line.strip() for line in segment.text.splitlines())
    return "\n".join(line for line in lines if line).replace("-->", "->")


def _time(seconds: float, point: str) -> str:
    milliseconds = round(max(seconds, 0.0) * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
