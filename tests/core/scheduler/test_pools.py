"""Pools: whose turn it is, how much fits, how workers come back, and which jobs are refused."""

from __future__ import annotations

import pytest

from penstock.errors import QueueFull
from penstock.policies import SMALL_BODY_BYTES, Timeouts
from penstock.scheduler import PoolSpec, Scheduler
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler.pools import restart_delay
from penstock.testing import Behaviour, FakeEngine, FakeWorker
from tests.core.scheduler.scheduling import code, codes, events, lane, names, ready


class Unstartable(FakeEngine):
    """An engine whose first ``failures`` workers fail to start."""

    failures = 10**9

    def start_worker(self, command: do.StartWorker) -> None:
        fails = command.worker <= self.failures
        self.workers[command.worker] = FakeWorker(command.worker, self.agenda, self.receive, setup_fails=fails)


def test_the_first_come_are_the_first_served_over_all_lanes() -> None:
    """The lanes of a pool form one queue, in order of arrival."""
    engine = ready(lane(), lane(name="other"))
    jobs = [engine.submit(name) for name in ("lane", "other", "other", "lane", "other", "lane")]
    engine.advance(1.0)
    assert engine.answered == jobs


def test_small_work_does_not_overtake_what_needs_a_whole_worker() -> None:
    """Otherwise a large attempt would wait indefinitely behind a stream of small ones."""
    engine = ready(lane(), lane(name="whole", units=3), capacity=3)
    first = engine.submit(behaviour=Behaviour.SLOW)
    whole, small = engine.submit("whole"), engine.submit()
    assert (first.attempts, whole.attempts, small.attempts) == (1, 0, 0)
    engine.advance(2.0)
    assert engine.answered == [first, whole, small]


def test_capacity_is_shared_in_units() -> None:
    """Attempts of different sizes share a worker as long as their units fit, and no longer."""
    engine = ready(lane(units=2), lane(name="large", units=3), capacity=6)
    jobs = [engine.submit(name, Behaviour.SLOW) for name in ("large", "lane", "lane", "lane")]
    assert [job.attempts for job in jobs] == [1, 1, 0, 0]
    assert engine.scheduler.workers[1].free == 1


def test_the_emptiest_worker_is_taken() -> None:
    """Work is spread, so that each attempt has as much of a worker as possible."""
    engine = ready(workers=3, capacity=2)
    jobs = [engine.submit(behaviour=Behaviour.SLOW) for _ in range(6)]
    assert [job.attempt.worker.id for job in jobs if job.attempt] == [1, 2, 3, 1, 2, 3]


def test_work_waits_for_the_first_worker() -> None:
    """Jobs are admitted while the workers start, and begin when one is ready."""
    engine = FakeEngine()
    engine.start()
    job = engine.submit()
    assert engine.scheduler.unready_reasons() == ["pool default has no ready worker"]
    engine.advance(0.2)
    assert code(job) == "ok"
    assert engine.scheduler.unready_reasons() == []
    assert events(engine) == ["worker-ready", "pool-ready"]


def test_the_delays_of_restarts() -> None:
    """The delays are 0, 1, 2, 4 ... 60 seconds."""
    assert [restart_delay(failures) for failures in range(10)] == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert restart_delay(10**9) == 60


def test_workers_that_keep_dying_come_back_ever_more_slowly() -> None:
    """The delay grows with each exit in a row, and a finished attempt ends the row."""
    engine = ready()
    for _ in range(4):
        (worker,) = engine.workers.values()
        worker.exit("SIGKILL")
        engine.advance(10.0)
    engine.submit()
    engine.advance(0.5)
    next(iter(engine.workers.values())).exit("SIGKILL")
    delays = [report.delay for report in engine.reports if report.event == "restart"]
    assert delays == [0, 1, 2, 4, 0]


def test_a_kill_of_ours_is_no_failure_of_the_worker() -> None:
    """A worker that the ladder has killed is replaced at once, however often."""
    engine = ready(lane(timeouts=Timeouts(execution=0.1, grace=0.1)))
    for _ in range(5):
        engine.submit(behaviour=Behaviour.STUCK_HARD)
        engine.advance(1.0)
    delays = [report.delay for report in engine.reports if report.event == "restart"]
    assert delays == [0] * 5


def test_a_pool_that_never_starts_is_given_up_after_three_tries() -> None:
    """Waiting jobs are answered, new ones are refused, and the traceback is kept."""
    engine = Unstartable()
    engine.start()
    job = engine.submit()
    engine.advance(10.0)
    late = engine.submit()
    assert codes(job, late) == ["not-ready", "not-ready"]
    assert events(engine).count("worker-lost") == 3
    assert events(engine)[-1] == "pool-failed"
    assert engine.reports[-1].error == "Traceback: setup raised"
    assert engine.scheduler.unready_reasons() == ["pool default has failed"]
    assert engine.scheduler.next_wakeup() is None


