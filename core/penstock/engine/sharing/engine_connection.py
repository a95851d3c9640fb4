"""A host's connection to the engine's process. When that ends, the connection is made anew with its successor."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from penstock.body_files import BodyFile
from penstock.engine.reactors.reactor import Reactor
from penstock.engine.sharing.engine_socket import is_ours
from penstock.engine.sharing.host_messages import (
    EngineHello,
    EngineState,
    HostHello,
    ToEngine,
    ToHost,
    decode_for_host,
)
from penstock.engine.sharing.message_link import MessageLink
from penstock.eventlog import log_event
from penstock.socket_buffers import ReceiveBuffer

CONNECT_AGAIN_SECONDS = 0.05


class EngineConnection:
    """The connection, from the first look for the engine to ``close``.

    Parameters
    ----------
    reactor:
        The loop of the host.
    path:
        The path of the engine's socket.
    digest:
        The digest of the manifest of this process's app, which the engine's must equal.
    receive:
        Called with each message that is not about the connection itself.
    on_connected:
        Called whenever an engine has introduced itself.
    on_lost:
        Called whenever an engine that had introduced itself has ended.
    on_disagreement:
        Called with the reason if the engine serves another app, or another version of it.

    Attributes
    ----------
    is_connected:
        True while there is an engine that has introduced itself.
    state:
        The state of the engine, as it has announced it last.
    hello:
        The last introduction of an engine.
    """

    def __init__(
        self,
        reactor: Reactor,
        path: str,
        digest: str,
        receive: Callable[[ToHost], None],
        *,
        on_connected: Callable[[], None],
        on_lost: Callable[[], None],
        on_disagreement: Callable[[str], None],
    ) -> None:
        self.is_connected = False
        self.hello = EngineHello(pid=0, digest="", sees_requests=False)
        self.state = EngineState()
        self._reactor = reactor
        self._path = path
        self._digest = digest
        self._receive = receive
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._on_disagreement = on_disagreement
        self._buffer = ReceiveBuffer()
        self._link: MessageLink | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<EngineConnection to process {self.hello.pid if self.is_connected else 'none'}>"

    @property
    def is_complete(self) -> bool:
        """True once every pool of the engine has been ready."""
        return self.is_connected and self.state.is_complete

    def connect(self) -> None:
        """Try to reach the engine, now and again until there is one."""
        if self._is_closed:
            return
        try:
            sockets = self._open_sockets()
        except OSError:  # it is not there yet, many are waiting for it, or this process has too many files open
            self._connect_later()
            return
        if sockets is None:
            log_event(logging.CRITICAL, "engine-refused", f"{self._path} belongs to a process of another user")
            return
        connection, files = sockets
        self._link = MessageLink(
            self._reactor,
            connection,
            self._buffer,
            decode_for_host,
            on_messages=self._on_messages,
            on_end=self._on_end,
            files=files,
        )
        self._link.send(HostHello(os.getpid(), self._digest))

    def _open_sockets(self) -> tuple[socket.socket, socket.socket] | None:
        """Return a connection to the engine and one for files; None if the engine is not ours."""
        with ExitStack() as opened:
            connection = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            connection.setblocking(False)
            connection.connect(self._path)
            if not is_ours(connection):
                return None
            files, theirs = socket.socketpair()
            opened.enter_context(files)
            files.setblocking(False)
            with theirs:
                socket.send_fds(connection, [b"f"], [theirs.fileno()])
            opened.pop_all()
            return connection, files

    def _connect_later(self) -> None:
        self._reactor.call_at(self._reactor.time() + CONNECT_AGAIN_SECONDS, self.connect)

    def send_file(self, file: BodyFile) -> bool:
        """Send a large body, for the next message to announce; return False if that is not possible now."""
        return self._link is not None and self._link.send_file(file)

    def receive_file(self, size_bytes: int) -> BodyFile:
        """Return the large body that a message has announced: see ``MessageLink.receive_file``."""
        assert self._link is not None, "the message has come by it"
        return self._link.receive_file(size_bytes)

    def send(self, message: ToEngine) -> None:
        """Send a message; without an engine, it is lost."""
        if self._link is not None:
            self._link.send(message)

    def _on_messages(self, messages: list[Any]) -> None:
        receive = self._receive
        for message in messages:
            kind = type(message)
            if kind is EngineHello:
                self._on_hello(message)
            elif kind is EngineState:
                self.state = message
            else:
                receive(message)

    def _on_hello(self, message: EngineHello) -> None:
        if message.digest != self._digest:
            self._on_disagreement(
                "the engine serves another version of the app: if a file has changed since the start, reload the server"
            )
            return
        self.hello = message
        self.is_connected = True
        self._on_connected()

    def _on_end(self) -> None:
        self._link = None
        was_connected, self.is_connected = self.is_connected, False
        if was_connected:
            self._on_lost()
            self.connect()
        else:
            self._connect_later()

    def close(self) -> None:
        """Send what is unsent, and close. Idempotent."""
        self._is_closed = True
        self.is_connected = False
        if self._link is not None:
            self._link.close()
            self._link = None
