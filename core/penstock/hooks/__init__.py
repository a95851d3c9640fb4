"""What a plug-in is written with.

A plug-in is a module or an object with functions marked ``@hookimpl``; or a class of such, which is made once for each
engine: with its settings, if it has a ``Settings`` (a subclass of ``PluginSettings``), and then told to ``check(app)``,
if it has such a method. A distribution offers it by an entry point in the group ``penstock``.
"""

from penstock.app import App, Endpoint
from penstock.errors import PenstockError
from penstock.eventlog import current_format, log_event, text_value
from penstock.hooks.guards import blocking
from penstock.hooks.hookspecs import hookimpl
from penstock.hooks.principal import Principal
from penstock.hooks.records import (
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
    ShutdownRequest,
    WorkerKilled,
    WorkerLost,
    WorkerReady,
    WorkerRestarted,
)
from penstock.hooks.routes import Route, RouteEngine, RouteRequest, RouteResponse
from penstock.hooks.settings import PluginSettings, Secret, require_endpoints
from penstock.hooks.submission import PRIORITIES, Priority, Release, Submission
from penstock.policies import Retries, Timeouts
from penstock.scheduler import FifoQueue, Job, Queue
from penstock.suggestions import near_miss

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
    "RouteEngine",
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
