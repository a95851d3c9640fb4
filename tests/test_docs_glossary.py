"""The glossary has the project's nouns, and no word that the code has stopped using."""

from __future__ import annotations

import re

import pytest

from tests.serving import ROOT

TEXT = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!word \|)([a-z, ]+) \|", TEXT, re.MULTILINE)
WORDS = [word for row in ROWS for word in row.split(", ")]
NOUNS = """
    attempt, batch, chunk, command, credit, deadline, endpoint, engine, event, exchange, frame, handler, hook, hookimpl,
    hookspec, interrupt guard, job, lane, model, observer, performer, pipeline, place, plugin, pool, principal, reactor,
    record, report, request, response, retry budget, scheduler, slot, submission, suspect, timeout, window, worker,
    zygote
"""
VERBS = "admit, back off, drain, interrupt, kill, recall, refuse, sending ahead, shed"


def listed(words: str) -> list[str]:
    return " ".join(words.split()).split(", ")


def words_of_the_code() -> str:
    """Return all words of the core and the adapters in lower case; names are split at underscores and capitals."""
    files = [file for root in ("core", "adapters") for file in (ROOT / root).rglob("*.py")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return " ".join(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text))


CODE = words_of_the_code()


def test_the_glossary_has_every_noun_and_verb() -> None:
    """Each word that the code uses in a sense of its own has a row."""
    assert [word for word in listed(NOUNS) + listed(VERBS) if word not in WORDS] == []


def test_each_word_has_one_row() -> None:
    """One word, one meaning."""
    assert len(set(WORDS)) == len(WORDS)


@pytest.mark.parametrize("word", WORDS)
def test_each_word_is_used_in_the_code(word: str) -> None:
    """A word that has gone from the core and the adapters goes from the glossary too."""
    assert re.search(rf"\b{word}(?:s|es)?\b", CODE)
