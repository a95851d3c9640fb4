"""The rules of a job store, checked after each step of a simulation, by what a caller of the store can see."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from penstock.job_store import (
    AGEING_SECONDS,
    FINAL,
    ClaimedJob,
    JobEvent,
    JobNotFound,
    JobQuery,
    JobStore,
    StoredJob,
    StoreLimits,
)
from penstock.testing.referee import require

LEGAL: Final = {
    ("queued", "running"),
    ("queued", "cancelled"),
    ("queued", "expired"),
    ("running", "queued"),
    *(("running", state) for state in ("succeeded", "failed", "timed_out", "cancelled")),
    ("running", "expired"),  # in one sweep: freed, and too late to start again
}
"""The steps between states, written down once more."""

FIXED: Final = (
    *("endpoint", "principal", "priority", "created_at", "digest", "idempotency_key", "group", "webhook"),
    *("start_by", "on_lost", "max_claims", "result_ttl", "record_ttl", "retry_of", "timeout"),
)
"""The values of a row that never change."""


class StoreReferee:
    """The rules, and the rows as they were after the last step.

    Parameters
    ----------
    store:
        A store of its own of the same database, for looking.
    limits:
        The limits that all stores have.
    """

    def __init__(self, store: JobStore, limits: StoreLimits) -> None:
        self.rows: dict[str, StoredJob] = {}
        self.outcomes: Counter[str] = Counter()
        self.served: dict[tuple[str, str], float] = {}
        self._store = store
        self._limits = limits

    # ---- after each step

    def look(self, changed: set[str], announced: set[str], now: float, deleted: str | None = None) -> None:
        """Compare the jobs that have changed with what they were.

        Parameters
        ----------
        changed:
            The jobs that the stores have announced as changed, and those that may have been erased.
        announced:
            The endpoints that they have announced to have work.
        now:
            The wall clock.
        deleted:
            The job that a caller has deleted.
        """
        for job_id in sorted(changed):
            before = self.rows.get(job_id)
            after = self._find(job_id)
            if after is None:
                if before is not None:
                    self._check_erased(before, now, job_id == deleted)
                    del self.rows[job_id]
                continue
            self._check_change(before, after)
            if after.state == "queued" and after.turn is not None and (before is None or before.turn != after.turn):
                require(after.endpoint in announced, f"no engine was woken for {job_id}")
            self._check_events(after)
            if before is not None and after.claim > before.claim:
                line = (after.endpoint, after.principal)
                self.served[line] = max(now, self.served.get(line, now))
            self.rows[job_id] = after
        if any(job_id in self.rows and self.rows[job_id].owner is not None for job_id in changed):
            self._check_owners()

    def _check_owners(self) -> None:
        owners = {owner.id for owner in self._store.counts().result().owners}
        orphans = [job.id for job in self.rows.values() if job.owner is not None and job.owner not in owners]
        require(not orphans, f"{orphans} are running, but their owners are gone")

    def _find(self, job_id: str) -> StoredJob | None:
        try:
            return self._store.get(job_id).result()
        except JobNotFound:
            return None

    def _check_erased(self, job: StoredJob, now: float, is_deleted: bool) -> None:  # noqa: FBT001 - one of three facts
        is_overdue = job.delete_after is not None and job.delete_after <= now
        require(job.is_final and (is_deleted or is_overdue), f"{job.id} is gone, but was {job.state}")
        require(not self._store.events(job.id).result(), f"events of {job.id} are left")
        require(not self._store.deliveries(job.id).result(), f"deliveries of {job.id} are left")

    def _check_change(self, before: StoredJob | None, after: StoredJob) -> None:
        name = after.id
        if before is None:
            require((after.state, after.claim, after.claims) == ("queued", 0, 0), f"{name} begins as {after}")
            return
        altered = [field for field in FIXED if getattr(before, field) != getattr(after, field)]
        require(not altered, f"{name} has changed its {altered}")
        if before.is_final:
            kept = replace(after, bodies_until=before.bodies_until, size_bytes=before.size_bytes, body_bytes=0)
            require(kept == replace(before, body_bytes=0), f"{name} has ended, and changes: {before} -> {after}")
            return
        if before.state != after.state:
            require((before.state, after.state) in LEGAL, f"{name} goes from {before.state} to {after.state}")
            self.outcomes[after.state] += 1
        is_claimed = (before.state, after.state) == ("queued", "running")
        require(after.claim - before.claim == is_claimed, f"{name}: claim {before.claim} -> {after.claim}")
        require(after.events >= before.events, f"{name} has lost events")
        require((after.owner is not None) == (after.state == "running"), f"{name} is {after.state} of {after.owner}")
        require(not (after.state == "queued" and after.cancel_requested), f"{name} is queued, to be cancelled")
        require(after.losses <= after.max_claims, f"{name} was lost {after.losses} times")
        require(after.losses == 0 or after.on_lost == "retry" or after.is_final, f"{name} runs again after a loss")
        require(after.is_final == (after.delete_after is not None), f"{name} has no time to be removed")

    def _check_events(self, job: StoredJob) -> None:
        events = self._store.events(job.id, 0, 10_000).result()
        numbers = [event.seq for event in events]
        require(numbers == list(range(1, job.events + 1)), f"events of {job.id}: {numbers} of {job.events}")
        states = [_state_of(event) for event in events]
        require(states[-1] == job.state or job.state not in FINAL, f"the last event of {job.id} is {states[-1]}")
        require(not FINAL & {*states[:-1]}, f"events of {job.id} go on after its end")
        deliveries = self._store.deliveries(job.id).result()
        wanted = [] if job.webhook is None else [s for s in map(_public_name, events) if s in job.webhook.events]
        require([d.event for d in deliveries] == wanted, f"{job.id} has deliveries {deliveries}, not {wanted}")

    # ---- now and then

    def audit(self) -> None:
        """Compare every row with what was last seen of it, and the counts and owners with the rows."""
        rows = self._all_rows()
        for job_id in sorted({*rows, *self.rows}):
            require(rows.get(job_id) == self.rows.get(job_id), f"{job_id} has changed unannounced: {rows.get(job_id)}")
        counts = self._store.counts().result()
        counted = {(t.endpoint, t.state): (t.jobs, t.size_bytes) for t in counts.tallies if t.jobs}
        expected: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
        for job in rows.values():
            number, size_bytes = expected[job.endpoint, job.state]
            expected[job.endpoint, job.state] = number + 1, size_bytes + job.size_bytes
        require(counted == dict(expected), f"the counts are {counted}, not {dict(expected)}")
        self._check_owners()
        require(len(rows) <= self._limits.max_jobs, f"there are {len(rows)} jobs")

    def _all_rows(self) -> dict[str, StoredJob]:
        rows: dict[str, StoredJob] = {}
        after = None
        while True:
            page = self._store.list_jobs(JobQuery(limit=37, after=after)).result()
            rows.update({job.id: job for job in page.jobs})
            after = page.next_after
            if after is None:
                return rows

    # ---- claims, before they are looked at

    def see_claims(self, claimed: Sequence[ClaimedJob], endpoint: str, number: int, now: float) -> None:
        """Check that a claim has taken the jobs that it should, in the right order."""
        require(len(claimed) <= number, f"{len(claimed)} jobs were claimed instead of {number}")
        expected = self.claimable(endpoint, now)[:number]
        found = [item.job.id for item in claimed]
        require(found == [job.id for job in expected], f"{found} were claimed, not {[job.id for job in expected]}")

    def claimable(self, endpoint: str, now: float) -> list[StoredJob]:
        """Return the jobs that can be claimed, in the order in which they must be."""
        queued = []
        for job in self.rows.values():
            is_due = job.turn is not None or job.not_before is None or job.not_before <= now
            if job.state == "queued" and job.endpoint == endpoint and is_due:
                since = job.not_before if job.not_before is not None else now
                turn = job.turn if job.turn is not None else since + job.priority * AGEING_SECONDS
                if job.start_by is None or job.start_by > now:
                    queued.append((turn, job.id, job))
        queued.sort()
        # Round after round, each principal of a level has one turn, first the one that was served the longest time ago.
        # The levels come one after the other.
        lines: dict[int, dict[str, list[StoredJob]]] = defaultdict(lambda: defaultdict(list))
        for turn, _, job in queued[: self._limits.fair_window]:
            level = max(0, min(3, -int(-(turn - now) // AGEING_SECONDS)))
            lines[level][job.principal].append(job)
        places = {job_id: (turn, job_id) for turn, job_id, _ in queued}
        ordered = []
        for level in sorted(lines):
            waiting = [list(line) for line in lines[level].values()]
            while waiting:
                heads = [line.pop(0) for line in waiting]
                ordered += sorted(heads, key=lambda job: (self._served_at(job), places[job.id]))
                waiting = [line for line in waiting if line]
        return ordered

    def _served_at(self, job: StoredJob) -> float:
        return self.served.get((job.endpoint, job.principal), 0.0)

    def forget(self, before: float) -> None:
        """Forget who was served before an instant, as the store does."""
        self.served = {line: at for line, at in self.served.items() if at >= before}


def _state_of(event: JobEvent) -> str | None:
    return str(msgspec.json.decode(event.data)["state"]) if event.kind == "state" else None


def _public_name(event: JobEvent) -> str | None:
    state = _state_of(event)
    if state == "running":
        return "started" if b"cancel_requested" not in event.data else None
    return state
