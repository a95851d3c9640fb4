"""The counts of this process, as a storage of the ``limits`` library.

The library's own memory storage does not suit a server. It starts a thread every 10 ms that iterates over all callers:
with 100,000 of them it holds the interpreter half of the time, for 5 ms at a stretch. That thread also races with the
one that counts (a ``KeyError`` on stderr), and the number of callers is unbounded.

Here all work is done in the calling thread, in constant time: adding a caller removes up to two expired ones, and
beyond a limit the oldest one. One storage holds the counts of one rate, so its entries expire in the order in which
they were added.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from typing import Final, Generic, TypeVar

from limits.storage.base import MovingWindowSupport, SlidingWindowCounterSupport, Storage
from limits.strategies import FixedWindowRateLimiter

MAX_CALLERS: Final = 100_000
MAX_INSTANTS: Final = 1_000_000
REMOVED_PER_ADDITION: Final = 2


@dataclass(slots=True)
class FixedWindow:
    """The requests counted in a fixed window, and the instant at which it ends."""

    ends: float
    count: int = 0


@dataclass(slots=True)
class Instants:
    """The instants of the requests in a moving window, the oldest first."""

    ends: float
    items: deque[float]

    def drop_until(self, instant: float) -> int:
        """Remove the requests at or before that instant; return their number."""
        before = len(self.items)
        while self.items and self.items[0] <= instant:
            self.items.popleft()
        return before - len(self.items)


@dataclass(slots=True)
class WindowPair:
    """The requests counted in the window with this number, and in the one before."""

    ends: float
    number: int
    current: int = 0
    previous: int = 0


EntryT = TypeVar("EntryT", FixedWindow, Instants, WindowPair)


class CallerEntries(Generic[EntryT]):
    """One entry for each caller, in the order in which they expire."""

    def __init__(self) -> None:
        self.entries: OrderedDict[str, EntryT] = OrderedDict()

    def put(self, key: str, entry: EntryT, now: float) -> list[EntryT]:
        """Add an entry, the last to expire; return the entries that were replaced or removed."""
        gone = [self.entries.pop(key)] if key in self.entries else []
        entries = self.entries
        while entries and len(gone) < REMOVED_PER_ADDITION:
            oldest = next(iter(entries))
            if entries[oldest].ends > now and len(entries) < MAX_CALLERS:
                break
            gone.append(entries.pop(oldest))
        entries[key] = entry
        return gone


class LocalStorage(Storage, MovingWindowSupport, SlidingWindowCounterSupport):
    """Counts for one rate and one strategy. Not thread-safe.

    Parameters
    ----------
    clock:
        Returns the seconds of a monotonic clock: the time of day may be set back.
    """

    STORAGE_SCHEME = None  # the library does not select this storage by a URL

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: CallerEntries[FixedWindow] = CallerEntries()
        self._instants: CallerEntries[Instants] = CallerEntries()
        self._pairs: CallerEntries[WindowPair] = CallerEntries()
        self._instants_held = 0

    def __len__(self) -> int:
        return len(self._windows.entries) + len(self._instants.entries) + len(self._pairs.entries)

    # ---- fixed windows

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count requests, in a window that begins with the first of them; return the count."""
        window = self.window(key, expiry, self._clock())
        window.count += amount
        return window.count

    def window(self, key: str, expiry: float, now: float) -> FixedWindow:
        """Return the current window; begin one if the last has ended."""
        window = self._windows.entries.get(key)
        if window is None or window.ends <= now:
            window = FixedWindow(now + expiry)
            self._windows.put(key, window, now)
        return window

    def get(self, key: str) -> int:
        """Return the count of the current window."""
        window = self._windows.entries.get(key)
        return 0 if window is None or window.ends <= self._clock() else window.count

    def get_expiry(self, key: str) -> float:
        """Return the instant at which the window ends."""
        window = self._windows.entries.get(key)
        return self._clock() if window is None else window.ends

    # ---- moving windows

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count requests if the last ``expiry`` seconds have room for them; return whether they had."""
        now = self._clock()
        entry = self._instants.entries.get(key) or Instants(now, deque())
        self._instants_held -= entry.drop_until(now - expiry)
        if len(entry.items) + amount > limit:
            return False
        self._instants.entries.pop(key, None)
        entry.items.extend([now] * amount)
        entry.ends = now + expiry
        self._instants_held += amount
        for gone in self._instants.put(key, entry, now):
            self._instants_held -= len(gone.items)
        self._bound_instants()
        return True

    def _bound_instants(self) -> None:
        while self._instants_held > MAX_INSTANTS and len(self._instants.entries) > 1:
            _, gone = self._instants.entries.popitem(last=False)
            self._instants_held -= len(gone.items)

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:  # noqa: ARG002 - the library passes it
        """Return the instant of the oldest request that counts, and the number of those that count."""
        now = self._clock()
        entry = self._instants.entries.get(key)
        if entry is None:
            return now, 0
        self._instants_held -= entry.drop_until(now - expiry)
        return (entry.items[0], len(entry.items)) if entry.items else (now, 0)

    # ---- sliding windows

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count requests if this window and the remaining part of the one before leave room; return whether they do."""
        previous, previous_left, current, _ = self.get_sliding_window(key, expiry)
        if floor(previous * previous_left / expiry + current) + amount > limit:
            return False
        now = self._clock()
        number = int(now // expiry)
        pair = self._pairs.entries.get(key)
        if pair is None or pair.number != number:
            # A window still counts in part during the next one, so the entry expires after that.
            pair = WindowPair((number + 2) * float(expiry), number, previous=previous)
            self._pairs.put(key, pair, now)
        pair.current += amount
        return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return the count and the remaining seconds of the window before, and of this one."""
        number, elapsed = divmod(self._clock(), expiry)
        left = expiry - elapsed
        pair = self._pairs.entries.get(key)
        previous = current = 0
        if pair is not None and pair.number == number:
            previous, current = pair.previous, pair.current
        elif pair is not None and pair.number == number - 1:
            previous = pair.current
        return previous, left if previous else 0.0, current, left + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:  # noqa: ARG002 - the library passes it
        """Remove a caller."""
        self.clear(key)

    # ---- housekeeping that the library requires

    @property
    def base_exceptions(self) -> type[Exception]:
        """The exceptions that this storage raises; it raises none."""
        return ValueError

    def check(self) -> bool:
        """Return whether the storage works; it always does."""
        return True

    def clear(self, key: str) -> None:
        """Remove a caller."""
        self._windows.entries.pop(key, None)
        self._pairs.entries.pop(key, None)
        gone = self._instants.entries.pop(key, None)
        self._instants_held -= len(gone.items) if gone else 0

    def reset(self) -> int | None:
        """Remove all callers; return their number."""
        count = len(self)
        for callers in (self._windows, self._instants, self._pairs):
            callers.entries.clear()
        self._instants_held = 0
        return count


class LocalFixedWindows(FixedWindowRateLimiter):
    """The library's strategy on this storage, which counts a request and reads the result in one step."""

    storage: LocalStorage
