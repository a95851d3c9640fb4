"""When a call is tried again, as data: the rows of the table in ``docs/how-to/client.md``.

Two questions decide: may the work have run, and does the server forbid another request? ``x-should-retry`` answers the
second one and beats the row. A row says what holds without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Verdict(StrEnum):
    """The answer to the question whether the same request may be sent again."""

    ALWAYS = "yes"
    IDEMPOTENT = "if idempotent"
    IDEMPOTENT_ONCE = "if idempotent, once"
    NEW_KEY_ONCE = "once, if the key is a callable"
    NEVER = "no"


class Fault(StrEnum):
    """The things that a request may meet in place of a response."""

    CONNECT = "connection-failed"
    CONNECT_TIMEOUT = "connect-timeout"
    POOL_TIMEOUT = "pool-timeout"
    WRITE_TIMEOUT = "write-timeout"
    UNSENT = "request-not-sent"
    LOST = "connection-lost"
    FIRST_BYTE_TIMEOUT = "first-byte-timeout"
    CUT = "answer-cut"
    IDLE_TIMEOUT = "idle-timeout"
    EVENT_TIMEOUT = "event-timeout"
    TOTAL_TIMEOUT = "total-timeout"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: what a request met, and whether it is sent again.

    Attributes
    ----------
    case:
        The case in words, for the documentation.
    faults, statuses, codes:
        The cases of the row. A row with codes is for these codes of the server only.
    verdict:
        When the request may be sent again.
    may_have_run:
        True if the server may have done the work.
    reason:
        Why, for the documentation.
    cost:
        The tokens of the budget that a retry takes.
    """

    case: str
    faults: tuple[Fault, ...] = ()
    statuses: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    verdict: Verdict
    may_have_run: bool
    reason: str
    cost: int = 1


ROWS: Final = (
    Row(
        case="no connection: refused, no address, TLS",
        faults=(Fault.CONNECT,),
        verdict=Verdict.ALWAYS,
        may_have_run=False,
        reason="nothing was sent",
    ),
    Row(
        case="time-out before the request was sent: `connect`, `pool`, `write`",
        faults=(Fault.CONNECT_TIMEOUT, Fault.POOL_TIMEOUT, Fault.WRITE_TIMEOUT),
        verdict=Verdict.ALWAYS,
        may_have_run=False,
        reason="the server does not have the whole request",
        cost=2,
    ),
    Row(
        case="connection lost before the whole request was sent",
        faults=(Fault.UNSENT,),
        verdict=Verdict.ALWAYS,
        may_have_run=False,
        reason="the server does not have the whole request",
    ),
    Row(
        case="connection lost after the request was sent",
        faults=(Fault.LOST,),
        verdict=Verdict.IDEMPOTENT,
        may_have_run=True,
        reason="the work may be running",
    ),
    Row(
        case="time-out `first_byte`",
        faults=(Fault.FIRST_BYTE_TIMEOUT,),
        verdict=Verdict.IDEMPOTENT,
        may_have_run=True,
        reason="the work may be running, and a second request doubles it",
        cost=2,
    ),
    Row(
        case="the response broke off, or was silent for `idle` or `event`",
        faults=(Fault.CUT, Fault.IDLE_TIMEOUT, Fault.EVENT_TIMEOUT),
        verdict=Verdict.NEVER,
        may_have_run=True,
        reason="a call is committed at the first byte of its answer",
    ),
    Row(
        case="time-out `total`",
        faults=(Fault.TOTAL_TIMEOUT,),
        verdict=Verdict.NEVER,
        may_have_run=True,
        reason="it bounds all requests of the call",
    ),
    Row(
        case="401",
        statuses=(401,),
        verdict=Verdict.NEW_KEY_ONCE,
        may_have_run=False,
        reason="the key may have expired",
    ),
    Row(
        case="408 `request-timeout`",
        statuses=(408,),
        codes=("request-timeout",),
        verdict=Verdict.ALWAYS,
        may_have_run=False,
        reason="the request did not arrive whole, so nothing was started",
    ),
    Row(
        case="408",
        statuses=(408,),
        verdict=Verdict.IDEMPOTENT,
        may_have_run=True,
        reason="it is not known what another server has done",
    ),
    Row(
        case="425",
        statuses=(425,),
        verdict=Verdict.ALWAYS,
        may_have_run=False,
        reason="the server asks for it",
    ),
    Row(
        case="429 `insufficient_quota`, or another code of an account that cannot pay",
        statuses=(429,),
        codes=("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"),
        verdict=Verdict.NEVER,
        may_have_run=False,
        reason="no wait helps",
    ),
    Row(
        case="429",
        statuses=(429,),
        verdict=Verdict.ALWAYS,
        may_have_run=False,
        reason="refused before it started",
    ),
    Row(
        case="500",
        statuses=(500,),
        verdict=Verdict.IDEMPOTENT_ONCE,
        may_have_run=True,
        reason="it ran, and failed; Penstock's `handler-error` forbids it by header",
    ),
    Row(
        case="502",
        statuses=(502,),
        verdict=Verdict.IDEMPOTENT,
        may_have_run=True,
        reason="a proxy does not know what the server has done",
    ),
    Row(
        case="503 `worker-lost`",
        statuses=(503,),
        codes=("worker-lost",),
        verdict=Verdict.IDEMPOTENT,
        may_have_run=True,
        reason="it was running when its worker died",
    ),
    Row(
        case="503",
        statuses=(503,),
        verdict=Verdict.ALWAYS,
        may_have_run=False,
        reason="refused before it started",
    ),
    Row(
        case="504",
        statuses=(504,),
        verdict=Verdict.IDEMPOTENT,
        may_have_run=True,
        reason="Penstock's own forbids it by header; a gateway does not know",
        cost=2,
    ),
    Row(
        case="any other status from 500",
        verdict=Verdict.NEVER,
        may_have_run=True,
        reason="its meaning is not known",
    ),
    Row(
        case="any other status: 400, 403, 404, 405, 410, 413, 415, 422, ...",
        verdict=Verdict.NEVER,
        may_have_run=False,
        reason="the same request would have the same answer",
    ),
)
"""The rows, in order; the first that fits decides. The last two are for what no other row names."""


def row_of_fault(fault: Fault) -> Row:
    """Return the row of a request without a response."""
    return next(row for row in ROWS if fault in row.faults)


def row_of_status(status: int, code: str) -> Row:
    """Return the row of a response, by its status and the server's code, which may be ""."""
    for row in ROWS:
        if status in row.statuses and (not row.codes or code in row.codes):
            return row
    return ROWS[-2] if status >= 500 else ROWS[-1]


def as_markdown() -> str:
    """Return the table as it is in the documentation."""
    lines = ["| what the request met | tried again | may have run | because |", "|---|---|---|---|"]
    for row in ROWS:
        ran = "yes" if row.may_have_run else "no"
        lines.append(f"| {row.case} | {row.verdict} | {ran} | {row.reason} |")
    return "\n".join(lines) + "\n"
