"""The service that runs stored jobs: it claims jobs into spare slots, and sees them to their ends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from penstock.errors import PluginError
from penstock.hooks import App, ServiceEngine
from penstock.job_store import Beat, ClaimedJob, ClaimKey, OwnerLost, StoreChange
from penstock_jobs.claim_plan import ClaimPlan, Slots
from penstock_jobs.job_desk import JobDesk
from penstock_jobs.job_run import JobRun
from penstock_jobs.jobs_settings import JobsSettings
from penstock_jobs.lease_watch import LeaseWatch
from penstock_jobs.store_keeper import StoreKeeper
from penstock_jobs.unheard_claims import UnheardClaims
from penstock_jobs.verdicts import GiveBack

TICK_SECONDS: Final = 1.0
POLL_SECONDS: Final = 5.0
"""All queues are looked at this often, in case of news that were lost."""
UNSETTLED_SECONDS: Final = 0.02
"""Calls that wait for a worker, or are being stopped, are looked at this often."""
CANCELS_SECONDS: Final = 0.01
"""Cancels are looked for at most this often: each job that ends here is news too."""


class JobService:
    """An ``EngineService``. Every method runs on the engine's thread.

    Parameters
    ----------
    app:
        The app.
    settings:
        The settings of the plug-in.
    desk:
        The desk, where news of the store arrive.

    Attributes
    ----------
    on_owned:
        Called with the name of this engine's owner whenever that is new.
    """

    def __init__(self, app: App, settings: JobsSettings, desk: JobDesk) -> None:
        self._settings, self._desk = settings, desk
        self._endpoints = {endpoint.name: endpoint for endpoint in app.endpoints}
        self._plan = ClaimPlan(app, settings.share_of_slots)
        self._lease = LeaseWatch(max(endpoint.jobs.lease for endpoint in app.endpoints if endpoint.jobs is not None))
        self._keeper = StoreKeeper(desk, self._lease)
        self._unheard = UnheardClaims(self._put_back_unheard, self._keeper.then)
        self._unheard.on_settled = self._claim
        self._runs: dict[ClaimKey, JobRun] = {}
        self._engine: ServiceEngine
        self._is_ticking = self._is_draining = self._looks_soon = False
        self._cancels_are_stale = self._asks_cancels = False
        self._next_cancels = self._next_poll = 0.0
        self.on_owned: Callable[[str], None] = _ignore

    def __repr__(self) -> str:
        return f"<JobService: {len(self._runs)} jobs, {self._keeper!r}>"

    # ---- life

    def start(self, engine: ServiceEngine) -> None:
        """Open the store.

        Raises
        ------
        PluginError
            If no plug-in has a store of the kind that the setting names.
        StoreRejected
            If it cannot be used.
        """
        if engine.job_store is None:
            raise PluginError(
                "no plug-in has a job store of the kind that the setting 'store' of plug-in 'jobs' names; "
                "write sqlite:///jobs.db, postgresql://user@host/db or memory:, or install the plug-in that has it"
            )
        self._engine = engine
        self._desk.call_soon_threadsafe = engine.call_soon_threadsafe
        self._desk.listen(self._heard)
        keeper = self._keeper
        keeper.on_owned, keeper.on_lost, keeper.on_beat = self._owned, self._lost, self._beaten
        keeper.holds_nothing = lambda: not self._runs
        engine.watch_slots(self._slots_freed)
        keeper.open(engine, engine.job_store)

    def unready_reason(self) -> str | None:
        """Return why the server should get no work yet, or None."""
        return self._keeper.unready_reason

    def drain(self, deadline: float) -> None:  # noqa: ARG002 - the engine sees to the deadline
        """Claim no more."""
        self._is_draining = True

    def stop(self) -> None:
        """Write what is left, return the jobs that have no end, and close the store."""
        futures = [future for run in self._runs.values() for future in run.write_rest()]
        self._keeper.close(futures)

    def status(self) -> dict[str, Any]:
        """Return the part of the status page: what is in the store, a few seconds ago, and what runs here."""
        return self._keeper.counts | {"running_here": len(self._runs)}

    # ---- news

    def _owned(self) -> None:
        """Begin, or go on after a lost lease: this engine is an owner."""
        self.on_owned(self._keeper.owner.id)
        if self._is_ticking:
            self._claim()
        else:
            self._is_ticking = True
            self._tick()

    def _tick(self) -> None:
        if self._keeper.is_closed:
            return
        self._keeper.keep()
        now = self._engine.time()
        if now >= self._next_poll:
            self._next_poll = now + POLL_SECONDS
            self._plan.wake()
        self._slots_freed()
        self._engine.call_at(now + min(TICK_SECONDS, self._lease.interval), self._tick)

    def _heard(self, change: StoreChange) -> None:
        self._plan.wake(change.endpoints)
        self._claim()
        if change.jobs is None or any(key.job in change.jobs for key in self._runs):
            self._cancels_are_stale = True
            self._ask_cancels()

    def _slots_freed(self) -> None:
        for run in [run for run in self._runs.values() if not run.is_settled]:
            run.look()
        self._claim()

    def _look_soon(self) -> None:
        """Look again at calls that have not started: that is not an event for the service."""
        if not self._looks_soon and any(not run.is_settled for run in self._runs.values()):
            self._looks_soon = True
            self._engine.call_at(self._engine.time() + UNSETTLED_SECONDS, self._look)

    def _look(self) -> None:
        self._looks_soon = False
        self._slots_freed()
        self._look_soon()

    # ---- claims

    def _claim(self) -> None:
        if not self._keeper.may_claim:
            return
        if self._unheard.may_exist:
            self._unheard.settle()
            return
        if self._is_draining:
            return
        owner = self._keeper.owner.id
        for endpoint, number in self._plan.begin(self._engine.time(), self._slots_of):
            self._unheard.begin()
            most_running = self._plan.most_running(endpoint)
            future = self._desk.store.claim(owner, endpoint, number, now=self._desk.now(), most_running=most_running)
            future.add_done_callback(partial(self._come_back, endpoint, owner))

    def _slots_of(self, endpoint: str) -> Slots:
        return Slots(self._engine.spare_slots(endpoint), self._engine.slots(endpoint))

    def _come_back(self, endpoint: str, owner: str, future: Future[list[ClaimedJob]]) -> None:
        """Go on on the engine's thread. Called on a thread of the store."""
        self._engine.call_soon_threadsafe(partial(self._claimed, endpoint, owner, future))

    def _put_back_unheard(self) -> Future[int]:
        return self._desk.store.keep_claims(self._keeper.owner.id, self._runs, now=self._desk.now())

    def _claimed(self, endpoint: str, owner: str, future: Future[list[ClaimedJob]]) -> None:
        error = future.exception()
        self._unheard.end(error)
        if error is not None:
            self._plan.end(endpoint, None)
            if isinstance(error, OwnerLost) and owner == self._keeper.owner.id:
                self._keeper.lose("the store has given its jobs away")
            return
        claimed = future.result()
        if not self._keeper.may_claim or owner != self._keeper.owner.id or self._is_draining:
            # The drain has begun, or the lease has run out, while the claim was under way.
            self._plan.end(endpoint, 0)
            if claimed:
                given = self._desk.store.give_back([job.key for job in claimed], now=self._desk.now())
                self._keeper.then(given, lambda _: None, lambda _: self._unheard.suspect())
            return
        self._plan.end(endpoint, len(claimed))
        for job in claimed:
            self._begin(job)
        self._look_soon()
        self._claim()

    def _begin(self, claimed: ClaimedJob) -> None:
        run = JobRun(
            self._engine,
            self._desk,
            claimed,
            self._endpoints[claimed.job.endpoint],
            max_result_bytes=self._settings.max_result_bytes,
            on_free=self._freed,
            on_left=self._left,
        )
        self._runs[run.key] = run
        run.begin()

    def _freed(self, run: JobRun) -> None:
        self._plan.leave(run.endpoint)
        if isinstance(run.verdict, GiveBack) and run.verdict.is_refused:
            self._plan.refuse(run.endpoint, self._engine.time())
        else:
            self._plan.accept(run.endpoint)
        self._claim()

    def _left(self, run: JobRun) -> None:
        self._runs.pop(run.key, None)

    # ---- cancels

    def _ask_cancels(self) -> None:
        """Ask which jobs callers want cancelled, one question at a time."""
        now = self._engine.time()
        if not self._cancels_are_stale or self._asks_cancels or not self._runs or not self._keeper.may_claim:
            return
        if now < self._next_cancels:
            self._asks_cancels = True
            self._engine.call_at(self._next_cancels, self._ask_cancels_now)
            return
        # Cleared before the question: what is wanted after it is asked leads to another one.
        self._cancels_are_stale, self._asks_cancels, self._next_cancels = False, True, now + CANCELS_SECONDS
        future = self._desk.store.cancels(self._keeper.owner.id)
        future.add_done_callback(lambda done: self._engine.call_soon_threadsafe(partial(self._cancels_found, done)))

    def _ask_cancels_now(self) -> None:
        self._asks_cancels = False
        self._ask_cancels()

    def _cancels_found(self, future: Future[tuple[ClaimKey, ...]]) -> None:
        self._asks_cancels = False
        if future.exception() is None:
            self._cancel(future.result())
        self._ask_cancels()

    def _beaten(self, beat: Beat) -> None:
        self._cancel(beat.cancels)
        self._claim()  # the lease may have been too old for that

    def _cancel(self, keys: tuple[ClaimKey, ...]) -> None:
        for key in keys:
            if key in self._runs:
                self._runs[key].cancel()

    def _lost(self) -> None:
        for run in list(self._runs.values()):
            run.lose()


def _ignore(_owner: str) -> None: ...
