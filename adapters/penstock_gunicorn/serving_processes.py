"""The processes that still have requests to serve, among those that share the listening sockets.

Each holds a lock on one file, which the kernel releases when the process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from typing import Final

_NAME: Final = "penstock-serving"


class ServingProcesses:
    """The processes, as each of them sees the others. Created by the master, before it forks the first of them."""

    def __init__(self) -> None:
        if sys.platform == "linux":
            self._descriptor = os.memfd_create(_NAME)
        else:
            with tempfile.TemporaryFile() as file:
                self._descriptor = os.dup(file.fileno())

    def join(self) -> None:
        """Count this process among them."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_SH)

    def are_none_left(self) -> bool:
        """Count this process no more, and return whether no other one is left."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        return True
