"""gRPC on a real server, with the real client: one HTTP process, and two that share an engine."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from penstock_grpc.endpoints_pb2_grpc import EndpointsStub
from tests.e2e.grpc_calls import PATIENCE, GrpcServed, asks, refusal, value_of
from tests.e2e.watching import wait_idle, wait_running
from tests.serving import HOST, wait_until

pytestmark = pytest.mark.e2e

MEBIBYTE = 1 << 20


@pytest.fixture(scope="module", params=["1", "2"], ids=["one-process", "two-processes"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServed]:
    with GrpcServed("--http-workers", request.param, marks=tmp_path_factory.mktemp("marks")) as served:
        yield served
        assert not served.events("internal-error")
        assert not [event for event in served.events() if event["event"] == "asyncio"]


@pytest.fixture
def stub(served: GrpcServed) -> Iterator[EndpointsStub]:
    with served.stub() as stub:
        yield stub


@pytest.fixture
def marks(served: GrpcServed) -> Iterator[Path]:
    folder = Path(served.environment["TEST_MARKS_FOLDER"])
    yield folder
    for mark in folder.iterdir():
        mark.unlink()


# ---- answers


def test_an_endpoint_is_called_by_its_name_or_its_path(stub: EndpointsStub) -> None:
    """Both names lead to the same endpoint, and the reply says what the answer is."""
    for endpoint in ("square", "/square"):
        reply = stub.Call(asks(endpoint, {"input": 3.0}), timeout=PATIENCE)
        assert (value_of(reply), reply.media_type, reply.status, dict(reply.headers)) == (
            9.0,
            "application/json",
            200,
            {},
        )


def test_a_path_may_have_values_and_a_query(stub: EndpointsStub) -> None:
    """A path with values is read as over HTTP; by its name, an endpoint takes everything from the body."""
    assert value_of(stub.Call(asks("/users/7/caption"), timeout=PATIENCE)) == [7, 3]
    assert value_of(stub.Call(asks("/users/7/caption", {"words": 5}), timeout=PATIENCE)) == [7, 5]
    name = "users/{user_id}/caption"
    assert value_of(stub.Call(asks(name, {"user_id": 8, "words": 6}), timeout=PATIENCE)) == [8, 6]
    assert value_of(stub.Call(asks("/sum?first=1&second=2"), timeout=PATIENCE)) == 3
    assert value_of(stub.Call(asks("sum", {"first": 1, "second": 3}), timeout=PATIENCE)) == 4


def test_raw_bodies_and_forms_are_read(stub: EndpointsStub) -> None:
    """The media type of the message does what ``Content-Type`` does over HTTP."""
    assert value_of(stub.Call(asks("length", b"\0\xff"), timeout=PATIENCE)) == 2
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\nabc\r\n'
        b'--x\r\nContent-Disposition: form-data; name="words"\r\n\r\n5\r\n--x--\r\n'
    )
    reply = stub.Call(asks("picture", form, "multipart/form-data; boundary=x"), timeout=PATIENCE)
    assert value_of(reply) == ["a.png", 3, 5]


def test_what_a_response_has_is_in_the_reply(stub: EndpointsStub) -> None:
    """Media type, status and headers that a handler chooses arrive."""
    reply = stub.Call(asks("teapot"), timeout=PATIENCE)
    assert (reply.body, reply.media_type, reply.status) == (b"tea", "text/tea", 202)
    assert {name.lower(): value for name, value in reply.headers.items()} == {"x-leaf": "green"}


def test_large_bodies_pass(stub: EndpointsStub) -> None:
    """A body larger than gRPC's own limit of 4 MiB passes, up to the server's limit."""
    assert value_of(stub.Call(asks("length", b"x" * (16 * MEBIBYTE)), timeout=PATIENCE)) == 16 * MEBIBYTE


def test_large_answers_pass(stub: EndpointsStub) -> None:
    """A result of any size arrives in one reply, and as one chunk."""
    for size in (100_000, 12_000_000):
        assert len(stub.Call(asks("repeat", {"size": size}), timeout=PATIENCE).body) == size
        [chunk] = stub.Stream(asks("repeat", {"size": size}), timeout=PATIENCE)
        assert (len(chunk.body), chunk.media_type) == (size, "application/octet-stream")


def test_a_stream_comes_chunk_by_chunk(stub: EndpointsStub) -> None:
    """Each chunk is a message, and comes when it is yielded."""
    found, arrivals = [], []
    for chunk in stub.Stream(asks("count", {"n": 3, "delay": 0.3}), timeout=PATIENCE):
        found.append(json.loads(chunk.body)["token"])
        arrivals.append(time.monotonic())
    assert found == [0, 1, 2]
    assert arrivals[2] - arrivals[0] > 0.3


def test_raw_chunks_and_events_say_what_they_are(stub: EndpointsStub) -> None:
    """Raw chunks have their media type, and events their type and id."""
    chunks = list(stub.Stream(asks("letters", {"word": "ab"}), timeout=PATIENCE))
    assert b"".join(chunk.body for chunk in chunks) == b"ab"
    assert {chunk.media_type for chunk in chunks} == {"text/plain"}
    events = list(stub.Stream(asks("events"), timeout=PATIENCE))
    assert [(event.body, event.event, event.id) for event in events] == [(b"1", "first", "a"), (b"2", "", "")]


def test_either_method_takes_any_endpoint(stub: EndpointsStub) -> None:
    """A stream is collected for a ``Call``, and a result is a stream of one chunk."""
    reply = stub.Call(asks("count", {"n": 2}), timeout=PATIENCE)
    assert reply.media_type == "application/x-ndjson"
    assert [json.loads(line)["token"] for line in reply.body.splitlines()] == [0, 1]
    assert stub.Call(asks("letters", {"word": "abc"}), timeout=PATIENCE).body == b"abc"
    [chunk] = stub.Stream(asks("square", {"input": 2.0}), timeout=PATIENCE)
    assert chunk.body == b"4.0"


def test_metadata_are_headers(stub: EndpointsStub) -> None:
    """The handler sees them, the request id is the caller's, and it comes back."""
    sent = (("x-request-id", "mine-1"), ("x-color", "red"), ("x-color", "blue"), ("x-raw-bin", b"\0"))
    reply, call = stub.Call.with_call(asks("about"), metadata=sent, timeout=PATIENCE)
    about = value_of(reply)
    assert (about["request_id"], about["principal"]) == ("mine-1", None)
    assert about["headers"]["x-color"] == "red,blue"
    assert "x-raw-bin" not in about["headers"]
    assert dict(call.trailing_metadata())["x-request-id"] == "mine-1"
    stream = stub.Stream(asks("count", {"n": 1}), metadata=sent, timeout=PATIENCE)
    assert dict(stream.initial_metadata())["x-request-id"] == "mine-1"
    list(stream)


