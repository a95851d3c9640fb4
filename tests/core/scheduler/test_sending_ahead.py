"""Sending ahead: what may wait in a busy worker's line, when it begins, and when it is recalled."""

from __future__ import annotations

import math
from typing import Any

import pytest

from penstock.policies import Batching, Retries, Timeouts
from penstock.response import Encoded
from penstock.scheduler import Job, LaneSpec, PoolSpec
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler.sending_ahead import AHEAD_BYTES, AHEAD_MOST, AHEAD_SECONDS, STALL_SECONDS
from penstock.scheduler.states import QUEUED, RUNNING, STREAMING
from penstock.testing import Behaviour, FakeEngine, FakeWorker
from tests.core.scheduler.scheduling import code, codes, events, lane, names, ready

BRISK = Behaviour(seconds=0.0003)
STUCK = Behaviour(seconds=math.inf, acknowledges=0.001)


def brisk(*, workers: int = 1, seconds: float = BRISK.seconds, **options: Any) -> FakeEngine:
    """Return an engine with a lane that runs in turn, whose attempts are known to be short."""
    engine = ready(lane(runs_in_turn=True, **options), workers=workers)
    engine.submit(behaviour=Behaviour(seconds=seconds))
    engine.advance(0.1)
    engine.answered.clear()
    return engine


def line(engine: FakeEngine, worker: int = 1) -> list[Job]:
    """Return the jobs that wait in the worker's line."""
    return [job for attempt in engine.scheduler.workers[worker].line for job in attempt.jobs]


def submit(engine: FakeEngine, number: int, behaviour: Behaviour = BRISK) -> list[Job]:
    """Submit ``number`` jobs with the same behaviour, and return them."""
    return [engine.submit(behaviour=behaviour) for _ in range(number)]


class Hesitant(FakeEngine):
    """An engine whose workers pause before each attempt, and count it as begun before or after the pause."""

    says_early = False

    def start_worker(self, command: do.StartWorker) -> None:
        self.workers[command.worker] = FakeWorker(
            command.worker, self.agenda, self.receive, pause=0.0001, says_early=self.says_early
        )


def hesitant(*, says_early: bool, **options: Any) -> FakeEngine:
    """Return an engine as ``brisk`` does, with hesitant workers."""
    engine = Hesitant([PoolSpec(name="default")], [lane(runs_in_turn=True, **options)])
    engine.says_early = says_early
    engine.start()
    engine.advance(1.0)
    engine.submit(behaviour=BRISK)
    engine.advance(0.1)
    return engine


# ---- streams


def test_a_line_does_not_wait_for_the_end_of_a_stream() -> None:
    """When an attempt turns out to be a stream, other workers get the jobs behind it at once."""
    engine = brisk(workers=2)
    stream = engine.submit(behaviour=Behaviour(seconds=9.0, chunks=1, every=0.0001))
    busy, *ahead = submit(engine, 2, Behaviour(seconds=0.0004))
    assert line(engine) == ahead
    engine.advance(0.00005)
    assert (stream.attempt.state, line(engine)) == (STREAMING, [])
    engine.advance(0.001)
    assert codes(stream, busy, *ahead) == [None, "ok", "ok"]


def test_a_stream_that_was_begun_at_the_moment_of_its_recall_is_stopped() -> None:
    """Its job is queued again, and the stream would hold its worker until its window is used up."""
    engine = brisk()
    stuck, stream = engine.submit(behaviour=STUCK), engine.submit()
    attempt = stream.attempt.id
    engine.receive(on.Recalled(1, started=stuck.attempt.id))
    commands = engine.receive(on.StreamBegan(attempt, Encoded(b"")))
    assert commands == [do.Interrupt(1, attempt)]
    assert stream.head is None


# ---- which jobs are sent ahead


def test_short_work_is_sent_ahead() -> None:
    """Jobs wait in the line behind a short attempt; to their callers they are still queued."""
    engine = brisk()
    running, *ahead = submit(engine, 3)
    assert (running.state, line(engine)) == (RUNNING, ahead)
    assert [(job.state, job.attempts) for job in ahead] == [(QUEUED, 0)] * 2
    statistics = engine.scheduler.lanes["lane"].statistics()
    assert (statistics["queued"], statistics["running"]) == (2, 1)
    assert repr(engine.scheduler) == "<Scheduler open: 2 queued, 3 attempts, 1 workers>"
    assert repr(ahead[0].attempt) == "<Attempt 3 of lane: sent, 1/1 jobs live>"


