"""Workers that are replaced although they have not failed, spares, crash loops, and pools that change their size."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.policies import Recycle
from penstock.scheduler import LaneSpec, PoolSpec
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler.pools import Worker, WorkerPool
from penstock.scheduler.recycling import MOST_OVER_BYTES
from penstock.scheduler.reports import AnyReport
from penstock.testing import Behaviour, FakeEngine
from penstock.testing.fake_worker import FakeWorker
from tests.core.scheduler.scheduling import code

SETUP_SECONDS = 2.0
LIMIT = 1 << 30
PLENTY = 1 << 40
LANE = LaneSpec(name="lane", pool="p")


class SlowEngine(FakeEngine):
    """An engine whose first workers are ready at once, while later ones need two seconds."""

    def __init__(self, *, lane: LaneSpec = LANE, draw: Any = lambda: 0.0, **spec: Any) -> None:
        super().__init__([PoolSpec(name="p", **spec)], [lane], draw=draw)
        self.setup_seconds = 0.0
        self.setup_fails = False
        self.start()
        self.advance(0.1)
        self.setup_seconds = SETUP_SECONDS

    def start_worker(self, command: do.StartWorker) -> None:
        self.workers[command.worker] = FakeWorker(
            command.worker,
            self.agenda,
            self.receive,
            setup_seconds=self.setup_seconds,
            setup_fails=self.setup_fails,
        )

    @property
    def pool(self) -> WorkerPool:
        return self.scheduler.pools["p"]

    def states(self) -> list[str]:
        return [place.worker.state if place.worker else "empty" for place in self.pool.places]

    def names(self) -> list[str]:
        return [place.name for place in self.pool.places]

    def worker(self, number: int) -> Worker:
        return self.scheduler.workers[number]

    def measure(self, worker: int, size: int, available: int = PLENTY, started: int | None = None) -> None:
        self.receive(on.MemoryMeasured(worker, size, available, started))

    def reported(self, event: str) -> list[AnyReport]:
        return [report for report in self.reports if report.event == event]


def run(engine: FakeEngine, jobs: int) -> None:
    for _ in range(jobs):
        engine.submit()
        engine.advance(0.02)


# ---- the replacement comes first


def test_the_old_worker_works_until_the_new_one_is_ready() -> None:
    """A worker that has run its attempts goes on while the new one loads; then it finishes, and exits. No job waits."""
    engine = SlowEngine(recycle=Recycle(attempts=3))
    run(engine, 3)
    assert engine.states() == ["ready", "starting"]
    assert engine.names() == ["p/0", "p/0"]
    job = engine.submit(behaviour=Behaviour(seconds=5.0))
    engine.advance(SETUP_SECONDS + 0.1)
    assert engine.states() == ["draining", "ready"]
    later = engine.submit()
    engine.advance(0.1)
    assert later.state == "succeeded"
    engine.advance(5.0)
    assert job.state == "succeeded"
    assert engine.states() == ["ready"]
    assert engine.pool.recycled == {"attempts": 1}
    assert engine.pool.places[0].restarts == 1


def test_one_worker_is_recycled_at_a_time() -> None:
    """The next one waits until the pool is complete again."""
    engine = SlowEngine(workers=3, recycle=Recycle(memory=LIMIT))
    for worker in (1, 2, 3):
        engine.measure(worker, LIMIT // 2)
        engine.measure(worker, LIMIT + 1)
    assert engine.states() == ["ready", "starting", "ready", "ready"]
    engine.advance(SETUP_SECONDS + 0.1)
    assert engine.states() == ["ready", "ready", "starting", "ready"]
    engine.advance(3 * SETUP_SECONDS)
    assert engine.states() == ["ready"] * 3
    assert engine.pool.recycled == {"memory": 3}
    assert sorted(engine.scheduler.workers) == [4, 5, 6]


def test_limits_are_spread_below_the_declared_ones() -> None:
    """Workers that have started together draw different limits, none of which is above the declared one."""
    draws = iter([0.0, 0.5, 1.0])
    engine = SlowEngine(workers=3, recycle=Recycle(attempts=100), draw=lambda: next(draws))
    assert [engine.worker(number).attempts_left for number in (1, 2, 3)] == [100, 90, 80]


def test_a_worker_is_replaced_at_its_age() -> None:
    """Also an idle one: a model may hold on to what has become stale."""
    engine = SlowEngine(recycle=Recycle(age=60.0))
    engine.advance(60.0 + SETUP_SECONDS + 0.1)
    assert sorted(engine.scheduler.workers) == [2]
    assert engine.pool.recycled == {"age": 1}


def test_without_memory_for_two_the_old_worker_leaves_first() -> None:
    """Its replacement starts when it has exited."""
    engine = SlowEngine(recycle=Recycle(memory=LIMIT))
    engine.measure(1, LIMIT // 2)
    engine.measure(1, LIMIT + 1, available=LIMIT)
    assert engine.states() == ["draining"]
    engine.advance(0.1)
    assert engine.states() == ["starting"]


def test_a_replacement_that_cannot_start_makes_the_old_worker_leave_first() -> None:
    """There may be no room on its device, which is not measured."""
    engine = SlowEngine(recycle=Recycle(attempts=1))
    engine.setup_fails = True
    run(engine, 1)
    engine.setup_fails = False
    engine.advance(SETUP_SECONDS)
    assert engine.states() == ["starting"]
    engine.advance(SETUP_SECONDS)
    assert engine.states() == ["ready"]


def test_a_recycled_worker_gives_its_line_to_others() -> None:
    """Jobs that were sent ahead to it are recalled, except for what it has begun; none is lost."""
    lane = LaneSpec(name="lane", pool="p", runs_in_turn=True)
    engine = SlowEngine(lane=lane, recycle=Recycle(attempts=1))
    run(engine, 1)
    brisk = Behaviour(seconds=0.00001)
    jobs = [engine.submit(behaviour=brisk) for _ in range(500) if not engine.advance(SETUP_SECONDS / 400)]
    engine.advance(5.0)
    assert {job.state for job in jobs} == {"succeeded"}
    assert engine.pool.recycled["attempts"] >= 1


# ---- too much memory


def test_a_worker_that_exceeds_its_limit_by_gigabytes_is_killed() -> None:
    """The job that it runs is a suspect, as after a crash: it has one more try, alone, and is then given up."""
    engine = SlowEngine(workers=2, recycle=Recycle(memory=LIMIT))
    job = engine.submit(behaviour=Behaviour.STUCK)
    for worker in (1, 2):
        engine.measure(worker, LIMIT // 2)
        engine.measure(worker, LIMIT + MOST_OVER_BYTES + 1, started=worker)  # its attempt has the same number
        assert engine.scheduler.workers[worker].state == "dead"
    assert code(job) == "worker-lost"
    first, _ = engine.reported("kill")
    assert "2,048 MiB of memory, far above its limit of 1,024 MiB" in first.reason
    engine.advance(0.1)
    assert "far above its limit" in engine.pool.places[0].last_end


def test_a_limit_below_what_the_models_need_is_reported_and_has_no_effect() -> None:
    """To replace such a worker would help nothing: the next one would be as large."""
    engine = SlowEngine(recycle=Recycle(memory=LIMIT))
    engine.measure(1, LIMIT + 1)
    engine.measure(1, LIMIT + 2)
    assert len(engine.reported("memory-limit-too-low")) == 1
    assert engine.states() == ["ready"]


# ---- workers that are not to be trusted


def test_after_an_interrupt_the_worker_gets_no_more_work_if_the_pool_asks_for_it() -> None:
    """Its replacement starts at the same moment, and it leaves as soon as it has stopped."""
    engine = SlowEngine(recycle=Recycle(after_interrupt=True))
    job = engine.submit(behaviour=Behaviour.STUCK)
    engine.cancel(job)
    assert engine.states() == ["draining", "starting"]
    engine.advance(0.1)
    assert engine.states() == ["starting"]
    assert engine.pool.recycled == {"interrupt": 1}


def test_by_default_an_interrupted_worker_goes_on() -> None:
    """Most models do not mind."""
    engine = SlowEngine(recycle=Recycle(attempts=100))
    engine.cancel(engine.submit(behaviour=Behaviour.STUCK))
    engine.advance(0.1)
    assert engine.states() == ["ready"]


def test_a_worker_whose_check_fails_is_replaced() -> None:
    """The report has the reason."""
    engine = SlowEngine(workers=2, recycle=Recycle(check=10.0))
    engine.receive(on.CheckFailed(1, "the device is gone"))
    assert engine.states() == ["draining", "starting", "ready"]
    engine.advance(SETUP_SECONDS + 0.1)
    assert engine.states() == ["ready", "ready"]
    (report,) = engine.reported("recycle")
    assert (report.reason, report.detail) == ("check", "the device is gone")


def test_workers_that_never_pass_their_check_back_off() -> None:
    """They must not replace each other without end."""
    engine = SlowEngine(recycle=Recycle(check=10.0))
    engine.setup_seconds = 0.0
    for _ in range(4):
        (worker,) = (worker for worker in engine.scheduler.workers.values() if worker.state == "ready")
        engine.receive(on.CheckFailed(worker.id, "broken"))
        engine.advance(10.0)
    assert [report.delay for report in engine.reported("restart")] == [0, 1, 2, 4]


# ---- spares


def test_a_spare_waits_and_takes_over_at_once_when_a_worker_dies() -> None:
    """The dead worker's replacement becomes the next spare."""
    engine = SlowEngine(spares=1)
    assert engine.states() == ["ready", "standby"]
    job = engine.submit(behaviour=Behaviour.SLOW)
    engine.workers[1].exit("SIGKILL")
    assert engine.states() == ["starting", "busy"]
    engine.advance(SETUP_SECONDS + 0.1)
    assert job.state == "succeeded"
    assert engine.states() == ["standby", "ready"]


