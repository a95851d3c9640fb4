"""Several engines in one program, each with its own workers, limits and end: two of one app, and one of another.

::

    python examples/many_engines.py
"""

from __future__ import annotations

from contextlib import ExitStack

from moods import app as moods

from penstock import App, start_engine

lengths = App(__name__)


@lengths.endpoint("/length")
def length(text: str) -> int:
    """Return the number of characters."""
    return len(text)


def main() -> None:
    """Ask each of them, close one, and ask the others again."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(start_engine(moods)) for _ in range(2))
        third = stack.enter_context(start_engine(lengths))
        print(first.call("mood", {"text": "good"}), second.call("mood", {"text": "bad"}))
        first.close()
        print(second.call("mood", {"text": "great"}), third.call("length", {"text": "great"}))


if __name__ == "__main__":
    main()
