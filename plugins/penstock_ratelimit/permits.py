"""Limits on the number of concurrent requests of each caller."""

from __future__ import annotations

import base64
from threading import Lock

from penstock.hooks import JobAnswered


class Permits:
    """A fixed number of permits for each caller. They may be acquired in one thread and released in another.

    Parameters
    ----------
    limit:
        Concurrent requests of one caller.
    partition:
        The endpoint, if its requests are counted separately; or "".

    Attributes
    ----------
    policy:
        The item of this limit in ``RateLimit-Policy``.
    """

    def __init__(self, limit: int, partition: str = "") -> None:
        self.limit = limit
        self._held: dict[str, int] = {}
        self._lock = Lock()
        encoded = base64.b64encode(partition.encode()).decode()
        self._key = f";pk=:{encoded}:" if partition else ""
        self.policy = f'"concurrent";q={limit};qu="concurrent-requests"{self._key}'

    def __repr__(self) -> str:
        return f"<Permits {self.limit} each: {sum(self._held.values())} held by {len(self._held)}>"

    def acquire(self, caller: str) -> int | None:
        """Take a permit; return how many the caller has left, or None if none was left."""
        with self._lock:
            held = self._held.get(caller, 0)
            if held >= self.limit:
                return None
            self._held[caller] = held + 1
            return self.limit - held - 1

    def release(self, caller: str, _answered: JobAnswered | None = None) -> None:
        """Return a permit. A caller with no permits is forgotten: memory grows only with the requests in progress."""
        with self._lock:
            held = self._held[caller] - 1
            if held:
                self._held[caller] = held
            else:
                del self._held[caller]

    def item(self, remaining: int) -> str:
        """Return the item of this limit in ``RateLimit``."""
        return f'"concurrent";r={remaining}{self._key}'