def test_a_spare_takes_over_from_a_worker_that_is_recycled() -> None:
    """There is no need to wait for a new one."""
    engine = SlowEngine(spares=1, recycle=Recycle(attempts=2))
    run(engine, 2)
    assert engine.states() == ["starting", "ready"]


def test_the_spare_on_the_same_device_takes_over() -> None:
    """Otherwise two workers would share one device, and none would use the other."""
    engine = SlowEngine(workers=2, spares=2, devices=2)
    assert engine.states() == ["ready", "ready", "standby", "standby"]
    engine.workers[2].exit("SIGKILL")
    assert engine.states() == ["ready", "starting", "standby", "ready"]


# ---- crash loops


def test_a_pool_in_a_crash_loop_is_unready_until_a_worker_proves_itself() -> None:
    """Either it lives long enough, or it finishes an attempt."""
    engine = SlowEngine()
    engine.setup_seconds = 0.0
    for _ in range(3):
        engine.advance(5.0)
        next(iter(engine.workers.values())).exit("SIGSEGV")
    engine.advance(5.0)
    assert engine.states() == ["ready"]
    assert engine.scheduler.unready_reasons() == ["pool p is in a crash loop: its workers have to prove themselves"]
    engine.advance(30.0)
    assert engine.scheduler.unready_reasons() == []


