"""The HTTP contract, the same for ASGI, for WSGI, and for requests that our server passes on without either."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import falcon.asgi
import falcon.testing
import msgspec
import pytest

import penstock_falcon
from penstock import Event, errors
from penstock.codec.encoding import ResultEncoder
from penstock.response import Encoded
from penstock_falcon.request_checks import RequestChecks
from tests.adapters.falcon.direct_server import direct
from tests.adapters.falcon.fake_engine import JSON_STREAM, FakeCall, FakeEngine, FakeThreadedEngine, keep, make_app
from tests.adapters.falcon.shared_server import shared, shared_direct
from tests.adapters.falcon.toy_dialect import toy_asgi, toy_direct, toy_shared, toy_wsgi

PROBLEM = "application/problem+json"
LARGEST_BODY = 100_000


@dataclass
class Kind:
    """One way to serve, with the engine that fits it."""

    build: Callable[..., Any]
    falcon_app: Callable[..., Any]
    engine_class: type[FakeEngine]

    @property
    def is_async(self) -> bool:
        return self.engine_class is FakeEngine


KINDS = {
    "asgi": Kind(penstock_falcon.asgi, falcon.asgi.App, FakeEngine),
    "direct": Kind(direct, falcon.asgi.App, FakeEngine),
    "shared": Kind(shared, falcon.asgi.App, FakeEngine),
    "shared-direct": Kind(shared_direct, falcon.asgi.App, FakeEngine),
    "toy": Kind(toy_asgi, falcon.asgi.App, FakeEngine),
    "toy-direct": Kind(toy_direct, falcon.asgi.App, FakeEngine),
    "toy-shared": Kind(toy_shared, falcon.asgi.App, FakeEngine),
    "toy-wsgi": Kind(toy_wsgi, falcon.App, FakeThreadedEngine),
    "wsgi": Kind(penstock_falcon.wsgi, falcon.App, FakeThreadedEngine),
}

in_process = pytest.mark.parametrize("kind", ["asgi", "direct", "wsgi"], indirect=True)
"""For what only an application with its engine in the same process can do."""


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def engine(kind: Kind) -> FakeEngine:
    return kind.engine_class()


@pytest.fixture
def client(kind: Kind, engine: FakeEngine) -> falcon.testing.TestClient:
    return falcon.testing.TestClient(kind.build(make_app(), engine=engine, max_body=LARGEST_BODY))


@pytest.fixture
def debug_client(kind: Kind, engine: FakeEngine) -> falcon.testing.TestClient:
    return falcon.testing.TestClient(kind.build(make_app(), engine=engine, debug=True))


def fail(error: errors.PenstockError) -> Callable[[FakeCall], None]:
    return lambda call: call.decide(error)


def square(client: falcon.testing.TestClient, **headers: str) -> falcon.testing.Result:
    return client.simulate_post("/square", json={"input": 4.0}, headers=headers)


# ---- results


def test_a_result_is_the_body_with_its_timing(client: falcon.testing.TestClient) -> None:
    """The handler's result is the whole body, and two headers tell the request's id and where the time went."""
    result = square(client)
    assert (result.status_code, result.content) == (200, b"16.0")
    assert result.headers["content-type"] == "application/json"
    assert result.headers["server-timing"] == "queue;dur=1.00, exec;dur=2.50"
    assert re.fullmatch(r"[0-9a-f-]{8,40}", result.headers["x-request-id"])


def test_new_request_ids_differ(client: falcon.testing.TestClient) -> None:
    """A request without an id gets one of its own."""
    assert len({square(client).headers["x-request-id"] for _ in range(5)}) == 5


@pytest.mark.parametrize("given", ["a", "trace:7/x.y~z_1@h+k=", "z" * 128])
def test_a_sane_request_id_is_kept(client: falcon.testing.TestClient, engine: FakeEngine, given: str) -> None:
    """The caller's id is echoed, and names the job."""
    assert square(client, **{"X-Request-Id": given}).headers["x-request-id"] == given
    assert engine.calls[-1].request_id == given


