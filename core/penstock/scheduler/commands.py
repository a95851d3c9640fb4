"""Commands: the scheduler's output, in the imperative. The engine performs them in order."""

from __future__ import annotations

import msgspec

from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.reports import AnyReport


class StartWorker(msgspec.Struct):
    """Start a process for this worker of this pool; ``place`` selects its device."""

    worker: int
    pool: str
    place: int


class Send(msgspec.Struct, gc=False):
    """Make the worker run the attempt."""

    worker: int
    attempt: Attempt


class Answer(msgspec.Struct, gc=False):
    """Answer the caller: ``job.outcome`` is decided. Issued exactly once for each job."""

    job: Job


class Interrupt(msgspec.Struct):
    """Ask the user's code to stop, by an exception. The worker acknowledges by ending the attempt."""

    worker: int
    attempt: int


class Recall(msgspec.Struct):
    """Prevent the worker from beginning any attempt up to this one. ``events.Recalled`` must follow at once.

    If what the worker claims to have begun cannot be true, ``events.ProtocolBroken`` takes its place.

    Each recall names a later attempt than the worker's previous one. In one list of commands only other recalls come
    after it, so that the event may be passed in while the command is performed.
    """

    worker: int
    attempt: int


class Kill(msgspec.Struct):
    """SIGKILL the worker. Its exit is still to be reported."""

    worker: int


class StopWorker(msgspec.Struct):
    """Make the worker tear its models down and exit."""

    worker: int


class Report(msgspec.Struct):
    """Pass a report to the operator log and to the observers."""

    report: AnyReport


Command = StartWorker | Send | Answer | Interrupt | Recall | Kill | StopWorker | Report
