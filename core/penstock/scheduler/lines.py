"""The lines that stand before workers: how work that was sent ahead comes back."""

from __future__ import annotations

from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler.desk import Desk
from penstock.scheduler.jobs import Attempt
from penstock.scheduler.states import ATTEMPT
from penstock.scheduler.timers import NEVER
from penstock.scheduler.workforce import STALL_SECONDS, Worker


class Lines:
    """Recalls what a worker has not begun."""

    __slots__ = ("_desk",)

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def recall(self, worker: Worker) -> None:
        """Ask for what the worker has not begun: one of its line is not wanted any more, or all wait for too long."""
        recalls = self._desk.to_recall
        if worker.line and worker.line[-1].id > worker.recalled and worker not in recalls:
            recalls.append(worker)

    def issue_recalls(self) -> None:
        """Last of all, so that nothing is on its way to the worker that the recall does not name."""
        desk = self._desk
        for worker in desk.to_recall:
            if worker.line:  # else it was begun or lost in this same turn
                worker.recalled = worker.line[-1].id
                worker.is_recalled = True
                desk.out.append(do.Recall(worker.id, worker.recalled))
        desk.to_recall.clear()

    def accept(self, event: on.Recalled, now: float) -> Worker | None:
        """Take back what the worker has not begun; return the worker, or None if there is nothing to take."""
        worker = self._desk.workers.get(event.worker)
        if worker is None or not worker.line:
            return None
        while worker.line and worker.line[-1].id > event.started:
            self.take_back(worker.line.pop(), "recall")
        self.watch(worker, now)  # what is left it has begun: what it says of the one before them is on its way
        return worker

    def take_back(self, attempt: Attempt, happening: str) -> None:
        """The attempt was never begun: its job is where it was before."""
        del self._desk.attempts[attempt.id]
        attempt.state = ATTEMPT[attempt.state][happening]
        for job in attempt.jobs:
            if job.attempt is attempt:
                job.attempt = None
                job.lane.ahead -= 1
                job.lane.queue.push_front(job)

    def watch(self, worker: Worker, now: float) -> None:
        """See to it that its line does not wait for too long."""
        if worker.line:
            self._desk.timers.arm(worker, now + STALL_SECONDS)
        else:
            worker.due = NEVER
