"""Whole calls with each driver, against a server with every defect."""

from __future__ import annotations

import time
from typing import Any

import anyio
import pytest

from penstock_client import AsyncClient, Client, Limits, Result, Retries, Timeouts, errors
from tests.client.drivers import DRIVERS, call, drive, one
from tests.client.scripted_server import Drip, End, ScriptedServer, Step, answer, chunked

ONCE = Retries(max_attempts=1)
QUICK = Retries(base=0.001)

pytestmark = pytest.mark.parametrize("driver", DRIVERS)


def met_by(driver: str, *script: Step, **options: Any) -> Any:
    """Return the result or the error of one call that is answered by the script."""
    settings = {"retries": ONCE, **options.pop("settings", {})}
    with ScriptedServer([script]) as server:
        return one(driver, server.url, call(body={"n": 1}, **options), **settings)


def test_a_call_returns_the_value_and_its_facts(driver: str) -> None:
    """The decoded body, the server's headers, and the times that it measured."""
    whole = answer(b'{"label":"cat"}', X_Request_Id="r7", Server_Timing="queue;dur=1.5, exec;dur=20")
    result = met_by(driver, whole)
    assert isinstance(result, Result)
    assert (result.value, result.status, result.request_id) == ({"label": "cat"}, 200, "r7")
    assert (result.queue_seconds, result.execution_seconds) == (0.0015, 0.02)
    assert [attempt.outcome for attempt in result.attempts] == ["200"]


def test_a_request_says_what_the_server_needs(driver: str) -> None:
    """JSON, the key, the id of the call, its number, the time left."""
    with ScriptedServer([(answer(),)]) as server:
        one(driver, server.url, call("v1/classify", {"n": 1}, timeout=2.0), key="k-1", headers={"x-team": "blue"})
        [request] = server.requests
    assert request.line == "POST /v1/classify HTTP/1.1"
    assert request.body == b'{"n":1}'
    sent = request.headers
    assert (sent["content-type"], sent["authorization"], sent["x-team"]) == ("application/json", "Bearer k-1", "blue")
    assert sent["x-penstock-attempt"] == "1"
    assert len(sent["x-request-id"]) == 32
    assert 1.0 < float(sent["x-request-timeout"]) <= 1.95


@pytest.mark.parametrize(
    ("media_type", "body", "value"),
    [
        ("application/json", b"null", None),
        ("application/vnd.x+json", b"[1]", [1]),
        ("text/plain; charset=utf-8", "é".encode(), "é"),
        ("text/plain; charset=latin-1", "é".encode("latin-1"), "é"),
        ("image/png", b"\x89PNG", b"\x89PNG"),
        ("application/x-ndjson", b'{"n":1}\n{"error":{"code":"x"}}\n', [{"n": 1}, {"error": {"code": "x"}}]),
    ],
)
def test_the_media_type_says_what_a_value_is(driver: str, media_type: str, body: bytes, value: Any) -> None:
    """JSON, lines of JSON, text, and bytes for the rest."""
    assert met_by(driver, answer(body, media_type=media_type)).value == value


# ---- answers that are not what they say


@pytest.mark.parametrize("media_type", ["text/plain", "text/plain; charset=utf-8", "text/plain; charset=martian"])
def test_text_that_cannot_be_read_is_an_error(driver: str, media_type: str) -> None:
    """It is not replaced by question marks."""
    error = met_by(driver, answer(b"\xff", media_type=media_type))
    assert (type(error), error.partial) == (errors.InvalidAnswer, b"\xff")


def test_an_answer_without_content_has_no_value(driver: str) -> None:
    """204 is the way to say so."""
    assert met_by(driver, b"HTTP/1.1 204 No Content\r\n\r\n").value is None


@pytest.mark.parametrize("body", [b"", b'{"label": "c', b"\xff", b"<html>"])
def test_an_answer_that_is_not_json_is_an_error(driver: str, body: bytes) -> None:
    """A missing or truncated answer is never an empty value."""
    error = met_by(driver, answer(body))
    assert (type(error), error.partial, error.may_have_run) == (errors.InvalidAnswer, body, True)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
CUTS = {
    "before the head": (b"",),
    "inside the head": (HEAD[:30],),
    "not HTTP": (b"220 mail.example.org ESMTP\r\n",),
}
LATE_CUTS = {
    "before the body": (HEAD, b""),
    "inside the body": (HEAD + b'{"lab', b'{"lab'),
    "inside a chunk": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nabc",
        b"abc",
    ),
    "without the last chunk": (chunked(b"{}", media_type="application/json", end=False), b"{}"),
}


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
@pytest.mark.parametrize("cut", CUTS)
def test_a_connection_cut_before_the_body_is_lost(driver: str, cut: str, end: End) -> None:
    """The work may have run, so a call that may not run twice is not sent again."""
    with ScriptedServer([(*CUTS[cut], end)]) as server:
        error = one(driver, server.url, call(body={}), retries=QUICK)
        assert len(server.requests) == 1
    assert type(error) is errors.ConnectionLost
    assert (error.may_have_run, error.retryable, error.retries_refused) == (True, False, "rule")


