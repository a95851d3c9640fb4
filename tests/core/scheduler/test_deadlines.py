"""Each limit on a job: when it is reached, which error the caller receives, and that no other job is held up."""

from __future__ import annotations

import pytest

from penstock.errors import PenstockError
from penstock.policies import Timeouts
from penstock.scheduler import Job
from penstock.scheduler import events as on
from penstock.scheduler.states import CANCELLED, EXPIRED, SUCCEEDED, TIMED_OUT
from penstock.testing import Behaviour
from tests.core.scheduler.scheduling import code, codes, events, lane, names, ready

FOREVER = Timeouts(queue=None, execution=None, idle=None)


def test_a_result_in_time_is_the_answer() -> None:
    """A job that returns before its deadlines succeeds, and its times are known."""
    engine = ready()
    job = engine.submit()
    engine.advance(0.01)
    assert (job.state, code(job), job.answered) == (SUCCEEDED, "ok", 1.01)
    assert (job.started - job.arrived, job.execution_seconds) == (0.0, 0.01)


def test_the_queue_time_out_fires_behind_a_stuck_worker() -> None:
    """The scheduler watches queue time, not the worker: it ends on time while the only worker is stuck."""
    engine = ready(lane(timeouts=Timeouts(queue=2.0, execution=None)))
    engine.submit(behaviour=Behaviour.STUCK_HARD)
    job = engine.submit()
    engine.advance(1.999)
    assert code(job) is None
    engine.advance(0.001)
    assert (job.state, code(job), job.answered) == (EXPIRED, "queue-timeout", 3.0)
    assert job.attempts == 0
    assert job.outcome.retryable


def test_the_total_time_counts_in_the_queue() -> None:
    """A total timeout in the queue is a queue timeout: the job never started, so it is safe to send again."""
    engine = ready(lane(timeouts=Timeouts(queue=None, execution=None, total=0.5)))
    engine.submit(behaviour=Behaviour.STUCK_HARD, timeouts=FOREVER)
    job = engine.submit()
    engine.advance(0.5)
    assert (job.state, code(job), job.answered) == (EXPIRED, "queue-timeout", 1.5)
    assert "total time of 0.5 s" in str(job.outcome)


def test_the_execution_time_out_begins_with_the_attempt() -> None:
    """Time in the queue does not count toward the execution time."""
    engine = ready(lane(timeouts=Timeouts(execution=0.5)))
    engine.submit(behaviour=Behaviour(seconds=0.4))
    job = engine.submit(behaviour=Behaviour.STUCK)
    engine.advance(0.9)
    assert (job.state, code(job), job.answered) == (TIMED_OUT, "execution-timeout", 1.9)
    assert str(job.outcome) == "lane: still running after 0.5 s"
    assert not job.outcome.retryable


def test_the_total_time_out_stops_a_running_job() -> None:
    """The total time runs from the arrival, and goes on while the job runs."""
    engine = ready(lane(timeouts=Timeouts(execution=None, total=0.5)))
    engine.submit(behaviour=Behaviour(seconds=0.3))
    job = engine.submit(behaviour=Behaviour.STUCK)
    engine.advance(0.5)
    assert (job.state, code(job), job.answered) == (TIMED_OUT, "total-timeout", 1.5)


def test_the_first_chunk_has_a_limit_of_its_own() -> None:
    """A stream that yields nothing within ``first_chunk`` is stopped."""
    engine = ready(lane(is_stream=True, timeouts=Timeouts(first_chunk=0.2)))
    job = engine.submit(behaviour=Behaviour.STUCK)
    engine.advance(0.2)
    assert (code(job), job.answered) == ("execution-timeout", 1.2)
    assert str(job.outcome) == "lane: no first chunk after 0.2 s"


def test_the_first_chunk_ends_that_limit() -> None:
    """A stream whose first chunk came in time is not stopped by ``first_chunk`` later."""
    engine = ready(lane(is_stream=True, timeouts=Timeouts(first_chunk=0.2)))
    job = engine.submit(behaviour=Behaviour(seconds=1.0, chunks=1, every=0.1))
    engine.advance(0.1)
    engine.take(job)
    engine.advance(0.9)
    assert code(job) == "ok"


def test_first_chunk_holds_for_a_stream_that_was_not_declared() -> None:
    """It runs from the start of the attempt, and applies once the answer is known to be a stream."""
    engine = ready(lane(timeouts=Timeouts(first_chunk=0.2)))
    stream = engine.submit(behaviour=Behaviour(seconds=9.0, chunks=1, every=0.3))
    engine.advance(0.2)
    assert (code(stream), stream.answered) == ("execution-timeout", 1.2)
    engine.advance(0.1)
    single = engine.submit(behaviour=Behaviour(seconds=0.3))
    engine.advance(0.3)
    assert code(single) == "ok"


