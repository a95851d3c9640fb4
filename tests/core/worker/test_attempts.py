from __future__ import annotations

import asyncio
import math
import time

import pytest

from penstock.response import Encoded
from penstock.wire import (
    FAILED_ANSWERED,
    FAILED_CANCELLED,
    FAILED_HANDLER,
    WINDOW_BYTES,
    About,
    Chunk,
    Credit,
    Done,
    Failure,
    Stop,
)
from penstock.worker.runtimes.asyncio_runtime import AsyncioScope
from tests.core.worker.zygote_client import WorkerClient, ZygoteClient


@pytest.fixture(scope="module")
def zygote():
    with ZygoteClient() as client:
        yield client


@pytest.fixture(scope="module")
def workers(zygote):
    """One worker for each pool; a test that breaks its worker must spawn its own."""
    pools: dict[str, WorkerClient] = {}

    def worker(pool: str) -> WorkerClient:
        if pool not in pools:
            pools[pool] = zygote.spawn(pool)
        return pools[pool]

    return worker


@pytest.fixture
def worker(workers):
    return workers("default")


# ---- one job


@pytest.mark.parametrize(
    ("pool", "name"), [("default", "square"), ("tasks", "async-square"), ("aio", "aio-square")], ids=str
)
def test_answer(workers, pool, name):
    """A handler's result comes back encoded, in each mode."""
    assert workers(pool).ask(name, {"input": 4}) == 16.0


def test_order(worker):
    """Inline attempts that arrive together run in the order in which they arrived."""
    attempts = [worker.run("square", {"input": n}) for n in range(20)]
    assert [worker.done().attempt for _ in attempts] == attempts


def test_large_body_and_answer(worker):
    """Bodies and results larger than any socket buffer pass whole."""
    body = bytes(range(256)) * 40_000
    worker.run("echo", body)
    assert worker.result() == Encoded(body, "application/octet-stream")


def test_error_shows_the_users_frames_alone(worker):
    """A handler's exception is reported with type, message and a traceback that starts in the user's code."""
    worker.run("divide", {"a": 1, "b": 0})
    failure = worker.failure()
    assert (failure.kind, failure.exception_type) == (FAILED_HANDLER, "ZeroDivisionError")
    assert failure.detail == "float division by zero"
    first, *frames = [line for line in failure.traceback.splitlines() if not line.startswith("    ")]
    assert first == "Traceback (most recent call last):"
    assert [frame.rpartition(" in ")[2] for frame in frames[:-1]] == ["divide", "inner_divide"]


def test_invalid_input(worker):
    """A body that does not fit is the caller's fault, with the errors and the status of the schema."""
    worker.run("square", {"input": "four"})
    failure = worker.failure()
    assert (failure.kind, failure.error) == (FAILED_ANSWERED, "InvalidRequest")
    assert failure.fields["errors"][0]["path"] == "$.input"


def test_malformed_input(worker):
    """A body that is not JSON is a 400."""
    worker.run("square", b"{")
    assert worker.failure().error == "MalformedRequest"


def test_handler_may_refuse_the_input(worker):
    """An ``InvalidRequest`` raised by the handler counts like one of the schema's."""
    worker.run("refuse")
    failure = worker.failure()
    assert (failure.kind, failure.error) == (FAILED_ANSWERED, "InvalidRequest")
    assert failure.fields["errors"] == [{"path": "$.x", "reason": "too blue"}]


def test_unsendable_result(worker):
    """A result that cannot be encoded is the handler's failure, which names the type."""
    worker.run("unsendable")
    failure = worker.failure()
    assert failure.kind == FAILED_HANDLER
    assert "object" in failure.detail


def test_exit_in_user_code_ends_the_job_alone(worker):
    """``sys.exit`` in a handler fails its job; the worker continues."""
    worker.run("quit")
    assert worker.failure().exception_type == "SystemExit"
    assert worker.ask("square", {"input": 2}) == 4.0


