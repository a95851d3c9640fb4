"""The engine's end of the zygote: requests workers, and reports when they start and exit."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections import deque
from contextlib import ExitStack, suppress
from typing import Protocol

from penstock.engine.processes.output_pump import OutputPump
from penstock.engine.processes.templates import Templates
from penstock.engine.reactors.reactor import Reactor, TimerHandle
from penstock.eventlog.import_records import ImportRecords
from penstock.hooks.settings import PREFIX
from penstock.wire import (
    Exited,
    FrameReader,
    Load,
    Loaded,
    LoadFailed,
    Message,
    Spawn,
    Spawned,
    SpawnFailed,
    WireError,
    mark_of,
    pack,
)

ANSWER_SECONDS = 5.0
"""The time in which a zygote starts a worker, or says that it cannot; a fork takes milliseconds."""

_READ_BYTES = 1 << 16
_MOST_DESCRIPTORS = 64


def _environment() -> dict[str, str]:
    """Return the environment of the workers, without the settings: some are keys, which models must not see."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


class ZygoteEvents(Protocol):
    """The owner of a zygote, as its link reports to it."""

    def on_zygote_message(self, message: Message, pidfd: int) -> None:
        """Handle a message, and the pidfd that came with a ``Spawned`` (-1 if there is none)."""

    def on_zygote_lost(self, zygote: ZygoteLink) -> None:
        """Handle that the zygote has ended without ``close``. Called once; the link is closed."""

    def on_zygote_silent(self, zygote: ZygoteLink, seconds: float) -> None:
        """Handle that the zygote has not answered for that long. It may be stopped, or hang for good."""


