"""Notifications for systemd, as a datagram socket receives them."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.testing.clock import MockClock
from penstock_gunicorn import supervisor as module
from penstock_gunicorn.supervisor import Supervisor


class Receiver:
    """The socket of a supervisor."""

    def __init__(self, address: str) -> None:
        self.variable = address
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.sock.settimeout(0.01)

    def received(self) -> list[list[str]]:
        messages = []
        try:
            while True:
                messages.append(self.sock.recv(10_000).decode().split("\n"))
        except TimeoutError:
            return messages


@pytest.fixture(params=["path", "abstract"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    name = f"@penstock-notify-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    receiver = Receiver(name)
    yield receiver
    receiver.sock.close()


def test_each_step_is_a_message_of_systemds(receiver: Receiver) -> None:
    """Also through an abstract socket. A status is one line."""
    supervisor = Supervisor({"NOTIFY_SOCKET": receiver.variable})
    before = int(time.monotonic() * 1e6)
    supervisor.loading()
    supervisor.ready()
    supervisor.reloading()
    supervisor.ready("the reload failed:\nSyntaxError\nREADY=0")
    supervisor.succeeded_by(42)
    supervisor.stopping(30.5)
    messages = receiver.received()
    assert before <= int(messages[2].pop(1).removeprefix("MONOTONIC_USEC=")) <= time.monotonic() * 1e6
    assert messages == [
        ["STATUS=loading the app and its models"],
        ["READY=1", "STATUS=ready"],
        ["RELOADING=1", "STATUS=loading the app again; the old one serves"],
        ["READY=1", "STATUS=the reload failed: SyntaxError READY=0"],
        ["MAINPID=42"],
        ["STOPPING=1", "EXTEND_TIMEOUT_USEC=30500000", "STATUS=finishing admitted work"],
    ]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    clock = MockClock()
    monkeypatch.setattr(module.time, "monotonic", clock)
    return clock


def test_signs_of_life_come_at_half_the_time_that_the_supervisor_waits(receiver: Receiver, clock: MockClock) -> None:
    """However often they are asked for."""
    environ = {"NOTIFY_SOCKET": receiver.variable, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())}
    supervisor = Supervisor(environ)
    assert (environ, supervisor.interval) == ({}, 2.0)
    for now in (10.0, 11.0, 11.9, 12.0, 13.0):
        clock.now = now
        supervisor.watched(is_ready=False, heartbeats=[now], patience=5.0)
    assert receiver.received() == [["WATCHDOG=1"]] * 2


def test_signs_of_life_need_an_http_process_with_a_heartbeat(receiver: Receiver, clock: MockClock) -> None:
    """If all hang, or there is none, the supervisor is to find out; one that works is enough."""
    supervisor = Supervisor({"NOTIFY_SOCKET": receiver.variable, "WATCHDOG_USEC": "2000000"})
    for ages, is_alive in (([], False), ([11.0], False), ([1.0], True), ([11.0, 1.0], True)):
        clock.advance(5.0)
        supervisor.watched(is_ready=False, heartbeats=[clock.now - age for age in ages], patience=10.0)
        assert receiver.received() == [["WATCHDOG=1"]] * is_alive


def test_ready_is_notified_once(receiver: Receiver) -> None:
    """It is not taken back when a process is replaced."""
    supervisor = Supervisor({"NOTIFY_SOCKET": receiver.variable})
    for is_ready in (False, True, False, True):
        supervisor.watched(is_ready=is_ready, heartbeats=[], patience=10.0)
    assert receiver.received() == [["READY=1", "STATUS=ready"]]


@pytest.mark.parametrize(
    ("variables", "interval"),
    [
        ({}, math.inf),
        ({"WATCHDOG_USEC": "0"}, math.inf),
        ({"WATCHDOG_USEC": "soon"}, math.inf),
        ({"WATCHDOG_USEC": "1000000"}, 0.5),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, math.inf),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1", "GUNICORN_PID": "1"}, 0.5),
    ],
)
def test_signs_of_life_are_sent_if_they_are_awaited(variables: dict[str, str], interval: float) -> None:
    """The variable names this process, or the one that it replaces."""
    assert Supervisor({"NOTIFY_SOCKET": "@x", **variables}).interval == interval


def test_a_supervisor_that_is_not_there_is_not_waited_for(tmp_path: Path) -> None:
    """Neither without one, nor if its socket is gone or full."""
    Supervisor({}).ready()
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    receiver = Receiver(str(tmp_path / "full"))
    supervisor = Supervisor({"NOTIFY_SOCKET": receiver.variable})
    for _ in range(2000):
        supervisor.ready()
    receiver.sock.close()
