"""Conduct: whether what a worker reports can be true, judged by what it was sent. It changes nothing.

User code can write to its worker's socket, by accident or on purpose. So a report counts only if it comes from the
worker that holds the attempt, and fits the attempt's kind and state. Any other report breaks the protocol; the worker
is then killed (``events.ProtocolBroken``).

A worker that behaves is never accused. There are only two reasons why it may report on an attempt that it does not
hold, and both are known exactly:

- the attempt was recalled, and the worker acknowledges that, or had begun it at the same moment (see
  ``sending_ahead``): the scheduler keeps the ids of these attempts until then, in ``SchedulerState.given_back``;
- the worker has been killed, and had sent the report before: nothing that comes from a dead worker counts.

Everything else is still held when the report of a good worker arrives: an attempt leaves the scheduler's records only
by its results, by a recall, or with its worker.
"""

from __future__ import annotations

from penstock.scheduler import events as on
from penstock.scheduler.jobs import Attempt
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import DEAD, RUNNING, SENT, STARTING, STREAMING


def breach(state: SchedulerState, worker_id: int, event: on.Event) -> str | None:
    """Return why this event cannot be true if this worker reports it, or None if it can."""
    match event:
        case on.ResultsArrived():
            return breach_by_results(state, worker_id, event, state.attempts.get(event.attempt))
        case on.StreamBegan():
            return breach_by_stream(state, worker_id, event)
        case on.ChunksArrived():
            return breach_by_chunks(state, worker_id, event)
        case on.SetupFinished():
            return breach_by_setup(state, worker_id)
        case on.Recalled():
            return breach_by_recall(state, worker_id, event.started)
        case _:
            return None


def breach_by_results(
    state: SchedulerState, worker_id: int, event: on.ResultsArrived, attempt: Attempt | None
) -> str | None:
    """Return why this worker cannot have ended the attempt like this, or None if it can."""
    if attempt is None or attempt.worker.id != worker_id:
        return _stray(state, worker_id, event)
    if attempt.state is not SENT and len(event.results) == len(attempt.jobs) and on.NOT_BEGUN not in event.results:
        return None
    return _problem_of_results(event, attempt)


def _problem_of_results(event: on.ResultsArrived, attempt: Attempt) -> str | None:
    """Return the problem with results that come from the right worker, but are unusual; None if there is none."""
    results, count = event.results, len(attempt.jobs)
    if attempt.state is SENT:
        return f"it has ended attempt {attempt.id} out of turn"
    if len(results) != count:
        return f"it has sent {len(results)} results for the {count} jobs of attempt {attempt.id}"
    is_recalled = attempt.id <= attempt.worker.recalled and all(result is on.NOT_BEGUN for result in results)
    return None if is_recalled else f"it gives back attempt {attempt.id}, which it was not asked for"


def breach_by_stream(state: SchedulerState, worker_id: int, event: on.StreamBegan) -> str | None:
    """Return why this worker cannot have begun to stream in this attempt, or None if it can."""
    attempt = state.attempts.get(event.attempt)
    if attempt is None or attempt.worker.id != worker_id:
        return _stray(state, worker_id, event)
    if attempt.lane.batching is not None:
        return f"it streams in attempt {attempt.id} of {attempt.lane.name}, which runs in batches"
    if attempt.state is SENT:
        return f"it streams in attempt {attempt.id} out of turn"
    return f"it has begun the stream of attempt {attempt.id} twice" if attempt.state is STREAMING else None


def breach_by_chunks(state: SchedulerState, worker_id: int, event: on.ChunksArrived) -> str | None:
    """Return why this worker cannot have sent chunks of this attempt, or None if it can."""
    attempt = state.attempts.get(event.attempt)
    if attempt is None or attempt.worker.id != worker_id:
        return _stray(state, worker_id, event)
    # One that is being stopped may have begun to stream before, or since; no caller sees what it sends.
    if attempt.state is RUNNING or attempt.state is SENT:
        return f"it has sent a chunk of attempt {attempt.id} of {attempt.lane.name}, which has not begun a stream"
    return None


def breach_by_setup(state: SchedulerState, worker_id: int) -> str | None:
    """Return why this worker cannot have finished its set-up now, or None if it can."""
    worker = state.workers.get(worker_id)
    if worker is None or worker.state is STARTING or worker.state is DEAD:
        return None
    return "it reports the end of its set-up a second time"


def breach_by_recall(state: SchedulerState, worker_id: int, started: int) -> str | None:
    """Return why this worker cannot have begun this attempt last, or None if it can. ``started`` as in ``Recalled``."""
    worker = state.workers.get(worker_id)
    if worker is None or started <= worker.latest:
        return None
    return f"it claims to have begun attempt {started}, which it was never sent"


def _stray(
    state: SchedulerState, worker_id: int, event: on.ResultsArrived | on.StreamBegan | on.ChunksArrived
) -> str | None:
    """Return what is wrong with a report on an attempt that the worker does not hold; None if there is an excuse."""
    worker = state.workers.get(worker_id)
    if worker is None or worker.state is DEAD:
        return None
    if state.given_back.get(event.attempt) == worker_id:
        return None
    return f"it reports on attempt {event.attempt}, which it does not hold"
