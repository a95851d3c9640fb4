"""Workers whose processes are stopped by a signal: they answer nothing, and run no deadline out that could end them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from penstock.engine.processes.worker_link import WorkerLink
from penstock.engine.reactors.reactor import Reactor

SUSPENDED_SECONDS = 3.0
"""The time for which a worker may be stopped by a signal before it is replaced."""


class SuspensionEvents(Protocol):
    """The engine, as this watch reports to it."""

    def on_suspended(self, link: WorkerLink, reason: str) -> None:
        """Handle that a worker's process is stopped by a signal, and has been for too long."""


class SuspensionWatch:
    """Waits for stopped workers to be continued, and reports those that are not.

    Parameters
    ----------
    reactor:
        The engine's reactor.
    links:
        The workers, by the scheduler's id.
    events:
        Receives the reports.
    """

    def __init__(self, reactor: Reactor, links: Mapping[int, WorkerLink], events: SuspensionEvents) -> None:
        self._reactor = reactor
        self._links = links
        self._events = events

    def on_suspended(self, worker: int) -> None:
        """Look at a worker that was stopped again after ``SUSPENDED_SECONDS``."""
        link = self._links.get(worker)
        if link is not None:
            self._reactor.call_at(self._reactor.time() + SUSPENDED_SECONDS, lambda: self._look(link))

    def _look(self, link: WorkerLink) -> None:
        if self._links.get(link.worker) is link and link.process.state == "T":
            reason = f"its process was stopped by a signal (SIGSTOP), and not continued within {SUSPENDED_SECONDS:g} s"
            self._events.on_suspended(link, reason)