def test_text_that_utf8_cannot_carry(worker):
    """A message with a lone surrogate is reported all the same."""
    worker.run("surrogate")
    assert worker.failure().detail == "a ? name"


def test_context(worker):
    """A handler's ``Context`` carries what the engine sent about the job."""
    about = About("job-1", 2, "ann", {"a": "b"}, math.inf, "request-1")
    worker.run("check-context", {}, about=about)
    assert worker.value() == {"id": "job-1 of request-1", "attempt": 2, "principal": "ann", "cancelled": False}


def test_a_task_of_the_users_goes_on_between_attempts(workers):
    """However quickly one inline attempt follows the other, the loop has its turns."""
    worker = workers("ticking")
    first = worker.ask("ticks")
    deadline = time.monotonic() + 10.0
    while worker.ask("ticks") < first + 3:
        assert time.monotonic() < deadline


# ---- batches


def test_batch(workers):
    """Each job of a batch gets its own result, in order."""
    for name in ("double", "async-double"):
        workers("batches").run(name, 1, 2, 3)
        assert workers("batches").done().results == [Encoded(b"2.0"), Encoded(b"4.0"), Encoded(b"6.0")]


def test_batch_of_an_array(workers):
    """A numpy array of results is accepted like a list."""
    pytest.importorskip("numpy")
    workers("batches").run("array", 1, 2)
    assert workers("batches").done().results == [Encoded(b"2.0"), Encoded(b"3.0")]


def test_batch_with_an_invalid_body(workers):
    """A job whose body does not fit fails alone."""
    workers("batches").run("double", 1, "x", 3)
    first, second, third = workers("batches").done().results
    assert (first, third) == (Encoded(b"2.0"), Encoded(b"6.0"))
    assert isinstance(second, Failure)
    assert second.kind == FAILED_ANSWERED


def test_batch_of_wrong_length(workers):
    """Too few results cannot be assigned to their jobs: every job of the batch fails."""
    workers("batches").run("short", 1, 2, 3, 4)
    results = workers("batches").done().results
    assert len(results) == 4
    assert all(result.detail.startswith("predict returned 3 results for a batch of 4") for result in results)


@pytest.mark.parametrize(("name", "kind"), [("not-a-list", "dict"), ("frame", "DataFrame")])
def test_batch_that_is_no_list(workers, name, kind):
    """A mapping has no order, and a data frame iterates over its columns: every job of the batch fails."""
    workers("batches").run(name, 1, 2)
    assert all(f"predict returned a {kind} for" in result.detail for result in workers("batches").done().results)


def test_batch_with_bad_items(workers):
    """An exception in the place of a result, or a result that cannot be sent, fails its job alone."""
    workers("batches").run("mixed", -1, 0, 5)
    negative, unsendable, fine = workers("batches").done().results
    assert (negative.detail, negative.exception_type) == ("-1.0 is negative", "ValueError")
    assert unsendable.kind == FAILED_HANDLER
    assert fine == Encoded(b"5.0")


# ---- streams

STREAMS = [("default", "count"), ("tasks", "async-count"), ("aio", "aio-count"), ("threads", "thread-count")]
BLOCKS = [("default", "blocks"), ("tasks", "async-count"), ("aio", "aio-count"), ("threads", "thread-count")]


@pytest.mark.parametrize(("pool", "name"), STREAMS, ids=str)
def test_stream(workers, pool, name):
    """A generator's values arrive as chunks, in order, and end with an empty result."""
    worker = workers(pool)
    worker.run(name, {"n": 5})
    assert worker.head() == Encoded(b"")
    values, done = worker.chunks()
    assert [value["token"] if isinstance(value, dict) else value for value in values] == [0, 1, 2, 3, 4]
    assert done.results == [Encoded(b"")]


