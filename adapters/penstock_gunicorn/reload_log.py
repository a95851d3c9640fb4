"""The operator's view of the generations: lines in the log, and the record for ``penstock reload``."""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import replace
from typing import Any, Final

from penstock.hooks import log_event
from penstock_gunicorn.bulletin import Bulletin, ReloadRecord
from penstock_gunicorn.generations import FAILED, Generation
from penstock_gunicorn.supervisor import Supervisor

MOST_FAILURES: Final = 8
"""The number of failed reloads of which the reason is kept."""


def ask_for_reload(*, who: str, why: str) -> bool:
    """Ask the master for a reload, from one of the processes that it has started. Returns True."""
    log_event(logging.INFO, "reload-requested", f"a reload was requested by {who}", who=who, why=why or None)
    os.kill(os.getppid(), signal.SIGHUP)
    return True


class ReloadLog:
    """Reports what becomes of reloads.

    Parameters
    ----------
    bulletin:
        Where the record is published.
    supervisor:
        It is notified of the beginning and the end of each reload.
    """

    def __init__(self, bulletin: Bulletin, supervisor: Supervisor) -> None:
        self._bulletin = bulletin
        self._supervisor = supervisor
        self._record = ReloadRecord(os.getpid(), failures={})
        bulletin.publish(self._record)

    def begun(self, coming: Generation) -> None:
        """Report that a generation is being started."""
        log_event(
            logging.INFO,
            "reload",
            f"the app is loaded again, as generation {coming.number}; the old one serves until it is ready",
            generation=coming.number,
        )
        self._supervisor.reloading()
        self._publish(begun=self._record.begun + 1)

    def ended(self, coming: Generation) -> None:
        """Report that a generation has begun to serve, or has failed."""
        number = self._record.ended + 1
        seconds = round(time.monotonic() - coming.began, 3)
        if coming.state == FAILED:
            log_event(
                logging.ERROR,
                "reload-failed",
                f"generation {coming.number} could not start, and the old one goes on serving: {coming.reason}",
                generation=coming.number,
                seconds=seconds,
            )
            failures = {**(self._record.failures or {}), str(number): coming.reason}
            for old in list(failures)[:-MOST_FAILURES]:
                del failures[old]
            self._supervisor.ready(f"ready; the latest reload failed: {coming.reason}")
            self._publish(ended=number, failures=failures)
        else:
            log_event(
                logging.INFO,
                "reloaded",
                f"generation {coming.number} serves, after {seconds:g} s; the old one finishes its work",
                generation=coming.number,
                seconds=seconds,
            )
            self._supervisor.ready()
            self._publish(ended=number, generation=coming.number)

    def was_killed(self, pid: int, number: int) -> None:
        """Report that a signal has ended an HTTP process."""
        cause = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        hint = "; out of memory, perhaps" if number == signal.SIGKILL else ""
        log_event(logging.ERROR, "http-process-lost", f"HTTP process {pid} was ended by {cause}{hint}", pid=pid)

    def new_master_ended(self, pid: int, code: int) -> None:
        """Report that a new master, started by SIGUSR2, has ended before this one."""
        log_event(
            logging.WARNING,
            "new-master-ended",
            f"the new master {pid} has ended with code {code}; this one goes on serving",
            pid=pid,
            code=code,
        )

    def _publish(self, **changes: Any) -> None:
        self._record = replace(self._record, **changes)
        self._bulletin.publish(self._record)
