"""The services of plug-ins: their life with the engine, their jobs, and their mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock import App, Context, errors
from penstock.engine.engine import Engine
from penstock.errors import PluginError
from penstock.hooks import Principal, Progress, ServiceEngine, StoredSubmission, Submission, hookimpl
from penstock.hooks.registry import Registry
from penstock.response import Encoded
from penstock.wire import Cancel, Done, Failure, Run
from tests.core.engine.fake_processes import FakeLink, FakeProcesses, FakeReactor, ready

app = App(__name__)


@app.endpoint("/train", pool="shared", concurrency=2)
async def train(context: Context) -> None: ...


class Steward:
    """A plug-in whose service notes what happens to it, and may fail."""

    name = "steward"

    def __init__(self, name: str = "steward", calls: list[str] | None = None, fails_at: str = "") -> None:
        self.name = name
        self.calls: list[str] = [] if calls is None else calls
        self.fails_at = fails_at
        self.reason: str | None = None
        self.engine: ServiceEngine
        self.deadline = 0.0

    @hookimpl
    def penstock_service(self) -> Any:
        return self

    def note(self, name: str) -> None:
        self.calls.append(f"{self.name} {name}")
        if name == self.fails_at:
            raise ValueError("no")

    def start(self, engine: ServiceEngine) -> None:
        self.engine = engine
        self.note("start")

    def unready_reason(self) -> str | None:
        if self.fails_at == "unready_reason":
            raise ValueError("no")
        return self.reason

    def drain(self, deadline: float) -> None:
        self.deadline = deadline
        self.note("drain")

    def stop(self) -> None:
        self.note("stop")

    def submit(self, **options: Any) -> Any:
        return self.engine.submit(StoredSubmission(self.engine.app.endpoints[0], **options), b"{}")


class LoopReactor(FakeReactor):
    """A loop that keeps what it is asked to call."""

    def __init__(self) -> None:
        super().__init__()
        self.callbacks: list[Callable[[], None]] = []

    def call_at(self, when: float, callback: Callable[[], None]) -> Any:
        self.callbacks.append(callback)
        return super().call_at(when, callback)

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)


def engine_with(*plugins: Any) -> Engine:
    engine = Engine(app, LoopReactor(), "no such target", registry=Registry(plugins))
    engine.performer.processes = FakeProcesses()
    return engine


def started(*plugins: Any) -> tuple[Engine, FakeLink]:
    engine = engine_with(*plugins)
    engine.start()
    return engine, ready(engine)


def attempts(link: FakeLink) -> list[int]:
    return [message.attempt for message in link.sent if isinstance(message, Run)]


def finish(engine: Engine, link: FakeLink, attempt: int, result: Any = None) -> None:
    engine.performer.inbox.on_messages(link, [Done(attempt, 0.1, [result or Encoded(b"1")])])


# ---- life


def test_a_service_lives_as_long_as_the_engine() -> None:
    """It is started before the workers, hears of a drain with its deadline, and is stopped once."""
    steward = Steward()
    engine, _ = started(steward)
    assert steward.calls == ["steward start"]
    engine.drain(5.0)
    assert steward.deadline == engine.reactor.time() + 5.0
    engine.close()
    engine.close()
    assert steward.calls == ["steward start", "steward drain", "steward stop"]


def test_a_service_hears_of_a_drain_before_jobs_are_refused() -> None:
    """In its method it may still give the engine what it has in its hands."""
    steward = Steward()
    engine, _ = started(steward)
    seen: list[Any] = []
    steward.note = lambda name: seen.append(steward.submit(job_id="j").outcome) if name == "drain" else None  # type: ignore[method-assign]
    engine.drain(5.0)
    assert seen == [None]
    with pytest.raises(errors.Draining):
        steward.submit(job_id="k")


def test_services_are_stopped_in_the_reverse_order() -> None:
    """The one with the higher precedence, which was started first, may use the others to its end."""
    calls: list[str] = []
    engine, _ = started(Steward("one", calls), Steward("two", calls))
    engine.close()
    assert calls == ["two start", "one start", "one stop", "two stop"]


def test_a_service_that_cannot_be_started_stops_the_start() -> None:
    """The error names the plug-in, and a service that was started before it is stopped."""
    calls: list[str] = []
    engine = engine_with(Steward("one", calls, fails_at="start"), Steward("two", calls))
    with pytest.raises(PluginError, match=r"the service of plug-in 'one' .*cannot be started: ValueError: no"):
        engine.start()
    assert calls == ["two start", "one start", "two stop"]
    engine.close()


def test_an_engine_that_never_started_stops_no_service() -> None:
    """There is nothing to stop."""
    steward = Steward()
    engine_with(steward).close()
    assert steward.calls == []


def test_a_service_keeps_the_server_unready() -> None:
    """Its reason is one of the engine's, until it says that it has none."""
    steward = Steward()
    engine, _ = started(steward)
    noted: list[None] = []
    engine.on_readiness = lambda: noted.append(None)
    steward.reason = "the store is being opened"
    assert engine.unready_reasons() == ["the store is being opened"]
    steward.reason = None
    steward.engine.note_readiness()
    assert engine.unready_reasons() == []
    assert len(noted) == 1


# ---- jobs