def test_nothing_is_sent_ahead_before_it_is_known_to_be_short() -> None:
    """The first attempt shows how long they take."""
    engine = ready(lane(runs_in_turn=True))
    submit(engine, 3)
    assert line(engine) == []


def test_long_work_is_not_sent_ahead() -> None:
    """Attempts that are expected to take more than AHEAD_SECONDS wait in the queue."""
    engine = brisk(seconds=1.01 * AHEAD_SECONDS)
    submit(engine, 3)
    assert line(engine) == []


def test_what_is_expected_follows_what_happens() -> None:
    """A lane that becomes slow is soon not sent ahead any more; once it has recovered, it is again."""
    engine = brisk()
    for seconds, number in ((0.1, 1), (BRISK.seconds, 60)):
        for _ in range(number):
            engine.submit(behaviour=Behaviour(seconds=seconds))
            engine.advance(0.2)
        submit(engine, 2)
        assert len(line(engine)) == (number > 1)
        engine.advance(0.2)


def test_a_line_takes_no_longer_than_ahead_seconds() -> None:
    """A worker is sent as many attempts as are expected to take that long together."""
    engine = brisk()
    submit(engine, 20)
    assert len(line(engine)) == 3
    assert 3 * BRISK.seconds <= AHEAD_SECONDS < 4 * BRISK.seconds


def test_a_line_is_never_longer_than_ahead_most() -> None:
    """The limit holds however short the attempts are."""
    engine = brisk(seconds=0.0)
    submit(engine, 2 * AHEAD_MOST)
    assert len(line(engine)) == AHEAD_MOST


def test_the_shortest_line_is_taken() -> None:
    """Work is spread over the workers' lines as well."""
    engine = brisk(workers=2, seconds=BRISK.seconds)
    submit(engine, 6)
    assert [len(line(engine, worker)) for worker in (1, 2)] == [2, 2]


def test_a_free_worker_comes_before_any_line() -> None:
    """No job waits in a line while a worker is idle."""
    engine = brisk(workers=2)
    submit(engine, 2)
    assert [len(line(engine, worker)) for worker in (1, 2)] == [0, 0]


@pytest.mark.parametrize(
    "options",
    [
        {"idempotent": False},
        {"is_stream": True},
        {"batching": Batching(max_size=2, max_wait=0.0)},
        {"runs_in_turn": False},
    ],
    ids=lambda options: next(iter(options)),
)
def test_some_lanes_are_never_sent_ahead(options: dict[str, Any]) -> None:
    """Jobs that must not run twice, streams, batches, and lanes that do not run in turn wait in the queue."""
    engine = ready(lane(**{"runs_in_turn": True, **options}))
    for _ in range(3):
        submit(engine, 5)
        assert line(engine) == []
        engine.advance(0.1)


@pytest.mark.parametrize(
    ("sizes", "in_line"),
    [
        ([0, AHEAD_BYTES, 0], 2),
        ([0, AHEAD_BYTES, 1], 1),
        ([0, AHEAD_BYTES + 1], 0),
        ([AHEAD_BYTES, 1], 1),
        ([AHEAD_BYTES + 1, 1], 0),
    ],
)
def test_the_bytes_in_a_line_are_bounded(sizes: list[int], in_line: int) -> None:
    """A large body is never sent ahead, and nothing waits in a line behind one: it takes its time to be written."""
    engine = brisk(seconds=0.0)
    for size_bytes in sizes:
        engine.submit(behaviour=BRISK, size_bytes=size_bytes)
    assert len(line(engine)) == in_line


@pytest.mark.parametrize("behaviour", [BRISK, STUCK])
def test_the_bytes_of_a_line_are_counted_back(behaviour: Behaviour) -> None:
    """They are free again when their job begins, and when it is recalled."""
    engine = brisk(seconds=0.0)
    engine.submit(behaviour=behaviour)
    engine.submit(behaviour=BRISK, size_bytes=AHEAD_BYTES)
    assert engine.scheduler.workers[1].line_bytes == AHEAD_BYTES
    engine.advance(1.0)
    assert engine.scheduler.workers[1].line_bytes == 0