@pytest.mark.parametrize(("pool", "name"), BLOCKS, ids=str)
def test_stream_larger_than_its_window(workers, pool, name):
    """A stream waits when its window is used up, and continues when credit arrives."""
    worker = workers(pool)
    size = WINDOW_BYTES // 4
    attempt = worker.run(name, {"n": 12, "size": size})
    worker.head()
    first = [worker.wire.expect(Chunk) for _ in range(4)]
    assert sum(len(chunk.body) for chunk in first) >= WINDOW_BYTES
    worker.wire.send(Credit(attempt, 1))  # less than the last chunk exceeded the window by
    assert worker.wire.is_silent()
    worker.wire.send(Credit(attempt, WINDOW_BYTES))
    values, done = worker.chunks(credit=True)
    assert len(values) == 8
    assert done.results == [Encoded(b"")]


@pytest.mark.parametrize(("pool", "name"), BLOCKS, ids=str)
def test_cancel_of_a_stream_without_credit(zygote, pool, name):
    """A stream that waits for credit is stopped by a cancel, and its ``finally`` blocks run."""
    worker = zygote.spawn(pool)
    attempt = worker.run(name, {"n": 100, "size": WINDOW_BYTES})
    worker.head()
    worker.wire.expect(Chunk)
    worker.cancel(attempt)
    assert worker.failure().kind == FAILED_CANCELLED
    worker.output_until("closed")


def test_stream_that_fails(worker):
    """An exception between chunks ends the stream with its failure, after the chunks that were good."""
    worker.run("failing-stream")
    worker.head()
    values, done = worker.chunks()
    assert values == [1]
    assert done.results[0].detail == "broke"


def test_inline_attempt_behind_a_stream(worker):
    """An inline attempt that arrives while a stream waits for credit runs after it, not beside it."""
    stream = worker.run("blocks", {"n": 3, "size": WINDOW_BYTES})
    later = worker.run("square", {"input": 3})
    dropped = worker.run("square", {"input": 5})
    worker.cancel(dropped)
    worker.head()
    worker.wire.expect(Chunk)
    assert worker.done(dropped).results[0].kind == FAILED_CANCELLED
    worker.wire.send(Credit(stream, 3 * WINDOW_BYTES))
    _, done = worker.chunks()
    assert done.attempt == stream
    assert worker.done(later).results == [Encoded(b"9.0")]


# ---- cancels and deadlines of tasks and threads


@pytest.mark.parametrize(("pool", "name"), [("tasks", "async-sleep"), ("aio", "aio-sleep")], ids=str)
def test_cancel_of_a_task(zygote, pool, name):
    """A cancel stops an asynchronous attempt where it waits, and its ``finally`` blocks run."""
    worker = zygote.spawn(pool)
    worker.cancel(worker.run(name))
    assert worker.failure().kind == FAILED_CANCELLED
    worker.cancel(worker.run(name))
    assert worker.failure().kind == FAILED_CANCELLED
    worker.output_until("closed")


@pytest.mark.parametrize(("pool", "name"), [("tasks", "async-sleep"), ("aio", "aio-sleep")], ids=str)
def test_deadline_of_a_task(workers, pool, name):
    """An asynchronous attempt ends at its deadline by itself."""
    began = time.monotonic()
    workers(pool).run(name, deadline=began + 0.05)
    assert workers(pool).failure().kind == FAILED_CANCELLED
    assert time.monotonic() - began >= 0.05


def test_early_timer_is_no_deadline():
    """A loop whose timers fire early, as uvloop's do by a fraction of a millisecond, does not end an attempt early."""

    class Hasty(asyncio.SelectorEventLoop):
        def call_later(self, delay, callback, *args, context=None):
            return super().call_later(delay / 2, callback, *args, context=context)

    async def main():
        deadline = time.monotonic() + 0.02
        scope = AsyncioScope(asyncio.current_task(), asyncio.get_running_loop(), deadline)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()
        assert scope.cancelled
        return time.monotonic() - deadline

    with asyncio.Runner(loop_factory=Hasty) as runner:
        assert runner.run(main()) >= 0.0


