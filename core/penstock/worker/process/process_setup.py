"""The set-up of a new process that becomes a worker, a template or the zygote."""

from __future__ import annotations

import ctypes
import faulthandler
import io
import os
import signal
import sys
from typing import TextIO

from penstock.worker.interrupts import ignore

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when the thread that started it ends. Linux only; elsewhere, EOF must suffice.

    Parameters
    ----------
    parent:
        The parent's pid, if known. If the parent died before this call, no signal would come, so this process exits.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(0)


def take_name(name: str) -> None:
    """Set the name that ``top`` and ``ps`` show for this process, cut to 15 bytes. Linux only."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def adopt_orphans() -> None:
    """Make the descendants of this process its children when their own parents end. Linux only."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, argument: int | bytes) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)


def ignore_stop_signals() -> None:
    """Ignore SIGINT and SIGTERM. A terminal or a supervisor sends them to all processes; the engine handles them."""
    signal.signal(signal.SIGINT, ignore)
    signal.signal(signal.SIGTERM, ignore)


def write_utf8() -> None:
    """Write stdout and stderr in UTF-8, which the engine reads, whatever the locale is: any text can be printed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def become_worker(output: int, name: str, parent: int) -> None:
    """Turn this process into a worker, which only its engine controls.

    Parameters
    ----------
    output:
        The write end of the pipe for stdout and stderr.
    name:
        The name of the process.
    parent:
        The pid of the zygote.
    """
    # A process group of its own, so that the processes that user code starts can be killed with it.
    os.setpgid(0, 0)
    die_with_parent(parent)
    take_name(name)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ignore_stop_signals()
    _redirect(output)
    # A crash in native code leaves its Python traceback in the output.
    faulthandler.enable(file=2)
    _reseed()


def _redirect(output: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  for the life of the process
    sys.stdout = _line_buffered(sys.stdout, 1)
    sys.stderr = _line_buffered(sys.stderr, 2)


def _line_buffered(stream: TextIO | None, descriptor: int) -> TextIO:
    """Return a line-buffered stream: the same one if possible, since logging handlers made at import refer to it."""
    if isinstance(stream, io.TextIOWrapper) and not stream.closed and stream.fileno() == descriptor:
        stream.reconfigure(line_buffering=True)
        return stream
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _reseed() -> None:
    """Make workers of one zygote draw different numbers. ``random`` reseeds itself after a fork; numpy does not."""
    # By its full name: numpy imports it when it is first used, which would cost each worker tens of milliseconds.
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
