"""The stop signals of a server that has not yet begun to listen to them."""

from __future__ import annotations

import os
import signal
from types import FrameType


def die_of_stop_signals() -> None:
    """Let SIGTERM and SIGINT end PID 1 as they end any other process, until gunicorn takes them over.

    The kernel drops a signal for which PID 1 has no handler. While the server is imported, which takes a second on a
    busy machine, a container would not notice that it is to stop, and would be killed at the end of its grace period.
    """
    if os.getpid() == 1:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    # Not sys.exit(): SystemExit would be raised inside an import, which may catch it.
    os._exit(128 + number)
