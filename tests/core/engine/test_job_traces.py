"""The records of sampled jobs: their attempts, with their times and ends, whatever happens to them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import App, Batching, Retries, Timeouts
from penstock.errors import HookError
from penstock.hooks import BatchTraced, Job, JobTraced, PenstockError, Submission, Trace, hookimpl
from penstock.testing import Behaviour, PluginHarness

STUCK = Behaviour(seconds=60.0)
CRASHING = Behaviour(seconds=0.1, crashes=True)


class Traced:
    """Samples every request, except for those that ask not to be."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    @hookimpl
    def penstock_tracer(self) -> Callable[[Submission], Trace | None]:
        def trace(submission: Submission) -> Trace | None:
            how = submission.header("how") or "sampled"
            number = next(self._numbers)
            return None if how == "none" else Trace(f"{number:032x}", f"{number:016x}", how == "sampled", 1)

        return trace

    @hookimpl
    def penstock_retry_policy(self) -> Callable[[Job, PenstockError, float], float | None]:
        def again(job: Job, error: PenstockError, now: float) -> float | None:
            if job.attempts == 3 or not getattr(error, "may_retry", True):
                return None
            return getattr(error, "retry_delay", None) or 0.0

        return again


def harness(**options: Any) -> PluginHarness:
    app = App("tests")
    app.pool("default", workers=options.pop("workers", 1))

    @app.endpoint("/square", **{"pool": "default", "retries": Retries(max_attempts=3, backoff=None), **options})
    def square(input: float) -> float:
        return input**2

    return PluginHarness(app, [Traced])


def batching(**options: Any) -> PluginHarness:
    app = App("tests")

    @app.endpoint("/squares", batching=Batching(max_size=3, max_wait=0.01), **options)
    def squares(inputs: list[float]) -> list[float]:
        return [value**2 for value in inputs]

    return PluginHarness(app, [Traced])


def check(record: JobTraced) -> None:
    """Check that attempts follow each other between arrival and answer."""
    instants = [record.arrived]
    for attempt in record.attempts:
        instants += [attempt.started, attempt.ended]
    assert instants == sorted(instants)
    assert instants[-1] <= record.answered
    assert [attempt.number for attempt in record.attempts] == list(range(1, len(record.attempts) + 1))


def test_a_job_leaves_one_record() -> None:
    """With its wait, its attempt and its worker; a request that is not sampled leaves none."""
    engine = harness()
    engine.request(behaviour=Behaviour(seconds=1.0))
    for how in ("none", "passed on"):
        engine.request(headers={"how": how})
    start = engine.clock.now
    second = engine.request(behaviour=Behaviour(seconds=0.5))
    engine.advance(5)
    _, record = engine.records_of(JobTraced)
    check(record)
    assert (record.request_id, record.endpoint, record.code) == (second.request_id, "square", "ok")
    assert record.trace == second.submission.trace
    [attempt] = record.attempts
    assert (attempt.worker, attempt.code, attempt.batch) == ("default/0", "ok", None)
    assert record.arrived == start
    assert attempt.ended - attempt.started == pytest.approx(0.5)
    assert record.answered == attempt.ended


def test_each_way_to_end() -> None:
    """The code of the outcome is that of the last attempt; a job that expires in its queue has none."""
    engine = harness(timeouts=Timeouts(execution=1.0, queue=0.5), retries=Retries(max_attempts=1))
    stuck = engine.request(behaviour=STUCK)
    queued = engine.request()
    engine.advance(0.2)
    cancelled = engine.request()
    assert cancelled.job is not None
    engine.cancel(cancelled.job)
    engine.advance(5)
    failing = engine.request(behaviour=Behaviour(fails=True))
    engine.advance(5)
    found = {record.request_id: record for record in engine.records_of(JobTraced)}
    for record in found.values():
        check(record)
    assert [attempt.code for attempt in found[stuck.request_id].attempts] == ["execution-timeout"]
    assert (found[queued.request_id].code, found[queued.request_id].attempts) == ("queue-timeout", [])
    assert (found[cancelled.request_id].code, found[cancelled.request_id].attempts) == ("cancelled", [])
    assert [attempt.code for attempt in found[failing.request_id].attempts] == ["handler-error"]


def test_a_job_that_is_tried_again_has_an_attempt_for_each_try() -> None:
    """A failed one, and one that has lost its worker."""
    engine = harness()
    failing = engine.request(behaviour=Behaviour(fails=True, may_retry=True, retry_delay=0.25, recovers=1))
    engine.advance(5)
    crashing = engine.request(behaviour=CRASHING)
    engine.advance(20)
    first, second = engine.records_of(JobTraced)
    check(first)
    check(second)
    assert (first.request_id, [attempt.code for attempt in first.attempts]) == (
        failing.request_id,
        ["handler-error", "ok"],
    )
    assert first.attempts[0].retry_delay == 0.25
    assert first.attempts[1].started - first.attempts[0].ended == pytest.approx(0.25)
    assert (second.request_id, second.code) == (crashing.request_id, "worker-lost")
    assert [attempt.code for attempt in second.attempts] == ["worker-lost", "worker-lost"]


