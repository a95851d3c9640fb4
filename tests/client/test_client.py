"""The client object: its settings, what it refuses to send, and what it never shows."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from penstock_client import (
    AsyncClient,
    CallRecord,
    Client,
    Limits,
    Record,
    Retries,
    RetryRecord,
    Timeouts,
    errors,
)
from penstock_client.endpoint_breaker import Breaker, BreakerSettings
from tests.client.scripted_server import End, ScriptedServer, answer, chunked
from tests.serving import wait_until

ONCE = Retries(max_attempts=1)
SECRET = "sk-very-secret"


def client_of(respond: Callable[[httpx2.Request], httpx2.Response], **settings: Any) -> Client:
    """Return a client whose server is a function."""
    return Client("http://test", http_client=httpx2.Client(transport=httpx2.MockTransport(respond)), **settings)


# ---- what is refused before anything is sent


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("url", ["localhost:8000", "example.org", "ftp://example.org", "http://", "/v1"])
def test_a_url_without_a_server_is_refused(kind: Callable[[str], Any], url: str) -> None:
    """The message says how to write it."""
    with pytest.raises(ValueError, match="write http://host:port"):
        kind(url)


def test_a_password_in_the_url_is_refused() -> None:
    """httpx2 would write it into its log."""
    with pytest.raises(ValueError, match="use key= or headers=") as caught:
        Client(f"http://user:{SECRET}@example.org")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", ["", "a\nb", "a b", "clé"])
def test_a_key_that_cannot_be_sent_is_refused(key: str) -> None:
    """A newline would be a header of its own; the message does not show the key."""
    with pytest.raises(ValueError, match="the key cannot be sent") as caught:
        Client("http://test", key=key)
    assert not key or repr(key) not in str(caught.value)


def test_the_presets_differ_in_their_totals() -> None:
    """One, three, ten and thirty minutes."""
    presets = (Timeouts.simple(), Timeouts.code(), Timeouts.long(), Timeouts.reasoning())
    assert [preset.total for preset in presets] == [60, 180, 600, 1800]
    assert Timeouts.reasoning().idle == 300


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_is_not_one_is_refused(seconds: float) -> None:
    """In the settings, in a call, and in a block."""
    client = client_of(lambda request: httpx2.Response(200, json=1))
    with pytest.raises(ValueError, match="give seconds above 0"):
        Timeouts(total=seconds)
    with pytest.raises(ValueError, match="give seconds above 0"):
        client.call("classify", timeout=seconds)
    with pytest.raises(ValueError, match="give seconds above 0"), client.deadline(seconds):
        pass


@pytest.mark.parametrize("body", [object(), {1: object()}, {(1, 2): 3}, 1 + 2j])
def test_a_body_that_cannot_be_json_is_refused(body: Any) -> None:
    """Nothing is sent."""
    client = client_of(lambda request: pytest.fail("it was sent"))
    with pytest.raises(TypeError, match="the body cannot be written as JSON"):
        client.call("classify", body)


def test_an_idempotency_key_is_a_header() -> None:
    """A newline in it is refused."""
    client = client_of(lambda request: pytest.fail("it was sent"))
    with pytest.raises(ValueError, match="idempotency_key"):
        client.call("classify", idempotency_key="a\r\nb")


def test_a_header_that_cannot_be_sent_is_refused() -> None:
    """A newline would end it; the message does not show the value."""
    client = client_of(lambda request: pytest.fail("it was sent"))
    for headers in ({"authorization": f"Bearer {SECRET}\n"}, {"x-a": "é"}, {"x-a": ""}):
        with pytest.raises(ValueError, match=r"the header '.*' cannot be sent") as caught:
            client.call("classify", headers=headers)
        assert SECRET not in str(caught.value)


def test_a_header_replaces_another_in_any_spelling() -> None:
    """The header of the call is sent, and the client's is not beside it."""
    seen: list[httpx2.Headers] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers)
        return httpx2.Response(200, json=1)

    client_of(respond, headers={"X-Team": "red"}).call(
        "classify", {}, headers={"x-team": "blue", "Content-Type": "a/b"}
    )
    assert [seen[0].get_list("x-team"), seen[0].get_list("content-type")] == [["blue"], ["a/b"]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retries(max_attempts=0),
        lambda: Retries(base=-1),
        lambda: Limits(rate=0),
        lambda: Limits(max_concurrent=-1),
        lambda: BreakerSettings(share=2),
        lambda: BreakerSettings(calls=0),
    ],
)
def test_a_setting_out_of_range_is_refused(make: Callable[[], object]) -> None:
    """It fails where it is written."""
    with pytest.raises(ValueError, match=r"\w+\(\w+=.*\): give"):
        make()