def test_the_asynchronous_client_has_the_same(served: GrpcServed) -> None:
    """``grpc.aio`` calls and streams, many at a time on one connection."""

    async def run() -> Any:
        async with aio.insecure_channel(f"{HOST}:{served.grpc_port}") as channel:
            stub = EndpointsStub(channel)
            replies = await asyncio.gather(
                *(stub.Call(asks("square", {"input": float(n)}), timeout=PATIENCE) for n in range(50))
            )
            stream = [chunk.body async for chunk in stub.Stream(asks("count", {"n": 3}), timeout=PATIENCE)]
            return [value_of(reply) for reply in replies], len(stream)

    assert asyncio.run(run()) == ([float(n * n) for n in range(50)], 3)


# ---- deadlines and cancellation


def test_a_deadline_is_the_callers_deadline(served: GrpcServed, stub: EndpointsStub, marks: Path) -> None:
    """The handler knows it, and a job that is still running then is stopped."""
    remaining = value_of(stub.Call(asks("about"), timeout=5.0))["remaining"]
    assert 3.0 < remaining <= 5.0
    found = refusal(stub.Call, asks("sleep", {"seconds": 0.9}), timeout=0.3)
    assert found.code is StatusCode.DEADLINE_EXCEEDED
    wait_until((marks / "sleep-cancelled").exists, "the handler to be stopped")
    wait_idle(served, "sleepers")


def test_a_deadline_widens_nothing(stub: EndpointsStub) -> None:
    """The endpoint's own limit applies under a longer deadline."""
    found = refusal(stub.Call, asks("sleep", {"seconds": 5}), timeout=PATIENCE)
    assert (found.code, found.name) == (StatusCode.DEADLINE_EXCEEDED, "execution-timeout")


def test_a_cancelled_call_stops_its_job(served: GrpcServed, stub: EndpointsStub, marks: Path) -> None:
    """A job that runs is stopped when its client cancels."""
    call = stub.Call.future(asks("sleep", {"seconds": 0.9}))
    wait_until((marks / "sleep-started").exists, "the handler")
    call.cancel()
    wait_until((marks / "sleep-cancelled").exists, "the handler to be stopped")
    wait_idle(served, "sleepers")


