"""gRPC services that a plug-in adds, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.grpc_calls import PATIENCE, GrpcServed, refusal
from tests.serving import ROOT

pytestmark = pytest.mark.e2e

TARGET = ROOT / "tests" / "e2e" / "apps" / "grpc_services_app.py"
KEY = "q7Zr0yDkT3vW8uXeB1nHs5LmJa9GcPf2oRiY6tVwEdU"


@pytest.fixture(scope="module", params=["1", "2"], ids=["one-process", "two-processes"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServed]:
    marks = tmp_path_factory.mktemp("marks")
    with GrpcServed("--http-workers", request.param, marks=marks, target=TARGET) as served:
        yield served
        assert not served.events("internal-error")


@pytest.fixture
def channel(served: GrpcServed) -> Iterator[grpc.Channel]:
    with served.channel() as channel:
        yield channel


def test_a_method_calls_an_endpoint(channel: grpc.Channel) -> None:
    """The service reads the message, and writes the reply."""
    assert channel.unary_unary("/toy.Toys/Once")(b"echo hello", timeout=PATIENCE) == b'"hello"'


def test_a_method_streams(channel: grpc.Channel) -> None:
    """Each chunk becomes a message, and a single result is one chunk."""
    many = channel.unary_stream("/toy.Toys/Many")
    assert list(many(b"spell ab", timeout=PATIENCE)) == [b'spell:"a"', b'spell:"b"']
    assert list(many(b"echo ab", timeout=PATIENCE)) == [b'echo:"ab"']


def test_a_stream_of_messages_is_answered_in_order(channel: grpc.Channel) -> None:
    """Each message is a request of its own; one that fails is reported in a message, and the next is answered."""
    talk = channel.stream_stream("/toy.Toys/Talk")
    sent = [b"echo one", b"nope x", b"echo", b"slow x", b"crash", b"spell ab", b"echo two"]
    found = [message.decode() for message in talk(iter(sent), timeout=PATIENCE)]
    errors = ["not-found", "invalid-request", "execution-timeout", "hook-error"]
    expected = ['"one"', *(f"error {name}" for name in errors), '"a"', '"b"', '"two"']
    assert [message.partition(":")[0] for message in found] == expected
    assert "mistake" not in "".join(found)
    assert list(talk(iter(()), timeout=PATIENCE)) == []


def test_a_question_is_answered_by_a_route(channel: grpc.Channel) -> None:
    """It needs no worker, and what the route raises has its status."""
    name = channel.unary_unary("/toy.Toys/Name")
    found = msgspec.json.decode(name(b"ann", timeout=PATIENCE))
    assert found == {"name": "ann", "ready": True, "path": "/names/ann"}
    unknown = refusal(name, b"nobody")
    assert (unknown.code, unknown.name) == (StatusCode.NOT_FOUND, "not-found")


@pytest.mark.parametrize(
    ("message", "code", "name"),
    [
        (b"nope x", StatusCode.NOT_FOUND, "not-found"),
        (b"echo", StatusCode.INVALID_ARGUMENT, "invalid-request"),
        (b"spell x", StatusCode.UNIMPLEMENTED, "method-not-allowed"),
        (b"slow x", StatusCode.DEADLINE_EXCEEDED, "execution-timeout"),
        (b"crash", StatusCode.INTERNAL, "hook-error"),
    ],
)
def test_errors_have_their_status(channel: grpc.Channel, message: bytes, code: StatusCode, name: str) -> None:
    """Those that the service raises, and those of the endpoint; a mistake of the plug-in's is its own."""
    found = refusal(channel.unary_unary("/toy.Toys/Once"), message)
    assert (found.code, found.name) == (code, name)
    assert "mistake" not in found.message


def test_health_knows_the_service(channel: grpc.Channel) -> None:
    """It is as ready as the whole server."""
    request = health_pb2.HealthCheckRequest(service="toy.Toys")
    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_callers_need_a_key_for_all_of_it(tmp_path: Path) -> None:
    """The authenticator is asked about methods and questions alike."""
    environment = {"PENSTOCK_AUTH_KEYS": f"alice={KEY}"}
    with GrpcServed(marks=tmp_path, target=TARGET, environment=environment) as served, served.channel() as channel:
        calls: list[tuple[Any, bytes]] = [
            (channel.unary_unary("/toy.Toys/Once"), b"echo x"),
            (channel.unary_unary("/toy.Toys/Name"), b"ann"),
            (channel.unary_stream("/toy.Toys/Many"), b"echo x"),
        ]
        talk = channel.stream_stream("/toy.Toys/Talk")
        assert refusal(talk, iter([b"echo x"])).code is StatusCode.UNAUTHENTICATED
        for call, message in calls:
            assert refusal(call, message).code is StatusCode.UNAUTHENTICATED
            found = call(message, metadata=(("authorization", f"Bearer {KEY}"),), timeout=PATIENCE)
            assert found if isinstance(found, bytes) else list(found)
