"""Exceptions that plug-ins raise while serving: counted, logged at a limited rate, and reported to observers."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from penstock.errors import HookError
from penstock.eventlog import log_event
from penstock.hooks.plugin import Plugin
from penstock.hooks.records import HookFailed

SAME_FAILURE_SECONDS: Final = 60.0
"""A callable that raises usually does so for every request, so the same failure is logged at most this often."""


class HookFailures:
    """Logs, counts and reports the exceptions that plug-ins raise.

    Parameters
    ----------
    clock:
        Returns the current instant in seconds; limits the rate of logging.

    Attributes
    ----------
    counts:
        The number of failures by plug-in and hook.
    notify:
        Called with a ``HookFailed`` for each failure; None if there is no observer.
    run_in_engine:
        Schedules a call on the engine's thread, to report failures from other threads. Set by the engine.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.notify: Callable[[HookFailed], None] | None = None
        self.run_in_engine: Callable[[Callable[[], None]], object] = _call_now
        self._clock = clock
        self._lock = threading.Lock()
        self._logged_at: dict[tuple[str, str], float] = {}

    def add(
        self,
        plugin: Plugin,
        hook: str,
        error: BaseException,
        *,
        is_reported: bool = True,
        may_be_off_thread: bool = False,
    ) -> HookError:
        """Record a failure, and return the error for the caller that it affects.

        Parameters
        ----------
        is_reported:
            False to keep the failure from observers.
        may_be_off_thread:
            True if this may not be the engine's thread.

        Raises
        ------
        KeyboardInterrupt
            If that is the exception: Ctrl-C is not a failure of the plug-in that it happened to interrupt. Any other
            exception is, ``SystemExit`` included.
        """
        if isinstance(error, KeyboardInterrupt):
            raise error
        count, is_logged = self._count(plugin.name, hook)
        if is_logged:
            log_event(
                logging.ERROR,
                "hook-error",
                f"{hook} of {plugin} raised {type(error).__name__}: {error}",
                plugin=plugin.name,
                distribution=plugin.distribution or None,
                version=plugin.version or None,
                hook=hook,
                failures=count,
                traceback="".join(traceback.format_exception(error)),
            )
        if is_reported:
            record = HookFailed(plugin=plugin.name, hook=hook, error=type(error).__name__)
            self._report(record, may_be_off_thread=may_be_off_thread)
        # An outside caller learns neither the exception nor the plug-in's distribution.
        return HookError(f"{hook} of plug-in {plugin.name!r} failed")

    def _count(self, plugin: str, hook: str) -> tuple[int, bool]:
        """Return the number of these failures so far, and whether this one is to be logged."""
        key = plugin, hook
        with self._lock:
            self.counts[key] += 1
            now = self._clock()
            is_logged = now - self._logged_at.get(key, -math.inf) >= SAME_FAILURE_SECONDS
            if is_logged:
                self._logged_at[key] = now
            return self.counts[key], is_logged

    def _report(self, record: HookFailed, *, may_be_off_thread: bool) -> None:
        if self.notify is None:
            return
        if not may_be_off_thread:
            self.notify(record)
            return
        # The engine's loop may just have been closed; then no observer is left.
        with contextlib.suppress(RuntimeError):
            self.run_in_engine(partial(self.notify, record))


def _call_now(action: Callable[[], None]) -> None:
    action()