def test_a_pool_that_has_been_ready_is_never_given_up() -> None:
    """Its workers are restarted for as long as it takes."""
    engine = Unstartable()
    engine.failures = 0
    engine.start()
    engine.advance(1.0)
    engine.failures = 7
    engine.workers[1].exit("SIGKILL")
    engine.advance(200.0)
    assert "pool-failed" not in events(engine)
    assert engine.scheduler.unready_reasons() == []


class NeverReady(FakeEngine):
    """An engine whose workers hang in their set-up."""

    def start_worker(self, command: do.StartWorker) -> None:
        self.workers[command.worker] = FakeWorker(command.worker, self.agenda, self.receive, setup_seconds=1e9)


def test_a_start_has_a_time_limit() -> None:
    """A worker that hangs in its start is killed and started again; a pool of nothing else is given up after three."""
    engine = NeverReady([PoolSpec(name="default", start_timeout=10.0)])
    engine.start()
    engine.advance(9.9)
    assert events(engine) == []
    engine.advance(50.0)
    assert events(engine) == ["kill", "restart", "kill", "restart", "kill", "pool-failed"]
    assert [report.delay for report in engine.reports if report.event == "restart"] == [0, 1]
    assert engine.reports[-1].error == "its workers were not ready within 10 s"


def test_a_start_may_have_no_time_limit() -> None:
    """Without ``start_timeout`` a model may take as long as it needs."""
    engine = NeverReady([PoolSpec(name="default", start_timeout=None)])
    engine.start()
    engine.advance(1e6)
    assert events(engine) == []


def test_the_limit_of_a_start_ends_with_the_start() -> None:
    """A worker that was ready in time is never killed for its start."""
    engine = FakeEngine([PoolSpec(name="default", start_timeout=10.0)])
    engine.start()
    engine.advance(100.0)
    assert events(engine) == ["worker-ready", "pool-ready"]


def test_a_worker_without_a_process_backs_off_like_one_that_exits() -> None:
    """An exit before the worker was ready is how a start fails, and a pool that has been ready tries indefinitely."""
    engine = ready()
    engine.receive(on.WorkerExited(1, "signal SIGKILL"))
    for worker in range(2, 6):
        engine.receive(on.WorkerExited(worker, "Too many open files"))
        engine.advance(10.0 if worker < 5 else 0.0)
    delays = [report.delay for report in engine.reports if report.event == "restart"]
    assert delays == [0, 1, 2, 4, 8]


def test_the_reason_of_a_failed_start_is_the_reason_of_the_pool() -> None:
    """Where there is no traceback, the operator reads why the process could not be started."""
    engine = NeverReady()
    engine.start()
    for worker in (1, 2, 3):
        engine.receive(on.WorkerExited(worker, "Too many open files"))
        engine.advance(5.0)
    assert engine.reports[-1].error.endswith("exit before they are ready: Too many open files")


@pytest.mark.parametrize("behaviour", [None, Behaviour.SLOW], ids=["idle", "busy"])
def test_a_suspended_worker_is_replaced(behaviour: Behaviour | None) -> None:
    """It is killed, its work runs elsewhere at no charge, and its replacement starts at once."""
    engine = ready()
    job = engine.submit(behaviour=behaviour) if behaviour else None
    engine.receive(on.WorkerSuspended(1, "stopped by SIGSTOP"))
    engine.advance(5.0)
    assert [report.reason for report in engine.reports if report.event == "kill"] == ["stopped by SIGSTOP"]
    assert [report.delay for report in engine.reports if report.event == "restart"] == [0]
    assert engine.scheduler.unready_reasons() == []
    assert job is None or (code(job), job.spent) == ("ok", 1)


def test_news_of_a_suspended_worker_may_come_too_late() -> None:
    """By then the worker may have been killed, or may have exited."""
    engine = ready()
    engine.receive(on.WorkerSuspended(1, "stopped"))
    assert engine.receive(on.WorkerSuspended(1, "stopped")) == []
    engine.receive(on.WorkerExited(1, "signal SIGKILL"))
    assert engine.receive(on.WorkerSuspended(1, "stopped")) == []


