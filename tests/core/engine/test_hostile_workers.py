"""Workers whose user code writes to the engine itself: whatever they send, no other worker's job is harmed."""

from __future__ import annotations

import fcntl
import math
import os
import random
import resource
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from penstock.app import App
from penstock.body_files import BodyFile
from penstock.engine.calls import Call
from penstock.engine.engine import Engine
from penstock.engine.processes.worker_processes import WorkerProcesses
from penstock.errors import HandlerError, WorkerLost
from penstock.hooks import Submission
from penstock.hooks.registry import Registry
from penstock.policies import Timeouts
from penstock.response import Encoded
from penstock.socket_buffers import RECEIVE_BYTES
from penstock.wire import (
    FAILED_RECALLED,
    GREETING,
    MAX_FRAME_BYTES,
    SHARED_BYTES,
    WINDOW_BYTES,
    WORD_STARTED,
    Cancel,
    Chunk,
    Done,
    Failure,
    FrameReader,
    Head,
    LargeDone,
    Message,
    Ready,
    Run,
    SetupFailed,
    Spawned,
    pack,
)
from tests.core.engine.fake_processes import FakeReactor

FRAMES = 100_000
SEED = 20_261_128
EVIL = Encoded(b'"evil"')
NO_LIMITS = Timeouts(queue=None, execution=None, total=None, first_chunk=None, idle=None)

app = App(__name__)


@app.endpoint("/echo", pool="shared", workers=2, concurrency=2, timeouts=NO_LIMITS)
async def echo(body: bytes) -> bytes:
    return body


@app.endpoint("/stream", pool="shared", concurrency=2, timeouts=NO_LIMITS)
async def stream() -> AsyncIterator[int]:
    yield 0


@app.endpoint("/short", pool="inline", workers=1, timeouts=NO_LIMITS)
def short(body: bytes) -> bytes:
    return body


class PolledReactor(FakeReactor):
    """A loop that calls back only when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def watch_readable(self, fd: int, callback: object) -> None: ...

    def watch_writable(self, fd: int, callback: object) -> None: ...

    def turn(self) -> None:
        """Make the calls that are due."""
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()


class SocketProcesses(WorkerProcesses):
    """Workers of which there is only the engine's end: the test is at the other."""

    def start(self) -> None: ...


class Peer:
    """A worker's end of its real socket, in the hands of the test."""

    def __init__(self, bench: Bench, worker: int) -> None:
        self.link = bench.engine.performer.processes.links[worker]
        self.worker = worker
        self._socket, self._memory, _ = self.link.descriptors
        with socket.socket(fileno=os.dup(self._socket)) as end:
            _, (files,), _, _ = socket.recv_fds(end, len(GREETING), 1)
        self._files = socket.socket(fileno=files)
        bench.undo.callback(self._files.close)
        self._frames = FrameReader()
        self.held: dict[int, Run] = {}
        os.set_blocking(self._socket, False)

    def read(self) -> None:
        """Read what the engine has sent."""
        with suppress(BlockingIOError):
            for message in self._frames.feed(os.read(self._socket, 1 << 20)):
                if isinstance(message, Run):
                    self.held[message.attempt] = message

    def send(self, *messages: Message | bytes) -> None:
        """Send messages, or anything else, and let the engine read it."""
        data = b"".join(m if isinstance(m, bytes) else pack(m) for m in messages)
        while data:
            written = os.write(self._socket, data)
            data = data[written:]
            for _ in range(0, written, RECEIVE_BYTES):
                self.link.poll()

    def send_file(self, descriptor: int) -> None:
        """Send a descriptor where the engine expects the files of large bodies, and close it here."""
        socket.send_fds(self._files, [b"f"], [descriptor])
        os.close(descriptor)

    def write_word(self, word: int, value: int) -> None:
        """Write to the memory that is shared with the engine."""
        os.pwrite(self._memory, value.to_bytes(8, "little"), 8 * word)


class Bench:
    """An engine with real sockets, and the test as its workers."""

    def __init__(self) -> None:
        self.undo = ExitStack()
        self.reactor = PolledReactor()
        self.engine = Engine(app, self.reactor, "no such target", registry=Registry())
        performer = self.engine.performer
        performer.processes = SocketProcesses(self.reactor, "no such target", performer.inbox)
        self.engine.start()
        self.peers: dict[str, Peer] = {}
        self.settle()

    def settle(self) -> None:
        """Let everything that is due happen, until each place has a ready worker that has read its frames."""
        self.reactor.turn()
        while len(self.engine.performer.processes.links) < 3:
            self.reactor.time.advance(60.0)  # the longest back-off
            self.engine.performer._on_alarm()
            self.reactor.turn()
        for worker, link in list(self.engine.performer.processes.links.items()):
            if self.peers.get(link.name) is None or self.peers[link.name].worker != worker:
                self.peers[link.name] = Peer(self, worker)
                self.peers[link.name].send(Ready(0.0, 1))
        self.reactor.turn()
        for peer in self.peers.values():
            peer.read()

    def submit(self, endpoint: str, body: bytes = b"") -> Call:
        """Submit a job, and let the workers read what that leads to."""
        call = self.engine.submit(Submission(self.engine.endpoint(endpoint)), body)
        self.settle()
        return call


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    with bench.undo:
        yield bench
        bench.engine.close()


