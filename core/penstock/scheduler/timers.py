"""Many deadlines in one heap.

Nearly every timer is cancelled or moved before it is due: a job is answered long before its timeout. So nothing is ever
removed from the middle of the heap. Moving a timer later only writes ``due``; an entry that comes up before its owner
is due is pushed again. Cancelling a timer, or moving it earlier, empties its entry, so that the heap does not keep an
answered job (and its body) alive. When many entries may be empty, the heap is rebuilt, at an amortized cost of O(1) for
each entry ever pushed. (Lazy deletion, as in asyncio's own timers.)
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, ClassVar

NEVER = math.inf
_SMALL = 512  # a heap of this many entries is not worth rebuilding

_Entry = list[Any]  # [when it comes up, tie-breaker, its owner or None]: a list, because it is emptied in place


class Timed:
    """The base class of everything that can own a timer.

    ``timer_kind`` selects the handler that the scheduler calls when the timer is due; subclasses inherit it.
    """

    __slots__ = ("due", "entry")

    timer_kind: ClassVar[str]

    def __init__(self) -> None:
        self.due: float = NEVER  # when the owner is called; may be moved later without notifying the heap
        self.entry: _Entry | None = None  # the owner's one entry in the heap; only Timers writes it

    @property
    def armed(self) -> float:
        """The instant at which the heap next looks at this owner: never later than ``due`` while a call is wanted."""
        return NEVER if self.entry is None else float(self.entry[0])


class Timers:
    """The heap."""

    __slots__ = ("_limit", "_tie", "heap")

    def __init__(self) -> None:
        self.heap: list[_Entry] = []
        self._tie = count()
        self._limit = _SMALL

    def __len__(self) -> int:
        """Return the number of entries in the heap, empty ones included."""
        return len(self.heap)

    def arm(self, owner: Timed, when: float) -> None:
        """Call ``owner`` at ``when``, instead of at any earlier appointment."""
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
        """Do not call ``owner``, and drop the reference to it."""
        owner.due = NEVER
        entry = owner.entry
        if entry is not None:
            entry[2] = owner.entry = None

    def next(self) -> float:
        """Return the instant at which ``pop_due`` may return an owner; ``NEVER`` if nothing is armed."""
        heap = self.heap
        while heap:
            entry = heap[0]
            if entry[2] is not None:
                return entry[0]  # type: ignore[no-any-return]
            heappop(heap)
        return NEVER

    def pop_due(self, now: float) -> Timed | None:
        """Return the next owner that is due, disarmed, or None."""
        heap = self.heap
        while heap and heap[0][0] <= now:
            owner: Timed | None = heappop(heap)[2]
            if owner is None:
                continue
            owner.entry = None
            if owner.due <= now:
                owner.due = NEVER
                return owner
            self.arm(owner, owner.due)  # it was moved later after the entry was made
        return None

    def _rebuild(self) -> None:
        self.heap = [entry for entry in self.heap if entry[2] is not None]
        heapify(self.heap)
        self._limit = max(_SMALL, 2 * len(self.heap))
