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
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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
    """The instructions and the calls of each function. A generator or coroutine that goes on counts as a call."""

    def __init__(self) -> None:
        self.instructions: Counter[CodeType] = Counter()
        self.calls: Counter[CodeType] = Counter()

    @property
    def total(self) -> int:
        """All instructions."""
        return self.instructions.total()


class InstructionCounter:
    """Counts in some threads, by default in the one that creates it, while there is a tally to count into."""

    def __init__(self) -> None:
        self.threads = {threading.get_ident()}
        self._tally: Tally | None = None
        self._is_counted: dict[CodeType, bool] = {}

    @contextmanager
    def counting(self, tally: Tally) -> Iterator[None]:
        """Count into ``tally`` during the block."""
        self._tally = tally
        try:
            yield
        finally:
            self._tally = None

    def install(self) -> None:
        """Observe this thread, and those that are started from now on."""
        if sys.version_info >= (3, 12):
            self._monitor()
        else:
            threading.settrace(self._trace)
            sys.settrace(self._trace)

    def _counts(self, code: CodeType) -> bool:
        counts = self._is_counted.get(code)
        if counts is None:
            counts = self._is_counted[code] = not code.co_filename.startswith((*_UNCOUNTED, "<"))
        return counts

    # ---- until Python 3.11

    def _trace(self, frame: FrameType, _event: str, _arg: object) -> Any:
        tally = self._tally
        if tally is None or not self._counts(frame.f_code) or threading.get_ident() not in self.threads:
            return None
        tally.calls[frame.f_code] += 1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._trace_instruction

    def _trace_instruction(self, frame: FrameType, event: str, _arg: object) -> Any:
        tally = self._tally
        if event == "opcode" and tally is not None:
            tally.instructions[frame.f_code] += 1
        return self._trace_instruction

    # ---- from Python 3.12 on

    def _monitor(self) -> None:
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        events, tool, disable = monitoring.events, monitoring.PROFILER_ID, monitoring.DISABLE

        def started(code: CodeType, _offset: int) -> object:
            if not self._counts(code):
                return disable
            if self._tally is not None and threading.get_ident() in self.threads:
                self._tally.calls[code] += 1
            return None

        def resumed(code: CodeType, _offset: int) -> None:
            if self._tally is not None and self._counts(code) and threading.get_ident() in self.threads:
                self._tally.calls[code] += 1

        def executed(code: CodeType, _offset: int) -> object:
            if not self._counts(code):
                return disable
            if self._tally is not None and threading.get_ident() in self.threads:
                self._tally.instructions[code] += 1
            return None

        monitoring.use_tool_id(tool, "penstock bench")
        monitoring.register_callback(tool, events.PY_START, started)
        monitoring.register_callback(tool, events.PY_RESUME, resumed)
        monitoring.register_callback(tool, events.INSTRUCTION, executed)
        monitoring.set_events(tool, events.PY_START | events.PY_RESUME | events.INSTRUCTION)
