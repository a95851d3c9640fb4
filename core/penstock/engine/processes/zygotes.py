"""The zygote of one engine, and the ones that it has replaced."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from penstock.engine.processes.zygote_link import ZygoteLink
from penstock.engine.reactors.reactor import Reactor
from penstock.eventlog import log_event
from penstock.eventlog.import_records import ImportRecords
from penstock.wire import Load, Message, Spawn


class ZygoteReports(Protocol):
    """The owner of the workers, as the zygotes report to it."""

    def on_zygote_message(self, message: Message, pidfd: int) -> None:
        """Handle a message; ``pidfd`` as in ``ZygoteEvents``."""

    def on_zygote_given_up(self, workers: set[int], reason: str) -> None:
        """Handle that a zygote was given up, and these workers with it. Another one is started for the next worker."""


class Zygotes:
    """Starts a zygote, and another one in place of one that died or hangs.

    The other one is started together with the next worker, so that the back-off of workers is that of zygotes too. A
    zygote that hangs stays for as long as workers live that it has forked: the kernel would kill them with it.

    Parameters
    ----------
    reactor:
        The engine's reactor.
    load:
        Returns the order to import the app.
    load_seconds:
        The time for the import of the app; None for no limit.
    reports:
        Receives the reports.

    Attributes
    ----------
    is_wanted:
        True while workers may have to be started.
    imports:
        The log records of the import, of these processes and their workers.
    """

    def __init__(
        self, reactor: Reactor, load: Callable[[], Load], load_seconds: float | None, reports: ZygoteReports
    ) -> None:
        self._reactor = reactor
        self._load = load
        self._load_seconds = load_seconds
        self._reports = reports
        self._current: ZygoteLink | None = None
        self._retired: list[ZygoteLink] = []
        self.is_wanted = False
        self._is_closed = False
        self.imports = ImportRecords()

    @property
    def is_present(self) -> bool:
        """True if there is a zygote from which workers will come."""
        return self._current is not None

    def admits(self, message: Spawn) -> bool:
        """Return whether this worker can be requested now."""
        current = self._current
        return current is not None and current.is_loaded and current.templates.admits(message)

    def template_pid(self, pool: str) -> int | None:
        """Return the pid of the process from which the next worker of the pool is forked, models and all, or None."""
        return None if self._current is None else self._current.templates.pids.get(pool)

    def start_if_missing(self) -> None:
        """Start a zygote, which imports the app, if one is wanted and there is none.

        Raises
        ------
        OSError
            If the process cannot be started. It is still missing then.
        """
        if self.is_wanted and self._current is None:
            self._current = ZygoteLink(self._reactor, self._load(), self._load_seconds, self, self.imports)

    def spawn(self, message: Spawn, descriptors: list[int]) -> None:
        """Request a worker; see ``ZygoteLink.spawn``."""
        assert self._current is not None
        self._current.spawn(message, descriptors)

    def forget(self, worker: int) -> str:
        """Record that a worker is gone; return the name of its pool if others wait for the models it was to set up."""
        pool = ""
        for zygote in self._all():
            zygote.workers.discard(worker)
            zygote.unanswered.discard(worker)
            pool = zygote.templates.forget(worker) or pool
        for zygote in [zygote for zygote in self._retired if not zygote.workers]:
            self._retired.remove(zygote)
            zygote.close()
        return pool

    def close(self) -> None:
        """Kill every zygote, and with it its workers; return when they are gone."""
        self._is_closed = True
        for zygote in self._all():
            zygote.close()

    def _all(self) -> list[ZygoteLink]:
        return [*self._retired, *([self._current] if self._current is not None else [])]

    # ---- what the links report

    def on_zygote_message(self, message: Message, pidfd: int) -> None:
        """See ``ZygoteEvents``."""
        self._reports.on_zygote_message(message, pidfd)

    def on_zygote_lost(self, zygote: ZygoteLink) -> None:
        """See ``ZygoteEvents``. The kernel has killed its workers; where it does not, their owner must."""
        if self._is_closed:
            return
        if zygote.has_failed:
            self.is_wanted = False  # there will be no workers
        else:
            what = "forks the workers" if zygote.is_loaded else "imports the app"
            log_event(logging.ERROR, "zygote-lost", f"the process that {what} died", pid=zygote.pid)
        reason = "its zygote died" if zygote.is_loaded else "the process that imports the app died"
        self._give_up(zygote, zygote.workers.copy(), reason)

    def on_zygote_silent(self, zygote: ZygoteLink, seconds: float) -> None:
        """See ``ZygoteEvents``."""
        unanswered = zygote.unanswered.copy()
        what = "the process that forks the workers did not answer"
        if not zygote.is_loaded:
            what = "the import of the app did not end"
        problem = f"{what} within {seconds:g} s"
        fields = {"pid": zygote.pid, "workers": len(zygote.workers - unanswered)}
        log_event(logging.ERROR, "zygote-hung", problem, **fields)
        if zygote.workers == unanswered:
            zygote.close()
        else:
            self._retired.append(zygote)
        self._give_up(zygote, unanswered, problem)

    def _give_up(self, zygote: ZygoteLink, workers: set[int], reason: str) -> None:
        if zygote is self._current:
            self._current = None
        elif zygote.is_closed:
            self._retired.remove(zygote)
        self._reports.on_zygote_given_up(workers, reason)