def holder(bench: Bench, call: Call) -> tuple[Peer, int]:
    """Return the worker that holds the job, and the attempt."""
    assert call.attempt is not None
    return bench.peers[call.attempt.worker.place.name], call.attempt.id


def other_than(bench: Bench, peer: Peer) -> Peer:
    """Return the other worker of the pool."""
    (other,) = [p for name, p in bench.peers.items() if name.startswith("shared/") and p is not peer]
    return other


FORGERIES: dict[str, Callable[[int], Message | bytes]] = {
    "a result": lambda other: Done(other, 0.0, [EVIL]),
    "a failure": lambda other: Done(other, 0.0, [Failure("handler")]),
    "a job given back": lambda other: Done(other, 0.0, [Failure(FAILED_RECALLED)]),
    "the head of a stream": lambda other: Head(other, EVIL),
    "a chunk": lambda other: Chunk(other, b"evil"),
    "a result of nothing": lambda _: Done(1 << 63, 0.0, [EVIL]),
    "the head of nothing": lambda _: Head(0, EVIL),
    "a chunk of nothing": lambda _: Chunk(0, b"evil"),
    "a second Ready": lambda _: Ready(0.0, 1),
    "a late SetupFailed": lambda _: SetupFailed("echo", "Traceback"),
    "an order": Cancel,
    "a zygote's word": lambda other: Spawned(other, 1),
    "garbage": lambda _: b"\x00\x00\x00\x01\xc1",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_worker_is_not_believed_about_the_jobs_of_another(bench: Bench, name: str) -> None:
    """It is killed, its own job runs elsewhere, and the other worker's job is answered by that worker."""
    call, mine = bench.submit("echo", b"1"), bench.submit("echo", b"2")
    honest, attempt = holder(bench, call)
    evil, _ = holder(bench, mine)
    assert evil is other_than(bench, honest)
    evil.send(FORGERIES[name](attempt))
    bench.settle()
    assert evil.link not in bench.engine.performer.processes.links.values()
    assert call.outcome is None
    honest.send(Done(attempt, 0.0, [Encoded(b"1")]))
    assert call.outcome == Encoded(b"1")
    bench.settle()
    again, attempt = holder(bench, mine)
    assert again is not evil
    again.send(Done(attempt, 0.0, [Encoded(b"2")]))
    assert mine.outcome == Encoded(b"2")


OWN_FORGERIES: dict[str, Callable[[int], Message]] = {
    "a chunk before the head of its stream": lambda own: Chunk(own, b"evil"),
    "a split header of a stream": lambda own: Head(own, Encoded(b"", None, 200, {"a": "b\r\nc: d"})),
    "too few results": lambda own: Done(own, 0.0, []),
    "too many results": lambda own: Done(own, 0.0, [EVIL, EVIL]),
    "not a time": lambda own: Done(own, math.nan, [EVIL]),
    "a negative time": lambda own: Done(own, -1.0, [EVIL]),
    "what was not recalled": lambda own: Done(own, 0.0, [Failure(FAILED_RECALLED)]),
    "an impossible status": lambda own: Done(own, 0.0, [Encoded(b"", None, 99)]),
    "a split header": lambda own: Done(own, 0.0, [Encoded(b"", None, 200, {"a": "b\r\n\r\nHTTP/1.1 200 OK"})]),
    "a split media type": lambda own: Done(own, 0.0, [Encoded(b"", "a/b\r\nc: d")]),
}


@pytest.mark.parametrize("name", OWN_FORGERIES)
def test_what_does_not_fit_the_attempt_breaks_the_protocol(bench: Bench, name: str) -> None:
    """The worker is killed, and the job runs elsewhere."""
    call = bench.submit("echo")
    evil, attempt = holder(bench, call)
    evil.send(OWN_FORGERIES[name](attempt))
    bench.settle()
    assert evil.link not in bench.engine.performer.processes.links.values()
    assert call.outcome is None
    assert holder(bench, call)[0] is not evil


def test_a_time_that_has_not_passed_is_not_learnt_from(bench: Bench) -> None:
    """An attempt cannot have run for longer than its job has existed."""
    call = bench.submit("echo")
    evil, attempt = holder(bench, call)
    bench.reactor.time.advance(2.0)
    evil.send(Done(attempt, 1e6, [Encoded(b"")]))
    assert call.handler_seconds == 2.0


def test_chunks_beyond_the_window_break_the_protocol(bench: Bench) -> None:
    """A stream that sends while its window is used up is ended; all that it may send is accepted before."""
    call = bench.submit("stream")
    evil, attempt = holder(bench, call)
    quarter = b"x" * (WINDOW_BYTES // 4)
    evil.send(Head(attempt, Encoded(b"")))
    for _ in range(4):
        for _ in range(3):
            evil.send(Chunk(attempt, quarter))
        assert len(call.take()) == 3
    for _ in range(4):
        evil.send(Chunk(attempt, quarter))
    assert call.outcome is None
    evil.send(Chunk(attempt, b"x"))
    assert isinstance(call.outcome, WorkerLost)
    assert len(call.take()) == 4


SIZE = 5_000


def _sealed(size_bytes: int = SIZE) -> int:
    file = BodyFile.of(bytes(size_bytes))
    return os.dup(file.fileno())


def _unsealed() -> int:
    file = BodyFile.in_memory()
    file.write(bytes(SIZE))
    return os.dup(file.fileno())


def _pipe() -> int:
    reader, writer = os.pipe()
    os.close(writer)
    return reader


def _on_a_disk() -> int:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(SIZE))
        file.flush()
        return os.dup(file.fileno())


FORGED_FILES: dict[str, Callable[[], int]] = {
    "a file that can be shortened": _unsealed,
    "a shorter file": lambda: _sealed(SIZE - 1),
    "a longer file": lambda: _sealed(SIZE + 1),
    "a file on a disk": _on_a_disk,
    "a pipe": _pipe,
    "a folder": lambda: os.open("/", os.O_RDONLY),
    "a device": lambda: os.open("/dev/zero", os.O_RDONLY),
}


def descriptor_count() -> int:
    """Return the number of open descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def large(attempt: int, *sizes: int) -> LargeDone:
    """Return the announcement of results in files."""
    return LargeDone(Done(attempt, 0.0, [Encoded(b"") for _ in sizes]), list(sizes))


def test_a_result_in_a_file_is_taken(bench: Bench) -> None:
    """A caller who takes no files gets bytes."""
    call = bench.submit("echo")
    worker, attempt = holder(bench, call)
    worker.send_file(_sealed())
    worker.send(large(attempt, SIZE))
    assert call.outcome == Encoded(bytes(SIZE))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has seals")
@pytest.mark.parametrize("name", FORGED_FILES)
def test_what_is_no_sealed_file_of_the_size_that_was_announced_breaks_the_protocol(bench: Bench, name: str) -> None:
    """The worker is killed, the job runs elsewhere, and nothing that it has sent stays open."""
    call = bench.submit("echo")
    evil, attempt = holder(bench, call)
    descriptor = FORGED_FILES[name]()
    evil.send_file(descriptor)
    before = descriptor_count()
    evil.send(large(attempt, SIZE))
    assert descriptor_count() == before
    bench.settle()
    assert evil.link not in bench.engine.performer.processes.links.values()
    assert call.outcome is None
    assert holder(bench, call)[0] is not evil


FORGED_SIZES: dict[str, Callable[[int], Message]] = {
    "a file that was not sent": lambda own: large(own, SIZE),
    "more files than results": lambda own: LargeDone(Done(own, 0.0, [EVIL]), [0, 0]),
    "fewer files than results": lambda own: LargeDone(Done(own, 0.0, [EVIL]), []),
    "a size below zero": lambda own: large(own, -1),
    "a size that no frame may have": lambda own: large(own, MAX_FRAME_BYTES + 1),
}


@pytest.mark.parametrize("name", FORGED_SIZES)
def test_announcing_other_files_than_were_sent_breaks_the_protocol(bench: Bench, name: str) -> None:
    """The worker is killed, and the job runs elsewhere."""
    call = bench.submit("echo")
    evil, attempt = holder(bench, call)
    evil.send(FORGED_SIZES[name](attempt))
    bench.settle()
    assert evil.link not in bench.engine.performer.processes.links.values()
    assert holder(bench, call)[0] is not evil


def test_no_worker_answers_for_another_with_a_file(bench: Bench) -> None:
    """The file is closed, the forger is killed, and the other worker's job goes on."""
    call, mine = bench.submit("echo", b"1"), bench.submit("echo", b"2")
    honest, attempt = holder(bench, call)
    evil, _ = holder(bench, mine)
    evil.send_file(_sealed())
    evil.send(large(attempt, SIZE))
    bench.settle()
    assert evil.link not in bench.engine.performer.processes.links.values()
    assert call.outcome is None
    honest.send(Done(attempt, 0.0, [Encoded(b"1")]))
    assert call.outcome == Encoded(b"1")


def test_an_engine_without_descriptors_blames_no_worker(bench: Bench) -> None:
    """The job fails, since its result is lost; the worker stays, and its next result arrives."""
    call = bench.submit("echo")
    worker, attempt = holder(bench, call)
    worker.send_file(_sealed())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        worker.send(large(attempt, SIZE))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert isinstance(call.outcome, HandlerError)
    assert "no file descriptor" in call.outcome.detail
    assert worker.link in bench.engine.performer.processes.links.values()
    worker.send_file(_sealed())
    again = bench.submit("echo")
    while holder(bench, again)[0] is not worker:
        again = bench.submit("echo")
    worker.send(large(holder(bench, again)[1], SIZE))
    assert again.outcome == Encoded(bytes(SIZE))


def test_a_worker_cannot_have_begun_what_it_was_never_sent(bench: Bench) -> None:
    """All ones in the shared memory do not hold its line: the worker is killed, and the line runs elsewhere."""
    for _ in range(2):
        call = bench.submit("short")
        peer, attempt = holder(bench, call)
        peer.send(Done(attempt, 0.00001, [Encoded(b"")]))  # so short that others are sent ahead
    calls = [bench.submit("short") for _ in range(3)]
    evil, _ = holder(bench, calls[0])
    assert len(evil.held) == 5
    evil.write_word(WORD_STARTED, 2**64 - 1)
    bench.reactor.time.advance(0.02)
    bench.engine.performer._on_alarm()  # the line has stalled, and is recalled
    bench.settle()
    assert evil.link not in bench.engine.performer.processes.links.values()
    for _ in calls:
        for attempt in list(bench.peers["inline/0"].held):
            del bench.peers["inline/0"].held[attempt]
            bench.peers["inline/0"].send(Done(attempt, 0.00001, [Encoded(b"")]))
        bench.settle()
    assert [call.outcome for call in calls] == [Encoded(b"")] * 3


def test_the_shared_memory_cannot_shrink(bench: Bench) -> None:
    """A worker that truncates it would have the engine killed by SIGBUS."""
    memory = bench.peers["inline/0"]._memory
    with pytest.raises(PermissionError):
        os.truncate(memory, 0)
    with pytest.raises(PermissionError):
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    assert os.fstat(memory).st_size == SHARED_BYTES


class Siege:
    """One worker of two sends frames, valid and forged, for as long as it is asked to; the other behaves."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.dice = random.Random(SEED)
        self.calls: dict[bytes, Call] = {}
        self.tainted: set[bytes] = set()  # the jobs that a hostile worker has held
        self.frames = 0
        self._numbers = iter(range(1 << 40))

    def round(self) -> None:
        """Have each worker do something."""
        bench = self.bench
        while sum(call.outcome is None for call in self.calls.values()) < 4:
            body = str(next(self._numbers)).encode()
            self.calls[body] = bench.submit("echo", body)
        evil, honest = bench.peers["shared/0"], bench.peers["shared/1"]
        self.tainted.update(run.works[0].body for run in evil.held.values())
        frames = self._frames(evil, honest)
        self.frames += len(frames)
        evil.send(*frames)
        bench.settle()
        for attempt, run in list(honest.held.items()):
            del honest.held[attempt]
            honest.send(Done(attempt, 0.0, [Encoded(run.works[0].body)]))
        bench.settle()
        self._check()

    def _frames(self, evil: Peer, honest: Peer) -> list[Message | bytes]:
        valid: list[Any] = [Done(attempt, 0.0, [EVIL]) for attempt in evil.held]
        evil.held.clear()
        forged = self.dice.choices(list(FORGERIES.values()), k=self.dice.randint(0, 60))
        about = [*honest.held, 0]
        frames = valid[: self.dice.randint(0, len(valid))] + [forge(self.dice.choice(about)) for forge in forged]
        self.dice.shuffle(frames)
        return frames

    def _check(self) -> None:
        for body, call in list(self.calls.items()):
            if call.outcome is not None:
                del self.calls[body]
                is_own = isinstance(call.outcome, Encoded) and call.outcome.body == body
                assert is_own or body in self.tainted, (body, call.outcome)


def test_a_hundred_thousand_frames_of_a_hostile_worker_harm_no_other(bench: Bench) -> None:
    """Nothing is raised, the honest worker stays, and each job that only it has held has the right answer."""
    siege = Siege(bench)
    honest = bench.peers["shared/1"]
    while siege.frames < FRAMES:
        siege.round()
    assert bench.peers["shared/1"] is honest
