"""A small model without dependencies, which the programs beside it embed: it tells the mood of a text.

``penstock serve examples/moods.py`` serves the same app over HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from penstock import App, InvalidRequest

app = App(__name__)

WEIGHTS = {"good": 1, "great": 2, "love": 2, "fine": 1, "bad": -1, "awful": -2, "hate": -2, "late": -1}
NEGATIONS = {"not", "no", "never"}


@app.endpoint("/mood")
class Mood:
    """Counts the words that say something, and turns those behind a negation round."""

    def setup(self) -> None:
        """Load the model: here, a table and a pattern."""
        self.weights = WEIGHTS
        self.words = re.compile(r"[a-z]+")

    def predict(self, text: str) -> float:
        """Return a mood between -1 and 1."""
        words = self.words.findall(text.lower())
        if not words:
            raise InvalidRequest("the text has no words")
        scores = [
            -self.weights.get(word, 0) if before in NEGATIONS else self.weights.get(word, 0)
            for before, word in zip(["", *words], words, strict=False)
        ]
        return max(-1.0, min(1.0, sum(scores) / 2))


@app.endpoint("/reply")
def reply(text: str) -> Iterator[str]:
    """Answer a text word by word, as a language model would."""
    yield from f"You said {len(text.split())} words to me.".split()
