"""Descriptors that are kept for the processes of an engine, so that connections cannot use up what the workers need."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.eventlog import log_event


class DescriptorReserve:
    """Open descriptors of nothing, which are closed for the moment in which a process is started.

    A program that has reached its limit of open files takes each descriptor that becomes free, also those of a worker
    that has ended: without a reserve, that worker could not be replaced until clients disconnect.
    """

    def __init__(self) -> None:
        self._held: list[int] = []
        self._is_short = False

    def hold(self, count: int) -> None:
        """Hold ``count`` descriptors from now on, or as many of them as can be opened."""
        while len(self._held) > count:
            os.close(self._held.pop())
        problem = self._fill(count)
        if problem and not self._is_short:
            log_event(
                logging.WARNING,
                "descriptors-short",
                f"only {len(self._held)} of {count} file descriptors could be reserved for workers that will have to "
                f"be started: {problem}; raise the limit (ulimit -n), or bound the connections",
                reserved=len(self._held),
                wanted=count,
            )
        self._is_short = bool(problem)

    def _fill(self, count: int) -> str:
        while len(self._held) < count:
            try:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                return os.strerror(error.errno or 0)
        return ""

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Free all descriptors while the block runs, which uses them. Then call ``hold`` again."""
        self.close()
        yield

    def close(self) -> None:
        """Release everything."""
        while self._held:
            os.close(self._held.pop())
