"""The counts of this process, as a storage of the ``limits`` library.

The library has one of its own, and it does not suit a server. It starts a thread every 10 ms, which walks through all
callers there are: with 100,000 of them it holds the interpreter half of the time, for 5 ms at a stretch. That thread
also races with the one that counts (a ``KeyError`` on stderr), and nothing bounds the number of callers.

Here everything happens in the thread that asks, in constant time: whoever comes anew clears away two whose time is
over, and beyond a limit the oldest is forgotten. One storage holds the counts of one rate, so that its entries are
over in the order in which they were made.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from typing import Final, Generic, TypeVar

from limits import RateLimitItem
from limits.storage.base import MovingWindowSupport, SlidingWindowCounterSupport, Storage
from limits.strategies import FixedWindowRateLimiter

MOST_CALLERS: Final = 100_000
MOST_INSTANTS: Final = 1_000_000
CLEARED_AT_ONCE: Final = 2


@dataclass(slots=True)
class Window:
    """A fixed window: how many have come, and when it is over."""

    ends: float
    count: int = 0


@dataclass(slots=True)
class Instants:
    """When each request of a moving window came, the oldest first."""

    ends: float
    items: deque[float]

    def drop_until(self, instant: float) -> int:
        """Forget those that came then or before; returns how many."""
        before = len(self.items)
        while self.items and self.items[0] <= instant:
            self.items.popleft()
        return before - len(self.items)


@dataclass(slots=True)
class Pair:
    """How many came in the window of this number, and in the one before."""

    ends: float
    number: int
    current: int = 0
    previous: int = 0


EntryT = TypeVar("EntryT", Window, Instants, Pair)


class Callers(Generic[EntryT]):
    """What is remembered of each caller, those first whose time is over first."""

    def __init__(self) -> None:
        self.entries: OrderedDict[str, EntryT] = OrderedDict()

    def put(self, key: str, entry: EntryT, now: float) -> list[EntryT]:
        """Remember an entry, as the last to be over; returns what had to go for it."""
        gone = [self.entries.pop(key)] if key in self.entries else []
        entries = self.entries
        while entries and len(gone) < CLEARED_AT_ONCE:
            oldest = next(iter(entries))
            if entries[oldest].ends > now and len(entries) < MOST_CALLERS:
                break
            gone.append(entries.pop(oldest))
        entries[key] = entry
        return gone


class LocalStorage(Storage, MovingWindowSupport, SlidingWindowCounterSupport):
    """Counts for one rate and one strategy. Not to be called from several threads.

    Parameters
    ----------
    clock:
        Tells the time in seconds. Not the time of day, which may be set back.
    """

    STORAGE_SCHEME = None  # nobody finds it by a URL

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: Callers[Window] = Callers()
        self._instants: Callers[Instants] = Callers()
        self._pairs: Callers[Pair] = Callers()
        self._instants_held = 0

    def __len__(self) -> int:
        return len(self._windows.entries) + len(self._instants.entries) + len(self._pairs.entries)

    # ---- fixed windows

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count, in a window that begins with its first request."""
        window = self.window(key, expiry, self._clock())
        window.count += amount
        return window.count

    def window(self, key: str, expiry: float, now: float) -> Window:
        """The window that is open now."""
        window = self._windows.entries.get(key)
        if window is None or window.ends <= now:
            window = Window(now + expiry)
            self._windows.put(key, window, now)
        return window

    def get(self, key: str) -> int:
        """How many there have been."""
        window = self._windows.entries.get(key)
        return 0 if window is None or window.ends <= self._clock() else window.count

    def get_expiry(self, key: str) -> float:
        """When the window is over."""
        window = self._windows.entries.get(key)
        return self._clock() if window is None else window.ends

    # ---- moving windows

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count, if there is room among those of the last ``expiry`` seconds."""
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
        while self._instants_held > MOST_INSTANTS and len(self._instants.entries) > 1:
            _, gone = self._instants.entries.popitem(last=False)
            self._instants_held -= len(gone.items)

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:  # noqa: ARG002 - of the library's
        """When the oldest that counts came, and how many count."""
        now = self._clock()
        entry = self._instants.entries.get(key)
        if entry is None:
            return now, 0
        self._instants_held -= entry.drop_until(now - expiry)
        return (entry.items[0], len(entry.items)) if entry.items else (now, 0)

    # ---- sliding windows

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count, if this window and what still counts of the one before leave room."""
        previous, previous_left, current, _ = self.get_sliding_window(key, expiry)
        if floor(previous * previous_left / expiry + current) + amount > limit:
            return False
        now = self._clock()
        number = int(now // expiry)
        pair = self._pairs.entries.get(key)
        if pair is None or pair.number != number:
            # While its successor lasts, a window counts in part; so an entry is over after that.
            pair = Pair((number + 2) * float(expiry), number, previous=previous)
            self._pairs.put(key, pair, now)
        pair.current += amount
        return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Count and remaining seconds of the window before, and of this one."""
        number, elapsed = divmod(self._clock(), expiry)
        left = expiry - elapsed
        pair = self._pairs.entries.get(key)
        previous = current = 0
        if pair is not None and pair.number == number:
            previous, current = pair.previous, pair.current
        elif pair is not None and pair.number == number - 1:
            previous = pair.current
        return previous, left if previous else 0.0, current, left + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:  # noqa: ARG002 - of the library's
        """Forget a caller."""
        self.clear(key)

    # ---- housekeeping that the library asks for

    @property
    def base_exceptions(self) -> type[Exception]:
        """What it raises: nothing."""
        return ValueError

    def check(self) -> bool:
        """Whether it works."""
        return True

    def clear(self, key: str) -> None:
        """Forget a caller."""
        self._windows.entries.pop(key, None)
        self._pairs.entries.pop(key, None)
        gone = self._instants.entries.pop(key, None)
        self._instants_held -= len(gone.items) if gone else 0

    def reset(self) -> int | None:
        """Forget all."""
        count = len(self)
        for callers in (self._windows, self._instants, self._pairs):
            callers.entries.clear()
        self._instants_held = 0
        return count


class LocalFixedWindows(FixedWindowRateLimiter):
    """The library's strategy on this storage, for which one look is enough to count and to tell what is left."""

    storage: LocalStorage

    def hit_and_look(self, item: RateLimitItem, caller: str, now: float) -> tuple[bool, float, int]:
        """Count a request; returns whether it may pass, when the window is over, and what is left in it."""
        window = self.storage.window(item.key_for(caller), item.get_expiry(), now)
        window.count += 1
        left = item.amount - window.count
        return left >= 0, window.ends, max(0, left)
