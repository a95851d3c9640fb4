"""The context of a job: what its handler may report."""

from __future__ import annotations

import math
from typing import Any

import pytest

from penstock import Context


def reported(*arguments: Any, **options: Any) -> list[Any]:
    calls: list[Any] = []
    Context(report=lambda *report: calls.append(report)).progress(*arguments, **options)
    return calls


def test_a_report_has_amounts_and_a_message() -> None:
    """Numbers are passed on as floats, and what is not known as None."""
    assert reported(3) == [(3.0, None, None)]
    assert reported(0.5, total=1, message="half") == [(0.5, 1.0, "half")]


def test_a_long_message_is_cut() -> None:
    """Its first 500 characters are kept."""
    assert reported(1, message="x" * 600) == [(1.0, None, "x" * 500)]


@pytest.mark.parametrize("amount", [-1, math.nan, math.inf, 1e16])
@pytest.mark.parametrize("name", ["done", "total"])
def test_an_amount_is_not_negative_and_not_infinite(name: str, amount: float) -> None:
    """The error names the argument and what to give, whether anything listens or not."""
    with pytest.raises(ValueError, match=rf"progress\({name}=.*give a number from 0 to"):
        Context().progress(**{"done": 1, name: amount})


@pytest.mark.parametrize("amount", ["many", [1]])
def test_an_amount_is_a_number(amount: Any) -> None:
    """Anything else is refused with its name."""
    with pytest.raises(TypeError, match=r"progress\(done=.*give a number"):
        Context().progress(amount)


def test_a_message_is_a_text() -> None:
    """Bytes are refused."""
    with pytest.raises(TypeError, match="give a text"):
        Context().progress(1, message=b"half")  # type: ignore[arg-type]


def test_without_a_listener_a_report_costs_no_more_than_its_check() -> None:
    """A context that a test makes needs no engine."""
    Context().progress(1, 2, "half")