def test_tasks_run_at_once(workers):
    """While one asynchronous attempt waits, others are answered."""
    worker = workers("tasks")
    sleeper = worker.run("async-sleep")
    assert worker.ask("async-square", {"input": 3}) == 9.0
    worker.cancel(sleeper)
    assert worker.done(sleeper).results[0].kind == FAILED_CANCELLED


def test_wrong_loop(workers):
    """Code for asyncio that runs under trio fails, and the error names the fix."""
    workers("tasks").run("async-wrong-loop")
    assert 'runtime="asyncio"' in workers("tasks").failure().detail


def test_error_in_a_task(workers):
    """An asynchronous handler's exception has a traceback of the user's frames alone."""
    workers("tasks").run("async-fail")
    failure = workers("tasks").failure()
    assert failure.exception_type == "KeyError"
    assert failure.traceback.count("File ") == 1


def test_cancelled_error_that_nobody_asked_for(workers):
    """A ``CancelledError`` raised by the user's code is a failure of the handler, not a cancel."""
    workers("aio").run("aio-cancel-itself")
    failure = workers("aio").failure()
    assert (failure.kind, failure.exception_type) == (FAILED_HANDLER, "asyncio.exceptions.CancelledError")


def test_asyncio_pool_does_not_import_trio():
    """The workers of an app that runs on asyncio alone never import trio."""
    with ZygoteClient("tests.core.worker.worker_apps_asyncio:app") as zygote:
        assert zygote.spawn().ask("is-trio-imported") is False


def test_threads_run_at_once(workers):
    """Two attempts of concurrency 2 are inside the user's code at the same time."""
    worker = workers("threads")
    attempts = {worker.run("meet"), worker.run("meet")}
    assert {worker.done().attempt, worker.done().attempt} == attempts


def test_cancel_of_a_thread(workers):
    """A thread learns of a cancel from its ``Context``; its return value ends the attempt."""
    worker = workers("threads")
    attempt = worker.run("until-cancelled", about=About("", 1, None, {}, math.inf))
    worker.cancel(attempt)
    assert worker.value() == "saw it"


def test_exit_in_a_thread(workers):
    """``SystemExit`` in a thread fails its job; the thread continues."""
    for _ in range(4):
        workers("threads").run("thread-fail")
        assert workers("threads").failure().exception_type == "SystemExit"


def test_cancel_of_what_is_done(workers):
    """A cancel or a credit for an attempt that has ended is ignored."""
    for pool, name in (("default", "square"), ("tasks", "async-square"), ("aio", "aio-square")):
        worker = workers(pool)
        attempt = worker.run(name, {"input": 1})
        worker.done(attempt)
        worker.cancel(attempt)
        worker.wire.send(Credit(attempt, 5))
        assert worker.ask(name, {"input": 3}) == 9.0


# ---- models


def test_model(zygote):
    """A class is set up for its device before the worker is ready, and torn down when it stops."""
    worker = zygote.spawn("model", "gpu:1")
    assert worker.ask("model", {"x": 1.5}) == "1.5 on gpu:1"
    worker.wire.send(Stop())
    assert worker.wire.receive() is None
    worker.output_until("torn down")
    assert worker.is_gone()


def test_async_model(zygote):
    """``setup`` may be asynchronous and gets a device even if none was declared; a failing ``teardown`` is logged."""
    worker = zygote.spawn("async-model")
    assert worker.ask("async-model") == "cpu"
    worker.wire.send(Stop())
    worker.output_until("RuntimeError: late trouble")


def test_stop_waits_for_what_runs(zygote):
    """A worker that receives ``Stop`` finishes its attempts first."""
    worker = zygote.spawn("tasks")
    sleeper = worker.run("async-sleep")
    worker.wire.send(Stop())
    worker.cancel(sleeper)
    assert isinstance(worker.done(sleeper), Done)
    assert worker.wire.receive() is None
    assert worker.is_gone()
