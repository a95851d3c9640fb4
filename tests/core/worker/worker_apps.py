"""The app that the tests of the worker run: handlers as users write them, good and bad."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import trio

from penstock import Done
from penstock.app import App
from penstock.context import Context
from penstock.errors import InvalidRequest
from penstock.policies import Batching

app = App(__name__)


# ---- inline


@app.endpoint("/square")
def square(input: float) -> float:
    return input**2


@app.endpoint("/echo")
def echo(body: bytes) -> bytes:
    return body


@app.endpoint("/divide")
def divide(a: float, b: float) -> float:
    return inner_divide(a, b)


def inner_divide(a: float, b: float) -> float:
    return a / b


@app.endpoint("/refuse")
def refuse() -> None:
    raise InvalidRequest("no good", errors=[{"path": "$.x", "reason": "too blue"}])


@app.endpoint("/unsendable")
def unsendable() -> object:
    return object()


@app.endpoint("/quit")
def quit_() -> None:
    sys.exit(3)


@app.endpoint("/surrogate")
def surrogate() -> None:
    raise ValueError("a \udcff name")


@app.endpoint("/check-context")
def check_context(ctx: Context) -> dict[str, object]:
    name = f"{ctx.job_id} of {ctx.request_id}"
    return {"id": name, "attempt": ctx.attempt, "principal": ctx.principal, "cancelled": ctx.cancelled}


@app.endpoint("/stuck")
def stuck(how: str) -> str:
    if how == "stubborn":
        return stubborn()
    print("stuck", flush=True)
    if how == "loop":
        while True:
            pass
    elif how == "sleep":
        time.sleep(60)
    elif how == "lock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    elif how == "queue":
        queue.Queue().get()
    elif how == "recv":
        ours, _theirs = socket.socketpair()
        ours.recv(1)
    return "returned"


def stubborn() -> str:
    try:
        print("stuck", flush=True)
        time.sleep(60)
    except BaseException:
        return "went on"


@app.endpoint("/brief")
def brief() -> int:
    return sum(range(300))


@app.endpoint("/die")
def die(signal: int) -> None:
    os.kill(os.getpid(), signal)


@app.endpoint("/speak")
def speak() -> None:
    print("to stdout")
    sys.stderr.write("to stderr\n")
    os.write(1, b"raw bytes\n")


@app.endpoint("/meddle")
def meddle() -> str:
    os.write(1, b"\x00\x00\x00\x05garbage\xff\n")
    read = os.read(0, 10)
    os.close(0)
    return repr(read)


@app.endpoint("/fork-and-exit")
def fork_and_exit() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@app.endpoint("/fork-and-return")
def fork_and_return() -> int:
    pid = os.fork()
    if pid == 0:
        return -1
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@app.endpoint("/fork-a-sleeper")
def fork_a_sleeper() -> int:
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    return pid


@app.endpoint("/run-a-shell")
def run_a_shell(command: str) -> None:
    with subprocess.Popen(command, shell=True) as process:
        try:
            print("shell", process.pid, flush=True)
            process.wait()
        except BaseException:  # as subprocess.run does, once the process is known
            process.kill()
            raise


@app.endpoint("/terminate-a-child")
def terminate_a_child() -> int | None:
    return terminated()


@app.endpoint("/terminate-a-child-in-a-thread", pool="forking-threads", concurrency=2)
def terminate_a_child_in_a_thread() -> int | None:
    return terminated()


def terminated() -> int | None:
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    child.start()
    child.terminate()
    child.join(10)
    return child.exitcode


@app.endpoint("/leave-a-pool")
def leave_a_pool() -> list[bool]:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pids = pool.map(getpid, range(2))
        pool.apply_async(time.sleep, (600,))
    pool.join()
    return [Path(f"/proc/{pid}").exists() for pid in pids]


def getpid(_: int) -> int:
    return os.getpid()


@app.endpoint("/handlers-of-a-child")
def handlers_of_a_child() -> dict[str, str]:
    names = ["SIGINT", "SIGTERM", "SIGUSR1", "SIGCHLD", "SIGUSR2"]
    signal.signal(signal.SIGUSR2, users_handler)
    pid = os.fork()
    if pid == 0:
        print("handlers:", *(signal.getsignal(getattr(signal, name)) for name in names), sep="\n")
        print("blocked:", signal.pthread_sigmask(signal.SIG_BLOCK, []))
        print("wakeup:", signal.set_wakeup_fd(-1), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    return {name: str(signal.getsignal(getattr(signal, name))) for name in names}


def users_handler(_number: int, _frame: object) -> None:
    """Stand for a handler that user code has installed."""


# ---- inline streams


@app.endpoint("/count")
def count(n: int):
    print("begin")
    try:
        for i in range(n):
            yield {"token": i}
    finally:
        print("closed")


@app.endpoint("/blocks")
def blocks(n: int, size: int):
    try:
        for _ in range(n):
            yield "x" * size
    finally:
        print("closed")


@app.endpoint("/slow-stream")
def slow_stream():
    try:
        yield 1
        time.sleep(60)
        yield 2
    finally:
        print("closed")


@app.endpoint("/failing-stream")
def failing_stream():
    yield 1
    raise ValueError("broke")


# ---- batches


@app.endpoint("/double", pool="batches", batching=Batching(max_size=8))
def double(batch: list[float]) -> list[float]:
    return [2 * item for item in batch]


@app.endpoint("/short", pool="batches", batching=Batching(max_size=8))
def short(batch: list[float]) -> list[float]:
    return batch[1:]


@app.endpoint("/mixed", pool="batches", batching=Batching(max_size=8))
def mixed(batch: list[float]) -> list[object]:
    return [ValueError(f"{item} is negative") if item < 0 else object() if item == 0 else item for item in batch]


@app.endpoint("/not-a-list", pool="batches", batching=Batching(max_size=8))
def not_a_list(batch: list[float]) -> object:
    return {item: item for item in batch}


class DataFrame(list):
    """As a data frame of one column for each of two jobs, it has their number as its length."""

    columns = ("one", "two")


@app.endpoint("/frame", pool="batches", batching=Batching(max_size=8))
def frame(batch: list[float]) -> object:
    return DataFrame(DataFrame.columns)


@app.endpoint("/array", pool="batches", batching=Batching(max_size=8))
def array(batch: list[float]) -> object:
    import numpy

    return numpy.array(batch) + 1


@app.endpoint("/async-double", pool="batches", batching=Batching(max_size=8))
async def async_double(batch: list[float]) -> list[float]:
    return [2 * item for item in batch]


# ---- tasks


@app.endpoint("/async-square", pool="tasks", concurrency=4)
async def async_square(input: float) -> float:
    await trio.lowlevel.checkpoint()
    return input**2


@app.endpoint("/async-sleep", pool="tasks", concurrency=4)
async def async_sleep() -> None:
    try:
        await trio.sleep(60)
    finally:
        print("closed")


@app.endpoint("/ticks", pool="ticking")
class Ticks:
    """Inline attempts beside a task of the user's own, in the worker's loop."""

    def setup(self) -> None:
        self.ticks = 0
        trio.lowlevel.spawn_system_task(self.tick)

    async def tick(self) -> None:
        while True:
            await trio.sleep(0.0)
            self.ticks += 1

    def predict(self) -> int:
        return self.ticks


@app.endpoint("/async-count", pool="tasks", concurrency=4)
async def async_count(n: int, size: int = 0):
    try:
        for i in range(n):
            yield "x" * size if size else i
    finally:
        print("closed")


@app.endpoint("/async-wrong-loop", pool="tasks", concurrency=4)
async def async_wrong_loop() -> None:
    await asyncio.sleep(0.01)


@app.endpoint("/async-fail", pool="tasks", concurrency=4)
async def async_fail() -> None:
    raise KeyError("missing")


@app.endpoint("/aio-square", pool="aio", runtime="asyncio", concurrency=4)
async def aio_square(input: float) -> float:
    await asyncio.sleep(0)
    return input**2


@app.endpoint("/aio-sleep", pool="aio", concurrency=4)
async def aio_sleep() -> None:
    try:
        await asyncio.sleep(60)
    finally:
        print("closed")


@app.endpoint("/aio-cancel-itself", pool="aio", concurrency=4)
async def aio_cancel_itself() -> None:
    raise asyncio.CancelledError


@app.endpoint("/aio-count", pool="aio", concurrency=4)
async def aio_count(n: int, size: int = 0):
    try:
        for i in range(n):
            yield "x" * size if size else i
    finally:
        print("closed")


@app.endpoint("/aio-inline", pool="aio")
def aio_inline(how: str) -> str:
    return stuck(how)


# ---- threads

_meeting = threading.Barrier(2)


@app.endpoint("/meet", pool="threads", concurrency=2)
def meet() -> int:
    return _meeting.wait(timeout=10)


@app.endpoint("/until-cancelled", pool="threads", concurrency=2)
def until_cancelled(ctx: Context) -> str:
    while not ctx.cancelled:
        time.sleep(0.001)
    return "saw it"


@app.endpoint("/thread-count", pool="threads", concurrency=2)
def thread_count(n: int, size: int = 0):
    try:
        for i in range(n):
            yield "x" * size if size else i
    finally:
        print("closed")


@app.endpoint("/thread-fail", pool="threads", concurrency=2)
def thread_fail() -> None:
    raise SystemExit(4)


# ---- models


class Point(msgspec.Struct):
    x: float


@app.endpoint("/model", devices=["gpu:0", "gpu:1"])
class Model:
    def setup(self, device: str) -> None:
        self.device = device

    def predict(self, point: Point) -> str:
        return f"{point.x} on {self.device}"

    def teardown(self) -> None:
        print("torn down")


@app.endpoint("/async-model")
class AsyncModel:
    async def setup(self, device: str) -> None:
        await trio.lowlevel.checkpoint()
        self.device = device

    def predict(self) -> str:
        return self.device

    async def teardown(self) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("late trouble")


@app.endpoint("/broken-model")
class BrokenModel:
    def setup(self) -> None:
        read_weights()

    def predict(self) -> None: ...


def read_weights() -> None:
    raise FileNotFoundError("weights.bin")


@app.endpoint("/regex", pool="regex")
def regex() -> bool:
    return re.match(r"(a+)+$", "a" * 40 + "b") is not None


# ---- filtered answers


class Upper:
    """Upper-cases chunks, holds back the last one, and stops at "stop"."""

    def __init__(self) -> None:
        self.held: list[str] = []

    def feed(self, chunk: str) -> tuple[list[str], bool]:
        if chunk == "boom":
            raise ValueError("the filter broke")
        ready, self.held = self.held, [chunk.upper()]
        return (["STOPPED"], True) if chunk == "stop" else (ready, False)

    def finish(self) -> list[str]:
        return self.held

    def whole(self, result: str) -> str:
        return result.upper()


class Asked(msgspec.Struct):
    words: list[str]
    is_filtered: bool = True

    def chunk_filter(self) -> Upper | None:
        return Upper() if self.is_filtered else None


def said(asked: Asked):
    try:
        yield from asked.words
    finally:
        print("closed")


async def said_async(asked: Asked):
    try:
        for word in asked.words:
            yield word
    finally:
        print("closed")


async def said_by_return(asked: Asked):
    return said(asked)


app.endpoint("/filtered")(said)
app.endpoint("/filtered-thread", pool="threads", concurrency=4)(said)
app.endpoint("/filtered-task", pool="tasks", concurrency=4)(said_async)
app.endpoint("/filtered-aio", pool="aio", concurrency=4)(said_async)
app.endpoint("/filtered-returned", pool="tasks", concurrency=4)(said_by_return)


@app.endpoint("/filtered-whole")
def filtered_whole(asked: Asked) -> str:
    return "".join(asked.words)


@app.endpoint("/filtered-whole-task", pool="tasks", concurrency=4)
async def filtered_whole_task(asked: Asked) -> str:
    return "".join(asked.words)


@app.endpoint("/filtered-batch", pool="batches", batching=Batching(max_size=8))
def filtered_batch(batch: list[Asked]) -> list[str]:
    return ["".join(asked.words) for asked in batch]


@app.endpoint("/filtered-loop", pool="filtered-loop", max_slots=2)
class FilteredLoop:
    def setup(self) -> None:
        self.words: dict[int, list[str]] = {}

    def admit(self, slot: int, asked: Asked) -> None:
        self.words[slot] = list(asked.words)

    def step(self, slots: list[int]) -> dict[int, str | Done]:
        return {slot: self.words[slot].pop(0) if self.words[slot] else Done() for slot in slots}

    def release(self, slot: int) -> None:
        print("closed")