def test_a_queued_job_is_cancelled_too(served: GrpcServed, stub: EndpointsStub, marks: Path) -> None:
    """A job that waits in the queue leaves it when its client cancels."""
    first = stub.Call.future(asks("hold", {"name": "a"}), timeout=PATIENCE)
    wait_until((marks / "started-a").exists, "the first")
    second = stub.Call.future(asks("hold", {"name": "b"}), timeout=PATIENCE)
    wait_until(lambda: served.status()["endpoints"]["hold"]["queued"] == 1, "the second to be queued")
    second.cancel()
    wait_until(lambda: served.status()["endpoints"]["hold"]["queued"] == 0, "the second to leave")
    (marks / "release").touch()
    assert value_of(first.result()) == "a"
    assert not (marks / "started-b").exists()


def test_a_stream_ends_with_its_client(served: GrpcServed, stub: EndpointsStub, marks: Path) -> None:
    """Neither a cancelled stream nor one whose connection is lost runs on."""
    stream = stub.Stream(asks("endless"))
    next(iter(stream))
    stream.cancel()
    wait_until((marks / "endless-ended").exists, "the handler to be stopped")
    (marks / "endless-ended").unlink()
    with served.stub() as other:
        next(iter(other.Stream(asks("endless"))))
    wait_until((marks / "endless-ended").exists, "the handler to be stopped")
    wait_idle(served, "streams")


# ---- errors


@pytest.mark.parametrize(
    ("endpoint", "value", "code", "name"),
    [
        ("nope", {}, StatusCode.NOT_FOUND, "not-found"),
        ("", {}, StatusCode.NOT_FOUND, "not-found"),
        ("/users//caption", {}, StatusCode.NOT_FOUND, "not-found"),
        ("square", b"{", StatusCode.INVALID_ARGUMENT, "invalid-request"),
        ("square", b"", StatusCode.INVALID_ARGUMENT, "invalid-request"),
        ("square", {"input": "x"}, StatusCode.INVALID_ARGUMENT, "invalid-request"),
        ("/users/x/caption", b"", StatusCode.INVALID_ARGUMENT, "invalid-request"),
        ("/sum?first=1", b"", StatusCode.INVALID_ARGUMENT, "invalid-request"),
        ("picture", {}, StatusCode.INVALID_ARGUMENT, "unsupported-media-type"),
        ("fail", {"kind": "missing"}, StatusCode.NOT_FOUND, "not-found"),
        ("fail", {"kind": "x"}, StatusCode.INTERNAL, "handler-error"),
    ],
)  # fmt: skip
def test_each_error_has_its_status(stub: EndpointsStub, endpoint: str, value: Any, code: StatusCode, name: str) -> None:
    """Both methods end with the status, and the code of the error is in the metadata and in the details."""
    for method in (stub.Call, stub.Stream):
        found = refusal(method, asks(endpoint, value))
        assert (found.code, found.name) == (code, name)
        assert found.trailing["x-request-id"]
        assert found.trailing["x-should-retry"] == "false"
        reason = found.details["ErrorInfo"]
        assert (reason.domain, reason.reason) == ("penstock", name.upper().replace("-", "_"))
        assert "secret" not in found.message


def test_the_faults_of_an_input_are_listed(stub: EndpointsStub) -> None:
    """The details name the field and the reason."""
    [fault] = refusal(stub.Call, asks("square", {"input": "x"})).details["BadRequest"].field_violations
    assert (fault.field, fault.description) == ("$.input", "Expected `float`, got `str`")


def test_a_stream_that_fails_ends_with_the_error(stub: EndpointsStub) -> None:
    """The chunks before the failure are delivered, and the stream does not look whole."""
    stream = stub.Stream(asks("broken"), timeout=PATIENCE)
    assert next(stream).body == b"1"
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    assert caught.value.code() is StatusCode.INTERNAL
    assert "secret" not in caught.value.details()


def test_a_full_queue_refuses(served: GrpcServed, stub: EndpointsStub, marks: Path) -> None:
    """The refusal says when to come again, in every way in which clients read it."""
    running = stub.Call.future(asks("hold", {"name": "a"}), timeout=PATIENCE)
    wait_running(served, "hold")
    waiting = stub.Call.future(asks("hold", {"name": "b"}), timeout=PATIENCE)
    wait_until(lambda: served.status()["endpoints"]["hold"]["queued"] == 1, "the second to be queued")
    found = refusal(stub.Call, asks("hold", {"name": "c"}))
    (marks / "release").touch()
    assert (found.code, found.name) == (StatusCode.RESOURCE_EXHAUSTED, "queue-full")
    seconds = int(found.trailing["retry-after"])
    assert found.trailing["x-should-retry"] == "true"
    assert found.trailing["grpc-retry-pushback-ms"] == str(seconds * 1000)
    assert found.details["RetryInfo"].retry_delay.seconds == seconds
    assert [value_of(call.result()) for call in (running, waiting)] == ["a", "b"]


