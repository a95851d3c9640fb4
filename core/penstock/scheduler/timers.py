"""Many deadlines, one heap.

Nearly every timer is cancelled or moved before it is due: a job is answered long before its time-out. So nothing is
ever taken out of the middle of the heap. Moving a timer later only writes ``due``, and an entry that comes up before
its owner is due is put back. Cancelling it, or moving it earlier, empties the entry, so that the heap keeps no answered
job (and its body) alive. When many entries may be empty, the heap is rebuilt, which costs O(1) for each entry that was
ever pushed. (Lazy deletion, as in asyncio's own timers.)
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

NEVER = math.inf
_SMALL = 512  # entries that are not worth a rebuild

_Entry = list[Any]  # [when it comes up, tie-breaker, its owner or None]: a list, because it is emptied in place


class Timed:
    """What can own a timer."""

    __slots__ = ("due", "entry")

    def __init__(self) -> None:
        self.due: float = NEVER  # when it is to be called; others may write a later instant without telling the heap
        self.entry: _Entry | None = None  # the one entry of the heap that stands for it; written by Timers only

    @property
    def armed(self) -> float:
        """When the heap will look at it next: never later than ``due`` while a call is wanted."""
        return NEVER if self.entry is None else float(self.entry[0])


class Timers:
    """The heap."""

    __slots__ = ("_limit", "_tie", "heap")

    def __init__(self) -> None:
        self.heap: list[_Entry] = []
        self._tie = count()
        self._limit = _SMALL

    def __len__(self) -> int:
        """How many entries the heap holds, empty ones included."""
        return len(self.heap)

    def arm(self, owner: Timed, when: float) -> None:
        """Call ``owner`` at ``when`` instead of at whatever it was."""
        owner.due = when
        entry = owner.entry
        if entry is not None:
            if entry[0] <= when:
                return
            entry[2] = None
        elif when == NEVER:
            return
        owner.entry = entry = [when, next(self._tie), owner]
        heap = self.heap
        heappush(heap, entry)
        if len(heap) > self._limit:
            self._rebuild()

    def disarm(self, owner: Timed) -> None:
        """Do not call ``owner``, and forget it."""
        owner.due = NEVER
        entry = owner.entry
        if entry is not None:
            entry[2] = owner.entry = None

    def next(self) -> float:
        """The instant at which ``pop_due`` may have something; ``NEVER`` if nothing is armed."""
        heap = self.heap
        while heap:
            entry = heap[0]
            if entry[2] is not None:
                return entry[0]  # type: ignore[no-any-return]
            heappop(heap)
        return NEVER

    def pop_due(self, now: float) -> Timed | None:
        """The next owner whose time has come, disarmed, or None."""
        heap = self.heap
        while heap and heap[0][0] <= now:
            owner: Timed | None = heappop(heap)[2]
            if owner is None:
                continue
            owner.entry = None
            if owner.due <= now:
                owner.due = NEVER
                return owner
            self.arm(owner, owner.due)  # it was moved later since the entry was made
        return None

    def _rebuild(self) -> None:
        self.heap = [entry for entry in self.heap if entry[2] is not None]
        heapify(self.heap)
        self._limit = max(_SMALL, 2 * len(self.heap))
