"""One attempt, in whichever mode: decode bodies, call the user's code, encode results, turn exceptions into failures.

Nothing here depends on a loop, a socket or a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any

from penstock.app import Endpoint
from penstock.codec.chunk_filters import ChunkFilter, filtered
from penstock.codec.chunk_stream import ChunkStream
from penstock.context import Context
from penstock.errors import HandlerError
from penstock.response import Encoded
from penstock.wire import FAILED_HANDLER, Done, Failure, Run, Work
from penstock.worker.failure_reports import cancelled, failure_of
from penstock.worker.forks import leave_if_forked
from penstock.worker.interrupts import Interrupted
from penstock.worker.large_bodies import LARGE_RESULT_BYTES, set_aside, set_aside_all
from penstock.worker.progress_reports import Outlet, ProgressReports

JobResult = Encoded | Failure

END_OF_STREAM = Encoded(b"")
_PENDING = Encoded(b"")  # reserves a place among the results of a batch


class LiveEndpoint:
    """An endpoint in this worker, with the function or model that answers it.

    Parameters
    ----------
    endpoint:
        The endpoint as declared.
    predict:
        The handler: a function, or the bound ``predict`` of this worker's instance; the ``admit`` of a generation loop.
    loop:
        The instance of its class, if it is a generation loop.

    Attributes
    ----------
    has_filter:
        True if the inputs have filters of their answers.
    has_large:
        True once ``encode`` has returned a large result; such results are then to be set aside.
    """

    __slots__ = (
        "_codec",
        "_predict",
        "answer",
        "endpoint",
        "has_filter",
        "has_large",
        "loop",
        "mode",
        "needs_context",
    )

    def __init__(self, endpoint: Endpoint, predict: Callable[..., Any], loop: Any = None) -> None:
        self.endpoint = endpoint
        self.loop = loop
        self.mode = endpoint.mode
        self.needs_context = endpoint.codec.context_parameter is not None
        self.has_filter = endpoint.codec.has_filter
        self.has_large = False
        self._codec = endpoint.codec
        self._predict = predict
        self.answer: Callable[[Invocation], Done | ChunkStream] = (
            self._answer_batch if endpoint.batching else self._answer_one
        )

    def start(self, invocation: Invocation, slot: int | None = None) -> Any:
        """Decode the one job and call the handler; return its value, coroutine or generator.

        With a slot, the handler is the ``admit`` of a generation loop.
        """
        decoded, invocation.chunk_filter = self.decode(invocation.run.works[0])
        predict = self._predict if slot is None else partial(self._predict, slot)
        return self._codec.call(predict, decoded, invocation.context())

    def start_group(self, invocation: Invocation, group: Group) -> Any:
        """Call a batching handler with some jobs of a batch."""
        return self._codec.call(self._predict, group.inputs, invocation.context())

    def _answer_one(self, invocation: Invocation) -> Done | ChunkStream:
        began = perf_counter()
        result: Encoded | Failure
        try:
            returned = self.start(invocation)
            stream = self._codec.stream_of(returned)
            if stream is not None:
                return _plain(self._filtered(invocation, stream))
            if invocation.chunk_filter is not None:
                returned = invocation.chunk_filter.whole(returned)
            result = self._codec.encode(returned)
            if len(result.body) > LARGE_RESULT_BYTES:
                result = set_aside(result)
        except Interrupted:
            raise
        except BaseException as error:  # SystemExit and KeyboardInterrupt from user code end a job, not the worker
            result = self.failure_of(error)
        results = [result]
        leave_if_forked(results)
        return Done(invocation.run.attempt, perf_counter() - began, results)

    def _answer_batch(self, invocation: Invocation) -> Done:
        began = perf_counter()
        batch = Batch(self, invocation.run.works)
        for group in batch.groups():
            try:
                group.settle(self.start_group(invocation, group))
                if self.has_large:
                    set_aside_all(batch.results)
            except Interrupted:
                raise
            except BaseException as error:
                group.fail(self.failure_of(error))
        leave_if_forked(batch.results)
        return Done(invocation.run.attempt, perf_counter() - began, batch.results)

    def slot_stream(self) -> ChunkStream:
        """Return the stream of any slot of a generation loop, as far as they are alike: its head, and its encoding."""
        stream = self._codec.stream_of(iter(()))
        assert stream is not None
        return stream

    def stream_of(self, invocation: Invocation, returned: Any) -> ChunkStream | None:
        """Return the stream that the handler has returned, filtered, or None if it has returned a single value."""
        stream = self._codec.stream_of(returned)
        return None if stream is None else self._filtered(invocation, stream)

    def _filtered(self, invocation: Invocation, stream: ChunkStream) -> ChunkStream:
        return stream if invocation.chunk_filter is None else filtered(stream, invocation.chunk_filter)

    def encode(self, value: Any) -> JobResult:
        """Encode one result; a value that cannot be sent becomes a failure of the handler."""
        try:
            encoded = self._codec.encode(value)
            if len(encoded.body) > LARGE_RESULT_BYTES:
                self.has_large = True
            return encoded
        except Exception as error:
            return self.failure_of(error)

    def failure_of(self, error: BaseException) -> Failure:
        """Return the failure to report for an exception in this endpoint's code, and whether it may be retried."""
        return failure_of(error, self.endpoint)

    def decode(self, work: Work) -> tuple[Any, ChunkFilter | None]:
        """Decode the input of one job, and return it with the filter of its answer; ``InvalidRequest`` if it is bad."""
        decoded = self._codec.decode(work.body, work.input_form)
        if work.input_form is None and not self.has_filter:
            return decoded, None
        if work.input_form is not None and work.input_form.decoder:
            work.body = b""  # a decoder has copied what the handler gets, so a large body need not stay in memory
        return self._codec.with_filter(decoded)

    def groups(self, inputs: list[Any]) -> list[list[int]] | None:
        """Return which inputs of a batch go to the handler together, by their places; None for all of them."""
        return self._codec.tensors.groups(inputs)

    def taken_apart(self, returned: Any, inputs: list[Any]) -> Any:
        """Return what the handler has returned for a group as a sequence with one result for each."""
        return self._codec.tensors.taken_apart(returned, inputs)