def test_a_lost_worker_is_unavailable(stub: EndpointsStub) -> None:
    """A job that may have had effects is not to be sent again."""
    found = refusal(stub.Call, asks("die"))
    assert (found.code, found.name) == (StatusCode.UNAVAILABLE, "worker-lost")
    assert (found.trailing["x-should-retry"], found.trailing["grpc-retry-pushback-ms"]) == ("false", "-1")


def test_bodies_over_the_limit_are_refused(stub: EndpointsStub) -> None:
    """The status is the same if gRPC refuses the message, and if Penstock refuses the body in it."""
    for size in (16 * MEBIBYTE + 1, 17 * MEBIBYTE):
        assert refusal(stub.Call, asks("length", b"x" * size)).code is StatusCode.RESOURCE_EXHAUSTED


def test_a_compressed_message_over_the_limit_is_refused(served: GrpcServed) -> None:
    """The limit holds for what a message becomes when it is inflated."""
    with served.channel() as channel:
        call = channel.unary_unary("/penstock.v1.Endpoints/Call")
        message = asks("length", b"x" * (64 * MEBIBYTE)).SerializeToString()
        assert refusal(call, message, compression=grpc.Compression.Gzip).code is StatusCode.RESOURCE_EXHAUSTED
        small = asks("length", b"x" * MEBIBYTE).SerializeToString()
        assert call(small, compression=grpc.Compression.Gzip, timeout=PATIENCE)


@pytest.mark.parametrize("path", ["/penstock.v1.Endpoints/Nope", "/nope.Service/Call", "/x"])
def test_unknown_methods_are_unimplemented(served: GrpcServed, path: str) -> None:
    """The client learns the name that it used."""
    with served.channel() as channel:
        found = refusal(channel.unary_unary(path), b"")
    assert (found.code, found.name) == (StatusCode.UNIMPLEMENTED, "method-not-allowed")
    assert path in found.message


def test_a_message_that_is_none_is_refused(served: GrpcServed) -> None:
    """Neither broken bytes nor a call without a message fails in the server."""
    with served.channel() as channel:
        found = refusal(channel.unary_unary("/penstock.v1.Endpoints/Call"), b"\xff\xff\xff")
        assert (found.code, found.name) == (StatusCode.INVALID_ARGUMENT, "invalid-request")
        nothing = refusal(channel.stream_unary("/penstock.v1.Endpoints/Call"), iter(()))
        assert (nothing.code, nothing.name) == (StatusCode.INVALID_ARGUMENT, "invalid-request")


# ---- the standard services


def test_health_says_what_readyz_says(served: GrpcServed) -> None:
    """The whole and each service are serving; others are unknown."""
    with served.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "penstock.v1.Endpoints"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        unknown = refusal(stub.Check, health_pb2.HealthCheckRequest(service="nope"))
        assert unknown.code is StatusCode.NOT_FOUND
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="nope"), timeout=PATIENCE)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


def test_reflection_describes_the_services(served: GrpcServed) -> None:
    """A client that knows nothing finds the services, and the messages of ours."""
    with served.channel() as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        names = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", "penstock.v1.Endpoints"}
        assert set(database.get_services()) == names
        found = database.FindFileContainingSymbol("penstock.v1.Endpoints")
        assert [method.name for method in found.service[0].method] == ["Call", "Stream"]


# ---- what is seen of it


def test_the_status_page_and_the_log_have_it(served: GrpcServed, stub: EndpointsStub) -> None:
    """The address is logged, and the page counts connections and calls."""
    stub.Call(asks("square", {"input": 1.0}), timeout=PATIENCE)
    urls = {event["url"] for event in served.events("listening")}
    assert f"grpc://{HOST}:{served.grpc_port}" in urls

    def has_figures() -> bool:
        status = served.status()
        processes = [status] if "grpc" in status else list(status["hosts"].values())
        return all(set(process["grpc"]) == {"connections", "calls"} for process in processes)

    wait_until(has_figures, "the figures of gRPC")