def test_a_stream_that_begins_after_the_limit_on_its_first_chunk_is_stopped() -> None:
    """The limit had passed before anything showed that it applies."""
    engine = ready(lane(timeouts=Timeouts(first_chunk=0.2)))
    job = engine.submit(behaviour=Behaviour(seconds=9.0, chunks=1, every=0.6))
    engine.advance(0.3)
    assert (code(job), str(job.outcome)) == ("execution-timeout", "lane: no first chunk after 0.2 s")


def test_a_stream_may_not_fall_silent() -> None:
    """``idle`` runs from the last chunk that the caller has taken."""
    engine = ready(lane(is_stream=True, timeouts=Timeouts(idle=0.5)))
    job = engine.submit(behaviour=Behaviour(seconds=9.0, chunks=2, every=0.25))
    for _ in range(2):
        engine.advance(0.25)
        engine.take(job)
    engine.advance(0.499)
    assert code(job) is None
    engine.advance(0.002)
    assert (job.state, code(job)) == (TIMED_OUT, "execution-timeout")
    assert str(job.outcome) == "lane: no further chunk for 0.5 s"


def test_idle_may_come_before_the_limit_that_held_until_then() -> None:
    """The first chunk may bring the limit nearer, and the timer with it."""
    engine = ready(lane(is_stream=True, timeouts=Timeouts(idle=0.1, first_chunk=None)))
    job = engine.submit(behaviour=Behaviour(seconds=9.0, chunks=1, every=0.2))
    engine.advance(0.2)
    engine.take(job)
    engine.advance(0.1)
    assert code(job) == "execution-timeout"


def test_a_caller_that_does_not_read_is_taken_to_be_gone() -> None:
    """``idle`` also bounds how long chunks may stay untaken; during that time the model may be silent."""
    engine = ready(lane(is_stream=True, timeouts=Timeouts(idle=0.5)))
    job = engine.submit(behaviour=Behaviour(seconds=9.0, chunks=40, every=0.1))
    engine.advance(0.599)
    assert code(job) is None
    engine.advance(0.002)
    assert (job.state, code(job)) == (CANCELLED, "cancelled")
    assert str(job.outcome) == "lane: the caller has not read for 0.5 s"
    assert events(engine) == ["interrupt"]


def test_taking_nothing_does_not_put_off_the_limit_on_silence() -> None:
    """A caller that keeps polling does not extend the time of a silent model."""
    engine = ready(lane(is_stream=True, timeouts=Timeouts(idle=0.5)))
    job = engine.submit(behaviour=Behaviour(seconds=9.0, chunks=1, every=0.1))
    for _ in range(7):
        engine.advance(0.1)
        engine.take(job)
    assert code(job) == "execution-timeout"


def test_a_caller_may_tighten_its_own_limits() -> None:
    """The timeouts of the job count, not those of the endpoint."""
    engine = ready(lane(timeouts=Timeouts(execution=10.0)))
    job = engine.submit(behaviour=Behaviour.STUCK, timeouts=Timeouts(execution=0.1))
    engine.advance(0.1)
    assert code(job) == "execution-timeout"


def test_no_limit_is_no_limit() -> None:
    """A timeout of None never stops a job, and needs no wake-up."""
    engine = ready(lane(timeouts=FOREVER))
    job = engine.submit(behaviour=Behaviour.STUCK)
    assert engine.scheduler.next_wakeup() is None
    engine.advance(1e6)
    assert code(job) is None


def test_a_queue_time_of_zero_means_now_or_never() -> None:
    """With ``queue=0`` a job runs at once, or is refused at the next wake-up, which is now."""
    engine = ready(lane(timeouts=Timeouts(queue=0.0)))
    first, second = engine.submit(), engine.submit()
    assert engine.scheduler.next_wakeup() == 1.0
    engine.advance(0.0)
    assert codes(first, second) == [None, "queue-timeout"]


def test_timers_go_before_what_arrives_late() -> None:
    """However late the engine calls, a result that arrives after the deadline is not a success."""
    engine = ready(lane(timeouts=Timeouts(execution=0.5)))
    job = engine.submit(behaviour=Behaviour.STUCK)
    attempt = job.attempt
    assert attempt is not None
    engine.clock.advance(0.6)
    commands = engine.receive(on.ResultsArrived(attempt.id, 0.55, ["late"]))
    assert code(job) == "execution-timeout"
    assert names(commands) == ["Answer", "Interrupt", "interrupt"]


