"""Operations of a dialect that differs from the native interface in everything."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from typing import Any

import falcon.asgi
import falcon.testing
import msgspec
import pytest

import penstock_falcon
from penstock import Event
from penstock.app import App
from penstock.codec.encoding import ResultEncoder
from penstock.errors import HandlerError, InvalidRequest, QueueFull, Unauthorized, WorkerLost
from penstock.hooks import (
    Dialect,
    DialectRequest,
    Framing,
    Operation,
    Payload,
    Principal,
    PublicError,
    RouteResponse,
    Submission,
    hookimpl,
    split_chunk,
)
from penstock.hooks.annotation_checks import CHECKED_RESULTS
from penstock.hooks.registry import Registry
from penstock.hosting import BodyFile
from penstock.response import Encoded
from tests.adapters.falcon.direct_server import direct
from tests.adapters.falcon.fake_engine import FakeCall, FakeEngine, FakeThreadedEngine, make_app
from tests.adapters.falcon.shared_server import shared
from tests.adapters.falcon.test_falcon_asgi import Exchange, piece, run

KINDS: dict[str, tuple[Callable[..., Any], type[FakeEngine]]] = {
    "asgi": (penstock_falcon.asgi, FakeEngine),
    "direct": (direct, FakeEngine),
    "shared": (shared, FakeEngine),
    "wsgi": (penstock_falcon.wsgi, FakeThreadedEngine),
}
STREAM = Encoded(b"")


def read_answer(request: DialectRequest) -> Payload:
    try:
        asked = msgspec.json.decode(request.body)
    except msgspec.DecodeError:
        raise InvalidRequest("the body is not JSON") from None
    return Payload(
        endpoint=asked["model"],
        body=msgspec.json.encode(asked["input"]),
        is_streamed=asked.get("stream"),
        timeout=asked.get("timeout"),
        priority=asked.get("priority"),
        memo=asked["model"],
        job_memo=asked["job"].encode() if "job" in asked else None,
    )


def read_thing(request: DialectRequest) -> Payload:
    body = msgspec.json.encode({"input": float(len(request.path_values["thing"]))})
    return Payload(endpoint="square", body=body, memo=request.path_values["thing"])


def result(answer: Encoded, payload: Payload) -> RouteResponse:
    return RouteResponse(body=b"%s said %s" % (payload.memo.encode(), answer.body), media_type="text/plain")


def collected(chunks: list[bytes], payload: Payload) -> RouteResponse:
    return RouteResponse(body=payload.memo.encode() + b" said " + b"+".join(chunks), media_type="text/plain")


def accepted(answer: Encoded, payload: Payload) -> RouteResponse:
    return RouteResponse(body=payload.memo.encode() + b" is going to say: " + answer.body, media_type="text/plain")


def error(error: PublicError) -> RouteResponse:
    return RouteResponse(body=f"alas: {error.code}: {error.param}".encode(), status=418, media_type="text/plain")


class Bars:
    """Chunks between bars."""

    media_type = "text/bars"
    keep_alive = b"."
    end = b"|"
    is_piecewise = True

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        return b"".join(b"|" + chunk for chunk in chunks)

    def error(self, error: PublicError) -> bytes:
        return b"!" + error.code.encode()


def bars(_head: Encoded, _payload: Payload) -> Framing:
    return Bars()


class Talker:
    """A plug-in with the dialect, and an authenticator for a caller."""

    name = "talker"

    def __init__(self, *, asks_for_key: bool = False, **changes: Any) -> None:
        self.asks_for_key = asks_for_key
        self.asked: list[str] = []
        self.submissions: list[Submission] = []
        self.changes = changes

    @hookimpl
    def penstock_dialects(self, app: App) -> list[Dialect]:
        fields: dict[str, Any] = {
            "name": "talk",
            "operations": (
                Operation(path="/v1/answers", read=read_answer, max_body=1000),
                Operation(path="/v1/things/{thing:path}", method="GET", read=read_thing, choose=lambda _: "square"),
                Operation(path="/v1/others/{thing}", method="DELETE", read=read_thing, choose=lambda _: "square"),
                Operation(
                    path="/v1/strict",
                    method="PUT",
                    read=read_answer,
                    choose=lambda _: "square",
                    media_types=("application/json",),
                ),
            ),
            "endpoints": ("square", "count"),
            "result": result,
            "error": error,
            "framing": bars,
            "collected": collected,
            "accepted": accepted,
        }
        return [Dialect(**{**fields, **self.changes})]

    @hookimpl
    def penstock_authenticator(self, endpoint: Any) -> Callable[[Submission], Principal | None] | None:
        if not self.asks_for_key:
            return None

        def authenticate(submission: Submission) -> Principal:
            self.asked.append(submission.endpoint.name)
            if submission.header("x-key") != "k":
                raise Unauthorized("no key")
            return Principal("alice")

        return authenticate

    @hookimpl
    def penstock_admission_policy(self) -> Callable[[Submission], None]:
        return self.submissions.append


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> tuple[Callable[..., Any], type[FakeEngine]]:
    return KINDS[request.param]


class Scene:
    """An application with the dialect, and its client."""

    def __init__(self, kind: tuple[Callable[..., Any], type[FakeEngine]], talker: Talker, **settings: Any) -> None:
        build, engine_class = kind
        self.talker = talker
        self.engine = engine_class(registry=Registry([talker]))
        self.client = falcon.testing.TestClient(build(make_app(), engine=self.engine, **settings))

    def ask(self, model: str = "square", value: Any = None, **more: Any) -> falcon.testing.Result:
        body = {"model": model, "input": {"input": 3.0} if value is None else value, **more}
        return self.client.simulate_post("/v1/answers", body=msgspec.json.encode(body), headers={"X-Key": "k"})


@pytest.fixture
def scene(kind: tuple[Callable[..., Any], type[FakeEngine]]) -> Scene:
    return Scene(kind, Talker())


def stream(*chunks: bytes, then: Any = STREAM) -> Callable[[FakeCall], None]:
    def script(call: FakeCall) -> None:
        call.begin_stream()
        for chunk in chunks:
            call.yield_chunk(chunk)
        call.decide(then)

    return script


def test_the_body_chooses_the_endpoint(scene: Scene) -> None:
    """Its input is what the dialect has read, and the answer what the dialect writes."""
    found = scene.ask()
    assert (found.status_code, found.text) == (200, "square said 9.0")
    assert found.headers["content-type"] == "text/plain"
    assert found.headers["x-request-id"]
    assert [call.endpoint.name for call in scene.engine.calls] == ["square"]


def test_the_path_chooses_the_endpoint(scene: Scene) -> None:
    """A catch-all takes slashes, whether they were encoded or not."""
    assert scene.client.simulate_get("/v1/things/ab/c").text == "ab/c said 16.0"
    assert scene.client.simulate_get("/v1/things/ab%2Fc").text == "ab/c said 16.0"


def test_each_method_is_an_operation_of_its_own(scene: Scene) -> None:
    """A method that the path does not take is refused in the dialect's terms, with those that it takes."""
    assert scene.client.simulate_delete("/v1/others/ab").text == "ab said 4.0"
    refused = scene.client.simulate_get("/v1/answers")
    assert (refused.status_code, refused.text) == (418, "alas: method-not-allowed: None")
    assert refused.headers["allow"] == "POST"


