"""A clock for tests, which moves only on demand."""

from __future__ import annotations


class MockClock:
    """A monotonic clock that stands still until it is moved. Calling it returns the time in seconds.

    Parameters
    ----------
    now:
        The time that it shows at first.
    """

    __slots__ = ("now",)

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def __repr__(self) -> str:
        return f"<MockClock at {self.now:g}>"

    def advance(self, seconds: float) -> None:
        """Move the clock forward by ``seconds``.

        Raises
        ------
        ValueError
            If ``seconds`` is negative: a monotonic clock never goes back.
        """
        self.jump(self.now + seconds)

    def jump(self, instant: float) -> None:
        """Move the clock forward to ``instant``.

        Raises
        ------
        ValueError
            If ``instant`` is in the past.
        """
        if not instant >= self.now:
            raise ValueError(f"a monotonic clock cannot go back from {self.now:g} to {instant:g}")
        self.now = instant
