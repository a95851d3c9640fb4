"""Who stands in which worker's line, as an outsider must take it to be from what was sent and what was said."""

from __future__ import annotations

from collections import defaultdict

from penstock.scheduler import Attempt


class SentAhead:
    """Keeps, for each worker, the attempts that it was sent and has not ended. The first of a line is begun."""

    def __init__(self) -> None:
        self._sent: dict[int, list[Attempt]] = defaultdict(list)
        self._started: dict[int, int] = {}  # the last attempt that the worker has told of, when its line was recalled
        self._named: defaultdict[int, int] = defaultdict(int)  # the last attempt that the worker was told of
        self._recalled: set[int] = set()  # attempts that are never to begin any more

    def add(self, worker: int, attempt: Attempt) -> bool:
        """It was sent; return whether it stands in line."""
        held = self._sent[worker]
        held.append(attempt)
        return len(held) > 1 and attempt.lane.runs_in_turn

    def end(self, attempt_id: int) -> Attempt | None:
        """It has ended; return the one whose turn that makes it, if there is one."""
        for held in self._sent.values():
            for attempt in held:
                if attempt.id == attempt_id:
                    held.remove(attempt)
                    return held[0] if held and held[0].lane.runs_in_turn else None
        return None

    def recall(self, worker: int, up_to: int, started: int) -> list[Attempt] | None:
        """The worker begins nothing up to ``up_to`` any more; return what is ours again, None if that is not the last.

        It is the last if nothing later is on its way to the worker, and the worker has not been told as much already.
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
        """The worker is gone; return what stood in its line."""
        held = self._sent.pop(worker, [])
        return [attempt for attempt in held[1:] if attempt.lane.runs_in_turn]

    def may_begin(self, worker: int, attempt: Attempt, *, is_wanted: bool) -> bool:
        """Whether the worker may begin it: not what it has given back, nor what nobody has waited for in the line."""
        if attempt.id in self._recalled:
            return False
        is_waiting = attempt in self._sent[worker][1:] and attempt.lane.runs_in_turn
        return not is_waiting or is_wanted or attempt.id <= self._started.get(worker, 0)