def test_errors_are_written_by_the_dialect(scene: Scene) -> None:
    """The errors of the request, of the engine and of the handler, with the headers that concern retries."""
    bad = scene.client.simulate_post("/v1/answers", body=b"{")
    assert (bad.status_code, bad.text) == (418, "alas: invalid-request: None")
    assert scene.ask(value={"input": "x"}).text == "alas: invalid-request: input"
    assert scene.ask("nobody").text == "alas: not-found: None"
    scene.engine.script = lambda call: call.decide(HandlerError("secret"))
    assert scene.ask().text == "alas: handler-error: None"
    scene.engine.refusal = QueueFull("full")
    full = scene.ask()
    assert (full.text, full.headers["x-should-retry"]) == ("alas: queue-full: None", "true")
    assert int(full.headers["retry-after"]) >= 1


def test_a_body_over_the_limit_of_the_operation(scene: Scene) -> None:
    """It is smaller than the application's."""
    assert scene.ask(padding="x" * 1000).text == "alas: payload-too-large: None"


def test_a_body_of_unknown_length_has_the_limit_too() -> None:
    """Even if it comes in one piece."""

    async def test() -> None:
        application = penstock_falcon.asgi(make_app(), engine=FakeEngine(registry=Registry([Talker()])))
        exchange = Exchange(application, "/v1/answers", piece(b" " * 1001), transfer_encoding="chunked")
        await exchange.run()
        assert exchange.bodies == [b"alas: payload-too-large: None"]

    run(test)