def test_a_closed_client_says_so() -> None:
    """It does not open connections again."""
    client = Client("http://127.0.0.1:9")
    client.close()
    with pytest.raises(RuntimeError, match="is closed"):
        client.call("classify")


# ---- what is never shown


def test_the_key_is_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the representation, nor the log, nor an error with its whole chain has it."""
    caplog.set_level(logging.DEBUG)
    records: list[Record] = []
    with ScriptedServer([(answer(status=503),), (End.CLOSE,)]) as server:
        client = Client(server.url, key=SECRET, retries=Retries(base=0.001), on_event=records.append)
        with client, pytest.raises(errors.ConnectionLost) as caught:
            client.call("classify", {})
    error = caught.value
    shown = [repr(client), repr(client.with_options()), repr(vars(error)), caplog.text, repr(records)]
    shown += traceback.format_exception(error)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert [text for text in shown if SECRET in text] == []


# ---- views


def test_a_view_shares_what_is_scarce() -> None:
    """Connections, budget and breakers are those of the first client; settings are its own."""
    seen = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        seen.append(dict(request.headers))
        return httpx2.Response(200, json=1)

    client = client_of(respond, headers={"x-a": "1"}, key="k1")
    view = client.with_options(key="k2", headers={"x-b": "2"}, timeouts=Timeouts(total=9))
    client.call("classify")
    view.call("classify")
    assert view._shared is client._shared
    assert [(one["authorization"], one["x-a"], one.get("x-b")) for one in seen] == [
        ("Bearer k1", "1", None),
        ("Bearer k2", "1", "2"),
    ]
    assert ["x-request-timeout" in one for one in seen] == [False, True]


def test_a_deadline_bounds_all_calls_of_a_block() -> None:
    """The second call has what the first has left; after the block there is no limit."""
    left = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        left.append(request.headers.get("x-request-timeout"))
        return httpx2.Response(200, json=1)

    client = client_of(respond)
    other = client_of(respond)
    with client.deadline(5.0):
        client.call("classify")
        with client.deadline(2.0):
            client.call("classify", timeout=60)
        other.call("classify")
    client.call("classify")
    first, second, elsewhere, after = left
    assert 4.0 < float(first) <= 4.95
    assert 1.0 < float(second) <= 1.95
    assert elsewhere is after is None


class HandlersContext:
    """The part of a handler's context that the client reads."""

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def headers_for_downstream(self) -> Mapping[str, str]:
        return {"X-Request-Id": "r9", "traceparent": "00-1-2-01", "grpc-timeout": "1m"}


def test_a_job_passes_on_what_it_has() -> None:
    """The deadline, the request id and the trace of the job are those of its calls."""
    seen: list[httpx2.Headers] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers)
        return httpx2.Response(200, json=1)

    client_of(respond).from_context(HandlersContext(2.0)).call("classify", timeout=60)
    [sent] = seen
    assert (sent["x-request-id"], sent["traceparent"]) == ("r9", "00-1-2-01")
    assert 1.0 < float(sent["x-request-timeout"]) <= 1.95
    assert "grpc-timeout" not in sent


# ---- processes and threads


def test_a_forked_process_opens_connections_of_its_own() -> None:
    """Two processes on one connection would read each other's answers."""
    with ScriptedServer([(answer(),)]) as server, Client(server.url) as client:
        client.call("classify")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the server's threads; the child uses none of them
            child = os.fork()
        if child == 0:
            try:
                client.call("classify")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        client.call("classify")
        assert (len(server.requests), server.connections) == (3, 2)


