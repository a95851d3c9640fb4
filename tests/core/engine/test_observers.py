"""The engine's records, for the policies that let a job in and for the observers."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from penstock import errors
from penstock.app import App
from penstock.engine.calls import Call
from penstock.engine.engine import Engine
from penstock.hooks import Principal, ShutdownRequest, Submission, hookimpl, records
from penstock.hooks.registry import Registry
from penstock.response import Encoded
from penstock.wire import FAILED_HANDLER, Done, Failure
from tests.core.engine.fake_processes import FakeLink, engine_of, ready

app = App(__name__)


@app.endpoint("/square", max_queue=1)
def square(input: float) -> float:
    return input**2


class Watcher:
    """A plug-in that keeps every record, and may shorten a drain."""

    name = "watcher"

    def __init__(self) -> None:
        self.seen: list[records.Record] = []
        self.grant: Callable[[ShutdownRequest], float] = lambda request: request.drain

    @hookimpl
    def penstock_observer(self) -> dict[type[records.Record], Callable[[Any], None]]:
        return dict.fromkeys(records.Record.__subclasses__(), self.seen.append)

    @hookimpl
    def penstock_shutdown_policy(self) -> Callable[[ShutdownRequest], float]:
        return lambda request: self.grant(request)  # noqa: PLW0108 - a test changes it later

    def of(self, kind: type[records.Record]) -> list[Any]:
        return [record for record in self.seen if type(record) is kind]


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def engine(watcher: Watcher) -> Engine:
    return engine_of(app, Registry([watcher]))


def submit(engine: Engine, released: list[records.JobAnswered] | None = None) -> Call:
    submission = Submission(app.endpoints[0], request_id="r1", principal=Principal("ada"))
    if released is not None:
        submission.add_release(released.append)
    return engine.submit(submission, b"{}")


def answer(engine: Engine, link: FakeLink, result: Any = None) -> None:
    engine.performer.inbox.on_messages(link, [Done(link.attempts()[-1], 0.25, [result or Encoded(b"1")])])


@pytest.mark.parametrize(
    ("result", "code"),
    [(Encoded(b"1"), "ok"), (Failure(FAILED_HANDLER, "no"), "handler-error")],
    ids=["ok", "error"],
)
def test_an_answered_job_is_told_once(engine: Engine, watcher: Watcher, result: Any, code: str) -> None:
    """The policies that let it in and the observers receive the same record."""
    released: list[records.JobAnswered] = []
    link = ready(engine)
    submit(engine, released)
    engine.reactor.time.advance(0.5)
    answer(engine, link, result)
    (told,) = watcher.of(records.JobAnswered)
    assert released == [told]
    assert (told.endpoint, told.request_id, told.principal, told.code) == ("square", "r1", "ada", code)
    assert (told.attempts, told.queue_seconds, told.execution_seconds) == (1, 0.0, 0.25)
    (ended,) = watcher.of(records.AttemptEnded)
    assert (ended.worker, ended.jobs, ended.useful, ended.seconds) == ("default/0", 1, 1, 0.25)


def test_a_job_whose_caller_has_gone_is_told_as_cancelled(engine: Engine, watcher: Watcher) -> None:
    """The record comes at once; the attempt, which no caller waits for, ends later and was not useful."""
    released: list[records.JobAnswered] = []
    link = ready(engine)
    submit(engine, released).cancel()
    assert [record.code for record in released] == ["cancelled"]
    assert [record.why for record in watcher.of(records.AttemptInterrupted)] == ["cancel"]
    answer(engine, link)
    assert [record.useful for record in watcher.of(records.AttemptEnded)] == [0]
    assert len(watcher.of(records.JobAnswered)) == 1


def test_work_that_is_lost_with_its_worker_was_no_use(engine: Engine, watcher: Watcher) -> None:
    """The attempt took time all the same."""
    link = ready(engine)
    submit(engine)
    engine.reactor.time.advance(2.0)
    engine.performer.inbox.on_exit(engine.performer.processes.links.pop(link.worker), "killed by SIGKILL")
    assert [(record.useful, record.seconds) for record in watcher.of(records.AttemptEnded)] == [(0, 2.0)]
    assert [record.worker for record in watcher.of(records.WorkerLost)] == ["default/0"]
    assert [record.delay for record in watcher.of(records.WorkerRestarted)] == [0.0]


def test_a_refusal_is_told_by_who_asked(engine: Engine, watcher: Watcher) -> None:
    """The engine raises; only when its caller reports that with ``refuse`` is there a record, once."""
    released: list[records.JobAnswered] = []
    submit(engine)
    submission = Submission(app.endpoints[0], request_id="r2")
    submission.add_release(released.append)
    with pytest.raises(errors.QueueFull) as caught:
        engine.submit(submission, b"{}")
    assert watcher.of(records.JobAnswered) == released == []
    engine.refuse(submission, caught.value)
    (told,) = watcher.of(records.JobAnswered)
    assert released == [told]
    assert (told.code, told.attempts, told.execution_seconds) == ("queue-full", 0, None)


def test_an_answered_job_is_no_garbage(engine: Engine) -> None:
    """It leaves nothing for the garbage collector, which would cost a tenth of a busy server's time."""
    link = ready(engine)
    submit(engine, [])
    answer(engine, link)
    gc.collect()
    for _ in range(10):
        submit(engine, [])
        answer(engine, link)
    assert gc.collect() == 0


