"""The memory of processes, as the kernel accounts for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.engine.processes import process_memory
from penstock.engine.processes.process_memory import UNKNOWN_BYTES, available_memory, memory_of

MEBIBYTE = 1 << 20
HOARDER = """
import os, sys
hoard = b"\\xff" * (48 << 20)  # shared with the child, which writes nothing to it
if os.fork() == 0:
    own = b"\\xfe" * (16 << 20)
    print("ready", flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@pytest.fixture(name="hoarder")
def _hoarder() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", HOARDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        assert process.stdin is not None
        process.stdin.close()


def test_children_count_and_shared_pages_count_once(hoarder: int) -> None:
    """A worker and the processes that it forks are measured together: 48 MiB that both have, and 16 of the child."""
    size = memory_of(hoarder)
    assert size is not None
    assert 64 * MEBIBYTE < size < 100 * MEBIBYTE


def test_a_process_that_is_gone_has_no_memory() -> None:
    """None, and no exception: it may end at any moment."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert memory_of(process.pid) is None


def test_the_available_memory_is_that_of_the_machine_or_less() -> None:
    """A number of bytes that is neither nothing nor everything."""
    assert MEBIBYTE < available_memory() < UNKNOWN_BYTES


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max\n", UNKNOWN_BYTES), ("1000\n", 1000 - 700 + 150), ("100\n", 0)],
)
def test_a_control_group_may_have_less(
    limit: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is its limit, less the memory in use; the file cache in it can be dropped. It is never negative."""
    files = {
        "/proc/self/cgroup": "0::/service\n",
        "/sys/fs/cgroup/service/memory.max": limit,
        "/sys/fs/cgroup/service/memory.current": "700\n",
        "/sys/fs/cgroup/service/memory.stat": "anon 550\ninactive_file 150\n",
    }

    def inside(path: str) -> Any:
        file = tmp_path / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        if path in files:
            file.write_text(files[path], encoding="ascii")
        return file

    for path in files:
        inside(path)
    monkeypatch.setattr(process_memory, "Path", inside)
    assert process_memory._left_in_group() == expected
