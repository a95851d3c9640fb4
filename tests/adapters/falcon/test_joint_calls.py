"""Several inputs of one request, which are answered together: all or none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import falcon.testing
import msgspec
import pytest

from penstock.errors import Cancelled, HandlerError, QueueFull
from penstock.hooks import (
    Dialect,
    DialectRequest,
    Framing,
    JobAnswered,
    Operation,
    Payload,
    PublicError,
    RouteResponse,
    Submission,
    hookimpl,
)
from penstock.hooks.registry import Registry
from penstock.response import Encoded
from penstock_falcon import joint_calls
from penstock_falcon.joint_calls import PART_FAILED, JointCall, JointResult, submit_together
from tests.adapters.falcon.fake_engine import FakeCall, FakeEngine, keep, make_app
from tests.adapters.falcon.shared_server import shared
from tests.adapters.falcon.test_dialect_operations import KINDS

STREAM = Encoded(b"")


def read(request: DialectRequest) -> Payload:
    asked = msgspec.json.decode(request.body)
    parts = [msgspec.json.encode({"input": number}) for number in asked["inputs"]]
    return Payload(endpoint="square", parts=parts, is_streamed=asked.get("stream", False))


def together(answers: list[list[bytes]], _payload: Payload) -> RouteResponse:
    return RouteResponse(body=b" ".join(b"+".join(chunks) for chunks in answers), media_type="text/plain")


def error(error: PublicError) -> RouteResponse:
    return RouteResponse(body=error.code.encode(), status=error.status, media_type="text/plain")


class Numbered:
    """Chunks with the numbers of their parts."""

    media_type = "text/plain"
    is_piecewise = False
    keep_alive = b""
    end = b"end"

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        return b"".join(b"%d:%b " % (chunk.part, chunk) for chunk in chunks)  # type: ignore[attr-defined]

    def error(self, error: PublicError) -> bytes:
        return error.code.encode()


def numbered(_head: Encoded, _payload: Payload) -> Framing:
    return Numbered()


class Several:
    """A plug-in with a dialect of several inputs, and an admission policy."""

    name = "several"

    def __init__(self, **changes: Any) -> None:
        self.changes = changes
        self.admitted = 0
        self.answered: list[JobAnswered] = []

    @hookimpl
    def penstock_dialects(self) -> list[Dialect]:
        fields: dict[str, Any] = {
            "name": "several",
            "operations": (Operation(path="/several", read=read),),
            "endpoints": ("square",),
            "result": lambda answer, _payload: RouteResponse(body=answer.body),
            "collected": lambda chunks, _payload: RouteResponse(body=b"".join(chunks)),
            "together": together,
            "framing": numbered,
            "error": error,
        }
        return [Dialect(**{**fields, **self.changes})]

    @hookimpl
    def penstock_admission_policy(self) -> Callable[[Submission], Any]:
        def admit(_submission: Submission) -> Any:
            self.admitted += 1
            return self.answered.append

        return admit


class Scene:
    def __init__(self, kind: Any, **changes: Any) -> None:
        build, engine_class = kind
        self.is_shared = build is shared
        self.plugin = Several(**changes)
        self.engine = engine_class(registry=Registry([self.plugin]))
        self.client = falcon.testing.TestClient(build(make_app(), engine=self.engine))

    def ask(self, *inputs: Any, **more: Any) -> falcon.testing.Result:
        return self.client.simulate_post("/several", body=msgspec.json.encode({"inputs": inputs, **more}))


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Any:
    return KINDS[request.param]


@pytest.fixture
def scene(kind: Any) -> Scene:
    return Scene(kind)


def test_each_input_is_a_job_and_the_answer_has_them_all(scene: Scene) -> None:
    """In the order of the inputs, whichever ends first; the chunks of a stream are kept apart."""
    assert scene.ask(1.0, 2.0, 3.0).text == "1.0 4.0 9.0"
    assert len(scene.engine.calls) == 3

    def script(call: FakeCall) -> None:
        call.begin_stream()
        call.yield_chunk(b"a")
        call.yield_chunk(b"b")
        call.decide(STREAM)

    scene.engine.script = script
    assert scene.ask(1.0, 2.0).text == "a+b a+b"


def test_the_chunks_of_a_stream_have_the_number_of_their_part(scene: Scene) -> None:
    """A single result is one chunk; one mark ends the whole."""
    assert scene.ask(2.0, 3.0, stream=True).text == "0:4.0 1:9.0 end"


def test_one_that_fails_is_the_answer(scene: Scene) -> None:
    """In the dialect's terms, with the status of its error."""

    def script(call: FakeCall) -> None:
        call.decide(HandlerError("x") if call.body == b'{"input":2.0}' else Encoded(b"1"))

    scene.engine.script = script
    found = scene.ask(1.0, 2.0, 3.0)
    assert (found.status_code, found.text) == (500, "handler-error")