def test_nothing_stands_behind_long_work() -> None:
    """A short attempt is not sent to a worker that runs an attempt of a slow lane."""
    engine = ready(lane(runs_in_turn=True), lane(name="long", runs_in_turn=True))
    for name in ("lane", "long"):
        engine.submit(name, BRISK if name == "lane" else Behaviour.QUICK)
        engine.advance(0.1)
    engine.submit("long")
    submit(engine, 2)
    assert line(engine) == []


def test_a_suspect_never_stands_in_a_line() -> None:
    """A job under which a worker has died waits for a worker of its own, and so do the jobs behind it."""
    engine = brisk(workers=2)
    first, _, _ = submit(engine, 3)
    assert first.attempt is not None
    engine.receive(on.WorkerExited(1, "SIGKILL", started=first.attempt.id))
    assert (first.deaths, first.state, line(engine, 2)) == (1, QUEUED, [])


def test_those_who_stand_in_line_count_for_the_limit_of_the_queue() -> None:
    """They wait like all others."""
    engine = brisk(max_queue=2)
    jobs = submit(engine, 4)
    assert codes(*jobs) == [None, None, None, "queue-full"]
    assert str(jobs[3].outcome) == "lane: the queue is full: 2 jobs wait, which is its limit"


# ---- the line is begun


def test_the_line_is_begun_in_its_order() -> None:
    """Each attempt begins when the one before it has ended."""
    engine = brisk()
    jobs = submit(engine, 4)
    engine.advance(0.1)
    assert engine.answered == jobs
    starts = [job.started - jobs[0].started for job in jobs]
    assert starts == pytest.approx([position * BRISK.seconds for position in range(4)])


def test_the_execution_time_begins_with_the_turn() -> None:
    """Time in the line is time in the queue."""
    engine = brisk(timeouts=Timeouts(execution=0.5))
    submit(engine, 1)
    job = engine.submit(behaviour=STUCK)
    engine.advance(BRISK.seconds)
    begun = engine.clock.now
    engine.advance(1.0)
    assert (code(job), job.answered) == ("execution-timeout", begun + 0.5)


def test_the_queue_time_goes_on_in_the_line() -> None:
    """A job whose queue time ends in the line is answered then, and never begun."""
    engine = brisk()
    submit(engine, 1, Behaviour(seconds=0.004))
    job = engine.submit(behaviour=BRISK, timeouts=Timeouts(queue=0.002))
    (waiting,) = submit(engine, 1)
    engine.advance(0.1)
    assert (code(job), job.attempts, code(waiting)) == ("queue-timeout", 0, "ok")


# ---- the line is recalled


def test_a_stalled_line_is_recalled() -> None:
    """If the running attempt takes STALL_SECONDS after all, the jobs behind it are queued again, for any worker."""
    engine = brisk(workers=2)
    submit(engine, 1, Behaviour.SLOW)
    submit(engine, 1, Behaviour(seconds=2 * STALL_SECONDS))
    ahead = submit(engine, 2)
    engine.advance(0.99 * STALL_SECONDS)
    assert [line(engine, worker) for worker in (1, 2)] == [ahead[:1], ahead[1:]]
    engine.advance(0.02 * STALL_SECONDS)
    assert list(engine.scheduler.lanes["lane"].queue) == ahead
    engine.advance(0.1)
    assert codes(*ahead) == ["ok", "ok"]
    assert [job.attempts for job in ahead] == [1, 1]


def test_nothing_more_is_sent_behind_what_has_stalled() -> None:
    """Nothing is sent until the stalled attempt has ended."""
    engine = brisk()
    submit(engine, 2, Behaviour(seconds=0.1))
    engine.advance(2 * STALL_SECONDS)
    submit(engine, 1)
    assert line(engine) == []


def test_a_line_that_gets_on_is_not_recalled() -> None:
    """The limit is for each attempt, not for the whole line."""
    engine = brisk()
    jobs = submit(engine, 4, Behaviour(seconds=0.8 * STALL_SECONDS))
    engine.advance(0.1)
    assert codes(*jobs) == ["ok"] * 4
    assert [job.attempt for job in jobs] == [None] * 4


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_job_that_is_cancelled_in_the_line_is_never_begun(position: int) -> None:
    """The whole line is recalled, and the remaining jobs keep their order."""
    engine = brisk()
    running, *ahead = submit(engine, 4)
    cancelled = ahead.pop(position)
    engine.cancel(cancelled)
    assert (code(cancelled), cancelled.attempts) == ("cancelled", 0)
    assert list(engine.scheduler.lanes["lane"].queue) == ahead
    engine.advance(0.1)
    assert engine.answered == [cancelled, running, *ahead]
    assert events(engine) == []


