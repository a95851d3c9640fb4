"""A minimal HTTP client for the measurements: requests as bytes, one connection, one request at a time, timed."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

HOST = "127.0.0.1"
BOUNDARY = "penstock-bench"


class Answer(NamedTuple):
    """A response: its status, its body, and the seconds from the first byte sent to the last byte received."""

    status: int
    body: bytes
    seconds: float


class Payload(NamedTuple):
    """The body of a request, and its content type."""

    content: bytes
    content_type: str


def as_json(value: Any) -> Payload:
    """Return a body of JSON."""
    return Payload(json.dumps(value).encode(), "application/json")


def as_bytes(content: bytes) -> Payload:
    """Return a body of bytes."""
    return Payload(content, "application/octet-stream")


def as_form(content: bytes) -> Payload:
    """Return a form with one file, ``content``."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="content"; filename="content"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Payload(body, f"multipart/form-data; boundary={BOUNDARY}")


def message(path: str, payload: Payload, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a POST request as the bytes that are sent."""
    fields = {"Host": "bench", "Content-Type": payload.content_type, "Content-Length": str(len(payload.content))}
    fields.update(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + payload.content


class Client:
    """A keep-alive connection.

    Parameters
    ----------
    port:
        A port of the loopback address.
    timeout:
        The longest wait for the next bytes, in seconds.
    """

    def __init__(self, port: int, timeout: float = 30.0) -> None:
        self.sock = socket.create_connection((HOST, port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.sock.makefile("rb")

    def __enter__(self) -> Self:
        """Return the client itself; the connection is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def send(self, request: bytes) -> None:
        """Send a request without waiting for its response."""
        self.sock.sendall(request)

    def receive(self) -> tuple[int, bytes]:
        """Read a response; return its status and its body."""
        line = self._file.readline()
        if not line:
            raise ConnectionResetError("the server closed the connection without a response")
        status, length, is_chunked = int(line.split()[1]), 0, False
        while field := self._file.readline().strip():
            name, _, value = field.lower().partition(b":")
            if name == b"content-length":
                length = int(value)
            is_chunked |= name == b"transfer-encoding" and b"chunked" in value
        return status, self._chunks() if is_chunked else self._file.read(length)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._file.readline(), 16):
            body += self._file.read(size)
            self._file.readline()
        self._file.readline()
        return body

    def ask(self, request: bytes) -> Answer:
        """Send a request and read its response."""
        start = time.perf_counter()
        self.send(request)
        status, body = self.receive()
        return Answer(status, body, time.perf_counter() - start)

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self.sock.close()
