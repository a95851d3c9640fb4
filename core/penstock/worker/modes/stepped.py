"""Generation loops: the answers of many attempts, each in a slot, are produced together, one step after the other.

A loop is one task. Between two steps it reads what the engine has sent, releases the slots whose job has ended or is
not wanted any more, and admits the jobs that wait. A slot whose client reads too slowly takes no part in the steps
until it has room again, so it holds up no other. If no slot can take part, the task waits for the engine.

A synchronous ``step`` is called on the main thread, as an inline attempt is. An asynchronous one is awaited. Neither is
disturbed when a job leaves; it is stopped only when the last of them has left: by an interrupt, or by its scope.
"""

from __future__ import annotations

import inspect
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from penstock.body_files import BodyFile
from penstock.wire import Chunk, Done, Head, Run
from penstock.worker.attempts import END_OF_STREAM, LiveEndpoint, handler_failure
from penstock.worker.channel import Channel
from penstock.worker.failure_reports import user_traceback
from penstock.worker.forks import leave_if_forked
from penstock.worker.interrupts import Interrupted, InterruptGuard
from penstock.worker.large_bodies import load
from penstock.worker.log_records import REQUEST_IDS
from penstock.worker.modes.slot_attempts import SlotAttempt
from penstock.worker.modes.tasks import LoopEvent, Scope, TaskRuntime, explained
from penstock.worker.outlets import slot_outlet
from penstock.worker.trace_entry import enter_traces


