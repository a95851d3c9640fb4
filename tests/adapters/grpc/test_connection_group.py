"""Connections that are relayed to the library, with a library that echoes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock_grpc.connection_group import ConnectionGroup
from penstock_grpc.frame_watch import LEAVE_NOTICE

SETTINGS = b"\0\0\0\4\0\0\0\0\0"
DATA = b"\0\0\3\0\0\0\0\0\1abc"
PATIENCE = 5.0


class EchoingLibrary(asyncio.Protocol):
    """Sends its settings, and then what it receives; it notes what it is called."""

    names: list[str]

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.names.append(transport.get_extra_info("peername"))
        transport.write(SETTINGS)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[ConnectionGroup, int, list[str]]]:
    loop = asyncio.get_running_loop()
    group, names = ConnectionGroup(), []
    library = await loop.create_unix_server(lambda: EchoingLibrary(names), group.address.removeprefix("unix:"))
    server = await loop.create_server(group.new, "127.0.0.1", 0)
    try:
        yield group, server.sockets[0].getsockname()[1], names
    finally:
        group.close()
        server.close()
        library.close()


def run(test: Callable[[ConnectionGroup, int, list[str]], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(PATIENCE), serving() as (group, port, names):
            await test(group, port, names)

    asyncio.run(whole())


async def settled(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - no event
        await asyncio.sleep(0.001)


def test_bytes_pass_both_ways() -> None:
    """Also those that come with the connection, before the library is connected."""

    async def test(group: ConnectionGroup, port: int, names: list[str]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(DATA)
        assert await reader.readexactly(len(SETTINGS + DATA)) == SETTINGS + DATA
        large = b"\x0f\xff\xff\0\0\0\0\0\1" + b"x" * 0xFFFFF
        writer.write(large)
        assert await reader.readexactly(len(large)) == large
        assert len(group) == 1
        writer.close()
        await settled(lambda: len(group) == 0)

    run(test)


def test_the_library_knows_a_connection_by_a_name_that_leads_to_its_client() -> None:
    """The name leads nowhere once the connection is over, and no other name leads anywhere."""

    async def test(group: ConnectionGroup, port: int, names: list[str]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readexactly(len(SETTINGS))
        [name] = names
        assert group.peer_of(f"unix:{name}") == "127.0.0.1"
        assert group.peer_of("unix:") is None
        writer.close()
        await settled(lambda: group.peer_of(f"unix:{name}") is None)

    run(test)


def test_clients_are_asked_to_leave_between_frames() -> None:
    """At once if nothing is on its way, and once only."""

    async def test(group: ConnectionGroup, port: int, names: list[str]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readexactly(len(SETTINGS))
        group.ask_to_leave(has_successor=True)
        group.ask_to_leave(has_successor=True)
        assert await reader.readexactly(len(LEAVE_NOTICE)) == LEAVE_NOTICE
        writer.write(DATA)
        assert await reader.readexactly(len(DATA)) == DATA
        late, other = await asyncio.open_connection("127.0.0.1", port)
        assert await late.readexactly(len(SETTINGS + LEAVE_NOTICE)) == SETTINGS + LEAVE_NOTICE
        for each in (writer, other):
            each.close()

    run(test)


def test_newcomers_stay_if_there_is_nowhere_to_go() -> None:
    """Otherwise they would come again and again."""

    async def test(group: ConnectionGroup, port: int, names: list[str]) -> None:
        group.ask_to_leave(has_successor=False)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(DATA)
        assert await reader.readexactly(len(SETTINGS + DATA)) == SETTINGS + DATA
        writer.close()

    run(test)


def test_connections_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those over the limit are closed, and others are served on."""
    monkeypatch.setattr("penstock_grpc.connection_group.resource.getrlimit", lambda _which: (16, 16))

    async def test(group: ConnectionGroup, port: int, names: list[str]) -> None:
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, _ in opened:
            assert await reader.readexactly(len(SETTINGS)) == SETTINGS
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readexactly(1)
        opened[0][1].close()
        await settled(lambda: len(group) == 1)
        reader, again = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.readexactly(len(SETTINGS)) == SETTINGS
        for each in (writer, again, opened[1][1]):
            each.close()

    run(test)


def test_a_client_that_leaves_early_is_kept_until_the_library_has_accepted_it() -> None:
    """The library stops to accept connections at one whose other end is closed: each must be open until it speaks."""

    async def whole() -> None:
        loop = asyncio.get_running_loop()
        group = ConnectionGroup()
        ends: list[str] = []
        transports: list[Any] = []

        class SlowLibrary(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                transports.append(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                ends.append("lost")

        library = await loop.create_unix_server(SlowLibrary, group.address.removeprefix("unix:"))
        server = await loop.create_server(group.new, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.close()
        await settled(lambda: bool(transports) and len(group) == 0)
        await asyncio.sleep(0.05)
        assert ends == []
        transports[0].write(SETTINGS)
        await settled(lambda: ends == ["lost"])
        group.close()
        server.close()
        library.close()

    asyncio.run(asyncio.wait_for(whole(), PATIENCE))


def test_nothing_is_left_behind() -> None:
    """The folder of the sockets is for this user alone, and is removed at the end."""
    folders = []

    async def test(group: ConnectionGroup, port: int, names: list[str]) -> None:
        folder = Path(group.address.removeprefix("unix:")).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readexactly(len(SETTINGS))
        assert [path.name for path in folder.iterdir()] == ["s"]
        folders.append(folder)
        writer.close()

    run(test)
    assert not folders[0].exists()


def test_a_client_is_closed_with_the_library() -> None:
    """The end of the library's side ends the client's."""

    async def test(group: ConnectionGroup, port: int, names: list[str]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readexactly(len(SETTINGS))
        group.close()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readexactly(1)
        writer.close()
        await settled(lambda: len(group) == 0)

    run(test)
