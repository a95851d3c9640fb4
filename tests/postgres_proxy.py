"""A proxy in front of PostgreSQL that can lose the answer to a commit: the database has it, unknown to its client."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import Self

from tests.serving import HOST

BUFFER = 65536
COMMIT = b"COMMIT\0"


class CuttingProxy:
    """Forwards connections to a socket of PostgreSQL.

    Parameters
    ----------
    path:
        The socket.

    Attributes
    ----------
    address:
        Where it listens.
    cuts:
        The number of answers that were lost.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listener = socket.create_server((HOST, 0), backlog=64)
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"
        self.cuts = 0
        self._mark: bytes | None = None
        self._lock = threading.Lock()
        self._links: list[_Link] = []

    def __enter__(self) -> Self:
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for link in self._links:
            link.end()

    def lose_answer_after(self, mark: bytes) -> None:
        """Lose the answer to the next commit of a transaction with a statement that contains ``mark``."""
        self._mark = mark

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._path))
                self._links.append(_Link(self, client, server))

    def take_mark(self, said: bytes) -> bool:
        """Return whether a transaction, which is about to be committed, is the one whose answer is to be lost."""
        with self._lock:
            if self._mark is None or self._mark not in said:
                return False
            self._mark = None
            self.cuts += 1
            return True


class _Link:
    """One connection."""

    def __init__(self, proxy: CuttingProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._is_last = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._send_up, self._send_down)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Cut it, if it is not yet, and free what it uses."""
        for end in (self._client, self._server):
            _cut(end)
        for thread in self._threads:
            thread.join()
        self._client.close()
        self._server.close()

    def _send_up(self) -> None:
        said = b""
        with contextlib.suppress(OSError):
            while data := self._client.recv(BUFFER):
                said += data
                if COMMIT in data:
                    if self._proxy.take_mark(said):
                        self._is_last.set()
                    said = b""
                self._server.sendall(data)
        _cut(self._server)
        _cut(self._client)

    def _send_down(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(BUFFER):
                if self._is_last.is_set():
                    break  # PostgreSQL has answered, so it has committed
                self._client.sendall(data)
        _cut(self._client)
        _cut(self._server)


def _cut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
