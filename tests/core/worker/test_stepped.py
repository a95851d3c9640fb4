"""The generation loop, one turn at a time: a loop driven by hand, a scripted channel, and a model that obeys."""

from __future__ import annotations

import math
import types
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any

import msgspec
import pytest

from penstock import App, Context, Done, Event, InvalidRequest
from penstock.wire import (
    FAILED_ANSWERED,
    FAILED_CANCELLED,
    FAILED_HANDLER,
    SHARED_BYTES,
    WINDOW_BYTES,
    WORD_ABANDONED,
    About,
    Cancel,
    Check,
    Chunk,
    Credit,
    Failure,
    Head,
    Message,
    Progress,
    Run,
    Stop,
    Trace,
    Unfit,
    Work,
    pack,
)
from penstock.wire import Done as Ended
from penstock.worker.attempts import LiveEndpoint
from penstock.worker.interrupts import InterruptGuard
from penstock.worker.log_records import REQUEST_IDS
from penstock.worker.program import Program
from penstock.worker.trace_entry import TRACE_IDS

app = App(__name__)
SLOTS = 3


class Told:
    """A model that counts tokens, unless a test tells it what to return."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.during_step: Callable[[list[int]], Any] = lambda slots: dict.fromkeys(slots, "t")
        self.during_admit: Callable[[], None] = lambda: None
        self.during_release: Callable[[], None] = lambda: None
        self.contexts: dict[int, Context] = {}

    def __call__(self) -> Told:
        return self

    def begin(self, slot: int, prompt: str, context: Context) -> None:
        self.calls.append(("admit", slot, prompt))
        self.contexts[slot] = context
        self.during_admit()

    def advance(self, slots: list[int]) -> Any:
        self.calls.append(("step", *slots))
        return self.during_step(slots)

    def end(self, slot: int) -> None:
        self.calls.append(("release", slot))
        self.during_release()

    def take_calls(self) -> list[tuple[Any, ...]]:
        calls, self.calls = self.calls, []
        return calls


@app.endpoint("/sync", max_slots=SLOTS)
class Sync(Told):
    def admit(self, slot: int, prompt: str, context: Context) -> None:
        self.begin(slot, prompt, context)

    def step(self, slots: list[int]) -> dict[int, str | Done]:
        return self.advance(slots)

    def release(self, slot: int) -> None:
        self.end(slot)

    def check(self) -> bool:
        return self.calls[-1][0] != "step"


@app.endpoint("/async", max_slots=SLOTS)
class Async(Told):
    async def admit(self, slot: int, prompt: str, context: Context) -> None:
        self.begin(slot, prompt, context)

    async def step(self, slots: list[int]) -> dict[int, str | Done]:
        returned = self.advance(slots)
        return await returned if hasattr(returned, "__await__") else returned

    async def release(self, slot: int) -> None:
        self.end(slot)


@types.coroutine
def pause() -> Generator[None, None, None]:
    """Suspend the loop until its next turn."""
    yield


class Flag:
    """An event of the loop."""

    def __init__(self) -> None:
        self.is_set = False

    def set(self) -> None:
        self.is_set = True

    async def wait(self) -> None:
        while not self.is_set:
            await pause()


class StoppedScope(BaseException):
    """The exception that the loop raises in a scope that is cancelled."""


class HandScope:
    """A cancel scope."""

    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Hand:
    """A loop whose one task is advanced by the test."""

    name = "trio"

    def __init__(self) -> None:
        self.task: Any = None
        self.event: Flag | None = None
        self.scope: HandScope | None = None
        self.is_stopped = False

    def start(self, function: Callable[[], Awaitable[None]]) -> None:
        assert self.task is None, "the loop runs already"
        self.task = function()

    def turn(self) -> None:
        """Let the task run until it lets others take a turn, waits, or ends."""
        try:
            if self.scope is not None and self.scope.cancelled:
                self.task.throw(StoppedScope())
            else:
                self.task.send(None)
        except StopIteration:
            self.task = None

    async def checkpoint(self) -> None:
        await pause()

    async def in_scope(self, awaitable: Awaitable[Any], enter: Callable[[HandScope], None]) -> Any:
        self.scope = HandScope()
        enter(self.scope)
        try:
            return await awaitable
        except StoppedScope:
            return None
        finally:
            self.scope = None

    def new_event(self) -> Flag:
        self.event = Flag()
        return self.event

    @property
    def is_waiting(self) -> bool:
        return self.task is not None and self.event is not None and not self.event.is_set

    def flush_soon(self) -> None:
        """Ignored: the test flushes."""

    def call_soon_threadsafe(self, function: Any) -> None:
        raise AssertionError("no thread is at work here")

    def stop(self) -> None:
        self.is_stopped = True


class Script:
    """A channel: what the engine sends is in it from the start of a turn; its socket may be full."""

    def __init__(self) -> None:
        self.arrived: deque[bytes] = deque()
        self.sent: list[Message] = []
        self._waiting: list[Message] = []
        self.is_full = False

    def receive(self) -> bytes | None:
        return self.arrived.popleft() if self.arrived else None

    @property
    def is_flushed(self) -> bool:
        return not self._waiting

    def post(self, message: Message) -> None:
        self._waiting.append(message)

    post_done = report = post

    def flush(self) -> bool:
        if self.is_full:
            return False
        self.sent += self._waiting
        self._waiting.clear()
        return True

    def take(self, *kinds: type) -> list[Any]:
        """Return what has been sent, of these kinds, and forget everything."""
        sent, self.sent = self.sent, []
        return [message for message in sent if not kinds or type(message) in kinds]


class Scene:
    """A worker with one generation loop, and the test in the place of its engine."""

    def __init__(self, name: str) -> None:
        endpoint = next(endpoint for endpoint in app.endpoints if endpoint.name == name)
        self.model: Any = endpoint.handler()
        self.loop = Hand()
        self.channel = Script()
        self.words = memoryview(bytearray(SHARED_BYTES)).cast("Q")
        self.guard = InterruptGuard(self.words)
        live = LiveEndpoint(endpoint, self.model.admit, self.model)
        check: Any = lambda: "checked"  # noqa: E731 - a stand-in for Models.problem
        self.program: Any = Program(self.loop, self.channel, self.guard, {name: live}, check)  # type: ignore[arg-type]
        self._name = name

    def order(self, attempt: int, prompt: object = "p", *, deadline: float = math.inf, trace: str = "") -> bytes:
        body = prompt if isinstance(prompt, bytes) else msgspec.json.encode({"prompt": prompt})
        about = About(f"job-{attempt}", 1, None, {}, deadline, f"request-{attempt}", is_watched=True)
        run = Run(attempt, self._name, deadline, [Work(body, about)], [f"request-{attempt}"])
        run.trace = Trace(trace, "b" * 16) if trace else None
        return pack(run)

    def run(self, *attempts: int, **options: Any) -> None:
        """Send these attempts; the loop reads them before its next step."""
        for attempt in attempts:
            self.send(self.order(attempt, **options))

    def send(self, message: bytes) -> None:
        if self.loop.task is None:
            self.program.receive(message)
        else:
            self.channel.arrived.append(message)

    def cancel(self, attempt: int) -> None:
        self.send(pack(Cancel(attempt)))

    def turn(self, count: int = 1) -> list[tuple[Any, ...]]:
        """Advance the loop; return the calls of the model meanwhile."""
        for _ in range(count):
            self.loop.turn()
            while self.loop.task is None and self.channel.arrived:
                self.program.receive(self.channel.arrived.popleft())  # as the worker's reader does, when no loop runs
        return self.model.take_calls()

    def chunks(self) -> list[tuple[int, Any]]:
        return [(chunk.attempt, msgspec.json.decode(chunk.body)) for chunk in self.channel.take(Chunk)]

    def ends(self) -> list[tuple[int, Any]]:
        """Return the attempts that have ended since the last look, each with its one result."""
        return [(done.attempt, done.results[0]) for done in self.channel.take(Ended)]

    def failures(self) -> dict[int, Failure]:
        return {attempt: result for attempt, result in self.ends() if isinstance(result, Failure)}


@pytest.fixture(params=["sync", "async"])
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(request.param)


@pytest.fixture(autouse=True)
def no_context_left() -> Iterator[None]:
    yield
    REQUEST_IDS.set([])
    TRACE_IDS.set(([], ""))


# ---- tokens


def test_a_step_has_all_live_slots_in_order(scene: Scene) -> None:
    """Jobs are admitted to the lowest slots, and each chunk goes to the job of its slot."""
    scene.model.during_step = lambda slots: {slot: f"token of {slot}" for slot in reversed(slots)}
    scene.run(7, 8, 9)
    calls = scene.turn()
    assert calls == [("admit", 0, "p"), ("admit", 1, "p"), ("admit", 2, "p"), ("step", 0, 1, 2)]
    sent = scene.channel.take()
    assert [type(message) for message in sent] == [Head] * 3 + [Chunk] * 3
    assert sorted((chunk.attempt, chunk.body) for chunk in sent[3:]) == [
        (7, b'"token of 0"'),
        (8, b'"token of 1"'),
        (9, b'"token of 2"'),
    ]


def test_done_ends_a_job_with_a_last_chunk_or_without(scene: Scene) -> None:
    """``Done(chunk)`` sends the chunk first; ``Done()`` sends none; both release the slot."""
    scene.model.during_step = lambda _: {0: Done("last"), 1: Done()}
    scene.run(1, 2)
    assert scene.turn()[-2:] == [("release", 0), ("release", 1)]
    sent = scene.channel.take(Chunk, Ended)
    assert [(type(message), message.attempt) for message in sent] == [(Chunk, 1), (Ended, 1), (Ended, 2)]
    assert all(message.results[0].body == b"" for message in sent[1:])


def test_a_slot_may_have_no_token_this_time(scene: Scene) -> None:
    """A slot that is missing, or None, goes on without a chunk."""
    scene.model.during_step = lambda _: {1: None, 2: "x"}
    scene.run(1, 2, 3)
    scene.turn()
    assert scene.chunks() == [(3, "x")]
    assert scene.turn() == [("step", 0, 1, 2)]


def test_a_chunk_may_be_an_event(scene: Scene) -> None:
    """Whatever a generator may yield may be a chunk."""
    scene.model.during_step = lambda _: {0: Done(Event("x", event="token"))}
    scene.run(1)
    scene.turn()
    assert b"token" in scene.channel.take(Chunk)[0].body


def test_a_job_that_arrives_is_admitted_before_the_next_step(scene: Scene) -> None:
    """The worker reads its socket between steps, and not only when it is idle."""
    scene.run(1)
    assert scene.turn()[-1] == ("step", 0)
    scene.run(2)
    assert scene.turn() == [("admit", 1, "p"), ("step", 0, 1)]


def test_the_loop_ends_when_no_job_is_left(scene: Scene) -> None:
    """An idle worker has no task that could use the CPU; the next job starts the loop again."""
    scene.model.during_step = lambda slots: dict.fromkeys(slots, Done())
    scene.run(1)
    scene.turn(2)
    assert scene.loop.task is None
    scene.run(2)
    assert scene.turn()[:2] == [("admit", 0, "p"), ("step", 0)]


# ---- slots


def test_the_lowest_free_slot_is_used_again_after_its_release(scene: Scene) -> None:
    """``release`` comes before the slot's next ``admit``."""
    scene.run(1, 2, 3)
    scene.turn()
    scene.cancel(3)
    scene.cancel(1)
    scene.run(4)
    assert scene.turn() == [("release", 0), ("release", 2), ("admit", 0, "p"), ("step", 0, 1)]


