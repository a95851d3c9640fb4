from __future__ import annotations

import os
import signal
import time

import pytest

from penstock.response import Encoded
from penstock.wire import (
    FAILED_CANCELLED,
    FAILED_RECALLED,
    WORD_ABANDONED,
    WORD_INTERRUPT,
    WORD_RECALLED,
    WORD_STARTED,
    Chunk,
    Done,
    Failure,
    Head,
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


# ---- generation loops


@pytest.fixture(scope="module")
def loops():
    with ZygoteClient("tests.core.worker.loop_apps:app") as client:
        yield client


def ends_of(worker, count):
    """Return the ends of this number of attempts, whatever they send before."""
    ends = {}
    while len(ends) < count:
        message = worker.wire.receive()
        assert isinstance(message, Head | Chunk | Done), message
        if isinstance(message, Done):
            (ends[message.attempt],) = message.results
    return ends


def test_interrupt_of_a_step(loops):
    """A step that does not return is stopped when no job is wanted; its traceback shows where, and all are released."""
    worker = loops.spawn("loop")
    attempts = [worker.run("loop", {"stuck": stuck}) for stuck in ("", "step")]
    worker.output_until("stuck in step")
    worker.abandon(*attempts)
    ends = ends_of(worker, 2)
    assert {end.kind for end in ends.values()} == {FAILED_CANCELLED}
    assert all("in step" in end.traceback and "interrupts.py" not in end.traceback for end in ends.values())
    worker.output_until("released 0")
    worker.output_until("released 1")
    assert ends_of_new(worker) == [Encoded(b"")]


def ends_of_new(worker):
    worker.run("loop")
    return list(ends_of(worker, 1).values())


def test_interrupt_of_an_admit(loops):
    """An ``admit`` that does not return is stopped by its job's own interrupt, and nothing is released."""
    worker = loops.spawn("loop")
    attempt = worker.run("loop", {"stuck": "admit"})
    worker.output_until("stuck in admit")
    worker.interrupt(attempt)
    failure = worker.failure()
    assert failure.kind == FAILED_CANCELLED
    assert "in admit" in failure.traceback
    assert ends_of_new(worker) == [Encoded(b"")]
    assert worker.output_until("released").count("released") == 1


def test_a_step_is_not_interrupted_for_one_of_its_jobs(loops):
    """The interrupt of an attempt that is in a slot strikes nothing; its message takes effect after the step."""
    worker = loops.spawn("loop")
    stuck = worker.run("loop", {"stuck": "step"})
    worker.output_until("stuck in step")
    worker.words[WORD_INTERRUPT] = stuck
    worker.run("loop")
    worker.words[WORD_ABANDONED] = stuck - 1
    for _ in range(10):
        os.kill(worker.pid, signal.SIGUSR1)
    worker.head()
    assert worker.wire.is_silent(0.1)
    worker.abandon(stuck)
    ends = ends_of(worker, 2)
    assert ends[stuck].kind == FAILED_CANCELLED
    assert ends[stuck + 1] == Encoded(b"")


def test_a_step_that_swallows_an_interrupt(loops):
    """The jobs end as cancelled, or as they do; the worker continues."""
    worker = loops.spawn("loop")
    attempt = worker.run("loop", {"stuck": "stubborn"})
    worker.output_until("stuck in step")
    worker.abandon(attempt)
    assert ends_of(worker, 1)[attempt].kind == FAILED_CANCELLED
    assert ends_of_new(worker) == [Encoded(b"")]


def test_racing_interrupts_of_steps(loops):
    """Interrupts that come before, during and after short steps leave one end each, and a live worker."""
    worker = loops.spawn("loop")
    for round_ in range(200):
        attempts = [worker.run("loop") for _ in range(1 + round_ % 2)]
        if round_ % 3:
            worker.words[WORD_ABANDONED] = attempts[-1]
        for _ in range(round_ % 50):
            pass
        os.kill(worker.pid, signal.SIGUSR1)
        for attempt in attempts:
            worker.cancel(attempt)
        for end in ends_of(worker, len(attempts)).values():
            assert isinstance(end, Encoded) or end.kind == FAILED_CANCELLED
    assert worker.wire.is_silent()
    assert ends_of_new(worker) == [Encoded(b"")]