def test_a_recall_is_the_last_of_its_turn_and_names_the_last_of_the_line() -> None:
    """So no attempt is on its way to the worker that the recall does not name."""
    engine = brisk()
    jobs = submit(engine, 4)
    last = jobs[3].attempt
    assert last is not None
    commands = engine.receive(on.CancelRequested(jobs[1], "gone"))
    assert names(commands) == ["Answer", "Recall"]
    assert commands[-1] == do.Recall(1, last.id)


def test_a_line_is_recalled_once_for_all_who_leave() -> None:
    """A drain whose time is over answers the whole line at once, with one recall."""
    engine = brisk()
    jobs = submit(engine, 4)
    engine.drain(0.0)
    commands = engine.receive(on.TimePassed())
    assert codes(*jobs) == ["draining"] * 4
    assert names(commands).count("Recall") == 1


def test_what_was_begun_before_the_recall_stays_where_it_is() -> None:
    """The worker reports which attempt it has begun, before the end of the one before it is known."""
    engine = brisk()
    jobs = submit(engine, 4)
    begun = jobs[1].attempt
    assert begun is not None
    engine.workers[1].started = begun.id
    engine.cancel(jobs[3])
    assert line(engine) == jobs[1:2]
    assert list(engine.scheduler.lanes["lane"].queue) == jobs[2:3]


def test_nothing_is_recalled_twice() -> None:
    """Each recall names a later attempt than the one before; else the worker might begin what it has given back."""
    engine = brisk()
    jobs = submit(engine, 4)
    begun = jobs[2].attempt
    assert begun is not None
    engine.workers[1].started = begun.id
    engine.cancel(jobs[3])
    assert "Recall" not in names(engine.receive(on.CancelRequested(jobs[1], "gone")))


def test_a_recalled_line_stays_as_it_is_until_what_runs_has_ended() -> None:
    """Otherwise each job that leaves would cost a message for all the others."""
    engine = brisk()
    jobs = submit(engine, 4)
    engine.cancel(jobs[3])
    submit(engine, 1)
    assert line(engine) == []
    engine.advance(BRISK.seconds)
    assert len(line(engine)) == 2


def test_a_job_that_was_cancelled_when_it_had_begun_is_stopped() -> None:
    """The recall comes too late for this job: it is interrupted as soon as it is known to run."""
    engine = brisk()
    first, second = submit(engine, 2, STUCK)
    for job in (first, second):
        assert job.attempt is not None
    earlier, begun = first.attempt.id, second.attempt.id
    engine.workers[1].started = begun
    engine.cancel(second)
    assert code(second) == "cancelled"
    commands = engine.scheduler.receive(on.ResultsArrived(earlier, 0.0, ["result"]), engine.clock.now)
    assert do.Interrupt(1, begun) in commands
    assert code(first) == "ok"


def test_those_behind_a_job_that_is_stopped_do_not_wait_for_its_grace() -> None:
    """They are recalled when that job is interrupted, and another worker may run them."""
    engine = brisk(workers=2)
    stuck, _ = submit(engine, 1, STUCK)[0], submit(engine, 1, BRISK)
    (behind,) = submit(engine, 1)
    assert line(engine, 1) == [behind]
    engine.cancel(stuck)
    assert line(engine, 1) == []


# ---- what was believed to have begun


@pytest.mark.parametrize("says_early", [False, True])
def test_what_was_not_begun_is_queued_again_for_free(says_early: bool) -> None:
    """If the worker gives back an attempt that was believed to run, its job is not charged an attempt."""
    engine = hesitant(says_early=says_early, retries=Retries(max_attempts=1))
    expected = engine.scheduler.lanes["lane"].expected_seconds
    believed, cancelled = submit(engine, 2)
    engine.cancel(cancelled)
    engine.advance(0.0001)
    assert (believed.attempts, believed.spent, believed.deaths, believed.execution_seconds) == (1, 1, 0, None)
    assert engine.scheduler.lanes["lane"].expected_seconds == expected
    engine.advance(0.1)
    assert (code(believed), believed.attempts) == ("ok", 1)
    assert len(engine.scheduler.attempts) == 0


