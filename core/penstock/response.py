"""The response and the event that a handler may use instead of plain values, and the encoded form of every result."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Generic, NoReturn, TypeAlias, TypeVar

import msgspec

JSON = "application/json"
OCTETS = "application/octet-stream"

SERVER_HEADERS: Final = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""The headers that frame the message. Only the server can set these correctly."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

# Workers send results over the wire, and must not send what no handler can return: the decoder checks that.
_SaneName: TypeAlias = Annotated[str, msgspec.Meta(pattern=rf"\A{_HEADER_NAME.pattern}\Z")]
_SaneValue: TypeAlias = Annotated[str, msgspec.Meta(pattern=rf"\A{_HEADER_VALUE.pattern}\Z")]
_FinalStatus: TypeAlias = Annotated[int, msgspec.Meta(ge=200, le=599)]


is_header_value: Final = _HEADER_VALUE.fullmatch
"""Returns a match if a text is valid as the value of a response header, else None; raises ``TypeError`` otherwise."""


def header_mistake(name: Any, value: Any) -> str | None:
    """Return why this is not a valid response header (RFC 9110, section 5), or None.

    A line break, for instance, would let the source of the value write the rest of the response.
    """
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        return f"{name!r} is not a valid name of a response header"
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        return f"the value of the response header {name} must be a str of one line, in Latin-1"
    return None


@dataclass(frozen=True)
class Response:
    """A result with full control over the response.

    Parameters
    ----------
    content:
        The body: ``bytes`` are sent unchanged, ``str`` as UTF-8 text, anything else as JSON. An iterator, plain or
        asynchronous, is a stream of chunks.
    media_type:
        The ``Content-Type``. Default: octet-stream for bytes, ``text/plain; charset=utf-8`` for str, else JSON. The
        chunks of a stream are bytes or text, and are sent as they are, if it is set; otherwise they are JSON.
    headers:
        Additional response headers.
    status:
        The HTTP status, 200 to 599.
    """

    content: Any
    media_type: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise ValueError(f"Response(status={self.status!r}): use a final HTTP status, from 200 to 599")


@dataclass(frozen=True, slots=True, repr=False)
class SlotDone:
    """The end of a slot, returned by ``step`` of a generation loop. Its public name is ``penstock.Done``.

    Parameters
    ----------
    chunk:
        The last chunk; None if the one before was the last.
    """

    chunk: Any = None

    def __repr__(self) -> str:
        return "Done()" if self.chunk is None else f"Done({self.chunk!r})"


T_co = TypeVar("T_co", covariant=True)

_RESERVED_EVENTS: Final = frozenset({"end", "error"})
"""The names of the events that end a stream."""

# All that ends a line for some reader of lines, and everything else below the space: nothing of it is in a name.
_LINE_OF_TEXT = re.compile("[^\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]*")


class Event(Generic[T_co]):
    """A chunk of a stream with the fields of a server-sent event: its name, its id, the client's delay.

    A client that asks for server-sent events receives the fields as lines of their own in front of the data. One that
    reads lines of JSON receives only the data. A stream may have plain chunks and events.

    Parameters
    ----------
    data:
        The chunk: anything that JSON can express.
    event:
        The name of the event, one line of text; not ``end`` or ``error``, which end a stream. Default: none, which is
        ``message`` to a browser.
    id:
        The id that a client sends as ``Last-Event-ID`` when it connects again: one line of text, or a number.
    retry:
        The time in seconds after which a client that has lost its connection is to connect again.

    Raises
    ------
    ValueError
        If a field cannot be sent.
    """

    __slots__ = ("data", "event", "id", "retry")

    data: T_co
    event: str | None
    id: str | None
    retry: float | None

    def __init__(
        self, data: T_co, event: str | None = None, id: str | int | None = None, retry: float | None = None
    ) -> None:
        text = str(id) if isinstance(id, int) else id
        mistake = _event_mistake(event, text, retry)
        if mistake:
            raise ValueError(mistake)
        for name, value in (("data", data), ("event", event), ("id", text), ("retry", retry)):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an Event cannot be changed; make a new one to set its {name}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.data, self.event, self.id, self.retry)

    def __eq__(self, other: object) -> bool:
        return self.__reduce__() == other.__reduce__() if isinstance(other, Event) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.__reduce__())

    def __repr__(self) -> str:
        fields = ((name, getattr(self, name)) for name in ("event", "id", "retry"))
        return (
            ", ".join([f"Event({self.data!r}", *(f"{name}={value!r}" for name, value in fields if value is not None)])
            + ")"
        )


def _event_mistake(event: Any, id: Any, retry: Any) -> str | None:
    """Return why these are not the fields of an event, or None.

    A line break, for instance, would let the source of a field write the rest of the stream.
    """
    for name, text in (("event", event), ("id", id)):
        if text is not None and not (isinstance(text, str) and _LINE_OF_TEXT.fullmatch(text)):
            return f"Event({name}={text!r}): use one line of text, without control characters"
    if event == "":
        return "Event(event=''): leave it out, or give the event a name"
    if event in _RESERVED_EVENTS:
        return f"Event(event={event!r}): this name is reserved, because it ends a stream; use another one"
    if retry is not None and not (isinstance(retry, (int, float)) and 0 <= retry < math.inf):
        return f"Event(retry={retry!r}): use seconds, 0 or more"
    return None


class Encoded(msgspec.Struct, array_like=True, tag=0, frozen=True, gc=False):
    """An encoded result: the body, with its media type, status and headers."""

    body: bytes
    media_type: _SaneValue | None = None
    """The ``Content-Type``, or None for JSON, the common case."""
    status: _FinalStatus = 200
    headers: dict[_SaneName, _SaneValue] | None = None
