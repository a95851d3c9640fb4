"""Frozen descriptions of what happened, for errors, results and ``on_event``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attempt:
    """One request of a call, and what became of it.

    Attributes
    ----------
    number:
        1 for the first request of the call.
    outcome:
        The status that it met, such as ``"503 queue-full"``, or the fault, such as ``"connect-timeout"``. It is
        ``"overtaken"`` if the call ended by another request.
    seconds:
        The time from its start to its outcome.
    delay:
        The seconds waited before it was sent: for a retry, or for the client's own limits.
    """

    number: int
    outcome: str
    seconds: float
    delay: float = 0.0


@dataclass(frozen=True)
class RetryRecord:
    """A call is about to be tried again.

    Attributes
    ----------
    endpoint, request_id:
        The call.
    attempt:
        The number of the request that failed.
    reason:
        The status or fault that it met.
    delay:
        The seconds until the next request.
    """

    endpoint: str
    request_id: str
    attempt: int
    reason: str
    delay: float


@dataclass(frozen=True)
class HedgeRecord:
    """A slow request is about to be sent a second time, while the first is on its way.

    Attributes
    ----------
    endpoint, request_id:
        The call.
    attempt:
        The number of the slow request.
    seconds:
        The time since it was sent.
    """

    endpoint: str
    request_id: str
    attempt: int
    seconds: float


@dataclass(frozen=True)
class CallRecord:
    """A call has ended; that of a stream, when its first byte arrived.

    Attributes
    ----------
    endpoint, request_id:
        The call.
    code:
        The code of its error; "" if it succeeded, ``"cancelled"`` if it was cancelled, and the class of any other
        exception: one of the function that returns the key, for instance.
    seconds:
        Its duration, waits and retries included.
    attempts:
        The number of requests.
    """

    endpoint: str
    request_id: str
    code: str
    seconds: float
    attempts: int


Record = RetryRecord | HedgeRecord | CallRecord