# ---- deaths


def test_those_behind_the_one_that_died_are_innocent() -> None:
    """They return to their positions, in order, as if they had never been sent."""
    engine = brisk(retries=Retries(max_attempts=1))
    running, *ahead = submit(engine, 3)
    assert running.attempt is not None
    engine.receive(on.WorkerExited(1, "SIGKILL", started=running.attempt.id))
    assert (code(running), codes(*ahead)) == ("worker-lost", [None, None])
    assert list(engine.scheduler.lanes["lane"].queue) == ahead
    assert [(job.attempts, job.spent, job.deaths) for job in ahead] == [(0, 0, 0)] * 2
    engine.advance(1.0)
    assert codes(*ahead) == ["ok", "ok"]


def test_the_one_of_the_line_that_had_begun_is_to_blame() -> None:
    """The shared memory names it; the attempt that was believed to run has ended, and its result is lost."""
    engine = brisk()
    jobs = submit(engine, 4)
    begun = jobs[2].attempt
    assert begun is not None
    engine.clock.advance(0.5 * STALL_SECONDS)
    engine.receive(on.WorkerExited(1, "SIGKILL", started=begun.id))
    assert [(job.attempts, job.spent, job.deaths) for job in jobs] == [(1, 0, 0), (0, 0, 0), (1, 1, 1), (0, 0, 0)]
    assert list(engine.scheduler.lanes["lane"].queue) == jobs
    assert jobs[2].started == engine.clock.now
    engine.advance(1.0)
    assert codes(*jobs) == ["ok"] * 4


def test_the_one_that_is_to_blame_may_have_used_up_its_tries() -> None:
    """Such a job is answered as if it had been seen to run."""
    engine = brisk(retries=Retries(max_attempts=1))
    jobs = submit(engine, 2)
    begun = jobs[1].attempt
    assert begun is not None
    engine.receive(on.WorkerExited(1, "SIGKILL", started=begun.id))
    assert codes(*jobs) == [None, "worker-lost"]
    assert str(jobs[1].outcome) == "lane: the worker died while running the job, and its attempts are used up (1 of 1)"


def test_where_it_is_not_known_what_had_begun_the_line_is_innocent() -> None:
    """Only the attempt that was believed to run then counts as the cause."""
    engine = brisk()
    running, ahead = submit(engine, 2)
    engine.receive(on.WorkerExited(1, "SIGKILL", started=None))
    assert (running.deaths, ahead.deaths) == (1, 0)


def test_a_kill_of_ours_gives_the_line_back() -> None:
    """Jobs behind an attempt whose worker must be killed have lost nothing."""
    engine = brisk(timeouts=Timeouts(execution=0.001, grace=0.0))
    stuck = engine.submit(behaviour=Behaviour.STUCK_HARD)
    ahead = submit(engine, 2)
    engine.advance(1.0)
    assert codes(stuck, *ahead) == ["execution-timeout", "ok", "ok"]
    assert [(job.attempts, job.deaths) for job in ahead] == [(1, 0), (1, 0)]


# ---- drain


def test_a_drain_finishes_the_line() -> None:
    """Jobs in the line have been admitted."""
    engine = brisk()
    jobs = submit(engine, 4)
    engine.drain()
    engine.advance(0.1)
    assert codes(*jobs) == ["ok"] * 4
    assert engine.scheduler.is_drained


def test_the_end_of_a_drain_answers_the_line() -> None:
    """The jobs in the line are never begun, and all may be sent again."""
    engine = brisk()
    jobs = submit(engine, 3, STUCK)
    engine.drain(0.001)
    engine.advance(1.0)
    assert codes(*jobs) == ["draining"] * 3
    assert [job.attempts for job in jobs] == [1, 0, 0]
    assert engine.scheduler.is_drained


def test_live_jobs_include_the_line() -> None:
    """When the engine is closed, it must answer them too."""
    engine = brisk()
    jobs = submit(engine, 8)
    assert set(engine.scheduler.live_jobs()) == set(jobs)


def test_a_spec_of_a_lane_says_whether_it_runs_in_turn() -> None:
    """By default it does not, and nothing is sent ahead."""
    assert not LaneSpec(name="lane").runs_in_turn
