"""Answers of a dialect that are more than a result: without a job, with progress reports, and cancellations."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import falcon.testing
import msgspec
import pytest

from penstock.errors import Cancelled, HandlerError, QueueFull, WorkerLost
from penstock.hooks import (
    CancelRequest,
    CollectedChunks,
    DialectRequest,
    Operation,
    Payload,
    Progress,
    PublicError,
    RouteResponse,
)
from penstock.response import Encoded
from penstock_falcon._asgi import asgi_hangups
from penstock_falcon.cancellable_calls import CancellableCalls
from penstock_falcon.whole_answers import MOST_REPORTS, HeldReports
from tests.adapters.falcon.fake_engine import FakeCall, FakeEngine
from tests.adapters.falcon.test_dialect_operations import KINDS, Scene, Talker, read_answer, result

PATH = "/v1/answers"


def read_any(request: DialectRequest) -> Payload | RouteResponse | CancelRequest:
    """Read a job, a greeting, or a cancellation."""
    asked = msgspec.json.decode(request.body)
    if "hello" in asked:
        return RouteResponse(body=b"hello", media_type="text/plain", status=asked["hello"], headers={"x-kind": "none"})
    if "cancel" in asked:
        return CancelRequest(key=asked["cancel"], response=RouteResponse(status=202), reason="a whim")
    payload = read_answer(request)
    return msgspec.structs.replace(
        payload, is_streamed=False, wants_reports=asked.get("reports", False), cancel_key=asked.get("key")
    )


def collected(chunks: list[bytes], payload: Payload) -> RouteResponse:
    assert isinstance(chunks, CollectedChunks)
    media_type = chunks.head.media_type or "none"
    return RouteResponse(body=b"%s: %s" % (media_type.encode(), b"+".join(chunks)), media_type="text/plain")


def failure(error: PublicError, payload: Payload) -> RouteResponse:
    body = f"{payload.memo}: {error.code}".encode()
    return RouteResponse(body=body, status=200 if error.code == "handler-error" else error.status)


class Reported:
    """A line for each report, and one for the answer."""

    media_type = "text/x-reports"
    keep_alive = b"still here\n"

    def report(self, report: Progress) -> bytes:
        return b"" if report.message == "hidden" else f"{report.done:g}/{report.total:g} {report.message}\n".encode()

    def answer(self, response: RouteResponse) -> bytes:
        return b"%d %s\n" % (response.status, response.body)


def talker(**more: Any) -> Talker:
    operations = (Operation(path=PATH, read=read_any, choose=lambda _: None),)
    fields = {"failure": failure, "collected": collected, "reporting": lambda payload: Reported()}
    return Talker(operations=operations, **fields, **more)


def later(*steps: Callable[[FakeCall], object]) -> Callable[[FakeCall], None]:
    """Return a script of steps that follow one another once the call has been submitted."""

    def script(call: FakeCall) -> None:
        def follow(left: list[Callable[[FakeCall], object]]) -> None:
            left[0](call)
            if left[1:]:
                schedule(left[1:])

        def schedule(left: list[Callable[[FakeCall], object]]) -> None:
            if loop is None:
                threading.Timer(0.005, follow, [left]).start()
            else:
                loop.call_later(0.005, follow, left)

        try:
            loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        schedule(list(steps))

    return script


def reports(done: float, message: str = "on the way") -> Callable[[FakeCall], object]:
    return lambda call: call.report(done, 3.0, message)


def decides(outcome: Any) -> Callable[[FakeCall], object]:
    return lambda call: call.decide(outcome)


def yields(chunk: bytes) -> Callable[[FakeCall], object]:
    return lambda call: call.yield_chunk(chunk)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing listen for clients: the test client pretends to leave as soon as it has sent its request."""
    monkeypatch.setattr(asgi_hangups, "PATIENCE_SECONDS", 60.0)


@pytest.fixture(params=list(KINDS))
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(KINDS[request.param], talker())


def send(scene: Scene, **asked: Any) -> falcon.testing.Result:
    return scene.client.simulate_post(PATH, body=msgspec.json.encode(asked), headers={"X-Key": "k"})


# ---- without a job


@pytest.mark.parametrize("status", [200, 400])
def test_a_request_may_need_no_job(scene: Scene, status: int) -> None:
    """It is answered with what `read` returns, and nothing is queued."""
    answer = send(scene, hello=status)
    assert (answer.status_code, answer.text, answer.headers["x-kind"]) == (status, "hello", "none")
    assert answer.headers["content-type"] == "text/plain"
    assert "x-request-id" in answer.headers
    assert scene.engine.calls == []
    assert scene.engine.refused == []


