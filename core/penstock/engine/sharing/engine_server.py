"""The door of a shared engine: accepts its hosts."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from penstock.engine.sharing.engine_socket import is_ours
from penstock.engine.sharing.host_link import HostLink
from penstock.engine.sharing.host_messages import EngineState
from penstock.engine.sharing.shared_engine import SharedEngine
from penstock.eventlog import log_event
from penstock.socket_buffers import ReceiveBuffer

_PAUSE_SECONDS = 0.1


class EngineServer:
    """Accepts hosts on a listening socket, in the engine's own loop.

    Parameters
    ----------
    shared:
        The engine, which has started.
    listener:
        The listening socket; the server closes its own copy only.
    """

    def __init__(self, shared: SharedEngine, listener: socket.socket) -> None:
        self._shared = shared
        self._reactor = shared.engine.reactor
        self._listener = listener
        self._buffer = ReceiveBuffer()
        self._links: set[HostLink] = set()
        self._is_closed = False
        listener.setblocking(False)
        self._reactor.watch_readable(listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:  # it has left again
            return
        except OSError as error:  # no descriptor is free: try again when there may be one
            message = f"a host cannot be accepted: {error.strerror}"
            log_event(logging.ERROR, "host-not-accepted", message)
            self._reactor.watch_readable(self._listener.fileno(), None)
            self._reactor.call_at(self._reactor.time() + _PAUSE_SECONDS, self._watch_again)
            return
        if not is_ours(connection):
            log_event(logging.WARNING, "host-refused", "a process of another user has tried to use the engine")
            connection.close()
            return
        self._links.add(HostLink(self._shared, connection, self._buffer, self._links.discard))

    def _watch_again(self) -> None:
        if not self._is_closed:
            self._reactor.watch_readable(self._listener.fileno(), self._accept)

    def announce(self, state: EngineState) -> None:
        """Let all hosts know the state of the engine, if it has changed."""
        if state != self._shared.state:
            self._shared.state = state
            for link in self._links:
                link.announce()

    def status(self) -> dict[str, Any]:
        """Return what a shared engine adds to the status page: its process, and what its hosts say, by process."""
        return {"engine_pid": os.getpid(), "hosts": {str(link.pid): link.status for link in self._links}}

    def close(self) -> None:
        """Accept no more hosts, and end the connections."""
        if self._is_closed:
            return
        self._is_closed = True
        self._reactor.watch_readable(self._listener.fileno(), None)
        for link in self._links:
            link.close()
        self._shared.executor.shutdown(wait=False, cancel_futures=True)
