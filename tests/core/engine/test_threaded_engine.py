from __future__ import annotations

import fcntl
import os
import resource

import pytest

from penstock.engine.threaded_engine import is_readable

BEYOND_SELECT = 1500


def test_descriptors_beyond_the_reach_of_select_can_be_waited_for() -> None:
    """Waiting works in a process with more than a thousand open descriptors."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= BEYOND_SELECT:
        pytest.skip("this machine allows a process too few descriptors to show it")
    read, write = os.pipe()
    high = fcntl.fcntl(read, fcntl.F_DUPFD, BEYOND_SELECT)
    try:
        assert not is_readable(high, 0.0)
        os.write(write, b".")
        assert is_readable(high, None)
    finally:
        for fd in (read, write, high):
            os.close(fd)
