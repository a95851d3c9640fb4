"""The core's own decisions, made by the same hooks as anybody's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.hookspecs import hookimpl
from penstock.scheduler import FifoQueue, Job, within_max_attempts

if TYPE_CHECKING:
    from penstock.scheduler import Queue


@hookimpl
def penstock_queue_discipline() -> Callable[[], Queue]:
    """First come, first served."""
    return FifoQueue


@hookimpl
def penstock_retry_policy() -> Callable[[Job], bool]:
    """As often as ``Retries.max_attempts`` allows."""
    return within_max_attempts
