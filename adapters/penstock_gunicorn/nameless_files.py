"""Files without a name, which the master shares with the processes that it forks."""

from __future__ import annotations

import os
import sys
import tempfile


def open_nameless(label: str) -> int:
    """Return the descriptor of a new file, in memory where there are such files; ``label`` is for those who look."""
    if sys.platform == "linux":
        return os.memfd_create(label)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