@pytest.mark.parametrize("cut", CUTS)
def test_an_idempotent_call_is_sent_again_after_a_cut(driver: str, cut: str) -> None:
    """With a key for idempotency, or a method like GET, the next request may succeed."""
    with ScriptedServer([(*CUTS[cut], End.CLOSE), (answer(),)]) as server:
        results = one(driver, server.url, call(body={}, idempotency_key="k"), retries=QUICK)
        assert [request.headers["idempotency-key"] for request in server.requests] == ["k", "k"]
    assert [attempt.outcome for attempt in results.attempts] == ["connection-lost", "200"]


@pytest.mark.parametrize("cut", LATE_CUTS)
def test_an_answer_that_has_begun_is_not_asked_for_again(driver: str, cut: str) -> None:
    """A call is committed at the first byte of its answer, idempotent or not; the error has what arrived."""
    script, partial = LATE_CUTS[cut]
    with ScriptedServer([(script, End.CLOSE)]) as server:
        error = one(driver, server.url, call(body={}, idempotent=True), retries=QUICK)
        assert len(server.requests) == 1
    assert (type(error), error.partial, error.may_have_run) == (errors.ConnectionLost, partial, True)


def test_a_head_without_end_is_refused(driver: str) -> None:
    """A header of 1 MB is not kept in memory."""
    error = met_by(driver, b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1_000_000, End.SILENCE)
    assert isinstance(error, errors.ConnectionLost)


def test_nobody_listens(driver: str) -> None:
    """Nothing was sent, so it is tried again, and the work has not run."""
    with ScriptedServer([(answer(),)]) as server:
        url = server.url
    error = one(driver, url, call(), retries=QUICK)
    assert (type(error), error.may_have_run, error.retryable) == (errors.ConnectionFailed, False, True)
    assert [attempt.outcome for attempt in error.attempts] == ["connection-failed"] * 3


# ---- time


def test_a_silent_server_meets_the_first_byte_timeout(driver: str) -> None:
    """It is one request, and the server sees the hang-up."""
    with ScriptedServer([(End.SILENCE,)]) as server:
        error = one(driver, server.url, call(), timeouts=Timeouts(first_byte=0.1), retries=QUICK)
        assert len(server.requests) == 1
    assert (type(error), error.may_have_run) == (errors.FirstByteTimeout, True)


@pytest.mark.timed
@pytest.mark.parametrize("script", [(End.SILENCE,), (HEAD, End.SILENCE), (HEAD + b"{", End.SILENCE)])
def test_total_bounds_the_call(driver: str, script: tuple[Step, ...]) -> None:
    """Whatever the server does, the call ends at its time-out."""
    began = time.monotonic()
    error = met_by(driver, *script, timeout=0.2)
    assert type(error) is errors.TotalTimeout
    assert 0.15 < time.monotonic() - began < 1.5


@pytest.mark.timed
def test_total_bounds_a_trickling_body(driver: str) -> None:
    """Bytes that arrive one by one keep ``idle`` content, and not ``total``."""
    began = time.monotonic()
    error = met_by(driver, HEAD, Drip(b"x" * 100, 0.02), timeout=0.3)
    assert type(error) is errors.TotalTimeout
    assert time.monotonic() - began < 1.5


def test_a_body_that_stops_meets_the_idle_timeout(driver: str) -> None:
    """The error has what arrived, and the call is not sent again."""
    error = met_by(driver, HEAD + b'{"a"', End.SILENCE, settings={"timeouts": Timeouts(idle=0.1)})
    assert (type(error), error.partial) == (errors.IdleTimeout, b'{"a"')


@pytest.mark.timed
def test_total_bounds_the_retries_too(driver: str) -> None:
    """Three refusals, and their waits, share one time-out."""
    began = time.monotonic()
    error = met_by(driver, answer(status=503), timeout=0.3, settings={"retries": Retries(max_attempts=99, base=0.1)})
    assert type(error) is errors.Unavailable or type(error) is errors.TotalTimeout
    assert time.monotonic() - began < 1.5


# ---- connections


def test_connections_are_kept(driver: str) -> None:
    """Two calls need one connection."""
    with ScriptedServer([(answer(),)]) as server:
        drive(driver, server.url, call(), call())
        assert (len(server.requests), server.connections) == (2, 1)