def test_every_admitted_job_is_released_once(scene: Scene) -> None:
    """It may be done, have failed, or be cancelled."""
    scene.model.during_step = lambda slots: {0: Done(), 1: ValueError("no")} if 0 in slots else {2: "x"}
    scene.run(1, 2)
    scene.run(3, deadline=1e15)
    calls = scene.turn()
    scene.cancel(3)
    calls += scene.turn(2)
    assert [attempt for attempt, _ in scene.ends()] == [1, 2, 3]
    assert [call for call in calls if call[0] == "release"] == [("release", 0), ("release", 1), ("release", 2)]


def test_a_release_that_raises_is_logged(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """The job keeps its result, and the slot is used again."""

    def fail() -> None:
        raise OSError("leak")

    scene.model.during_release = fail
    scene.model.during_step = lambda slots: dict.fromkeys(slots, Done("x"))
    scene.run(1, 2)
    scene.turn()
    assert capsys.readouterr().err.count("OSError: leak") == 2
    assert [attempt for attempt, result in scene.ends() if not isinstance(result, Failure)] == [1, 2]
    scene.run(3)
    assert ("admit", 0, "p") in scene.turn(2)


# ---- jobs that leave


def test_a_cancelled_job_leaves_before_the_next_step(scene: Scene) -> None:
    """It is acknowledged once it is released; the others are not disturbed."""
    scene.run(1, 2)
    scene.turn()
    scene.cancel(1)
    assert scene.turn() == [("release", 0), ("step", 1)]
    assert {attempt: failure.kind for attempt, failure in scene.failures().items()} == {1: FAILED_CANCELLED}


def test_a_job_that_is_cancelled_before_its_turn_is_never_admitted(scene: Scene) -> None:
    """The model does not hear of it."""
    scene.run(1)
    scene.cancel(1)
    scene.turn()
    assert scene.model.calls == []
    assert scene.failures()[1].kind == FAILED_CANCELLED


def test_a_job_past_its_deadline_leaves_before_the_next_step(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker watches the clock itself, and does not wait for the engine's message."""
    scene.run(1, deadline=1e9)
    scene.run(2)
    monkeypatch.setattr("penstock.worker.modes.slot_attempts.monotonic", lambda: 1e9 - 1)
    scene.turn()
    monkeypatch.setattr("penstock.worker.modes.slot_attempts.monotonic", lambda: 1e9)
    assert scene.turn() == [("release", 0), ("step", 1)]
    assert scene.failures()[1].kind == FAILED_CANCELLED


# ---- readers


def test_a_slow_reader_is_left_out_until_it_has_room(scene: Scene) -> None:
    """It stalls no other, and what waits for it is bounded by its window."""
    scene.model.during_step = lambda slots: {slot: "x" * WINDOW_BYTES if slot == 0 else "t" for slot in slots}
    scene.run(1, 2)
    assert scene.turn()[-1] == ("step", 0, 1)
    assert scene.turn(2) == [("step", 1), ("step", 1)]
    scene.send(pack(Credit(1, WINDOW_BYTES)))
    assert scene.turn() == [("step", 0, 1)]


def test_the_loop_waits_while_no_slot_has_room(scene: Scene) -> None:
    """It waits for the engine instead of turning round and round; credit or a cancel wakes it."""
    scene.model.during_step = lambda slots: dict.fromkeys(slots, "x" * WINDOW_BYTES)
    scene.run(1, 2)
    scene.turn(2)
    assert scene.loop.is_waiting
    scene.program.receive(pack(Credit(2, WINDOW_BYTES + 2)))
    assert not scene.loop.is_waiting
    assert ("step", 1) in scene.turn(2)
    assert scene.loop.is_waiting
    scene.program.receive(pack(Cancel(1)) + pack(Cancel(2)))
    assert scene.turn() == [("release", 0), ("release", 1)]


def test_the_loop_waits_while_the_socket_is_full(scene: Scene) -> None:
    """Nothing is produced that could not be sent."""
    scene.run(1)
    scene.turn()
    scene.channel.is_full = True
    scene.turn(2)
    scene.model.take_calls()
    assert scene.loop.is_waiting
    scene.channel.is_full = False
    scene.channel.flush()
    scene.program.on_flushed()
    assert scene.turn() == [("step", 0)]


# ---- failures


def test_an_exception_in_admit_fails_that_job_alone(scene: Scene) -> None:
    """Nothing is held for it, so ``release`` is not called, and its slot is free at once."""

    def fail() -> None:
        scene.model.during_admit = lambda: None
        raise ValueError("too long")

    scene.model.during_admit = fail
    scene.run(1, 2)
    assert scene.turn() == [("admit", 0, "p"), ("admit", 0, "p"), ("step", 0)]
    failure = scene.failures()[1]
    assert (failure.kind, failure.detail, failure.exception_type) == (FAILED_HANDLER, "too long", "ValueError")
    assert "in admit" in failure.traceback


def test_admit_may_refuse_the_input(scene: Scene) -> None:
    """An ``InvalidRequest`` is the answer, as in any handler."""

    def refuse() -> None:
        raise InvalidRequest("too long", param="prompt")

    scene.model.during_admit = refuse
    scene.run(1)
    scene.turn()
    assert (scene.channel.sent[0].results[0].kind, scene.failures()[1].error) == (FAILED_ANSWERED, "InvalidRequest")


def test_a_body_that_does_not_fit_reaches_no_slot(scene: Scene) -> None:
    """It is the caller's fault, and the model is not called."""
    scene.run(1, prompt=7)
    assert scene.turn() == []
    assert scene.failures()[1].error == "InvalidRequest"


def test_an_exception_in_step_fails_all_live_jobs(scene: Scene) -> None:
    """Those that took no part as well: the state of the model is unknown. The worker goes on."""
    scene.model.during_step = lambda slots: {slot: "x" * WINDOW_BYTES if slot == 0 else "t" for slot in slots}
    scene.run(1, 2)
    scene.turn()

    def fail(_: list[int]) -> None:
        raise RuntimeError("out of memory")

    scene.model.during_step = fail
    assert scene.turn() == [("step", 1), ("release", 0), ("release", 1)]
    assert [(attempt, failure.detail) for attempt, failure in scene.failures().items()] == [
        (1, "out of memory"),
        (2, "out of memory"),
    ]
    scene.model.during_step = lambda slots: dict.fromkeys(slots, Done())
    scene.run(3)
    scene.turn(2)
    assert scene.ends()[-1][0] == 3


def test_exit_in_step_ends_the_jobs_alone(scene: Scene) -> None:
    """``sys.exit`` is an exception like any other."""

    def leave(_: list[int]) -> None:
        raise SystemExit(3)

    scene.model.during_step = leave
    scene.run(1)
    scene.turn()
    assert scene.failures()[1].exception_type == "SystemExit"


def test_an_exception_in_the_place_of_a_chunk_fails_its_job_alone(scene: Scene) -> None:
    """As in a batch."""
    scene.model.during_step = lambda slots: {0: ValueError("bad"), 1: "fine"}
    scene.run(1, 2)
    assert scene.turn()[-1] == ("release", 0)
    sent = scene.channel.take(Chunk, Ended)
    assert [(type(message), message.attempt) for message in sent] == [(Chunk, 2), (Ended, 1)]
    assert sent[1].results[0].detail == "bad"


def test_a_chunk_that_cannot_be_sent_fails_its_job_alone(scene: Scene) -> None:
    """The error names the type."""
    scene.model.during_step = lambda slots: {0: Done(object()), 1: "fine"}
    scene.run(1, 2)
    scene.turn()
    failures = scene.failures()
    assert list(failures) == [1]
    assert "object" in failures[1].detail


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        (None, "step returned a NoneType: return a dict"),
        (["x"], "step returned a list: return a dict"),
        ({0: "x", 5: "y"}, "step returned something for slot 5, but it was called with the slots [0, 1]"),
    ],
)
def test_what_step_must_not_return(scene: Scene, returned: object, problem: str) -> None:
    """All live jobs fail with an error that says so, and no chunk is sent."""
    scene.model.during_step = lambda _: returned
    scene.run(1, 2)
    scene.turn()
    sent = scene.channel.take(Chunk, Ended)
    assert [(type(message), message.attempt) for message in sent] == [(Ended, 1), (Ended, 2)]
    assert all(message.results[0].detail.startswith(problem) for message in sent)


