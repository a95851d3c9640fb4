"""The results of sending webhooks, and what becomes of the deliveries. Pure: no clock, no dice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from penstock.job_store import JobDelivery, Settlement
from penstock_jobs.delivery_times import next_sending

GONE: Final = 410
_SERVER_ERRORS: Final = range(500, 600)
_SUCCESSES: Final = range(200, 300)
NEVER_REPEATED: Final = "progress"
"""The event that the next one of its kind makes worthless."""


@dataclass(frozen=True)
class Posting:
    """The result of sending one webhook, or of the failure to do so."""

    status: int | None = None
    """The status of the answer; None if there was none."""
    error: str | None = None
    """The reason that there was none, in words that a caller may see: no internal address is in them."""
    detail: str = ""
    """The same for the operator's log."""
    retry_after: float | None = None
    """The seconds for which the receiver asked to be left alone."""
    is_sent: bool = True
    """False if it failed here, before the receiver was asked."""
    is_pointless: bool = False
    """True if it is not to be sent again."""

    @property
    def is_delivered(self) -> bool:
        """True if the receiver has taken it."""
        return self.status in _SUCCESSES

    @property
    def is_alive(self) -> bool:
        """True unless the receiver did not answer, or with an error of its own."""
        return not self.is_sent or (self.status is not None and self.status not in _SERVER_ERRORS)


def settlement_of(delivery: JobDelivery, posting: Posting, *, now: float, chance: float) -> Settlement:
    """Return what is to be written about a delivery that was sent: its result, and when to send it again.

    Parameters
    ----------
    delivery:
        The delivery, as it was claimed.
    posting:
        The result.
    now:
        The end of the sending, in Unix seconds.
    chance:
        A random number from 0 to 1.
    """
    next_at = None
    # With 410 a receiver asks to be left alone, by the standard.
    is_over = posting.is_pointless or posting.status == GONE or delivery.event == NEVER_REPEATED
    if not posting.is_delivered and not is_over:
        next_at = next_sending(
            created_at=delivery.created_at,
            sent=delivery.sent,
            now=now,
            chance=chance,
            retry_after=posting.retry_after,
        )
    return Settlement(is_delivered=posting.is_delivered, next_at=next_at, status=posting.status, error=posting.error)


def put_off(delivery: JobDelivery, until: float) -> Settlement:
    """Return what is to be written about a delivery whose receiver has no place for it now."""
    return Settlement(
        is_delivered=False,
        next_at=None if delivery.event == NEVER_REPEATED else until,
        status=delivery.status,
        error="put off: the receiver is slow, or does not answer",
    )


def put_back(delivery: JobDelivery, now: float) -> Settlement:
    """Return what is to be written about a delivery that another sender is to send."""
    return Settlement(is_delivered=False, next_at=now, status=delivery.status, error=delivery.error)
