"""The messages of a plan: the facts of its call, the events that go in, and the commands that come out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock_client.call_records import Attempt
from penstock_client.errors import ClientError
from penstock_client.retry_table import Fault
from penstock_client.timeouts import Timeouts


@dataclass(frozen=True, kw_only=True)
class CallSpec:
    """The facts about a call that do not change.

    Attributes
    ----------
    endpoint, request_id:
        For records and errors.
    timeouts:
        By phase; ``total`` is in the deadline.
    deadline:
        The instant at which the call is over; ``math.inf`` if there is none.
    is_idempotent:
        True if the work may run twice.
    may_hedge:
        True if two of its requests may run at the same time. A key alone is not enough: a server that knows it would
        refuse the second, or make it wait for the first.
    has_new_keys:
        True if each request has a new key.
    sends_deadline:
        True if the time left is sent, in ``X-Request-Timeout``.
    headers:
        The headers that belong to the policy: the idempotency key, for instance.
    """

    endpoint: str
    request_id: str = ""
    timeouts: Timeouts
    deadline: float = math.inf
    is_idempotent: bool = False
    may_hedge: bool = False
    has_new_keys: bool = False
    sends_deadline: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)


# ---- events


@dataclass(frozen=True)
class HeadArrived:
    """A response has arrived: its head, and its body as far as the driver was asked to read it."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class RequestFailed:
    """There is no response, or not all of it.

    ``is_sent`` is whether the server may have the whole request, ``is_reused`` whether its connection served others.
    """

    fault: Fault
    detail: str = ""
    is_sent: bool = True
    is_reused: bool = False
    partial: Any = None


@dataclass(frozen=True)
class TimePassed:
    """The wait is over."""


@dataclass(frozen=True)
class HedgeDue:
    """The request has been on its way until the ``hedge_at`` of its command."""


Event = HeadArrived | RequestFailed | TimePassed | HedgeDue

# ---- commands


@dataclass(frozen=True)
class Send:
    """Send the request with these headers and time-outs: ``connect``, ``pool``, ``write`` and ``read``.

    At ``hedge_at`` it is slow. Requests have numbers, since an earlier one may still be on its way.
    """

    number: int
    headers: Mapping[str, str]
    timeouts: dict[str, float | None]
    deadline: float
    hedge_at: float = math.inf


@dataclass(frozen=True)
class Wait:
    """Wait for what becomes of the requests that are on their way."""


@dataclass(frozen=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Give:
    """The response is the answer. Hang up on any other request."""

    attempts: tuple[Attempt, ...]


@dataclass(frozen=True)
class Raise:
    """The call has failed. Hang up on any request that is on its way."""

    error: ClientError


Command = Send | Sleep | Wait | Give | Raise
