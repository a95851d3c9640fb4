"""A server that answers by script, with every defect that a real one may have."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Self


class End(Enum):
    """Ends of a connection."""

    CLOSE = auto()
    RESET = auto()
    SILENCE = auto()  # until the client hangs up


@dataclass(frozen=True)
class Drip:
    """Bytes that arrive one by one, with a pause after each."""

    text: bytes
    seconds: float


Step = bytes | float | End | Drip


@dataclass
class Received:
    """A request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes
    peer: int = 0  # the port at the other end


def answer(body: bytes = b"{}", *, status: int = 200, media_type: str = "application/json", **headers: str) -> bytes:
    """Return a whole response."""
    lines = [f"HTTP/1.1 {status} Something", f"Content-Type: {media_type}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(*chunks: bytes, media_type: str = "application/x-ndjson", end: bool = True) -> bytes:
    """Return a streamed response; without its end, if so wanted."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    pieces = [f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks]
    return head + b"".join(pieces) + (b"0\r\n\r\n" if end else b"")


@dataclass
class ScriptedServer:
    """Answers each request with the next script, and every further one with the last."""

    scripts: list[tuple[Step, ...]]
    requests: list[Received] = field(default_factory=list)
    hang_ups: list[float] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def open_connections(self) -> int:
        """Return the number of connections that neither side has closed."""
        return sum(connection.fileno() != -1 for connection in self._open)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while (request := self._receive(connection)) is not None:
                self.requests.append(request)
                for step in self.script_for(request):
                    if self._perform(step, connection):
                        return

    def script_for(self, request: Received) -> tuple[Step, ...]:
        """Return the answer to a request."""
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]

    def _receive(self, connection: socket.socket) -> Received | None:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return None
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        line, *rows = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rows)}
        while len(body) < int(headers.get("content-length", 0)):
            piece = connection.recv(65536)
            if not piece:
                return None
            body += piece
        return Received(line, headers, body, connection.getpeername()[1])

    def _perform(self, step: Step, connection: socket.socket) -> bool:
        """Carry out a step; return True if the connection is over."""
        if isinstance(step, bytes):
            connection.sendall(step)
        elif isinstance(step, float):
            time.sleep(step)
        elif isinstance(step, Drip):
            for index in range(len(step.text)):
                connection.sendall(step.text[index : index + 1])
                time.sleep(step.seconds)
        elif step is End.SILENCE:
            with contextlib.suppress(ConnectionError):
                while connection.recv(65536):
                    pass
            self.hang_ups.append(time.monotonic())
            return True
        else:
            if step is End.RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            return True
        return False
