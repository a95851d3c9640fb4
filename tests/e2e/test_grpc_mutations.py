"""Messages that are broken at random: whatever they say, it is not the server that fails."""

from __future__ import annotations

import json
import random
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from penstock_grpc.endpoints_pb2_grpc import EndpointsStub
from tests.e2e.grpc_calls import PATIENCE, GrpcServed, asks
from tests.e2e.watching import wait_idle
from tests.serving import wait_until

pytestmark = pytest.mark.e2e

SEED = 7
MESSAGES = 400
SOAK_MESSAGES = 100_000
ENDPOINTS = ["square", "/square", "count", "length", "picture", "/users/7/caption", "/sum?first=1&second=2", "nope", ""]
TYPES = [
    "",
    "application/json",
    "text/plain",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "\x00",
]
VALUES: list[Any] = [
    {"input": 2.0}, {"input": "x"}, {"n": 2}, {"n": -1}, {"first": 1}, [], None, "x", 1e300, {"input": None}, {"n": {}},
]  # fmt: skip
METHODS = ["/penstock.v1.Endpoints/Call", "/penstock.v1.Endpoints/Stream"]
EXPECTED = {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServed]:
    with GrpcServed(marks=tmp_path_factory.mktemp("marks")) as served:
        yield served


def mutated(dice: random.Random) -> bytes:
    """Return a message that is likely to be wrong in what it says, and sometimes in how it is written."""
    value = dice.choice(VALUES)
    body = bytearray(b"" if value is None else json.dumps(value).encode())
    if body and dice.random() < 0.3:
        body[dice.randrange(len(body))] = dice.randrange(256)
    endpoint = dice.choice(ENDPOINTS) + dice.choice(["", "", "", "?", "/", "%00", "\u2028", "x" * 300])
    message = bytearray(asks(endpoint, bytes(body), dice.choice(TYPES)).SerializeToString())
    if message and dice.random() < 0.4:
        kind = dice.randrange(3)
        place = dice.randrange(len(message))
        if kind == 0:
            message[place] = dice.randrange(256)
        elif kind == 1:
            del message[place:]
        else:
            message[place:place] = dice.randbytes(dice.randint(1, 20))
    return bytes(message)


def outcome_of(channel: grpc.Channel, method: str, message: bytes) -> StatusCode:
    """Make a call, and return its status."""
    try:
        for _ in channel.unary_stream(method)(message, timeout=PATIENCE):
            pass
    except grpc.RpcError as error:
        code: StatusCode = error.code()
        return code
    return StatusCode.OK


def assert_withstands(served: GrpcServed, count: int, seed: int) -> None:
    dice = random.Random(seed)
    outcomes: Counter[StatusCode] = Counter()
    with served.channel() as channel:
        for number in range(count):
            method, message = dice.choice(METHODS), mutated(dice)
            outcome = outcome_of(channel, method, message)
            outcomes[outcome] += 1
            assert outcome in EXPECTED, f"seed {seed}, message {number}: {outcome} for {message!r} to {method}"
        assert {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND} == set(outcomes), outcomes
        for pool in served.status()["pools"]:
            wait_idle(served, pool)
        endpoints = served.status()["endpoints"].values()
        assert [endpoint["queued"] for endpoint in endpoints] == [0] * len(endpoints)
        assert EndpointsStub(channel).Call(asks("square", {"input": 3.0}), timeout=PATIENCE).body == b"9.0"
    wait_until(lambda: served.status()["grpc"]["calls"] == 0, "the calls to end")
    assert not served.events("internal-error")
    assert not served.events("handler-error")


def test_broken_messages_are_refused(served: GrpcServed) -> None:
    """Each is answered or refused as the caller's mistake, and nothing is left in the queue."""
    assert_withstands(served, MESSAGES, SEED)


@pytest.mark.soak
def test_very_many_broken_messages_are_refused(served: GrpcServed) -> None:
    """The same, for longer and with another seed."""
    assert_withstands(served, SOAK_MESSAGES, SEED + 1)


def test_broken_connections_are_closed(served: GrpcServed) -> None:
    """Bytes that do not make sense as HTTP/2 neither end the server nor leave a connection open in it."""
    dice = random.Random(SEED)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    for _ in range(200):
        data = bytearray(preface + dice.randbytes(dice.randint(0, 200)))
        if dice.random() < 0.5:
            data[dice.randrange(len(data))] = dice.randrange(256)
        with socket.create_connection(("127.0.0.1", served.grpc_port)) as sock:
            sock.sendall(data)
    with served.stub() as stub:
        assert stub.Call(asks("square", {"input": 3.0}), timeout=PATIENCE).body == b"9.0"
    wait_until(lambda: served.status()["grpc"]["connections"] == 0, "the connections to end")
    assert [line for line in served.log_lines() if not line.startswith("{")] == []