@pytest.mark.parametrize("given", ["", "z" * 129, "two words", "a;b", "\xe9"])
def test_an_odd_request_id_is_replaced(client: falcon.testing.TestClient, given: str) -> None:
    """An id that could do harm in a log or a header is not taken over."""
    assert square(client, **{"X-Request-Id": given}).headers["x-request-id"] != given


def test_a_response_in_full(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """Status, media type and headers are the handler's; the framing, the id and the timing stay the server's."""
    headers = {
        "Set-Cookie": "a=b",
        "X-Model": "7",
        "Connection": "close",
        "Content-Length": "1",
        "X-Request-Id": "evil",
    }
    engine.script = lambda call: call.decide(Encoded(b"<p>", "text/html", 201, headers))
    result = square(client)
    assert (result.status_code, result.content) == (201, b"<p>")
    assert result.headers["content-type"] == "text/html"
    assert result.headers["x-model"] == "7"
    assert result.cookies["a"].value == "b"
    assert result.headers["content-length"] == "3"
    assert "connection" not in result.headers
    assert result.headers["x-request-id"] != "evil"


def test_headers_travel_only_to_handlers_with_a_context(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """A handler that takes a Context sees the request's headers, by lower-case names; others do not pay for them."""
    engine.script = lambda call: call.decide(Encoded(b'"ok"'))
    client.simulate_post("/whoami", headers={"User-Agent": "test", "X-Two": "a"})
    square(client)
    assert engine.calls[0].headers is not None
    assert (engine.calls[0].headers["user-agent"], engine.calls[0].headers["x-two"]) == ("test", "a")
    assert engine.calls[1].headers is None


# ---- errors

EVERY_ERROR = [
    (errors.InvalidRequest("x"), 422, "invalid-request", "invalid_request_error", False),
    (errors.MalformedRequest("x"), 400, "invalid-request", "invalid_request_error", False),
    (errors.Unauthorized("x"), 401, "unauthorized", "authentication_error", False),
    (errors.Forbidden("x"), 403, "forbidden", "permission_error", False),
    (errors.RateLimited("x"), 429, "rate-limited", "rate_limit_error", True),
    (errors.HandlerError("x"), 500, "handler-error", "server_error", False),
    (errors.HookError("x"), 500, "hook-error", "server_error", False),
    (errors.QueueFull("x"), 503, "queue-full", "server_error", True),
    (errors.QueueTimeout("x"), 503, "queue-timeout", "server_error", True),
    (errors.DeadlineInfeasible("x"), 503, "deadline-infeasible", "server_error", True),
    (errors.CircuitOpen("x"), 503, "circuit-open", "server_error", True),
    (errors.Draining("x"), 503, "draining", "server_error", True),
    (errors.NotReady("x"), 503, "not-ready", "server_error", True),
    (errors.WorkerLost("x"), 503, "worker-lost", "server_error", False),
    (errors.WorkerLost("x", retryable=True), 503, "worker-lost", "server_error", True),
    (errors.ExecutionTimeout("x"), 504, "execution-timeout", "timeout_error", False),
    (errors.TotalTimeout("x"), 504, "total-timeout", "timeout_error", False),
]


@pytest.mark.parametrize(("error", "status", "code", "kind_of_error", "should_retry"), EVERY_ERROR)
def test_every_error_is_a_problem_document(  # noqa: PLR0917 - pytest passes by name
    client: falcon.testing.TestClient,
    engine: FakeEngine,
    error: errors.PenstockError,
    status: int,
    code: str,
    kind_of_error: str,
    should_retry: bool,
) -> None:
    """RFC 9457 members, an ``error`` object for OpenAI-style clients, and whether to try again, on each of them."""
    engine.script = fail(error)
    result = square(client, **{"X-Request-Id": "r1"})
    document = result.json
    assert result.status_code == document["status"] == status
    assert result.headers["content-type"] == PROBLEM
    assert (document["type"], document["title"], document["instance"]) == (f"urn:penstock:{code}", error.title, "r1")
    assert document["error"] == {
        "message": document["detail"],
        "type": kind_of_error,
        "code": code,
        "param": None,
    }
    assert result.headers["x-should-retry"] == ("true" if should_retry else "false")
    assert result.headers["server-timing"] == "queue;dur=0.00, exec;dur=0.00"
    if status in (429, 503):
        assert 1 <= int(result.headers["retry-after"]) <= 60
    else:
        assert "retry-after" not in result.headers


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", "[::1", "a:b:c", "a:port", "a,b"])
def test_a_malformed_host_is_refused(client: falcon.testing.TestClient, host: str) -> None:
    """RFC 9112, section 3.2: a server answers 400, since a proxy in front may have read another host in it."""
    result = client.simulate_post("/square", json={"input": 1}, host=host)
    assert (result.status_code, result.json["error"]["param"]) == (400, "Host")


@pytest.mark.parametrize("host", ["", "a", "a.example:80", "my_service", "192.0.2.1:8000", "[2001:db8::1]:443"])
def test_a_valid_host_is_accepted(client: falcon.testing.TestClient, host: str) -> None:
    """Names, addresses and ports, and the underscores of container networks."""
    for _ in range(2):  # the second time it is known
        assert client.simulate_post("/square", json={"input": 1}, host=host).status_code == 200


@pytest.mark.parametrize("path", ["//square", "///square", "//-/status", "/%2fsquare", "/square/", "/square//"])
def test_paths_are_exact(client: falcon.testing.TestClient, path: str) -> None:
    """A path that only resembles that of an endpoint is a 404: a rule of a proxy in front would not match it."""
    assert client.simulate_post("/square", json={"input": 1}).status_code == 200
    assert client.simulate_post(path, json={"input": 1}).status_code == 404


def test_a_401_has_its_challenge(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """An error's own headers are sent."""
    engine.script = fail(errors.Unauthorized(challenge='Bearer realm="m"'))
    assert square(client).headers["www-authenticate"] == 'Bearer realm="m"'


@pytest.mark.parametrize(
    ("seconds", "least", "most"), [(None, 1, 2), (0.0, 1, 1), (10.0, 10, 20), (60.0, 60, 60), (math.inf, 60, 60)]
)
def test_retry_after_is_whole_bounded_and_jittered(
    client: falcon.testing.TestClient, engine: FakeEngine, seconds: float | None, least: int, most: int
) -> None:
    """Whole seconds from 1, never less than asked for, and not the same for every client."""
    engine.refusal = errors.QueueFull(retry_after=seconds)
    seen = {int(square(client).headers["retry-after"]) for _ in range(30)}
    assert least <= min(seen) <= max(seen) <= most
    assert len(seen) > 1 or most - least <= 1


@pytest.mark.parametrize(("seconds", "sent"), [(60.5, "61"), (3600.0, "3600"), (86_400.0, "86400")])
def test_a_long_retry_after_is_sent_as_given(
    client: falcon.testing.TestClient, engine: FakeEngine, seconds: float, sent: str
) -> None:
    """A policy that says "tomorrow", such as a daily quota, knows the instant."""
    engine.refusal = errors.RateLimited(retry_after=seconds)
    assert square(client).headers["retry-after"] == sent


def test_a_handlers_exception_is_not_for_strangers(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """Type, message and traceback stay on the server."""
    engine.script = fail(errors.HandlerError("secret", exception_type="app.Boom", traceback="File secret"))
    result = square(client)
    assert "secret" not in result.text
    assert "Boom" not in result.text


def test_debug_shows_a_handlers_exception(debug_client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """With debug the client sees the type, the message and the traceback."""
    engine.script = fail(errors.HandlerError("went wrong", exception_type="app.Boom", traceback="File here"))
    document = square(debug_client).json
    assert document["detail"] == document["error"]["message"] == "app.Boom: went wrong"
    assert document["traceback"] == "File here"


def test_what_cannot_be_encoded_is_named(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """A result that cannot be sent says which type, with or without debug."""
    engine.script = fail(errors.HandlerError("cannot send app.Foo at $.x", exception_type="UnencodableResult"))
    assert square(client).json["detail"] == "cannot send app.Foo at $.x"


def test_a_bug_in_the_server_is_logged_and_not_told(
    client: falcon.testing.TestClient, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected exception is a plain internal-error; the log has its traceback."""

    def break_down(call: FakeCall) -> None:
        raise RuntimeError("secret detail")

    engine.script = break_down
    with caplog.at_level(logging.ERROR, logger="penstock"):
        result = square(client)
    assert (result.status_code, result.json["type"]) == (500, "urn:penstock:internal-error")
    assert "secret" not in result.text
    (record,) = caplog.records
    assert record.__dict__["event"] == "internal-error"
    assert "break_down" in record.__dict__["fields"]["traceback"]


# ---- bad input


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 5000, 400),
        (b'{"input": "x"}', 422),
        (b"{}", 422),
        (b'{"input":1,"b":2}', 422),
    ],
)
def test_a_bad_body_is_refused_and_never_queued(
    client: falcon.testing.TestClient, engine: FakeEngine, body: bytes, status: int
) -> None:
    """A body that cannot be decoded is a 400, one that does not fit a 422 with the path; neither becomes a job."""
    result = client.simulate_post("/square", body=body)
    assert result.status_code == status
    assert set(result.json["errors"][0]) == {"path", "reason"}
    assert engine.calls == []


def test_a_wrong_field_is_named(client: falcon.testing.TestClient) -> None:
    """The 422 points at the field, also for OpenAI-style clients."""
    document = client.simulate_post("/square", json={"input": "x"}).json
    assert document["errors"][0]["path"] == "$.input"
    assert document["error"]["param"] == "input"


def test_a_large_body_is_left_to_the_worker(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """Above 64 KiB the body is queued unchecked, so that no other request waits for the check."""
    engine.script = fail(errors.MalformedRequest("said the worker"))
    result = client.simulate_post("/square", body=b"x" * (64 * 1024 + 1))
    assert (result.status_code, len(engine.calls)) == (400, 1)


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "application/x.y+json"]
)
def test_json_goes_by_several_names(client: falcon.testing.TestClient, content_type: str) -> None:
    """JSON, with parameters, or a +json type."""
    assert client.simulate_post("/square", body=b'{"input":2}', content_type=content_type).status_code == 200


def test_a_body_without_a_type_is_json(client: falcon.testing.TestClient) -> None:
    """No content type at all is taken for JSON."""
    assert client.simulate_post("/square", body=b'{"input":2}').status_code == 200


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "json", "application/jsonx"]
)
def test_another_type_is_a_415_with_the_mend(client: falcon.testing.TestClient, content_type: str) -> None:
    """The refusal says what to type."""
    result = client.simulate_post("/square", body=b'{"input":2}', content_type=content_type)
    assert result.status_code == 415
    assert "-H 'Content-Type: application/json'" in result.json["detail"]


def test_raw_bytes_come_under_any_type(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """An endpoint that takes bytes takes those of any content type."""
    engine.script = lambda call: call.decide(Encoded(call.body, "application/octet-stream"))
    result = client.simulate_post("/raw", body=b"\x00\xff", content_type="image/png")
    assert (result.status_code, result.content) == (200, b"\x00\xff")


@in_process
def test_an_endpoint_declared_after_mounting_is_an_error(kind: Kind) -> None:
    """It would be answered with 404: its path is not mounted, and its workers may not have it."""
    app = make_app()
    kind.build(app)
    with pytest.raises(errors.DeclarationError, match="endpoint 'late': the app is being served already"):
        app.endpoint("/late")(lambda: None)


@pytest.mark.parametrize(("encoding", "status"), [("br", 415), ("gzip", 400), ("identity", 200)])
def test_a_body_must_be_what_its_encoding_says(client: falcon.testing.TestClient, encoding: str, status: int) -> None:
    """A coding that is not read is a 415, a body that is not compressed with its coding a 400."""
    assert square(client, **{"Content-Encoding": encoding}).status_code == status


def test_too_large_is_refused_at_the_header(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """A 413 that names the limit, for a body that is not even sent."""
    result = client.simulate_post("/square", headers={"Content-Length": str(LARGEST_BODY + 1)})
    assert (result.status_code, engine.calls) == (413, [])
    assert str(LARGEST_BODY) in result.json["detail"]


@pytest.mark.parametrize("length", ["", "-1", "1e3", "x", "1_0", "\u0663"])
def test_a_length_that_is_no_number_is_malformed(length: str) -> None:
    """A 400, not a guess; what Python takes for a number is not what HTTP does."""
    checks = RequestChecks(make_app().endpoints[0], LARGEST_BODY)
    with pytest.raises(errors.MalformedRequest):
        checks.check_headers({"content-length": length}.get)


def test_an_absurd_length_is_too_large() -> None:
    """Thousands of digits are refused without being read as a number."""
    checks = RequestChecks(make_app().endpoints[0], LARGEST_BODY)
    with pytest.raises(errors.PayloadTooLarge):
        checks.check_headers({"content-length": "9" * 5000}.get)


def test_room_is_asked_for_after_all_that_is_wrong_anyway(
    client: falcon.testing.TestClient, engine: FakeEngine
) -> None:
    """404, 405, 413 and 415 are answered even when the queue is full: waiting would not fix them."""
    engine.refusal = errors.QueueFull()
    assert client.simulate_post("/nowhere").status_code == 404
    assert client.simulate_get("/square").status_code == 405
    assert client.simulate_post("/square", headers={"Content-Length": "999999999"}).status_code == 413
    assert client.simulate_post("/square", body=b"{}", content_type="text/plain").status_code == 415
    assert square(client).status_code == 503


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "LOCK", "BREW"])
def test_an_endpoint_takes_post(client: falcon.testing.TestClient, method: str) -> None:
    """Any other method is a 405 that says so, known to HTTP or not."""
    result = client.simulate_request(method, "/square")
    assert (result.status_code, result.headers["allow"]) == (405, "POST")
    assert result.headers["content-type"] == PROBLEM
    assert result.headers["server-timing"]
    assert result.headers["x-request-id"]


def test_an_unknown_path_is_a_problem_too(client: falcon.testing.TestClient) -> None:
    """404 in the same form, with the caller's id."""
    result = client.simulate_get("/nowhere", headers={"X-Request-Id": "r2"})
    assert (result.status_code, result.json["type"], result.json["instance"]) == (404, "urn:penstock:not-found", "r2")
    assert result.headers["server-timing"] == "queue;dur=0.00, exec;dur=0.00"


def test_options_lists_the_methods(client: falcon.testing.TestClient) -> None:
    """OPTIONS is answered, with the methods that really work."""
    assert client.simulate_options("/square").headers["allow"] == "POST, OPTIONS"


# ---- streams


def stream(
    *chunks: bytes, head: Encoded = JSON_STREAM, end: Encoded | errors.PenstockError | None = None
) -> Callable[[FakeCall], None]:
    def script(call: FakeCall) -> None:
        call.begin_stream(head)
        for chunk in chunks:
            call.yield_chunk(chunk)
        call.decide(Encoded(b"") if end is None else end)

    return script


def test_a_stream_is_lines_of_json(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """NDJSON, not to be stored and not to be buffered."""
    engine.script = stream(b'{"token":0}', b'{"token":1}')
    result = client.simulate_post("/count", json={"n": 2})
    assert result.content == b'{"token":0}\n{"token":1}\n'
    assert result.headers["content-type"] == "application/x-ndjson"
    assert (result.headers["cache-control"], result.headers["x-accel-buffering"]) == ("no-store", "no")
    assert result.headers["x-request-id"]
    assert result.headers["server-timing"]


@pytest.mark.parametrize(
    "accept", ["text/event-stream", "text/html, Text/Event-Stream;q=0.5", "*/*, text/event-stream"]
)
def test_a_stream_is_events_for_those_who_ask(
    client: falcon.testing.TestClient, engine: FakeEngine, accept: str
) -> None:
    """Server-sent events, with a last one that says that it is whole."""
    engine.script = stream(b"0", b"1")
    result = client.simulate_post("/count", json={"n": 2}, headers={"Accept": accept})
    assert result.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert result.content == b"data: 0\n\ndata: 1\n\nevent: end\ndata: {}\n\n"


def test_a_chunk_may_have_the_fields_of_an_event(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """Its name and id are for those who ask for events; to others it is its data."""
    chunk = ResultEncoder().encode_chunk(Event(1, event="token", id=7))
    engine.script = stream(b"0", chunk)
    events = client.simulate_post("/square", json={"input": 1}, headers={"Accept": "text/event-stream"})
    assert events.text == "data: 0\n\nevent: token\nid: 7\ndata: 1\n\nevent: end\ndata: {}\n\n"
    assert client.simulate_post("/square", json={"input": 1}).text == "0\n1\n"


@pytest.mark.parametrize("accept", ["*/*", "text/*", "text/event-stream;q=0", "application/json"])
def test_events_are_not_forced_on_anybody(client: falcon.testing.TestClient, engine: FakeEngine, accept: str) -> None:
    """A client that does not name them receives lines."""
    engine.script = stream(b"0")
    result = client.simulate_post("/count", json={"n": 2}, headers={"Accept": accept})
    assert result.content == b"0\n"


def test_the_head_of_a_stream_begins_the_response(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """Status, media type and headers are the handler's, for any endpoint; with a media type, chunks are sent raw."""
    engine.script = stream(b"1,", b"2", head=Encoded(b"", "text/csv", 206, {"X-A": "b", "Content-Length": "9"}))
    result = client.simulate_post("/square", json={"input": 1}, headers={"Accept": "text/event-stream"})
    assert (result.status_code, result.headers["content-type"], result.content) == (206, "text/csv", b"1,2")
    assert (result.headers["x-a"], "content-length" in result.headers) == ("b", False)


def test_a_stream_that_fails_before_its_first_chunk_is_an_error(
    client: falcon.testing.TestClient, engine: FakeEngine
) -> None:
    """Nothing of its head is sent."""
    engine.script = stream(head=Encoded(b"", "text/csv", 206, {"X-A": "b"}), end=errors.ExecutionTimeout("too late"))
    result = client.simulate_post("/square", json={"input": 1})
    assert (result.status_code, result.json["error"]["code"]) == (504, "execution-timeout")
    assert "x-a" not in result.headers


def test_the_next_attempt_may_answer_once(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """A job that lost its worker after the head of a stream, and before a chunk, may be answered with one result."""

    def script(call: FakeCall) -> None:
        call.begin_stream(Encoded(b"", "text/csv", 206))
        call.head = None  # as the scheduler leaves it when the job is queued again
        call.decide(Encoded(b"16.0"))

    engine.script = script
    assert client.simulate_post("/count", json={"n": 1}).json == 16.0


@pytest.mark.parametrize(("accept", "body"), [("*/*", b""), ("text/event-stream", b"event: end\ndata: {}\n\n")])
def test_a_stream_may_be_empty(client: falcon.testing.TestClient, engine: FakeEngine, accept: str, body: bytes) -> None:
    """No chunk at all is still a 200."""
    engine.script = stream()
    result = client.simulate_post("/count", json={"n": 0}, headers={"Accept": accept})
    assert (result.status_code, result.content) == (200, body)


def test_an_error_before_the_first_chunk_is_an_ordinary_one(
    client: falcon.testing.TestClient, engine: FakeEngine
) -> None:
    """A stream that fails before it starts has a status of its own."""
    engine.script = stream(end=errors.ExecutionTimeout("too slow"))
    result = client.simulate_post("/count", json={"n": 2})
    assert (result.status_code, result.headers["content-type"]) == (504, PROBLEM)


# ---- operators


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/-/status"])
def test_operators_routes_answer(client: falcon.testing.TestClient, path: str) -> None:
    """Health and status are JSON, to GET and HEAD only, and carry the id and timing of every response."""
    result = client.simulate_get(path)
    assert (result.status_code, result.headers["content-type"]) == (200, "application/json")
    assert result.headers["x-request-id"]
    assert result.headers["server-timing"]
    assert client.simulate_head(path).status_code == 200
    assert client.simulate_post(path).headers["allow"] == "GET, HEAD"


def test_livez_and_readyz_differ(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """A process that cannot serve is alive, and says why it is not ready."""
    engine.reasons = ["pool 'default' has no ready worker"]
    assert client.simulate_get("/livez").json == {"status": "ok"}
    result = client.simulate_get("/readyz")
    assert (result.status_code, result.json) == (503, {"status": "unready", "reasons": engine.reasons})
    assert 1 <= int(result.headers["retry-after"]) <= 60
    assert result.headers["x-should-retry"] == "true"


def test_draining_is_told(client: falcon.testing.TestClient, engine: FakeEngine, kind: Kind) -> None:
    """New work gets a 503. Under ASGI the response closes the connection; PEP 3333 forbids that header to WSGI."""
    engine.draining = True
    result = square(client)
    assert (result.status_code, result.json["type"]) == (503, "urn:penstock:draining")
    assert result.headers.get("connection") == ("close" if kind.is_async else None)


# ---- applications


@pytest.mark.parametrize("name", ["asgi", "wsgi"])
def test_the_adapters_are_functions(name: str) -> None:
    """``penstock_falcon.asgi`` and ``.wsgi`` are functions only: no module hides behind the same name."""
    assert callable(getattr(penstock_falcon, name))
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"penstock_falcon.{name}")


@pytest.mark.parametrize("function", [penstock_falcon.asgi, penstock_falcon.wsgi, penstock_falcon.mount])
def test_the_settings_have_one_definition(function: Callable[..., Any]) -> None:
    """Each way to serve takes the fields of ``Settings`` as keywords, with the same defaults."""
    defaults = {field.name: field.default for field in dataclasses.fields(penstock_falcon.Settings)}
    if function is penstock_falcon.mount:
        del defaults["target"]  # the user's program knows where the app is
    parameters = inspect.signature(function).parameters.values()
    keywords = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "engine"}
    assert keywords == defaults


@in_process
def test_an_application_shows_what_is_behind_it(kind: Kind, engine: FakeEngine) -> None:
    """``penstock`` has the app, the engine and the settings."""
    app = make_app()
    service = kind.build(app, engine=engine, max_body=5, drain_timeout=7.0).penstock
    assert (service.app, service.engine) == (app, engine)
    assert (service.settings.max_body, service.settings.drain_timeout, service.settings.debug) == (5, 7.0, False)


def test_endpoints_can_be_mounted(kind: Kind, engine: FakeEngine) -> None:
    """Endpoints and health routes come under the prefix; the application's own routes and errors stay its own."""
    application = kind.falcon_app()
    service = penstock_falcon.mount(application, make_app(), "/models", engine=engine, max_body=100)
    client = falcon.testing.TestClient(application)
    assert service.engine is engine
    assert client.simulate_post("/models/square", json={"input": 3}).content == b"9"
    assert client.simulate_get("/models/livez").status_code == 200
    assert client.simulate_post("/models/square", body=b"{").headers["content-type"] == PROBLEM
    assert client.simulate_get("/models/square").headers["content-type"] == PROBLEM
    assert client.simulate_post("/models/square", body=b"x" * 101).status_code == 413
    assert client.simulate_get("/elsewhere").headers["content-type"] == "application/json"


@pytest.mark.parametrize("prefix", ["models", "/models/", "/"])
def test_a_prefix_is_a_path(kind: Kind, prefix: str) -> None:
    """A prefix that would make odd paths is refused."""
    with pytest.raises(errors.DeclarationError, match="begins with a slash"):
        penstock_falcon.mount(kind.falcon_app(), make_app(), prefix)


def test_routes_of_ones_own_fail_in_the_same_form(kind: Kind, engine: FakeEngine) -> None:
    """Errors of routes that a user adds to a complete application are answered as ours are."""

    def refuse(*_: Any) -> None:
        raise falcon.HTTPError(418, title="A teapot", description="short and stout", headers={"X-Spout": "1"})

    async def refuse_async(*_: Any) -> None:
        refuse()

    application = kind.build(make_app(), engine=engine)
    resource = type("Teapot", (), {"on_get": refuse_async if kind.is_async else refuse})()
    application.add_route("/teapot", resource)
    result = falcon.testing.TestClient(application).simulate_get("/teapot")
    assert (result.status_code, result.json["title"], result.json["detail"]) == (418, "A teapot", "short and stout")
    assert result.headers["x-spout"] == "1"


def test_status_is_json(client: falcon.testing.TestClient) -> None:
    """``/-/status`` passes on what the engine knows."""
    assert msgspec.json.decode(client.simulate_get("/-/status").content)["endpoints"][0]["name"] == "square"


def test_nothing_is_left_open(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """A refused request makes no job."""
    engine.script = keep
    client.simulate_post("/square", body=b"{")
    assert engine.calls == []


# ---- results against the return annotation


def test_a_result_that_does_not_match_is_logged_once(
    client: falcon.testing.TestClient, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """Without ``--debug`` the result is sent, and the first mismatch of an endpoint is a warning."""
    engine.script = lambda call: call.decide(Encoded(b'"text"'))
    with caplog.at_level(logging.WARNING):
        results = [square(client) for _ in range(3)]
    assert [result.content for result in results] == [b'"text"'] * 3
    (record,) = [record for record in caplog.records if "return annotation" in record.msg]
    assert record.msg == "a result of square does not match its return annotation: Expected `float`, got `str`"


def test_a_result_that_does_not_match_is_an_error_under_debug(kind: Kind) -> None:
    """With ``--debug`` each such result is a ``handler-error`` that says why."""
    engine = kind.engine_class(lambda call: call.decide(Encoded(b"null")))
    client = falcon.testing.TestClient(kind.build(make_app(), engine=engine, debug=True))
    for _ in range(2):
        result = square(client)
        assert (result.status_code, result.json["error"]["code"]) == (500, "handler-error")
        assert "return annotation: Expected `float`, got `null`" in result.json["detail"]


def test_a_chunk_that_does_not_match_is_logged_once(
    client: falcon.testing.TestClient, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """Without ``--debug`` the chunks are sent, and the first mismatch of an endpoint is a warning."""
    engine.script = stream(b"1", b'"two"', b"null")
    with caplog.at_level(logging.WARNING):
        results = [client.simulate_post("/count", json={"n": 3}) for _ in range(2)]
    assert [result.content for result in results] == [b'1\n"two"\nnull\n'] * 2
    (record,) = [record for record in caplog.records if "return annotation" in record.msg]
    assert record.msg == "a chunk of count does not match its return annotation: Expected `int`, got `str`"


def test_chunks_with_a_media_type_are_not_checked(kind: Kind) -> None:
    """They are not JSON."""
    engine = kind.engine_class(stream(b"x", head=Encoded(b"", "text/plain")))
    client = falcon.testing.TestClient(kind.build(make_app(), engine=engine, debug=True))
    assert client.simulate_post("/count", json={"n": 1}).content == b"x"


def test_a_single_result_of_a_stream_is_not_checked(kind: Kind) -> None:
    """A handler that is annotated to stream may refuse with a ``Response`` of its own."""
    engine = kind.engine_class(lambda call: call.decide(Encoded(b'{"error":"no"}', None, 404)))
    client = falcon.testing.TestClient(kind.build(make_app(), engine=engine, debug=True))
    assert client.simulate_post("/count", json={"n": 1}).status_code == 404
