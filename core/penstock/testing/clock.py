"""A clock for tests: it moves when it is told to."""

from __future__ import annotations


class MockClock:
    """Call it for the time, in seconds.

    Parameters
    ----------
    now:
        What it shows first.
    """

    __slots__ = ("now",)

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    def __repr__(self) -> str:
        return f"<MockClock at {self.now:g}>"

    def advance(self, seconds: float) -> None:
        """Let so much time pass.

        Raises
        ------
        ValueError
            For a negative number: a monotonic clock does not go back.
        """
        self.jump(self.now + seconds)

    def jump(self, instant: float) -> None:
        """Show this instant from now on.

        Raises
        ------
        ValueError
            If it lies in the past.
        """
        if not instant >= self.now:
            raise ValueError(f"a monotonic clock that shows {self.now:g} cannot be set to {instant:g}")
        self.now = instant
