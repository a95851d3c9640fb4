"""The published study of retries: its numbers can be reproduced, and its page says what they say."""

from __future__ import annotations

import sys

import pytest

from tests.serving import ROOT

sys.path.append(str(ROOT / "bench"))  # a folder of scripts that import each other by name

from retry_grid import BEGIN, CELLS, LENGTH, LOAD, PAGE, Key, as_csv, from_csv, grid, published, simulate
from retry_policies import POLICIES

STALE = "the plan or the scheduler decides otherwise than when the study was made: run `make study`, and read its page"


def test_the_page_is_what_the_numbers_say() -> None:
    """The tables are those that ``make study`` writes from the CSV, and the CSV has every scenario."""
    text = CELLS.read_text(encoding="utf-8")
    results = from_csv(text)
    assert list(results) == list(grid())
    assert as_csv(results) == text
    page = PAGE.read_text(encoding="utf-8")
    assert BEGIN in page
    assert published(page, results) == page, STALE


@pytest.mark.parametrize("server", ["fifo", "penstock"])
@pytest.mark.parametrize("policy", POLICIES)
def test_the_numbers_can_be_reproduced(server: str, policy: str) -> None:
    """A scenario of each policy on each server has the same results as in the CSV."""
    key = Key("grid", server, "silent", LENGTH, LOAD, policy)
    published_line = as_csv({key: from_csv(CELLS.read_text(encoding="utf-8"))[key]})
    assert as_csv({key: simulate(key)}) == published_line, STALE
