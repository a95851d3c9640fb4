r"""Chunks that were yielded as an ``Event``, on their way from the worker.

The bytes of a plain chunk are its JSON. In front of those of an event are its fields, as they are written into a stream
of server-sent events, between two marks::

    \x1eevent: token\nid: 7\n\x1e{"text": "a"}

No JSON has the mark, which is a control character, and no field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.response import Event

EVENT_MARK = b"\x1e"


def event_chunk(event: Event[Any], data: bytes) -> bytes:
    """Return the chunk for an event with this JSON as its data."""
    lines = [("event", event.event), ("id", event.id)]
    lines.append(("retry", None if event.retry is None else str(round(event.retry * 1000))))
    fields = "".join(f"{name}: {text}\n" for name, text in lines if text is not None)
    return EVENT_MARK + fields.encode() + EVENT_MARK + data


def split_chunk(chunk: bytes) -> tuple[bytes, bytes]:
    """Return the lines with the fields of an event, each with its line break, and the JSON of its data.

    A plain chunk has no such lines.
    """
    if not chunk.startswith(EVENT_MARK):
        return b"", chunk
    fields, _, data = chunk[1:].partition(EVENT_MARK)
    return fields, data


def data_of(chunks: Sequence[bytes]) -> list[bytes]:
    """Return the JSON of each chunk, without the fields of those that are events."""
    return [split_chunk(chunk)[1] for chunk in chunks]


def decode_event(chunk: bytes) -> Event[Any]:
    """Return the event that a chunk with marks was made from."""
    lines, data = split_chunk(chunk)
    fields = dict(line.split(": ", 1) for line in lines.decode().split("\n")[:-1])
    retry = fields.get("retry")
    seconds = None if retry is None else int(retry) / 1000
    return Event(msgspec.json.decode(data), fields.get("event"), fields.get("id"), seconds)
