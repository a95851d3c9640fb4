"""The times at which deliveries are sent."""

from __future__ import annotations

import itertools
import random

import pytest

from penstock_jobs.delivery_times import DELAYS, JITTER, next_sending

NOW = 1_800_000_000.0


def sendings(*, seconds: float, chance: float) -> list[float]:
    """Return the times of all sendings of a delivery that always fails after ``seconds``, from its event on."""
    times, now, sent = [0.0], NOW, 1
    while (following := next_sending(created_at=NOW, sent=sent, now=now + seconds, chance=chance)) is not None:
        times.append(following - NOW)
        now, sent = following, sent + 1
    return times


@pytest.mark.parametrize("seconds", [0.0, 0.2, 15.0])
@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_a_delivery_is_sent_ten_times_in_three_days(seconds: float, chance: float) -> None:
    """At once, then after 5 s, 5 min, 30 min and 2, 5, 10, 14, 20 and 24 h; jitter makes each delay longer."""
    times = sendings(seconds=seconds, chance=chance)
    delays = [later - earlier - seconds for earlier, later in itertools.pairwise(times)]
    assert delays == pytest.approx([delay * (1 + JITTER * chance) for delay in DELAYS[1:]], abs=1e-3)


def test_being_put_off_costs_no_step() -> None:
    """A delivery that was handed out forty times within ten minutes is sent for three days all the same."""
    following = next_sending(created_at=NOW, sent=40, now=NOW + 600, chance=0.0)
    assert following == NOW + 600 + 1800


def test_a_stop_of_the_server_costs_no_step() -> None:
    """The first sending may be a week after the event; the next one is five seconds later, and so on."""
    late = NOW + 7 * 86_400
    assert next_sending(created_at=NOW, sent=1, now=late, chance=0.0) == late + 5
    assert next_sending(created_at=NOW, sent=2, now=late, chance=0.0) == late + 300


def test_a_delivery_that_an_operator_sends_again_is_sent_once() -> None:
    """After all ten, and three days, there is no further one by itself."""
    assert next_sending(created_at=NOW, sent=11, now=NOW + 10 * 86_400, chance=0.0) is None


@pytest.mark.parametrize(("asked", "delay"), [(1.0, 300.0), (900.0, 900.0), (86_400.0, 3600.0), (None, 300.0)])
def test_retry_after_makes_a_delay_longer_up_to_an_hour(asked: float | None, delay: float) -> None:
    """A receiver that is overloaded is left alone; one that asks for an immediate return is not obeyed."""
    following = next_sending(created_at=NOW, sent=2, now=NOW + 10, chance=0.0, retry_after=asked)
    assert following == NOW + 10 + delay


def test_the_wall_clock_may_jump() -> None:
    """There is always a next time within a delay of the schedule, or none after the last."""
    dice = random.Random(1)
    for _ in range(2000):
        now = NOW + dice.uniform(-1e6, 1e6)
        following = next_sending(created_at=NOW, sent=dice.randrange(1, 30), now=now, chance=dice.random())
        assert following is None or now + 5 <= following <= now + DELAYS[-1] * (1 + JITTER)