def test_an_input_that_does_not_fit_is_refused_before_any_is_submitted(scene: Scene) -> None:
    """Small inputs are checked where the request arrives."""
    found = scene.ask(1.0, "x")
    assert (found.status_code, found.text) == (422, "invalid-request")
    assert not scene.engine.calls


def test_the_policies_are_asked_once(scene: Scene) -> None:
    """They learn of one outcome: where the engine is in this process, when all jobs have ended."""
    scene.ask(1.0, 2.0, 3.0)
    assert scene.plugin.admitted == 1
    if not scene.is_shared:  # there, the fake engine would have to release them
        assert [answered.code for answered in scene.plugin.answered] == ["ok"]


def test_a_dialect_with_parts_needs_together(kind: Any) -> None:
    """Without it, the request fails, and nothing is submitted."""
    scene = Scene(kind, together=None)
    assert scene.ask(1.0).status_code == 500
    assert not scene.engine.calls


# ---- the call


class Held:
    """Calls that the test decides."""

    def __init__(self, count: int = 3, *, is_streamed: bool = False) -> None:
        self.engine = FakeEngine(keep)
        self.submission = Submission(make_app().endpoints[0], request_id="r")
        self.answered: list[JobAnswered] = []
        self.submission.add_release(self.answered.append)
        self.joint = submit_together(self.engine, self.submission, [b"{}"] * count, None, is_streamed=is_streamed)
        self.calls = self.engine.calls


def test_the_outcome_comes_with_the_last_job() -> None:
    """The policies are released then, and not before."""
    held = Held()
    held.calls[2].decide(Encoded(b"c"))
    held.calls[0].decide(Encoded(b"a"))
    assert (held.joint.outcome, held.answered) == (None, [])
    held.calls[1].decide(Encoded(b"b"))
    assert held.joint.outcome == JointResult(b"", answers=[[b"a"], [b"b"], [b"c"]])
    assert [answered.code for answered in held.answered] == ["ok"]


def test_the_first_failure_cancels_the_others() -> None:
    """It is the outcome at once, whatever they do."""
    held = Held()
    failure = HandlerError("x")
    held.calls[1].decide(failure)
    assert held.joint.outcome is failure
    assert [call.cancelled_because for call in held.calls] == [PART_FAILED, None, PART_FAILED]
    assert [answered.code for answered in held.answered] == ["handler-error"]


def test_a_client_that_leaves_cancels_all() -> None:
    """With its reason."""
    held = Held()
    held.joint.cancel("gone")
    assert isinstance(held.joint.outcome, Cancelled)
    assert {call.cancelled_because for call in held.calls} == {"gone"}


def test_a_refusal_cancels_those_that_were_admitted() -> None:
    """All are admitted, or none."""
    engine = FakeEngine(keep)

    def script(_call: FakeCall) -> None:
        if len(engine.calls) == 2:
            engine.refusal = QueueFull("full")

    engine.script = script
    submission = Submission(make_app().endpoints[0])
    with pytest.raises(QueueFull):
        submit_together(engine, submission, [b"{}"] * 4, None, is_streamed=False)
    assert [call.cancelled_because for call in engine.calls] == [PART_FAILED] * 2
    assert submission.has_releases is False


def test_a_stream_begins_with_its_first_chunk() -> None:
    """Its head is known then; chunks are taken up to a limit, in the order in which they came."""
    held = Held(2, is_streamed=True)
    assert held.joint.head is None
    held.calls[1].begin_stream().yield_chunk(b"x")
    held.calls[0].begin_stream().yield_chunk(b"y")
    assert held.joint.head == STREAM
    assert held.joint.has_chunks
    first = held.joint.take(1)
    assert [(chunk.part, bytes(chunk)) for chunk in first] == [(1, b"x")]  # type: ignore[attr-defined]
    for call in held.calls:
        call.decide(STREAM)
    assert [(chunk.part, bytes(chunk)) for chunk in held.joint.take()] == [(0, b"y")]  # type: ignore[attr-defined]
    assert isinstance(held.joint.outcome, JointResult)


def test_what_is_collected_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole answer is held in full, so it has a limit."""
    monkeypatch.setattr(joint_calls, "MOST_COLLECTED_BYTES", 3)
    held = Held(2)
    held.calls[0].begin_stream().yield_chunk(b"abcd")
    assert isinstance(held.joint.outcome, HandlerError)
    assert {call.cancelled_because for call in held.calls} == {PART_FAILED}


def test_its_figures_are_those_of_the_slowest() -> None:
    """For the header about times, and the log."""
    held = Held(2)
    held.calls[0].queue_seconds, held.calls[1].queue_seconds = 1.0, 2.0
    held.calls[1].execution_seconds, held.calls[1].attempts = 3.0, 2
    joint: JointCall = held.joint
    assert (joint.queue_seconds, joint.execution_seconds, joint.attempts) == (2.0, 3.0, 2)
