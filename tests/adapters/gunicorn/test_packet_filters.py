"""The kernel drops the first packet of a handshake, or data, once a filter says so."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from penstock_gunicorn.packet_filters import drop_data, drop_handshakes, keep_data, unread_bytes
from tests.serving import HOST, wait_until

FAMILIES = [(socket.AF_INET, HOST), (socket.AF_INET6, "::1")]


@pytest.fixture(params=FAMILIES, ids=["IPv4", "IPv6"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family, host = request.param
    try:
        sock = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("there is no IPv6")
    with sock:
        yield sock


def is_connected(client: socket.socket) -> bool:
    return bool(select.select([], [client], [], 0.05)[1])


def connecting(listener: socket.socket) -> socket.socket:
    client = socket.socket(listener.family)
    client.setblocking(False)
    client.connect_ex(listener.getsockname())
    return client


def test_no_connection_begins_and_those_that_have_begun_are_served(listener: socket.socket) -> None:
    """A client that comes later is left without an answer; one in the backlog is accepted, and its data arrives."""
    with connecting(listener) as early:
        assert is_connected(early)
        drop_handshakes(listener)
        with connecting(listener) as late:
            assert not is_connected(late)
        server, _ = listener.accept()
        with server:
            early.sendall(b"hello")
            assert server.recv(5) == b"hello"
    assert select.select([listener], [], [], 0)[0] == []


def test_data_is_dropped_until_it_may_come_again(listener: socket.socket) -> None:
    """It is not acknowledged, so the sender sends it again, and nothing is missing; the end of the stream passes."""
    with socket.create_connection(listener.getsockname()[:2]) as client:
        server, _ = listener.accept()
        with server:
            client.sendall(b"one")
            wait_until(lambda: unread_bytes(server) == 3, "the first data")
            drop_data(server)
            client.sendall(b"two")
            assert select.select([server], [], [], 0.05)[0] == [server]
            assert (server.recv(10), unread_bytes(server)) == (b"one", 0)
            keep_data(server)
            assert server.recv(10) == b"two"
            drop_data(server)
            client.shutdown(socket.SHUT_WR)
            assert server.recv(10) == b""


def test_a_unix_socket_is_left_alone() -> None:
    """There is no filter for it, and no need of one."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        drop_data(ours)
        theirs.sendall(b"hello")
        assert unread_bytes(ours) == 5
        keep_data(ours)