def test_a_batch_leaves_a_record_with_its_members() -> None:
    """Its trace is its own, and is known to each of its jobs; a job that is not sampled is not among them."""
    engine = batching()
    for how in ("none", "sampled", "sampled"):
        engine.request(headers={"how": how})
    engine.advance(1)
    [batch] = engine.records_of(BatchTraced)
    jobs = engine.records_of(JobTraced)
    assert (batch.jobs, batch.useful, len(batch.members)) == (3, 3, 2)
    assert [member.span_id for member in batch.members] == [job.trace.attempt_id(1) for job in jobs]
    assert {attempt.batch for job in jobs for attempt in job.attempts} == {batch.trace}
    assert batch.trace.trace_id not in {job.trace.trace_id for job in jobs}
    assert (batch.started, batch.ended) == (jobs[0].attempts[0].started, jobs[0].attempts[0].ended)


def test_a_batch_whose_worker_dies_ends_then() -> None:
    """Its jobs go on, each for itself, and each is a batch again."""
    engine = batching(retries=Retries(max_attempts=3, backoff=None))
    for _ in range(2):
        engine.request(behaviour=CRASHING)
    engine.advance(20)
    batches = engine.records_of(BatchTraced)
    assert [batch.jobs for batch in batches] == [2, 1, 1]
    assert batches[0].useful == 0
    jobs = engine.records_of(JobTraced)
    for job in jobs:
        check(job)
    members = {(member.trace_id, member.span_id) for batch in batches for member in batch.members}
    assert members == {(job.trace.trace_id, job.trace.attempt_id(a.number)) for job in jobs for a in job.attempts}


def test_the_end_of_a_drain_ends_the_traces_too() -> None:
    """Each job leaves its record, whatever state it was in."""
    engine = harness()
    for _ in range(3):
        engine.request(behaviour=STUCK)
    engine.shutdown(0.5)
    engine.advance(10)
    records = engine.records_of(JobTraced)
    assert [record.code for record in records] == ["draining"] * 3
    assert sorted(len(record.attempts) for record in records) == [0, 0, 1]


BEHAVIOURS = st.sampled_from(
    [
        Behaviour.QUICK,
        Behaviour(seconds=0.0002),
        Behaviour(seconds=0.3),
        STUCK,
        CRASHING,
        Behaviour(fails=True, may_retry=True, recovers=1),
        Behaviour(fails=True, may_retry=True, retry_delay=0.1),
        Behaviour(fails=True),
        Behaviour(seconds=60.0, acknowledges=60.0),
        Behaviour(chunks=3, every=0.05),
    ]
)


@given(
    st.lists(st.tuples(BEHAVIOURS, st.floats(0, 0.2), st.booleans()), min_size=1, max_size=30),
    st.integers(1, 3),
    st.booleans(),
)
def test_every_sampled_job_leaves_one_record_that_adds_up(
    requests: list[tuple[Behaviour, float, bool]], workers: int, is_batched: bool
) -> None:
    """In any order of happenings: sent ahead, given back, lost, spared, cancelled; and nothing is kept afterwards."""
    timeouts = Timeouts(execution=1.0, queue=3.0, grace=0.1)
    engine = batching(timeouts=timeouts, workers=workers) if is_batched else harness(timeouts=timeouts, workers=workers)
    sent = []
    for behaviour, pause, is_cancelled in requests:
        request = engine.request(behaviour=Behaviour(seconds=0.1) if is_batched and behaviour.chunks else behaviour)
        sent.append(request)
        engine.advance(pause)
        if is_cancelled and request.job is not None and request.job.outcome is None:
            engine.cancel(request.job)
    engine.advance(300)
    records = {record.request_id: record for record in engine.records_of(JobTraced)}
    assert len(records) == len(engine.records_of(JobTraced))
    for request in sent:
        assert request.code is not None
        if request.job is not None:
            record = records[request.request_id]
            check(record)
            assert (record.code, len(record.attempts)) == (request.code, request.job.attempts)
    traces = engine._observers.traces
    assert traces is not None
    assert traces._open == {}


def test_a_tracer_that_fails_fails_its_request() -> None:
    """As any decision does; and what is not a trace is a failure too."""

    class Broken:
        @hookimpl
        def penstock_tracer(self) -> Callable[[Submission], Any]:
            return lambda submission: "a trace"

    app = App("tests")
    app.endpoint("/square")(lambda number: number)
    request = PluginHarness(app, [Broken]).request()
    assert isinstance(request.error, HookError)
    assert "instead of a Trace or None" in request.error.reason
