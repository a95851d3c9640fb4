"""Advice to clients about retries: whether the same request may be sent again, and when."""

from __future__ import annotations

import math
import random

from penstock.errors import PenstockError, Unavailable

SHORTEST_RETRY_AFTER = 1
# Up to here a wait is advice about the load, which is jittered. A longer one is an appointment, such as midnight for a
# daily quota, and is sent unchanged.
LONGEST_JITTERED_RETRY_AFTER = 60
# The default, in seconds, if the error does not say when to retry.
USUAL_RETRY_AFTER = 1.0


def retry_after(seconds: float | None) -> int:
    """Return the whole seconds for ``Retry-After``: at least ``seconds``, and above 60 only if they are.

    Clients obey the header exactly and add no jitter of their own, so the jitter is added here: clients that were
    refused together must not return together. A wait that has no end is sent as 60 s.
    """
    base = USUAL_RETRY_AFTER if seconds is None else max(0.0, seconds)
    if LONGEST_JITTERED_RETRY_AFTER < base < math.inf:
        return math.ceil(base)
    spread = random.uniform(1.0, 2.0)  # noqa: S311 - to spread clients, not to keep a secret
    jittered = math.ceil(min(base, LONGEST_JITTERED_RETRY_AFTER) * spread)
    return max(SHORTEST_RETRY_AFTER, min(LONGEST_JITTERED_RETRY_AFTER, jittered))


def should_retry(error: PenstockError, wait: float, left: float | None) -> bool:
    """Return whether the same request may be sent again after ``wait`` seconds, and could then be answered in time.

    A retry shares its caller's deadline. A timeout of the endpoint's own does not count: it begins anew with a retry.
    """
    if not error.retryable or left is None:
        return error.retryable
    execution = error.execution_seconds if isinstance(error, Unavailable) else None
    return wait + (execution or 0.0) < left
