"""The records of ``on_event=`` and the lines of the log: for each retry, and for the end of each call."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import anyio
import pytest

from penstock_client import AsyncClient, CallRecord, Client, HedgeRecord, Limits, Record, Retries, RetryRecord, Timeouts
from tests.client.drivers import DRIVERS, Act, call, one, stream
from tests.client.scripted_server import End, ScriptedServer, Step, answer, chunked
from tests.serving import wait_until

ONCE = Retries(max_attempts=1)
QUICK = Retries(base=0.001)
FULL = answer(b'{"error":{"code":"queue-full","message":"full"}}', status=503)
GOOD = answer(b"1")


def records_of(driver: str, act: Act, *scripts: tuple[Step, ...], **settings: Any) -> tuple[list[Record], list[Any]]:
    """Return the records of a call, and the requests that the server has received."""
    records: list[Record] = []
    with ScriptedServer(list(scripts)) as server:
        one(driver, server.url, act, on_event=records.append, **{"retries": QUICK, **settings})
    return records, server.requests


@pytest.mark.parametrize("driver", DRIVERS)
def test_each_retry_has_a_record_and_a_line(driver: str, caplog: pytest.LogCaptureFixture) -> None:
    """With the endpoint, the id of the call, the number of the request, what it met, and the wait."""
    caplog.set_level(logging.INFO, logger="penstock.client")
    act = call("v1/classify?n=1", idempotent=True)
    records, requests = records_of(driver, act, (FULL,), (End.CLOSE,), (GOOD,))
    [request_id] = {request.headers["x-request-id"] for request in requests}
    first, second, end = records
    assert isinstance(first, RetryRecord)
    assert isinstance(second, RetryRecord)
    assert first == RetryRecord("v1/classify", request_id, 1, "503 queue-full", first.delay)
    assert second == RetryRecord("v1/classify", request_id, 2, "connection-lost", second.delay)
    assert 0 <= first.delay <= 0.001
    assert isinstance(end, CallRecord)
    assert end == CallRecord("v1/classify", request_id, "", end.seconds, 3)
    assert first.delay + second.delay <= end.seconds < 5
    assert [record.getMessage() for record in caplog.records if record.name == "penstock.client"] == [
        f"v1/classify is tried again in {retry.delay:.3f} s: request {retry.attempt} met {retry.reason} "
        f"[request_id={request_id}]"
        for retry in (first, second)
    ]


def key_is_missing() -> str:
    raise LookupError("the vault is closed")


ENDINGS: dict[str, tuple[Act, tuple[Step, ...], dict[str, Any], str, int]] = {
    "an answer": (call(), (GOOD,), {}, "", 1),
    "an error status": (call(), (FULL,), {}, "queue-full", 1),
    "a cut": (call(), (End.CLOSE,), {}, "connection-lost", 1),
    "a time-out": (call(), (End.SILENCE,), {"timeouts": Timeouts(first_byte=0.1)}, "first-byte-timeout", 1),
    "an answer that cannot be read": (call(), (answer(b"<html>"),), {}, "invalid-answer", 1),
    "no time to send": (call(timeout=0.001), (GOOD,), {}, "total-timeout", 0),
    "no key": (call(), (GOOD,), {"key": key_is_missing}, "LookupError", 1),
    "a stream": (stream(), (chunked(b"1\n"),), {}, "", 1),
    "an error status in place of a stream": (stream(), (FULL,), {}, "queue-full", 1),
}


@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.parametrize("driver", DRIVERS)
def test_each_call_has_one_record_of_its_end(driver: str, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """With its code, and its number of requests; one that failed has a line at DEBUG too."""
    caplog.set_level(logging.DEBUG, logger="penstock.client")
    act, script, settings, code, sent = ENDINGS[how]
    [end], _ = records_of(driver, act, script, **{"retries": ONCE, **settings})
    assert isinstance(end, CallRecord)
    assert (end.endpoint, end.code, end.attempts, len(end.request_id)) == (act.endpoint, code, sent, 32)
    assert 0 <= end.seconds < 5
    lines = [record.getMessage() for record in caplog.records if record.name == "penstock.client"]
    failed = f"{act.endpoint} failed after {end.seconds:.3f} s and {sent} requests: {code}"
    assert lines == ([f"{failed} [request_id={end.request_id}]"] if code else [])


def test_the_record_of_a_stream_comes_with_its_first_byte() -> None:
    """The record says nothing of the time and the errors after it: the program reads at its own pace."""
    records: list[Record] = []
    with ScriptedServer([(chunked(b"1\n", end=False), End.SILENCE)]) as server:
        client = Client(server.url, on_event=records.append)
        with client, client.stream("write") as events:
            assert next(events) == len(records) == 1
    [end] = records
    assert isinstance(end, CallRecord)
    assert end.code == ""


WAITS: dict[str, tuple[tuple[Step, ...], dict[str, Any], int]] = {
    "for an answer": ((End.SILENCE,), {}, 1),
    "for another request": ((answer(status=503, Retry_After="60"),), {}, 1),
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_call_has_a_record(backend: str, wait: str) -> None:
    """It may have waited for an answer, or for the time of its next request."""
    script, settings, sent = WAITS[wait]
    records: list[Record] = []

    async def main(server: ScriptedServer) -> None:
        client = AsyncClient(server.url, on_event=records.append, **settings)
        async with client, anyio.create_task_group() as group:
            group.start_soon(client.call, "classify")
            if wait == "for an answer":
                await anyio.to_thread.run_sync(wait_until, lambda: server.requests, "the request")
            else:
                await anyio.to_thread.run_sync(wait_until, lambda: records, "the record of the retry")
            group.cancel_scope.cancel()

    with ScriptedServer([script]) as server:
        anyio.run(main, server, backend=backend)
    end = records[-1]
    assert isinstance(end, CallRecord)
    assert (end.code, end.attempts) == ("cancelled", sent)
    assert [type(record) for record in records[:-1]] == ([] if wait == "for an answer" else [RetryRecord])


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_call_that_is_cancelled_before_its_turn_has_a_record(backend: str) -> None:
    """It has waited for the client's own limit, and sent nothing."""
    records: list[Record] = []

    async def main(server: ScriptedServer) -> None:
        limits = Limits(max_concurrent=1)
        client = AsyncClient(server.url, on_event=records.append, limits=limits)
        async with client, client.stream("write"), anyio.create_task_group() as group:
            group.start_soon(client.call, "classify")
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    with ScriptedServer([(chunked(b"1\n", end=False), End.SILENCE)]) as server:
        anyio.run(main, server, backend=backend)
    assert [
        (record.endpoint, record.code, record.attempts) for record in records if isinstance(record, CallRecord)
    ] == [
        ("write", "", 1),
        ("classify", "cancelled", 0),
    ]


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_hook_that_fails_changes_nothing(driver: str, caplog: pytest.LogCaptureFixture, *, is_stream: bool) -> None:
    """Neither the retry nor the result; each failure is in the log, with its traceback."""
    seen: list[Record] = []

    def fail(record: Record) -> None:
        seen.append(record)
        raise ValueError("the hook is broken")

    good, act = (chunked(b"1\n"), stream()) if is_stream else (GOOD, call())
    with ScriptedServer([(FULL,), (good,)]) as server:
        result = one(driver, server.url, act, retries=QUICK, on_event=fail)
    assert (result if is_stream else [result.value]) == [1]
    assert [type(record) for record in seen] == [RetryRecord, CallRecord]
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in logged] == ["on_event has raised an exception; the call goes on"] * 2
    assert "the hook is broken" in caplog.text


@pytest.mark.parametrize(
    "record",
    [
        RetryRecord("classify", "r1", 1, "503", 0.5),
        HedgeRecord("classify", "r1", 1, 0.5),
        CallRecord("classify", "r1", "", 0.5, 2),
    ],
)
def test_a_record_cannot_be_changed(record: Record) -> None:
    """Hooks may keep it, and pass it to other threads."""
    for field in dataclasses.fields(record):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, field.name, None)
    assert hash(record) == hash(dataclasses.replace(record))
