"""One attempt, whichever way it runs: bodies decoded, the user's code called, results encoded, exceptions turned round.

Nothing here knows a loop, a socket or a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from penstock.app import Endpoint
from penstock.context import Context
from penstock.errors import HandlerError
from penstock.response import Encoded
from penstock.wire import FAILED_HANDLER, Done, Failure, Run, Work
from penstock.worker.failure_reports import cancelled, failure_of
from penstock.worker.forks import leave_if_forked
from penstock.worker.interrupts import Interrupted

Result = Encoded | Failure

# Chunks of one stream that were sent and that nobody has taken yet, in bytes; then the stream waits for credit.
WINDOW_BYTES = 1 << 20

END_OF_STREAM = Encoded(b"")
_OPEN = Encoded(b"")  # holds a place among the results of a batch


class LiveEndpoint:
    """An endpoint in this worker, with what it calls.

    Parameters
    ----------
    endpoint:
        What was declared.
    predict:
        The function, or the bound method of the instance that lives here.
    """

    __slots__ = ("_codec", "_predict", "answer", "endpoint", "mode", "needs_context")

    def __init__(self, endpoint: Endpoint, predict: Callable[..., Any]) -> None:
        self.endpoint = endpoint
        self.mode = endpoint.mode
        self.needs_context = endpoint.codec.context_parameter is not None
        self._codec = endpoint.codec
        self._predict = predict
        self.answer: Callable[[Invocation], Done] = self._answer_batch if endpoint.batching else self._answer_one

    def start(self, call: Invocation) -> Any:
        """Decode the one job and call the handler; returns what it returns: a value, a coroutine or a generator."""
        return self._codec.call(self._predict, self._codec.decode(call.run.works[0].body), call.context())

    def start_batch(self, call: Invocation, batch: Batch) -> Any:
        """Invocation a batching handler with the jobs of the batch that could be decoded."""
        return self._codec.call(self._predict, batch.decoded, call.context())

    def _answer_one(self, call: Invocation) -> Done:
        began = perf_counter()
        try:
            result: Result = self._codec.encode(self.start(call))
        except Interrupted:
            raise
        except BaseException as error:  # SystemExit and KeyboardInterrupt of user code end a job, not the worker
            result = self.failure_of(error)
        results = [result]
        leave_if_forked(results)
        return Done(call.run.attempt, perf_counter() - began, results)

    def _answer_batch(self, call: Invocation) -> Done:
        began = perf_counter()
        batch = Batch(self, call.run.works)
        try:
            if batch.decoded:
                batch.settle(self.start_batch(call, batch))
        except Interrupted:
            raise
        except BaseException as error:
            batch.fail(self.failure_of(error))
        leave_if_forked(batch.results)
        return Done(call.run.attempt, perf_counter() - began, batch.results)

    def encode_chunk(self, value: Any) -> bytes:
        """Encode one chunk of a stream; raises ``HandlerError`` if it cannot be sent."""
        return self._codec.encode_chunk(value)

    def encode(self, value: Any) -> Result:
        """Encode one result; what cannot be sent is the handler's failure."""
        try:
            return self._codec.encode(value)
        except Exception as error:
            return self.failure_of(error)

    def failure_of(self, error: BaseException) -> Failure:
        """What to report for an exception of this endpoint's code, and whether it may be tried again."""
        return failure_of(error, self.endpoint)

    def decode(self, body: bytes) -> Any:
        """Decode the body of one job; raises ``InvalidRequest`` if it does not fit."""
        return self._codec.decode(body)


class Invocation:
    """A ``Run`` on its way, with the means to tell its handler whether it is still wanted."""

    __slots__ = ("_is_cancelled", "_live", "run")

    def __init__(self, run: Run, live: LiveEndpoint, is_cancelled: Callable[[], bool]) -> None:
        self.run = run
        self._live = live
        self._is_cancelled = is_cancelled

    def context(self) -> Context | None:
        """Make the ``Context``, if the handler takes one.

        That of a batch speaks of the batch, by its deadline and whether it is cancelled: the jobs in it have different
        callers, and none of them may be taken for all.
        """
        if not self._live.needs_context:
            return None
        about = self.run.works[0].about
        if about is None:
            return Context(deadline=self.run.deadline, is_cancelled=self._is_cancelled)
        if self._live.endpoint.batching:
            return Context(deadline=about.deadline, is_cancelled=self._is_cancelled)
        return Context(
            job_id=about.job_id,
            attempt=about.attempt,
            principal=about.principal,
            headers=about.headers,
            deadline=about.deadline,
            is_cancelled=self._is_cancelled,
        )

    def cancelled(self, error: Interrupted | None = None, *, seconds: float = 0.0) -> Done:
        """Acknowledge that the attempt was stopped; an interrupt tells in its traceback where it struck."""
        failure = cancelled() if error is None else failure_of(error)
        return Done(self.run.attempt, seconds, [failure] * len(self.run.works))


class Batch:
    """The jobs of a batch: those that decode are called together, the others have failed already.

    Attributes
    ----------
    decoded:
        The inputs to call the handler with.
    results:
        One for each job, complete after ``settle`` or ``fail``.
    """

    def __init__(self, live: LiveEndpoint, works: list[Work]) -> None:
        self._live = live
        self._open: list[int] = []  # places in results that belong to decoded, in its order
        self.decoded: list[Any] = []
        self.results: list[Result] = []
        for work in works:
            self._take(work.body)

    def _take(self, body: bytes) -> None:
        try:
            self.decoded.append(self._live.decode(body))
        except Exception as error:
            self.results.append(failure_of(error))
        else:
            self._open.append(len(self.results))
            self.results.append(_OPEN)

    def settle(self, returned: Any) -> None:
        """Give each job its item of what the handler returned."""
        problem = self._misfit(returned)
        if problem is not None:
            self.fail(Failure(FAILED_HANDLER, problem, f"{HandlerError.__module__}.{HandlerError.__qualname__}"))
            return
        for place, item in zip(self._open, returned, strict=True):
            is_error = isinstance(item, BaseException)
            self.results[place] = self._live.failure_of(item) if is_error else self._live.encode(item)

    def fail(self, failure: Failure) -> None:
        """Give each job that was called the same failure."""
        for place in self._open:
            self.results[place] = failure

    def _misfit(self, returned: Any) -> str | None:
        """What is wrong with it as the results of this batch, if anything."""
        wanted = f"for a batch of {len(self.decoded)}: return a list with one result, or one exception, for each"
        is_sequence = hasattr(returned, "__len__") and hasattr(returned, "__getitem__")
        if not is_sequence or isinstance(returned, (str, bytes, bytearray, Mapping)):
            return f"predict returned a {type(returned).__name__} {wanted}"
        if len(returned) != len(self.decoded):
            return f"predict returned {len(returned)} results {wanted}"
        return None
