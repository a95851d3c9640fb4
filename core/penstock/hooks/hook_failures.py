"""What plug-ins have raised while serving: counted, logged though not each time, and told to those who observe it."""

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
"""What raises, mostly raises for every request: the same is logged once in so many seconds."""


class HookFailures:
    """What plug-ins have raised: logged, counted, told.

    Parameters
    ----------
    clock:
        Instants in seconds, for the log's sake.

    Attributes
    ----------
    counts:
        By plug-in and hook.
    tell:
        Called with a ``HookFailed`` for each, or None if nobody wants to know.
    run_in_engine:
        Calls something in the engine's thread, soon; for what has failed in another. The engine sets it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.tell: Callable[[HookFailed], None] | None = None
        self.run_in_engine: Callable[[Callable[[], None]], object] = _at_once
        self._clock = clock
        self._lock = threading.Lock()
        self._logged_at: dict[tuple[str, str], float] = {}

    def add(
        self, plugin: Plugin, hook: str, error: Exception, *, is_told: bool = True, is_elsewhere: bool = False
    ) -> HookError:
        """One more; returns what its victim is answered with.

        Parameters
        ----------
        is_told:
            Whether the observers are told.
        is_elsewhere:
            Whether this may be another thread than the engine's.
        """
        key = plugin.name, hook
        with self._lock:
            self.counts[key] += 1
            count = self.counts[key]
            now = self._clock()
            is_logged = now - self._logged_at.get(key, -math.inf) >= SAME_FAILURE_SECONDS
            if is_logged:
                self._logged_at[key] = now
        sentence = f"{hook} of {plugin} raised {type(error).__name__}: {error}"
        if is_logged:
            log_event(
                logging.ERROR,
                "hook-error",
                sentence,
                plugin=plugin.name,
                distribution=plugin.distribution or None,
                version=plugin.version or None,
                hook=hook,
                failures=count,
                traceback="".join(traceback.format_exception(error)),
            )
        if is_told and self.tell is not None:
            record = HookFailed(plugin=plugin.name, hook=hook, error=type(error).__name__)
            if is_elsewhere:
                # The engine's loop may just have been closed: then nobody is left to tell.
                with contextlib.suppress(RuntimeError):
                    self.run_in_engine(partial(self.tell, record))
            else:
                self.tell(record)
        # Of what it raised, and of whose it is, an outside caller learns nothing.
        return HookError(f"{hook} of plug-in {plugin.name!r} failed")


def _at_once(action: Callable[[], None]) -> None:
    action()
