"""The memory of processes, and what the machine has left. It takes milliseconds for a large process: use a thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

UNKNOWN_BYTES: Final = 1 << 62
"""The available memory where it cannot be read: there is no reason to save it."""

_MOST_PROCESSES = 1000  # a bound, in case they multiply while they are counted


def memory_of(pid: int) -> int | None:
    """Return the proportional set size of a process and its descendants, in bytes; None if it cannot be read.

    Pages that several processes share count in part for each. If the kernel does not let this process read that, the
    resident set size takes its place.
    """
    total = _own_memory_of(pid)
    if total is None:
        return None
    return total + sum(_own_memory_of(child) or 0 for child in _descendants_of(pid))


def _own_memory_of(pid: int) -> int | None:
    for name, label in (("smaps_rollup", b"Pss:"), ("status", b"VmRSS:")):
        size = _kilobytes(Path(f"/proc/{pid}/{name}"), label)
        if size is not None:
            return size << 10
    return None


def _descendants_of(pid: int) -> Iterator[int]:
    parents = [pid]
    for _ in range(_MOST_PROCESSES):
        if not parents:
            return
        children = _children_of(parents.pop())
        yield from children
        parents += children


def _children_of(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (thread / "children").read_bytes().split())
    except OSError:  # it has ended, or the kernel has no such file
        pass
    return children


def available_memory() -> int:
    """Return the bytes that new processes can use: of the machine, or of the control group if it has less left."""
    size = _kilobytes(Path("/proc/meminfo"), b"MemAvailable:")
    return min(UNKNOWN_BYTES if size is None else size << 10, _left_in_group())


def _left_in_group() -> int:
    """Return what the control group (version 2) of this process may still use. Its file cache counts as free."""
    try:
        path = Path("/proc/self/cgroup").read_text("ascii").rpartition("0::")[2].strip()
        folder = Path("/sys/fs/cgroup") / path.lstrip("/")
        limit = (folder / "memory.max").read_text("ascii").strip()
        used = int((folder / "memory.current").read_bytes())
        cache = _field((folder / "memory.stat").read_bytes(), b"inactive_file ") or 0
    except (OSError, ValueError):
        return UNKNOWN_BYTES
    return UNKNOWN_BYTES if limit == "max" else max(0, int(limit) - used + cache)


def _kilobytes(path: Path, label: bytes) -> int | None:
    try:
        return _field(path.read_bytes(), label)
    except OSError:
        return None


def _field(content: bytes, label: bytes) -> int | None:
    """Return the number after a label at the start of a line."""
    _, found, rest = (b"\n" + content).partition(b"\n" + label)
    return int(rest.split(maxsplit=1)[0]) if found else None