# ---- interrupts and scopes


def test_a_step_that_nobody_waits_for_is_interrupted() -> None:
    """The engine has written that no caller waits for any attempt up to the latest one in the step."""
    scene = Scene("sync")
    scene.run(3, 4)
    scene.words[WORD_ABANDONED] = 4
    assert scene.turn()[-2:] == [("release", 0), ("release", 1)]
    assert {failure.kind for failure in scene.failures().values()} == {FAILED_CANCELLED}


def test_a_step_that_runs_for_a_later_job_is_not_interrupted() -> None:
    """The order to stop may be older than the job."""
    scene = Scene("sync")
    scene.run(3, 4)
    scene.words[WORD_ABANDONED] = 3
    scene.turn()
    assert [attempt for attempt, _ in scene.chunks()] == [3, 4]


def test_a_cancel_does_not_disturb_an_asynchronous_step() -> None:
    """While another job waits for it. The chunk of the cancelled one is dropped."""
    scene = Scene("async")
    gate = Flag()

    async def step(slots: list[int]) -> dict[int, str]:
        await gate.wait()
        return dict.fromkeys(slots, "t")

    scene.model.during_step = step
    scene.run(1, 2)
    scene.turn()
    scene.program.receive(pack(Cancel(1)))
    scene.turn()
    assert scene.loop.scope is not None
    assert not scene.loop.scope.cancelled
    gate.set()
    scene.turn()
    sent = scene.channel.take(Chunk, Ended)
    assert [(type(message), message.attempt) for message in sent] == [(Chunk, 2), (Ended, 1)]


