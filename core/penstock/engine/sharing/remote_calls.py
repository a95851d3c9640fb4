"""Calls to a shared engine, as their callers in a host hold them."""

from __future__ import annotations

from collections.abc import Callable

from penstock.app import Endpoint
from penstock.body_files import BodyFile
from penstock.engine.calls import CallHost, HeldCall
from penstock.engine.sharing.host_messages import SubmitJob
from penstock.errors import PenstockError
from penstock.hooks.services import OnReport
from penstock.hooks.submission import Submission
from penstock.policies import Timeouts
from penstock.response import Encoded


class RemoteCall(HeldCall):
    """One job that was submitted to a shared engine. Its caller uses it like a ``Call``.

    Parameters
    ----------
    host:
        This end of the connection.
    number:
        The call's number on the connection.
    submission:
        The request as its policies have left it.
    message:
        The message that was sent for it; kept until there is an outcome, because the engine may have to be asked again.
    file:
        Its body, if that is in a file; kept as long.
    on_report:
        As for a ``Call``.
    """

    __slots__ = (
        "_chunks",
        "_host",
        "_untaken_bytes",
        "attempts",
        "endpoint",
        "execution_seconds",
        "file",
        "head",
        "message",
        "number",
        "on_progress",
        "on_report",
        "outcome",
        "owed_bytes",
        "queue_seconds",
        "submission",
        "timeouts",
    )

    def __init__(
        self,
        host: CallHost,
        number: int,
        submission: Submission,
        message: SubmitJob,
        file: BodyFile | None,
        *,
        on_report: OnReport | None = None,
    ) -> None:
        self._host = host
        self._chunks: list[bytes] = []
        self._untaken_bytes = 0
        self.number = number
        self.submission = submission
        self.message: SubmitJob | None = message
        self.file = file
        self.on_report = on_report
        self.endpoint: Endpoint = submission.endpoint  # type: ignore[assignment] # a route never becomes a job
        self.timeouts: Timeouts = submission.timeouts
        self.head: Encoded | None = None
        self.outcome: Encoded | PenstockError | None = None
        self.on_progress: Callable[[], None] | None = None
        self.queue_seconds: float | None = None
        self.execution_seconds: float | None = None
        self.attempts = 0
        self.owed_bytes = 0

    def __repr__(self) -> str:
        return f"<RemoteCall {self.number} of {self.endpoint.name}>"

    @property
    def began(self) -> float:
        """The instant of the request's first byte, as the engine knows it; while there is no outcome."""
        assert self.message is not None, "it is kept until there is an outcome"
        assert self.message.job is not None, "it is kept to be sent again"
        return self.message.job.began

    @property
    def has_begun_stream(self) -> bool:
        """True once there was a chunk: the job cannot run again without its caller noticing."""
        return self.head is not None

    def settle(self, outcome: Encoded | PenstockError) -> None:
        """Set the outcome, release the body, and notify the caller."""
        self.outcome = outcome
        self.message = None
        if self.file is not None:
            self.file.release()
            self.file = None
        self.notify()
