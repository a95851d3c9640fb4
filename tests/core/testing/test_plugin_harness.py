"""The harness for authors of plug-ins: real policies, scheduler and records; no process, no waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from penstock import App, Timeouts
from penstock.errors import Forbidden, HookError, NotFound, PayloadTooLarge, PluginError, RateLimited
from penstock.hooks import (
    AttemptEnded,
    AttemptInterrupted,
    DrainEnded,
    DrainStarted,
    FifoQueue,
    HookFailed,
    JobAbandoned,
    JobAnswered,
    Principal,
    Release,
    RetryScheduled,
    Route,
    RouteEngine,
    RouteRequest,
    RouteResponse,
    ShutdownRequest,
    Submission,
    WorkerReady,
    hookimpl,
)
from penstock.testing import Behaviour, MockClock, PluginHarness


def app(**options: Any) -> App:
    app = App("tests", **options)

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/count", timeouts=Timeouts(queue=5, execution=2))
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    return app


class Everything:
    """A plug-in that makes one decision of each kind."""

    name = "everything"

    def __init__(self) -> None:
        self.released: list[JobAnswered] = []
        self.inside = 0

    @hookimpl
    def penstock_authenticator(self) -> Callable[[Submission], Principal]:
        def authenticate(submission: Submission) -> Principal:
            name = submission.header("x-name")
            if name is None:
                raise Forbidden("who are you?")
            return Principal(name)

        return authenticate

    @hookimpl
    def penstock_timeout_policy(self) -> Callable[[Submission], Timeouts]:
        return lambda submission: Timeouts(queue=1)

    @hookimpl
    def penstock_admission_policy(self) -> Callable[[Submission], Release]:
        def admit(submission: Submission) -> Release:
            submission.response_headers.append(("x-inside", str(self.inside)))
            submission.priority = "batch"
            if self.inside:
                raise RateLimited(retry_after=3)
            self.inside += 1
            return release

        def release(answered: JobAnswered) -> None:
            self.inside -= 1
            self.released.append(answered)

        return admit

    @hookimpl
    def penstock_shutdown_policy(self) -> Callable[[ShutdownRequest], float]:
        return lambda request: min(request.drain, 2.0)

    @hookimpl
    def penstock_routes(self) -> list[Route]:
        def hello(request: RouteRequest, engine: Any) -> RouteResponse:
            assert request.principal is not None
            return RouteResponse.json({"hello": request.principal.name, "reasons": engine.unready_reasons()})

        return [Route(path="/hello", name="hello", handler=hello, method="POST")]


class Notes:
    """A plug-in whose routes read paths and bodies."""

    @hookimpl
    def penstock_routes(self) -> list[Route]:
        def put(request: RouteRequest, engine: Any) -> RouteResponse:
            return RouteResponse.json([request.path_values, request.body.decode()])

        return [
            Route(path="/notes/{name}", name="note", handler=put, method="PUT", reads_body=True, max_body=4),
            Route(path="/notes/all", name="notes", handler=put, method="PUT"),
            Route(path="/files/{path:path}", name="file", handler=put),
            Route(path="/slow", name="slow", handler=self.slow),
            Route(path="/broken", name="broken", handler=self.broken),
        ]

    async def slow(self, request: RouteRequest, engine: Any) -> RouteResponse:
        await asyncio.sleep(0)
        return RouteResponse(body=b"0", stream=self.count())

    def broken(self, request: RouteRequest, engine: Any) -> RouteResponse:
        return RouteResponse(stream=self.count(last="2"))

    async def count(self, last: Any = b"2") -> AsyncIterator[bytes]:
        yield b"1"
        await asyncio.sleep(0)
        yield last


ADA = {"X-Name": "ada"}


def test_a_request_passes_all_policies() -> None:
    """Policies run in the server's order, each with its effect; policies and observers learn the outcome."""
    plugin = Everything()
    harness = PluginHarness(app(), [plugin])
    request = harness.request("square", headers=ADA, size_bytes=7)
    assert (request.code, request.principal, request.headers) == (None, "ada", {"x-inside": "0"})
    assert request.job is not None
    job = request.job
    assert (job.timeouts.queue, job.timeouts.execution, job.priority, job.share) == (1, 300, 2, "ada")
    harness.advance(1)
    assert request.code == "ok"
    assert request.execution_seconds == 0.01
    assert repr(request) == "<FakeRequest r1 of square: ok>"
    assert plugin.released == harness.records_of(JobAnswered)
    [record] = plugin.released
    assert (record.endpoint, record.request_id, record.code, record.principal) == ("square", "r1", "ok", "ada")
    assert [type(r) for r in harness.records] == [WorkerReady, AttemptEnded, JobAnswered]