def test_an_asynchronous_step_that_nobody_waits_for_is_cancelled() -> None:
    """With the last of its jobs, also if that was cancelled at the very beginning."""
    scene = Scene("async")

    async def stuck(_: list[int]) -> dict[int, str]:
        await Flag().wait()
        return {}

    scene.model.during_step = stuck
    scene.run(1, 2)
    scene.turn()
    scene.program.receive(pack(Cancel(1)))
    scene.program.receive(pack(Cancel(2)))
    scene.turn()
    assert {attempt: failure.kind for attempt, failure in scene.failures().items()} == dict.fromkeys(
        (1, 2), FAILED_CANCELLED
    )


# ---- what user code can see


def test_log_records_name_the_jobs(scene: Scene) -> None:
    """In a step those of all its jobs, in ``admit`` and ``release`` that of the one; so do the traces."""
    seen: list[tuple[list[str], list[str]]] = []

    def look() -> None:
        seen.append((REQUEST_IDS.get([]), TRACE_IDS.get(([], ""))[0]))

    def step(slots: list[int]) -> dict[int, Done]:
        look()
        return {0: Done()}

    scene.model.during_admit = scene.model.during_release = look
    scene.model.during_step = step
    scene.run(1, trace="1" * 32)
    scene.run(2, trace="2" * 32)
    scene.turn()
    one, two = (["request-1"], ["1" * 32]), (["request-2"], ["2" * 32])
    assert seen == [one, two, (one[0] + two[0], one[1] + two[1]), one]


