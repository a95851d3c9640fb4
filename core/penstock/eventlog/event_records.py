"""Records of events, and how their values are written so that none can be misread."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

# A field of this name is a traceback: the text format shows it below the line, not in the brackets.
TRACEBACK = "traceback"

# C0 and C1 controls, DEL, the Unicode line and paragraph separators, the marks that change the text direction, and
# lone surrogates, which no stream can encode.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_PLAIN_VALUE = re.compile(r'[^\s"\'\\=\[\]]+')
_SHORT_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


class EventRecord(logging.LogRecord):
    """A log record that says everything in its message and its traceback, whichever formatter shows it.

    Formatters of other libraries see the sentence with the fields behind it, escaped, and an indented traceback, so
    that no value can forge a record in a log of theirs either. Our own use the parts.

    Parameters
    ----------
    name, level:
        As for any record.
    event:
        The event's name, or the name of the user's logger.
    message:
        The sentence, as it is.
    fields:
        The values for programs; ``traceback`` is one of them.
    """

    def __init__(self, name: str, level: int, event: str, message: str, fields: dict[str, Any]) -> None:
        super().__init__(name, level, "", 0, message, None, None)
        self._sentence = message
        self.event = event
        self.fields = fields
        traceback = str(fields.get(TRACEBACK) or "")
        # logging.Formatter appends this text below the line.
        self.exc_text = "\n".join(indented(traceback.rstrip("\n"))) or None

    def getMessage(self) -> str:  # noqa: N802 - the method of logging.LogRecord
        """Return the sentence and the fields, as one line."""
        if self.msg != self._sentence:  # QueueHandler has put the finished text there
            return str(self.msg)
        return with_fields(escaped(str(self.msg)), self.fields)


def with_fields(line: str, fields: Mapping[str, Any]) -> str:
    """Return the line with the fields in brackets behind it, if there are any; the traceback is not one of them."""
    pairs = " ".join(
        f"{escaped(name)}={text_value(value)}"
        for name, value in fields.items()
        if value is not None and name != TRACEBACK
    )
    return f"{line}  [{pairs}]" if pairs else line


def escaped(text: str) -> str:
    """Return the text with every character escaped that could end its line or mislead a terminal."""
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    return f"\\x{ord(character):02x}" if character < "\x80" else f"\\u{ord(character):04x}"


def text_value(value: Any) -> str:
    """Return a value as the text format writes it after ``name=``: quoted if it could be misread."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    if _PLAIN_VALUE.fullmatch(text) and not _UNSAFE.search(text):
        return text
    # JSON's quoting is widely known; characters that it leaves alone, such as DEL, are escaped afterwards.
    return escaped(json.dumps(text, ensure_ascii=False))


def indented(traceback: str) -> Iterator[str]:
    """Yield the lines of a traceback, escaped, and indented so that none can be taken for an event."""
    # Split at newlines only: splitlines() also splits at form feeds and the like, which must be escaped.
    for line in traceback.split("\n") if traceback else ():
        yield "    " + escaped(line.rstrip("\r"))