def test_a_compressed_body_is_read_like_any_other(scene: Scene) -> None:
    """Also where the body chooses the endpoint. The limit of the operation is for what it contains."""
    headers = {"X-Key": "k", "Content-Encoding": "gzip"}
    body = gzip.compress(msgspec.json.encode({"model": "square", "input": {"input": 1.0}}))
    assert scene.client.simulate_post("/v1/answers", body=body, headers=headers).text == "square said 1.0"
    refused = scene.client.simulate_post("/v1/answers", body=gzip.compress(b" " * 2000), headers=headers)
    assert refused.text == "alas: payload-too-large: None"
    cut = scene.client.simulate_post("/v1/answers", body=body[:-1], headers=headers)
    assert cut.text == "alas: invalid-request: None"
    unknown = scene.client.simulate_post("/v1/answers", body=body, headers={**headers, "Content-Encoding": "br"})
    assert unknown.text == "alas: unsupported-media-type: None"
    assert unknown.headers["accept-encoding"].startswith("gzip, deflate")


def test_whole_answers_are_compressed(kind: Any) -> None:
    """Single ones, and streams that were collected; a stream that is sent as one is not."""
    scene = Scene(kind, Talker(), compress=True)
    wants = {"X-Key": "k", "Accept-Encoding": "gzip"}

    def ask(model: str, **more: Any) -> falcon.testing.Result:
        body = msgspec.json.encode({"model": model, "input": {"n": 1} if model == "count" else {"input": 1.0}, **more})
        return scene.client.simulate_post("/v1/answers", body=body, headers=wants)

    scene.engine.script = lambda call: call.decide(Encoded(b"1" * 2000))
    assert gzip.decompress(ask("square").content) == b"square said " + b"1" * 2000
    scene.engine.script = stream(b"1" * 1000, b"2" * 1000)
    assert gzip.decompress(ask("count", stream=False).content) == b"count said " + b"1" * 1000 + b"+" + b"2" * 1000
    assert "content-encoding" not in ask("count").headers


def test_a_dialect_may_be_against_compression(kind: Any) -> None:
    """Its responses are then sent as they are, whatever the application does."""
    scene = Scene(kind, Talker(is_compressed=False), compress=True)
    scene.engine.script = lambda call: call.decide(Encoded(b"1" * 2000))
    body = msgspec.json.encode({"model": "square", "input": {"input": 1.0}})
    found = scene.client.simulate_post("/v1/answers", body=body, headers={"X-Key": "k", "Accept-Encoding": "gzip"})
    assert found.text == "square said " + "1" * 2000


def test_each_chunk_may_be_a_write_of_its_own() -> None:
    """If the framing asks for that, also for chunks that have come together."""

    async def test() -> None:
        engine = FakeEngine(stream(b"1", b"2", b"3"), Registry([Talker()]))
        application = penstock_falcon.asgi(make_app(), engine=engine)
        body = msgspec.json.encode({"model": "count", "input": {"n": 3}})
        exchange = Exchange(application, "/v1/answers", piece(body))
        await exchange.run()
        assert [written for written in exchange.bodies if written] == [b"|1", b"|2", b"|3|"]

    run(test)


def test_a_type_that_the_operation_does_not_read(scene: Scene) -> None:
    """Plain text is refused, and a body without a type is read."""
    body = msgspec.json.encode({"model": "square", "input": {"input": 1.0}})
    refused = scene.client.simulate_put("/v1/strict", body=body, headers={"Content-Type": "text/plain"})
    assert refused.text == "alas: unsupported-media-type: None"
    assert scene.client.simulate_put("/v1/strict", body=body).text == "square said 1.0"


def test_the_payload_tightens_the_deadline(kind: Any) -> None:
    """A dialect may read the caller's patience and urgency from the body."""
    if kind[0] is shared:
        pytest.skip("the policies that see the submission are in the process of the engine")
    scene = Scene(kind, Talker())
    scene.ask(timeout=2.5, priority="batch")
    (submission,) = scene.talker.submissions
    assert (submission.timeouts.total, submission.caller_timeout, submission.priority) == (2.5, 2.5, "batch")


# ---- access


def test_a_caller_without_a_key_is_refused_before_the_body_is_read(kind: Any) -> None:
    """If the body chooses the endpoint, the operation itself is guarded, and then the endpoint."""
    scene = Scene(kind, Talker(asks_for_key=True))
    assert scene.client.simulate_post("/v1/answers", body=b"{").text == "alas: unauthorized: None"
    assert scene.talker.asked == ["talk /v1/answers"]
    scene.talker.asked.clear()
    assert scene.ask().text == "square said 9.0"
    assert scene.talker.asked == ["talk /v1/answers", "square"]