def test_a_pool_that_could_not_start_is_ready_with_its_first_worker() -> None:
    """That worker proves that workers can start again."""
    engine = SlowEngine()
    engine.setup_fails = True
    engine.setup_seconds = 0.0
    engine.workers[1].exit("SIGKILL")
    engine.advance(5.0)
    engine.setup_fails = False
    engine.advance(5.0)
    assert engine.pool.places[0].failures >= 3
    assert engine.scheduler.unready_reasons() == []


def test_an_attempt_ends_a_crash_loop() -> None:
    """Work is still accepted meanwhile, so that there can be one."""
    engine = SlowEngine()
    engine.setup_seconds = 0.0
    for _ in range(3):
        engine.advance(5.0)
        next(iter(engine.workers.values())).exit("SIGSEGV")
    engine.advance(5.0)
    run(engine, 1)
    assert engine.scheduler.unready_reasons() == []


# ---- scaling


def test_a_pool_grows() -> None:
    """New workers start at once, in the lowest free places."""
    engine = SlowEngine(workers=1)
    engine.scale("p", 3)
    assert engine.states() == ["ready", "starting", "starting"]
    assert engine.names() == ["p/0", "p/1", "p/2"]
    engine.advance(SETUP_SECONDS + 0.1)
    assert engine.states() == ["ready"] * 3


def test_a_pool_shrinks_without_losing_a_job() -> None:
    """Workers that are too many finish what they run; the highest places go first."""
    engine = SlowEngine(workers=3)
    jobs = [engine.submit(behaviour=Behaviour.SLOW) for _ in range(6)]
    engine.scale("p", 1)
    assert engine.states() == ["busy", "draining", "draining"]
    engine.advance(10.0)
    assert {job.state for job in jobs} == {"succeeded"}
    assert engine.states() == ["ready"]
    assert engine.names() == ["p/0"]


def test_a_pool_that_grows_again_does_not_wait_for_those_that_leave() -> None:
    """The new worker has the place's name while the old one finishes."""
    engine = SlowEngine(workers=2)
    engine.submit(behaviour=Behaviour.SLOW)
    engine.submit(behaviour=Behaviour(seconds=100.0))
    engine.scale("p", 1)
    engine.scale("p", 2)
    assert engine.states() == ["busy", "draining", "starting"]
    assert engine.names() == ["p/0", "p/1", "p/1"]
    engine.advance(200.0)
    assert engine.states() == ["ready", "ready"]


def test_devices_stay_in_balance() -> None:
    """A worker leaves the device that has too many."""
    engine = SlowEngine(workers=4, devices=2)
    engine.scale("p", 2)
    engine.advance(0.1)
    assert engine.names() == ["p/0", "p/1"]


def test_spares_take_over_when_a_pool_grows() -> None:
    """They are ready; the workers that are started become the spares."""
    engine = SlowEngine(workers=1, spares=1)
    engine.scale("p", 2)
    assert engine.states() == ["ready", "ready", "starting"]
    engine.advance(SETUP_SECONDS + 0.1)
    assert engine.states() == ["ready", "ready", "standby"]


def test_a_drain_ends_with_spares_and_replacements() -> None:
    """Nothing is left behind, and nothing more is recycled or scaled."""
    engine = SlowEngine(workers=2, spares=1, recycle=Recycle(attempts=1))
    run(engine, 1)
    engine.drain(10.0)
    engine.scale("p", 5)
    engine.advance(10.0)
    assert engine.scheduler.is_drained


@pytest.mark.parametrize("workers", [1, 4])
def test_a_pool_that_was_given_up_cannot_be_scaled(workers: int) -> None:
    """It has no workers, and will have none."""
    engine = SlowEngine(workers=2)
    engine.receive(on.ImportFailed("Traceback"))
    engine.scale("p", workers)
    assert engine.pool.target == 2