class ZygoteLink:
    """The connection to a zygote, which it starts.

    Parameters
    ----------
    reactor:
        The engine's reactor.
    load:
        The order to import the app.
    load_seconds:
        The time for the import; None for no limit.
    events:
        Receives the reports.
    imports:
        The log records of the import, of all processes of the engine.

    Attributes
    ----------
    is_loaded, has_failed:
        True once the app is imported; True once its import has raised.
    workers:
        The workers that were requested and have not been forgotten.
    unanswered:
        Those among them that it has neither started nor refused yet.
    templates:
        Its templates.

    Raises
    ------
    OSError
        If the process cannot be started. Nothing is left open then.
    """

    def __init__(
        self,
        reactor: Reactor,
        load: Load,
        load_seconds: float | None,
        events: ZygoteEvents,
        imports: ImportRecords | None = None,
    ) -> None:
        self.is_loaded = False
        self.has_failed = False
        self.workers: set[int] = set()
        self.unanswered: set[int] = set()
        self.templates = Templates()
        self._reactor = reactor
        self._events = events
        self._reader = FrameReader()
        self._pidfds: deque[int] = deque()
        self._patience: TimerHandle | None = None
        with ExitStack() as undo:
            self._socket, theirs = socket.socketpair()
            undo.enter_context(self._socket)
            with theirs:
                output, their_output = os.pipe()
                undo.callback(os.close, output)
                try:
                    self._process = _start_process(theirs, their_output)
                finally:
                    os.close(their_output)
            undo.callback(self._end_process)
            self._pidfd = os.pidfd_open(self._process.pid) if hasattr(os, "pidfd_open") else -1
            undo.pop_all()
        load.log_mark = mark_of(secrets.randbits(64), secrets.randbits(64))
        self._output = OutputPump(reactor, output, "zygote", load.log_mark, imports)
        self._send_load(load)
        self._socket.setblocking(False)
        reactor.watch_readable(self._socket.fileno(), self._on_readable)
        if self._pidfd >= 0:
            reactor.watch_readable(self._pidfd, self._on_process_end)
        if load_seconds is not None:
            self._wait_for_answer(load_seconds)

    @property
    def pid(self) -> int:
        """The zygote's pid."""
        return self._process.pid

    @property
    def _is_loading(self) -> bool:
        return not (self.is_loaded or self.has_failed)

    @property
    def is_closed(self) -> bool:
        """True once the zygote is gone."""
        return self._socket.fileno() < 0

    def _send_load(self, load: Load) -> None:
        with suppress(OSError):  # if the zygote is dead, the next read reports that
            self._socket.sendall(pack(load))

    def spawn(self, message: Spawn, descriptors: list[int]) -> None:
        """Request a worker, and pass it these descriptors. The caller closes its own copies.

        Raises
        ------
        OSError
            If the request cannot be sent, because the zygote reads nothing or the kernel has no memory.
        """
        with suppress(BrokenPipeError, ConnectionResetError):  # if it is dead, the next read reports that
            # The frame is so small that it is sent whole or not at all: its descriptors are not separated from it.
            socket.send_fds(self._socket, [pack(message)], descriptors)
        self.templates.on_requested(message)
        self.workers.add(message.worker)
        self.unanswered.add(message.worker)
        if not self._is_waiting:
            self._wait_for_answer(ANSWER_SECONDS)

    # ---- waiting for answers

    @property
    def _is_waiting(self) -> bool:
        return self._patience is not None

    def _wait_for_answer(self, seconds: float) -> None:
        self._patience = self._reactor.call_at(self._reactor.time() + seconds, lambda: self._on_silence(seconds))

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _on_silence(self, seconds: float) -> None:
        self._patience = None
        self._on_readable()  # the loop may be late: an answer that came in time is not silence
        if not (self.is_closed or self._is_waiting) and (self.unanswered or self._is_loading):
            self._events.on_zygote_silent(self, seconds)

    def _note_answer(self, message: Message) -> None:
        if isinstance(message, Loaded):
            self.is_loaded = True
        elif isinstance(message, LoadFailed):
            self.has_failed = True
        elif isinstance(message, (Spawned, SpawnFailed, Exited)):
            self.unanswered.discard(message.worker)
        self.templates.on_message(message)
        if not self._is_loading:
            self._stop_waiting()
            if self.unanswered:
                self._wait_for_answer(ANSWER_SECONDS)

    # ---- reading

    def _on_readable(self) -> None:
        if self._read() == b"":
            self._lose()

    def _on_process_end(self) -> None:
        """Read what the zygote has sent before it ended: a process that it has left behind may hold its socket open."""
        self._reactor.watch_readable(self._pidfd, None)
        while not self.is_closed and self._read():
            continue
        self._lose()

    def _read(self) -> bytes | None:
        """Read once and pass the messages on; return the bytes, ``b""`` at the end, or None if there are none yet."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, _READ_BYTES, _MOST_DESCRIPTORS)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        self._pidfds.extend(descriptors)
        try:
            messages = self._reader.feed(data)
        except WireError:
            return b""
        for message in messages:
            self._note_answer(message)
            self._events.on_zygote_message(message, self._take_pidfd(message))
        return data

    def _take_pidfd(self, message: Message) -> int:
        return self._pidfds.popleft() if isinstance(message, Spawned) and self._pidfds else -1

    # ---- the end

    def _lose(self) -> None:
        if not self.is_closed:
            self.close()
            self._events.on_zygote_lost(self)

    def close(self) -> None:
        """Kill the zygote, and with it every worker it has started; return when the zygote is gone. Idempotent."""
        if self.is_closed:
            return
        self._stop_waiting()
        self._reactor.watch_readable(self._socket.fileno(), None)
        self._socket.close()
        while self._pidfds:
            os.close(self._pidfds.popleft())
        if self._pidfd >= 0:
            self._reactor.watch_readable(self._pidfd, None)
            os.close(self._pidfd)
        self._end_process()
        self._output.close()

    def _end_process(self) -> None:
        self._process.kill()
        self._process.wait()


def _start_process(engine: socket.socket, output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P: without the current folder on the module path, so Penstock's imports never see the user's files.
        [sys.executable, "-P", "-m", "penstock.worker.process.zygote", str(engine.fileno())],
        env=_environment(),
        pass_fds=[engine.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )
