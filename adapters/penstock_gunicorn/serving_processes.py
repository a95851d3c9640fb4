"""The processes that still have requests to serve, among those that share the listening sockets.

Each holds a lock on one file, which the kernel releases when the process dies, however it dies.
"""

from __future__ import annotations

import fcntl
from typing import Final

from penstock_gunicorn.nameless_files import open_nameless

_NAME: Final = "penstock-serving"


class ServingProcesses:
    """The processes, as each of them sees the others. Created by the master, before it forks the first of them."""

    def __init__(self) -> None:
        self._descriptor = open_nameless(_NAME)

    def join(self) -> None:
        """Count this process among them."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_SH)

    def leave(self) -> bool:
        """Count this process no more, and return whether no other one is left."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        return True
