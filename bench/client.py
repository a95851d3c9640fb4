"""The little HTTP that the measurements need: one connection, one request, times."""

from __future__ import annotations

import json
import socket
import time
from typing import Any


class Client:
    """A kept-alive connection.

    Parameters
    ----------
    port:
        On the loopback.
    """

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.sock.makefile("rb")

    def send(self, path: str, body: Any) -> None:
        """Send a request, and do not wait for its answer."""
        payload = json.dumps(body).encode()
        headers = f"Host: bench\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        self.sock.sendall(f"POST {path} HTTP/1.1\r\n{headers}".encode() + payload)

    def receive(self) -> int:
        """Read an answer with a length; return its status."""
        status = int(self._file.readline().split()[1])
        length = 0
        while line := self._file.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        self._file.read(length)
        return status

    def ask(self, path: str, body: Any) -> tuple[int, float]:
        """Ask, and wait; return the status and the seconds it took."""
        start = time.perf_counter()
        self.send(path, body)
        return self.receive(), time.perf_counter() - start

    def count_lines(self) -> int:
        """Read a chunked answer to its end; return how many lines it had."""
        while self._file.readline().strip():
            pass
        lines = 0
        while size := int(self._file.readline(), 16):
            lines += self._file.read(size).count(b"\n")
            self._file.readline()
        self._file.readline()
        return lines

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self.sock.close()
