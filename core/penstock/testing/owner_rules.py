"""The rules of a job store about engines that die or leave, deliveries and counts."""

from __future__ import annotations

from penstock.job_store import JobEnding, OwnerLost, ProgressReport, Settlement, Webhook
from penstock.testing.store_rules import FAILED, LEASE, SUCCEEDED, StoreRules, done, error_of, ids


class OwnerRules(StoreRules):
    """Engines that die, and engines that leave."""

    def test_an_owner_without_a_beat_for_a_lease_is_dead(self) -> None:
        """Its jobs are queued again, with the same id and a new claim, and it claims nothing more."""
        claimed = self.running()
        self.age_owners(self.store, LEASE * 0.9)
        assert done(self.store.sweep(now=self.now, lease=LEASE)).owners == ()
        self.age_owners(self.store, LEASE * 0.2)
        swept = done(self.store.sweep(now=self.now, lease=LEASE))
        assert (swept.owners, swept.queued) == (("one",), (claimed.job.id,))
        assert not done(self.store.beat("one")).is_owner
        assert isinstance(error_of(self.store.claim("one", "square", 1, now=self.now)), OwnerLost)
        assert not done(self.store.finish(claimed.key, SUCCEEDED, now=self.now))
        self.add_owner("two")
        [again] = self.claim(owner="two")
        assert (again.job.id, again.job.claims, again.job.losses) == (claimed.job.id, 2, 1)

    def test_a_beat_renews_the_lease(self) -> None:
        """An owner that shows signs of life keeps its jobs."""
        claimed = self.running()
        for _ in range(3):
            self.age_owners(self.store, LEASE * 0.9)
            assert done(self.store.beat("one")).is_owner
            assert done(self.store.sweep(now=self.now, lease=LEASE)).owners == ()
        assert done(self.store.finish(claimed.key, SUCCEEDED, now=self.now))

    def test_the_wall_clock_has_no_effect_on_leases(self) -> None:
        """It may leap by hours."""
        claimed = self.running()
        for leap in (-3600.0, 3600.0):
            assert done(self.store.sweep(now=self.now + leap, lease=LEASE)).owners == ()
        assert done(self.store.finish(claimed.key, SUCCEEDED, now=self.now))

    def _die(self) -> None:
        self.age_owners(self.store, LEASE * 1.1)
        done(self.store.sweep(now=self.now, lease=LEASE))

    def test_a_job_fails_after_it_has_been_lost_too_often(self) -> None:
        """A job that kills its engines does so twice, and not forever."""
        job = self.running(max_claims=2).job.id
        self._die()
        self.add_owner("two")
        self.claim(owner="two")
        self._die()
        stored = self.get(job)
        assert (stored.state, stored.code, stored.losses) == ("failed", "worker-lost", 2)

    def test_a_job_that_must_not_run_twice_fails_at_once(self) -> None:
        """``on_lost="fail"``."""
        job = self.running(on_lost="fail").job.id
        self._die()
        assert (self.get(job).state, self.get(job).code) == ("failed", "worker-lost")

    def test_a_lost_job_that_was_to_be_cancelled_is_cancelled(self) -> None:
        """It has stopped."""
        job = self.running().job.id
        done(self.store.cancel(job, now=self.now))
        self._die()
        assert self.get(job).state == "cancelled"

    def test_an_owner_that_leaves_gives_everything_back(self) -> None:
        """Uncounted: a drain is not a crash."""
        self.put(2)
        claimed = self.claim(2)
        assert done(self.store.remove("one", now=self.now)) == 2
        for job in claimed:
            stored = self.get(job.job.id)
            assert (stored.state, stored.claims, stored.losses) == ("queued", 0, 0)
        assert not done(self.store.beat("one")).is_owner
        assert done(self.store.remove("one", now=self.now)) == 0

    def test_an_owner_can_put_back_what_it_has_not_heard_of(self) -> None:
        """Uncounted; it keeps the claims that it names, and those of other owners stay too."""
        self.put(3)
        self.add_owner("two")
        [kept, unheard] = self.claim(2)
        [theirs] = self.claim(owner="two")
        assert done(self.store.keep_claims("one", [kept.key], now=self.now)) == 1
        stored = self.get(unheard.job.id)
        assert (stored.state, stored.claims, stored.losses) == ("queued", 0, 0)
        assert not done(self.store.finish(unheard.key, SUCCEEDED, now=self.now))
        for claimed in (kept, theirs):
            assert done(self.store.finish(claimed.key, SUCCEEDED, now=self.now))
        assert isinstance(error_of(self.store.keep_claims("nobody", [], now=self.now)), OwnerLost)

    def test_an_earlier_claim_does_not_keep_a_later_one(self) -> None:
        """A job that was put back, and then claimed without an answer, is put back again."""
        first = self.running()
        done(self.store.give_back([first.key], now=self.now))
        self.claim()
        assert done(self.store.keep_claims("one", [first.key], now=self.now)) == 1

    def test_one_owner_of_several_dies_alone(self) -> None:
        """The jobs of the others stay with them."""
        mine = self.running()
        self.age_owners(self.store, LEASE * 0.9)
        self.add_owner("two")
        self.put()
        [theirs] = self.claim(owner="two")
        self.age_owners(self.store, LEASE * 0.2)
        assert done(self.store.sweep(now=self.now, lease=LEASE)).queued == (mine.job.id,)
        assert done(self.store.finish(theirs.key, SUCCEEDED, now=self.now))