def _plain(stream: ChunkStream) -> ChunkStream:
    """Return the stream, which no loop is there to iterate over if it is asynchronous."""
    leave_if_forked()
    if stream.is_async:
        raise HandlerError(
            f"the handler returned a {type(stream.chunks).__name__}, which is asynchronous, but it is a plain `def`; "
            "write `async def`"
        )
    return stream


class Invocation:
    """One call of a handler: its ``Run``, and the ``Context`` that shows whether it is still wanted.

    Parameters
    ----------
    run, live:
        The attempt, and its endpoint.
    is_cancelled:
        Returns whether the attempt is no longer wanted.
    outlet:
        The way out for its progress reports.

    Attributes
    ----------
    chunk_filter:
        The filter of its answer; None if there is none, and until its input has been decoded.
    """

    __slots__ = ("_is_cancelled", "_live", "_outlet", "_reports", "chunk_filter", "run")

    def __init__(self, run: Run, live: LiveEndpoint, is_cancelled: Callable[[], bool], outlet: Outlet) -> None:
        self.run = run
        self._live = live
        self._is_cancelled = is_cancelled
        self._outlet = outlet
        self._reports: ProgressReports | None = None
        self.chunk_filter: ChunkFilter | None = None

    def context(self) -> Context | None:
        """Return the ``Context``, or None if the handler does not take one.

        A batch's context carries only its deadline, cancellation and trace: its jobs have different callers.
        """
        if not self._live.needs_context:
            return None
        about = self.run.works[0].about
        if about is None:
            return Context(deadline=self.run.deadline, is_cancelled=self._is_cancelled, trace=self.run.trace)
        report = None
        if any(work.about is not None and work.about.is_watched for work in self.run.works):
            self._reports = ProgressReports(self.run.attempt, self._outlet)
            report = self._reports.report
        if self._live.endpoint.batching:
            return Context(
                deadline=about.deadline, is_cancelled=self._is_cancelled, trace=self.run.trace, report=report
            )
        return Context(
            job_id=about.job_id,
            request_id=about.request_id,
            attempt=about.attempt,
            claim=about.claim,
            principal=about.principal,
            headers=about.headers,
            query=about.query,
            deadline=about.deadline,
            is_cancelled=self._is_cancelled,
            trace=self.run.trace,
            report=report,
        )

    def end(self) -> None:
        """Send the last progress report, if it was held back. Its ``Done`` comes next."""
        if self._reports is not None:
            self._reports.end()

    def cancelled(self, error: Interrupted | None = None, *, seconds: float = 0.0) -> Done:
        """Acknowledge that the attempt was stopped; an interrupt's traceback shows where it struck."""
        failure = cancelled() if error is None else failure_of(error)
        return Done(self.run.attempt, seconds, [failure] * len(self.run.works))


