"""A lease on the engine's own clock."""

from __future__ import annotations

from penstock_jobs.lease_watch import LeaseWatch


def test_a_lease_that_was_never_renewed_is_lost() -> None:
    """Nothing may be claimed either."""
    lease = LeaseWatch(30)
    assert lease.is_lost(0)
    assert not lease.may_claim(0)


def test_nothing_is_claimed_after_half_a_lease() -> None:
    """And all is lost after a whole one."""
    lease = LeaseWatch(30)
    lease.renew(100)
    assert lease.may_claim(115)
    assert not lease.may_claim(115.1)
    assert not lease.is_lost(129.9)
    assert lease.is_lost(130)


def test_an_answer_that_comes_late_renews_nothing() -> None:
    """The lease counts from when the sign of life was sent, and the latest one counts."""
    lease = LeaseWatch(30)
    lease.renew(120)
    lease.renew(100)
    assert not lease.is_lost(149)
    lease.end()
    assert lease.is_lost(121)


def test_six_beats_are_sent_in_a_lease() -> None:
    """They are sent even if the store does not answer."""
    lease = LeaseWatch(30)
    assert [now for now in range(31) if lease.is_beat_due(now)] == [0, 5, 10, 15, 20, 25, 30]
