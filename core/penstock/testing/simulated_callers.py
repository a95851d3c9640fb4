"""The callers in a simulation of a job store, who put, repeat, cancel and delete jobs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from penstock.job_store import (
    JobNotFinal,
    JobNotFound,
    NewJob,
    PutJob,
    StoreFull,
    Webhook,
)
from penstock.testing.referee import require
from penstock.testing.store_scene import ENDPOINTS, PRINCIPALS, StoreScene


class SimulatedCallers(StoreScene):
    """The part of a scenario that callers act in."""

    def _new(self, **values: Any) -> NewJob:
        dice = self.dice
        self._numbers += 1
        defaults: dict[str, Any] = {
            "id": f"job-{self._numbers:05}",
            "endpoint": dice.choice(ENDPOINTS),
            "request": b"x" * dice.choice((1, 10, 500)),
            "principal": dice.choices(PRINCIPALS, (8, 1, 1))[0],
            "priority": dice.choice((0, 1, 2, 2)),
            "not_before": self.now + dice.choice((-5.0, 1.0, 40.0)) if dice.random() < 0.1 else None,
            "start_by": self.now + dice.choice((0.5, 5.0, 500.0)) if dice.random() < 0.15 else None,
            "on_lost": dice.choice(("retry", "retry", "fail")),
            "max_claims": dice.choice((1, 2, 3)),
            "result_ttl": dice.choice((5.0, 100.0)),
            "record_ttl": dice.choice((5.0, 200.0)),
            "webhook": self._webhook() if dice.random() < 0.4 else None,
            "max_queued": dice.choice((10, 1000)),
        }
        return NewJob(**(defaults | values))

    def _webhook(self) -> Webhook:
        return Webhook("https://example.org/") if self.dice.random() < 0.5 else Webhook("x", ("started", "failed"))

    def _put(self) -> None:
        number = self.dice.choice((1, 1, 1, 4))
        jobs = [self._new() for _ in range(number)]
        if number == 1 and self.dice.random() < 0.5:
            values = {"is_named": True} if self.dice.random() < 0.5 else {"idempotency_key": f"key-{self._numbers}"}
            jobs = [self._new(**values)]
            self._named.append(jobs[0])
        self._store_jobs(jobs)

    def _store_jobs(self, jobs: list[NewJob]) -> list[PutJob]:
        rows = self.referee.rows
        used_bytes = sum(job.size_bytes for job in rows.values())
        room = self.limits.max_jobs - len(rows)
        try:
            stored = self._caller.put(jobs, now=self.now).result()
        except StoreFull:
            queued = Counter(job.endpoint for job in rows.values() if job.state == "queued")
            queued.update(new.endpoint for new in jobs)
            is_full = len(jobs) > room or used_bytes + sum(new.size_bytes for new in jobs) > self.limits.max_bytes
            is_long = any(queued[new.endpoint] > new.max_queued for new in jobs)
            require(is_full or is_long, "the store says that it is full, and is not")
            return []
        fresh = [put for put in stored if put.is_new]
        require(len(fresh) <= room, "the store takes more jobs than it may")
        if fresh:
            require(used_bytes <= self.limits.max_bytes, "the store takes more bytes than it may")
        self._changed |= {put.job.id for put in stored}
        for put in fresh:
            require(put.job.id not in rows, f"{put.job.id} is new, and was there before")
        return stored

    def _repeat(self) -> None:
        """Send a request again, as a caller does that has had no response."""
        if not self._named:
            return
        new = self.dice.choice(self._named)
        known = self._row_of(new)
        stored = self._store_jobs([new])
        if stored:
            require(stored[0].is_new == (known is None), f"{new.id} was put again, and is_new={stored[0].is_new}")
            require(known is None or stored[0].job.id == known, f"{new.id} was put again, and is {stored[0].job.id}")

    def _row_of(self, new: NewJob) -> str | None:
        for job in self.referee.rows.values():
            if (new.is_named and job.id == new.id) or (
                new.idempotency_key is not None
                and (job.principal, job.idempotency_key) == (new.principal, new.idempotency_key)
            ):
                return job.id
        return None

    def _any_job(self) -> str:
        return self.dice.choice(sorted(self.referee.rows) or ["none"])

    def _cancel(self) -> None:
        job_id = self._any_job()
        before = self.referee.rows.get(job_id)
        try:
            after = self._caller.cancel(job_id, now=self.now).result()
        except JobNotFound:
            require(before is None, f"{job_id} is not found")
            return
        require(before is not None, f"{job_id} is found")
        stopped = after.is_final or (after.state == "running" and after.cancel_requested)
        require(stopped, f"{job_id} was cancelled, and is {after.state}")

    def _delete(self) -> None:
        job_id = self._any_job()
        self._changed.add(job_id)
        try:
            self._caller.delete(job_id).result()
            self._deleted = job_id
        except JobNotFound:
            return
        except JobNotFinal:
            require(not self.referee.rows[job_id].is_final, f"{job_id} cannot be deleted")

    def _schedule(self) -> None:
        """Several engines store the job of one nominal time; at most one of them does."""
        nominal = (self.lease_now // 20) * 20
        new = self._new(id=f"schedule:x:{nominal:g}", is_named=True, not_before=None, max_queued=1000)
        try:
            stored = self._caller.put_scheduled("x", nominal, new, now=self.now).result()
        except StoreFull:
            return
        if stored is not None:
            self._nominals["x", nominal] += 1
        require(max(self._nominals.values(), default=0) <= 1, f"{new.id} was stored twice")