def test_a_kept_connection_that_closes_is_forgiven(driver: str) -> None:
    """The server closed it in the meantime: the call is sent again at once, although retries are off."""
    with ScriptedServer([(answer(),), (End.CLOSE,), (answer(b"2"),)]) as server:
        first, second = drive(driver, server.url, call(), call(method="GET"), retries=ONCE)
        assert len(server.requests) == 3
    assert (first.value, second.value) == ({}, 2)
    assert [attempt.outcome for attempt in second.attempts] == ["connection-lost", "200"]


def test_a_new_connection_that_closes_is_not(driver: str) -> None:
    """With retries off there is one request."""
    with ScriptedServer([(End.CLOSE,), (answer(),)]) as server:
        error = one(driver, server.url, call(method="GET"), retries=ONCE)
        assert len(server.requests) == 1
    assert isinstance(error, errors.ConnectionLost)


def test_an_error_leaves_the_connection_in_use(driver: str) -> None:
    """A refusal is read to its end, so the next request needs no new connection."""
    with ScriptedServer([(answer(status=404),), (answer(),)]) as server:
        drive(driver, server.url, call(), call())
        assert server.connections == 1


# ---- refusals


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_is_tried_again(driver: str, status: int) -> None:
    """The second request succeeds."""
    with ScriptedServer([(answer(status=status),), (answer(b"1"),)]) as server:
        result = one(driver, server.url, call(), retries=QUICK)
        assert [request.headers["x-penstock-attempt"] for request in server.requests] == ["1", "2"]
    assert result.value == 1


def test_a_key_from_a_callable_is_renewed(driver: str) -> None:
    """After a 401 the callable is asked once more."""
    keys = iter(["old", "new"])
    with ScriptedServer([(answer(status=401),), (answer(),)]) as server:
        one(driver, server.url, call(), key=lambda: next(keys))
        sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"error": {"message": "too long", "code": "context_length"}}', "400: too long"),
        (b'{"error": "too long"}', "400: too long"),
        (b'{"detail": "too long"}', "400: too long"),
        (b'{"detail": [{"loc": ["body"]}], "errors": 7}', "400: The request cannot be read"),
        (b"<html>no</html>", "400: The request cannot be read"),
        (b"", "400: The request cannot be read"),
        (b"\xff\xfe", "400: The request cannot be read"),
    ],
)
def test_an_error_body_of_any_shape_is_read(driver: str, body: bytes, detail: str) -> None:
    """Other servers write other bodies."""
    error = met_by(driver, answer(body, status=400))
    assert (type(error), str(error), error.status) == (errors.MalformedRequest, detail, 400)


def test_an_error_body_that_breaks_off_is_still_that_error(driver: str) -> None:
    """The status is known."""
    error = met_by(driver, HEAD.replace(b"200 OK", b"422 No") + b"{", End.CLOSE)
    assert type(error) is errors.InvalidRequest


def test_a_redirect_is_not_followed(driver: str) -> None:
    """It could lead the key to another server."""
    error = met_by(driver, answer(status=307, Location="http://127.0.0.1:1/"))
    assert (type(error), error.status) == (errors.ResponseError, 307)


# ---- limits


@pytest.mark.parametrize(("pool", "total", "kind"), [(0.1, 5.0, errors.PoolTimeout), (5.0, 0.1, errors.TotalTimeout)])
def test_the_pool_has_a_timeout_of_its_own(
    driver: str, pool: float, total: float, kind: type[errors.ClientError]
) -> None:
    """A stream holds the only connection: whichever time-out ends the wait, the error says that nothing was sent."""
    settings = {"limits": Limits(max_connections=1), "timeouts": Timeouts(pool=pool), "retries": ONCE}
    with ScriptedServer([(chunked(b"1\n", end=False), End.SILENCE)]) as server:
        if driver == "sync":
            error = call_beside_stream(server.url, settings, total)
        else:
            error = anyio.run(call_beside_stream_async, server.url, settings, total, backend=driver)
        assert len(server.requests) == 1
    assert type(error) is kind
    assert (error.may_have_run, error.retryable) == (False, True)


def call_beside_stream(url: str, settings: dict[str, Any], total: float) -> errors.ClientError:
    with Client(url, **settings) as client, client.stream("w") as events:
        next(events)
        with pytest.raises(errors.ClientError) as caught:
            client.call("classify", timeout=total)
    return caught.value


async def call_beside_stream_async(url: str, settings: dict[str, Any], total: float) -> errors.ClientError:
    async with AsyncClient(url, **settings) as client, client.stream("w") as events:
        await anext(events)
        with pytest.raises(errors.ClientError) as caught:
            await client.call("classify", timeout=total)
    return caught.value
