"""The service of background jobs on a moved clock, with a store in memory and an engine without workers."""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from penstock import App, Jobs
from penstock.errors import Cancelled, Draining, HandlerError, PenstockError, PluginError, QueueFull
from penstock.hooks import Progress
from penstock.job_store import NewJob, StoredJob, StoreFull, StoreUnavailable
from penstock.testing import MemoryDatabase, MemoryJobStore, MockClock
from penstock_jobs.job_desk import JobDesk
from penstock_jobs.job_service import JobService
from penstock_jobs.jobs_settings import JobsSettings

WALL = 1_000_000.0


class Answer:
    """A result as the engine has it."""

    def __init__(self, body: bytes, media_type: str | None = None) -> None:
        self.body, self.media_type, self.status, self.headers = body, media_type, 200, None


class FakeCall:
    """A call whose test decides what becomes of it."""

    def __init__(self, engine: ManualEngine, submission: Any, on_report: Any) -> None:
        self.engine, self.submission, self.report = engine, submission, on_report
        self.outcome: Any = None
        self.head: Any = None
        self.on_progress: Callable[[], None] | None = None
        self.attempts = 1
        self.chunks: list[bytes] = []
        self.stops_at_once = True
        self.is_working = True

    @property
    def has_chunks(self) -> bool:
        return bool(self.chunks)

    def take(self, limit_bytes: int = 0) -> list[bytes]:
        taken, self.chunks = self.chunks, []
        return taken

    def produce(self, *chunks: bytes) -> None:
        self.head = Answer(b"")
        self.chunks += chunks
        assert self.on_progress is not None
        self.on_progress()

    def cancel(self, reason: str = "") -> None:
        if self.outcome is None:
            self.end(Cancelled(reason), still=self.stops_at_once)

    def end(self, outcome: Any, *, still: bool = True) -> None:
        self.outcome = outcome
        self.is_working = not still
        assert self.on_progress is not None
        self.on_progress()
        self.engine.on_slots()

    def stop_working(self) -> None:
        self.is_working = False
        self.engine.on_slots()


class ManualEngine:
    """A ``ServiceEngine`` with a number of slots, and a clock of the test's."""

    draining = False

    def __init__(self, app: App, store: Any, clock: MockClock, slots: int) -> None:
        self.app, self.job_store, self.clock, self.total = app, store, clock, slots
        self.calls: list[FakeCall] = []
        self.refusal: PenstockError | None = None
        self.early = 0.0
        self.on_slots: Callable[[], None] = lambda: None
        self._soon: list[Callable[[], None]] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.clock.now

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (when - self.early, next(self._numbers), callback))

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def watch_slots(self, callback: Callable[[], None]) -> None:
        self.on_slots = callback

    def note_readiness(self) -> None:
        pass

    def spare_slots(self, endpoint: str) -> int:
        return self.total - sum(call.is_working for call in self.calls)

    def slots(self, endpoint: str) -> int:
        return self.total

    def is_working(self, call: FakeCall) -> bool:
        return call.is_working

    def submit(
        self, submission: Any, body: Any, *, headers: Mapping[str, str] | None = None, on_report: Any = None
    ) -> FakeCall:
        if self.refusal is not None:
            raise self.refusal
        call = FakeCall(self, submission, on_report)
        self.calls.append(call)
        return call

    def run(self) -> None:
        """Call what waits for the engine's thread."""
        while self._soon:
            self._soon.pop(0)()

    def advance(self, seconds: float) -> None:
        """Let time pass, with all timers on their way."""
        end = self.clock.now + seconds
        self.run()
        while self._timers and self._timers[0][0] <= end:
            when, _, callback = heapq.heappop(self._timers)
            self.clock.advance(max(0.0, when - self.clock.now))
            callback()
            self.run()
        self.clock.advance(end - self.clock.now)


