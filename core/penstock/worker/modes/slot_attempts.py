"""One attempt in a slot of a generation loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic, perf_counter
from typing import Any

from penstock.body_files import BodyFile
from penstock.response import SlotDone
from penstock.wire import WINDOW_BYTES, Done, Failure, Run
from penstock.worker.attempts import Invocation, JobResult, LiveEndpoint
from penstock.worker.interrupts import Interrupted, InterruptGuard
from penstock.worker.progress_reports import Outlet


class SlotAttempt:
    """An attempt in a generation loop. The program calls ``cancel``, ``credit`` and ``wake``; the rest is the loop's.

    Parameters
    ----------
    run, live:
        The attempt, and its endpoint.
    files:
        The bodies of the run that are in files, as ``Channel.take_files`` returns them.
    guard:
        Knows of interrupts before their message can be read.
    outlet:
        The way out for its progress reports.
    on_change:
        Called when it may have to be released, or has room again.

    Attributes
    ----------
    slot:
        The number of its slot, once it is admitted.
    is_cancelled:
        True once the engine has asked for its end.
    result:
        The result to end it with; None while it goes on.
    """

    def __init__(
        self,
        run: Run,
        live: LiveEndpoint,
        files: Sequence[BodyFile | None],
        guard: InterruptGuard,
        *,
        outlet: Outlet,
        on_change: Callable[[], None],
    ) -> None:
        self.attempt = run.attempt
        self.run = run
        self.files = files
        self.invocation = Invocation(run, live, lambda: self.is_cancelled or guard.is_target(run.attempt), outlet)
        self.slot = -1
        self.is_cancelled = False
        self.result: JobResult | None = None
        self._on_change = on_change
        self._credit = WINDOW_BYTES
        self._began = perf_counter()

    def __repr__(self) -> str:
        return f"<SlotAttempt {self.attempt} in slot {self.slot}>"

    def cancel(self) -> None:
        """Have it released before the next step."""
        self.is_cancelled = True
        self._on_change()

    def credit(self, size_bytes: int) -> None:
        """Add room to the window of its stream."""
        self._credit += size_bytes
        self._on_change()

    def wake(self) -> None:
        """Check again whether the loop can go on: the channel has been flushed."""
        self._on_change()

    @property
    def has_room(self) -> bool:
        """True if its client reads fast enough to be sent another chunk."""
        return self._credit > 0

    def use_credit(self, size_bytes: int) -> None:
        """Take room from the window for a chunk."""
        self._credit -= size_bytes

    def chunks_of(self, item: Any) -> tuple[list[Any], bool]:
        """Return the chunks to send of what ``step`` has returned for it, filtered, and whether they are the last."""
        is_last = isinstance(item, SlotDone)
        chunk = item.chunk if is_last else item
        chunks = [] if chunk is None else [chunk]
        chunk_filter = self.invocation.chunk_filter
        if chunk_filter is None:
            return chunks, is_last
        if chunks:
            chunks, is_done = chunk_filter.feed(chunk)
            if is_done:
                return chunks, True
        return [*chunks, *chunk_filter.finish()] if is_last else chunks, is_last

    @property
    def is_over(self) -> bool:
        """True if it has ended, or is not wanted any more: it takes part in no further step."""
        return self.result is not None or self.is_cancelled or monotonic() >= self.run.deadline

    def begin(self) -> None:
        """Start to count its time."""
        self._began = perf_counter()

    def fail(self, error: Failure | Interrupted) -> None:
        """End it with this failure, or with an interrupt, unless it has come to its end already."""
        if self.result is None:
            self.result = self.invocation.cancelled(error).results[0] if isinstance(error, Interrupted) else error

    def done(self) -> Done:
        """Return the acknowledgement of its end, after its last progress report."""
        self.invocation.end()
        seconds = perf_counter() - self._began
        if self.result is None:
            return self.invocation.cancelled(seconds=seconds)
        return Done(self.attempt, seconds, [self.result])
