from __future__ import annotations

import os
import signal
import time

import pytest

from penstock.response import Encoded
from penstock.wire import (
    FAILED_CANCELLED,
    FAILED_RECALLED,
    WORD_INTERRUPT,
    WORD_RECALLED,
    WORD_STARTED,
    Chunk,
    Done,
    Failure,
)
from tests.core.worker.zygote_client import ZygoteClient


@pytest.fixture(scope="module")
def zygote():
    with ZygoteClient() as client:
        yield client


@pytest.fixture(scope="module")
def worker(zygote):
    return zygote.spawn()


@pytest.mark.parametrize("how", ["loop", "sleep", "lock", "queue", "recv"])
def test_interrupt(zygote, how):
    """Synchronous code that does not return is stopped, its traceback shows where, and its worker is used again."""
    worker = zygote.spawn()
    attempt = worker.run("stuck", {"how": how})
    worker.output_until("stuck")
    began = time.monotonic()
    worker.interrupt(attempt)
    failure = worker.failure()
    assert time.monotonic() - began < 5
    assert failure.kind == FAILED_CANCELLED
    assert "in stuck" in failure.traceback
    assert "interrupts.py" not in failure.traceback
    assert worker.ask("square", {"input": 5}) == 25.0


def test_interrupt_under_asyncio(zygote):
    """Inline attempts of an asyncio pool are stopped the same way."""
    worker = zygote.spawn("aio")
    attempt = worker.run("aio-inline", {"how": "sleep"})
    worker.output_until("stuck")
    worker.interrupt(attempt)
    assert worker.failure().kind == FAILED_CANCELLED
    assert worker.ask("aio-square", {"input": 5}) == 25.0


def test_interrupt_of_a_regular_expression(zygote):
    """A regular expression that backtracks indefinitely checks for signals, and is stopped."""
    worker = zygote.spawn("regex")
    attempt = worker.run("regex")
    while worker.words[WORD_STARTED] != attempt:
        time.sleep(0.001)
    worker.interrupt(attempt)
    assert worker.failure().kind == FAILED_CANCELLED


def test_user_code_that_swallows_an_interrupt(zygote):
    """Code that catches everything and returns gets its result sent: there is one answer, and the worker continues."""
    worker = zygote.spawn()
    attempt = worker.run("stuck", {"how": "stubborn"})
    worker.output_until("stuck")
    worker.interrupt(attempt)
    assert worker.value() == "went on"
    assert worker.ask("square", {"input": 5}) == 25.0


def test_interrupt_before_the_attempt(worker):
    """An attempt that is interrupted before it begins does not begin."""
    worker.words[WORD_INTERRUPT] = worker.attempt + 1
    worker.run("stuck", {"how": "sleep"})
    assert worker.failure().kind == FAILED_CANCELLED


def test_started_word(zygote):
    """The shared memory holds the attempt that was begun last, even after its end."""
    worker = zygote.spawn()
    attempt = worker.run("stuck", {"how": "sleep"})
    worker.output_until("stuck")
    assert worker.words[WORD_STARTED] == attempt
    worker.interrupt(attempt)
    worker.failure()
    assert worker.words[WORD_STARTED] == attempt


def test_recalled_attempt(worker):
    """An attempt that the engine recalled before it began is handed back, and the next one runs."""
    worker.words[WORD_RECALLED] = worker.attempt + 1
    assert worker.done(worker.run("square", {"input": 3})).results == [Failure(FAILED_RECALLED)]
    assert worker.ask("square", {"input": 5}) == 25.0


def test_racing_interrupts(worker):
    """Interrupts that come before, during and after short attempts leave one answer each, and a live worker."""
    for round_ in range(300):
        attempt = worker.run("brief")
        if round_ % 3:
            worker.words[WORD_INTERRUPT] = attempt
        for _ in range(round_ % 50):
            pass
        os.kill(worker.pid, signal.SIGUSR1)
        worker.cancel(attempt)
        (result,) = worker.done(attempt).results
        assert isinstance(result, Encoded) or result.kind == FAILED_CANCELLED
    assert worker.wire.is_silent()
    assert worker.ask("square", {"input": 5}) == 25.0


def test_stale_interrupt(worker):
    """An interrupt of an attempt that has ended does not affect the next one."""
    for _ in range(300):
        old = worker.run("brief")
        worker.done(old)
        worker.words[WORD_INTERRUPT] = old
        new = worker.run("brief")
        os.kill(worker.pid, signal.SIGUSR1)
        assert isinstance(worker.done(new).results[0], Encoded)


def test_interrupt_inside_a_stream(zygote):
    """A generator that is stuck between two chunks is stopped, and its ``finally`` blocks run."""
    worker = zygote.spawn()
    attempt = worker.run("slow-stream")
    worker.head()
    assert worker.chunk() == 1
    while worker.words[WORD_STARTED] != attempt:
        time.sleep(0.001)
    worker.interrupt(attempt)
    assert worker.failure().kind == FAILED_CANCELLED
    worker.output_until("closed")


def test_cancel_of_a_running_stream(zygote):
    """A generator that never waits is stopped between two chunks, and its ``finally`` blocks run."""
    worker = zygote.spawn()
    attempt = worker.run("count", {"n": 10**9})
    worker.head()
    worker.wire.expect(Chunk)
    worker.words[WORD_INTERRUPT] = attempt
    worker.cancel(attempt)
    while not isinstance(message := worker.wire.receive(), Done):
        assert isinstance(message, Chunk)
    assert message.results[0].kind == FAILED_CANCELLED
    worker.output_until("closed")