def handler_failure(problem: str) -> Failure:
    """Return the failure of a handler whose return value cannot be used."""
    return Failure(FAILED_HANDLER, problem, f"{HandlerError.__module__}.{HandlerError.__qualname__}")


class Batch:
    """The jobs of a batch: those that decode go to the handler, the others have failed already.

    Attributes
    ----------
    results:
        One for each job, complete once each group has been settled or has failed.
    """

    def __init__(self, live: LiveEndpoint, works: list[Work]) -> None:
        self._live = live
        self._pending: list[int] = []  # the place in results of each input
        self._filters: list[ChunkFilter | None] = []  # the filter of its result
        self._inputs: list[Any] = []
        self.results: list[JobResult] = []
        for work in works:
            self._decode(work)

    def _decode(self, work: Work) -> None:
        try:
            decoded, chunk_filter = self._live.decode(work)
        except Exception as error:
            self.results.append(failure_of(error))
        else:
            self._inputs.append(decoded)
            self._filters.append(chunk_filter)
            self._pending.append(len(self.results))
            self.results.append(_PENDING)

    def groups(self) -> list[Group]:
        """Return the jobs that go to the handler, each group in a call of its own."""
        if not self._inputs:
            return []
        groups = self._live.groups(self._inputs)
        if groups is None:
            return [Group(self._live, self._inputs, self._filters, self._pending, self.results)]
        return [
            Group(
                self._live,
                [self._inputs[place] for place in places],
                [self._filters[place] for place in places],
                [self._pending[place] for place in places],
                self.results,
            )
            for places in groups
        ]


class Group:
    """The jobs of a batch that go to the handler in one call.

    Parameters
    ----------
    inputs:
        The inputs.
    filters:
        The filter of the result of each, or None.
    places:
        The place of the result of each.
    results:
        The results of the batch.
    """

    def __init__(
        self,
        live: LiveEndpoint,
        inputs: list[Any],
        filters: list[ChunkFilter | None],
        places: list[int],
        results: list[JobResult],
    ) -> None:
        self._live = live
        self.inputs = inputs
        self._filters = filters
        self._places = places
        self._results = results

    def settle(self, returned: Any) -> None:
        """Assign each item that the handler returned to its job."""
        items = self._live.taken_apart(returned, self.inputs)
        problem = self._problem_with(items)
        if problem is not None:
            self.fail(handler_failure(problem))
            return
        if any(self._filters):
            items = [_whole(item, chunk_filter) for item, chunk_filter in zip(items, self._filters, strict=True)]
        for place, item in zip(self._places, items, strict=True):
            is_error = isinstance(item, BaseException)
            self._results[place] = self._live.failure_of(item) if is_error else self._live.encode(item)

    def fail(self, failure: Failure) -> None:
        """Assign the same failure to every job of the group."""
        for place in self._places:
            self._results[place] = failure

    def _problem_with(self, returned: Any) -> str | None:
        """Return why ``returned`` cannot be the results of this group, or None if it can."""
        wanted = f"for a batch of {len(self.inputs)}: return a list with one result, or one exception, for each"
        # A data frame has a length, but iterates over the names of its columns.
        is_frame = hasattr(returned, "columns")
        is_sequence = hasattr(returned, "__len__") and hasattr(returned, "__getitem__") and not is_frame
        if not is_sequence or isinstance(returned, (str, bytes, bytearray, Mapping)):
            return f"predict returned a {type(returned).__name__} {wanted}"
        if len(returned) != len(self.inputs):
            return f"predict returned {len(returned)} results {wanted}"
        return None


def _whole(item: Any, chunk_filter: ChunkFilter | None) -> Any:
    """Return what to send for an item of a batch, filtered; an exception for one that its filter refuses."""
    if chunk_filter is None or isinstance(item, BaseException):
        return item
    try:
        return chunk_filter.whole(item)
    except Exception as error:
        return error