@pytest.mark.parametrize("kind", list(KINDS))
def test_without_a_job_the_authenticator_alone_is_asked(kind: str) -> None:
    """No policy of an endpoint sees the request, and one without a key is refused."""
    scene = Scene(KINDS[kind], talker())
    scene.talker.asks_for_key = True
    scene = Scene(KINDS[kind], scene.talker)
    assert send(scene, hello=200).text == "hello"
    assert scene.talker.asked == [f"talk {PATH}"]
    assert scene.talker.submissions == []
    assert scene.client.simulate_post(PATH, body=b'{"hello":200}').text == "alas: unauthorized: None"


@pytest.mark.parametrize("kind", list(KINDS))
def test_an_endpoint_that_was_chosen_needs_a_job(kind: str) -> None:
    """Its policies have admitted it, and wait for an outcome; the dialect has a mistake."""
    wrong = talker()
    wrong.changes["operations"] = (Operation(path=PATH, read=read_any, choose=lambda _: "square"),)
    assert send(Scene(KINDS[kind], wrong), hello=200).text == "alas: internal-error: None"


# ---- errors that know their request


def test_an_error_after_reading_knows_the_payload(scene: Scene) -> None:
    """`failure` writes it, with a status of its own if it likes."""
    scene.engine.script = decides(HandlerError("oh"))
    answer = send(scene, model="square", input={"input": 1.0})
    assert (answer.status_code, answer.text) == (200, "square: handler-error")
    scene.engine.script = decides(QueueFull("full"))
    answer = send(scene, model="square", input={"input": 1.0})
    assert (answer.status_code, answer.text) == (503, "square: queue-full")
    assert int(answer.headers["retry-after"]) > 0


def test_an_input_that_does_not_fit_has_its_payload(scene: Scene) -> None:
    """It is refused before it is queued."""
    answer = send(scene, model="square", input={"input": "x"})
    assert (answer.status_code, answer.text) == (422, "square: invalid-request")
    assert scene.engine.calls == []


def test_an_error_before_reading_does_not(scene: Scene) -> None:
    """`error` writes it."""
    answer = scene.client.simulate_post(PATH, body=b"x" * (17 << 20))
    assert answer.text == "alas: payload-too-large: None"


# ---- collected chunks


def test_collected_chunks_have_the_head_of_their_stream(scene: Scene) -> None:
    """So that a dialect can tell bytes from JSON."""
    for head, said in ((Encoded(b""), "none: 1+2"), (Encoded(b"", "audio/wav"), "audio/wav: 1+2")):

        def script(call: FakeCall, head: Encoded = head) -> None:
            call.begin_stream(head)
            call.yield_chunk(b"1")
            call.yield_chunk(b"2")
            call.decide(Encoded(b""))

        scene.engine.script = script
        assert send(scene, model="count", input={"n": 2}).text == said


# ---- progress


def test_reports_come_before_the_answer(scene: Scene) -> None:
    """In a stream, which begins with the first of them."""
    scene.engine.script = later(reports(1), reports(2, "hidden"), reports(3), decides(Encoded(b"9.0")))
    answer = send(scene, model="square", input={"input": 3.0}, reports=True)
    assert answer.headers["content-type"] == "text/x-reports"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text == "1/3 on the way\n3/3 on the way\n200 square said 9.0\n"


def test_a_job_without_reports_is_answered_as_usual(scene: Scene) -> None:
    """With its own status, and as one body."""
    scene.engine.script = later(decides(Encoded(b"9.0")))
    answer = send(scene, model="square", input={"input": 3.0}, reports=True)
    assert (answer.headers["content-type"], answer.text) == ("text/plain", "square said 9.0")
    scene.engine.script = later(decides(WorkerLost("it died")))
    answer = send(scene, model="square", input={"input": 3.0}, reports=True)
    assert (answer.status_code, answer.text) == (503, "square: worker-lost")


def test_no_reports_for_a_client_that_wants_none(scene: Scene) -> None:
    """The engine is not even asked for them."""
    scene.engine.script = later(decides(Encoded(b"9.0")))
    assert send(scene, model="square", input={"input": 3.0}).text == "square said 9.0"
    assert scene.engine.calls[-1].on_report is None


@pytest.mark.parametrize(
    ("outcome", "line"),
    [(HandlerError("oh"), "200 square: handler-error"), (WorkerLost("x"), "503 square: worker-lost")],
)
def test_an_error_after_a_report_is_the_answer(scene: Scene, outcome: Any, line: str) -> None:
    """The stream is whole: its last piece says what has happened."""
    scene.engine.script = later(reports(1), decides(outcome))
    answer = send(scene, model="square", input={"input": 3.0}, reports=True)
    assert (answer.status_code, answer.text) == (200, f"1/3 on the way\n{line}\n")


