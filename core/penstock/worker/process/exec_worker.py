"""A worker that is executed rather than forked, for apps whose import leaves something that a fork would break.

``python -m penstock.worker.process.exec_worker ENGINE MEMORY OUTPUT PARENT``, with the numbers of its descriptors and
the zygote's pid. The frames of its ``Load`` and its ``Spawn`` come on stdin.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import NoReturn

from penstock.app import loader
from penstock.wire import FrameReader, Load, Spawn, pack
from penstock.worker import forks
from penstock.worker.process.process_setup import die_with_parent, write_utf8
from penstock.worker.process.worker_main import WorkerDescriptors, run_worker


def start(load: Load, spawn: Spawn, descriptors: WorkerDescriptors) -> subprocess.Popen[bytes]:
    """Start such a worker. The caller closes its own copies of the descriptors, and reaps the process."""
    numbers = (descriptors.engine, descriptors.memory, descriptors.output)
    arguments = [str(number) for number in (*numbers, os.getpid())]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "penstock.worker.process.exec_worker", *arguments],
        stdin=subprocess.PIPE,
        stdout=descriptors.output,
        stderr=descriptors.output,
        pass_fds=numbers,
        process_group=0,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(pack(load) + pack(spawn))
        process.stdin.close()
    except BrokenPipeError:
        pass  # it has died already, and will be reaped like any other
    return process


def main() -> NoReturn:
    """Read ``Load`` and ``Spawn`` from stdin, and run that worker."""
    engine, memory, output, parent = (int(argument) for argument in sys.argv[1:5])
    for descriptor in (engine, memory, output):
        os.set_inheritable(descriptor, False)
    die_with_parent(parent)
    write_utf8()
    forks.restore_signals_in_children()
    load, spawn = FrameReader().feed(sys.stdin.buffer.read())
    assert isinstance(load, Load)
    assert isinstance(spawn, Spawn)
    run_worker(lambda: loader.load(load), spawn, WorkerDescriptors(engine, memory, output), parent=parent)


if __name__ == "__main__":
    main()
