"""Counts the bytecode instructions that this process executes, by function.

Code written in C (parsers, JSON, sockets, futures) is not counted, and neither is the event loop, nor the benchmark.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import selectors
import sys
import threading
from collections import defaultdict
from pathlib import Path
from threading import get_ident
from types import CodeType, FrameType
from typing import Any

# Their instructions depend on what other processes and threads do at the moment.
_LOOPS = (concurrent.futures, queue, selectors, threading)
_UNCOUNTED = (
    str(Path(__file__).parent),
    str(Path(asyncio.__file__).parent),
    *(str(module.__file__).removesuffix("__init__.py") for module in _LOOPS),
)


class Tally:
    """The instructions and the calls of each function. A generator or coroutine that goes on counts as a call.

    Functions are known by the ``id`` of their code here: to hash the code itself takes longer than all the rest.
    """

    def __init__(self) -> None:
        self.instructions: defaultdict[int, int] = defaultdict(int)
        self.calls: defaultdict[int, int] = defaultdict(int)

    @property
    def total(self) -> int:
        """All instructions."""
        return sum(self.instructions.values())


class InstructionCounter:
    """Counts in some threads, by default in the one that creates it, while there is a tally to count into.

    Attributes
    ----------
    threads:
        The threads in which it counts.
    codes:
        The functions, by the keys of tallies.
    tally:
        The tally that is counted into now, if there is one.
    """

    def __init__(self) -> None:
        self.codes: dict[int, CodeType] = {}
        self.threads = {get_ident()}
        self.tally: Tally | None = None
        self._is_counted: dict[int, bool] = {}

    def counting(self, tally: Tally | None) -> CountingBlock:
        """Return a block in which is counted into ``tally``; nothing is if it is None."""
        return CountingBlock(self, tally)

    def install(self) -> None:
        """Observe this thread, and those that are started from now on."""
        if sys.version_info >= (3, 12):
            self._monitor()
        else:
            threading.settrace(self._trace)
            sys.settrace(self._trace)

    def _counts(self, code: CodeType) -> bool:
        key = id(code)
        counts = self._is_counted.get(key)
        if counts is None:
            self.codes[key] = code  # which keeps it, and so its id
            counts = self._is_counted[key] = not code.co_filename.startswith((*_UNCOUNTED, "<"))
        return counts

    # ---- until Python 3.11

    def _trace(self, frame: FrameType, _event: str, _arg: object) -> Any:
        tally = self.tally
        if tally is None or not self._counts(frame.f_code) or get_ident() not in self.threads:
            frame.f_trace = None  # a coroutine still has the function of an earlier tally
            return None
        key = id(frame.f_code)
        tally.calls[key] += 1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        instructions = tally.instructions

        def trace_instruction(_frame: FrameType, event: str, _arg: object) -> Any:
            if event == "opcode":
                instructions[key] += 1
            return trace_instruction

        return trace_instruction

    # ---- from Python 3.12 on

    def _monitor(self) -> None:
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        events, tool, disable = monitoring.events, monitoring.PROFILER_ID, monitoring.DISABLE

        def started(code: CodeType, _offset: int) -> object:
            if not self._counts(code):
                return disable
            if self.tally is not None and get_ident() in self.threads:
                self.tally.calls[id(code)] += 1
            return None

        def resumed(code: CodeType, _offset: int) -> None:
            if self.tally is not None and self._counts(code) and get_ident() in self.threads:
                self.tally.calls[id(code)] += 1

        def executed(code: CodeType, _offset: int) -> object:
            if not self._counts(code):
                return disable
            if self.tally is not None and get_ident() in self.threads:
                self.tally.instructions[id(code)] += 1
            return None

        monitoring.use_tool_id(tool, "penstock bench")
        monitoring.register_callback(tool, events.PY_START, started)
        monitoring.register_callback(tool, events.PY_RESUME, resumed)
        monitoring.register_callback(tool, events.INSTRUCTION, executed)
        monitoring.set_events(tool, events.PY_START | events.PY_RESUME | events.INSTRUCTION)


class CountingBlock:
    """A ``with`` block. It is not made by contextlib, whose code would be counted."""

    def __init__(self, counter: InstructionCounter, tally: Tally | None) -> None:
        self._counter = counter
        self._tally = tally

    def __enter__(self) -> None:
        self._counter.tally = self._tally

    def __exit__(self, *_exception: object) -> None:
        self._counter.tally = None