class Scene:
    """A service with all that it needs."""

    def __init__(self, *, slots: int = 2, jobs: Jobs | None = None, settings: JobsSettings | None = None) -> None:
        self.app = App("demo")

        @self.app.endpoint("/square", jobs=jobs or Jobs(concurrency=2))
        def square(x: float) -> float:
            return x * x

        self.clock = MockClock()
        self.database = MemoryDatabase()
        self.store = MemoryJobStore(self.database, lease_clock=lambda: self.clock.now)
        self.engine = ManualEngine(self.app, self.store, self.clock, slots)
        self.desk = JobDesk(self.app, clock=self.wall)
        self.service = JobService(self.app, settings or JobsSettings(store="memory:"), self.desk)

    def wall(self) -> float:
        return WALL + self.clock.now

    def start(self) -> Scene:
        self.service.start(self.engine)  # type: ignore[arg-type] # it has what the service uses
        self.engine.run()
        return self

    def put(self, *ids: str, **options: Any) -> None:
        new = [NewJob(id=name, endpoint="square", request=b'{"x": 3}', **options) for name in ids]
        self.desk.submit(new).result()
        self.engine.run()

    def job(self, name: str) -> StoredJob:
        return self.store.get(name).result()

    def states(self) -> dict[str, str]:
        return {name: row.state for name, row in self.database.rows.jobs.items()}

    def events(self, name: str) -> list[tuple[str, Any]]:
        return [(event.kind, json.loads(event.data)) for event in self.store.events(name).result()]

    def end(self, call: FakeCall, outcome: Any = None) -> None:
        call.end(Answer(b"9.0") if outcome is None else outcome)
        self.engine.run()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene().start()
    yield scene
    scene.service.stop()


def test_a_job_runs_and_its_result_is_kept(scene: Scene) -> None:
    """With the id and the number of its claim."""
    scene.put("a")
    [call] = scene.engine.calls
    assert (call.submission.job_id, call.submission.claim) == ("a", 1)
    assert scene.job("a").started_at is not None
    scene.end(call)
    result = scene.store.result("a").result()
    assert result is not None
    assert (result.body, result.media_type, result.status) == (b"9.0", "application/json", 200)
    assert scene.events("a") == [
        ("state", {"state": "queued"}),
        ("state", {"state": "running", "claim": 1}),
        ("state", {"state": "succeeded"}),
    ]


def test_the_server_is_unready_until_the_store_is_open() -> None:
    """And takes no jobs before that."""
    scene = Scene()
    assert scene.service.unready_reason() == "the job store is being opened"
    scene.start()
    assert scene.service.unready_reason() is None
    assert scene.desk.is_open
    scene.service.stop()
    assert not scene.desk.is_open


def test_a_store_of_an_unknown_kind_stops_the_start() -> None:
    """The message has the kinds that there are."""
    scene = Scene()
    scene.engine.job_store = None
    with pytest.raises(PluginError, match="no plug-in has a job store of the kind"):
        scene.start()


def test_only_free_slots_are_claimed_for(scene: Scene) -> None:
    """The others stay in the store, where any engine may have them, and follow when a slot is free."""
    scene.put("a", "b", "c")
    assert scene.states() == {"a": "running", "b": "running", "c": "queued"}
    scene.end(scene.engine.calls[0])
    assert scene.states() == {"a": "succeeded", "b": "running", "c": "running"}


def test_a_job_whose_time_has_come_runs_without_news(scene: Scene) -> None:
    """Within a second."""
    scene.put("a", not_before=WALL + 10)
    scene.engine.advance(9.5)
    assert scene.states() == {"a": "queued"}
    scene.engine.advance(1.5)
    assert scene.states() == {"a": "running"}


def test_progress_is_kept_and_the_last_report_wins(scene: Scene) -> None:
    """At most ten times a second."""
    scene.put("a")
    [call] = scene.engine.calls
    for done in range(5):
        call.report(Progress(1, done, 5))
        scene.engine.run()
    scene.engine.advance(0.2)
    reports = [data["done"] for kind, data in scene.events("a") if kind == "progress"]
    assert reports == [0, 4]


