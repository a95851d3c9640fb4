"""The threads of this process that Python did not start, and what is known of them. Linux only; elsewhere, none."""

from __future__ import annotations

import re
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# jemalloc stops its thread before a fork and can do without it after one.
_FORK_SAFE_THREADS = frozenset({"jemalloc_bg_thd"})

_STACK_BYTES = 8192
_LOOKS = 20
_PAUSE_SECONDS = 0.005
# Every thread passes through these on its way to the code that it is for.
_SYSTEM_LIBRARY = re.compile(r"(lib(c|pthread|stdc\+\+|gcc_s|m|python[\d.]+)|ld-[\w-]+|ld)[-.\d]*\.so|python")


@dataclass(frozen=True)
class NativeThread:
    """A thread of this process that Python does not know.

    Attributes
    ----------
    task:
        The kernel's id.
    name:
        Its name; threads without one inherit the name of the process.
    """

    task: int
    name: str


def native_threads() -> list[NativeThread]:
    """Return the native threads that a fork would lose and that their library would miss."""
    known = {thread.native_id for thread in threading.enumerate()} | {threading.get_native_id()}
    try:
        tasks = sorted({int(task.name) for task in Path("/proc/self/task").iterdir()} - known)
    except FileNotFoundError:
        return []
    threads = [NativeThread(task, _name_of(task)) for task in tasks]
    return [thread for thread in threads if thread.name and thread.name not in _FORK_SAFE_THREADS]


def describe_threads(threads: Iterable[NativeThread]) -> Iterator[str]:
    """Return a phrase for each kind of thread, with its name and with the library whose code it runs, if known."""
    own_name = _name_of(threading.get_native_id())
    kinds = Counter((thread.name, _library_of(thread.task)) for thread in threads)
    for (name, library), count in kinds.items():
        noun = "1 native thread" if count == 1 else f"{count} native threads"
        yield noun + (f" {name!r}" if name != own_name else "") + (f" of {library}" if library else "")


def _name_of(task: int) -> str:
    """Return the name of a thread, or "" if it has ended."""
    try:
        return Path(f"/proc/self/task/{task}/comm").read_text(encoding="utf-8", errors="replace").rstrip("\n")
    except OSError:
        return ""


def _library_of(task: int) -> str:
    """Return the file name of the library that a waiting thread was called by, or "".

    A guess for the log: it is the first address of code on the thread's stack that is not the system's.
    """
    try:
        stack = int(_system_call_of(task).split()[-2], 16)
        with Path("/proc/self/mem").open("rb", buffering=0) as memory:
            memory.seek(stack)
            data = memory.read(_STACK_BYTES)
    except (OSError, ValueError, IndexError):  # it runs on, has ended, or the kernel does not tell
        return ""
    code = list(_code_of_libraries())
    for (address,) in struct.iter_unpack("Q", data[: len(data) // 8 * 8]):
        for start, end, name in code:
            if start <= address < end:
                return name
    return ""


def _system_call_of(task: int) -> str:
    """Return what the kernel says of the system call that a thread waits in; "running" if it waits in none.

    The threads of a pool often run for some milliseconds, looking for work, before they wait for it.
    """
    for _ in range(_LOOKS):
        call = Path(f"/proc/self/task/{task}/syscall").read_text(encoding="ascii")
        if not call.startswith("running"):
            break
        time.sleep(_PAUSE_SECONDS)
    return call


def _code_of_libraries() -> Iterator[tuple[int, int, str]]:
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        span, permissions, *_, path = line.split(maxsplit=5)
        name = Path(path).name
        if "x" in permissions and path.startswith("/") and not _SYSTEM_LIBRARY.match(name):
            start, end = (int(number, 16) for number in span.split("-"))
            yield start, end, name