def test_a_drain_is_told_at_both_ends(engine: Engine, watcher: Watcher) -> None:
    """The records say who, why and for how long; and the fate of the jobs that the drain found."""
    link = ready(engine)
    submit(engine)
    drained: list[bool] = []
    engine.drain(5.0, lambda: drained.append(True), who="SIGTERM", why="an update")
    (begun,) = watcher.of(records.DrainStarted)
    assert (begun.who, begun.why, begun.seconds, begun.jobs) == ("SIGTERM", "an update", 5.0, 1)
    engine.reactor.time.advance(1.0)
    answer(engine, link)
    engine.performer.inbox.on_exit(engine.performer.processes.links.pop(link.worker), "it has exited")
    (ended,) = watcher.of(records.DrainEnded)
    assert (ended.who, ended.seconds, ended.finished, ended.abandoned) == ("SIGTERM", 1.0, 1, 0)
    assert drained == [True]


def test_abandoned_jobs_are_told(engine: Engine, watcher: Watcher) -> None:
    """Each has a record, and the drain's own record counts them."""
    link = ready(engine)
    submit(engine)
    engine.drain(5.0, lambda: None)
    engine.reactor.time.advance(5.0)
    engine.performer._on_alarm()
    (given_up,) = watcher.of(records.JobAbandoned)
    assert (given_up.endpoint, given_up.request_id, given_up.principal, given_up.state) == (
        "square",
        "r1",
        "ada",
        "running",
    )
    engine.performer.inbox.on_exit(engine.performer.processes.links.pop(link.worker), "killed")
    (ended,) = watcher.of(records.DrainEnded)
    assert (ended.finished, ended.abandoned) == (0, 1)


@pytest.mark.parametrize(
    ("grant", "longest", "seconds"),
    [(lambda _: 2.0, 60.0, 2.0), (lambda _: 90.0, 60.0, 60.0), (lambda _: 1 / 0, 60.0, 5.0)],
    ids=["the-policy-grants", "the-host-has-a-limit", "the-policy-raises"],
)
def test_how_long_a_drain_may_take(
    engine: Engine, watcher: Watcher, grant: Callable[[ShutdownRequest], float], longest: float, seconds: float
) -> None:
    """The policy decides, within the host's limit; one that raises does not keep the engine from stopping."""
    engine.longest_drain = longest
    watcher.grant = grant
    ready(engine)
    engine.drain(5.0)
    assert [record.seconds for record in watcher.of(records.DrainStarted)] == [seconds]


def test_a_shutdown_takes_its_host_along(engine: Engine) -> None:
    """The host is called once the drain has begun; a repeated shutdown calls it again, and changes nothing."""
    ready(engine)
    told: list[tuple[ShutdownRequest, bool]] = []
    engine.on_shutdown = lambda request: told.append((request, engine.draining))
    engine.shutdown(5.0, who="root", why="enough")
    engine.shutdown(50.0, who="somebody else")
    request = ShutdownRequest(drain=5.0, who="root", why="enough")
    assert told == [(request, True), (request, True)]


def test_an_engine_that_is_closed_at_once_is_told_too(engine: Engine, watcher: Watcher) -> None:
    """Every end of an engine has its records."""
    ready(engine)
    submit(engine)
    engine.close()
    engine.close()
    assert [record.code for record in watcher.of(records.JobAnswered)] == ["draining"]
    (ended,) = watcher.of(records.DrainEnded)
    assert (ended.seconds, ended.finished, ended.abandoned) == (0.0, 0, 1)