def test_the_chunks_of_a_stream_are_collected_behind_the_reports(scene: Scene) -> None:
    """All chunks are, before the first report and after it; none of them is a sign of life to the client."""
    steps = [yields(b"1"), reports(1), yields(b"2"), yields(b"3"), reports(2), decides(Encoded(b""))]
    scene.engine.script = lambda call: later(*steps)(call.begin_stream())
    answer = send(scene, model="count", input={"n": 3}, reports=True)
    assert answer.text == "1/3 on the way\n2/3 on the way\n200 none: 1+2+3\n"


def test_a_stream_without_reports_is_collected_as_usual(scene: Scene) -> None:
    """As if the client wanted none."""
    scene.engine.script = lambda call: later(yields(b"1"), yields(b"2"), decides(Encoded(b"")))(call.begin_stream())
    assert send(scene, model="count", input={"n": 2}, reports=True).text == "none: 1+2"


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_dialect_that_wants_reports_has_to_write_them(kind: str) -> None:
    """Otherwise the request fails, before there is a job."""
    scene = Scene(KINDS[kind], talker())
    scene.talker.changes["reporting"] = None
    scene = Scene(KINDS[kind], scene.talker)
    answer = send(scene, model="square", input={"input": 3.0}, reports=True)
    assert answer.text == "alas: internal-error: None"
    assert scene.engine.calls == []


def test_a_slow_client_misses_the_oldest_reports() -> None:
    """The number of reports that wait for it is bounded."""
    box = HeldReports()
    for number in range(MOST_REPORTS + 3):
        box.add(Progress(1, float(number)))
    assert [report.done for report in box.take()] == list(range(3, MOST_REPORTS + 3))
    assert not box


# ---- cancellation


def fake_call(scene: Scene) -> FakeCall:
    return FakeEngine.call_class(scene.client.app.penstock.app.endpoints[0], b"", "r", None)


def test_a_request_cancels_another_one(scene: Scene) -> None:
    """By its key; the answer does not say whether there was one."""
    calls = [fake_call(scene) for _ in range(3)]
    cancellable: CancellableCalls = scene.client.app.penstock.cancellable
    for call, key in zip(calls, ("a", "a", "b"), strict=True):
        cancellable.add(("talk", None, key), call)
    assert send(scene, cancel="a").status_code == 202
    assert [call.cancelled_because for call in calls] == ["a whim", "a whim", None]
    assert isinstance(calls[0].outcome, Cancelled)
    assert send(scene, cancel="nothing").status_code == 202


def test_a_call_may_end_while_it_is_cancelled(scene: Scene) -> None:
    """And be removed, as it is where the cancellation is answered at once."""
    cancellable = CancellableCalls()
    call = fake_call(scene)
    call.on_progress = cancellable.add(("talk", None, "a"), call)
    cancellable.cancel(("talk", None, "a"), "a whim")
    assert call.cancelled_because == "a whim"
    assert len(cancellable) == 0


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_caller_cancels_its_own_requests_only(kind: str) -> None:
    """As the authenticator tells callers apart; other dialects have other keys."""
    scene = Scene(KINDS[kind], talker())
    scene.talker.asks_for_key = True
    scene = Scene(KINDS[kind], scene.talker)
    cancellable: CancellableCalls = scene.client.app.penstock.cancellable
    keys = (("talk", "alice", "a"), ("talk", "bob", "a"), ("talk", None, "a"), ("other", "alice", "a"))
    calls = [fake_call(scene) for _ in keys]
    for key, call in zip(keys, calls, strict=True):
        cancellable.add(key, call)
    send(scene, cancel="a")
    assert [call.cancelled_because is not None for call in calls] == [True, False, False, False]


def test_an_answered_request_leaves_no_key_behind(scene: Scene) -> None:
    """If it was answered at once, with a stream of reports, or refused."""
    cancellable: CancellableCalls = scene.client.app.penstock.cancellable
    seen: list[int] = []
    look = lambda _call: seen.append(len(cancellable))  # noqa: E731 - a step
    asked = {"model": "square", "input": {"input": 3.0}, "key": "a", "reports": True}
    for steps in ([decides(Encoded(b"9.0"))], [reports(1), decides(Encoded(b"9.0"))], [decides(WorkerLost("x"))]):
        scene.engine.script = later(look, *steps)
        send(scene, **asked)
        assert len(cancellable) == 0
    scene.engine.refusal = QueueFull("full")
    assert send(scene, **asked).status_code == 503
    assert len(cancellable) == 0
    assert seen == [1, 1, 1]


def test_a_result_is_still_a_result(scene: Scene) -> None:
    """A dialect with all of this answers plain requests as before."""
    assert send(scene, model="square", input={"input": 3.0}).text == "square said 9.0"
    assert result is not collected