class DeliveryRules(StoreRules):
    """Deliveries to webhooks."""

    def test_each_wanted_event_has_a_delivery(self) -> None:
        """It is there as soon as the event is, and no other event has one."""
        claimed = self.running(webhook=Webhook("https://example.org/", ("started", "failed", "progress")))
        for seconds in (0.0, 0.1, 0.6):
            done(self.store.report(claimed.key, [ProgressReport(1)], now=1_800_000_100.0 + seconds))
        done(self.store.finish(claimed.key, FAILED, now=self.now))
        deliveries = done(self.store.deliveries(claimed.job.id))
        assert [d.event for d in deliveries] == ["started", "progress", "progress", "failed"]
        assert [d.seq for d in deliveries] == [2, 3, 5, 6]
        assert {d.url for d in deliveries} == {"https://example.org/"}

    def test_by_default_a_delivery_reports_the_end(self) -> None:
        """One for each job, whichever way it ends."""
        [job] = self.put(webhook=Webhook("https://example.org/"))
        done(self.store.cancel(job, now=self.now))
        assert [d.event for d in done(self.store.deliveries(job))] == ["cancelled"]

    def _ended(self) -> str:
        [job] = self.put(webhook=Webhook("https://example.org/"))
        done(self.store.cancel(job, now=self.now))
        return job

    def test_a_delivery_is_sent_by_one_sender_at_a_time(self) -> None:
        """With the same id each time, and only the sender that holds it settles it."""
        self._ended()
        [first] = done(self.store.claim_deliveries("one", 9, now=self.now))
        assert (first.state, first.sent) == ("sending", 1)
        assert not done(self.store.claim_deliveries("one", 9, now=self.now))
        later = Settlement(is_delivered=False, next_at=self.now + 5, status=500)
        assert done(self.store.settle(first.id, first.claim, later))
        assert not done(self.store.settle(first.id, first.claim, later))
        assert not done(self.store.claim_deliveries("one", 9, now=self.now + 4))
        [second] = done(self.store.claim_deliveries("one", 9, now=self.now + 5))
        assert (second.id, second.sent, second.status) == (first.id, 2, 500)
        assert done(self.store.settle(second.id, second.claim, Settlement(is_delivered=True, status=204)))
        [settled] = done(self.store.deliveries(first.job))
        assert (settled.state, settled.status) == ("delivered", 204)

    def test_a_delivery_that_is_given_up_can_be_sent_again(self) -> None:
        """An operator asks for it; while it is on its way that has no effect."""
        job = self._ended()
        [sending] = done(self.store.claim_deliveries("one", 1, now=self.now))
        assert not done(self.store.retry_delivery(sending.id, now=self.now))
        done(self.store.settle(sending.id, sending.claim, Settlement(is_delivered=False, error="refused")))
        [given_up] = done(self.store.deliveries(job))
        assert (given_up.state, given_up.error) == ("failed", "refused")
        assert done(self.store.retry_delivery(sending.id, now=self.now))
        assert done(self.store.claim_deliveries("one", 1, now=self.now))[0].id == sending.id

    def test_deliveries_of_a_dead_sender_are_sent_by_another(self) -> None:
        """And what the dead one says then is refused."""
        self._ended()
        [first] = done(self.store.claim_deliveries("one", 1, now=self.now))
        self.age_owners(self.store, LEASE * 1.1)
        done(self.store.sweep(now=self.now, lease=LEASE))
        assert isinstance(error_of(self.store.claim_deliveries("one", 1, now=self.now)), OwnerLost)
        self.add_owner("two")
        [second] = done(self.store.claim_deliveries("two", 1, now=self.now))
        assert second.id == first.id
        assert not done(self.store.settle(first.id, first.claim, Settlement(is_delivered=True)))
        assert done(self.store.settle(second.id, second.claim, Settlement(is_delivered=True)))

    def test_a_sender_can_have_sent_again_what_it_has_not_heard_of(self) -> None:
        """It keeps the deliveries that it names."""
        for _ in range(2):
            self._ended()
        [kept, unheard] = done(self.store.claim_deliveries("one", 2, now=self.now))
        assert done(self.store.keep_deliveries("one", [kept.key])) == 1
        assert not done(self.store.settle(unheard.id, unheard.claim, Settlement(is_delivered=True)))
        [again] = done(self.store.claim_deliveries("one", 2, now=self.now))
        assert (again.id, again.claim) == (unheard.id, unheard.claim + 1)
        assert done(self.store.settle(kept.id, kept.claim, Settlement(is_delivered=True)))
        assert isinstance(error_of(self.store.keep_deliveries("nobody", [])), OwnerLost)


