"""Penstock serves Python models over HTTP and keeps its deadlines.

What an app is written with is here; ``penstock.errors`` has the whole tree of errors.
"""

import sys

if sys.platform == "win32":
    raise ImportError("Penstock needs process groups, fork and unix sockets, so it does not run on Windows; WSL works")

from penstock.app import App, Endpoint
from penstock.context import Context
from penstock.engine import Engine, open_engine, start_engine
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
from penstock.policies import Backoff, Batching, Retries, RetryBudget, Timeouts
from penstock.response import Response

__version__ = "0.1.0"

__all__ = [
    "App",
    "Backoff",
    "Batching",
    "Cancelled",
    "CircuitOpen",
    "Context",
    "DeadlineExceeded",
    "DeadlineInfeasible",
    "DeclarationError",
    "Draining",
    "Endpoint",
    "Engine",
    "EngineError",
    "ExecutionTimeout",
    "Forbidden",
    "HandlerError",
    "HookError",
    "InvalidRequest",
    "MalformedRequest",
    "MethodNotAllowed",
    "NotFound",
    "NotReady",
    "PayloadTooLarge",
    "PenstockError",
    "QueueFull",
    "QueueTimeout",
    "RateLimited",
    "Response",
    "Retries",
    "RetryBudget",
    "Retryable",
    "Timeouts",
    "TotalTimeout",
    "Unauthorized",
    "Unavailable",
    "UnsupportedMediaType",
    "WorkerLost",
    "__version__",
    "open_engine",
    "start_engine",
]