class StepRuntime(TaskRuntime, Protocol):
    """The loop of the worker, as far as a generation loop needs one."""

    def start(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run a function of Penstock's in a task of its own. It must not raise."""

    async def checkpoint(self) -> None:
        """Let all other tasks take a turn."""

    async def in_scope(self, awaitable: Awaitable[Any], enter: Callable[[Scope], None]) -> Any:
        """Await in a scope of its own, which is passed to ``enter``; return None if that was cancelled."""

    def flush_soon(self) -> None:
        """Flush the channel from the next turn of the loop on, until all is written; then call ``on_flushed``."""

    def call_soon_threadsafe(self, function: Callable[[], None]) -> object:
        """Run a function in the loop. Callable from any thread."""


class StepProgram(Protocol):
    """The program, as far as a generation loop needs it."""

    def receive(self, data: bytes) -> None:
        """Act on bytes of the engine's."""

    def flush(self) -> bool:
        """Write; return True if that was everything. Otherwise each attempt is woken when it is."""

    def finish(self, done: Done) -> None:
        """Take the end of an attempt."""


class GenerationLoop:
    """The generation loop of one endpoint.

    Parameters
    ----------
    live:
        The endpoint.
    runtime:
        The loop that it runs on.
    guard:
        Makes synchronous methods interruptible.
    channel:
        The connection to the engine.
    program:
        The receiver of the engine's messages and of the ends of attempts.
    """

    def __init__(
        self,
        live: LiveEndpoint,
        runtime: StepRuntime,
        guard: InterruptGuard,
        *,
        channel: Channel,
        program: StepProgram,
    ) -> None:
        self._live = live
        self._model = live.loop
        self._runtime = runtime
        self._guard = guard
        self._channel = channel
        self._program = program
        self._outlet = slot_outlet(channel, guard, runtime)
        self._stream = live.slot_stream()
        self._waiting: deque[SlotAttempt] = deque()
        self._slots: dict[int, SlotAttempt] = {}
        self._is_running = False
        self._has_changed = False  # since the loop last looked
        self._change: LoopEvent | None = None  # set while the loop waits for one
        self._scope: Scope | None = None  # set while user code is awaited
        self._in_scope: Sequence[SlotAttempt] = ()  # the attempts for which it is

    def add(self, run: Run, files: Sequence[BodyFile | None]) -> SlotAttempt:
        """Admit an attempt before the next step."""
        attempt = SlotAttempt(run, self._live, files, self._guard, outlet=self._outlet, on_change=self._on_change)
        self._waiting.append(attempt)
        if self._is_running:
            self._on_change()
        else:
            self._is_running = True
            self._runtime.start(self._run)
        return attempt

    def _on_change(self) -> None:
        self._has_changed = True
        if self._change is not None:
            self._change.set()
        self._stop_if_unwanted()

    def _stop_if_unwanted(self) -> None:
        """Cancel what is awaited, if no caller waits for any of its attempts."""
        if self._scope is not None and all(attempt.is_cancelled for attempt in self._in_scope):
            self._scope.cancel()

    async def _run(self) -> None:
        while self._waiting or self._slots:
            self._has_changed = False
            self._read()
            await self._release_ended()
            await self._admit_waiting()
            slots = self._with_room()
            if slots:
                await self._step(slots)
                await self._release_ended()
            if slots or self._has_changed or not self._slots:
                await self._runtime.checkpoint()
            else:
                await self._wait()
        self._is_running = False

    def _read(self) -> None:
        """Act on everything that the engine has sent."""
        while (data := self._channel.receive()) is not None:
            self._program.receive(data)

    def _with_room(self) -> list[int]:
        """Return the slots that can take part in a step; none while the engine does not read."""
        if not self._program.flush():
            return []
        return sorted(slot for slot, attempt in self._slots.items() if attempt.has_room and not attempt.is_cancelled)

    async def _wait(self) -> None:
        self._change = self._runtime.new_event()
        await self._change.wait()
        self._change = None

    # ---- admitting

    async def _admit_waiting(self) -> None:
        most = self._live.endpoint.concurrency
        while self._waiting and len(self._slots) < most:
            attempt = self._waiting.popleft()
            attempt.slot = next(slot for slot in range(most) if slot not in self._slots)
            if not attempt.is_over:
                await self._admit(attempt)
            if attempt.is_over and attempt.slot not in self._slots:
                self._end(attempt)

    async def _admit(self, attempt: SlotAttempt) -> None:
        """Call ``admit``. If it raises, the job fails, and ``release`` is not called: nothing is held for it."""
        self._enter([attempt])
        attempt.begin()
        try:
            if attempt.files:
                load(attempt.run, attempt.files)
            admit = partial(self._live.start, slot=attempt.slot)
            returned = self._guard.run(attempt.attempt, admit, attempt.invocation)
            if inspect.isawaitable(returned):
                await self._awaited(returned, [attempt])
        except Interrupted as interrupt:
            attempt.fail(interrupt)
        except BaseException as error:  # SystemExit and KeyboardInterrupt from user code end a job, not the worker
            attempt.fail(explained(error, self._live, self._runtime))
        else:
            self._slots[attempt.slot] = attempt
            self._channel.post(Head(attempt.attempt, self._stream.head))
        leave_if_forked((attempt.result,))

    # ---- stepping

    async def _step(self, slots: list[int]) -> None:
        """Call ``step``, and send each slot's chunk."""
        everyone = list(self._slots.values())
        self._enter(everyone)
        try:
            latest = max(attempt.attempt for attempt in everyone)
            returned = self._guard.run_step(latest, self._model.step, list(slots))
            if inspect.isawaitable(returned):
                returned = await self._awaited(returned, everyone)
        except Interrupted as interrupt:
            _fail_all(everyone, interrupt)
        except BaseException as error:  # as above
            _fail_all(everyone, explained(error, self._live, self._runtime))
        else:
            problem = _problem_with(returned, slots)
            if problem is None:
                for slot, item in returned.items():
                    self._take(self._slots[slot], item)
            else:
                _fail_all(everyone, handler_failure(problem))
        leave_if_forked(attempt.result for attempt in everyone)
        self._program.flush()

    def _take(self, attempt: SlotAttempt, item: Any) -> None:
        """Send what ``step`` has returned for a slot."""
        if attempt.is_cancelled:
            return
        if isinstance(item, BaseException):
            attempt.fail(self._live.failure_of(item))
            return
        try:
            chunks, is_last = attempt.chunks_of(item)
            for chunk in chunks:
                self._send_chunk(attempt, chunk)
        except Exception as error:  # it cannot be encoded, or the filter refuses it
            attempt.fail(self._live.failure_of(error))
            return
        if is_last:
            attempt.result = END_OF_STREAM

    def _send_chunk(self, attempt: SlotAttempt, chunk: Any) -> None:
        body = self._stream.encode(chunk)
        attempt.use_credit(len(body))
        if body:
            self._channel.post(Chunk(attempt.attempt, body))

    # ---- releasing

    async def _release_ended(self) -> None:
        for slot, attempt in sorted(self._slots.items()):
            if attempt.is_over:
                await self._release(attempt)
                del self._slots[slot]
                self._end(attempt)

    def _end(self, attempt: SlotAttempt) -> None:
        """Acknowledge the end of an attempt at once: user code may run for long before the next write."""
        self._program.finish(attempt.done())
        self._program.flush()

    async def _release(self, attempt: SlotAttempt) -> None:
        """Call ``release``, to its end: no interrupt and no scope reaches it, and only a kill cuts it short."""
        self._enter([attempt])
        try:
            returned = self._model.release(attempt.slot)
            if inspect.isawaitable(returned):
                await returned
        except BaseException as error:
            # The job has its result already, so the exception goes to the log.
            sys.stderr.write(user_traceback(error))
        leave_if_forked()

    # ---- calling

    def _enter(self, attempts: Sequence[SlotAttempt]) -> None:
        """Let log records name the jobs for which user code is about to run."""
        runs = [attempt.run for attempt in attempts]
        REQUEST_IDS.set([each for run in runs for each in run.request_ids])
        enter_traces(runs)

    async def _awaited(self, awaitable: Awaitable[Any], attempts: Sequence[SlotAttempt]) -> Any:
        """Await what user code has returned; raise ``Interrupted`` if that is stopped: none of them is wanted."""
        self._in_scope = attempts
        try:
            returned = await self._runtime.in_scope(awaitable, self._set_scope)
            if self._scope is not None and self._scope.cancelled:
                raise Interrupted
            return returned
        finally:
            self._scope = None

    def _set_scope(self, scope: Scope) -> None:
        self._scope = scope
        self._stop_if_unwanted()


def _fail_all(attempts: Iterable[SlotAttempt], error: Any) -> None:
    for attempt in attempts:
        attempt.fail(error)


def _problem_with(returned: Any, slots: Sequence[int]) -> str | None:
    """Return why ``returned`` cannot be the chunks of these slots, or None if it can."""
    if not isinstance(returned, Mapping):
        return f"step returned a {type(returned).__name__}: return a dict with a chunk or Done() for any of its slots"
    strays = [slot for slot in returned if slot not in slots]
    if strays:
        return f"step returned something for slot {strays[0]!r}, but it was called with the slots {list(slots)}"
    return None