def test_threads_share_a_client() -> None:
    """Calls from many threads each have their own answer."""

    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=request.content, headers={"content-type": "application/json"})

    client = client_of(respond)
    found: dict[int, Any] = {}

    def call(number: int) -> None:
        found[number] = client.call("echo", number).value

    threads = [threading.Thread(target=call, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: number for number in range(50)}


# ---- limits


def test_a_full_client_waits_until_the_deadline() -> None:
    """The wait for one of the calls at a time draws on the deadline, and its error says that nothing was sent."""
    with (
        ScriptedServer([(chunked(b"1\n", end=False), End.SILENCE)]) as server,
        Client(server.url, limits=Limits(max_concurrent=1)) as client,
        client.stream("write") as events,
    ):
        next(events)
        with pytest.raises(errors.LimitTimeout) as caught:
            client.call("classify", timeout=0.05)
        assert len(server.requests) == 1
    assert (caught.value.may_have_run, caught.value.retryable) == (False, True)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_full_async_client_waits_until_the_deadline(backend: str) -> None:
    """The same with a loop; afterwards the slot is free again."""

    async def main() -> None:
        with ScriptedServer([(chunked(b"1\n", end=False), End.SILENCE), (answer(b"7"),)]) as server:
            async with AsyncClient(server.url, limits=Limits(max_concurrent=1)) as client:
                async with client.stream("write") as events:
                    await anext(events)
                    with pytest.raises(errors.LimitTimeout):
                        await client.call("classify", timeout=0.05)
                assert (await client.call("classify", timeout=5)).value == 7

    anyio.run(main, backend=backend)


def test_an_open_breaker_stops_the_calls_of_its_endpoint() -> None:
    """After five failures nothing is sent there, and other endpoints are reached."""
    seen = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.url.path)
        return httpx2.Response(500 if request.url.path == "/bad" else 200, json=1)

    client = client_of(respond, retries=ONCE)
    for _ in range(5):
        with pytest.raises(errors.InternalError):
            client.call("bad")
    with pytest.raises(errors.CircuitOpen) as caught:
        client.call("bad")
    client.call("good")
    assert seen == ["/bad"] * 5 + ["/good"]
    assert caught.value.retry_after == pytest.approx(5.0, abs=1)


def test_a_query_has_no_breaker_of_its_own() -> None:
    """It is the endpoint that fails, and its name in records has no query, which may be private."""
    records: list[Record] = []
    client = client_of(lambda request: httpx2.Response(500), retries=ONCE, on_event=records.append)
    for number in range(5):
        with pytest.raises(errors.InternalError):
            client.call(f"bad?n={number}", method="GET")
    with pytest.raises(errors.CircuitOpen):
        client.call("bad?n=6", method="GET")
    assert {record.endpoint for record in records} == {"bad"}


def test_endpoints_do_not_fill_the_memory() -> None:
    """A path with an id in it is known until a thousand others have been called."""
    client = client_of(lambda request: httpx2.Response(200, json=1))
    for number in range(1010):
        client.call(f"items/{number}", method="GET")
    assert len(client._shared.endpoints) == 1000


def test_no_breaker_is_an_option() -> None:
    """``breaker=None`` sends everything."""
    client = client_of(lambda request: httpx2.Response(500), retries=ONCE, breaker=None)
    for _ in range(20):
        with pytest.raises(errors.InternalError):
            client.call("bad")


# ---- the breaker, on a moved clock


def opened(settings: BreakerSettings | None = None) -> Breaker:
    breaker = Breaker(settings or BreakerSettings())
    for _ in range(5):
        breaker.failed(0.0, is_connect=False)
    return breaker


def test_a_breaker_needs_calls_and_a_share() -> None:
    """Four failures do not open it, nor five among twenty."""
    breaker = Breaker(BreakerSettings())
    for _ in range(15):
        breaker.succeeded(0.0)
    for _ in range(5):
        breaker.failed(1.0, is_connect=False)
    assert breaker.admit(1.0) == 0.0


def test_a_breaker_forgets() -> None:
    """Failures older than its window do not count."""
    breaker = Breaker(BreakerSettings())
    for second in range(4):
        breaker.failed(float(second), is_connect=False)
    breaker.failed(40.0, is_connect=False)
    assert breaker.admit(40.0) == 0.0


def test_five_failed_connections_open_it_among_any_number_of_successes() -> None:
    """A server that has just gone is not asked by every call."""
    breaker = Breaker(BreakerSettings())
    for _ in range(100):
        breaker.succeeded(0.0)
    for _ in range(5):
        breaker.failed(1.0, is_connect=True)
    assert breaker.admit(1.0) == 5.0


