"""The lines that stand before workers: who is asked to give back what was sent ahead."""

from __future__ import annotations

from penstock.scheduler import commands as do
from penstock.scheduler.pools import STALL_SECONDS, Worker
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.timers import NEVER


class Lines:
    """Recalls what a worker has not begun."""

    __slots__ = ("_desk",)

    def __init__(self, desk: SchedulerState) -> None:
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

    def watch(self, worker: Worker, now: float) -> None:
        """See to it that its line does not wait for too long."""
        if worker.line:
            self._desk.timers.arm(worker, now + STALL_SECONDS)
        else:
            worker.due = NEVER