def test_chunks_are_kept_in_groups_and_the_result_is_all_of_them(scene: Scene) -> None:
    """As lines of JSON; what came last is written before the end."""
    scene.put("a")
    [call] = scene.engine.calls
    call.produce(b"1")
    scene.engine.run()
    call.produce(b"2")
    call.produce(b"3")
    scene.engine.run()
    assert [data for kind, data in scene.events("a") if kind == "chunk"] == [1]
    assert call.chunks == [b"2", b"3"]
    scene.engine.advance(0.11)
    assert [data for kind, data in scene.events("a") if kind == "chunk"] == [1, 2, 3]
    call.chunks.append(b"4")
    scene.end(call, Answer(b""))
    result = scene.store.result("a").result()
    assert result is not None
    assert (result.body, result.media_type) == (b"1\n2\n3\n4\n", "application/x-ndjson")
    assert scene.events("a")[-2:] == [("chunk", 4), ("state", {"state": "succeeded"})]


def test_a_timer_that_is_early_does_not_end_a_stream(scene: Scene) -> None:
    """Those of uvloop are, by up to a millisecond; a handler that waits for room would never produce anything again."""
    scene.engine.early = 0.001
    scene.put("a")
    [call] = scene.engine.calls
    for chunk in (b"1", b"2"):
        call.produce(chunk)
        scene.engine.run()
    assert call.chunks == [b"2"]
    scene.engine.early = 0.0  # for timers that are set again, as the clock of the test stands still meanwhile
    scene.engine.advance(0.11)
    assert call.chunks == []
    assert [data for kind, data in scene.events("a") if kind == "chunk"] == [1, 2]


def test_too_long_a_stream_is_stopped() -> None:
    """It fails with the reason."""
    scene = Scene(settings=JobsSettings(store="memory:", max_result=5)).start()
    scene.put("a")
    [call] = scene.engine.calls
    call.produce(b"123456")
    scene.engine.run()
    scene.engine.advance(0.2)
    assert (scene.job("a").state, scene.job("a").code) == ("failed", "payload-too-large")


def test_a_cancel_stops_the_job(scene: Scene) -> None:
    """The state says ``cancelled`` only when its code has stopped."""
    scene.put("a")
    [call] = scene.engine.calls
    call.stops_at_once = False
    scene.desk.cancel("a")
    scene.engine.advance(0.02)
    assert isinstance(call.outcome, Cancelled)
    scene.engine.advance(0.5)
    assert (scene.job("a").state, scene.job("a").cancel_requested) == ("running", True)
    call.stop_working()
    scene.engine.run()
    assert scene.job("a").state == "cancelled"


def test_a_queued_job_is_cancelled_at_once(scene: Scene) -> None:
    """It has never been in an engine."""
    scene.put("a", "b", "c")
    scene.desk.cancel("c")
    assert scene.job("c").state == "cancelled"
    assert len(scene.engine.calls) == 2


def test_a_failure_that_may_pass_is_repeated(scene: Scene) -> None:
    """By another claim, a little later."""
    scene.put("a")
    scene.end(scene.engine.calls[0], HandlerError(may_retry=True))
    assert scene.job("a").state == "queued"
    scene.engine.advance(4)
    assert scene.job("a").claim == 2
    scene.end(scene.engine.calls[1], HandlerError(may_retry=True))
    assert (scene.job("a").state, scene.job("a").code) == ("failed", "handler-error")


def test_a_refused_job_is_put_back_uncounted(scene: Scene) -> None:
    """And claimed again after a pause, not in a loop."""
    scene.engine.refusal = QueueFull("full")
    scene.put("a")
    assert (scene.job("a").state, scene.job("a").claims) == ("queued", 0)
    scene.engine.advance(10)
    assert scene.job("a").claim < 15
    scene.engine.refusal = None
    scene.engine.advance(6)
    assert (scene.job("a").state, scene.job("a").claims) == ("running", 1)


def test_a_drain_claims_nothing_and_puts_back_what_does_not_end(scene: Scene) -> None:
    """The claims are not counted."""
    scene.put("a", "b", "c")
    scene.service.drain(100.0)
    first, second = scene.engine.calls
    scene.end(first)
    scene.end(second, Draining())
    assert scene.states() == {"a": "succeeded", "b": "queued", "c": "queued"}
    assert scene.job("b").claims == 0
    scene.put("d")
    scene.engine.advance(3)
    assert len(scene.engine.calls) == 2


