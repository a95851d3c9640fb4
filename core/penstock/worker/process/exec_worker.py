"""A worker that is not forked but starts from nothing, for apps whose import leaves threads running.

``python -m penstock.worker.process.exec_worker ENGINE PAGE OUTPUT PARENT`` with the numbers of its descriptors, the
zygote's pid, and on stdin the frames of its ``Load`` and its ``Spawn``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import NoReturn

from penstock.app import loader
from penstock.wire import FrameReader, Load, Spawn, pack
from penstock.worker.process import process_setup as birth
from penstock.worker.process.worker_main import Inheritance, live


def start(load: Load, orders: Spawn, inheritance: Inheritance) -> subprocess.Popen[bytes]:
    """Start one; the caller keeps its own copies of the descriptors, and reaps it."""
    descriptors = (inheritance.engine, inheritance.page, inheritance.output)
    numbers = [str(number) for number in (*descriptors, os.getpid())]
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.worker.process.exec_worker", *numbers],
        stdin=subprocess.PIPE,
        stdout=inheritance.output,
        stderr=inheritance.output,
        pass_fds=descriptors,
        process_group=0,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(pack(load) + pack(orders))
        process.stdin.close()
    except BrokenPipeError:
        pass  # it has died already, and will be reaped like any other
    return process


def main() -> NoReturn:
    """Read what to be from stdin, and be it."""
    engine, page, output, parent = (int(argument) for argument in sys.argv[1:5])
    for descriptor in (engine, page, output):
        os.set_inheritable(descriptor, False)
    birth.die_with_parent(parent)
    load, orders = FrameReader().feed(sys.stdin.buffer.read())
    assert isinstance(load, Load)
    assert isinstance(orders, Spawn)
    live(lambda: loader.load(load), orders, Inheritance(engine, page, output), parent=parent)


if __name__ == "__main__":
    main()
