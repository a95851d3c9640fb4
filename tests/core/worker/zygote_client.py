"""The engine's side of the conversation with a zygote and its workers, by hand, and with every wait bounded."""

from __future__ import annotations

import math
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Self

import msgspec

from penstock.response import Encoded
from penstock.wire import (
    SHARED_BYTES,
    WORD_ABANDONED,
    WORD_INTERRUPT,
    About,
    Cancel,
    Chunk,
    Credit,
    Done,
    Exited,
    Failure,
    FrameReader,
    Head,
    Load,
    Message,
    Ready,
    Run,
    Spawn,
    Spawned,
    TemplateLost,
    TemplateReady,
    Work,
    pack,
)

PATIENCE = 20.0
APPS = Path(__file__).with_name("worker_apps.py")


class Wire:
    """A socket that sends and receives messages."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._frames = FrameReader()
        self._arrived: deque[Message] = deque()

    def send(self, message: Message, descriptors: list[int] | None = None) -> None:
        frame = pack(message)
        self.sock.settimeout(PATIENCE)
        sent = socket.send_fds(self.sock, [frame], descriptors or [])
        if sent < len(frame):  # only if needed: a worker that dies of this very message may be gone by now
            self.sock.sendall(frame[sent:])

    def receive(self, patience: float = PATIENCE) -> Message | None:
        """Return the next message; None at the end of the stream."""
        deadline = time.monotonic() + patience
        while not self._arrived:
            self.sock.settimeout(max(0.001, deadline - time.monotonic()))
            data, descriptors, _, _ = socket.recv_fds(self.sock, 65536, 8)
            for descriptor in descriptors:
                os.close(descriptor)
            if not data:
                return None
            self._arrived.extend(self._frames.feed(data))
        return self._arrived.popleft()

    def expect(self, kind: type, patience: float = PATIENCE) -> Message:
        message = self.receive(patience)
        assert isinstance(message, kind), f"{message!r} came and no {kind.__name__}"
        return message

    def is_silent(self, seconds: float = 0.0) -> bool:
        """Return whether nothing has arrived so far, and nothing does for this long."""
        return not self._arrived and not select.select([self.sock], [], [], seconds)[0]


class ZygoteClient:
    """A zygote process."""

    def __init__(self, target: str = str(APPS), argv: list[str] | None = None, start_method: str = "auto") -> None:
        ours, theirs = socket.socketpair()
        source = str(Path(sys.modules["penstock.wire"].__file__).parents[1])
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "penstock.worker.process.zygote", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])},
        )
        theirs.close()
        self.wire = Wire(ours)
        self.workers: list[WorkerClient] = []  # kept, because their sockets would close otherwise
        self._exits: deque[Exited] = deque()
        self._templates: deque[TemplateReady | TemplateLost] = deque()
        self.wire.send(Load(target, [p for p in sys.path if p], argv or ["prog"], start_method=start_method))
        self.loaded = self.wire.receive()

    def spawn(
        self, pool: str = "default", device: str | None = None, *, ready: bool = True, preload: bool = False
    ) -> WorkerClient:
        worker = WorkerClient(self, len(self.workers) + 1, pool, device, preload=preload)
        self.workers.append(worker)
        if ready:
            worker.ready()
        return worker

    def spawned(self) -> Spawned:
        while isinstance(message := self.wire.receive(), Exited | TemplateReady | TemplateLost):
            self._keep(message)
        assert isinstance(message, Spawned), message
        return message

    def _keep(self, message: Exited | TemplateReady | TemplateLost) -> None:
        if isinstance(message, Exited):
            self._exits.append(message)
        else:
            self._templates.append(message)

    def exited(self) -> Exited:
        while not self._exits:
            message = self.wire.receive()
            assert isinstance(message, Exited | TemplateReady | TemplateLost), message
            self._keep(message)
        return self._exits.popleft()

    def template(self) -> TemplateReady | TemplateLost:
        """Return what has become of a template next."""
        while not self._templates:
            message = self.wire.receive()
            assert isinstance(message, Exited | TemplateReady | TemplateLost), message
            self._keep(message)
        return self._templates.popleft()

    def close(self) -> None:
        self.wire.sock.close()
        self.process.wait(PATIENCE)
        for worker in self.workers:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class WorkerClient:
    """A worker of a zygote."""

    def __init__(
        self, zygote: ZygoteClient, number: int, pool: str, device: str | None, *, preload: bool = False
    ) -> None:
        self.zygote = zygote
        self.number = number
        self.attempt = 0
        ours, theirs = socket.socketpair()
        memory = os.memfd_create("test-memory")
        os.ftruncate(memory, SHARED_BYTES)
        self._map = mmap.mmap(memory, SHARED_BYTES)
        self.words = memoryview(self._map).cast("Q")
        self._output, output = os.pipe()
        zygote.wire.send(Spawn(number, pool, f"{pool}-{number}", device, preload), [theirs.fileno(), memory, output])
        for descriptor in (memory, output):
            os.close(descriptor)
        theirs.close()
        self.wire = Wire(ours)
        self._text = ""
        self.pid = self._spawned()

    def _spawned(self) -> int:
        message = self.zygote.spawned()
        assert message.worker == self.number
        return message.pid

    def ready(self) -> Ready:
        message = self.wire.expect(Ready)
        assert isinstance(message, Ready)
        return message

    # ---- attempts

    def run(self, name: str, *inputs: object, deadline: float = math.inf, about: About | None = None) -> int:
        """Start an attempt, with one job for each input; bytes are sent as they are."""
        self.attempt += 1
        bodies = [one if isinstance(one, bytes) else msgspec.json.encode(one) for one in inputs or ({},)]
        self.wire.send(Run(self.attempt, name, deadline, [Work(body, about) for body in bodies]))
        return self.attempt

    def done(self, attempt: int | None = None) -> Done:
        message = self.wire.expect(Done)
        assert isinstance(message, Done)
        assert attempt is None or message.attempt == attempt
        return message

    def result(self) -> Encoded | Failure:
        (result,) = self.done().results
        return result

    def value(self) -> object:
        result = self.result()
        assert isinstance(result, Encoded), result
        return msgspec.json.decode(result.body)

    def failure(self) -> Failure:
        result = self.result()
        assert isinstance(result, Failure), result
        return result

    def ask(self, name: str, *inputs: object) -> object:
        self.run(name, *inputs)
        return self.value()

    def head(self) -> Encoded:
        message = self.wire.expect(Head)
        assert isinstance(message, Head)
        return message.response

    def chunk(self) -> object:
        message = self.wire.expect(Chunk)
        assert isinstance(message, Chunk)
        return msgspec.json.decode(message.body)

    def chunks(self, *, credit: bool = False) -> tuple[list[object], Done]:
        """Return all chunks of a stream that are left, and its end; with ``credit``, credit is sent for each."""
        values: list[object] = []
        while True:
            message = self.wire.receive()
            if isinstance(message, Done):
                return values, message
            assert isinstance(message, Chunk), message
            values.append(msgspec.json.decode(message.body))
            if credit:
                self.wire.send(Credit(message.attempt, len(message.body)))

    def cancel(self, attempt: int) -> None:
        self.wire.send(Cancel(attempt))

    def interrupt(self, attempt: int) -> None:
        """Stop an inline attempt as the engine does: repeat the signal until a message arrives."""
        self.words[WORD_INTERRUPT] = attempt
        self.cancel(attempt)
        self._press()

    def abandon(self, *attempts: int) -> None:
        """Stop all attempts of a generation loop as the engine does."""
        self.words[WORD_ABANDONED] = max(attempts)
        for attempt in attempts:
            self.cancel(attempt)
        self._press()

    def _press(self) -> None:
        for _ in range(int(PATIENCE / 0.02)):
            os.kill(self.pid, signal.SIGUSR1)
            if not self.wire.is_silent(0.02):
                return

    # ---- the process

    def close(self) -> None:
        self.wire.sock.close()
        self.words.release()
        self._map.close()
        os.close(self._output)

    def output_until(self, text: str) -> str:
        """Wait until the output contains a text; return all output so far."""
        deadline = time.monotonic() + PATIENCE
        while text not in self._text:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} is not in {self._text!r}"
            assert select.select([self._output], [], [], left)[0], f"{text!r} is not in {self._text!r}"
            data = os.read(self._output, 65536)
            assert data, f"{text!r} is not in {self._text!r}, and no more will come"
            self._text += data.decode("utf-8", "replace")
        return self._text

    def is_gone(self) -> bool:
        """Return whether the process ends within ``PATIENCE``."""
        return is_gone(self.pid)


def is_gone(pid: int) -> bool:
    """Return whether a process, which need not be a child of this one, ends within ``PATIENCE``."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.005)
    return False
