"""Large bodies on their way to a shared engine: room is asked for before they are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from penstock.engine.reactors.reactor import Callback, Reactor
from penstock.engine.sharing.host_messages import GrowUpload, JobFacts, OpenUpload, ToEngine
from penstock.errors import NotReady, PenstockError
from penstock.hooks.submission import Submission
from penstock.policies import SMALL_BODY_BYTES


class UploadHost(Protocol):
    """The host's end of the connection, as an upload uses it."""

    @property
    def reactor(self) -> Reactor:
        """The loop of the host."""

    def send(self, message: ToEngine) -> None:
        """Send a message to the engine."""


class RemoteUpload:
    """The room that a large body takes in a shared engine, from its announcement until its job is submitted.

    Parameters
    ----------
    host:
        This end of the connection.
    number:
        The number that its call will have.
    job:
        The request, as the engine's policies are to see it.
    submission:
        The request here.

    Attributes
    ----------
    is_open:
        True while the engine counts it.
    refusal:
        Why the engine has refused the request; None if it has not.
    """

    __slots__ = ("_host", "_is_granted", "_taken_bytes", "_wake", "is_open", "job", "number", "refusal", "submission")

    def __init__(self, host: UploadHost, number: int, job: JobFacts, submission: Submission) -> None:
        self._host = host
        self._is_granted = False
        self._taken_bytes = 0
        self._wake: Callback | None = None
        self.number = number
        self.job = job
        self.submission = submission
        self.is_open = False
        self.refusal: PenstockError | None = None

    async def open(self, announced: int | None) -> None:
        """Have the admission policies asked, and wait until there is room.

        Parameters
        ----------
        announced:
            The length of the body in bytes, or None if it is not known.

        Raises
        ------
        PenstockError
            If the request is refused.
        """
        size_bytes = announced or 0
        self._taken_bytes = size_bytes
        self.is_open = True
        self._host.send(OpenUpload(self.number, self.job, size_bytes))
        while not self._is_granted and self.refusal is None:
            await self._host.reactor.park(self._register)
        self._raise_refusal()

    def _register(self, wake: Callback) -> None:
        self._wake = wake

    def _raise_refusal(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def cover(self, size_bytes: int) -> None:
        """Ask for enough room for a body of this size. A refusal is raised when more of the body has arrived.

        Raises
        ------
        PenstockError
            If room that was asked for earlier is refused.
        """
        self._raise_refusal()
        if size_bytes > SMALL_BODY_BYTES and size_bytes > self._taken_bytes and self.is_open:
            self._host.send(GrowUpload(self.number, size_bytes - self._taken_bytes))
            self._taken_bytes = size_bytes

    def release(self) -> None:
        """Do nothing: the engine counts the body until its job is submitted, or the request refused."""

    # ---- the connection's side

    def grant(self) -> None:
        """Note that there is room."""
        self._is_granted = True
        self._notify()

    def refuse(self, error: PenstockError) -> None:
        """Note that the engine has refused the request, and counts it no longer."""
        self.is_open = False
        self.refusal = error
        self._notify()

    def lose(self) -> None:
        """Note that the engine has ended."""
        self.is_open = False
        if not self._is_granted:
            self.refuse(NotReady("the engine has ended before it could admit the request"))

    def _notify(self) -> None:
        wake: Callable[[], None] | None = self._wake
        if wake is not None:
            wake()
