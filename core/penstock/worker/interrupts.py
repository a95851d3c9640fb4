"""Stopping synchronous user code on the main thread by an exception, and nothing else by accident.

The engine writes the id of an attempt into a shared word and sends SIGUSR1. The handler raises only while exactly that
attempt is inside user code, so the loop, half-written frames and the next attempt are never hit.

The engine repeats the signal until the attempt is acknowledged: one that arrives after the interpreter's last look for
signals, and before the system call that it is about to block in, is noticed only when that call returns, or when the
next signal interrupts it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from penstock.wire import WORD_INTERRUPT, WORD_RECALLED, WORD_STARTED

Argument = TypeVar("Argument")
Returned = TypeVar("Returned")


class Interrupted(BaseException):
    """Raised inside user code whose attempt is to stop. Not an ``Exception``: ``except Exception`` must not eat it."""


class InterruptGuard:
    """Marks when user code runs, and so when an interrupt may be raised.

    Parameters
    ----------
    words:
        The page that is shared with the engine, as 64-bit words.
    """

    __slots__ = ("_armed", "_words")

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._armed = 0  # the attempt that may be interrupted now; 0: none. The handler clears it when it raises

    def install(self) -> None:
        """Answer SIGUSR1, which would kill the process otherwise. Only on the main thread."""
        signal.signal(signal.SIGUSR1, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._armed and self._words[WORD_INTERRUPT] == self._armed:
            # Disarmed first: one interrupt is raised at most once, so none can follow it out of the guarded call.
            self._armed = 0
            raise Interrupted

    def retire(self) -> None:
        """Raise no more interrupts, in a child that shares the page but is not the worker."""
        self._armed = 0

    def is_target(self, attempt: int) -> bool:
        """Whether the engine has asked for an interrupt of this attempt."""
        return bool(self._words[WORD_INTERRUPT] == attempt)

    def may_begin(self, attempt: int) -> bool:
        """Say that an attempt is about to begin; False if the engine has recalled it.

        The order is the point: the engine writes its word and then reads ours, so one of the two sees the other's.
        (Their stores could pass each other for some nanoseconds; what runs twice then is of an idempotent endpoint.)
        """
        self._words[WORD_STARTED] = attempt
        return bool(self._words[WORD_RECALLED] < attempt)

    def run(self, attempt: int, function: Callable[[Argument], Returned], argument: Argument) -> Returned:
        """Invocation ``function(argument)`` where it can be interrupted.

        Catch ``Interrupted`` in the frame that calls this: an interrupt that strikes in this frame's own ``finally``
        escapes it, and a ``try`` in the frame of the struck code has been seen to miss (once in some 20,000 races).

        Raises
        ------
        Interrupted
            If the attempt was to stop, before it began or while it ran.
        """
        try:
            self._armed = attempt
            # Looked at after arming: a signal from before was ignored, one from now on raises.
            if self._words[WORD_INTERRUPT] == attempt:
                raise Interrupted
            return function(argument)
        finally:
            self._armed = 0


def ignore(_number: int, _frame: Any) -> None:
    """Handle a signal by doing nothing; unlike ``SIG_IGN`` it is not inherited by what user code executes."""
