from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from penstock.app import App
from penstock.engine.calls import Call
from penstock.engine.engine import Engine
from penstock.hooks import Submission
from penstock.policies import Timeouts
from penstock.response import Encoded
from penstock.wire import WINDOW_BYTES, Chunk, Credit, Done, Head, Ready
from tests.core.engine.fake_processes import FakeLink, engine_of, ready

GRACE = 2.0

app = App(__name__)


@app.endpoint("/stream", pool="shared", concurrency=2)
async def stream() -> AsyncIterator[int]:
    yield 0


@app.endpoint("/stubborn", pool="shared", concurrency=2, timeouts=Timeouts(execution=1.0, grace=GRACE))
async def stubborn() -> None: ...


@pytest.fixture
def engine() -> Engine:
    return engine_of(app)


def start(engine: Engine) -> tuple[FakeLink, Call]:
    """Run a stream and a stubborn neighbour in the same worker, past the neighbour's deadline."""
    link = ready(engine)
    call = engine.submit(Submission(engine.endpoint("stream")), b"")
    engine.submit(Submission(engine.endpoint("stubborn")), b"")
    engine.reactor.time.advance(1.0)
    engine.performer._on_alarm()
    return link, call


def head(attempt: int) -> Head:
    return Head(attempt, Encoded(b""))


def test_chunks_that_come_in_time_are_the_callers(engine: Engine) -> None:
    """Chunks that arrived before the end of the worker can be taken; then the job is never run again."""
    link, call = start(engine)
    (attempt, _) = link.attempts()
    engine.performer.inbox.on_messages(link, [head(attempt), Chunk(attempt, b"0"), Chunk(attempt, b"1")])
    assert call.take() == [b"0", b"1"]
    engine.performer.inbox.on_messages(link, [Done(attempt, 0.0, [Encoded(b"")])])
    assert call.outcome == Encoded(b"")


def test_chunks_of_an_attempt_that_is_over_are_not_the_callers(engine: Engine) -> None:
    """First chunks that arrive in the very turn in which the worker is killed are not seen: the job runs again.

    Otherwise the caller would have them twice, from this attempt and from the next one.
    """
    link, call = start(engine)
    (attempt, _) = link.attempts()
    engine.reactor.time.advance(GRACE)
    engine.performer.inbox.on_messages(link, [head(attempt), Chunk(attempt, b"0")])
    assert call.take() == []
    assert call.outcome is None

    engine.performer.inbox.on_exit(engine.performer.processes.links.pop(link.worker), "killed")
    (replacement,) = engine.performer.processes.links.values()
    engine.performer.inbox.on_messages(replacement, [Ready(0.0, 1)])
    (another,) = replacement.attempts()
    engine.performer.inbox.on_messages(replacement, [head(another), Chunk(another, b"0")])
    assert call.take() == [b"0"]


def test_room_is_given_back_by_the_quarter(engine: Engine) -> None:
    """Chunks that the caller takes make room for the worker again, in few messages that add up to every byte."""
    link, call = start(engine)
    (attempt, _) = link.attempts()
    half = b"x" * (WINDOW_BYTES // 8)  # half of a quarter
    engine.performer.inbox.on_messages(link, [head(attempt)])
    for _ in range(5):
        engine.performer.inbox.on_messages(link, [Chunk(attempt, half)])
        call.take()
    given_back = [message for message in link.sent if isinstance(message, Credit)]
    assert given_back == [Credit(attempt, 2 * len(half))] * 2
    assert call.owed_bytes == len(half)
