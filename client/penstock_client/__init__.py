"""Calls Penstock and other JSON services: deadlines, retries, a breaker and limits on the caller's side."""

from penstock_client.async_client import AsyncClient
from penstock_client.async_endpoints import AsyncEndpoint
from penstock_client.async_streams import AsyncChatStream, AsyncEventStream
from penstock_client.call_records import Attempt, CallRecord, HedgeRecord, Record, RetryRecord
from penstock_client.call_results import Result
from penstock_client.chat_answers import (
    ChatAnswer,
    ChatChoice,
    ChatEvent,
    ContentDelta,
    Done,
    ReasoningDelta,
    ToolCall,
    Usage,
    UsageReport,
)
from penstock_client.endpoint_breaker import BreakerSettings
from penstock_client.errors import ClientError
from penstock_client.hedging import Hedge
from penstock_client.job_records import Job, JobEvent, JobProgress
from penstock_client.limits import Limits
from penstock_client.retry_settings import Retries
from penstock_client.server_schema import SchemaDigests
from penstock_client.server_sent_events import ServerSentEvent
from penstock_client.sync_client import Client
from penstock_client.sync_endpoints import Endpoint
from penstock_client.sync_streams import ChatStream, EventStream
from penstock_client.timeouts import Timeouts

__all__ = [
    "AsyncChatStream",
    "AsyncClient",
    "AsyncEndpoint",
    "AsyncEventStream",
    "Attempt",
    "BreakerSettings",
    "CallRecord",
    "ChatAnswer",
    "ChatChoice",
    "ChatEvent",
    "ChatStream",
    "Client",
    "ClientError",
    "ContentDelta",
    "Done",
    "Endpoint",
    "EventStream",
    "Hedge",
    "HedgeRecord",
    "Job",
    "JobEvent",
    "JobProgress",
    "Limits",
    "ReasoningDelta",
    "Record",
    "Result",
    "Retries",
    "RetryRecord",
    "SchemaDigests",
    "ServerSentEvent",
    "Timeouts",
    "ToolCall",
    "Usage",
    "UsageReport",
]
