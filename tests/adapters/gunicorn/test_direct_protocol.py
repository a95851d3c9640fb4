"""Connections that serve requests without ASGI, at moments that a real client seldom hits."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config

from penstock_gunicorn.direct_protocol import DirectProtocol
from penstock_gunicorn.logger import EventLogger

REQUEST = b"POST /it HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{}"


class Endpoint:
    """Keeps its requests, and answers when the test says so."""

    def __init__(self) -> None:
        self.connections: list[DirectProtocol] = []
        self.abandoned: list[tuple[Any, Any, bool]] = []
        self.on_progress: Callable[[DirectProtocol], None] = lambda _connection: None

    def begin(self, connection: DirectProtocol, headers: dict[bytes, bytes], body: bytes) -> None:
        connection.exchange, connection.call = f"exchange {len(self.connections)}", f"call {len(self.connections)}"
        self.connections.append(connection)

    def progress(self, connection: DirectProtocol) -> None:
        self.on_progress(connection)

    def abandon(self, exchange: Any, call: Any, *, is_recorded: bool = True) -> None:
        self.abandoned.append((exchange, call, is_recorded))


class Scene:
    """A connection to a server with one endpoint, whose socket ends in the test."""

    def __init__(self, sock: socket.socket) -> None:
        self.endpoint = Endpoint()
        self.is_aborted = False
        cfg = Config()
        cfg.set("keepalive", 75)

        async def application(_scope: Any, _receive: Any, _send: Any) -> None:
            self.application_calls += 1

        self.application_calls = 0
        application.direct_endpoints = {b"/it": self.endpoint}  # type: ignore[attr-defined] # as an AsgiApplication has
        self.worker = SimpleNamespace(
            cfg=cfg,
            log=EventLogger(cfg),
            asgi=application,
            loop=asyncio.get_running_loop(),
            nr=0,
            nr_conns=0,
            max_requests=sys.maxsize,
            alive=True,
            is_leaving=False,
            connections=set(),
            peers=SimpleNamespace(admits_another=lambda: True, writing_paused=lambda _connection: None),
        )
        self.protocol = DirectProtocol(self.worker)
        self.transport = Transport(self, sock)
        self.protocol.connection_made(self.transport)


class Transport(asyncio.Transport):
    def __init__(self, scene: Scene, sock: socket.socket) -> None:
        super().__init__({"peername": ("192.0.2.1", 1), "sockname": ("192.0.2.2", 80), "socket": sock})
        self._scene = scene

    def write(self, data: Any) -> None:
        raise AssertionError(f"{data!r} was not written at once")

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        self._scene.is_aborted = True


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    server, client = socket.socketpair()
    with server, client:
        client.setblocking(False)
        yield server, client


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 10.0))


def test_a_request_that_was_handed_over_and_never_taken_is_abandoned(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    """The connection may end before gunicorn has called the application: its job must not run on."""

    async def test() -> None:
        scene = Scene(sockets[0])
        await asyncio.sleep(0)
        scene.protocol.data_received(REQUEST)
        scene.protocol.hand_over()
        scene.protocol.connection_lost(None)
        await asyncio.sleep(0.01)
        assert scene.endpoint.abandoned == [("exchange 0", "call 0", False)]
        assert scene.application_calls == 0

    run(test)


def test_a_request_that_runs_is_abandoned_with_its_connection(sockets: tuple[socket.socket, socket.socket]) -> None:
    """Its outcome records it; nothing is written any more, wherever the descriptor leads by then."""

    async def test() -> None:
        scene = Scene(sockets[0])
        await asyncio.sleep(0)
        scene.protocol.data_received(REQUEST)
        scene.protocol.connection_lost(None)
        assert scene.endpoint.abandoned == [("exchange 0", "call 0", True)]
        scene.protocol.respond("200 OK\r\n", b"late", is_last=False)
        with pytest.raises(BlockingIOError):
            sockets[1].recv(1)

    run(test)


def test_an_answer_that_fails_ends_its_own_connection_alone(sockets: tuple[socket.socket, socket.socket]) -> None:
    """It is called in the engine's turn, in which other jobs are answered as well: nothing is raised there."""

    async def test() -> None:
        scene = Scene(sockets[0])
        await asyncio.sleep(0)

        def fail(_connection: DirectProtocol) -> None:
            raise ZeroDivisionError

        scene.endpoint.on_progress = fail
        scene.protocol.data_received(REQUEST)
        scene.protocol.on_progress()
        assert scene.is_aborted

    run(test)


def test_requests_that_wait_are_served_in_order(sockets: tuple[socket.socket, socket.socket]) -> None:
    """Three that arrive together begin one after the other, each when the one before it has been answered."""

    async def test() -> None:
        scene = Scene(sockets[0])
        await asyncio.sleep(0)
        scene.protocol.data_received(REQUEST * 3)
        for number in range(1, 4):
            assert len(scene.endpoint.connections) == number
            scene.protocol.respond("200 OK\r\n", b"%d" % number, is_last=False)
        assert scene.protocol.is_idle
        assert sockets[1].recv(10_000).count(b"HTTP/1.1 200 OK") == 3
        assert scene.worker.nr == 3

    run(test)


def test_the_first_request_of_a_connection_is_served_directly(sockets: tuple[socket.socket, socket.socket]) -> None:
    """It may arrive, in pieces too, before gunicorn's task has had its first turn, and is not closed as idle."""

    async def test() -> None:
        scene = Scene(sockets[0])
        asyncio.get_running_loop().call_soon(scene.protocol.close_if_idle)  # its turn comes after the task's first one
        scene.protocol.data_received(REQUEST[:30])
        scene.protocol.data_received(REQUEST[30:])
        assert scene.protocol.is_arriving
        assert not scene.endpoint.connections
        await asyncio.sleep(0)
        assert scene.endpoint.connections == [scene.protocol]
        scene.protocol.respond("200 OK\r\n", b"1", is_last=False)
        assert sockets[1].recv(10_000).startswith(b"HTTP/1.1 200 OK")
        assert scene.application_calls == 0

    run(test)


def test_a_new_connection_that_has_ended_at_once_starts_nothing(sockets: tuple[socket.socket, socket.socket]) -> None:
    """The bytes that arrived before it was lost are not parsed any more."""

    async def test() -> None:
        scene = Scene(sockets[0])
        scene.protocol.data_received(REQUEST)
        scene.protocol.connection_lost(None)
        await asyncio.sleep(0.01)
        assert not scene.endpoint.connections
        assert scene.application_calls == 0

    run(test)


def test_an_upload_that_ends_within_the_first_turn_is_answered(sockets: tuple[socket.socket, socket.socket]) -> None:
    """The client has finished sending in the middle of a body: the application gets to say that it is incomplete."""

    async def test() -> None:
        scene = Scene(sockets[0])
        scene.protocol.data_received(REQUEST[:-1])
        assert scene.protocol.eof_received(), "the connection is closed before it could be answered"
        await asyncio.sleep(0.01)
        assert scene.application_calls == 1
        assert not scene.endpoint.connections

    run(test)
