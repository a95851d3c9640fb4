"""Penstock serves Python models over HTTP and keeps its deadlines.

This package has the names that an app is written with; ``penstock.errors`` has the whole tree of errors.
"""

import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError("Penstock needs process groups, fork and unix sockets, so it does not run on Windows; WSL works")

from penstock.app import App, Endpoint
from penstock.codec.tensors import Tensor
from penstock.codec.uploads import Upload
from penstock.context import Context
from penstock.errors import (
    Cancelled,
    CircuitOpen,
    DeadlineExceeded,
    DeadlineInfeasible,
    DeclarationError,
    Draining,
    EngineError,
    ExecutionTimeout,
    Forbidden,
    HandlerError,
    HookError,
    InvalidRequest,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    NotReady,
    PayloadTooLarge,
    PenstockError,
    QueueFull,
    QueueTimeout,
    RateLimited,
    Retryable,
    TotalTimeout,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    WorkerLost,
)
from penstock.eventlog import configure_logging
from penstock.policies import Backoff, Batching, Jobs, Recycle, Retries, RetryBudget, Timeouts
from penstock.response import Event, Response
from penstock.response import SlotDone as Done

if TYPE_CHECKING:  # for type checkers only: a worker imports this package, and must not load the engine
    from penstock.engine import AsyncEngine, Engine, ThreadedEngine, open_engine, start_engine

__version__ = "0.1.0"

__all__ = [
    "App",
    "AsyncEngine",
    "Backoff",
    "Batching",
    "Cancelled",
    "CircuitOpen",
    "Context",
    "DeadlineExceeded",
    "DeadlineInfeasible",
    "DeclarationError",
    "Done",
    "Draining",
    "Endpoint",
    "Engine",
    "EngineError",
    "Event",
    "ExecutionTimeout",
    "Forbidden",
    "HandlerError",
    "HookError",
    "InvalidRequest",
    "Jobs",
    "MalformedRequest",
    "MethodNotAllowed",
    "NotFound",
    "NotReady",
    "PayloadTooLarge",
    "PenstockError",
    "QueueFull",
    "QueueTimeout",
    "RateLimited",
    "Recycle",
    "Response",
    "Retries",
    "RetryBudget",
    "Retryable",
    "Tensor",
    "ThreadedEngine",
    "Timeouts",
    "TotalTimeout",
    "Unauthorized",
    "Unavailable",
    "UnsupportedMediaType",
    "Upload",
    "WorkerLost",
    "__version__",
    "configure_logging",
    "open_engine",
    "start_engine",
]

_ENGINE_NAMES = frozenset({"AsyncEngine", "Engine", "ThreadedEngine", "open_engine", "start_engine"})


def __getattr__(name: str) -> Any:
    """Import the engine on first access (PEP 562), so that a worker, which imports this package, never loads it."""
    if name not in _ENGINE_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from penstock import engine  # noqa: PLC0415 - see above

    return getattr(engine, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ENGINE_NAMES})
