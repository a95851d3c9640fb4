"""One engine in each process of a web server, started by the first request that needs it.

Not at import: a server may import the application in a process that it then forks (``gunicorn --preload``), and
commands such as ``manage.py migrate`` import it without serving anything.
"""

from __future__ import annotations

import functools
import os
import threading

from moods import app

from penstock import ThreadedEngine, start_engine

_starting = threading.Lock()


@functools.cache
def _engine_of(_pid: int) -> ThreadedEngine:
    return start_engine(app)


def engine() -> ThreadedEngine:
    """Return the engine of this process. The requests that come while it starts wait for it."""
    with _starting:
        return _engine_of(os.getpid())
