"""The rules of a job store about accepting, listing and cancelling jobs."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from penstock.job_store import (
    IdempotencyMismatch,
    JobEnding,
    JobGone,
    JobNotFinal,
    JobNotFound,
    JobQuery,
    PutJob,
    StoreFull,
    StoreLimits,
    Webhook,
)
from penstock.testing.store_rules import SUCCEEDED, StoreRules, done, error_of, ids


class PutRules(StoreRules):
    """Accepting jobs."""

    def test_a_job_is_stored_with_all_that_it_has(self) -> None:
        """It comes back as it was put, its request and metadata too."""
        new = self.new(
            principal="ann",
            head=b"\x00head",
            media_type="text/plain",
            metadata={"colour": "grün"},
            group="night",
            request_id="r-1",
            timeout=5.0,
            webhook=Webhook("https://example.org/hook"),
            start_by=self.now + 60,
        )
        [put] = done(self.store.put([new], now=self.now))
        job = self.get(new.id)
        assert put == PutJob(job, is_new=True)
        assert (job.state, job.created_at, job.principal, job.group) == ("queued", self.now, "ann", "night")
        assert (job.request_id, job.timeout, job.start_by) == ("r-1", 5.0, self.now + 60)
        assert job.webhook == Webhook("https://example.org/hook")
        request = done(self.store.request(new.id))
        assert (request.body, request.media_type, request.head) == (b"4", "text/plain", b"\x00head")
        assert request.metadata == {"colour": "grün"}

    def test_the_same_id_with_the_same_request_is_the_same_job(self) -> None:
        """A caller that names its jobs may repeat a request that it has had no response to."""
        new = self.new(is_named=True)
        [first] = done(self.store.put([new], now=self.now))
        [again] = done(self.store.put([new], now=self.now + 1))
        assert (first.is_new, again.is_new) == (True, False)
        assert again.job == first.job

    def test_the_same_id_with_another_request_is_refused(self) -> None:
        """The job stays as it was. The same holds for another principal's job."""
        done(self.store.put([self.new(id="mine", is_named=True, principal="ann")], now=self.now))
        other = self.new(id="mine", is_named=True, principal="ann", request=b"5")
        stranger = self.new(id="mine", is_named=True, principal="bob")
        for new in (other, stranger):
            assert isinstance(error_of(self.store.put([new], now=self.now)), IdempotencyMismatch)
        assert done(self.store.request("mine")).body == b"4"

    def test_an_idempotency_key_stands_for_one_job_of_its_principal(self) -> None:
        """The same key of another principal is another key."""
        [first] = done(self.store.put([self.new(idempotency_key="k", principal="ann")], now=self.now))
        [again] = done(self.store.put([self.new(idempotency_key="k", principal="ann")], now=self.now))
        [other] = done(self.store.put([self.new(idempotency_key="k", principal="bob")], now=self.now))
        assert again == PutJob(first.job, is_new=False)
        assert other.is_new
        wrong = self.new(idempotency_key="k", principal="ann", request=b"5")
        assert isinstance(error_of(self.store.put([wrong], now=self.now)), IdempotencyMismatch)

    def test_many_jobs_are_stored_together_or_not_at_all(self) -> None:
        """One that does not fit leaves nothing of the others."""
        done(self.store.put([self.new(id="taken", is_named=True)], now=self.now))
        jobs = [self.new(group="g"), self.new(id="taken", is_named=True, request=b"5"), self.new(group="g")]
        assert isinstance(error_of(self.store.put(jobs, now=self.now)), IdempotencyMismatch)
        assert done(self.store.list_jobs(JobQuery(group="g"))).jobs == ()
        stored = done(self.store.put([self.new(group="g") for _ in range(3)], now=self.now))
        assert len(done(self.store.list_jobs(JobQuery(group="g"))).jobs) == len(stored) == 3

    def test_one_of_many_concurrent_puts_of_an_id_makes_the_job(self) -> None:
        """All of them return the same job, from whichever store they come."""
        stores = [self.store, self.open()]
        new = self.new(is_named=True)
        with ThreadPoolExecutor(8) as pool:
            futures = list(pool.map(lambda n: stores[n % 2].put([new], now=self.now), range(50)))
        results = [done(future)[0] for future in futures]
        assert sum(put.is_new for put in results) == 1
        assert {put.job for put in results} == {self.get(new.id)}

    def test_a_full_store_refuses_and_drops_nothing(self) -> None:
        """By jobs, by bytes, and by the queue of an endpoint."""
        self.put(2)
        small = self.open(StoreLimits(max_jobs=2))
        assert isinstance(error_of(small.put([self.new()], now=self.now)), StoreFull)
        narrow = self.open(StoreLimits(max_bytes=1000))
        assert isinstance(error_of(narrow.put([self.new(request=b"x" * 1000)], now=self.now)), StoreFull)
        assert isinstance(error_of(self.store.put([self.new(max_queued=2)], now=self.now)), StoreFull)
        assert len(done(self.store.list_jobs(JobQuery())).jobs) == 2
        [job] = self.claim()
        done(self.store.finish(job.key, SUCCEEDED, now=self.now))
        done(self.store.delete(job.job.id))
        done(small.put([self.new(max_queued=2)], now=self.now))

    def test_a_job_that_is_there_already_is_returned_by_a_full_store(self) -> None:
        """A repeated request needs no room."""
        new = self.new(is_named=True)
        small = self.open(StoreLimits(max_jobs=1))
        done(small.put([new], now=self.now))
        assert not done(small.put([new], now=self.now))[0].is_new

    def test_a_schedule_has_one_job_for_each_nominal_time(self) -> None:
        """One of several engines wins, and an older time comes too late, even if the job is gone."""
        other = self.open()
        futures = [
            store.put_scheduled("nightly", 100.0, self.new(id="schedule:nightly:100", is_named=True), now=self.now)
            for store in (self.store, other, self.store)
        ]
        assert sorted(done(future) is not None for future in futures) == [False, False, True]
        done(self.store.cancel("schedule:nightly:100", now=self.now))
        done(self.store.delete("schedule:nightly:100"))
        for nominal, wins in ((100.0, False), (99.0, False), (101.0, True)):
            new = self.new(id=f"schedule:nightly:{nominal:g}", is_named=True)
            assert (done(self.store.put_scheduled("nightly", nominal, new, now=self.now)) is not None) == wins

    def test_a_scheduled_job_that_is_refused_does_not_use_its_time_up(self) -> None:
        """The next try may store it."""
        self.put()
        full = self.open(StoreLimits(max_jobs=1))
        new = self.new(id="schedule:n:1")
        assert isinstance(error_of(full.put_scheduled("n", 1.0, new, now=self.now)), StoreFull)
        assert done(self.store.put_scheduled("n", 1.0, new, now=self.now)) is not None