def test_a_full_queue_refuses() -> None:
    """``max_queue`` bounds the waiting jobs; a refused request appears in no count of jobs."""
    engine = ready(lane(max_queue=2))
    jobs = [engine.submit(behaviour=Behaviour.STUCK) for _ in range(4)]
    assert codes(*jobs) == [None, None, None, "queue-full"]
    assert (jobs[3].admitted, engine.scheduler.jobs_live) == (False, 3)
    assert str(jobs[3].outcome) == "lane: the queue is full: 2 jobs wait, which is its limit"


LARGE = SMALL_BODY_BYTES + 1


def test_the_bytes_of_queued_bodies_are_bounded_together() -> None:
    """All endpoints share the bound. One body of any size is accepted, and small ones are bounded by their number."""
    engine = ready(lane(), lane(name="other"), max_queue_bytes=3 * LARGE)
    engine.submit(behaviour=Behaviour.STUCK)
    first = engine.submit(size_bytes=4 * LARGE)
    jobs = [engine.submit("other", size_bytes=size) for size in (LARGE, SMALL_BODY_BYTES)]
    assert codes(first, *jobs) == [None, "queue-full", None]
    assert str(jobs[0].outcome) == f"other: no room for {LARGE} bytes: the bodies that wait already have {4 * LARGE}"
    engine.cancel(first)
    jobs = [engine.submit(name, size_bytes=LARGE) for name in ("lane", "other", "lane")]
    assert codes(*jobs) == [None, None, "queue-full"]


def test_a_large_body_counts_from_its_announcement() -> None:
    """Bodies that arrive at the same time are bounded before they are read."""
    engine = ready(lane(), lane(name="other"), max_queue_bytes=2 * LARGE)
    scheduler = engine.scheduler
    for target in scheduler.lanes.values():
        assert scheduler.refusal(target, LARGE) is None
        engine.receive(on.UploadBegan(LARGE))
    assert isinstance(scheduler.refusal(target, LARGE), QueueFull)
    assert code(engine.submit(size_bytes=LARGE)) == "queue-full"
    assert scheduler.refusal(target) is None
    engine.receive(on.UploadEnded(LARGE))
    assert scheduler.refusal(target, LARGE) is None


def test_refusal_can_be_asked_for_before_the_body_is_read() -> None:
    """``refusal`` is the error with which ``Submitted`` would be answered."""
    engine = ready(lane(max_queue=1))
    target = engine.scheduler.lanes["lane"]
    assert engine.scheduler.refusal(target) is None
    for _ in range(2):
        engine.submit(behaviour=Behaviour.STUCK)
    assert str(engine.scheduler.refusal(target)) == str(engine.submit().outcome)


def test_a_hang_up_after_a_refusal_is_harmless() -> None:
    """A refused request never was a job, so there is nothing to cancel."""
    engine = ready(lane(max_queue=1))
    refused = [engine.submit(behaviour=Behaviour.STUCK) for _ in range(3)][-1]
    engine.cancel(refused)
    assert code(refused) == "queue-full"


def test_an_app_that_cannot_be_imported_fails_its_pools() -> None:
    """Waiting jobs are answered at once, and no worker is started any more."""
    engine = Unstartable()
    engine.start()
    job = engine.submit()
    engine.receive(on.ImportFailed("Traceback: the import raised"))
    assert (code(job), engine.reports[-1].error) == ("not-ready", "Traceback: the import raised")
    engine.advance(60.0)
    assert not engine.workers
    assert engine.scheduler.next_wakeup() is None


def test_the_last_workers_of_a_failed_pool_finish_what_is_queued() -> None:
    """Jobs are answered only when no worker is left to run them; one that had run may be sent again."""
    engine = ready(workers=2)
    jobs = [engine.submit(behaviour=Behaviour(seconds=seconds)) for seconds in (1.0, 9.0, 1.0)]
    engine.receive(on.ImportFailed("Traceback: the import raised"))
    engine.advance(3.0)
    assert codes(*jobs) == ["ok", None, "ok"]
    engine.workers[1].exit("SIGKILL")
    engine.workers[2].exit("SIGKILL")
    assert (code(jobs[1]), jobs[1].outcome.retryable) == ("worker-lost", True)


@pytest.mark.parametrize("position", [1, 2])
def test_the_commands_of_a_start(position: int) -> None:
    """Each place of each pool gets a worker, with its place's number for the device."""
    scheduler = Scheduler([PoolSpec(name="a", workers=2), PoolSpec(name="b")], [])
    commands = scheduler.receive(on.StartRequested(), 0.0)
    assert commands == [do.StartWorker(1, "a", 0), do.StartWorker(2, "a", 1), do.StartWorker(3, "b", 0)]
    assert names(scheduler.receive(on.SetupFinished(position, 0.5), 0.5)) == ["worker-ready", "pool-ready"]
