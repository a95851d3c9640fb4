"""Interrupts: exceptions that stop synchronous user code on the main thread, and never anything else.

The engine writes the id of an attempt into a shared word and sends SIGUSR1. The handler raises only while exactly that
attempt is inside user code, so the loop, half-written frames and the next attempt are never hit.

The step of a generation loop runs for several attempts. It has a word of its own, which the engine writes only when no
caller waits for any attempt of the worker: the latest one that it has sent. A step that runs for a later one goes on.

The engine repeats the signal until the attempt is acknowledged. A signal that arrives between the interpreter's last
check for signals and a blocking system call is noticed only when that call returns, or when another signal interrupts
it.
"""

from __future__ import annotations

import mmap
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from penstock.wire import WORD_ABANDONED, WORD_INTERRUPT, WORD_RECALLED, WORD_STARTED

Argument = TypeVar("Argument")
Returned = TypeVar("Returned")


class Interrupted(BaseException):
    """Raised inside user code to stop its attempt. Not an ``Exception``, so ``except Exception`` does not catch it."""


class InterruptGuard:
    """Tracks when user code runs, and so when an interrupt may be raised.

    Parameters
    ----------
    words:
        The memory shared with the engine, as 64-bit words.
    """

    __slots__ = ("_armed", "_step", "_words")

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._armed = 0  # the attempt that may be interrupted now, or 0; the handler clears it when it raises
        self._step = 0  # the latest attempt of a step that may be interrupted now, or 0; cleared as well

    def install(self) -> None:
        """Handle SIGUSR1, whose default action is to kill the process. Main thread only."""
        signal.signal(signal.SIGUSR1, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_struck(self._armed, self._step):
            # Disarm first: an interrupt is raised at most once, so no second one can escape the guarded call.
            self.retire()
            raise Interrupted

    def _is_struck(self, attempt: int, step: int) -> bool:
        """Return whether the engine has asked for the end of what is armed like this."""
        if attempt and self._words[WORD_INTERRUPT] == attempt:
            return True
        return bool(step and self._words[WORD_ABANDONED] >= step)

    def retire(self) -> None:
        """Raise no more interrupts: this process shares the memory, but is a fork and not the worker."""
        self._armed = self._step = 0

    def release(self) -> None:
        """Unmap the memory. Nothing else may be called afterwards."""
        self.retire()
        memory = self._words.obj
        self._words.release()
        assert isinstance(memory, mmap.mmap)
        memory.close()

    def undisturbed(self, function: Callable[[Argument], object], argument: Argument) -> None:
        """Call ``function(argument)`` from user code on the main thread. An interrupt strikes before it, or after it.

        Raises
        ------
        Interrupted
            If the engine has stopped the attempt meanwhile.
        """
        attempt, step = self._armed, self._step
        self.retire()
        try:
            function(argument)
        finally:
            self._armed, self._step = attempt, step
        if self._is_struck(attempt, step):  # its signal may have come while it was ignored
            self.retire()
            raise Interrupted

    def is_target(self, attempt: int) -> bool:
        """Return whether the engine has requested an interrupt of this attempt."""
        return bool(self._words[WORD_INTERRUPT] == attempt)

    def may_begin(self, attempt: int) -> bool:
        """Announce that an attempt is about to begin; return False if the engine has recalled it.

        The order matters. The worker writes its word and then reads the engine's; the engine writes its word and then
        reads the worker's. So at least one of them sees what the other wrote. (Both stores may be delayed for some
        nanoseconds, and the attempt may then run twice; only attempts of idempotent endpoints are recalled.)
        """
        self._words[WORD_STARTED] = attempt
        return bool(self._words[WORD_RECALLED] < attempt)

    def run(self, attempt: int, function: Callable[[Argument], Returned], argument: Argument) -> Returned:
        """Call ``function(argument)`` so that it can be interrupted.

        Catch ``Interrupted`` in the frame that calls this method: an interrupt that strikes in this method's own
        ``finally`` escapes it, and a ``try`` in the frame of the interrupted code has been seen to miss it (once in
        some 20,000 races).

        Raises
        ------
        Interrupted
            If the engine stopped the attempt, before it began or while it ran.
        """
        try:
            self._armed = attempt
            # Check after arming: a signal that came before was ignored, and one that comes from now on raises.
            if self._words[WORD_INTERRUPT] == attempt:
                raise Interrupted
            return function(argument)
        finally:
            self._armed = 0

    def run_step(self, latest: int, function: Callable[[Argument], Returned], argument: Argument) -> Returned:
        """Call ``function(argument)`` for several attempts so that it can be interrupted when none of them is wanted.

        Parameters
        ----------
        latest:
            The latest of these attempts.
        function, argument:
            The call.

        Raises
        ------
        Interrupted
            As by ``run``, which says where to catch it.
        """
        try:
            self._step = latest
            if self._words[WORD_ABANDONED] >= latest:  # see ``run``
                raise Interrupted
            return function(argument)
        finally:
            self._step = 0


def ignore(_number: int, _frame: Any) -> None:
    """Handle a signal by doing nothing. Unlike ``SIG_IGN``, programs that user code executes do not inherit this."""
