"""The lanes of a sender of webhooks: limits for each receiver, turns, and the breaker."""

from __future__ import annotations

import random

from penstock.job_store import JobDelivery
from penstock_jobs.delivery_lanes import (
    FAILURES_TO_OPEN,
    FIRST_PUT_OFF,
    LEAST_PUT_OFF,
    LEAST_WAITING,
    LONGEST_PAUSE,
    MOST_HELD,
    MOST_REMEMBERED,
    MOST_WAITING,
    SHORTEST_PAUSE,
    DeliveryLanes,
)


def delivery(number: int) -> JobDelivery:
    return JobDelivery(id=f"j{number}/2", job=f"j{number}", seq=2, event="failed", url="", created_at=0.0, next_at=0.0)


def fill(lanes: DeliveryLanes, name: str, number: int, now: float = 0.0) -> list[float | None]:
    return [lanes.add(name, delivery(index), now) for index in range(number)]


def fail(lanes: DeliveryLanes, name: str, number: int, now: float = 0.0) -> None:
    for _ in range(number):
        assert lanes.add(name, delivery(0), now) is None
        assert [lane for lane, _ in lanes.take(now)] == [name]
        lanes.end(name, now, seconds=1.0, is_alive=False)


def test_a_receiver_gets_four_at_once() -> None:
    """The others wait, and the next one goes when one has ended."""
    lanes = DeliveryLanes(concurrency=64, per_lane=4)
    fill(lanes, "a", 6)
    assert len(lanes.take(0.0)) == 4
    assert lanes.take(0.0) == []
    lanes.end("a", 1.0, seconds=1.0, is_alive=True)
    assert len(lanes.take(1.0)) == 1


def test_receivers_take_turns() -> None:
    """Where the sender's own limit is reached, each receiver has its share."""
    lanes = DeliveryLanes(concurrency=6, per_lane=4)
    fill(lanes, "a", 30)
    fill(lanes, "b", 30)
    fill(lanes, "c", 1)
    assert sorted(lane for lane, _ in lanes.take(0.0)) == ["a", "a", "a", "b", "b", "c"]


def test_a_slow_receiver_fills_its_own_lane_only() -> None:
    """A delivery that finds no place is put off, and makes room for those of others."""
    lanes = DeliveryLanes(concurrency=64, per_lane=4)
    seconds = fill(lanes, "slow", 50)
    assert seconds == [None] * 40 + [FIRST_PUT_OFF] * 10  # one second each, until the receiver has answered
    assert lanes.add("other", delivery(0), 0.0) is None
    assert lanes.room == MOST_HELD - 41


def test_a_lane_is_as_long_as_its_receiver_is_fast() -> None:
    """It holds what is sent within ten seconds; of one that becomes slow, the newest are put off."""
    lanes = DeliveryLanes(concurrency=64, per_lane=4)
    for _ in range(40):
        fill(lanes, "a", 1)
        lanes.take(0.0)
        assert lanes.end("a", 0.0, seconds=0.005, is_alive=True) == []
    late = fill(lanes, "a", MOST_WAITING + 1)[-1]
    assert late is not None
    assert LEAST_PUT_OFF <= late < FIRST_PUT_OFF
    put_off = []
    for _ in range(12):
        lanes.take(0.0)
        put_off += lanes.end("a", 0.0, seconds=15.0, is_alive=True)
    assert lanes.room >= MOST_HELD - LEAST_WAITING - 4
    assert len(put_off) > MOST_WAITING - 40


def test_a_dead_receiver_is_left_alone() -> None:
    """After five failures in a row, what waits and what comes is put off for thirty seconds."""
    lanes = DeliveryLanes()
    fail(lanes, "dead", FAILURES_TO_OPEN - 1)
    fill(lanes, "dead", 3)
    lanes.take(0.0)
    put_off = lanes.end("dead", 0.0, seconds=1.0, is_alive=False)
    assert put_off == []  # the three are on their way
    assert fill(lanes, "dead", 2, now=10.0) == [SHORTEST_PAUSE - 10] * 2
    assert fill(lanes, "other", 1) == [None]


def test_deliveries_that_wait_when_the_breaker_opens_are_put_off() -> None:
    """They make room for others."""
    lanes = DeliveryLanes(per_lane=1)
    fill(lanes, "dead", FAILURES_TO_OPEN + 2)
    for _ in range(FAILURES_TO_OPEN - 1):
        lanes.take(0.0)
        assert lanes.end("dead", 0.0, seconds=1.0, is_alive=False) == []
    lanes.take(0.0)
    put_off = lanes.end("dead", 0.0, seconds=1.0, is_alive=False)
    assert [seconds for _, seconds in put_off] == [SHORTEST_PAUSE] * 2
    assert lanes.room == MOST_HELD


def test_one_delivery_is_the_probe() -> None:
    """After the pause one is sent; if it fails, the next pause is twice as long, up to ten minutes."""
    lanes, now = DeliveryLanes(), 0.0
    fail(lanes, "dead", FAILURES_TO_OPEN)
    for pause in (30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0):
        assert fill(lanes, "dead", 1, now=now + pause - 2) == [2.0]
        now += pause
        fill(lanes, "dead", 4, now=now)
        assert len(lanes.take(now)) == 1
        assert len(lanes.end("dead", now, seconds=1.0, is_alive=False)) == 3


def test_a_receiver_that_answers_again_gets_everything_again() -> None:
    """One answer closes the breaker."""
    lanes = DeliveryLanes()
    fail(lanes, "dead", FAILURES_TO_OPEN)
    fill(lanes, "dead", 5, now=31.0)
    lanes.take(31.0)
    assert lanes.end("dead", 31.0, seconds=1.0, is_alive=True) == []
    assert len(lanes.take(31.0)) == 4


def test_a_receiver_without_deliveries_is_remembered_for_a_while() -> None:
    """A breaker stays open, and a fast receiver fast; a million receivers, one after the other, take no memory."""
    lanes = DeliveryLanes()
    fail(lanes, "dead", FAILURES_TO_OPEN)
    for number in range(MOST_REMEMBERED + 1):
        assert (fill(lanes, "dead", 1) == [None]) == (number == MOST_REMEMBERED)
        lanes.clear()
        fill(lanes, f"host{number}", 1)
        lanes.take(0.0)
        lanes.end(f"host{number}", 0.0, seconds=1.0, is_alive=True)
    assert len(lanes._idle) <= MOST_REMEMBERED


def test_no_limit_is_ever_exceeded() -> None:
    """In random use: per receiver, in total and held; nothing is lost or sent twice."""
    dice = random.Random(1)
    lanes, now = DeliveryLanes(concurrency=10, per_lane=3), 0.0
    flying: list[tuple[str, JobDelivery]] = []
    held: set[str] = set()
    for number in range(20_000):
        now += dice.random() * 3
        if dice.random() < 0.6 and lanes.room:
            if lanes.add(name := f"host{dice.randrange(8)}", new := delivery(number), now) is None:
                held.add(new.id)
        elif flying:
            name, old = flying.pop(dice.randrange(len(flying)))
            held.remove(old.id)
            alive = dice.random() < (0.1 if name in ("host0", "host1") else 0.9)
            for gone, seconds in lanes.end(name, now, seconds=dice.random() * 15, is_alive=alive):
                held.remove(gone.id)
                assert 0 < seconds <= LONGEST_PAUSE
        flying += lanes.take(now)
        names = [name for name, _ in flying]
        assert len(flying) == lanes.in_flight <= 10
        assert all(names.count(name) <= 3 for name in names)
        assert lanes.room == MOST_HELD - len(held)
        assert {old.id for _, old in flying} <= held
