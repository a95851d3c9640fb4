"""Suggestions for misspelled names."""

from __future__ import annotations

import pytest

from penstock.suggestions import closest, did_you_mean, in_seconds, near_miss


def test_the_closest_name_is_found() -> None:
    """It is the most similar one, or None if none is similar enough."""
    assert closest("coutn", ["name", "count", "counts"]) == "count"
    assert closest("zzz", ["name", "count"]) is None
    assert closest("count", []) is None


def test_a_near_miss_is_a_suggestion_or_a_list() -> None:
    """Without a close name, all of them are listed in order."""
    assert near_miss("coutn", ["name", "count"]) == "did you mean count?"
    assert near_miss("zzz", ["name", "count"]) == "there are: count, name"
    assert near_miss("zzz", []) == "there are: none"


@pytest.mark.parametrize(
    ("candidates", "hint"),
    [
        (["application", "other"], ""),
        (["app", "other"], "; did you mean 'app'?"),
        (["other"], "; did you mean 'other'?"),
        ([], ""),
    ],
)
def test_a_single_candidate_is_always_suggested(candidates: list[str], hint: str) -> None:
    """Otherwise only a close one is."""
    assert did_you_mean("ap", candidates) == hint


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("30s", "; give seconds: 30"),
        ("1.5 min", "; give seconds: 90"),
        ("250ms", "; give seconds: 0.25"),
        ("30", ""),
        ("s", ""),
        (30, ""),
        (None, ""),
    ],
)
def test_a_time_with_a_unit_is_converted(value: object, advice: str) -> None:
    """Other systems take "30s"; the message says what to write here."""
    assert in_seconds(value) == advice