def test_a_late_wake_up_starts_nothing_whose_time_is_over() -> None:
    """If several timers are due at once, no work is handed out before all of them have run."""
    engine = ready(lane(timeouts=Timeouts(queue=0.5, execution=0.2)))
    engine.submit(behaviour=Behaviour(seconds=9.0, acknowledges=9.0), timeouts=Timeouts(execution=0.2, grace=0.0))
    waiting = engine.submit()
    engine.clock.advance(100.0)
    commands = engine.receive(on.TimePassed())
    assert waiting.attempts == 0
    assert "Send" not in names(commands)
    assert code(waiting) == "queue-timeout"


def test_the_clock_of_a_worker_may_be_a_moment_fast() -> None:
    """An attempt that its worker's own cancel scope ended just before our timer has timed out, and has not failed."""
    engine = ready(lane(timeouts=Timeouts(execution=0.5)))
    job = engine.submit(behaviour=Behaviour(seconds=0.49, cancels_itself=True))
    engine.advance(0.49)
    assert code(job) == "execution-timeout"


def test_a_handler_that_cancels_itself_has_failed() -> None:
    """A cancellation that no caller asked for is the handler's own error."""
    engine = ready()
    job = engine.submit(behaviour=Behaviour(cancels_itself=True))
    engine.advance(0.01)
    assert code(job) == "handler-error"
    assert job.outcome.exception_type == "Cancelled"


def test_the_handlers_exception_is_the_answer() -> None:
    """A job whose handler raises fails at once, and is not tried again."""
    engine = ready()
    job = engine.submit(behaviour=Behaviour.FAILING)
    engine.advance(0.01)
    assert (code(job), job.attempts) == ("handler-error", 1)


def test_time_never_goes_back() -> None:
    """An instant before the previous one counts as the previous one."""
    engine = ready()
    engine.submit()
    job = Job(engine.scheduler.lanes["lane"], Timeouts())
    engine.scheduler.receive(on.Submitted(job), 0.5)
    assert job.arrived == 1.0


def test_what_had_elapsed_before_counts_only_against_the_total_time() -> None:
    """A request that took half its total time to arrive has the other half left, and its whole queue time."""
    engine = ready(lane(timeouts=Timeouts(queue=2.0, execution=None, total=4.0)))
    job = Job(engine.scheduler.lanes["lane"], Timeouts(queue=2.0, execution=None, total=4.0))
    engine.scheduler.receive(on.Submitted(job, 2.5), 1.0)
    assert (job.arrived, job.start_by, job.finish_by) == (1.0, 3.0, 2.5)


@pytest.mark.parametrize("state", ["queued", "running", "answered"])
def test_a_caller_may_leave_at_any_time(state: str) -> None:
    """A hang-up answers a job that is not yet answered; later it is harmless."""
    engine = ready()
    if state == "queued":
        engine.submit(behaviour=Behaviour.STUCK)
    job = engine.submit()
    engine.advance(0.5 if state == "answered" else 0.0)
    engine.cancel(job)
    engine.cancel(job)
    assert code(job) == ("ok" if state == "answered" else "cancelled")
    assert engine.answered.count(job) == 1
    if state == "queued":
        assert job.attempts == 0


def test_a_hang_up_in_the_queue_lets_the_next_one_through() -> None:
    """If there is room, the job behind the one that left starts at once."""
    engine = ready(lane(units=1), lane(name="whole", units=2), capacity=2)
    engine.submit(behaviour=Behaviour.STUCK)
    large = engine.submit("whole")
    small = engine.submit()
    assert (large.attempts, small.attempts) == (0, 0)
    engine.cancel(large)
    assert small.attempts == 1


def test_a_time_out_in_the_queue_lets_the_next_one_through() -> None:
    """The job behind one that has waited too long starts at once too."""
    engine = ready(lane(units=1), lane(name="whole", units=2, timeouts=Timeouts(queue=0.1)), capacity=2)
    engine.submit(behaviour=Behaviour.STUCK)
    engine.submit("whole")
    small = engine.submit()
    engine.advance(0.1)
    assert small.attempts == 1


def test_every_error_is_one_of_ours() -> None:
    """Whatever stops a job, the outcome is a PenstockError whose message names the endpoint."""
    engine = ready(lane(timeouts=Timeouts(queue=0.1, execution=0.1)))
    engine.submit(behaviour=Behaviour.STUCK)
    engine.submit()
    engine.advance(1.0)
    assert all(isinstance(job.outcome, PenstockError) and "lane: " in str(job.outcome) for job in engine.answered)
