"""The engines in a simulation of a job store, which claim, run, drain, stop and die."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Final

from penstock.job_store import (
    ChunkReport,
    ClaimedJob,
    FinalState,
    JobEnding,
    OwnerLost,
    ProgressReport,
    Settlement,
    StoreFull,
    StoreOwner,
)
from penstock.testing.referee import require
from penstock.testing.simulated_callers import SimulatedCallers
from penstock.testing.store_scene import (
    ENDPOINTS,
    LEASE,
    MOST_RUNNING,
    POLL_SECONDS,
    SLOTS,
    ClaimingEngine,
    EngineKilled,
)

LOST_ANSWERS: Final = 0.1
"""The share of claims that an engine does not hear of."""


class SimulatedEngines(SimulatedCallers):
    """The part of a scenario that engines act in."""

    def _use_engine(self, number: int) -> None:
        engine = self.engines[number]
        if engine is None:
            self._start_engine(number)
            return
        self.doing = f"engine {engine.owner}"
        if engine.is_stopped:
            engine.is_stopped = self.dice.random() < 0.95
            return
        if self.dice.random() < self._kills:
            self._fuse = self.dice.randrange(16)
        action = self._weighted(
            {
                lambda: self._claim(engine): 6,
                lambda: self._work(engine): 10,
                lambda: self._beat(engine): 4,
                lambda: self._maintain(engine): 3,
                lambda: self._deliver(engine): 3,
                lambda: self._leave(number, engine): 1,
                lambda: self._stop(engine): 1,
            }
        )
        try:
            action()
            if self.dice.random() < self._kills / 3:
                raise EngineKilled  # after the commit, before the engine has noted it
        except EngineKilled:
            self._bury(number, engine)
        self._fuse = None

    def _start_engine(self, number: int) -> None:
        if self.dice.random() < 0.3:
            self._numbers += 1
            store = self._open_store()
            store.start(self._hear)
            engine = ClaimingEngine(store, f"engine-{self._numbers}", last_beat=self.lease_now)
            store.register(StoreOwner(engine.owner), now=self.now).result()
            self.engines[number] = engine

    def _bury(self, number: int, engine: ClaimingEngine) -> None:
        """Forget a dead engine. Nothing announces what its last call may have committed: look at everything."""
        engine.store.close()
        self.engines[number] = None
        self._changed |= {*self.referee.rows}
        self._announced |= {*ENDPOINTS}

    def _stop(self, engine: ClaimingEngine) -> None:
        engine.is_stopped = self.dice.random() < 0.2

    def _beat(self, engine: ClaimingEngine) -> None:
        beat = engine.store.beat(engine.owner).result()
        if beat.is_owner:
            engine.last_beat = self.lease_now
            for key in beat.cancels:
                if self.dice.random() < 0.5 and (claimed := engine.held.pop(key.job, None)) is not None:
                    self._fenced(claimed, engine.store.finish(key, JobEnding(state="cancelled"), now=self.now))
        else:
            engine.held.clear()
            engine.sending.clear()
            engine.store.register(StoreOwner(engine.owner), now=self.now).result()
            engine.last_beat = self.lease_now

    def _claim(self, engine: ClaimingEngine) -> None:
        if engine.is_unsure:
            self._put_back_unheard(engine)
            return
        # An engine does not claim when it could not beat; the store must not rely on that.
        if self.lease_now - engine.last_beat > LEASE / 2 and self.dice.random() < 0.7:
            return
        if not engine.is_woken and self.lease_now - engine.last_poll < POLL_SECONDS:
            return
        engine.is_woken = False  # before the query, so that news during it are not lost
        engine.last_poll = self.lease_now
        endpoint = self.dice.choice(ENDPOINTS)
        number = SLOTS - len(engine.held)
        if number == 0:
            return
        try:
            most_running = MOST_RUNNING[endpoint]
            claimed = engine.store.claim(
                engine.owner, endpoint, number, now=self.now, most_running=most_running
            ).result()
        except OwnerLost:
            engine.held.clear()
            return
        self.referee.see_claims(claimed, endpoint, min(number, self._room(endpoint)), self.now)
        if self.dice.random() < LOST_ANSWERS:
            engine.is_unsure = True
            return
        for item in claimed:
            before = self.referee.rows[item.job.id]
            require(item.job.claims == before.claims + 1, f"{item.job.id} has {item.job.claims} claims")
            require(len(item.request.body) in {1, 10, 500}, f"the request of {item.job.id} is {item.request}")
            engine.held[item.job.id] = item

    def _put_back_unheard(self, engine: ClaimingEngine) -> None:
        """Go on after a claim whose answer was lost."""
        held = {job.id: job.claim for job in self.referee.rows.values() if job.owner == engine.owner}
        keys = {claimed.key for claimed in engine.held.values()}
        known = {key.job for key in keys if held.get(key.job) == key.claim}
        try:
            freed = engine.store.keep_claims(engine.owner, keys, now=self.now).result()
        except OwnerLost:
            return
        engine.is_unsure = False
        require(freed == len(held) - len(known), f"{engine.owner} has put {freed} of {held} back, and holds {known}")
        for job_id in known:
            require(self._auditor.get(job_id).result().owner == engine.owner, f"{job_id} was put back, and is known")

    def _room(self, endpoint: str) -> int:
        """Return the number of jobs of an endpoint that all engines together may still take."""
        most = MOST_RUNNING[endpoint]
        running = sum(job.endpoint == endpoint and job.state == "running" for job in self.referee.rows.values())
        return SLOTS if most is None else max(0, most - running)

    def _fenced(self, claimed: ClaimedJob, future: Future[bool]) -> bool:
        """Check that a write had an effect if its claim was the one that held the job, and none otherwise."""
        row = self.referee.rows.get(claimed.job.id)
        holds = row is not None and row.state == "running" and row.claim == claimed.job.claim
        require(future.result() == holds, f"{claimed.key} has written: {future.result()}, and holds the job: {holds}")
        return holds

    def _work(self, engine: ClaimingEngine) -> None:
        if not engine.held:
            return
        claimed = engine.held[self.dice.choice(sorted(engine.held))]
        key, store, now = claimed.key, engine.store, self.now
        kind = self.dice.choice(("start", "report", "finish", "finish", "retry", "give back"))
        if kind == "start":
            self._fenced(claimed, store.started(key, now=now))
        elif kind == "report":
            self._report(engine, claimed)
        else:
            del engine.held[claimed.job.id]
            if kind == "finish":
                self._fenced(claimed, store.finish(key, self._ending(), now=now))
            elif kind == "retry":
                not_before = now + self.dice.choice((-1.0, 0.0, 2.0))
                self._fenced(claimed, store.retry_later(key, not_before, "handler-error", now=now))
            else:
                self._give_back(engine, claimed)

    def _ending(self) -> JobEnding:
        state: FinalState = self.dice.choice(("succeeded", "succeeded", "failed", "timed_out"))
        return JobEnding(state=state, result=b"y" * self.dice.choice((1, 300)) if state == "succeeded" else None)

    def _report(self, engine: ClaimingEngine, claimed: ClaimedJob) -> None:
        report = ChunkReport(b"z" * 20) if self.dice.random() < 0.5 else ProgressReport(1, 2)
        try:
            engine.store.report(claimed.key, [report], now=self.now).result()
        except StoreFull:
            used_bytes = sum(job.size_bytes for job in self.referee.rows.values())
            require(used_bytes + 20 > self.limits.max_bytes, "there is room for a chunk")
            return

    def _give_back(self, engine: ClaimingEngine, claimed: ClaimedJob) -> None:
        before = self.referee.rows.get(claimed.job.id)
        number = engine.store.give_back([claimed.key], now=self.now)
        holds = before is not None and before.state == "running" and before.claim == claimed.job.claim
        require(number.result() == holds, f"{claimed.key} was put back by an engine that holds it: {holds}")
        if holds and before is not None:
            after = self._auditor.get(claimed.job.id).result()
            is_uncounted = after.state != "queued" or after.claims == before.claims - 1
            require(is_uncounted, f"{after.id} has {after.claims} claims after it was put back")

    def _maintain(self, engine: ClaimingEngine) -> None:
        rows = self.referee.rows
        before = {job_id: rows[job_id] for job_id in rows}
        owners = {owner.id: owner for owner in self._auditor.counts().result().owners}
        if self.dice.random() < 0.3:
            self._changed |= {job_id for job_id in rows if rows[job_id].is_final}
            engine.store.retain(now=self.now).result()
            self.referee.forget(self.now - 86_400.0)
            return
        swept = engine.store.sweep(now=self.now, lease=LEASE).result()
        for owner in swept.owners:
            require(self.lease_now - owners[owner].beat >= LEASE, f"{owner} was swept, and is alive")
        for owner_id, owner_row in owners.items():
            is_late = self.lease_now - owner_row.beat >= LEASE
            require(not is_late or owner_id in swept.owners, f"{owner_id} is dead, and was not swept")
        lost = {job_id for job_id, job in before.items() if job.owner in swept.owners}
        require(lost == {*swept.queued, *swept.failed, *swept.cancelled}, f"{lost} were lost; the sweep says {swept}")
        for job_id in lost:
            after = self._auditor.get(job_id).result()
            is_counted = after.claims == before[job_id].claims and after.losses <= before[job_id].losses + 1
            require(is_counted, f"{job_id} was lost: {before[job_id]} -> {after}")
            require(
                after.state != "queued" or after.losses > before[job_id].losses, f"the loss of {job_id} is uncounted"
            )
        late = {
            j.id for j in before.values() if j.state == "queued" and j.start_by is not None and j.start_by <= self.now
        }
        require(late <= {*swept.expired}, f"{late} are late; the sweep says {swept}")

    def _deliver(self, engine: ClaimingEngine) -> None:
        if not engine.sending:
            try:
                engine.sending = list(engine.store.claim_deliveries(engine.owner, 2, now=self.now).result())
            except OwnerLost:
                return
            for delivery in engine.sending:
                require(delivery.next_at <= self.now, f"{delivery.id} is sent too early")
            if self.dice.random() < LOST_ANSWERS:
                unheard, engine.sending = len(engine.sending), []
                freed = engine.store.keep_deliveries(engine.owner, []).result()
                require(freed == unheard, f"{engine.owner} has freed {freed} of {unheard} deliveries")
            return
        delivery = engine.sending.pop()
        known = {d.id: d for d in self._auditor.deliveries(delivery.job).result()}.get(delivery.id)
        holds = known is not None and (known.state, known.claim) == ("sending", delivery.claim)
        again = self.now + 5 if self.dice.random() < 0.3 else None
        settlement = Settlement(is_delivered=self.dice.random() < 0.5, next_at=again)
        settled = engine.store.settle(delivery.id, delivery.claim, settlement).result()
        require(settled == holds, f"{delivery.id} was settled: {settled}, by an engine that holds it: {holds}")

    def _leave(self, number: int, engine: ClaimingEngine) -> None:
        """Drain an engine: it puts everything back."""
        if self.dice.random() < 0.5:
            return
        before = {job.id: job for job in self.referee.rows.values() if job.owner == engine.owner}
        freed = engine.store.remove(engine.owner, now=self.now).result()
        require(freed == len(before), f"{engine.owner} has given {freed} back of {len(before)}")
        for job_id, job in before.items():
            after = self._auditor.get(job_id).result()
            is_uncounted = after.state == "cancelled" or (after.claims, after.losses) == (job.claims - 1, job.losses)
            require(is_uncounted, f"{job_id} was put back: {job} -> {after}")
        engine.store.close()
        self.engines[number] = None
