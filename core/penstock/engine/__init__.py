"""The engine: the I/O around the scheduler, and the calls that are made to it."""

from penstock.engine.async_engine import AsyncEngine, create_engine, open_engine
from penstock.engine.calls import Call
from penstock.engine.engine import Engine
from penstock.engine.threaded_engine import ThreadedCall, ThreadedEngine, start_engine

__all__ = [
    "AsyncEngine",
    "Call",
    "Engine",
    "ThreadedCall",
    "ThreadedEngine",
    "create_engine",
    "open_engine",
    "start_engine",
]