def test_a_refusal_is_told_and_releases_nothing() -> None:
    """A refused request has no job, but it does have the response headers."""
    plugin = Everything()
    harness = PluginHarness(app(), [plugin])
    assert harness.request().code == "forbidden"
    harness.request(headers=ADA, behaviour=Behaviour.SLOW)
    refused = harness.request(headers=ADA)
    assert (refused.code, refused.job, refused.headers) == ("rate-limited", None, {"x-inside": "1"})
    assert refused.error is not None
    assert refused.error.retry_after == 3
    assert [record.code for record in harness.records_of(JobAnswered)] == ["forbidden", "rate-limited"]
    assert plugin.released == []
    harness.advance(2)
    assert [record.code for record in plugin.released] == ["ok"]


def test_time_outs_and_cancels_happen_on_the_clock() -> None:
    """Timeouts and cancellations happen as in a real engine, without waiting."""
    harness = PluginHarness(app())
    stuck = harness.request("count", behaviour=Behaviour.STUCK)
    waiting = harness.request("square")
    harness.advance(1)
    assert waiting.job is not None
    harness.cancel(waiting.job)
    assert waiting.code == "cancelled"
    harness.advance(1.5)
    assert stuck.code == "execution-timeout"
    assert [record.request_id for record in harness.records_of(AttemptInterrupted)] == ["r1"]


def test_retries_are_told() -> None:
    """A job whose worker crashes is tried again, if a policy says so."""

    class Again:
        @hookimpl
        def penstock_retry_policy(self) -> Callable[[Any, Any, float], float]:
            return lambda job, error, now: 0.5

    harness = PluginHarness(app(), [Again])
    request = harness.request(behaviour=Behaviour.CRASHER)
    harness.advance(20)
    assert request.code == "worker-lost"
    assert request.job is not None
    assert request.job.attempts == 2
    assert len(harness.records_of(RetryScheduled)) <= 1


def test_a_failing_hook_fails_one_request() -> None:
    """An exception in a hook fails the request that met it, and observers receive the record."""

    class Fails:
        name = "fails"

        @hookimpl
        def penstock_admission_policy(self) -> Callable[[Submission], None]:
            def admit(submission: Submission) -> None:
                if submission.header("x-bad"):
                    raise OSError("broken")

            return admit

    harness = PluginHarness(app(), [Fails])
    bad, good = harness.request(headers={"X-Bad": "1"}), harness.request()
    harness.advance(1)
    assert isinstance(bad.error, HookError)
    assert (bad.code, good.code) == ("hook-error", "ok")
    assert harness.records_of(HookFailed) == [
        HookFailed(plugin="fails", hook="penstock_admission_policy", error="OSError")
    ]


def test_routes_answer() -> None:
    """A route answers after its authenticator was asked, as over HTTP."""
    harness = PluginHarness(app(), [Everything()])
    answer = harness.route("/hello", "POST", headers=ADA)
    assert answer.body == b'{"hello":"ada","reasons":[]}'
    with pytest.raises(Forbidden):
        harness.route("/hello", "POST")
    with pytest.raises(NotFound):
        harness.route("/hello")
    assert harness.route("/livez").status == 200
    assert b'"endpoints"' in harness.route("/-/status", headers=ADA).body


def test_a_route_reads_its_path_and_its_body() -> None:
    """As a server would have it: a path without variables comes first, and a body may be too large or unwanted."""
    harness = PluginHarness(app(), [Notes()])
    assert harness.route("/notes/one", "PUT", b"text").body == b'[{"name":"one"},"text"]'
    assert harness.route("/notes/all", "PUT", b"text").body == b'[{},""]'
    assert harness.route("/files/a/b").body == b'[{"path":"a/b"},""]'
    with pytest.raises(PayloadTooLarge):
        harness.route("/notes/one", "PUT", b"words")


def test_a_route_that_waits_and_streams_is_run_to_its_end() -> None:
    """The pieces of a stream become one body, unless it fails."""
    harness = PluginHarness(app(), [Notes()])
    answer = harness.route("/slow")
    assert (answer.body, answer.stream) == (b"012", None)
    with pytest.raises(HookError):
        harness.route("/broken")


