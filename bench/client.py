"""A minimal HTTP client for the measurements: one connection, one request at a time, timed."""

from __future__ import annotations

import json
import socket
import time
from typing import Any


class Client:
    """A keep-alive connection.

    Parameters
    ----------
    port:
        A port of the loopback address.
    """

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.sock.makefile("rb")

    def send(self, path: str, body: Any) -> None:
        """Send a request without waiting for its response."""
        payload = json.dumps(body).encode()
        headers = f"Host: bench\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        self.sock.sendall(f"POST {path} HTTP/1.1\r\n{headers}".encode() + payload)

    def receive(self) -> int:
        """Read a response that has a Content-Length; return its status."""
        status = int(self._file.readline().split()[1])
        length = 0
        while line := self._file.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        self._file.read(length)
        return status

    def ask(self, path: str, body: Any) -> tuple[int, float]:
        """Send a request and read its response; return the status and the seconds it took."""
        start = time.perf_counter()
        self.send(path, body)
        return self.receive(), time.perf_counter() - start

    def count_lines(self) -> int:
        """Read a chunked response to its end; return the number of its lines."""
        while self._file.readline().strip():
            pass
        lines = 0
        while size := int(self._file.readline(), 16):
            lines += self._file.read(size).count(b"\n")
            self._file.readline()
        self._file.readline()
        return lines

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self.sock.close()
