"""The public API for plug-ins.

A plug-in is a module, an object or a class with functions marked ``@hookimpl``. A class is instantiated once for each
engine: with its settings, if it has a ``Settings`` (a subclass of ``PluginSettings``). Its method ``check``, if any, is
then called with the app. A distribution offers a plug-in through an entry point in the group ``penstock``.

A plug-in that runs the schedules of an app has the attribute ``runs_schedules = True``. An app that declares schedules
is served only with such a plug-in.
"""

from penstock.app import App, DialectOffer, Endpoint, Schedule
from penstock.codec.dialect_decoders import DialectInput
from penstock.codec.event_chunks import split_chunk
from penstock.codec.form_bodies import form_pairs
from penstock.errors import PenstockError
from penstock.eventlog import current_format, log_event, text_value
from penstock.hooks.acceptors import Acceptor
from penstock.hooks.descriptions import EndpointDescription, HeaderDescription
from penstock.hooks.dialect_answers import CancelRequest, CollectedChunks, ReportFraming
from penstock.hooks.dialect_table import offers_of
from penstock.hooks.dialects import (
    Dialect,
    DialectRequest,
    Framing,
    Operation,
    PartChunk,
    Payload,
    PublicError,
    decoded_by,
)
from penstock.hooks.exit_flushes import before_exit
from penstock.hooks.framings import RawFraming, on_one_line
from penstock.hooks.guards import blocking
from penstock.hooks.header_names import HeaderNames
from penstock.hooks.hookspecs import hookimpl
from penstock.hooks.native_dialect import error_document
from penstock.hooks.principal import Principal
from penstock.hooks.program_jobs import CallerJobs, ProgramJobs
from penstock.hooks.records import (
    AttemptEnded,
    AttemptInterrupted,
    BatchTraced,
    DrainEnded,
    DrainStarted,
    HookFailed,
    JobAbandoned,
    JobAnswered,
    JobProgressed,
    JobsCounted,
    JobTraced,
    Record,
    RequestAnswered,
    RetryScheduled,
    ShutdownRequest,
    TracedAttempt,
    WorkerDied,
    WorkerKilled,
    WorkerLost,
    WorkerReady,
    WorkerRecycled,
    WorkerRestarted,
)
from penstock.hooks.response_heads import ResponseHead
from penstock.hooks.routes import Route, RouteEngine, RouteRequest, RouteResponse
from penstock.hooks.rpc_services import RpcOperation, RpcQuestion, RpcRequest, RpcService
from penstock.hooks.services import EngineService, OnReport, ServiceCall, ServiceEngine, StoredSubmission
from penstock.hooks.settings import PluginSettings, Secret, require_endpoints
from penstock.hooks.submission import PRIORITIES, Priority, Release, Submission
from penstock.hooks.target_settings import settings_for
from penstock.policies import Retries, Timeouts
from penstock.response import Encoded
from penstock.scheduler import FifoQueue, Job, Queue
from penstock.suggestions import near_miss
from penstock.wire import InputForm, Progress, Trace

__all__ = [
    "PRIORITIES",
    "Acceptor",
    "App",
    "AttemptEnded",
    "AttemptInterrupted",
    "BatchTraced",
    "CallerJobs",
    "CancelRequest",
    "CollectedChunks",
    "Dialect",
    "DialectInput",
    "DialectOffer",
    "DialectRequest",
    "DrainEnded",
    "DrainStarted",
    "Encoded",
    "Endpoint",
    "EndpointDescription",
    "EngineService",
    "FifoQueue",
    "Framing",
    "HeaderDescription",
    "HeaderNames",
    "HookFailed",
    "InputForm",
    "Job",
    "JobAbandoned",
    "JobAnswered",
    "JobProgressed",
    "JobTraced",
    "JobsCounted",
    "OnReport",
    "Operation",
    "PartChunk",
    "Payload",
    "PenstockError",
    "PluginSettings",
    "Principal",
    "Priority",
    "ProgramJobs",
    "Progress",
    "PublicError",
    "Queue",
    "RawFraming",
    "Record",
    "Release",
    "ReportFraming",
    "RequestAnswered",
    "ResponseHead",
    "Retries",
    "RetryScheduled",
    "Route",
    "RouteEngine",
    "RouteRequest",
    "RouteResponse",
    "RpcOperation",
    "RpcQuestion",
    "RpcRequest",
    "RpcService",
    "Schedule",
    "Secret",
    "ServiceCall",
    "ServiceEngine",
    "ShutdownRequest",
    "StoredSubmission",
    "Submission",
    "Timeouts",
    "Trace",
    "TracedAttempt",
    "WorkerDied",
    "WorkerKilled",
    "WorkerLost",
    "WorkerReady",
    "WorkerRecycled",
    "WorkerRestarted",
    "before_exit",
    "blocking",
    "current_format",
    "decoded_by",
    "error_document",
    "form_pairs",
    "hookimpl",
    "log_event",
    "near_miss",
    "offers_of",
    "on_one_line",
    "require_endpoints",
    "settings_for",
    "split_chunk",
    "text_value",
]
