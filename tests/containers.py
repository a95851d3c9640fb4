"""A ``penstock serve`` in the conditions of a container, made with ``unshare`` instead of a container runtime.

The server is PID 1 of its own process namespace, with a user id that has no entry in the password file, a read-only
root, 1 MiB in one temporary folder, 64 KiB of shared memory, few open files, and no privilege to gain. The network is
the host's, so that tests reach it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.serving import ROOT, Served, wait_until

UID = 54_321
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
# The user may read every file, because a checkout or an interpreter often lies in a folder of its owner's alone. In an
# image they do not. It can write nothing by that.
SCRIPT = f"""
set -e
[ -z "$1" ] || mount -t tmpfs -o size=1m,mode=1777 tmpfs "$1"
mount -t tmpfs -o size=64k,mode=1777 tmpfs /dev/shm
mount -o remount,bind,ro /
! findmnt -n /tmp >/dev/null || mount -o remount,bind,ro /tmp
ulimit -n "$2"
shift 2
exec setpriv --reuid {UID} --regid {UID} --clear-groups --no-new-privs \
    --inh-caps -all,+dac_read_search --ambient-caps +dac_read_search --bounding-set -all,+dac_read_search "$@"
"""


def why_not() -> str:
    """Return why containers cannot be imitated here; "" if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root on Linux can imitate a container"
    try:
        tried = subprocess.run(
            [*NAMESPACES, "sh", "-c", "mount -t tmpfs tmpfs /mnt && setpriv --reuid 1 true"],
            capture_output=True,
            timeout=10,
            check=False,
        )
    except FileNotFoundError:
        return "unshare is not installed"
    return "" if tried.returncode == 0 else f"namespaces are not to be had: {tried.stderr.decode().strip()}"


class Contained(Served):
    """A ``Served`` in a container; the parameters are the same, and these.

    Parameters
    ----------
    temporary:
        The folder for temporary files, which is 1 MiB large; None if only ``/dev/shm`` can be written.
    open_files:
        The limit on open files, soft and hard.
    """

    def __init__(
        self,
        target: str | Path,
        *options: str,
        temporary: Path | None,
        open_files: int = 128,
        environment: Mapping[str, str] | None = None,
        folder: Path = ROOT,
        ready_timeout: float | None = 20.0,
    ) -> None:
        own = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent" if temporary is None else str(temporary)}
        super().__init__(
            target, *options, environment={**own, **(environment or {})}, folder=folder, ready_timeout=ready_timeout
        )
        mounted = "" if temporary is None else str(temporary)
        self.command = [*NAMESPACES, "sh", "-c", SCRIPT, "container", mounted, str(open_files), *self.command]

    @property
    def init(self) -> int:
        """The server's process id outside of its container; inside, it is 1."""
        return wait_until(lambda: next(children_of(self.process.pid), 0), "a process in the container")

    def stop(self, signal_number: int = signal.SIGTERM, *, timeout: float = 40.0) -> int:
        """Signal PID 1, as container runtimes do, wait until the server ends, and return the exit code."""
        os.kill(self.init, signal_number)
        return self.wait(timeout)


def children_of(pid: int) -> Iterator[int]:
    """Yield the child processes of ``pid``, zombies included."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                yield int(entry.name)


needs_containers = pytest.mark.skipif(bool(why_not()), reason=why_not())
