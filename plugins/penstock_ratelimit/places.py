"""How many requests of each caller are under way."""

from __future__ import annotations

import base64
from threading import Lock


class Places:
    """So many places for each caller. They may be taken in one thread and given back in another.

    Parameters
    ----------
    most:
        Requests of one caller at a time.
    partition:
        Where requests are counted apart, what they are counted for; or "".
    """

    def __init__(self, most: int, partition: str = "") -> None:
        self.most = most
        self._taken: dict[str, int] = {}
        self._lock = Lock()
        encoded = base64.b64encode(partition.encode()).decode()
        self._key = f";pk=:{encoded}:" if partition else ""
        self.policy = f'"concurrent";q={most};qu="concurrent-requests"{self._key}'

    def __repr__(self) -> str:
        return f"<Places {self.most} each: {sum(self._taken.values())} taken by {len(self._taken)}>"

    def take(self, caller: str) -> int | None:
        """Take one; returns how many the caller has left, or None if there was none."""
        with self._lock:
            taken = self._taken.get(caller, 0)
            if taken >= self.most:
                return None
            self._taken[caller] = taken + 1
            return self.most - taken - 1

    def give_back(self, caller: str) -> None:
        """Give one back. Who has none is forgotten, so that this grows with what is under way and no further."""
        with self._lock:
            taken = self._taken[caller] - 1
            if taken:
                self._taken[caller] = taken
            else:
                del self._taken[caller]

    def told(self, left: int) -> str:
        """Its part of ``RateLimit``."""
        return f'"concurrent";r={left}{self._key}'