def test_one_probe_decides() -> None:
    """It is let through after five seconds, alone; its failure doubles the time, up to a minute, its success closes."""
    breaker = opened()
    now, waits = 0.0, []
    for _ in range(6):
        waits.append(breaker.admit(now))
        now += waits[-1]
        assert breaker.admit(now) == 0.0
        assert breaker.admit(now) > 0.0
        breaker.failed(now, is_connect=False)
    assert waits == [5, 10, 20, 40, 60, 60]
    now += 60
    assert breaker.admit(now) == 0.0
    breaker.succeeded(now)
    assert breaker.admit(now) == 0.0
    assert breaker.admit(now) == 0.0


@pytest.mark.parametrize("outcome", ["answered", "failed", "cancelled"])
def test_a_request_from_before_is_not_the_probe(outcome: str) -> None:
    """A slow request that was sent before the breaker opened says nothing about the server of now."""
    breaker = opened()
    assert breaker.admit(5.0) == 0.0
    if outcome == "answered":
        breaker.succeeded(5.1, sent=-1.0)
    elif outcome == "failed":
        breaker.failed(5.1, is_connect=False, sent=-1.0)
    else:
        breaker.abandoned(sent=-1.0)
    assert breaker.admit(5.2) == 5.0  # the probe is still on its way
    breaker.succeeded(5.3, sent=5.0)
    assert breaker.admit(5.3) == 0.0


# ---- records and logs


def test_records_and_log_lines_tell_of_retries(caplog: pytest.LogCaptureFixture) -> None:
    """One record and one line for each retry, with its reason; one record at the end."""
    caplog.set_level(logging.INFO, "penstock.client")
    records: list[Record] = []
    answers = iter([httpx2.Response(503), httpx2.Response(200, json=1)])
    client = client_of(lambda request: next(answers), retries=Retries(base=0.001), on_event=records.append)
    client.call("classify")
    retry, end = records
    assert isinstance(retry, RetryRecord)
    assert isinstance(end, CallRecord)
    assert (retry.attempt, retry.reason) == (1, "503")
    assert (end.code, end.attempts, end.request_id) == ("", 2, retry.request_id)
    assert "classify is tried again" in caplog.text


def test_a_hook_that_fails_does_not_fail_the_call(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the call goes on."""

    def fail(record: Record) -> None:
        raise RuntimeError("no")

    assert client_of(lambda request: httpx2.Response(200, json=1), on_event=fail).call("classify").value == 1
    assert "on_event has raised" in caplog.text


# ---- nothing is left behind


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thousand_cancelled_calls_leave_nothing(backend: str) -> None:
    """No slot of the pool, no slot of the client and no descriptor, whatever the instant of the cancellation."""

    async def main() -> None:
        limits = Limits(max_connections=10, max_concurrent=10)
        async with AsyncClient(server.url, limits=limits, retries=ONCE, breaker=None) as client:

            async def leave(seconds: float) -> None:
                with anyio.move_on_after(seconds):
                    if int(seconds * 1e6) % 2:
                        await client.call("classify", {})
                    else:
                        async with client.stream("classify", {}) as events:
                            async for _ in events:
                                pass

            for round_ in range(50):
                async with anyio.create_task_group() as group:
                    for number in range(20):
                        group.start_soon(leave, (round_ * 20 + number) * 1e-5 + 1e-6)
            pool = client._shared.http._transport._pool  # type: ignore[attr-defined]
            assert [one for one in pool.connections if not one.is_idle()] == []
            assert pool._requests == []
            assert client._shared.slots.value == 10

    before = descriptors()
    with ScriptedServer([(chunked(b"1\n", end=False), End.SILENCE)]) as server:
        anyio.run(main, backend=backend)
    wait_until(lambda: descriptors() <= before, "closed descriptors")


def test_a_thousand_calls_that_run_out_of_time_leave_nothing() -> None:
    """The same without a loop: time-outs, and streams that are left early."""
    before = descriptors()
    with (
        ScriptedServer([(chunked(b"1\n", end=False), End.SILENCE)]) as server,
        Client(server.url, limits=Limits(max_connections=4), retries=ONCE, breaker=None) as client,
    ):
        for number in range(500):
            with client.stream("write") as events:
                next(events)
            with pytest.raises(errors.TotalTimeout):
                client.call("classify", timeout=0.001 + number * 4e-6)
        pool = client._shared.http._transport._pool  # type: ignore[attr-defined]
        assert (pool.connections, pool._requests) == ([], [])
    wait_until(lambda: descriptors() <= before, "closed descriptors")
