"""Handlers that kill, poison and vandalise their workers, and good handlers that must not suffer from it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import msgspec
import trio

from penstock import App, Batching, Retries, Timeouts
from penstock.response import Encoded
from penstock.wire import Done, pack
from tests.e2e.apps.marks import folder, mark

CHILD_LIVES_SECONDS = 20.0  # children that escape on purpose exit by themselves soon after the tests

app = App(__name__)


# ---- targets of random kills


@app.endpoint("/echo", pool="load", workers=2)
def echo(number: int, seconds: float = 0.02) -> int:
    time.sleep(seconds)
    return number


@app.endpoint("/echo_async", pool="load_async", workers=2, runtime="trio", concurrency=4)
async def echo_async(number: int, seconds: float = 0.02) -> int:
    await trio.sleep(seconds)
    return number


@app.endpoint("/echo_stream", pool="load")
def echo_stream(number: int) -> Iterator[int]:
    yield number
    time.sleep(CHILD_LIVES_SECONDS)


# ---- poison


def die(name: str, how: str) -> NoReturn:
    """Write a line for this death, and die."""
    with (folder() / f"{name}.deaths").open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    if how == "signal":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "segfault":
        ctypes.string_at(0)
    os._exit(0)


class Item(msgspec.Struct):
    name: str
    how: str = ""


@app.endpoint("/poison", pool="poison", workers=2)
def poison(name: str, how: str) -> str:
    die(name, how)


@app.endpoint("/good", pool="poison")
def good(number: int) -> int:
    return number


@app.endpoint("/poison_batch", workers=1, batching=Batching(max_size=4, max_wait=20.0))
def poison_batch(batch: list[Item]) -> list[str]:
    for item in batch:
        if item.how:
            die(item.name, item.how)
    return [item.name for item in batch]


@app.endpoint("/poison_async", workers=1, runtime="trio", concurrency=4)
async def poison_async(name: str, how: str = "", until: str = "") -> str:
    if how:
        die(name, how)
    mark(f"{name}.began")
    while not (folder() / until).exists():  # noqa: ASYNC110 - the event is in another process
        await trio.sleep(0.005)
    await trio.sleep(0.1)  # a job that ran beside poison now would die during this sleep
    return name


@app.endpoint("/once", workers=1, idempotent=False)
def once(name: str, how: str) -> str:
    die(name, how)


# ---- stuck in C code, where only a SIGKILL helps


@app.endpoint("/stuck", workers=1, timeouts=Timeouts(grace=60.0))
def stuck(name: str) -> bool:
    mark(f"{name}.began")
    return re.match(r"(a+)+$", "a" * 60 + "b") is not None


# ---- vandals, all in one worker


def print_garbage() -> None:
    os.write(1, b'\x00\xff\xfe{"event": "worker-lost"\n\x1b[31m\x80\n')
    print("a line of its own")
    print("and one to stderr", file=sys.stderr)
    os.write(2, b"\x07" * 100_000 + b"no newline at the end")


def close_stdin() -> None:
    sys.stdin.close()
    os.close(0)


def fork_and_return() -> None:
    """Fork a child that continues in the server's code as if it were the worker."""
    os.fork()


def fork_a_survivor() -> None:
    """Fork a child that leaves the worker's session and process group, and keeps its output pipe."""
    if os.fork() == 0:
        os.setsid()
        mark("survivor", str(os.getpid()))
        time.sleep(CHILD_LIVES_SECONDS)
        os._exit(0)


def fork_in_c() -> None:
    """Fork without Python's knowledge: the child keeps every descriptor, also that of the engine's socket."""
    libc = ctypes.CDLL(None)
    if libc.fork() == 0:
        libc.setsid()
        libc.sleep(int(CHILD_LIVES_SECONDS))
        libc._exit(0)


def start_a_program() -> None:
    with contextlib.suppress(FileNotFoundError):
        process = subprocess.Popen(["sleep", str(CHILD_LIVES_SECONDS)])
        mark("program", str(process.pid))


def own_sockets() -> list[int]:
    descriptors = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the folder's own descriptor is listed, and closed by now
            if stat.S_ISSOCK(os.fstat(int(path.name)).st_mode):
                descriptors.append(int(path.name))
    return descriptors


def close_sockets() -> None:
    for descriptor in own_sockets():
        os.close(descriptor)


def close_everything() -> None:
    os.closerange(3, 1024)


def write_to_the_engine() -> None:
    for descriptor in own_sockets():
        os.write(descriptor, b"\xff" * 1000)


def answer_for_others() -> None:
    """Answer every job that there may be, in every worker."""
    forged = b"".join(pack(Done(attempt, 0.0, [Encoded(b'"evil"')])) for attempt in range(1, 2000))
    for descriptor in own_sockets():
        os.write(descriptor, forged)


def call_sys_exit() -> None:
    sys.exit("enough")


def raise_system_exit() -> None:
    raise SystemExit(0)


def raise_keyboard_interrupt() -> None:
    raise KeyboardInterrupt


def call_os_exit() -> None:
    os._exit(0)


VANDALS: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        print_garbage,
        close_stdin,
        fork_and_return,
        fork_a_survivor,
        fork_in_c,
        start_a_program,
        close_sockets,
        close_everything,
        write_to_the_engine,
        answer_for_others,
        call_sys_exit,
        raise_system_exit,
        raise_keyboard_interrupt,
        call_os_exit,
    )
}


@app.endpoint("/vandal", pool="vandals", workers=1, retries=Retries(max_attempts=1))
def vandal(kind: str) -> str:
    VANDALS[kind]()
    return kind


@app.endpoint("/neighbour", pool="vandals")
def neighbour(number: int) -> int:
    return number


# ---- a model whose set-up may fail


@app.endpoint("/fickle")
class Fickle:
    def setup(self) -> None:
        if (folder() / "setup.fails").exists():
            raise RuntimeError("the weights are gone")

    def predict(self, number: int) -> int:
        return number
