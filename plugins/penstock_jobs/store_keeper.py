"""The upkeep of a store by one engine: it is opened and closed, its owner stays alive, and the dead are swept away."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from typing import Any, Final, TypeVar

from penstock.errors import Unavailable
from penstock.hooks import ServiceEngine, log_event
from penstock.job_store import Beat, JobStore, StoreCounts, StoreOwner, SweepResult
from penstock_jobs.job_desk import JobDesk
from penstock_jobs.lease_watch import LeaseWatch

T = TypeVar("T")

PATIENCE_SECONDS: Final = 1.0
"""The start of the server waits this long for the store, so that one that cannot be used stops it with the reason."""
REOPEN_SECONDS: Final = 1.0
SWEEP_SECONDS: Final = 0.9
"""A sweep also queues the jobs whose ``not_before`` has come. Less than the second after which it is called."""
COUNT_SECONDS: Final = 5.0
RETAIN_SECONDS: Final = 60.0
RETAIN_PAUSE_SECONDS: Final = 0.05
RETAIN_ROWS: Final = 200
"""Overdue jobs are removed in portions, with pauses: a transaction must not keep others waiting."""
CLOSE_SECONDS: Final = 5.0


def new_owner() -> StoreOwner:
    """Return an owner that no store has seen: one incarnation of this engine."""
    host = socket.gethostname()
    return StoreOwner(f"{host}-{os.getpid()}-{os.urandom(4).hex()}", host=host, pid=os.getpid())


class StoreKeeper:
    """The life of a store in one engine. Its methods run on the engine's thread.

    Parameters
    ----------
    desk:
        The desk, which is opened with the store.
    lease:
        The lease of this engine.

    Attributes
    ----------
    on_owned, on_lost:
        Called when this engine has become an owner, and when it is one no longer.
    on_beat:
        Called with the response to each sign of life.
    holds_nothing:
        Returns whether no code runs any more for jobs of a lost lease.
    owner:
        The owner as which this engine is registered.
    unready_reason:
        The reason why the store takes no jobs; None if it does.
    counts:
        The content of the store in numbers, as the status page shows it.
    is_closed:
        True once it is, or is being, closed.
    """

    def __init__(self, desk: JobDesk, lease: LeaseWatch) -> None:
        self._desk, self._lease = desk, lease
        self.on_owned: Callable[[], None] = lambda: None
        self.on_lost: Callable[[], None] = lambda: None
        self.on_beat: Callable[[Beat], None] = lambda _: None
        self.holds_nothing: Callable[[], bool] = lambda: True
        self.owner = new_owner()
        self.unready_reason: str | None = "the job store is being opened"
        self.counts: dict[str, Any] = {"store": None}
        self.is_closed = False
        self._engine: ServiceEngine
        self._store: JobStore
        self._ending = threading.Event()
        self._opening: threading.Thread
        self._problem: Exception | None = None
        self._is_open = self._is_out = self._is_lost = self._is_joining = False
        self._next_sweep = self._next_retention = self._next_count = 0.0

    def __repr__(self) -> str:
        return f"<StoreKeeper of {self.owner.id}: {'open' if self._is_open else 'closed'}>"

    @property
    def may_claim(self) -> bool:
        """True if this engine may take jobs now."""
        is_owner = self._is_open and not self._is_lost and not self.is_closed
        return is_owner and self._lease.may_claim(self._engine.time())

    # ---- opening

    def open(self, engine: ServiceEngine, store: JobStore) -> None:
        """Open the store in a thread, and wait for it for a moment.

        Raises
        ------
        StoreRejected
            If it cannot be used.
        """
        self._engine, self._store = engine, store
        self._opening = threading.Thread(target=self._open, name="penstock-jobs-opening", daemon=True)
        self._opening.start()
        self._opening.join(PATIENCE_SECONDS)
        if self._problem is not None:
            raise self._problem

    def _open(self) -> None:
        """Open the store, however long it takes. On a thread of its own."""
        while not self._ending.is_set():
            try:
                joined_at = self._open_once()
            except Unavailable as error:
                self.unready_reason = f"the job store cannot be opened yet: {error.detail}"
                self._ending.wait(REOPEN_SECONDS)
            except Exception as error:
                self._problem = error
                self._engine.call_soon_threadsafe(partial(self._cannot_open, error))
                return
            else:
                self._engine.call_soon_threadsafe(partial(self._opened, joined_at))
                return

    def _open_once(self) -> float:
        """Open the store, and become an owner; return the instant before that."""
        self._store.start(self._desk.note)
        try:
            joined_at = self._engine.time()
            self._store.register(self.owner, now=self._desk.now()).result()
            _log_sweep(self._store.sweep(now=self._desk.now(), lease=self._lease.lease).result())
        except BaseException:
            self._store.close()
            raise
        return joined_at

    def _opened(self, joined_at: float) -> None:
        self._is_open, self.unready_reason = True, None
        self._lease.renew(joined_at)
        self._lease.is_beat_due(joined_at)
        self._desk.open(self._store)
        log_event(logging.INFO, "jobs-open", f"background jobs are kept in {self._store!r}", owner=self.owner.id)
        self._engine.note_readiness()
        self.on_owned()

    def _cannot_open(self, error: Exception) -> None:
        self.unready_reason = f"the job store cannot be opened: {error}"
        log_event(logging.ERROR, "jobs-not-open", f"{self.unready_reason}; this server stays unready")

    def close(self, writes: list[Future[Any]]) -> None:
        """Wait a moment for the last writes, give back what has no end, and close."""
        self.is_closed = True
        self._ending.set()
        self._opening.join(CLOSE_SECONDS)
        self._desk.close()
        if not self._opening.is_alive() and self._problem is None:
            wait([*writes, self._store.remove(self.owner.id, now=self._desk.now())], timeout=CLOSE_SECONDS)
            self._store.close()

    # ---- upkeep

    def keep(self) -> None:
        """Do what is due. Called about once a second, or six times in a lease."""
        now = self._engine.time()
        if not self._is_lost and self._lease.is_lost(now):
            self.lose("no sign of life has reached the store for a whole lease")
        if self._is_lost:
            self._join_anew()
            return
        if self._lease.is_beat_due(now):
            self.then(self._store.beat(self.owner.id), partial(self._beaten, self.owner.id, now), self._not_beaten)
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP_SECONDS
            self.then(self._store.sweep(now=self._desk.now(), lease=self._lease.lease), _log_sweep)
        if now >= self._next_count:
            self._next_count = now + COUNT_SECONDS
            self.then(self._store.counts(), self._counted)
        if now >= self._next_retention:
            self._retain()

    def then(
        self,
        future: Future[T],
        callback: Callable[[T], None],
        failed: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        """Have ``callback`` called with the result of a store's future, on the engine's thread, or ``failed``.

        Failures of upkeep are passed over: it is repeated anyway, and the lease limits how long that can go on.
        """

        def come_back(done: Future[T]) -> None:
            error = done.exception()
            then = partial(callback, done.result()) if error is None else partial(failed, error)
            self._engine.call_soon_threadsafe(then)

        future.add_done_callback(come_back)

    def _beaten(self, owner: str, sent_at: float, beat: Beat) -> None:
        if owner != self.owner.id or self._is_lost:
            return
        if not beat.is_owner:
            self.lose("the store has given its jobs away")
            return
        self._lease.renew(sent_at)
        if self._is_out:
            self._is_out = False
            log_event(logging.INFO, "jobs-store-available", "the job store answers again")
        self.on_beat(beat)

    def _not_beaten(self, error: BaseException) -> None:
        if not self._is_out:
            self._is_out = True
            message = f"{error}; background jobs go on for at most {self._lease.lease:g} s"
            log_event(logging.WARNING, "jobs-store-unavailable", message)

    def _counted(self, counts: StoreCounts) -> None:
        now = self._desk.now()
        jobs: dict[str, dict[str, int]] = {}
        for tally in counts.tallies:
            jobs.setdefault(tally.endpoint, {})[tally.state] = tally.jobs
        self.counts = {
            "store": repr(self._store),
            "owner": self.owner.id,
            "owners": len(counts.owners),
            "jobs": jobs,
            "oldest_seconds": {name: round(max(0.0, now - since), 3) for name, since in counts.heads.items()},
            "stale_writes": self._store.stale_writes,
        }

    def _retain(self) -> None:
        self._next_retention = self._engine.time() + RETAIN_SECONDS
        self.then(self._store.retain(now=self._desk.now(), limit=RETAIN_ROWS), self._retained)

    def _retained(self, number: int) -> None:
        if number and not self.is_closed:
            self._engine.call_at(self._engine.time() + RETAIN_PAUSE_SECONDS, self._retain)

    # ---- a lost lease

    def lose(self, reason: str) -> None:
        """Stop everything: other engines may have the jobs by now."""
        if self._is_lost:
            return
        self._is_lost = True
        self._lease.end()
        log_event(logging.WARNING, "jobs-lease-lost", f"background jobs are stopped: {reason}", owner=self.owner.id)
        self.on_lost()

    def _join_anew(self) -> None:
        """Become another owner, once no code runs for the old one."""
        if self._is_joining or not self.holds_nothing():
            return
        self._is_joining = True
        old, self.owner = self.owner, new_owner()
        now, joined_at = self._desk.now(), self._engine.time()
        self._store.remove(old.id, now=now)
        joining = self._store.register(self.owner, now=now)
        joining.add_done_callback(
            lambda done: self._engine.call_soon_threadsafe(partial(self._joined, joined_at, done))
        )

    def _joined(self, joined_at: float, future: Future[None]) -> None:
        self._is_joining = False
        if future.exception() is None:
            self._is_lost = self._is_out = False
            self._lease.renew(joined_at)
            log_event(logging.INFO, "jobs-open", "background jobs are run again", owner=self.owner.id)
            self.on_owned()


def _log_sweep(result: SweepResult) -> None:
    if result.owners:
        counts = {name: len(getattr(result, name)) for name in ("queued", "failed", "cancelled")}
        log_event(
            logging.WARNING,
            "jobs-freed",
            f"the jobs of {len(result.owners)} dead engines are free: {counts['queued']} run again, "
            f"{counts['failed']} have failed, {counts['cancelled']} are cancelled",
            owners=list(result.owners),
            **counts,
        )
