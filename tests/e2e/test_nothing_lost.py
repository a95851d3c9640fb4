"""Stops and reloads of a real server under an open-loop load: each request whose bytes it accepts is answered."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.load import Account, under_load
from tests.serving import Served

pytestmark = pytest.mark.e2e

APP = Path(__file__).parent / "apps" / "loaded_app.py"
MIX = {"/quick": 0.6, "/wait": 0.2, "/stream": 0.2}
RATE = 400.0


def stop_under_load(number: signal.Signals, rate: float = RATE) -> Account:
    """Serve a while, stop the server under load, and return what became of the requests."""
    with Served(APP, "--log-format", "json") as served, under_load(served.port, rate=rate, paths=MIX) as load:
        load.wait_for(100)
        assert served.stop(number) == 0
        load.wait_for(1)
    return load.account


def assert_nothing_lost(account: Account) -> None:
    assert account.lost == [], account
    assert set(account.statuses) <= {200, 503}, account
    assert account.statuses[200] >= 100, account
    assert account.refused > 0, account


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_stop_loses_no_request(number: signal.Signals) -> None:
    """200, or 503 for what came later; then connections are refused, and none is reset."""
    assert_nothing_lost(stop_under_load(number))


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_twenty_stops_lose_no_request(number: signal.Signals) -> None:
    """The same, at three times the rate."""
    for _ in range(20):
        assert_nothing_lost(stop_under_load(number, 3 * RATE))


def test_what_has_arrived_before_the_signal_is_served_and_the_rest_is_answered() -> None:
    """A request in the backlog is admitted; half a head, and half a body, get a whole answer: 503, and not a reset."""
    whole = b"POST /quick HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    with Served(APP, "--log-format", "json") as served, contextlib.ExitStack() as stack:
        (listening,) = served.events("listening")
        http_process = int(listening["pid"])
        half_head, half_body, idle = (stack.enter_context(served.connect()) for _ in range(3))
        half_head.sendall(whole[:30])
        half_body.sendall(whole[:-1])
        assert served.get("/livez").status == 200
        os.kill(http_process, signal.SIGSTOP)
        in_backlog = stack.enter_context(served.connect())
        in_backlog.sendall(whole)
        served.process.send_signal(signal.SIGTERM)
        os.kill(http_process, signal.SIGCONT)
        assert served.wait() == 0
        assert everything(in_backlog).startswith(b"HTTP/1.1 200 ")
        for client in (half_head, half_body):
            answer = everything(client)
            assert answer.startswith(b"HTTP/1.1 503 "), answer
            assert b"\r\nconnection: close\r\n" in answer.lower()
        assert everything(idle) == b""


def everything(client: socket.socket) -> bytes:
    received = b""
    while piece := client.recv(1 << 16):
        received += piece
    return received
