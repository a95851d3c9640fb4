"""The settings of the plug-in ``jobs``."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from penstock.hooks import Secret
from penstock.job_store import StoreLimits
from penstock.policies import size_in_bytes
from penstock_jobs.webhook_settings import WebhookSettings

MAX_RESULT_BYTES: Final = 64 << 20


class JobsSettings(WebhookSettings, frozen=True, kw_only=True):
    """The settings of background jobs, and of the webhooks that report their ends: see ``WebhookSettings``.

    Parameters
    ----------
    store:
        The store: ``sqlite:///jobs.db`` (a path relative to the working folder; four slashes for an absolute one),
        ``postgresql://user@host/db``, or ``memory:`` for tests. None: the plug-in is off.
    share:
        The part of a pool's slots that background jobs may use, for endpoints without a ``concurrency`` of their own.
        Default: all slots but one, where there is more than one.
    only:
        True for a server whose slots are all for background jobs: it refuses direct calls, but takes jobs.
    max_result:
        The largest result, as a number of bytes or as in ``"64MiB"``; of a stream, all its chunks together.
    max_jobs, max_bytes:
        The limits at which the store refuses new jobs; see ``StoreLimits``.
    """

    store: Secret | None = None
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    only: bool = False
    max_result: Annotated[int, msgspec.Meta(ge=1)] | str = MAX_RESULT_BYTES
    max_jobs: Annotated[int, msgspec.Meta(ge=1)] = StoreLimits().max_jobs
    max_bytes: Annotated[int, msgspec.Meta(ge=1)] | str = StoreLimits().max_bytes

    def __post_init__(self) -> None:
        """Reject sizes that are none."""
        super().__post_init__()
        _bytes(self.max_result)
        _bytes(self.max_bytes)

    @property
    def share_of_slots(self) -> float | None:
        """``share``, which is all slots where direct calls take none."""
        return 1.0 if self.only and self.share is None else self.share

    @property
    def max_result_bytes(self) -> int:
        """``max_result`` in bytes."""
        return _bytes(self.max_result)

    @property
    def limits(self) -> StoreLimits:
        """The limits of the store."""
        return StoreLimits(max_jobs=self.max_jobs, max_bytes=_bytes(self.max_bytes))


def _bytes(size: int | str) -> int:
    return size_in_bytes(size) if isinstance(size, str) else size
