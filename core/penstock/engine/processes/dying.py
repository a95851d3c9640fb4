"""The state of a process that is not a child of this one, and the signs that it is dying.

A large process frees its memory before it can be seen to have ended.
"""

from __future__ import annotations

import select
import signal
from pathlib import Path
from typing import Final

# Positions in /proc/PID/stat after the name of the program, see proc_pid_stat(5): its state, flags, pending signals.
_STATE: Final = 0
_FLAGS: Final = 6
_PENDING: Final = 28
_PF_EXITING: Final = 0x4
_PF_SIGNALED: Final = 0x400
_SIGKILL: Final = 1 << (signal.SIGKILL - 1)


def is_dying(pid: int, pidfd: int) -> bool:
    """Return whether the process has ended, or is about to: it is exiting, or has a SIGKILL pending.

    Linux only; elsewhere, where ``pidfd`` is -1, an end is not noticed before the parent reports it.
    """
    if pidfd >= 0 and _has_ended(pidfd):
        return True
    fields = _stat_fields(pid)
    if not fields:
        return False
    if fields[_STATE] in (b"Z", b"X"):
        return True
    return bool(int(fields[_FLAGS]) & (_PF_EXITING | _PF_SIGNALED) or int(fields[_PENDING]) & _SIGKILL)


def state_of(pid: int) -> str:
    """Return the state as in ``/proc/PID/stat``, such as T for stopped and Z for ended; "" if it is unknown."""
    fields = _stat_fields(pid)
    return fields[_STATE].decode() if fields else ""


def _stat_fields(pid: int) -> list[bytes]:
    """Return the fields after the name of the program, which may hold anything; none if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