def test_a_shutdown_is_granted_its_time() -> None:
    """The policy grants the time; the jobs left after it are abandoned, and each step is recorded."""
    harness = PluginHarness(app(), [Everything()])
    request = harness.request(headers=ADA, behaviour=Behaviour.STUCK)
    assert harness.shutdown(30, who="ada", why="upgrade") == 2.0
    harness.advance(10)
    assert request.code == "draining"
    [started] = harness.records_of(DrainStarted)
    [ended] = harness.records_of(DrainEnded)
    assert (started.who, started.seconds, started.jobs) == ("ada", 2.0, 1)
    assert (ended.why, ended.finished, ended.abandoned) == ("upgrade", 0, 1)
    assert [record.request_id for record in harness.records_of(JobAbandoned)] == ["r1"]


class Pausing:
    """A plug-in whose routes operate the engine."""

    name = "pausing"

    def __init__(self) -> None:
        self.seen: list[tuple[bool, float, list[str]]] = []
        self.drained = 0

    def look(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        self.seen.append((engine.draining, engine.longest_drain, engine.unready_reasons()))
        return RouteResponse.json(engine.status()["endpoints"])

    def pause(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        engine.pause(who="ada", why="deploy")
        return self.look(request, engine)

    def resume(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        engine.resume(who="ada", why="done")
        return self.look(request, engine)

    def stop(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        engine.shutdown(60.0, who="ada", why="upgrade", on_drained=self.count)
        return self.look(request, engine)

    def count(self) -> None:
        self.drained += 1

    @hookimpl
    def penstock_routes(self) -> list[Route]:
        handlers = {"pause": self.pause, "resume": self.resume, "stop": self.stop}
        return [Route(path=f"/{name}", name=name, handler=handler) for name, handler in handlers.items()]


def test_a_route_operates_the_harness_as_an_engine() -> None:
    """The engine that a handler receives can be paused, resumed and shut down; its drain is bounded by the host."""
    plugin = Pausing()
    harness = PluginHarness(app(), [plugin])
    harness.longest_drain = 20.0
    harness.route("/pause")
    assert harness.request().code == "draining"
    harness.route("/resume")
    assert harness.request(behaviour=Behaviour.STUCK_HARD).code is None
    harness.route("/stop")
    assert plugin.seen == [(False, 20.0, ["taken out of rotation"]), (False, 20.0, []), (True, 20.0, ["draining"])]
    assert (harness.records_of(DrainStarted)[0].seconds, plugin.drained) == (20.0, 0)
    harness.advance(60)
    assert plugin.drained == 1


def test_only_the_first_shutdown_counts() -> None:
    """A second one changes nothing; its callback still runs, at once if the drain is over."""
    harness = PluginHarness(app())
    drained: list[str] = []
    assert harness.shutdown(5.0, who="ada", on_drained=lambda: drained.append("first")) == 5.0
    assert harness.shutdown(50.0, who="bob", on_drained=lambda: drained.append("second")) == 5.0
    harness.advance(10)
    assert drained == ["first", "second"]
    harness.shutdown(on_drained=lambda: drained.append("late"))
    assert drained == ["first", "second", "late"]
    assert [record.who for record in harness.records_of(DrainEnded)] == ["ada"]


def test_the_app_s_own_plug_ins_and_settings_count() -> None:
    """The harness's own take precedence; wrong settings are refused, as when a server starts."""
    harness = PluginHarness(app(plugins=[Everything], settings={"everything": {"enabled": False}}))
    assert harness.request().error is None
    with pytest.raises(PluginError, match="no setting 'speed'"):
        PluginHarness(app(plugins=[Everything]), settings={"everything": {"speed": 1}})


def test_the_clock_may_be_shared() -> None:
    """The harness runs on the clock that it receives, which a plug-in may read too."""
    clock = MockClock(100.0)
    harness = PluginHarness(app(), clock=clock)
    harness.advance(5)
    assert clock.now == 106.0  # the start takes a second


def test_a_queue_that_is_none_is_refused() -> None:
    """The harness raises when it is created, as a server does when it starts."""

    class Wrong:
        @hookimpl
        def penstock_queue_discipline(self) -> type:
            return dict

    class Right:
        @hookimpl
        def penstock_queue_discipline(self) -> type:
            return FifoQueue

    with pytest.raises(PluginError, match="whose queues lack"):
        PluginHarness(app(), [Wrong])
    assert PluginHarness(app(), [Right]).request().error is None


def test_a_misspelled_endpoint_is_not_found() -> None:
    """A misspelled endpoint raises in the test, and sends no request."""
    with pytest.raises(NotFound, match="sqare"):
        PluginHarness(app()).request("sqare")
