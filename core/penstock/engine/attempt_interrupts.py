"""The signals that interrupt synchronous code in workers, repeated until the attempt has ended.

A signal that arrives after the interpreter's last check for signals, and before the system call in which the user's
code is about to block, is noticed only when that call returns or the next signal interrupts it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from penstock.engine.calls import call_of
from penstock.engine.processes.worker_link import WorkerLink
from penstock.engine.reactors.reactor import Reactor
from penstock.scheduler import Attempt, Scheduler

FIRST_INTERRUPT_AGAIN_SECONDS: Final = 0.01
INTERRUPT_AGAIN_SECONDS: Final = 0.05

STEP_SHARE_OF_GRACE: Final = 0.5
"""A step may end by itself for this share of the grace period. It is interrupted only then: most steps are short, and
one that ends leaves the model as it should be."""


class AttemptInterrupts:
    """The interrupts of one engine's workers.

    Parameters
    ----------
    reactor, scheduler, links:
        The engine's loop, its scheduler, and its links to the workers.
    """

    def __init__(self, reactor: Reactor, scheduler: Scheduler, links: Mapping[int, WorkerLink]) -> None:
        self._reactor = reactor
        self._scheduler = scheduler
        self._links = links
        self._is_closed = False

    def close(self) -> None:
        """Send no more signals."""
        self._is_closed = True

    def begin(self, attempt_id: int) -> None:
        """Interrupt an attempt that is to stop, if it runs on its worker's main thread."""
        attempt = self._scheduler.attempts.get(attempt_id)
        if attempt is None:
            return
        mode = call_of(attempt).endpoint.mode
        if mode == "inline":
            self._press(attempt, _interrupt, FIRST_INTERRUPT_AGAIN_SECONDS)
        elif mode == "stepped":
            self._press(attempt, _interrupt_admission, FIRST_INTERRUPT_AGAIN_SECONDS)
            self._later(attempt, _interrupt_step, attempt.lane.timeouts.grace * STEP_SHARE_OF_GRACE)

    def _later(self, attempt: Attempt, strike: Callable[[WorkerLink, Attempt], None], seconds: float) -> None:
        again = partial(self._press, attempt, strike, INTERRUPT_AGAIN_SECONDS)
        self._reactor.call_at(self._reactor.time() + seconds, again)

    def _press(self, attempt: Attempt, strike: Callable[[WorkerLink, Attempt], None], pause: float) -> None:
        """Signal the worker, again and again, until the attempt has ended or the worker is killed."""
        link = self._links.get(attempt.worker.id)
        if link is None or attempt.id not in self._scheduler.attempts or self._is_closed:
            return
        strike(link, attempt)
        self._later(attempt, strike, pause)


def _interrupt(link: WorkerLink, attempt: Attempt) -> None:
    link.interrupt(attempt.id)


def _interrupt_admission(link: WorkerLink, attempt: Attempt) -> None:
    """Interrupt ``admit``, if it runs for this attempt: if several are stopping, only the first one can be inside."""
    stopping = [each.id for each in attempt.worker.attempts.values() if not each.live and each.jobs[0].head is None]
    if attempt.id == min(stopping, default=0):
        link.interrupt(attempt.id)


def _interrupt_step(link: WorkerLink, attempt: Attempt) -> None:
    """Interrupt ``step``, unless a caller waits for another attempt of the worker."""
    worker = attempt.worker
    if not any(each.live for each in worker.attempts.values()):
        link.abandon(worker.latest)
