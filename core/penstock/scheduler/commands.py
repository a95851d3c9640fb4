"""What is to be done: the scheduler's output. Imperative; the engine performs them in their order."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.scheduler.jobs import Attempt, Job


class StartWorker(msgspec.Struct):
    """Start a process for this worker of this pool; ``place`` says which of its devices it gets."""

    worker: int
    pool: str
    place: int


class Send(msgspec.Struct, gc=False):
    """Have the worker run the attempt."""

    worker: int
    attempt: Attempt


class Answer(msgspec.Struct, gc=False):
    """``job.outcome`` is decided: tell the caller. Once for each job."""

    job: Job


class Interrupt(msgspec.Struct):
    """Ask the user's code to stop, by an exception. The worker acknowledges by ending the attempt."""

    worker: int
    attempt: int


class Recall(msgspec.Struct):
    """Have the worker begin no attempt up to this one any more. ``events.Recalled`` must follow, before anything else.

    Each names a later attempt than the worker's last one did. In one list only others of its kind come after it,
    so that the event may be handed in while it is performed.
    """

    worker: int
    attempt: int


class Kill(msgspec.Struct):
    """SIGKILL the worker. Its exit is still to be reported."""

    worker: int


class StopWorker(msgspec.Struct):
    """Have the worker tear its models down and exit."""

    worker: int


class Report(msgspec.Struct):
    """Something an operator wants to know has happened; ``event`` is its name, ``fields`` what belongs to it."""

    event: str
    fields: dict[str, Any]


Command = StartWorker | Send | Answer | Interrupt | Recall | Kill | StopWorker | Report
