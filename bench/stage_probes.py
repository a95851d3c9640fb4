"""Probes: timestamps of the one monotonic clock at the points where a stage of a request begins or ends.

They are installed from outside, by replacing functions, when the app of ``stages.py`` is imported. Each process writes
into a file of its own that it has mapped into memory, so that nothing is lost however the process ends.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import math
import mmap
import os
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "BENCH_STAGES_FOLDER"
MOST_RECORDS = 2_000_000
_FIELDS = 3  # instant in ns, mark, key

ARRIVED, SERVED, IDENTIFIED, SUBMITTED, SENDING, FLUSHED = range(1, 7)
READ, BEGAN, ENDED, SETTLED, WRITTEN, CALLED, HANDLED = range(7, 14)


@dataclass(frozen=True)
class ProbePoint:
    """A function whose begin or end is a mark.

    Parameters
    ----------
    module, function:
        Where it is; a method has the name of its class in front.
    mark:
        The mark.
    at_end:
        True if its end is the mark, otherwise its begin.
    key:
        Returns what the mark belongs to, from the arguments and the returned value (None at the begin). No mark is made
        if it returns None.
    """

    module: str
    function: str
    mark: int
    at_end: bool
    key: Callable[[tuple[Any, ...], Any], int | None]


class RequestNumbers:
    """Numbers for requests, which the engine names by their ids."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._next = itertools.count(1)

    def add(self, arguments: tuple[Any, ...], _returned: Any) -> int:
        """Number the request of a submission that has just been made."""
        number = self._numbers[arguments[0].request_id] = next(self._next)
        return number

    def of_submission(self, arguments: tuple[Any, ...], _returned: Any) -> int | None:
        """Return the number of the submission that is the first argument but one."""
        return self._numbers.get(arguments[1].request_id)

    def of_call(self, arguments: tuple[Any, ...], _returned: Any) -> int | None:
        """Return the number of a call, and forget it."""
        return self._numbers.pop(arguments[0].submission.request_id, None)

    def of_run(self, arguments: tuple[Any, ...], _returned: Any) -> int | None:
        """Return the attempt of a ``Run`` and its request in one number; None for other messages."""
        message = arguments[1]
        if type(message).__name__ != "Run":
            return None
        return (int(message.attempt) << 32) + self._numbers.get(message.request_ids[0], 0)


_numbers = RequestNumbers()


def _connection(arguments: tuple[Any, ...], _returned: Any) -> int:
    return id(arguments[0])


def _attempt(arguments: tuple[Any, ...], _returned: Any) -> int:
    return int(arguments[0].attempt)


def _if_anything(_arguments: tuple[Any, ...], returned: Any) -> int | None:
    return len(returned) if returned else None


def _zero(_arguments: tuple[Any, ...], _returned: Any) -> int:
    return 0


_FRAMES_READ = ProbePoint("penstock.socket_buffers", "ReceiveBuffer.receive", READ, True, _if_anything)
_FRAMES_WRITTEN = ProbePoint("penstock.socket_buffers", "SendBuffer.flush", FLUSHED, True, _zero)

HTTP_PROBES = (
    ProbePoint("penstock_gunicorn.direct_protocol", "DirectProtocol.data_received", ARRIVED, False, _connection),
    # Only on the way through ASGI, where requests are served in the task of their connection. A request that is
    # answered without a scope has no stage for the framework.
    ProbePoint("penstock_gunicorn.direct_protocol", "DirectProtocol._build_http_scope", SERVED, False, _connection),
    ProbePoint("penstock_falcon.exchange", "Exchange.__init__", IDENTIFIED, True, _numbers.add),
    ProbePoint("penstock.engine.engine", "Engine.submit", SUBMITTED, True, _numbers.of_submission),
    ProbePoint("penstock.engine.processes.worker_link", "WorkerLink.send", SENDING, False, _numbers.of_run),
    _FRAMES_WRITTEN,
    _FRAMES_READ,
    ProbePoint("penstock.engine.calls", "Call.close", SETTLED, False, _numbers.of_call),
    ProbePoint("penstock_gunicorn.direct_protocol", "DirectProtocol._write_now", WRITTEN, True, _connection),
)
WORKER_PROBES = (
    _FRAMES_READ,
    ProbePoint("penstock.worker.modes.inline", "answer", BEGAN, False, _attempt),
    ProbePoint("penstock.worker.modes.inline", "answer", ENDED, True, _attempt),
    _FRAMES_WRITTEN,
)
BARE_PROBES = (
    ProbePoint("gunicorn.asgi.protocol", "ASGIProtocol.data_received", ARRIVED, False, _connection),
    ProbePoint("gunicorn.asgi.protocol", "ASGIProtocol._build_http_scope", SERVED, False, _connection),
    ProbePoint("bare", "Square.on_post", CALLED, False, _zero),
    ProbePoint("bare", "Square.on_post", HANDLED, True, _zero),
)


