"""Text for a person at a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

LABEL_WIDTH = 10


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that prints lines as they are: not wrapped, and with no color but ours."""
    return Console(stderr=stderr, soft_wrap=True, highlight=False)


def labelled_lines(lines: Iterable[tuple[str, str]]) -> Text:
    """Return an indented line for each pair of label and value."""
    text = Text()
    for label, value in lines:
        text.append(f"  {label:<{LABEL_WIDTH}}", style="dim").append(f"{value}\n")
    return text
