"""Progress reports reach observers and the caller; a worker that invents them is not believed."""

from __future__ import annotations

from typing import Any

import pytest

from penstock import App, Batching, Context
from penstock.engine.calls import Call
from penstock.engine.engine import Engine
from penstock.hooks import JobProgressed, Submission, hookimpl
from penstock.hooks.registry import Registry
from penstock.response import Encoded
from penstock.wire import Done, Progress, Run
from tests.core.engine.fake_processes import FakeLink, engine_of, ready

app = App(__name__)


@app.endpoint("/train", pool="shared", concurrency=2)
async def train(context: Context) -> None: ...


@app.endpoint("/embed", pool="shared", batching=Batching(max_size=2, max_wait=1.0))
def embed(items: list[float], context: Context) -> list[float]:
    return items


class Watcher:
    name = "watcher"

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @hookimpl
    def penstock_observer(self) -> dict[type, Any]:
        return {JobProgressed: self.seen.append}


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def engine(watcher: Watcher) -> Engine:
    return engine_of(app, Registry([watcher]))


def submit(engine: Engine, name: str = "train", body: bytes = b"") -> Call:
    return engine.submit(Submission(engine.endpoint(name), request_id="r1"), body)


def arrive(engine: Engine, link: FakeLink, *messages: Any) -> None:
    engine.performer.inbox.on_messages(link, list(messages))


def test_a_report_reaches_observers_and_the_caller(engine: Engine, watcher: Watcher) -> None:
    """The record says whose report it is; the caller's has the amounts as they came."""
    link = ready(engine)
    heard: list[Progress] = []
    submission = Submission(engine.endpoint("train"), request_id="r1")
    call = engine.submit(submission, b"", on_report=heard.append)
    [attempt] = link.attempts()
    arrive(engine, link, Progress(attempt, 3.0, 8.0, "epoch 3"))
    assert heard == [Progress(attempt, 3.0, 8.0, "epoch 3")]
    assert watcher.seen == [
        JobProgressed(
            endpoint="train", request_id="r1", job_id=call.job_id, attempt=1, done=3.0, total=8.0, message="epoch 3"
        )
    ]


def test_the_report_of_a_batch_is_that_of_each_member(engine: Engine, watcher: Watcher) -> None:
    """Members that have been answered, or cancelled, hear nothing."""
    link = ready(engine)
    first, second = submit(engine, "embed", b"1"), submit(engine, "embed", b"2")
    [attempt] = link.attempts()
    arrive(engine, link, Progress(attempt, 1.0))
    first.cancel()
    arrive(engine, link, Progress(attempt, 2.0))
    assert [(seen.job_id, seen.done) for seen in watcher.seen] == [
        (first.job_id, 1.0),
        (second.job_id, 1.0),
        (second.job_id, 2.0),
    ]


def test_a_report_after_the_end_is_ignored(engine: Engine, watcher: Watcher) -> None:
    """A thread that the handler has left behind may go on: that is allowed."""
    link = ready(engine)
    submit(engine)
    [attempt] = link.attempts()
    arrive(engine, link, Done(attempt, 0.1, [Encoded(b"null")]), Progress(attempt, 9.0))
    assert watcher.seen == []
    assert engine.scheduler.workers


def test_a_report_of_anothers_attempt_breaks_the_protocol(engine: Engine, watcher: Watcher) -> None:
    """The worker is killed, and the other's caller hears nothing."""
    link = ready(engine)
    submit(engine)
    [attempt] = link.attempts()
    stranger = FakeLink(link.worker + 1)
    arrive(engine, stranger, Progress(attempt, 1.0))
    assert watcher.seen == []


def test_a_flood_of_reports_breaks_the_protocol(engine: Engine, watcher: Watcher) -> None:
    """A worker that ignores the limit is killed before it can keep the engine busy."""
    link = ready(engine)
    submit(engine)
    [attempt] = link.attempts()
    arrive(engine, link, *[Progress(attempt, float(number)) for number in range(1000)])
    assert 10 <= len(watcher.seen) <= 30
    assert attempt not in engine.scheduler.attempts


def test_the_limit_of_reports_grows_with_time(engine: Engine, watcher: Watcher) -> None:
    """Ten per second are taken for as long as the job runs."""
    link = ready(engine)
    submit(engine)
    [attempt] = link.attempts()
    for number in range(300):
        arrive(engine, link, Progress(attempt, float(number)))
        engine.reactor.time.advance(0.1)
    assert len(watcher.seen) == 300


@pytest.mark.parametrize("is_observed", [False, True])
@pytest.mark.parametrize("is_heard", [False, True])
def test_handlers_send_only_if_something_listens(*, is_observed: bool, is_heard: bool) -> None:
    """An observer or a caller that listens; without both, the worker sends nothing."""
    engine = engine_of(app, Registry([Watcher()] if is_observed else []))
    link = ready(engine)
    on_report: Any = (lambda _: None) if is_heard else None
    engine.submit(Submission(engine.endpoint("train")), b"", on_report=on_report)
    [run] = [message for message in link.sent if isinstance(message, Run)]
    about = run.works[0].about
    assert about is not None
    assert about.is_watched == (is_observed or is_heard)
