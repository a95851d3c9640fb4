"""A wall clock that leaps, for whole processes while they run: by libfaketime."""

from __future__ import annotations

from pathlib import Path

import pytest

# In libfaketime, a sleep that is over before it has begun is an invalid argument.
SLEEP = """
import threading
import time

time.sleep = lambda seconds: threading.Event().wait(seconds) and None
"""
_FOUND = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
needs_moved_clock = pytest.mark.skipif(not _FOUND, reason="there is no libfaketime: apt-get install faketime")


class MovedClock:
    """The wall clock of the processes that are started with its environment; their monotonic clock is the real one.

    Parameters
    ----------
    folder:
        A folder for its file, which these processes can read.
    is_seen_at_once:
        False to have the file read once a second and not for each look at the clock, which makes Python slow.
    """

    def __init__(self, folder: Path, *, is_seen_at_once: bool = True) -> None:
        self._is_seen_at_once = is_seen_at_once
        self._file = folder / "clock"
        self._start_up = folder / "sitecustomize.py"
        self._start_up.write_text(SLEEP, encoding="ascii")
        self.move(0)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables."""
        named = {"FAKETIME_TIMESTAMP_FILE": str(self._file), "LD_PRELOAD": str(_FOUND[0])}
        named["PYTHONPATH"] = str(self._start_up.parent)
        named["FAKETIME_NO_CACHE" if self._is_seen_at_once else "FAKETIME_CACHE_DURATION"] = "1"
        # This switch has had two names.
        return named | dict.fromkeys(("DONT_FAKE_MONOTONIC", "FAKETIME_DONT_FAKE_MONOTONIC"), "1")

    def move(self, seconds: float) -> None:
        """Set the distance from the real time, ahead or back."""
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{seconds:+.0f}\n", encoding="ascii")
        draft.chmod(0o644)
        draft.replace(self._file)
