"""The times at which a delivery is sent: at once, and then ever more rarely for three days. Pure: no clock, no dice."""

from __future__ import annotations

from itertools import accumulate
from typing import Final

DELAYS: Final = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""The seconds before each sending, from the end of the one before: those of "Standard Webhooks"."""
MAX_RETRY_AFTER: Final = 3600.0
"""The longest delay that a receiver may ask for, in seconds."""
JITTER: Final = 0.2
"""A delay is longer by at most this share, so that receivers do not get everything at the same instant again."""

_STEPS = tuple(accumulate(DELAYS))


def next_sending(
    *, created_at: float, sent: int, now: float, chance: float, retry_after: float | None = None
) -> float | None:
    """Return the instant of the next sending after one that failed; None to give up.

    The step is the number of sendings, or that of the delays which the delivery's age has used up, whichever is less.
    By the number alone, a delivery that was put off while its receiver was overloaded would be given up early. By the
    age alone, one that the server could not send during a long stop would be sent only once.

    Parameters
    ----------
    created_at, now:
        The event and the end of the sending, in Unix seconds.
    sent:
        The number of times that it was handed to a sender.
    chance:
        A random number from 0 to 1.
    retry_after:
        The seconds that the receiver asked for. They count up to an hour, and never shorten a delay.
    """
    age = now - created_at
    step = min(sent, sum(instant <= age for instant in _STEPS))
    # A clock that was set back makes the age negative.
    step = max(step, 1)
    if step >= len(DELAYS):
        return None
    delay = max(DELAYS[step], min(retry_after or 0.0, MAX_RETRY_AFTER))
    return now + delay * (1 + JITTER * chance)
