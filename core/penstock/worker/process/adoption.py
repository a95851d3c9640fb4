"""Forks whose child is not a child of the process that forks it, but of that one's parent, which outlives it.

Linux only: it takes a subreaper.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from typing import BinaryIO

from penstock.worker import forks

_NUMBER_BYTES = 8
_SECONDS_BETWEEN_LOOKS = 0.0002


def fork_adopted() -> int:
    """Fork a process that the subreaper above adopts. Return 0 in it, and its pid here.

    A process in between forks it, and ends at once; so it becomes the subreaper's, as every orphan does. The subreaper
    reaps it, and ``die_with_parent`` ends it with the subreaper, not with this process.

    Raises
    ------
    OSError
        If the kernel refuses the pipe, or a fork.
    """
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as answer, os.fdopen(writing, "wb", buffering=0) as asked:
        between = forks.fork_worker()
        if between == 0:
            _fork_and_leave(asked)
            return 0
        asked.close()
        number = int.from_bytes(answer.read(_NUMBER_BYTES), "big", signed=True)
        with suppress(ChildProcessError):  # user code may ignore SIGCHLD; the kernel has reaped it then
            os.waitpid(between, 0)
    if number <= 0:
        raise OSError(-number, os.strerror(-number))
    return number


def _fork_and_leave(asked: BinaryIO) -> None:
    """Fork, report the pid and end; return in the new process, as soon as it is adopted."""
    between = os.getpid()
    try:
        number = forks.fork_worker()
    except OSError as error:
        number = -(error.errno or errno.EAGAIN)
    if number != 0:
        with suppress(OSError):
            asked.write(number.to_bytes(_NUMBER_BYTES, "big", signed=True))
        os._exit(0)
    while os.getppid() == between:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
