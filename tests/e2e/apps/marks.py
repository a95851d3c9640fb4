"""Marks, by which handlers report to the tests: files in a folder that both know."""

from __future__ import annotations

import os
import time
from pathlib import Path

FOLDER_VARIABLE = "TEST_MARKS_FOLDER"
LONGEST_WAIT_SECONDS = 20.0


def folder() -> Path:
    return Path(os.environ[FOLDER_VARIABLE])


def mark(name: str, text: str = "") -> None:
    """Write the mark atomically, so that a test that sees it may read it."""
    draft = folder() / f".{name}.{os.getpid()}"
    draft.write_text(text, encoding="utf-8")
    draft.rename(folder() / name)


def wait_for_marks(pattern: str, count: int = 1) -> None:
    """Return once ``count`` marks match the pattern: a barrier for handlers that must run side by side."""
    give_up_at = time.monotonic() + LONGEST_WAIT_SECONDS
    while len(list(folder().glob(pattern))) < count:
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{count} marks {pattern} did not appear")
        time.sleep(0.005)
