"""Stop sequences across the borders of chunks."""

from __future__ import annotations

import random

import pytest

from penstock_chat import Logprob, Text
from penstock_chat.stop_matcher import StopMatcher


def fed(stops: list[str], *pieces: str) -> tuple[str, str | None]:
    """Return the text that comes through, and the sequence that was found."""
    matcher = StopMatcher(stops)
    passed: list[str | Text] = []
    for piece in pieces:
        passed += matcher.feed(piece)
        if matcher.found is not None:
            return "".join(map(str, passed)), matcher.found
    return "".join(map(str, passed + matcher.rest())), None


@pytest.mark.parametrize(
    ("stops", "pieces", "passed"),
    [
        (["END"], ["abENDcd"], ("ab", "END")),
        (["END"], ["a", "E", "N", "D"], ("a", "END")),
        (["END"], ["aEN", "ENDx"], ("aEN", "END")),
        (["END"], ["aEN"], ("aEN", None)),
        (["aab"], ["aaa", "ab"], ("aa", "aab")),
        (["xy", "b"], ["abxy"], ("a", "b")),
        (["b", "abc"], ["abc"], ("", "abc")),
        (["é"], ["caf", "é!"], ("caf", "é")),
        (["END"], ["", "a", ""], ("a", None)),
    ],
)
def test_the_first_stop_ends_the_text(stops: list[str], pieces: list[str], passed: tuple[str, str | None]) -> None:
    """Wherever it is cut into pieces; what only looked like the beginning of one comes through."""
    assert fed(stops, *pieces) == passed


def test_text_is_held_back_only_while_it_may_be_a_stop() -> None:
    """Clients see each token as early as possible."""
    matcher = StopMatcher(["END"])
    assert matcher.feed("abc") == ["abc"]
    assert matcher.feed("dE") == ["d"]
    assert matcher.feed("x") == ["E", "x"]


def test_any_division_into_pieces_gives_the_same() -> None:
    """As the whole text, cut at the first stop, would."""
    draw = random.Random(20261129)
    for _ in range(2000):
        text = "".join(draw.choices("abc", k=draw.randrange(12)))
        stops = ["".join(draw.choices("abc", k=draw.randrange(1, 4))) for _ in range(draw.randrange(1, 3))]
        cuts = sorted(draw.choices(range(len(text) + 1), k=3))
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        first = min((text.find(stop) for stop in stops if stop in text), default=None)
        passed, found = fed(stops, *pieces)
        assert found is not None or first is None, (text, stops, pieces)
        assert text.startswith(passed)
        if found is None:
            assert passed == text
        else:
            assert text[len(passed) :].startswith(found)


def test_tokens_are_not_torn_from_their_log_probabilities() -> None:
    """A piece that has them is held back whole, and cut only by a stop."""
    matcher = StopMatcher(["END"])
    assert matcher.feed(Text("abE", [Logprob("ab", -1.0), Logprob("E", -2.0)])) == []
    assert matcher.feed(Text("NDc", [Logprob("ND", -1.0), Logprob("c", -1.0)])) == [Text("ab", [Logprob("ab", -1.0)])]
    assert matcher.found == "END"
