"""Calls Penstock and other JSON services: deadlines, retries, a breaker and limits on the caller's side."""

from penstock_client.async_client import AsyncClient, AsyncEventStream
from penstock_client.call_records import Attempt, CallRecord, Record, RetryRecord
from penstock_client.call_results import Result
from penstock_client.endpoint_breaker import BreakerSettings
from penstock_client.errors import ClientError
from penstock_client.limits import Limits
from penstock_client.retry_settings import Retries
from penstock_client.sync_client import Client, EventStream
from penstock_client.timeouts import Timeouts

__all__ = [
    "AsyncClient",
    "AsyncEventStream",
    "Attempt",
    "BreakerSettings",
    "CallRecord",
    "Client",
    "ClientError",
    "EventStream",
    "Limits",
    "Record",
    "Result",
    "Retries",
    "RetryRecord",
    "Timeouts",
]
