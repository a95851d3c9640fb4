"""The background jobs of an engine on a thread of its own, for callers on any other thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any

from penstock.errors import EngineError
from penstock.hooks.program_jobs import ProgramJobs


class ThreadedJobs:
    """The ``ProgramJobs`` of a ``ThreadedEngine``: each method waits for the engine's thread.

    Parameters
    ----------
    find:
        Returns the jobs of the engine, to be used on its loop; raises ``EngineError`` if there are none, or the engine
        cannot be used.
    loop:
        The loop on the engine's thread.
    """

    def __init__(self, find: Callable[[], ProgramJobs], loop: asyncio.AbstractEventLoop) -> None:
        self._find, self._loop = find, loop
        self._lock = threading.Lock()
        self._waiting: set[Future[Any]] = set()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<ThreadedJobs: {len(self._waiting)} calls>"

    def submit(self, name: str, input: Any = None, **options: Any) -> dict[str, Any]:
        """See ``ProgramJobs.submit``."""
        document: dict[str, Any] = self._run("submit", name, input, **options)
        return document

    def get(self, job_id: str) -> dict[str, Any]:
        """See ``ProgramJobs.get``."""
        document: dict[str, Any] = self._run("get", job_id)
        return document

    def wait(self, job_id: str, *, timeout: float | None = None) -> dict[str, Any]:
        """See ``ProgramJobs.wait``."""
        document: dict[str, Any] = self._run("wait", job_id, timeout=timeout)
        return document

    def cancel(self, job_id: str, *, wait: float = 0.0) -> dict[str, Any]:
        """See ``ProgramJobs.cancel``."""
        document: dict[str, Any] = self._run("cancel", job_id, wait=wait)
        return document

    def result(self, job_id: str, *, timeout: float | None = None) -> Any:
        """See ``ProgramJobs.result``."""
        return self._run("result", job_id, timeout=timeout)

    def close(self) -> None:
        """End the calls that still wait, with ``EngineError``: the engine's thread is about to stop."""
        with self._lock:
            self._is_closed = True
            waiting = tuple(self._waiting)
        for future in waiting:
            future.cancel()

    def _run(self, method: str, *arguments: Any, **options: Any) -> Any:
        jobs = self._find()
        future = self._begin(getattr(jobs, method)(*arguments, **options))
        try:
            return future.result()
        except CancelledError:
            raise EngineError("the engine was closed while a caller waited for a background job") from None
        finally:
            future.cancel()  # if something else has ended the wait, such as Ctrl-C
            self._waiting.discard(future)
            del future  # it holds the exception, whose traceback holds this frame

    def _begin(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        with self._lock:
            if self._is_closed:
                coroutine.close()
                raise EngineError("the engine is closed")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            self._waiting.add(future)
        return future