def test_the_end_writes_what_is_left() -> None:
    """Outcomes that came last are in the store, all else is put back, and no owner is left."""
    scene = Scene().start()
    scene.put("a", "b")
    first, _ = scene.engine.calls
    first.end(Answer(b"9.0"))
    scene.service.stop()
    scene.store.start(lambda _: None)
    assert scene.states() == {"a": "succeeded", "b": "queued"}
    assert scene.database.rows.owners == {}


def test_a_lost_lease_stops_all_that_is_held(scene: Scene) -> None:
    """Nothing more is written for it, and the engine goes on as another owner once its code has stopped."""
    scene.put("a")
    [call] = scene.engine.calls
    call.stops_at_once = False
    [owner] = scene.database.rows.owners
    other = MemoryJobStore(scene.database, lease_clock=lambda: scene.clock.now + 60)
    other.start(lambda _: None)
    assert other.sweep(now=scene.wall()).result().queued == ("a",)
    scene.engine.advance(6)
    assert isinstance(call.outcome, Cancelled)
    scene.engine.advance(3)
    assert scene.states() == {"a": "queued"}
    call.stop_working()
    scene.engine.advance(2)
    assert owner not in scene.database.rows.owners
    assert scene.job("a").state == "running"
    scene.end(scene.engine.calls[1])
    assert (scene.job("a").state, scene.job("a").claim) == ("succeeded", 2)


class Outage:
    """A database that does not answer while it is out."""

    def __init__(self) -> None:
        self.is_out = self.is_full = False

    def __call__(self, statement: str) -> None:
        if self.is_out:
            raise StoreUnavailable("it does not answer")
        if self.is_full:
            raise StoreFull("the disk is full")


def with_outage() -> tuple[Scene, Outage]:
    scene, outage = Scene(), Outage()
    scene.store = MemoryJobStore(scene.database, lease_clock=lambda: scene.clock.now, before_statement=outage)
    scene.engine.job_store = scene.store
    return scene.start(), outage


def test_an_end_is_written_once_the_database_answers_again(caplog: pytest.LogCaptureFixture) -> None:
    """Within the lease. The log has the outage, once, and its end."""
    caplog.set_level("INFO")
    scene, outage = with_outage()
    scene.put("a")
    outage.is_out = True
    scene.end(scene.engine.calls[0])
    scene.engine.advance(12)
    outage.is_out = False
    scene.engine.advance(1.5)
    assert scene.job("a").state == "succeeded"
    scene.engine.advance(5)
    events = [getattr(record, "event", "") for record in caplog.records]
    assert [event for event in events if event.startswith("jobs-store-")] == [
        "jobs-store-unavailable",
        "jobs-store-available",
    ]


def test_a_full_disk_delays_progress_and_ends() -> None:
    """The job goes on, and is recorded when there is room again."""
    scene, outage = with_outage()
    scene.put("a")
    outage.is_full = True
    [call] = scene.engine.calls
    call.report(Progress(1, 2))
    scene.engine.advance(1)
    assert call.outcome is None
    scene.end(call)
    scene.engine.advance(5)
    assert scene.states() == {"a": "running"}
    outage.is_full = False
    scene.engine.advance(1.5)
    assert scene.job("a").state == "succeeded"


def test_an_engine_that_cannot_beat_stops_after_a_lease() -> None:
    """And claims nothing after half of one."""
    scene, outage = with_outage()
    scene.put("a")
    outage.is_out = True
    scene.engine.advance(29)
    assert scene.engine.calls[0].outcome is None
    scene.engine.advance(2.5)
    assert isinstance(scene.engine.calls[0].outcome, Cancelled)
    outage.is_out = False
    scene.engine.advance(3)
    assert scene.job("a").state == "running"
    assert scene.job("a").claim == 2


def test_what_has_outlived_its_retention_is_removed() -> None:
    """In portions, until nothing is overdue."""
    scene = Scene(jobs=Jobs(concurrency=2, result_ttl=10, record_ttl=10)).start()
    scene.put(*[f"job-{number}" for number in range(450)], record_ttl=10.0, result_ttl=10.0)
    for name in [f"job-{number}" for number in range(2, 450)]:
        scene.desk.cancel(name)
    scene.engine.advance(130)
    assert len(scene.states()) == 2
