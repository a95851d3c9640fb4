"""Chunks with the fields of an event: what may be in them, and how they travel."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from penstock import Event, HandlerError
from penstock.codec.encoding import ResultEncoder
from penstock.codec.event_chunks import split_chunk
from penstock.response import Encoded
from tests.core.codec.sample_types import Point, codec, square

EVENTS = [
    Event({"text": "a\x1eb\nc"}, event="token", id="7", retry=1.5),
    Event(None, id=0),
    Event([1], event=" a: b é €"),
    Event("plain"),
]


def encode(value: Any) -> bytes:
    return ResultEncoder().encode_chunk(value)


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_an_event_arrives_as_it_was_yielded(event: Event[Any]) -> None:
    """An embedding program gets the event, with its fields, even if it has none; plain chunks stay plain."""
    assert codec(square).decode_chunk(encode(event), Encoded(b"")) == event
    assert codec(square).decode_chunk(encode(event.data), Encoded(b"")) == event.data


def test_the_fields_are_the_lines_of_a_stream() -> None:
    """They are in front of the JSON of the data; those of a plain chunk are empty."""
    assert split_chunk(encode(EVENTS[0])) == (b"event: token\nid: 7\nretry: 1500\n", encode(EVENTS[0].data))
    assert split_chunk(encode(Event(1))) == (b"", b"1")
    assert split_chunk(encode("event: x\x1e")) == (b"", b'"event: x\\u001e"')


@pytest.mark.parametrize("end", ["\n", "\r", "\0", "\x85", "\u2028", "\x1e", "\ud800"])
@pytest.mark.parametrize("name", ["event", "id"])
def test_a_field_is_one_line(name: str, end: str) -> None:
    """Nothing that ends a line for any client, and no control character, is in the name or the id of an event."""
    with pytest.raises(ValueError, match=rf"Event\({name}=.*one line of text"):
        Event(1, **{name: f"a{end}data: forged"})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"event": "end"}, "ends a stream"),
        ({"event": "error"}, "ends a stream"),
        ({"event": ""}, "leave it out"),
        ({"event": 5}, "one line of text"),
        ({"id": 1.5}, "one line of text"),
        ({"retry": -1}, "0 or more"),
        ({"retry": float("nan")}, "0 or more"),
        ({"retry": "5"}, "0 or more"),
    ],
)
def test_other_fields_are_refused(fields: dict[str, Any], reason: str) -> None:
    """A name that ends a stream, one that is empty, and what is of another type."""
    with pytest.raises(ValueError, match=reason):
        Event(1, **fields)


def test_an_event_is_a_value() -> None:
    """It is compared by its fields, can be copied, says what it is, and cannot be changed after it was checked."""
    event = EVENTS[0]
    assert pickle.loads(pickle.dumps(event)) == event
    assert event not in (Event(event.data), "event")
    assert hash(Event("a", id=1)) == hash(Event("a", id="1"))
    assert repr(Event(1, "a", 2)) == "Event(1, event='a', id='2')"
    with pytest.raises(AttributeError, match="make a new one to set its event"):
        event.event = "a\nb"


@pytest.mark.parametrize("value", [Event(1), [Event(1)], {"a": Event(1)}])
def test_an_event_is_nothing_but_a_chunk(value: Any) -> None:
    """It is neither a result nor a part of one; the error says what it is."""
    with pytest.raises(HandlerError, match="an Event is a chunk of a stream; yield it"):
        ResultEncoder().encode(value)


def test_the_data_is_what_a_chunk_may_be() -> None:
    """The data of an event has the rules of a plain chunk; and a raw stream has no place for fields."""
    for data in (b"bytes", Event(1), object()):
        with pytest.raises(HandlerError, match=r"a chunk of a stream cannot be|cannot be sent as JSON"):
            encode(Event(data))
    with pytest.raises(HandlerError, match=r"penstock.response.Event, but the media type is text/csv"):
        ResultEncoder(media_type="text/csv").encode_chunk(Event("a"))


def of_points() -> Iterator[Event[Point]]: ...


async def of_either() -> AsyncIterator[Event[Point] | Point]:
    yield Point(1.0)


def of_anything() -> Iterator[Event]: ...  # type: ignore[type-arg] # as users write it


def test_the_schema_is_that_of_the_data() -> None:
    """``Iterator[Event[T]]`` promises chunks whose data is a T, whichever fields they have."""
    for handler in (of_points, of_either):
        assert list(codec(handler).output_schema()["properties"]) == ["x", "y"]
        check = codec(handler).chunk_check()
        assert check is not None
        for point in (Point(1.0), {"x": 1}):
            assert check(encode(Event(point, event="point"))) is check(encode(point)) is None
        assert "missing required field" in (check(encode(Event({}, id=1))) or "")
    assert codec(of_anything).output_schema() == {}
    assert codec(of_anything).chunk_check() is None