def test_a_chosen_endpoint_is_asked_alone(kind: Any) -> None:
    """If the request without its body chooses it, its own policies decide, once."""
    scene = Scene(kind, Talker(asks_for_key=True))
    assert scene.client.simulate_get("/v1/things/a").text == "alas: unauthorized: None"
    assert scene.talker.asked == ["square"]


# ---- streams


def test_a_stream_is_framed_by_the_dialect(scene: Scene) -> None:
    """With its own media type, and its own end."""
    scene.engine.script = stream(b"1", b"2")
    found = scene.ask("count", {"n": 2})
    assert (found.text, found.headers["content-type"]) == ("|1|2|", "text/bars")


def test_a_stream_that_fails_has_the_error_of_the_dialect(scene: Scene) -> None:
    """At its end; before the first chunk, it is an ordinary error."""
    scene.engine.script = stream(then=WorkerLost("gone"))
    assert scene.ask("count", {"n": 2}).text == "alas: worker-lost: None"


def test_a_stream_is_collected_for_a_client_that_wants_one_answer(scene: Scene) -> None:
    """The dialect makes one answer of all chunks, and an error of a stream that fails."""
    scene.engine.script = stream(b"1", b"2")
    assert scene.ask("count", {"n": 2}, stream=False).text == "count said 1+2"
    scene.engine.script = stream(b"1", then=WorkerLost("gone"))
    assert scene.ask("count", {"n": 2}, stream=False).text == "alas: worker-lost: None"


def test_a_long_stream_is_collected(scene: Scene) -> None:
    """Only its first chunks are compared with the annotation."""
    chunks = [b"%d" % number for number in range(2 * CHECKED_RESULTS)]
    scene.engine.script = stream(*chunks)
    assert scene.ask("count", {"n": 2}, stream=False).text == "count said " + b"+".join(chunks).decode()


def test_a_single_result_is_streamed_to_a_client_that_wants_a_stream(scene: Scene) -> None:
    """As a stream of one chunk."""
    found = scene.ask(stream=True)
    assert (found.text, found.headers["content-type"]) == ("|9.0|", "text/bars")


def test_a_job_is_asked_for_by_the_body(scene: Scene) -> None:
    """Its memo reaches the engine, from another process too, and the dialect writes what the acceptor has answered."""
    scene.engine.script = lambda call: call.decide(Encoded(b'{"id": "1"}', None, 202))
    found = scene.ask(job="for later")
    assert (found.status_code, found.text) == (200, 'square is going to say: {"id": "1"}')
    assert [call.job_memo for call in scene.engine.calls] == [b"for later"]
    scene.ask()
    assert scene.engine.calls[-1].job_memo is None


def test_a_job_that_is_refused_is_an_error_of_the_dialect(scene: Scene) -> None:
    """As for any other request."""
    scene.engine.script = lambda call: call.decide(InvalidRequest("no store"))
    assert scene.ask(job="").text == "alas: invalid-request: None"


# ---- dialects that fail


def broken(*_: Any) -> Any:
    raise ZeroDivisionError("a secret")


def test_a_dialect_that_asks_for_a_job_has_to_write_its_answer(kind: Any) -> None:
    """Otherwise its clients would get a document in the native interface."""
    scene = Scene(kind, Talker(accepted=None))
    assert scene.ask(job="").text == "alas: internal-error: None"
    assert not scene.engine.calls


@pytest.mark.parametrize("part", ["result", "collected"])
def test_a_dialect_that_fails_is_an_error_of_its_plugin(kind: Any, part: str) -> None:
    """It is counted for the plug-in, and the client learns nothing but the code."""
    scene = Scene(kind, Talker(**{part: broken}))
    if part == "collected":
        scene.engine.script = stream(b"1")
        assert scene.ask("count", {"n": 1}, stream=False).text == "alas: hook-error: None"
    else:
        assert scene.ask().text == "alas: hook-error: None"


def test_an_error_that_the_dialect_cannot_write_is_a_problem_document(kind: Any) -> None:
    """The client gets the native one."""
    scene = Scene(kind, Talker(error=broken))
    found = scene.client.simulate_post("/v1/answers", body=b"{")
    assert (found.status_code, found.json["error"]["code"]) == (422, "invalid-request")


def test_a_dialect_must_read_for_the_endpoint_that_it_has_chosen(kind: Any) -> None:
    """Otherwise the policies of one endpoint would be asked about a job of another."""
    operation = Operation(path="/v1/answers", read=read_answer, choose=lambda _: "count")
    scene = Scene(kind, Talker(operations=(operation,)))
    assert scene.ask("square").text == "alas: internal-error: None"
    assert not scene.engine.calls


