"""The engine's end of the zygote: requests workers, and reports when they start and exit."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable

from penstock.engine.processes.output_pump import OutputPump
from penstock.engine.reactors.reactor import Reactor
from penstock.hooks.settings import PREFIX
from penstock.wire import FrameReader, Load, Message, Spawned, ToZygote, WireError, pack

_READ_BYTES = 1 << 16
_MOST_DESCRIPTORS = 64


def _environment() -> dict[str, str]:
    """Return the environment of the workers, without the settings: some are keys, which models must not see."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


class ZygoteLink:
    """The connection to a zygote, which it starts.

    Parameters
    ----------
    reactor:
        The engine's reactor.
    load:
        The order to import the app.
    on_message:
        Called with each message, and the pidfd that came with a ``Spawned`` (-1 if there is none).
    on_lost:
        Called once if the zygote ends without ``close``.
    """

    def __init__(
        self, reactor: Reactor, load: Load, on_message: Callable[[Message, int], None], on_lost: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._on_message = on_message
        self._on_lost = on_lost
        self._reader = FrameReader()
        self._pidfds: deque[int] = deque()
        self._socket, theirs = socket.socketpair()
        output, their_output = os.pipe()
        with theirs:
            self._process = subprocess.Popen(
                # -P: without the current folder on the module path, so Penstock's imports never see the user's files.
                [sys.executable, "-P", "-m", "penstock.worker.process.zygote", str(theirs.fileno())],
                env=_environment(),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=their_output,
                stderr=their_output,
            )
        os.close(their_output)
        self._output = OutputPump(reactor, output, "zygote")
        self._send(load)
        self._socket.setblocking(False)
        reactor.watch_readable(self._socket.fileno(), self._on_readable)

    @property
    def pid(self) -> int:
        """The zygote's pid."""
        return self._process.pid

    def _send(self, message: ToZygote, descriptors: list[int] | None = None) -> None:
        # Blocking: these frames are few and small, and the zygote reads them at once. A frame sent in two parts would
        # be separated from its descriptors.
        self._socket.setblocking(True)
        try:
            socket.send_fds(self._socket, [pack(message)], descriptors or [])
        except OSError:
            pass  # the zygote is dead, and the next read reports that
        finally:
            self._socket.setblocking(False)

    def spawn(self, message: ToZygote, descriptors: list[int]) -> None:
        """Request a worker, and pass it these descriptors. The caller closes its own copies."""
        self._send(message, descriptors)

    def _on_readable(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, _READ_BYTES, _MOST_DESCRIPTORS)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        self._pidfds.extend(descriptors)
        try:
            messages = self._reader.feed(data)
        except WireError:
            data, messages = b"", []
        for message in messages:
            self._on_message(message, self._take_pidfd(message))
        if not data and self._socket.fileno() >= 0:
            self.close()
            self._on_lost()

    def _take_pidfd(self, message: Message) -> int:
        return self._pidfds.popleft() if isinstance(message, Spawned) and self._pidfds else -1

    def close(self) -> None:
        """Kill the zygote, and with it every worker it has started; return when the zygote is gone. Idempotent."""
        if self._socket.fileno() < 0:
            return
        self._reactor.watch_readable(self._socket.fileno(), None)
        self._socket.close()
        while self._pidfds:
            os.close(self._pidfds.popleft())
        self._process.kill()
        self._process.wait()
        self._output.close()
