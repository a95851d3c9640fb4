"""The deliveries that a sender holds, by receiver, so that a slow or dead one delays no other. Pure: no clock, no dice.

Each host and port has a lane: a few deliveries on their way, a few that wait, and a breaker. A delivery that finds no
place is put off, back in the store, and makes room for one to another receiver.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from penstock.job_store import JobDelivery

MOST_HELD: Final = 1024
"""The number of deliveries that a sender holds at most."""
LEAST_WAITING: Final = 8
MOST_WAITING: Final = 256
"""The limits of the number of deliveries that may wait in one lane. Between them, as many as it sends in 10 seconds."""
CLEAR_SECONDS: Final = 10.0
FAILURES_TO_OPEN: Final = 5
"""The breaker opens when this many sendings in a row have found no living receiver."""
SHORTEST_PAUSE: Final = 30.0
LONGEST_PAUSE: Final = 600.0
LEAST_PUT_OFF: Final = 0.25
FIRST_PUT_OFF: Final = 1.0
"""The seconds for which deliveries are put off that find no place before the receiver has answered once."""
MOST_REMEMBERED: Final = 1024
"""The number of receivers without deliveries whose speed is remembered."""
_WEIGHT_OF_NEWEST: Final = 0.2


@dataclass
class LaneBreaker:
    """Keeps deliveries from a receiver that does not respond. After a pause, one is sent to see whether it does."""

    failures: int = 0
    pauses: int = 0
    """The number of pauses since the receiver last responded; each is twice as long as the one before."""
    open_until: float = 0.0
    is_probing: bool = False

    @property
    def is_closed(self) -> bool:
        """True if deliveries are sent."""
        return self.pauses == 0

    def allows(self, now: float) -> bool:
        """Return whether a delivery may be sent."""
        return self.is_closed or (now >= self.open_until and not self.is_probing)

    def begin(self) -> None:
        """Note that a delivery is being sent."""
        self.is_probing = not self.is_closed

    def end(self, now: float, *, is_alive: bool) -> None:
        """Note whether the receiver has responded."""
        if is_alive:
            self.failures, self.pauses, self.is_probing = 0, 0, False
            return
        self.failures += 1
        if self.is_probing or (self.is_closed and self.failures >= FAILURES_TO_OPEN):
            self.open_until = now + min(SHORTEST_PAUSE * 2.0**self.pauses, LONGEST_PAUSE)
            self.pauses += 1
            self.is_probing = False


@dataclass
class ReceiverLane:
    """The deliveries to one host and port."""

    waiting: deque[JobDelivery] = field(default_factory=deque)
    in_flight: int = 0
    breaker: LaneBreaker = field(default_factory=LaneBreaker)
    mean_seconds: float = 1.0
    """The usual duration of a sending; at first a guess, on the safe side."""
    is_measured: bool = False

    @property
    def is_idle(self) -> bool:
        """True if it has no deliveries."""
        return not self.waiting and not self.in_flight


class DeliveryLanes:
    """All lanes of one sender.

    Instants and durations are in seconds, on any clock that does not jump.

    Parameters
    ----------
    concurrency:
        The number of deliveries on their way at a time.
    per_lane:
        The same for each lane.
    """

    def __init__(self, *, concurrency: int = 64, per_lane: int = 4) -> None:
        self._concurrency = concurrency
        self._per_lane = per_lane
        self._lanes: dict[str, ReceiverLane] = {}
        self._idle: dict[str, ReceiverLane] = {}
        self.in_flight = 0

    def __repr__(self) -> str:
        held = self.in_flight + sum(len(lane.waiting) for lane in self._lanes.values())
        return f"<DeliveryLanes: {held} held, {self.in_flight} on their way, {len(self._lanes)} receivers>"

    @property
    def room(self) -> int:
        """The number of deliveries that can be added."""
        return MOST_HELD - self.in_flight - sum(len(lane.waiting) for lane in self._lanes.values())

    def add(self, name: str, delivery: JobDelivery, now: float) -> float | None:
        """Add a delivery to a lane; return None, or the seconds for which it must be put off."""
        lane = self._lanes.get(name) or self._idle.get(name) or ReceiverLane()
        if not lane.breaker.allows(now):
            return max(lane.breaker.open_until - now, LEAST_PUT_OFF)
        if len(lane.waiting) >= self._most_waiting(lane):
            return self._seconds_to_clear(lane)
        self._idle.pop(name, None)
        self._lanes[name] = lane
        lane.waiting.append(delivery)
        return None

    def take(self, now: float) -> list[tuple[str, JobDelivery]]:
        """Return the deliveries to send now, with their lanes; the lanes take turns."""
        taken: list[tuple[str, JobDelivery]] = []
        is_progress = True
        while is_progress and self.in_flight < self._concurrency:
            is_progress = False
            for name, lane in list(self._lanes.items()):
                if self.in_flight < self._concurrency and self._may_send(lane, now):
                    taken.append((name, self._begin(lane)))
                    is_progress = True
                    # To the end: the next turn is another lane's.
                    self._lanes[name] = self._lanes.pop(name)
        return taken

    def end(self, name: str, now: float, *, seconds: float, is_alive: bool) -> list[tuple[JobDelivery, float]]:
        """Note that a sending has ended; return deliveries that must be put off, each with the seconds.

        Parameters
        ----------
        name:
            The lane.
        now:
            The current instant.
        seconds:
            The duration of the sending.
        is_alive:
            True if the receiver has responded, and not with an error of its own.
        """
        lane = self._lanes[name]
        lane.in_flight -= 1
        self.in_flight -= 1
        lane.is_measured = True
        lane.mean_seconds += _WEIGHT_OF_NEWEST * (seconds - lane.mean_seconds)
        lane.breaker.end(now, is_alive=is_alive)
        put_off = self._too_many(lane, now)
        if lane.is_idle:
            self._idle[name] = self._lanes.pop(name)
            if len(self._idle) > MOST_REMEMBERED:
                del self._idle[next(iter(self._idle))]
        return put_off

    def clear(self) -> list[JobDelivery]:
        """Return the deliveries that wait, and hold them no longer."""
        waiting = [delivery for lane in self._lanes.values() for delivery in lane.waiting]
        for lane in self._lanes.values():
            lane.waiting.clear()
        return waiting

    def _too_many(self, lane: ReceiverLane, now: float) -> list[tuple[JobDelivery, float]]:
        """Remove deliveries that wait from a lane whose breaker is open, or that has become slow."""
        keeps, seconds = self._most_waiting(lane), self._seconds_to_clear(lane)
        if not lane.breaker.allows(now):
            keeps, seconds = 0, max(lane.breaker.open_until - now, LEAST_PUT_OFF)
        return [(lane.waiting.pop(), seconds) for _ in range(len(lane.waiting) - keeps)]

    def _most_waiting(self, lane: ReceiverLane) -> int:
        number = self._per_lane * CLEAR_SECONDS / max(lane.mean_seconds, 0.001)
        return int(min(max(number, LEAST_WAITING), MOST_WAITING))

    def _seconds_to_clear(self, lane: ReceiverLane) -> float:
        if not lane.is_measured:
            return FIRST_PUT_OFF
        seconds = len(lane.waiting) * lane.mean_seconds / self._per_lane
        return min(max(seconds, LEAST_PUT_OFF), LONGEST_PAUSE)

    def _may_send(self, lane: ReceiverLane, now: float) -> bool:
        return bool(lane.waiting) and lane.in_flight < self._per_lane and lane.breaker.allows(now)

    def _begin(self, lane: ReceiverLane) -> JobDelivery:
        lane.breaker.begin()
        lane.in_flight += 1
        self.in_flight += 1
        return lane.waiting.popleft()
