"""What a plug-in is written with.

A plug-in is a module or an object with functions marked ``@hookimpl``; or a class of such, which is made once for each
engine: with its settings, if it has a ``Settings`` (a subclass of ``PluginSettings``), and then told to ``check(app)``,
if it has such a method. A distribution offers it by an entry point in the group ``penstock``.
"""

from penstock.app import App, Endpoint
from penstock.errors import PenstockError
from penstock.eventlog import current_format, log_event, text_value
from penstock.hookspecs import hookimpl
from penstock.naming import near_miss, require_endpoints
from penstock.policies import Retries, Timeouts
from penstock.records import (
    AttemptEnded,
    AttemptInterrupted,
    DrainEnded,
    DrainStarted,
    HookFailed,
    JobAbandoned,
    JobAnswered,
    Record,
    RequestAnswered,
    RetryScheduled,
    WorkerKilled,
    WorkerLost,
    WorkerReady,
    WorkerRestarted,
)
from penstock.registry import blocking
from penstock.routes import Route, RouteRequest, RouteResponse
from penstock.scheduler import FifoQueue, Job, Queue
from penstock.settings import PluginSettings, Secret
from penstock.shutdown import ShutdownRequest
from penstock.submission import PRIORITIES, Principal, Priority, Release, Submission

__all__ = [
    "PRIORITIES",
    "App",
    "AttemptEnded",
    "AttemptInterrupted",
    "DrainEnded",
    "DrainStarted",
    "Endpoint",
    "FifoQueue",
    "HookFailed",
    "Job",
    "JobAbandoned",
    "JobAnswered",
    "PenstockError",
    "PluginSettings",
    "Principal",
    "Priority",
    "Queue",
    "Record",
    "Release",
    "RequestAnswered",
    "Retries",
    "RetryScheduled",
    "Route",
    "RouteRequest",
    "RouteResponse",
    "Secret",
    "ShutdownRequest",
    "Submission",
    "Timeouts",
    "WorkerKilled",
    "WorkerLost",
    "WorkerReady",
    "WorkerRestarted",
    "blocking",
    "current_format",
    "hookimpl",
    "log_event",
    "near_miss",
    "require_endpoints",
    "text_value",
]