def test_each_slot_has_its_context(scene: Scene) -> None:
    """With its own job, deadline, cancellation and progress."""
    scene.run(1, 2)
    scene.turn()
    contexts = scene.model.contexts
    assert [context.request_id for context in contexts.values()] == ["request-1", "request-2"]
    scene.program.receive(pack(Cancel(1)))
    assert [context.cancelled for context in contexts.values()] == [True, False]
    contexts[1].progress(1, 3)
    contexts[1].progress(2, 3)
    scene.turn()
    assert [(report.attempt, report.done) for report in scene.channel.take(Progress)] == [(2, 1), (2, 2)]


# ---- the worker


def test_a_check_comes_between_two_steps(scene: Scene) -> None:
    """The models are checked while the loop is at work, too."""
    scene.run(1)
    scene.turn()
    scene.send(pack(Check()))
    scene.turn()
    assert scene.channel.take(Unfit) == [Unfit("checked")]


def test_a_worker_that_is_to_stop_finishes_its_jobs(scene: Scene) -> None:
    """It stops when the last slot is released."""
    scene.run(1)
    scene.turn()
    scene.send(pack(Stop()))
    scene.turn()
    assert not scene.loop.is_stopped
    scene.model.during_step = lambda slots: dict.fromkeys(slots, Done())
    scene.turn(2)
    assert scene.loop.is_stopped