class CountRules(StoreRules):
    """The counts for metrics."""

    def test_counts_are_exact(self) -> None:
        """By endpoint and state, in jobs and bytes, with the head of each queue, the owners and the deliveries."""
        self.put(3)
        self.put(endpoint="count", webhook=Webhook("https://example.org/"))
        [ended, _] = self.claim(2)
        done(self.store.finish(ended.key, JobEnding(state="succeeded", result=b"x" * 100), now=self.now))
        [counted] = self.claim(endpoint="count")
        done(self.store.finish(counted.key, FAILED, now=self.now))
        counts = done(self.store.counts())
        assert {(t.endpoint, t.state): t.jobs for t in counts.tallies if t.jobs} == {
            ("square", "queued"): 1,
            ("square", "running"): 1,
            ("square", "succeeded"): 1,
            ("count", "failed"): 1,
        }
        [succeeded] = [t for t in counts.tallies if t.state == "succeeded"]
        assert succeeded.size_bytes == self.get(ended.job.id).size_bytes > 100
        assert counts.heads == {"square": self.get("job-003").created_at}
        assert [owner.id for owner in counts.owners] == ["one"]
        assert counts.deliveries == {"waiting": 1}

    def test_all_stores_of_a_database_see_the_same(self) -> None:
        """A job that one has accepted can be claimed and ended through another."""
        other = self.open()
        [job] = self.put()
        [claimed] = done(other.claim("one", "square", 1, now=self.now))
        assert ids([claimed]) == [job]
        assert done(self.store.finish(claimed.key, SUCCEEDED, now=self.now))
        assert done(other.get(job)).state == "succeeded"