def read_head(request: DialectRequest) -> Payload:
    """Have the body repeated as it came, and remember what was seen of it."""
    return Payload(endpoint="raw", memo=b"%s of %d" % (request.body, request.size_bytes))


def passed(answer: Encoded, payload: Payload) -> RouteResponse:
    return RouteResponse(body=answer.body, headers={"X-Seen": payload.memo.decode()})


@pytest.mark.parametrize("size_bytes", [10, 100_000, 2_000_000])
def test_an_operation_may_read_the_beginning_of_a_body_only(kind: Any, size_bytes: int) -> None:
    """It learns the size of the whole, which goes on as it came: bytes, or a file."""
    head = Operation(path="/v1/heads", read=read_head, choose=lambda _: "raw", head_bytes=lambda _: 4)
    whole = Operation(path="/v1/wholes", read=read_head, choose=lambda _: "raw", head_bytes=lambda _: None)
    talker = Talker(operations=(head, whole), endpoints=("raw", "square"), result=passed)
    scene = Scene(kind, talker, max_body=10**7)
    scene.engine.script = lambda call: call.decide(Encoded(b"%d" % len(call.body)))
    body = b"abcdefghij" * (size_bytes // 10)
    found = scene.client.simulate_post("/v1/heads", body=body)
    assert (found.text, found.headers["x-seen"]) == (str(size_bytes), f"abcd of {size_bytes}")
    found = scene.client.simulate_post("/v1/wholes", body=body)
    assert found.headers["x-seen"] == f"{body.decode()} of {size_bytes}"


@pytest.mark.parametrize("name", ["asgi", "wsgi"])
def test_bodies_may_be_passed_on_as_files(name: str) -> None:
    """A dialect that looks at no result takes a large one in a file; it is sent like any other body."""
    operation = Operation(path="/v1/answers", read=read_answer)
    body = b"large" * 1000
    for passes in (True, False):
        answer = Encoded(BodyFile.of(body) if passes else body, "text/plain")  # type: ignore[arg-type] # as engines do
        talker = Talker(operations=(operation,), result=result_as_it_is, passes_bodies=passes)
        scene = Scene(KINDS[name], talker)
        scene.engine.script = lambda call, answer=answer: call.decide(answer)
        assert scene.ask().content == body
        assert [submission.takes_files for submission in talker.submissions] == [passes]


def result_as_it_is(answer: Encoded, _payload: Payload) -> RouteResponse:
    return RouteResponse(body=answer.body, media_type="text/plain")


def test_bodies_that_are_passed_on_are_not_framed(kind: Any) -> None:
    """A dialect that asks for a stream of them is wrong."""
    scene = Scene(kind, Talker(passes_bodies=True))
    assert scene.ask(stream=True).text == "alas: internal-error: None"


class NamedBars(Bars):
    """Chunks between bars, each with the fields of its event."""

    takes_events = True

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        return b"".join(b"|%s->%s" % split_chunk(chunk) for chunk in chunks)


def test_an_event_is_its_data_to_a_dialect(kind: tuple[Callable[..., Any], type[FakeEngine]]) -> None:
    """One that has not heard of events never sees their fields, streamed or collected; another may ask for them."""
    chunks = [ResultEncoder().encode_chunk(value) for value in (0, Event(1, event="token"))]
    for framing, written in ((bars, "|0|1|"), (lambda _head, _payload: NamedBars(), "|->0|event: token\n->1|")):
        scene = Scene(kind, Talker(framing=framing))
        scene.engine.script = stream(*chunks)
        assert scene.ask("count", {"n": 2}, stream=True).text == written
        assert scene.ask("count", {"n": 2}, stream=False).text == "count said 0+1"


def test_raw_chunks_are_left_alone(kind: tuple[Callable[..., Any], type[FakeEngine]]) -> None:
    """Bytes of a stream with a media type may look like anything."""
    raw = b"\x1eraw\x1e"
    scene = Scene(kind, Talker())

    def script(call: FakeCall) -> None:
        call.begin_stream(Encoded(b"", "audio/wav")).yield_chunk(raw)
        call.decide(STREAM)

    scene.engine.script = script
    assert scene.ask("count", {"n": 1}, stream=True).content == b"|" + raw + b"|"
    assert scene.ask("count", {"n": 1}, stream=False).content == b"count said " + raw
