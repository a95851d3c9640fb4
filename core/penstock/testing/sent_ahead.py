"""The workers' lines, as an outside observer derives them from the commands and events alone."""

from __future__ import annotations

from collections import defaultdict

from penstock.scheduler import Attempt


class SentAhead:
    """For each worker, the attempts that it was sent and has not ended. The first has begun; the others may wait."""

    def __init__(self) -> None:
        self._sent: dict[int, list[Attempt]] = defaultdict(list)
        self._started: dict[int, int] = {}  # the last attempt begun, as the worker reported at a recall
        self._named: defaultdict[int, int] = defaultdict(int)  # the last attempt named in a recall to the worker
        self._recalled: set[int] = set()  # attempts that must not begin any more

    def add(self, worker: int, attempt: Attempt) -> bool:
        """Record that an attempt was sent; return whether it waits in the worker's line."""
        held = self._sent[worker]
        held.append(attempt)
        return len(held) > 1 and attempt.lane.runs_in_turn

    def end(self, attempt_id: int) -> Attempt | None:
        """Record that an attempt has ended; return the attempt whose turn it is now, if any."""
        for held in self._sent.values():
            for attempt in held:
                if attempt.id == attempt_id:
                    held.remove(attempt)
                    return held[0] if held and held[0].lane.runs_in_turn else None
        return None

    def recall(self, worker: int, up_to: int, started: int) -> list[Attempt] | None:
        """Record a recall of the attempts up to ``up_to``, of which the worker has begun those up to ``started``.

        Return the attempts that belong to the scheduler again; or None if the recall is wrong. A recall must name the
        last attempt sent to the worker, and must name a later one than the previous recall did.
        """
        if up_to <= self._named[worker]:
            return None
        self._named[worker] = up_to
        held = self._sent[worker]
        back = [attempt for attempt in held[1:] if attempt.id > started]
        if any(attempt.id > up_to for attempt in back):
            return None
        self._sent[worker] = [attempt for attempt in held if attempt not in back]
        self._started[worker] = started
        self._recalled.update(attempt.id for attempt in back)
        return back

    def lose(self, worker: int) -> list[Attempt]:
        """Forget a worker that is gone; return the attempts that waited in its line."""
        held = self._sent.pop(worker, [])
        return [attempt for attempt in held[1:] if attempt.lane.runs_in_turn]

    def may_begin(self, worker: int, attempt: Attempt, *, is_wanted: bool) -> bool:
        """Return whether the worker may begin the attempt.

        It may not if it has given the attempt back, or if the attempt lost its last caller while it waited in the line.
        """
        if attempt.id in self._recalled:
            return False
        is_waiting = attempt in self._sent[worker][1:] and attempt.lane.runs_in_turn
        return not is_waiting or is_wanted or attempt.id <= self._started.get(worker, 0)