class CallerRules(StoreRules):
    """Looking at jobs, cancelling and deleting them."""

    def test_an_unknown_job_is_not_found(self) -> None:
        """Whatever is asked of it; its events are none."""
        store = self.store
        calls: list[Future[Any]] = [
            store.get("x"),
            store.request("x"),
            store.result("x"),
            store.cancel("x", now=1.0),
            store.delete("x"),
        ]
        assert all(isinstance(error_of(call), JobNotFound) for call in calls)
        assert not done(store.events("x"))

    def test_a_list_is_newest_first_and_has_a_cursor(self) -> None:
        """Pages neither repeat nor leave out a job, even of those that were created at the same time."""
        expected = self.put(3)
        expected += ids(done(self.store.put([self.new() for _ in range(3)], now=self.now)))
        found: list[str] = []
        after = None
        while True:
            page = done(self.store.list_jobs(JobQuery(limit=2, after=after)))
            found += ids(page.jobs)
            after = page.next_after
            if after is None:
                break
        assert found == expected[::-1]

    def test_a_list_can_be_narrowed(self) -> None:
        """By principal, endpoint, state, group and code, alone and together."""
        self.put(principal="ann", group="g")
        self.put(principal="bob", endpoint="count")
        [lost] = self.put(principal="ann", endpoint="count")
        done(self.store.cancel(lost, now=self.now))
        queries = {
            JobQuery(principal="ann"): 2,
            JobQuery(endpoint="count"): 2,
            JobQuery(states=("queued",)): 2,
            JobQuery(states=("queued", "cancelled")): 3,
            JobQuery(group="g"): 1,
            JobQuery(code="cancelled"): 1,
            JobQuery(principal="ann", endpoint="count", states=("queued",)): 0,
        }
        for query, number in queries.items():
            assert len(done(self.store.list_jobs(query)).jobs) == number, query

    def test_the_number_of_jobs_ahead_is_exact_up_to_a_limit(self) -> None:
        """None beyond it, and for a job that is not in its queue."""
        jobs = self.put(4)
        assert [done(self.store.ahead(job)) for job in jobs] == [0, 1, 2, 3]
        assert done(self.store.ahead(jobs[3], 2)) is None
        self.claim()
        assert [done(self.store.ahead(job)) for job in jobs] == [None, 0, 1, 2]

    def test_a_queued_job_is_cancelled_at_once(self) -> None:
        """It is never claimed, and its last event reports it."""
        [job] = self.put()
        cancelled = done(self.store.cancel(job, now=self.now))
        assert (cancelled.state, cancelled.finished_at, cancelled.code) == ("cancelled", self.now, "cancelled")
        assert self.kinds(job) == ["queued", "cancelled"]
        assert self.claim() == []

    def test_a_running_job_is_flagged_and_its_owner_learns_of_it(self) -> None:
        """The state stays ``running`` until the work has stopped. A second request changes nothing."""
        claimed = self.running()
        flagged = done(self.store.cancel(claimed.job.id, now=self.now))
        assert (flagged.state, flagged.cancel_requested) == ("running", True)
        assert done(self.store.cancel(claimed.job.id, now=self.now + 1)) == flagged
        assert done(self.store.cancels("one")) == (claimed.key,)
        assert done(self.store.beat("one")).cancels == (claimed.key,)

    def test_a_final_job_is_left_as_it_is_by_a_cancel(self) -> None:
        """The first end wins."""
        claimed = self.running()
        done(self.store.finish(claimed.key, SUCCEEDED, now=self.now))
        before = self.get(claimed.job.id)
        assert done(self.store.cancel(claimed.job.id, now=self.now)) == before == self.get(claimed.job.id)

    def test_only_a_final_job_is_deleted_and_then_nothing_is_left(self) -> None:
        """Record, result, events and deliveries go together."""
        claimed = self.running(webhook=Webhook("https://example.org/"))
        job = claimed.job.id
        assert isinstance(error_of(self.store.delete(job)), JobNotFinal)
        done(self.store.finish(claimed.key, SUCCEEDED, now=self.now))
        done(self.store.delete(job))
        assert isinstance(error_of(self.store.get(job)), JobNotFound)
        assert isinstance(error_of(self.store.result(job)), JobNotFound)
        assert not done(self.store.events(job))
        assert not done(self.store.deliveries(job))
        assert [tally for tally in done(self.store.counts()).tallies if tally.jobs] == []

    def test_bodies_go_before_the_record(self) -> None:
        """Each has its time: a result that has been removed is gone, and a record is not found."""
        claimed = self.running(result_ttl=10.0, record_ttl=100.0, metadata={"a": "b"})
        job = claimed.job.id
        assert isinstance(error_of(self.store.result(job)), JobNotFinal)
        done(self.store.finish(claimed.key, SUCCEEDED, now=self.now))
        size_bytes = self.get(job).size_bytes
        assert done(self.store.retain(now=self.now + 9)) == 0
        assert done(self.store.retain(now=self.now + 10)) == 1
        assert isinstance(error_of(self.store.result(job)), JobGone)
        assert isinstance(error_of(self.store.request(job)), JobGone)
        assert self.get(job).size_bytes == size_bytes - 3
        assert done(self.store.metadata([job, "x"])) == {job: {"a": "b"}}
        assert done(self.store.retain(now=self.now + 99)) == 0
        assert done(self.store.retain(now=self.now + 100)) == 1
        assert isinstance(error_of(self.store.get(job)), JobNotFound)
        assert done(self.store.metadata([job])) == {}

    def test_retention_takes_a_bounded_step(self) -> None:
        """No more than the limit, the oldest first; unfinished jobs stay."""
        jobs = self.put(3, record_ttl=0.0)
        self.put()
        for job in jobs:
            done(self.store.cancel(job, now=self.now))
        assert [done(self.store.retain(now=self.now, limit=2)) for _ in range(3)] == [2, 1, 0]
        assert len(done(self.store.list_jobs(JobQuery())).jobs) == 1

    def test_retention_takes_a_step_of_a_bounded_size(self) -> None:
        """Large results are removed few at a time, and one at the least."""
        self.put(5, result_ttl=10)
        for claimed in self.claim(5):
            done(self.store.finish(claimed.key, JobEnding(state="succeeded", result=b"x" * (3 << 20)), now=self.now))
        assert [done(self.store.retain(now=self.now + 10)) for _ in range(4)] == [2, 2, 1, 0]
        assert done(self.store.retain(now=self.now + 1e9)) == 5
