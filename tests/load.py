"""An open-loop load on a real server, which accounts for every request: answered, refused, or lost.

Requests are sent at their times, whatever has become of the earlier ones: on fresh connections, on kept-alive ones, and
streams among them. A request is *lost* if bytes of it were accepted and no complete answer came. It is *refused* if no
connection could be made, and *unaccepted* if it crossed the server's orderly end of a kept-alive connection: the client
has read the end of the stream, and the server's kernel has acknowledged nothing of the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.serving import HOST

_ACKED = struct.Struct("=120xQ")
_PIECE = 1 << 16
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Loss:
    """A request without a complete answer."""

    kind: str
    why: str
    received: bytes
    at: float


@dataclass
class Account:
    """The fate of the requests. ``slowest`` is the longest time to a complete answer, in seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    lost: list[Loss] = field(default_factory=list)
    refused: int = 0
    unaccepted: int = 0
    slowest: float = 0.0
    late: float = 0.0

    @property
    def sent(self) -> int:
        """The number of requests whose fate is known."""
        return self.statuses.total() + len(self.lost) + self.refused + self.unaccepted

    def __str__(self) -> str:
        return (
            f"{self.sent} sent, {dict(self.statuses)}, {len(self.lost)} lost, {self.refused} refused, "
            f"{self.unaccepted} unaccepted, slowest {self.slowest:.3f} s: {self.lost[:5]}"
        )


class Cut(Exception):
    """The connection ended before the answer was complete."""

    def __init__(self, why: str, received: bytes) -> None:
        super().__init__(why)
        self.why, self.received = why, received


class Load:
    """Requests at random times with a mean rate, from a thread of its own, until ``stop``.

    Parameters
    ----------
    port:
        A port of the loopback address.
    rate:
        Requests per second.
    paths:
        Paths with their shares. An answer may be a stream.
    kept_alive:
        The share of requests that are sent on kept-alive connections.
    """

    def __init__(self, port: int, *, rate: float, paths: dict[str, float], kept_alive: float = 0.5) -> None:
        self.account = Account()
        self._port = port
        self._rate = rate
        self._paths = paths
        self._kept_alive = kept_alive
        self._dice = random.Random(7)
        self._idle: list[socket.socket] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._offer()))

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> Account:
        """Send no more, wait for the last answer, and return the account."""
        self._stopped.set()
        self._thread.join(PATIENCE + 10.0)
        assert not self._thread.is_alive(), "the load does not end"
        for sock in self._idle:
            sock.close()
        return self.account

    def wait_for(self, requests: int, timeout: float = 10.0) -> None:
        """Wait until this number of further requests have had their answer."""
        wanted = self.account.sent + requests
        give_up_at = time.monotonic() + timeout
        while self.account.sent < wanted:
            assert time.monotonic() < give_up_at, f"no {requests} requests were answered: {self.account}"
            time.sleep(0.01)

    async def _offer(self) -> None:
        at = time.monotonic()
        paths, shares = list(self._paths), list(self._paths.values())
        async with asyncio.TaskGroup() as group:
            while not self._stopped.is_set():
                at += self._dice.expovariate(self._rate)
                delay = at - time.monotonic()
                if delay > 0:
                    await asyncio.sleep(delay)
                else:
                    self.account.late = max(self.account.late, -delay)
                (path,) = self._dice.choices(paths, shares)
                is_kept = self._dice.random() < self._kept_alive
                group.create_task(self._fire(path, is_kept=is_kept))

    async def _fire(self, path: str, *, is_kept: bool) -> None:
        account = self.account
        began = time.monotonic()
        reused = self._take() if is_kept else None
        kind = "reused" if reused is not None else "fresh"
        sock = reused if reused is not None else await self._connect()
        if sock is None:
            account.refused += 1
            return
        acked_before = _acked_bytes(sock)
        close = "" if is_kept else "Connection: close\r\n"
        request = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        try:
            async with asyncio.timeout(PATIENCE):
                status, stays = await _exchange(sock, f"{request}{close}\r\n{{}}".encode())
        except Cut as cut:
            if reused is not None and cut.why == "end" and not cut.received and _acked_bytes(sock) == acked_before:
                account.unaccepted += 1
            else:
                account.lost.append(Loss(f"{kind} {path}", cut.why, cut.received[:200], time.monotonic()))
            sock.close()
            return
        except TimeoutError:
            account.lost.append(Loss(f"{kind} {path}", "no answer in time", b"", time.monotonic()))
            sock.close()
            return
        account.statuses[status] += 1
        account.kinds[f"{kind} {path}"] += 1
        account.slowest = max(account.slowest, time.monotonic() - began)
        if is_kept and stays:
            self._idle.append(sock)
        else:
            sock.close()

    def _take(self) -> socket.socket | None:
        """Return an idle kept-alive connection that the server has not closed."""
        while self._idle:
            sock = self._idle.pop(self._dice.randrange(len(self._idle)))
            with contextlib.suppress(BlockingIOError, ConnectionError):
                sock.recv(1, socket.MSG_PEEK)
                sock.close()  # its end has come, and nothing else can
                continue
            return sock
        return None

    async def _connect(self) -> socket.socket | None:
        sock = socket.socket()
        sock.setblocking(False)
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.get_running_loop().sock_connect(sock, (HOST, self._port))
        except (ConnectionError, TimeoutError):
            sock.close()
            return None
        return sock


async def _exchange(sock: socket.socket, request: bytes) -> tuple[int, bool]:
    """Send a request; return the status of its complete answer, and whether the connection stays open."""
    loop = asyncio.get_running_loop()
    received = b""

    async def more() -> bytes:
        try:
            piece = await loop.sock_recv(sock, _PIECE)
        except ConnectionError as error:
            raise Cut(f"reset while reading ({error})", received) from None
        if not piece:
            raise Cut("end", received)
        return received + piece

    try:
        await loop.sock_sendall(sock, request)
    except ConnectionError as error:
        raise Cut(f"reset while sending ({error})", b"") from None
    while b"\r\n\r\n" not in received:
        received = await more()
    head, _, _ = received.lower().partition(b"\r\n\r\n")
    if b"\r\ntransfer-encoding: chunked" in head:
        while not received.endswith(b"0\r\n\r\n"):
            received = await more()
    else:
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        while len(received) < len(head) + 4 + length:
            received = await more()
    return int(head.split(maxsplit=2)[1]), b"\r\nconnection: close" not in head


def _acked_bytes(sock: socket.socket) -> int:
    (acked,) = _ACKED.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.size))
    return int(acked)


@contextlib.contextmanager
def under_load(port: int, *, rate: float, paths: dict[str, float], kept_alive: float = 0.5) -> Iterator[Load]:
    """Send requests while the block runs, and wait for their answers at its end."""
    load = Load(port, rate=rate, paths=paths, kept_alive=kept_alive)
    load.start()
    try:
        yield load
    finally:
        load.stop()
