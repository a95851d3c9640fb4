"""The rules of a job store about claiming, running and ending jobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from penstock.job_store import (
    AGEING_SECONDS,
    ChunkReport,
    ClaimKey,
    JobEnding,
    OwnerLost,
    ProgressReport,
    StoreFull,
    StoreLimits,
)
from penstock.testing.store_rules import FAILED, SUCCEEDED, StoreRules, done, error_of, ids


class ClaimRules(StoreRules):
    """The order of claims."""

    def test_a_claim_takes_the_oldest_jobs_of_its_endpoint(self) -> None:
        """Exactly as many as asked for, if there are as many; each with its request and a number."""
        jobs = self.put(5)
        self.put(endpoint="count")
        claimed = self.claim(3)
        assert ids(claimed) == jobs[:3]
        assert {(c.job.state, c.job.owner, c.job.claim, c.job.claims) for c in claimed} == {("running", "one", 1, 1)}
        assert {c.request.body for c in claimed} == {b"4"}
        assert ids(self.claim(9)) == jobs[3:]
        assert self.claim(9) == []

    def test_no_job_is_claimed_twice(self) -> None:
        """By whatever number of engines that claim at the same time."""
        self.add_owner("two")
        stores = {"one": self.store, "two": self.open()}
        expected = self.put(40)
        with ThreadPoolExecutor(8) as pool:
            claims = pool.map(lambda n: stores[n].claim(n, "square", 3, now=self.now), ["one", "two"] * 10)
            found = [job for future in claims for job in ids(done(future))]
        assert sorted(found) == expected

    def test_urgent_jobs_go_first(self) -> None:
        """By priority, whatever their age, as long as they have not aged."""
        [batch], [normal], [urgent] = self.put(priority=2), self.put(priority=1), self.put(priority=0)
        assert ids(self.claim(3)) == [urgent, normal, batch]

    def test_a_job_that_has_waited_long_is_as_urgent_as_a_new_one(self) -> None:
        """Nothing starves: with time, a job has the rank of the next higher priority."""
        [batch] = self.put(priority=2)
        self.now += 2 * AGEING_SECONDS
        [urgent] = self.put(priority=0)
        assert ids(self.claim(2)) == [batch, urgent]

    def test_principals_take_turns(self) -> None:
        """One that has put many jobs does not keep another waiting, as long as they are of one priority."""
        many = self.put(3, principal="ann")
        [single] = self.put(principal="bob")
        [urgent] = self.put(principal="ann", priority=1)
        assert ids(self.claim(5)) == [urgent, many[0], single, *many[1:]]

    def test_principals_take_turns_from_claim_to_claim(self) -> None:
        """With claims of one job each, the principal that was served the longest time ago is next."""
        many = self.put(3, principal="ann")
        others = self.put(2, principal="bob")
        claimed = []
        for _ in range(5):
            self.now += 0.01
            claimed += ids(self.claim())
        assert claimed == [many[0], others[0], many[1], others[1], many[2]]

    def test_turns_are_taken_within_a_window(self) -> None:
        """So a claim costs the same however long the queue is."""
        many = self.put(4, principal="ann")
        [single] = self.put(principal="bob")
        narrow = self.open(StoreLimits(fair_window=3))
        claims = [done(narrow.claim("one", "square", 1, now=self.now)) for _ in range(4)]
        # The single one is not among the first three until two of the others have gone.
        assert [ids(claim) for claim in claims] == [[many[0]], [many[1]], [single], [many[2]]]

    def test_a_job_is_not_claimed_before_its_time(self) -> None:
        """And then takes its place by that time."""
        [later] = self.put(not_before=self.now + 100)
        assert self.claim() == []
        self.now += 99
        [sooner] = self.put()
        self.now += 50
        [last] = self.put()
        assert ids(self.claim(3)) == [sooner, later, last]

    def test_a_job_is_not_claimed_after_its_start_deadline(self) -> None:
        """It expires with the next sweep, and its events report that."""
        [job] = self.put(start_by=self.now + 10)
        self.now += 10
        assert self.claim() == []
        assert done(self.store.sweep(now=self.now)).expired == (job,)
        assert self.get(job).state == "expired"
        assert self.kinds(job) == ["queued", "expired"]

    def test_an_endpoint_may_have_a_limit_for_all_engines(self) -> None:
        """It counts the running jobs of the endpoint, of whatever owner; an end makes room."""
        self.add_owner("two")
        first, *others = self.put(5)
        self.put(endpoint="count")
        [started] = self.claim(most_running=3)
        assert ids(self.claim(9, owner="two", most_running=3)) == others[:2]
        assert self.claim(9, most_running=3) == self.claim(9, most_running=1) == []
        assert len(self.claim(endpoint="count", most_running=1)) == 1
        assert started.job.id == first
        done(self.store.finish(started.key, SUCCEEDED, now=self.now))
        assert ids(self.claim(9, most_running=3)) == others[2:3]

    def test_engines_that_claim_at_the_same_time_keep_within_the_limit(self) -> None:
        """Each counts what the others have claimed."""
        self.add_owner("two")
        stores = {"one": self.store, "two": self.open()}
        self.put(40)
        with ThreadPoolExecutor(8) as pool:
            claims = pool.map(
                lambda n: stores[n].claim(n, "square", 2, now=self.now, most_running=7), ["one", "two"] * 10
            )
            assert sum(len(done(future)) for future in claims) == 7

    def test_an_engine_that_is_not_registered_claims_nothing(self) -> None:
        """It learns that from an error: it may have been found dead."""
        self.put()
        assert isinstance(error_of(self.store.claim("nine", "square", 1, now=self.now)), OwnerLost)
        assert self.get("job-001").state == "queued"

    def test_a_put_wakes_the_engines(self) -> None:
        """The change names the endpoint, in every store of the database, or says that anything may have changed."""
        self.changed.clear()
        self.open()
        self.changes.clear()
        [job] = self.put()
        assert self.changed.wait(30)
        assert any(change.endpoints is None or "square" in change.endpoints for change in self.changes)
        assert any(change.jobs is None or job in change.jobs for change in self.changes)


class RunRules(StoreRules):
    """From the claim to the end."""

    def test_a_job_that_ends_has_its_result(self) -> None:
        """With type, status and headers as the handler returned them."""
        claimed = self.running()
        outcome = JobEnding(
            state="succeeded", result=b"\x00\xff", media_type="image/png", status=201, headers={"X-A": "b"}
        )
        assert done(self.store.finish(claimed.key, outcome, now=self.now))
        job = self.get(claimed.job.id)
        assert (job.state, job.owner, job.finished_at) == ("succeeded", None, self.now)
        assert (job.bodies_until, job.delete_after) == (self.now + 86_400, self.now + 604_800)
        result = done(self.store.result(job.id))
        assert result is not None
        assert (result.body, result.media_type, result.status, result.headers) == (
            b"\x00\xff",
            "image/png",
            201,
            {"X-A": "b"},
        )

    def test_a_job_that_fails_has_its_error(self) -> None:
        """And no result."""
        claimed = self.running()
        done(self.store.finish(claimed.key, FAILED, now=self.now))
        job = self.get(claimed.job.id)
        assert (job.state, job.code, job.error) == ("failed", "handler-error", FAILED.error)
        assert done(self.store.result(job.id)) is None

    def test_events_are_numbered_without_a_gap(self) -> None:
        """From 1, in order, also after a number; the last one is the final state."""
        claimed = self.running()
        reports: list[ProgressReport | ChunkReport] = [
            ProgressReport(1, 2, "half"),
            ChunkReport(b"a"),
            ChunkReport(b"\xff"),
        ]
        assert done(self.store.report(claimed.key, reports, now=self.now))
        done(self.store.finish(claimed.key, SUCCEEDED, now=self.now))
        job = self.get(claimed.job.id)
        events = self.events(job.id)
        assert [event.seq for event in events] == list(range(1, 7)) == list(range(1, job.events + 1))
        assert self.kinds(job.id) == ["queued", "running", "progress", "chunk", "chunk", "succeeded"]
        assert [event.data for event in events if event.kind == "chunk"] == [b"a", b"\xff"]
        page = done(self.store.events(job.id, after=3, limit=2))
        assert list(page) == events[3:5]

    def test_the_last_progress_is_in_the_record(self) -> None:
        """With its instant."""
        claimed = self.running()
        done(self.store.report(claimed.key, [ProgressReport(1), ProgressReport(2, 4, "x")], now=self.now))
        progress = self.get(claimed.job.id).progress
        assert progress is not None
        assert (progress.done, progress.total, progress.message, progress.at) == (2, 4, "x", self.now)

    def test_chunks_of_an_earlier_run_are_void(self) -> None:
        """An event ``restarted`` says so, and only where there were chunks."""
        claimed = self.running()
        done(self.store.report(claimed.key, [ChunkReport(b"a")], now=self.now))
        for _ in range(2):
            done(self.store.give_back([claimed.key], now=self.now))
            [claimed] = self.claim()
            done(self.store.started(claimed.key, now=self.now))
        assert self.kinds(claimed.job.id) == [
            "queued",
            "running",
            "chunk",
            "queued",
            "restarted",
            "running",
            "queued",
            "running",
        ]

    def test_a_full_store_takes_no_chunk_but_takes_the_end(self) -> None:
        """So a job that was accepted can always end."""
        claimed = self.running()
        full = self.open(StoreLimits(max_bytes=1))
        assert isinstance(error_of(full.report(claimed.key, [ChunkReport(b"abc")], now=self.now)), StoreFull)
        assert done(full.report(claimed.key, [ProgressReport(1)], now=self.now))
        assert done(full.finish(claimed.key, SUCCEEDED, now=self.now))

    def test_only_the_current_claim_may_write(self) -> None:
        """Anything else is refused, has no effect, and is counted."""
        first = self.running()
        done(self.store.give_back([first.key], now=self.now))
        [second] = self.claim()
        before = self.get(first.job.id)
        for key in (first.key, ClaimKey(first.job.id, 9), ClaimKey("x", 1)):
            assert not done(self.store.started(key, now=self.now))
            assert not done(self.store.report(key, [ChunkReport(b"late")], now=self.now))
            assert not done(self.store.retry_later(key, 0.0, "late", now=self.now))
            assert not done(self.store.finish(key, FAILED, now=self.now))
            assert done(self.store.give_back([key], now=self.now)) == 0
        assert self.get(first.job.id) == before
        assert self.store.stale_writes == 12
        assert done(self.store.finish(second.key, SUCCEEDED, now=self.now))

    def test_a_final_job_never_changes(self) -> None:
        """The claim that ended it cannot write again either."""
        claimed = self.running()
        done(self.store.finish(claimed.key, SUCCEEDED, now=self.now))
        before = self.get(claimed.job.id)
        assert not done(self.store.finish(claimed.key, FAILED, now=self.now + 1))
        assert not done(self.store.started(claimed.key, now=self.now + 1))
        assert done(self.store.give_back([claimed.key], now=self.now)) == 0
        assert self.get(claimed.job.id) == before

    def test_a_job_that_is_given_back_keeps_its_place_and_its_count(self) -> None:
        """The number of the claim is used up, though: the fence needs it."""
        [first], _ = self.put(), self.put()
        [claimed] = self.claim()
        assert done(self.store.give_back([claimed.key], now=self.now)) == 1
        job = self.get(first)
        assert (job.state, job.owner, job.claims, job.claim) == ("queued", None, 0, 1)
        assert ids(self.claim()) == [first]
        assert self.get(first).claim == 2

    def test_a_retry_waits_for_its_time(self) -> None:
        """The claim counts."""
        claimed = self.running()
        assert done(self.store.retry_later(claimed.key, self.now + 5, "handler-error", now=self.now))
        assert self.claim() == []
        self.now += 5
        [again] = self.claim()
        assert (again.job.claims, again.job.losses) == (2, 0)

    def test_a_job_that_is_to_be_cancelled_never_runs_again(self) -> None:
        """Once it has stopped, for whatever reason, it is cancelled; unless it has come to its own end first."""
        for is_given_back in (True, False):
            claimed = self.running()
            done(self.store.cancel(claimed.job.id, now=self.now))
            if is_given_back:
                done(self.store.give_back([claimed.key], now=self.now))
            else:
                done(self.store.retry_later(claimed.key, self.now, "handler-error", now=self.now))
            assert self.get(claimed.job.id).state == "cancelled"
        claimed = self.running()
        done(self.store.cancel(claimed.job.id, now=self.now))
        assert done(self.store.finish(claimed.key, SUCCEEDED, now=self.now))
        assert self.get(claimed.job.id).state == "succeeded"
