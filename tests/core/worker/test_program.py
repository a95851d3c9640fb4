from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from penstock.app import App
from penstock.wire import SHARED_BYTES, WINDOW_BYTES, Check, Chunk, Credit, Done, Head, Message, Run, Unfit, Work, pack
from penstock.worker.attempts import LiveEndpoint
from penstock.worker.interrupts import InterruptGuard
from penstock.worker.program import Program

app = App(__name__)


@app.endpoint("/count")
def count(n: int, size: int = 1) -> Iterator[str]:
    yield from ["x" * size] * n


@app.endpoint("/peek")
def peek() -> None:
    peeking.pop()()


peeking: list[Callable[[], None]] = []  # called by the next attempt of peek


class FullAtTimes:
    """A channel whose socket is full at the tries that the test names, and empty again at the next."""

    def __init__(self, full_at: set[int]) -> None:
        self.sent: list[Message] = []
        self._waiting: list[Message] = []
        self.tries = 0
        self._full_at = full_at

    @property
    def is_flushed(self) -> bool:
        return not self._waiting

    def post(self, message: Message) -> None:
        self._waiting.append(message)

    post_done = report = post

    def flush(self) -> bool:
        self.tries += 1
        if self.tries in self._full_at:
            return False
        self.sent += self._waiting
        self._waiting.clear()
        return True


class Loop:
    """A loop that counts how often it was asked to write."""

    name = "trio"

    def __init__(self) -> None:
        self.flushes_asked_for = 0

    def flush_soon(self) -> None:
        self.flushes_asked_for += 1

    def call_soon_threadsafe(self, function: Any) -> None:
        raise AssertionError("no thread is at work here")


def program_with(channel: FullAtTimes, check: Callable[[], str | None] = lambda: None) -> tuple[Program, Loop]:
    loop = Loop()
    guard = InterruptGuard(memoryview(bytearray(SHARED_BYTES)).cast("Q"))
    live = {endpoint.name: LiveEndpoint(endpoint, endpoint.handler) for endpoint in app.endpoints}
    program: Any = Program(loop, channel, guard, live, check)
    return program, loop


@pytest.mark.parametrize("writes", [{1}, {2}, {3}, {4}, {2, 4}, {1, 3}])
def test_a_stream_that_found_the_socket_full_goes_on(writes: set[int]) -> None:
    """Whichever write fails, the stream ends by itself, or the loop has been asked to call back."""
    channel = FullAtTimes(writes)
    program, loop = program_with(channel)
    program.receive(pack(Run(1, "count", math.inf, [Work(msgspec.json.encode({"n": 3}))])))
    for _ in range(loop.flushes_asked_for):
        if channel.flush():
            program.on_flushed()
    assert [type(message) for message in channel.sent] == [Head, Chunk, Chunk, Chunk, Done]


def test_a_result_costs_one_write() -> None:
    """The result of an inline attempt is written at once, and nothing is left to write after it."""
    channel = FullAtTimes(set())
    program, _ = program_with(channel)
    peeking.append(lambda: None)
    program.receive(pack(Run(1, "peek", math.inf, [Work(b"{}")])))
    assert ([type(message) for message in channel.sent], channel.tries) == ([Done], 1)


def test_the_end_of_a_stream_does_not_wait_behind_user_code() -> None:
    """A finished stream is reported before the next inline attempt begins, which may take any time."""
    channel = FullAtTimes(set())
    program, _ = program_with(channel)
    sent_before: list[list[type]] = []
    peeking.append(lambda: sent_before.append([type(message) for message in channel.sent]))
    first = pack(Run(1, "count", math.inf, [Work(msgspec.json.encode({"n": 3, "size": WINDOW_BYTES // 2}))]))
    program.receive(first + pack(Run(2, "peek", math.inf, [Work(b"{}")])) + pack(Credit(1, WINDOW_BYTES)))
    assert sent_before == [[Head, Chunk, Chunk, Chunk, Done]]
    assert [type(message) for message in channel.sent] == [Head, Chunk, Chunk, Chunk, Done, Done]


@pytest.mark.parametrize("full_at", [{1}, {1, 2}])
def test_an_attempt_does_not_begin_before_the_result_of_the_last_one_is_written(full_at: set[int]) -> None:
    """To the engine, a result that waits behind user code looks like an attempt that overruns its deadline."""
    channel = FullAtTimes(full_at)
    program, loop = program_with(channel)
    sent_before: list[int] = []
    peeking.extend([lambda: sent_before.append(len(channel.sent))] * 3)
    program.receive(b"".join(pack(Run(number, "peek", math.inf, [Work(b"{}")])) for number in (1, 2, 3)))
    while loop.flushes_asked_for:
        loop.flushes_asked_for -= 1
        if channel.flush():
            program.on_flushed()
    assert sent_before == [0, 1, 2]
    assert [message.attempt for message in channel.sent] == [1, 2, 3]


def test_a_check_that_succeeds_says_nothing() -> None:
    """There is nothing to write: the engine waits for no answer."""
    channel = FullAtTimes(set())
    program, _ = program_with(channel)
    program.receive(pack(Check()))
    assert channel.sent == []


def test_a_check_comes_after_a_stream_and_not_in_its_middle() -> None:
    """It is called between attempts, whatever it does to the model."""
    channel = FullAtTimes(set())
    sent_before: list[list[type]] = []

    def check() -> str:
        sent_before.append([type(message) for message in channel.sent])
        return "broken"

    program, _ = program_with(channel, check)
    work = Work(msgspec.json.encode({"n": 2, "size": WINDOW_BYTES}))
    program.receive(pack(Run(1, "count", math.inf, [work])) + pack(Check()))
    assert sent_before == []
    program.receive(pack(Credit(1, WINDOW_BYTES)))
    program.receive(pack(Credit(1, WINDOW_BYTES)))
    assert sent_before == [[Head, Chunk, Chunk, Done]]
    assert channel.sent[-2:] == [Done(1, channel.sent[-2].seconds, channel.sent[-2].results), Unfit("broken")]