def test_a_job_of_a_service_has_its_own_id_and_claim() -> None:
    """The handler's context has both, with the caller and the headers that were stored."""
    steward = Steward()
    _, link = started(steward)
    submission = StoredSubmission(
        app.endpoints[0], job_id="j-7", claim=2, request_id="r-1", principal=Principal("ada"), query="a=1"
    )
    steward.engine.submit(submission, b"{}", headers={"x-team": "blue"})
    [run] = [message for message in link.sent if isinstance(message, Run)]
    about = run.works[0].about
    assert about is not None
    assert (about.job_id, about.claim, about.request_id, about.principal, about.query, about.headers) == (
        "j-7",
        2,
        "r-1",
        "ada",
        "a=1",
        {"x-team": "blue"},
    )


def test_a_service_hears_the_outcome_and_the_progress() -> None:
    """The callbacks are called in the turn in which it happens."""
    steward = Steward()
    engine, link = started(steward)
    heard: list[Any] = []
    submission = StoredSubmission(app.endpoints[0], job_id="j")
    call = steward.engine.submit(submission, b"{}", on_report=heard.append)
    call.on_progress = lambda: heard.append(call.outcome)
    [attempt] = attempts(link)
    engine.performer.inbox.on_messages(link, [Progress(attempt, 1.0, 2.0)])
    finish(engine, link, attempt)
    assert heard == [Progress(attempt, 1.0, 2.0), Encoded(b"1")]
    assert call.attempts == 1


def test_a_service_is_called_when_slots_become_free() -> None:
    """When a worker is ready, and when attempts end; not when a job takes a slot."""
    steward = Steward()
    engine = engine_with(steward)
    engine.start()
    free: list[int] = []
    steward.engine.watch_slots(lambda: free.append(steward.engine.spare_slots("train")))
    link = ready(engine)
    assert free == [2]
    engine.submit(Submission(app.endpoints[0]), b"{}")
    engine.submit(Submission(app.endpoints[0]), b"{}")
    assert free == [2]
    first, second = attempts(link)
    finish(engine, link, first)
    finish(engine, link, second)
    assert free == [2, 1, 2]
    assert steward.engine.slots("train") == 2


def test_a_cancelled_job_works_on_until_its_attempt_ends() -> None:
    """It has an outcome at once; when the worker has stopped, the service is called and sees it."""
    steward = Steward()
    engine, link = started(steward)
    call = steward.submit(job_id="j")
    seen: list[bool] = []
    steward.engine.watch_slots(lambda: seen.append(steward.engine.is_working(call)))
    call.cancel("not wanted")
    assert isinstance(call.outcome, errors.Cancelled)
    assert steward.engine.is_working(call)
    [attempt] = attempts(link)
    assert [message for message in link.sent if isinstance(message, Cancel)] == [Cancel(attempt)]
    finish(engine, link, attempt, Failure("cancelled"))
    assert seen == [False]


def test_a_freed_slot_that_is_taken_at_once_still_shows_the_end_of_a_job() -> None:
    """A direct job that waited takes the slot; the service is called all the same."""
    steward = Steward()
    engine, link = started(steward)
    call = steward.submit(job_id="j")
    for _ in range(2):
        engine.submit(Submission(app.endpoints[0]), b"{}")
    seen: list[bool] = []
    steward.engine.watch_slots(lambda: seen.append(steward.engine.is_working(call)))
    call.cancel("not wanted")
    finish(engine, link, attempts(link)[0], Failure("cancelled"))
    assert steward.engine.spare_slots("train") == 0
    assert seen == [False]


# ---- mistakes


@pytest.mark.parametrize("method", ["drain", "stop"])
def test_a_method_that_fails_ends_nothing_else(method: str) -> None:
    """The engine drains and closes, and the failure is counted."""
    steward = Steward(fails_at=method)
    engine, _ = started(steward)
    engine.drain(5.0)
    engine.close()
    assert engine.registry.failures.counts == {("steward", "penstock_service"): 1}


def test_a_service_that_cannot_say_whether_it_is_ready_is_not() -> None:
    """The reason names the plug-in."""
    engine, _ = started(Steward(fails_at="unready_reason"))
    assert engine.unready_reasons() == ["the service of steward has failed"]


def fail(*_: Any) -> None:
    raise ValueError("no")


def test_callbacks_that_fail_harm_no_job() -> None:
    """Not the one for slots, nor the one for reports, nor a timer: each failure is counted."""
    steward = Steward()
    engine, link = started(steward)
    steward.engine.watch_slots(fail)
    call = steward.engine.submit(StoredSubmission(app.endpoints[0], job_id="j"), b"{}", on_report=fail)
    [attempt] = attempts(link)
    engine.performer.inbox.on_messages(link, [Progress(attempt, 1.0)])
    finish(engine, link, attempt)
    steward.engine.call_at(0.0, fail)
    engine.reactor.callbacks.pop()()
    assert call.outcome == Encoded(b"1")
    assert engine.registry.failures.counts == {("steward", "penstock_service"): 3}


def test_after_its_end_nothing_of_a_service_is_called() -> None:
    """Timers and calls from its threads that come too late do nothing."""
    steward = Steward()
    engine, _ = started(steward)
    late: list[None] = []
    steward.engine.call_at(1.0, lambda: late.append(None))
    steward.engine.call_soon_threadsafe(lambda: late.append(None))
    engine.close()
    for callback in engine.reactor.callbacks:
        callback()
    assert late == []


@pytest.mark.parametrize(
    ("service", "problem"),
    [
        (object(), "without the method start"),
        (type("Bad", (), {"start": lambda self: None})(), "cannot be called with 1 argument"),
    ],
)
def test_an_object_that_is_no_service_is_refused(service: Any, problem: str) -> None:
    """At the start, with the plug-in's name."""

    class Plugin:
        @hookimpl
        def penstock_service(self) -> Any:
            return service

    with pytest.raises(PluginError, match=problem):
        engine_with(Plugin())