class StageRecorder:
    """The records of one process. They begin with the first mark after a fork."""

    def __init__(self, role: str, folder: str) -> None:
        self._role = role
        self._folder = folder
        self.reset()
        os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        """Forget the records of the process that this one was forked from."""
        self.record: Callable[[int, int, int], None] = self._begin

    def _begin(self, instant: int, mark: int, key: int) -> None:
        path = Path(self._folder) / f"{self._role}-{os.getpid()}"
        size = 8 * _FIELDS * MOST_RECORDS
        with path.open("w+b") as file:
            file.truncate(size)  # a hole: only what is written takes room
            words = memoryview(mmap.mmap(file.fileno(), size)).cast("q")
        place = itertools.count(0, _FIELDS)
        end = len(words)

        def record(instant: int, mark: int, key: int) -> None:
            at = next(place)
            if at < end:
                words[at], words[at + 1], words[at + 2] = instant, mark, key

        self.record = record
        record(instant, mark, key)


def read_records(path: Path) -> list[tuple[int, int, int]]:
    """Return the records of one process: instant in ns, mark, key."""
    words = array("q")
    data = path.read_bytes().rstrip(b"\0")
    words.frombytes(data + bytes(-len(data) % (8 * _FIELDS)))
    return list(zip(words[0::_FIELDS], words[1::_FIELDS], words[2::_FIELDS], strict=True))


def locate(point: ProbePoint) -> tuple[Any, str]:
    """Return the module or class that has the function, and the function's name there.

    Raises
    ------
    SystemExit
        If there is none.
    """
    owner: Any = importlib.import_module(point.module)
    *classes, name = point.function.split(".")
    for each in [*classes, name]:
        if not hasattr(owner, each):
            raise SystemExit(
                f"bench/stage_probes.py: {point.module} has no {point.function} any more; name the function that has "
                "taken its place, in the table of ProbePoints"
            )
        if each is not name:
            owner = getattr(owner, each)
    return owner, name


def install(points: tuple[ProbePoint, ...], recorder: StageRecorder) -> None:
    """Replace the functions of these points. Raises ``SystemExit`` as ``locate`` does."""
    for point in points:
        owner, name = locate(point)
        setattr(owner, name, probed(getattr(owner, name), point, recorder))


def probed(function: Callable[..., Any], point: ProbePoint, recorder: StageRecorder) -> Callable[..., Any]:
    """Return the function with a mark at its begin or its end."""
    mark, key_of = point.mark, point.key
    now = time.monotonic_ns

    def at_begin(*arguments: Any, **options: Any) -> Any:
        instant = now()
        key = key_of(arguments, None)
        if key is not None:
            recorder.record(instant, mark, key)
        return function(*arguments, **options)

    def at_end(*arguments: Any, **options: Any) -> Any:
        returned = function(*arguments, **options)
        instant = now()
        key = key_of(arguments, returned)
        if key is not None:
            recorder.record(instant, mark, key)
        return returned

    async def at_end_of_coroutine(*arguments: Any, **options: Any) -> Any:
        returned = await function(*arguments, **options)
        recorder.record(now(), mark, 0)
        return returned

    if not point.at_end:
        return functools.wraps(function)(at_begin)
    return functools.wraps(function)(
        at_end_of_coroutine if inspect.iscoroutinefunction(inspect.unwrap(function)) else at_end
    )


class ProbedTransport:
    """A transport that marks each write, whichever way the response took to it."""

    def __init__(self, transport: Any, connection: int, recorder: StageRecorder) -> None:
        self.__dict__.update({name: getattr(transport, name) for name in dir(transport) if not name.startswith("__")})
        now = time.monotonic_ns

        def write(data: Any) -> None:
            transport.write(data)
            recorder.record(now(), WRITTEN, connection)

        def writelines(pieces: Any) -> None:
            transport.writelines(pieces)
            recorder.record(now(), WRITTEN, connection)

        self.write, self.writelines = write, writelines


def probe_transports(protocol: Any, recorder: StageRecorder) -> None:
    """Give each connection of this class a transport that marks its writes."""
    connection_made = protocol.connection_made

    def made(self: Any, transport: Any) -> None:
        connection_made(self, ProbedTransport(transport, id(self), recorder))

    protocol.connection_made = made


def seconds_per_probe(folder: str) -> float:
    """Return what a probe around an empty function adds to it, in seconds, when nothing disturbs it."""
    recorder = StageRecorder("calibration", folder)
    point = ProbePoint("", "", ARRIVED, False, _connection)
    empty = functools.partial(int, 0)

    def plain(*_arguments: Any) -> None: ...

    wrapped = probed(plain, point, recorder)
    best = [math.inf, math.inf]
    for _ in range(20):
        for place, function in enumerate((plain, wrapped)):
            began = time.perf_counter()
            for _ in range(5_000):
                function(empty)
            best[place] = min(best[place], time.perf_counter() - began)
    return (best[1] - best[0]) / 5_000
