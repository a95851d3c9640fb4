"""The tour of the code: a short page, and every file that it names exists."""

from __future__ import annotations

import re

from tests.serving import ROOT

PAGE = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")


def test_the_tour_is_short() -> None:
    """The page fits on one screen: at most 30 lines."""
    assert len(PAGE.splitlines()) <= 30


def test_every_path_of_the_tour_exists() -> None:
    """Paths are relative to the root of the repository; each question is answered by at least one."""
    questions = re.findall(r"^\| Where (.*)\? \| (.*) \|$", PAGE, re.MULTILINE)
    paths = {
        question: re.findall(r"`((?:core|adapters|plugins|client)/[^`]*)`", answer) for question, answer in questions
    }
    assert len(paths) >= 20
    assert [question for question, found in paths.items() if not found] == []
    assert [path for found in paths.values() for path in found if not (ROOT / path).exists()] == []


def test_the_index_links_to_the_tour() -> None:
    """A reader finds the tour from the index."""
    assert "(tour.md)" in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
