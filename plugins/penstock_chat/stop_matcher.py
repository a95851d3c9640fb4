"""Stop sequences, found across the borders of chunks."""

from __future__ import annotations

from collections.abc import Sequence

from penstock_chat.body_faults import refuse
from penstock_chat.pieces import Text

MOST_STOPS = 16
LONGEST_STOP_CHARACTERS = 256


def checked_stops(stops: Sequence[str], param: str) -> list[str]:
    """Return the stop sequences of a request as a list.

    Raises
    ------
    InvalidRequest
        If one is empty, or if they are too many or too long; its ``param`` is the one that is passed.
    """
    if not all(stops):
        refuse(param, "a stop sequence is empty")
    if len(stops) > MOST_STOPS or any(len(stop) > LONGEST_STOP_CHARACTERS for stop in stops):
        refuse(param, f"there may be {MOST_STOPS} stop sequences, each of {LONGEST_STOP_CHARACTERS} characters at most")
    return list(stops)


class StopMatcher:
    """A search for the first stop sequence in a text that arrives in pieces.

    A piece is held back as long as its end may be the beginning of a stop sequence, and no longer.

    Parameters
    ----------
    stops:
        The sequences, none of them empty.

    Attributes
    ----------
    found:
        The sequence that has been found, or None.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held: list[str | Text] = []
        self.found: str | None = None

    def feed(self, piece: str | Text) -> list[str | Text]:
        """Take the next piece; return what comes before the stop, as far as that is certain."""
        if not piece:
            return []
        self._held.append(piece)
        text = "".join(map(_text_of, self._held))
        at, stop = min(((text.find(stop), stop) for stop in self._stops if stop in text), default=(-1, ""))
        if at >= 0:
            self.found = stop
            return self._taken(at, is_end=True)
        return self._taken(len(text) - max(_overlap(text, stop) for stop in self._stops), is_end=False)

    def rest(self) -> list[str | Text]:
        """Return what is held back, as no more comes."""
        held, self._held = self._held, []
        return held

    def _taken(self, length: int, *, is_end: bool) -> list[str | Text]:
        """Take the first characters of what is held back; a piece with tokens as a whole, unless it is the end."""
        taken: list[str | Text] = []
        while self._held and length > 0:
            piece = self._held[0]
            size = len(_text_of(piece))
            if size <= length:
                taken.append(self._held.pop(0))
            elif is_end:
                taken.append(_cut(piece, length))
                break
            elif isinstance(piece, Text) and piece.logprobs:
                break
            else:
                taken.append(_text_of(piece)[:length])
                self._held[0] = _text_of(piece)[length:]
            length -= size
        return taken


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest beginning of the stop sequence with which the text ends."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


def _text_of(piece: str | Text) -> str:
    return piece if isinstance(piece, str) else piece.text


def _cut(piece: str | Text, length: int) -> str | Text:
    """Return the first characters of a piece, with the tokens that begin in them."""
    if isinstance(piece, str):
        return piece[:length]
    kept, begun = [], 0
    for logprob in piece.logprobs or ():
        if begun >= length:
            break
        kept.append(logprob)
        begun += len(logprob.token)
    return Text(piece.text[:length], kept if piece.logprobs is not None else None)
