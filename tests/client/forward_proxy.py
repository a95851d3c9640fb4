"""A forward proxy: it passes requests on, and opens tunnels with CONNECT."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

DENIED = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class ForwardProxy:
    """Serves each connection in a thread, for one request or tunnel.

    Parameters
    ----------
    credentials:
        The value of ``Proxy-Authorization`` without which nothing passes, if not empty.
    breaks_tunnels:
        True to close the connection in place of an answer to CONNECT.
    stalls_tunnels:
        True to leave CONNECT without an answer.
    """

    credentials: str = ""
    breaks_tunnels: bool = False
    stalls_tunnels: bool = False
    lines: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http://{self.address}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                piece = client.recv(65536)
                if not piece:
                    return
                data += piece
            head, _, rest = data.partition(b"\r\n\r\n")
            line = head.partition(b"\r\n")[0].decode()
            self.lines.append(line)
            method, target, version = line.split()
            if self.credentials and f"proxy-authorization: {self.credentials}".lower() not in head.decode().lower():
                client.sendall(DENIED)
            elif method != "CONNECT":
                parts = urlsplit(target)
                path = parts._replace(scheme="", netloc="").geturl()
                first = head.replace(line.encode(), f"{method} {path} {version}".encode(), 1)
                self._join(client, parts.netloc, first + b"\r\n\r\n" + rest)
            elif self.stalls_tunnels:
                client.recv(65536)
            elif not self.breaks_tunnels:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._join(client, target, rest)

    def _join(self, client: socket.socket, target: str, first: bytes) -> None:
        """Pass bytes on both ways until both ends are closed."""
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            server.sendall(first)
            back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
            back.start()
            self._pump(client, server)
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
