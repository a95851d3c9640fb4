"""The results of sending webhooks, and the settlements that follow."""

from __future__ import annotations

import pytest

from penstock.job_store import JobDelivery
from penstock_jobs.postings import Posting, put_back, put_off, settlement_of

NOW = 1_800_000_000.0


def delivery(event: str = "succeeded", sent: int = 1) -> JobDelivery:
    return JobDelivery(
        id="j/2", job="j", seq=2, event=event, url="", created_at=NOW, next_at=NOW, sent=sent, status=502, error="e"
    )


@pytest.mark.parametrize(
    ("posting", "is_alive"),
    [
        (Posting(status=204), True),
        (Posting(status=404), True),
        (Posting(status=429), True),
        (Posting(status=500), False),
        (Posting(status=503), False),
        (Posting(error="no answer within 15 s"), False),
        (Posting(error="the message could not be made", is_sent=False), True),
    ],
)
def test_a_receiver_that_refuses_is_alive(posting: Posting, is_alive: bool) -> None:
    """A host has many receivers: one that refuses its messages does not stop those to the others."""
    assert posting.is_alive is is_alive


@pytest.mark.parametrize("status", [100, 304, 307, 400, 404, 429, 500, None])
def test_any_other_status_is_a_failure(status: int | None) -> None:
    """Only those from 200 to 299 mean that the receiver has it."""
    settlement = settlement_of(delivery(), Posting(status=status), now=NOW, chance=0.0)
    assert (settlement.is_delivered, settlement.next_at, settlement.status) == (False, NOW + 5, status)
    for good in (200, 202, 299):
        assert settlement_of(delivery(), Posting(status=good), now=NOW, chance=0.0).is_delivered


@pytest.mark.parametrize(
    ("event", "posting"),
    [
        ("succeeded", Posting(status=410)),
        ("succeeded", Posting(error="the job has been removed", is_pointless=True)),
        ("progress", Posting(status=500)),
    ],
)
def test_some_failures_are_final(event: str, posting: Posting) -> None:
    """The receiver is gone, the job is, or the next report of progress takes the place of this one."""
    assert settlement_of(delivery(event), posting, now=NOW, chance=0.0).next_at is None


def test_a_delivery_that_is_put_off_keeps_its_last_result() -> None:
    """It was not sent. A report of progress is dropped instead."""
    assert put_off(delivery(), NOW + 30).status == 502
    assert put_off(delivery(), NOW + 30).next_at == NOW + 30
    assert put_off(delivery("progress"), NOW + 30).next_at is None
    assert put_back(delivery(), NOW).error == "e"
