"""A shared engine and a host in one process, at the two ends of a real socket."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest

from penstock.app.manifest import Manifest
from penstock.engine.reactors.asyncio_reactor import AsyncioReactor
from penstock.engine.route_calls import RouteCall
from penstock.engine.sharing import remote_jobs
from penstock.engine.sharing.engine_server import EngineServer
from penstock.engine.sharing.engine_socket import EngineSocket
from penstock.engine.sharing.remote_calls import RemoteCall
from penstock.engine.sharing.remote_engine import RemoteEngine
from penstock.engine.sharing.shared_engine import SharedEngine
from penstock.errors import Cancelled, Draining, NotReady, PenstockError, QueueFull, RateLimited, WorkerLost
from penstock.hooks import JobAnswered, Route, RouteRequest, RouteResponse, Submission, blocking, hookimpl
from penstock.hooks.pipeline import admission_pipeline
from penstock.hooks.registry import Registry
from penstock.policies import Timeouts
from penstock.response import Encoded
from penstock.wire import WINDOW_BYTES
from tests.adapters.falcon.fake_engine import FakeCall, FakeEngine, keep, make_app

PATIENCE = 10.0


class Pair:
    """A host, and the engine at the other end, which can be replaced by the next."""

    def __init__(self, registry: Registry) -> None:
        self.app = make_app()
        self.endpoints = {endpoint.name: endpoint for endpoint in self.app.endpoints}
        self.socket = EngineSocket()
        self.registry = registry
        self.engine: FakeEngine
        self.server: EngineServer
        self.host = RemoteEngine(self.app, AsyncioReactor(), self.socket.path, registry)

    def start_engine(self, script: Callable[[FakeCall], None] = keep, digest: str | None = None) -> None:
        engine: Any = FakeEngine(script, self.registry)
        engine.reactor = AsyncioReactor()
        engine.endpoint = self.endpoints.__getitem__
        self.engine = engine
        shared = SharedEngine(
            engine=engine,
            digest=Manifest.of(self.app).digest if digest is None else digest,
            pipelines={name: admission_pipeline(self.registry, each) for name, each in self.endpoints.items()},
            routes={route.key: route for route in self.registry.routes(self.app)},
            on_answered=None,
        )
        self.server = EngineServer(shared, self.socket.listener)

    def end_engine(self) -> None:
        self.server.close()

    def submission(self, name: str = "square") -> Submission:
        return Submission(self.endpoints[name], request_id="r1", address="1.2.3.4")

    def submit(self, name: str = "square", body: bytes = b'{"input": 1}') -> RemoteCall:
        return self.host.submit(self.submission(name), body)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the conditions have no event
            await asyncio.sleep(0.001)


@asynccontextmanager
async def paired(*plugins: Any) -> AsyncIterator[Pair]:
    pair = Pair(Registry(plugins))
    pair.start_engine()
    pair.host.start()
    try:
        await until(lambda: pair.host.connection.is_connected)
        yield pair
    finally:
        pair.host.close()
        pair.end_engine()
        pair.socket.close()


@contextmanager
def descriptors_left(left: int) -> Iterator[Callable[[], int]]:
    """Let this process open no more than this number of files; yield how to see how many it can still open."""

    def open_all() -> list[int]:
        opened = []
        with suppress(OSError):
            while True:
                opened.append(os.dup(0))
        return opened

    def still_left() -> int:
        opened = open_all()
        for descriptor in opened:
            os.close(descriptor)
        return len(opened)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    taken = open_all()
    try:
        for _ in range(left):
            os.close(taken.pop())
        yield still_left
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def outcome_of(call: RemoteCall) -> Encoded | PenstockError:
    async with asyncio.timeout(PATIENCE):
        while call.outcome is None:
            await call.wait()
    return call.outcome


def run(test: Callable[[], Any]) -> None:
    asyncio.run(test())


def test_a_job_that_may_run_again_waits_for_the_next_engine() -> None:
    """It is submitted again, as it was; its caller notices nothing but the time."""

    async def scenario() -> None:
        async with paired() as pair:
            call = pair.submit()
            await until(lambda: pair.engine.calls)
            pair.end_engine()
            await until(lambda: not pair.host.connection.is_connected)
            with pytest.raises(NotReady):
                pair.submit()
            pair.start_engine(lambda call: call.decide(Encoded(call.body)))
            assert await outcome_of(call) == Encoded(b'{"input": 1}')

    run(scenario)


def test_a_job_that_may_not_run_again_is_lost_with_the_engine() -> None:
    """It may have run, so it is not sent twice."""

    async def scenario() -> None:
        async with paired() as pair:
            object.__setattr__(pair.endpoints["square"], "idempotent", False)
            call = pair.submit()
            await until(lambda: pair.engine.calls)
            pair.end_engine()
            lost = await outcome_of(call)
            assert isinstance(lost, WorkerLost)
            assert not lost.retryable

    run(scenario)


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_host_without_descriptors_connects_when_it_has_some(left: int) -> None:
    """A connection takes three; if one of them is refused, the others are closed, and it tries again."""

    async def scenario() -> None:
        async with paired() as pair:
            pair.end_engine()
            await until(lambda: not pair.host.connection.is_connected)
            with descriptors_left(left) as still_left:
                for _ in range(3):
                    pair.host.connection.connect()
                    assert still_left() == left
            pair.start_engine()
            await until(lambda: pair.host.connection.is_connected)

    run(scenario)


def test_patience_with_the_next_engine_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """If none comes, the jobs that have waited for it are answered ``not-ready``."""
    monkeypatch.setattr(remote_jobs, "PATIENCE_SECONDS", 0.05)

    async def scenario() -> None:
        async with paired() as pair:
            call = pair.submit()
            await until(lambda: pair.engine.calls)
            pair.end_engine()
            assert isinstance(await outcome_of(call), NotReady)

    run(scenario)


def test_a_deadline_holds_while_there_is_no_engine() -> None:
    """A job whose own time is up before the next engine is there is answered then."""

    async def scenario() -> None:
        async with paired() as pair:
            submission = pair.submission()
            submission.timeouts = Timeouts(total=0.1)
            brief, patient = pair.host.submit(submission, b"{}"), pair.submit()
            await until(lambda: len(pair.engine.calls) == 2)
            pair.end_engine()
            assert isinstance(await outcome_of(brief), NotReady)
            assert patient.outcome is None

    run(scenario)


def test_a_stream_holds_no_more_than_its_window() -> None:
    """The engine's end sends what the host has credited: a slow reader does not fill the host's memory."""
    chunk = b"x" * (WINDOW_BYTES // 16)

    def stream(call: FakeCall) -> None:
        call.begin_stream()
        for _ in range(32):
            call.yield_chunk(chunk)

    def script(call: FakeCall) -> None:
        asyncio.get_running_loop().call_soon(stream, call)

    async def scenario() -> None:
        async with paired() as pair:
            pair.engine.script = script
            pair.engine.call_class = LimitedCall
            call = pair.submit("count", b'{"n": 1}')
            await until(lambda: call.untaken_bytes >= WINDOW_BYTES)
            await asyncio.sleep(0.05)
            assert call.untaken_bytes <= WINDOW_BYTES + len(chunk)
            taken = 0
            while taken < 32:
                await until(lambda: call.has_chunks)
                taken += len(call.take())

    run(scenario)


class LimitedCall(FakeCall):
    """A call that heeds the limit of ``take``."""

    def take(self, limit_bytes: int | None = None) -> list[bytes]:
        taken: list[bytes] = []
        while self._chunks and (limit_bytes is None or sum(map(len, taken)) < limit_bytes):
            taken.append(self._chunks.pop(0))
        return taken


def test_a_cancelled_call_cancels_its_job() -> None:
    """The call is settled at once, and the engine learns the reason."""

    async def scenario() -> None:
        async with paired() as pair:
            call = pair.submit()
            await until(lambda: pair.engine.calls)
            call.cancel("the client went away")
            assert isinstance(call.outcome, Cancelled)
            await until(lambda: pair.engine.calls[0].cancelled_because)
            assert pair.engine.calls[0].cancelled_because == "the client went away"

    run(scenario)


def test_the_end_of_a_host_cancels_its_jobs() -> None:
    """No client of it is left."""

    async def scenario() -> None:
        async with paired() as pair:
            pair.submit()
            await until(lambda: pair.engine.calls)
            pair.host.connection.close()
            await until(lambda: pair.engine.calls[0].cancelled_because)

    run(scenario)


def test_a_drain_ends_with_the_last_job() -> None:
    """New jobs are refused; those that are left at its deadline are answered ``draining``, and cancelled."""

    async def scenario() -> None:
        async with paired() as pair:
            first, last = pair.submit(), pair.submit()
            await until(lambda: len(pair.engine.calls) == 2)
            drained = asyncio.Event()
            pair.host.drain(0.1, drained.set)
            with pytest.raises(Draining):
                pair.submit()
            pair.engine.calls[0].decide(Encoded(b"1"))
            assert await outcome_of(first) == Encoded(b"1")
            assert not drained.is_set()
            assert isinstance(await outcome_of(last), Draining)
            assert drained.is_set()
            await until(lambda: pair.engine.calls[1].cancelled_because)

    run(scenario)


def test_another_version_of_the_app_is_not_served() -> None:
    """The host learns that it disagrees with the engine, and does not count as connected."""

    async def scenario() -> None:
        pair = Pair(Registry())
        reasons: list[str] = []
        pair.start_engine(digest="another")
        pair.host.on_disagreement = reasons.append
        pair.host.start()
        await until(lambda: reasons)
        assert "another version of the app" in reasons[0]
        assert not pair.host.connection.is_connected
        pair.host.close()
        pair.end_engine()
        pair.socket.close()

    run(scenario)


# ---- uploads


def test_an_upload_is_counted_until_its_job_is_submitted() -> None:
    """Room is asked for before the body is read, and more of it while it grows."""

    async def scenario() -> None:
        async with paired() as pair:
            submission = pair.submission()
            upload = pair.host.begin_upload(submission)
            await upload.open(100_000)
            assert pair.engine.arriving_bytes == 100_000
            upload.cover(150_000)
            await until(lambda: pair.engine.arriving_bytes == 150_000)
            pair.host.submit(submission, b'{"input": 2}')
            await until(lambda: pair.engine.calls)
            assert pair.engine.arriving_bytes == 0

    run(scenario)


def test_an_upload_without_room_is_refused() -> None:
    """Before it is read; and once, although the host would refuse it too."""

    async def scenario() -> None:
        async with paired() as pair:
            pair.engine.refusal = QueueFull("no room")
            submission = pair.submission()
            upload = pair.host.begin_upload(submission)
            with pytest.raises(QueueFull, match="no room") as refusal:
                await upload.open(100_000)
            pair.host.refuse(submission, refusal.value)
            await asyncio.sleep(0.02)
            assert pair.engine.refused == ["queue-full"]

    run(scenario)


def test_an_upload_that_is_given_up_is_counted_no_longer() -> None:
    """Its client has gone: the policies that admitted it learn that."""
    released: list[JobAnswered] = []

    class Policy:
        @hookimpl
        def penstock_admission_policy(self) -> Callable[[Submission], Any]:
            return lambda _submission: released.append

    async def scenario() -> None:
        async with paired(Policy()) as pair:
            submission = pair.submission()
            await pair.host.begin_upload(submission).open(100_000)
            pair.host.refuse(submission, Cancelled("gone"))
            await until(lambda: released)
            assert (pair.engine.arriving_bytes, released[0].code) == (0, "cancelled")

    run(scenario)


# ---- policies that block


def test_a_policy_that_blocks_delays_no_other_request() -> None:
    """It is asked in a thread; a request that is cancelled meanwhile becomes no job."""
    go_on = threading.Event()

    class Policy:
        @hookimpl
        def penstock_admission_policy(self, endpoint: Any) -> Callable[[Submission], Any] | None:
            return blocking(lambda _submission: go_on.wait(PATIENCE) and None) if endpoint.name == "square" else None

    async def scenario() -> None:
        async with paired(Policy()) as pair:
            held, gone = pair.submit(), pair.submit()
            other = pair.submit("raw", b"x")
            await until(lambda: pair.engine.calls)
            assert [call.endpoint.name for call in pair.engine.calls] == ["raw"]
            gone.cancel("gone")
            await asyncio.sleep(0.02)
            go_on.set()
            await until(lambda: len(pair.engine.calls) == 2)
            await until(lambda: pair.engine.refused)
            assert pair.engine.refused == ["cancelled"]
            assert (held.outcome, other.outcome) == (None, None)

    run(scenario)


class Pieces:
    """A plug-in with a route that waits, and one that streams."""

    def __init__(self) -> None:
        self.made = 0
        self.left: list[str] = []

    @hookimpl
    def penstock_routes(self) -> list[Route]:
        return [
            Route(path="/wait", name="wait", handler=self.wait),
            Route(path="/pieces", name="pieces", handler=lambda request, engine: RouteResponse(stream=self.pieces())),
        ]

    async def wait(self, request: RouteRequest, engine: Any) -> RouteResponse:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            self.left.append("wait")
        return RouteResponse()

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            while True:
                self.made += 1
                yield b"%d" % self.made
        finally:
            self.left.append("pieces")


def ask(pair: Pair, name: str) -> RouteCall:
    route = next(route for route in pair.registry.routes(pair.app) if route.name == name)
    request = RouteRequest(request_id="r1", method="GET", path=route.path, header=lambda _name: None)
    return pair.host.ask(route, request, Submission(route, request_id="r1"))


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0.001)


def test_a_piece_is_asked_for_when_the_last_was_taken() -> None:
    """So a host that does not take any holds one, and the engine another."""
    plugin = Pieces()

    async def scenario() -> None:
        async with paired(plugin) as pair:
            call = ask(pair, "pieces")
            await until(lambda: call.has_chunks)
            await turns()
            assert plugin.made == 2
            for number in range(1, 4):
                assert call.take() == [b"%d" % number]
                await until(lambda: call.has_chunks)
            await turns()
            assert plugin.made == 5
            call.cancel()
            await until(lambda: plugin.left)

    run(scenario)


def test_the_end_of_a_host_ends_its_questions() -> None:
    """The handlers of a host that has gone are cancelled, and its own callers are answered."""
    plugin = Pieces()

    async def scenario() -> None:
        async with paired(plugin) as pair:
            calls = [ask(pair, "wait"), ask(pair, "pieces")]
            await until(lambda: calls[1].has_chunks)
            await turns()
            pair.host.close()
            await until(lambda: len(plugin.left) == 2)
            assert [type(call.outcome) for call in calls] == [Draining, Draining]

    run(scenario)


def test_the_end_of_the_engine_ends_all_questions() -> None:
    """A request is refused, and a stream is cut: the next engine knows nothing of them."""

    async def scenario() -> None:
        async with paired(Pieces()) as pair:
            calls = [ask(pair, "wait"), ask(pair, "pieces")]
            await until(lambda: calls[1].has_chunks)
            pair.end_engine()
            await until(lambda: calls[0].outcome and calls[1].outcome)
            assert [type(call.outcome) for call in calls] == [NotReady, NotReady]

    run(scenario)


def test_the_end_of_a_drain_ends_the_questions() -> None:
    """Shortly after the last job, which may be what they wait for; questions do not hold the drain up."""

    async def scenario() -> None:
        async with paired(Pieces()) as pair:
            call = ask(pair, "wait")
            drained: list[bool] = []
            pair.host.drain(PATIENCE, lambda: drained.append(True))
            assert (drained, call.outcome) == ([True], None)
            await until(lambda: call.outcome)
            assert type(call.outcome) is Draining

    run(scenario)


def test_a_refusal_comes_with_the_headers_of_the_policy() -> None:
    """Whatever a policy adds to the response arrives with the outcome."""

    class Policy:
        @hookimpl
        def penstock_admission_policy(self) -> Callable[[Submission], Any]:
            def refuse(submission: Submission) -> None:
                submission.response_headers.append(("x-limit", "3"))
                raise RateLimited("slow down", retry_after=7)

            return refuse

    async def scenario() -> None:
        async with paired(Policy()) as pair:
            submission = pair.submission()
            refusal = await outcome_of(pair.host.submit(submission, b"{}"))
            assert isinstance(refusal, RateLimited)
            assert (refusal.retry_after, list(submission.response_headers)) == (7, [("x-limit", "3")])

    run(scenario)
