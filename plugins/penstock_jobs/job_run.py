"""One claim of one job: its call in the engine, and what is written about it."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, TypeAlias

from penstock.errors import PenstockError, Unavailable
from penstock.hooks import Endpoint, Progress, ServiceCall, ServiceEngine
from penstock.job_store import ClaimedJob, ClaimKey, JobStore, StoreFull
from penstock_jobs.job_desk import JobDesk
from penstock_jobs.job_output import GROUP_SECONDS, JSON, JobOutput
from penstock_jobs.stored_requests import submission_of
from penstock_jobs.verdicts import Conclude, GiveBack, Result, RetryLater, Stop, Verdict, judge, too_large

RETRY_SECONDS: Final = 1.0
"""A write that has failed is repeated after this time."""
Write: TypeAlias = Callable[[], "Future[Any]"]


class JobRun:
    """A claimed job from its submission until its end is in the store. All methods run on the engine's thread.

    At most one write is under way, so that they arrive in their order: the start, the reports, the end.

    Parameters
    ----------
    engine, desk:
        The engine, and its desk.
    claimed:
        The job.
    endpoint:
        Its endpoint.
    max_result_bytes:
        The size above which a result is not stored.
    on_free:
        Called once, when the job takes no slot any more, and its verdict is known.
    on_left:
        Called once, after that, when nothing is to be written any more.

    Attributes
    ----------
    key:
        The claim.
    verdict:
        The fate of the job; None while its call has no outcome, or is being stopped.
    is_lost:
        True if the claim does not hold the job any more: nothing is written about it.
    """

    def __init__(
        self,
        engine: ServiceEngine,
        desk: JobDesk,
        claimed: ClaimedJob,
        endpoint: Endpoint,
        *,
        max_result_bytes: int,
        on_free: Callable[[JobRun], None],
        on_left: Callable[[JobRun], None],
    ) -> None:
        self._engine, self._desk, self._claimed, self._endpoint = engine, desk, claimed, endpoint
        self._max_result_bytes = max_result_bytes
        self._on_free, self._on_left = on_free, on_left
        self.key: ClaimKey = claimed.key
        self.verdict: Verdict | None = None
        self.is_lost = False
        self._call: ServiceCall | None = None
        self._refusal: PenstockError | None = None
        self._stop: Stop | None = None
        self._output = JobOutput()
        self._is_started = self._start_is_sent = self._end_is_sent = self._is_free = self._has_left = False
        self._under_way: Write | None = None
        self._again: Write | None = None
        self._may_report_at = self._may_write_at = 0.0

    def __repr__(self) -> str:
        return f"<JobRun of {self.key.job}, claim {self.key.claim}: {self.verdict or 'running'}>"

    @property
    def endpoint(self) -> str:
        """The name of the endpoint."""
        return self._endpoint.name

    @property
    def is_settled(self) -> bool:
        """True while nothing changes but by an event: it has started, and has no outcome that waits for the worker."""
        return self._is_started and self._outcome is None

    @property
    def is_working(self) -> bool:
        """True while a worker runs code for it."""
        return self._call is not None and self._engine.is_working(self._call)

    @property
    def _outcome(self) -> Any:
        return self._refusal if self._call is None else self._call.outcome

    # ---- the engine

    def begin(self) -> None:
        """Submit the job."""
        try:
            submission, headers = submission_of(self._claimed, self._endpoint)
            self._call = self._engine.submit(
                submission, self._claimed.request.body, headers=headers, on_report=self._note
            )
        except PenstockError as error:
            self._refusal = error
        else:
            self._call.on_progress = self.look
        self.look()

    def cancel(self) -> None:
        """Stop it, because a caller wants that."""
        self._stop_with("cancel")

    def lose(self) -> None:
        """Stop it, because other engines may have it: nothing more is written."""
        self.is_lost = True
        self._stop_with("lease")
        self.look()

    def _stop_with(self, reason: Stop) -> None:
        if self._call is not None and self._call.outcome is None and self._stop is None:
            self._stop = reason
            self._call.cancel(reason if isinstance(reason, str) else reason.detail)

    def _note(self, report: Progress) -> None:
        self._output.note(report)
        self._write()

    def look(self) -> None:
        """Look at the call, which may have started, have chunks, or have an outcome."""
        call = self._call
        if call is not None:
            self._is_started = self._is_started or call.attempts > 0
            if call.has_chunks and (self._may_report or call.outcome is not None):
                self._take_chunks(call)
        if self.verdict is None and self._outcome is not None:
            self._judge()
        self._write()
        self._leave_if_still()

    def _take_chunks(self, call: ServiceCall) -> None:
        """Take what the stream has produced. While the store is slow the chunks stay, and the handler waits."""
        self._output.add(call.take())
        if self._output.size_bytes > self._max_result_bytes:
            self._stop_with(too_large(self._max_result_bytes))

    def _judge(self) -> None:
        outcome = self._outcome
        call = self._call
        verdict = judge(
            self._claimed.job,
            outcome if isinstance(outcome, PenstockError) else self._result(outcome),
            attempts=0 if call is None else call.attempts,
            stop=self._stop,
            max_result_bytes=self._max_result_bytes,
            now=self._desk.now(),
            draw=random.random,
        )
        # An end is reported when the caller has it. Where the job may run elsewhere next, or is said to be cancelled,
        # its code must have stopped.
        is_end = isinstance(verdict, Conclude) and verdict.ending.state != "cancelled"
        if is_end or not self.is_working:
            self.verdict = verdict

    def _result(self, outcome: Any) -> Result:
        call = self._call
        body, media_type = outcome.body, outcome.media_type or JSON
        if call is not None and call.head is not None:
            body, media_type = self._output.joined(call.head.media_type)
        return Result(body, media_type, outcome.status, dict(outcome.headers or {}))

    # ---- the store

    @property
    def _store(self) -> JobStore:
        return self._desk.store

    @property
    def _may_report(self) -> bool:
        return self._under_way is None and self._engine.time() >= self._may_report_at

    def _write(self) -> None:
        if self._under_way is not None or self.is_lost or self._engine.time() < self._may_write_at:
            return
        self._under_way = self._next_write()
        if self._under_way is not None:
            self._under_way().add_done_callback(self._come_back)

    def _next_write(self) -> Write | None:
        """Return the next thing to write, if its time has come."""
        now = self._desk.now()
        if self._again is not None:
            again, self._again = self._again, None
            return again
        if self._is_started and not self._start_is_sent and not isinstance(self.verdict, GiveBack):
            self._start_is_sent = True
            return lambda: self._store.started(self.key, now=now)
        if self._output.is_waiting and (self._may_report or self.verdict is not None):
            return self._report(now)
        if self.verdict is not None and not self._end_is_sent:
            self._end_is_sent = True
            return partial(self._end, self.verdict, now)
        return None

    def _report(self, now: float) -> Write:
        self._may_report_at = self._engine.time() + GROUP_SECONDS
        self._engine.call_at(self._may_report_at, self._look_again)
        reports = self._output.take()
        return lambda: self._store.report(self.key, reports, now=now)

    def _look_again(self) -> None:
        # Timers of uvloop are up to a millisecond early. The clock is not asked again: no other event might follow.
        self._may_report_at = self._may_write_at = 0.0
        self.look()

    def _end(self, verdict: Verdict, now: float) -> Future[Any]:
        if isinstance(verdict, Conclude):
            return self._store.finish(self.key, verdict.ending, now=now)
        if isinstance(verdict, RetryLater):
            return self._store.retry_later(self.key, verdict.not_before, verdict.reason, now=now)
        return self._store.give_back([self.key], now=now)

    def _come_back(self, future: Future[Any]) -> None:
        """Go on on the engine's thread. Called on a thread of the store."""
        self._desk.call_soon_threadsafe(lambda: self._written(future))

    def _written(self, future: Future[Any]) -> None:
        write, self._under_way = self._under_way, None
        error = future.exception()
        if error is not None:
            self._not_written(write, error)
        elif not future.result():
            self.lose()  # the claim does not hold the job any more
        else:
            self.look()

    def _not_written(self, write: Write | None, error: BaseException) -> None:
        if isinstance(error, StoreFull) and self._output.size_bytes and not self._end_is_sent:
            self._stop_with(error)  # its chunks do not fit
            self._stop, self.verdict = error, None
            self.look()
        elif isinstance(error, Unavailable):
            # The lease limits how long this goes on.
            self._again, self._may_write_at = write, self._engine.time() + RETRY_SECONDS
            self._engine.call_at(self._may_write_at, self._look_again)
        else:
            self.lose()
            raise error

    def _leave_if_still(self) -> None:
        if self.verdict is None and not self.is_lost:
            return
        if not self._is_free and not self.is_working:
            self._is_free = True
            self._on_free(self)
        is_written = self._end_is_sent and self._under_way is None and self._again is None
        if self._is_free and (is_written or self.is_lost) and not self._has_left:
            self._has_left = True
            self._on_left(self)

    def write_rest(self) -> list[Future[Any]]:
        """Write what is left, without waiting for one write before the next: the engine's thread ends."""
        futures = []
        while not self.is_lost and (write := self._next_write()) is not None:
            futures.append(write())
        return futures
