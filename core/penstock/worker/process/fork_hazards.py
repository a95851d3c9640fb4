"""The state that a fork would break: threads, and runtimes such as CUDA, that importing an app has started.

A fork copies only the thread that forks. A pool of native threads has lost its threads in the child, and the child's
first parallel operation waits for them indefinitely; locks that other threads held stay locked.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penstock.worker.process.native_threads import describe_threads, native_threads

_OMP_PAUSE_HARD = 2
_OPENMP_NAME = re.compile(r"lib[gi]?omp5?[-.]")  # wheels add a hash: libgomp-a34b3233.so.1
_CUDA_NAME = re.compile(r"libcuda\.so")
_CUDA_SUCCESS = 0

_TORCH_BACKENDS = ("cuda", "xpu", "mps")

_SECONDS_TO_END = 0.5  # for threads that were asked to end, and for those that are about to
_SECONDS_TO_PROBE = 5.0
_SECONDS_BETWEEN_LOOKS = 0.002


def find_fork_hazards() -> list[str]:
    """Return the reasons not to fork this process, as phrases; none if it is safe. Main thread only.

    Thread pools that can be stopped are stopped first: they come back when they are next used, in any process.
    """
    _release_openmp_pools()
    # The fork has two purposes. Libraries that are prepared for one, such as OpenBLAS, stop their threads before it.
    # And torch knows only in the child that its runtime has not survived.
    runtimes = [*_initialized_runtimes(), *_runtimes_lost_in_a_fork()]
    return [*_threads_that_stay(), *dict.fromkeys(runtimes)]


# ---- threads


def _release_openmp_pools() -> None:
    """Stop the idle threads of every loaded OpenMP runtime, as OpenMP 5.0 provides."""
    for library in _loaded_libraries(_OPENMP_NAME):
        try:
            library.omp_pause_resource_all(_OMP_PAUSE_HARD)
        except AttributeError:  # an older runtime: if it has started threads, they are found like any others
            continue


def _threads_that_stay() -> list[str]:
    """Describe the threads other than this one, after a moment in which those that are ending can end."""
    give_up_at = time.monotonic() + _SECONDS_TO_END
    while True:
        python_threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
        native = native_threads()
        if not python_threads and not native:
            return []
        if time.monotonic() >= give_up_at:
            return [*(f"thread {thread.name!r}" for thread in python_threads), *describe_threads(native)]
        time.sleep(_SECONDS_BETWEEN_LOOKS)


# ---- runtimes


def _initialized_runtimes() -> Iterator[str]:
    for library in _loaded_libraries(_CUDA_NAME):
        count = ctypes.c_int()
        # It succeeds only after cuInit, which must not have run before a fork.
        if library.cuDeviceGetCount(ctypes.byref(count)) == _CUDA_SUCCESS:
            yield _initialized("CUDA")
    for name, backend in _torch_backends():
        if _answers_true(backend, "is_initialized"):
            yield _initialized(name)


def _initialized(runtime: str) -> str:
    return f"{runtime.upper()} is initialized"


def _runtimes_lost_in_a_fork() -> list[str]:
    """Fork once, and return the runtimes of torch that do not work in the child."""
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork with threads, which is what is tried here.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        lost = [_answers_true(backend, "_is_in_bad_fork") for _, backend in _torch_backends()]
        os._exit(sum(is_lost << bit for bit, is_lost in enumerate(lost)))
    status = _wait(pid)
    if not 0 <= status < 1 << len(_TORCH_BACKENDS):
        return ["a forked process hangs or crashes"]
    return [_initialized(name) for bit, (name, _) in enumerate(_torch_backends()) if status >> bit & 1]


def _wait(pid: int) -> int:
    """Return the exit code of the child; negative if it was killed, which it is if it hangs."""
    give_up_at = time.monotonic() + _SECONDS_TO_PROBE
    while True:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return 0  # the app ignores SIGCHLD, so the kernel has reaped it
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= give_up_at:
            os.kill(pid, signal.SIGKILL)
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _torch_backends() -> Iterator[tuple[str, Any]]:
    """Return torch's accelerators if the app has imported torch; it is never imported here."""
    torch = sys.modules.get("torch")
    for name in _TORCH_BACKENDS:
        backend = getattr(torch, name, None)
        if backend is not None:
            yield name, backend


def _answers_true(backend: Any, question: str) -> bool:
    try:
        return bool(getattr(backend, question)())
    except Exception:  # a version of torch without it
        return False


# ---- libraries


def _loaded_libraries(name: re.Pattern[str]) -> list[ctypes.CDLL]:
    """Return the shared libraries that this process has already loaded and whose file names match. Linux only."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return []
    paths = {line.split(maxsplit=5)[5] for line in maps.splitlines() if "/" in line}
    libraries = []
    for path in sorted(path for path in paths if name.match(Path(path).name)):
        try:
            libraries.append(ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_NOLOAD))
        except OSError:  # mapped as a file, not loaded as a library
            continue
    return libraries
