"""Background jobs as a caller sees them: their documents and their events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from penstock_client.errors import InvalidAnswer

FINAL_STATES: Final = frozenset({"succeeded", "failed", "timed_out", "cancelled", "expired"})


class JobProgress(msgspec.Struct, frozen=True):
    """The latest report of a handler about its job.

    Attributes
    ----------
    done, total:
        Amounts in a unit of the handler's own; the total is None if it is not known.
    message:
        A few words about the present step.
    at:
        When it was reported.
    """

    done: float
    total: float | None = None
    message: str | None = None
    at: datetime | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The document of a job: its state at one moment.

    Attributes
    ----------
    id, endpoint:
        Its id, and the endpoint that does the work.
    state:
        ``scheduled``, ``queued`` or ``running``, and at the end ``succeeded``, ``failed``, ``timed_out``, ``cancelled``
        or ``expired``.
    cancel_requested:
        True once a cancel was asked for. The state is ``cancelled`` when the work has stopped.
    progress:
        The latest report of the handler.
    ahead:
        The number of jobs before it; None if it does not wait, or there are more than a thousand.
    claim, attempts:
        The number of times that a server has taken the job, and of attempts in the latest one.
    result:
        The result, if it is JSON of up to 64 KiB; ``Jobs.result`` has any.
    error:
        The problem document of a job that has failed.
    group, metadata, retry_of:
        The options of the submission, and the job that this one repeats.
    created_at, started_at, finished_at:
        The instants of its life so far.
    """

    id: str
    endpoint: str
    state: str
    cancel_requested: bool = False
    progress: JobProgress | None = None
    ahead: int | None = None
    claim: int = 0
    attempts: int = 0
    result: Any = None
    error: Mapping[str, Any] | None = None
    group: str | None = None
    metadata: Mapping[str, str] = {}
    retry_of: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_final(self) -> bool:
        """True once the state does not change any more."""
        return self.state in FINAL_STATES


class JobEvent(msgspec.Struct, frozen=True):
    """Something that has happened to a job.

    Attributes
    ----------
    number:
        1 for the first event of the job.
    kind:
        ``state``, ``progress``, ``chunk`` of a stream, ``restarted`` (drop the chunks so far), or ``end``.
    data:
        The content, decoded.
    """

    number: int
    kind: str
    data: Any


def job_of(value: Any) -> Job:
    """Return the job of a document.

    Raises
    ------
    InvalidAnswer
        If the value is another document.
    """
    try:
        return msgspec.convert(value, Job, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidAnswer(f"{InvalidAnswer.title}: not a job: {error}") from None
