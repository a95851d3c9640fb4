"""The calls that other requests of the same caller can cancel, by a key that the dialect knows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from penstock_falcon.hangups import AnyCall

CallKey: TypeAlias = tuple[str, str | None, str]
"""The name of the dialect, that of the caller if the authenticator has identified it, and the dialect's own key."""


class CancellableCalls:
    """The running calls of this process that have a key. Used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[CallKey, list[AnyCall]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, key: CallKey, call: AnyCall) -> Callable[[], None]:
        """Add a call, and return the function that removes it once it needs no cancellation any more."""
        with self._lock:
            self._calls.setdefault(key, []).append(call)
        return partial(self._remove, key, call)

    def _remove(self, key: CallKey, call: AnyCall) -> None:
        with self._lock:
            left = [other for other in self._calls.get(key, ()) if other is not call]
            if left:
                self._calls[key] = left
            else:
                self._calls.pop(key, None)

    def cancel(self, key: CallKey, reason: str) -> None:
        """Cancel the calls with this key, if there are any."""
        with self._lock:
            calls = list(self._calls.get(key, ()))
        for call in calls:  # without the lock: the call may end here and now, and be removed
            call.cancel(reason)
