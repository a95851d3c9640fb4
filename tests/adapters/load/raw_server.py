"""A server whose bytes are written by the test: it cuts, stalls, resets, and notices hang-ups."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from penstock_load import CallerOptions, LoadGenerator, PreparedRequest, ServerAddress, Shot, arrivals
from tests.serving import HOST

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
REQUEST = PreparedRequest(b"GET / HTTP/1.1\r\nHost: raw\r\n\r\n")
TURNS = 10
Answer: TypeAlias = Callable[["Visit"], Awaitable[None]]


class Visit:
    """One request at the server.

    Attributes
    ----------
    number:
        The number of the request, from 1.
    """

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        await self.write(b"%x\r\n%s\r\n" % (len(data), data))

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def wait_for_hangup(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self.reader.read()


class RawServer:
    """Answers each request by a function of the test."""

    def __init__(self, answer: Answer) -> None:
        self.requests = 0
        self.connections = 0
        self.address: ServerAddress
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()

    async def end(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close their sockets in the next turn of the loop

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while not writer.is_closing():
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                await self._answer(Visit(self.requests, reader, writer))
        except (OSError, EOFError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    answer: Answer, unix_path: Path | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    raw = RawServer(answer)
    if unix_path is None:
        server = await asyncio.start_server(raw.serve_connection, HOST, 0, backlog=1024, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        name = "" if tls is None else HOST
        raw.address = ServerAddress(host=HOST, port=port, authority="raw", path="/", is_own=True, server_name=name)
    else:
        server = await asyncio.start_unix_server(raw.serve_connection, unix_path)
        raw.address = ServerAddress(host=str(unix_path), port=None, authority="raw", path="/", is_own=True)
    try:
        yield raw
    finally:
        for _ in range(TURNS):  # a connection that was accepted just now needs them before the server may close
            await asyncio.sleep(0)
        server.close()
        await raw.end()


async def sent(
    address: ServerAddress,
    *,
    rate: float = 100.0,
    seconds: float = 0.1,
    patience: float = 2.0,
    is_stream: bool = False,
    keeps_alive: bool = True,
    most_connections: int = 1000,
    tls: ssl.SSLContext | None = None,
) -> list[Shot]:
    """Send evenly spaced requests, and return their records in the order in which they were sent."""
    shots: list[Shot] = []
    options = CallerOptions(
        patience=patience, is_stream=is_stream, keeps_alive=keeps_alive, most_connections=most_connections
    )
    generator = LoadGenerator(address, options, shots.append, tls=tls)
    await generator.run(time.perf_counter(), arrivals(rate, seconds), lambda: REQUEST)
    return sorted(shots, key=lambda shot: shot.planned)
