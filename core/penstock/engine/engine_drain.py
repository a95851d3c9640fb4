"""The drain of an engine: how long it may take, and the records of its two ends."""

from __future__ import annotations

from collections.abc import Callable

from penstock.engine.observers import Observers
from penstock.eventlog import end_last_resort
from penstock.hooks.records import ShutdownRequest
from penstock.scheduler import Scheduler

_NO_DRAIN = ShutdownRequest(drain=0.0, who="the program", why="closed without a drain")


class EngineDrain:
    """The one drain of an engine.

    Parameters
    ----------
    grant:
        The shutdown policy: returns the seconds that it grants to a request.
    observers:
        The observers of plug-ins.
    time:
        The engine's clock.

    Attributes
    ----------
    request:
        The request as granted; None until the drain begins.
    on_ended:
        Called once, when the engine is closed.
    """

    def __init__(
        self, grant: Callable[[ShutdownRequest], float], observers: Observers, time: Callable[[], float]
    ) -> None:
        self.request: ShutdownRequest | None = None
        self.on_ended: list[Callable[[], None]] = []
        self._grant = grant
        self._observers = observers
        self._time = time
        self._began = 0.0

    def begin(self, wish: ShutdownRequest, longest: float, jobs: int) -> float:
        """Begin the drain with ``jobs`` admitted; return its deadline, at most ``longest`` seconds from now."""
        seconds = min(self._grant(wish), longest)
        self.request = ShutdownRequest(drain=seconds, who=wish.who, why=wish.why)
        self._began = self._time()
        self._observers.drain_started(self.request, jobs)
        return self._began + seconds

    def call_back(self) -> None:
        """Call those who wait for the end."""
        waiting, self.on_ended = self.on_ended, []
        for callback in waiting:
            callback()

    def end(self, scheduler: Scheduler, left: int) -> None:
        """Record that the engine is closed, with ``left`` jobs unanswered; also where no drain came before."""
        seconds = self._time() - self._began if self.request else 0.0
        state = scheduler.state
        abandoned = state.drain_abandoned + left
        self._observers.report_counts(scheduler)
        self._observers.drain_ended(self.request or _NO_DRAIN, seconds, state.drain_answered, abandoned)
        end_last_resort()
