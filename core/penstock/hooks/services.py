"""Services: parts of plug-ins that live as long as the engine, and may give it jobs of their own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeAlias

from penstock.app import App, Endpoint
from penstock.body_files import Body
from penstock.errors import PenstockError
from penstock.hooks.principal import Principal
from penstock.hooks.submission import Submission
from penstock.job_store import JobStore
from penstock.response import Encoded
from penstock.wire import Progress

OnReport: TypeAlias = Callable[[Progress], None]
"""A callable that takes the progress reports of a job."""


class Handle(Protocol):
    """A timer or a task."""

    def cancel(self) -> object:
        """Cancel it. Harmless when it is over."""


class ServiceCall(Protocol):
    """A job that a service has submitted, as it sees it.

    Attributes
    ----------
    outcome:
        None while the job is undecided; then an ``Encoded`` result or a ``PenstockError``. The outcome of a finished
        stream has an empty body.
    head:
        The response without its body, once the job is known to be answered with a stream; otherwise None.
    on_progress:
        Set it to be called whenever there is an outcome or a chunk. It must not block.
    attempts:
        The number of attempts that were started.
    queue_seconds, execution_seconds:
        As in ``JobAnswered``; None while they are not known.
    """

    outcome: Encoded | PenstockError | None
    head: Encoded | None
    on_progress: Callable[[], None] | None
    attempts: int
    queue_seconds: float | None
    execution_seconds: float | None

    @property
    def has_chunks(self) -> bool:
        """True if chunks have arrived that were not taken yet."""

    def take(self, limit_bytes: int = ...) -> list[bytes]:
        """Return the chunks that have arrived since the last call, and let the handler produce more."""

    def cancel(self, reason: str = ...) -> None:
        """Cancel the job: it is interrupted, and its outcome is ``Cancelled`` at once. Harmless after the outcome."""


class StoredSubmission(Submission):
    """The submission of a job that a service keeps: its id is the service's, and other engines may have run it before.

    Parameters
    ----------
    endpoint:
        The endpoint of the job.
    job_id:
        The job's id, as in ``Context.job_id``.
    claim:
        The number of times that an engine has taken the job, this time included, as in ``Context.claim``.
    request_id, principal, query:
        The request that has made the job.
    """

    __slots__ = ("_claim", "_job_id")

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        job_id: str,
        claim: int = 1,
        request_id: str = "",
        principal: Principal | None = None,
        query: str = "",
    ) -> None:
        super().__init__(endpoint, request_id=request_id, principal=principal, query=query)
        self._job_id = job_id
        self._claim = claim

    @property
    def job_id(self) -> str:
        """The id of the job."""
        return self._job_id

    @property
    def claim(self) -> int:
        """The number of times that an engine has taken the job, this time included."""
        return self._claim


class ServiceEngine(Protocol):
    """The engine as a service sees it. Every method belongs to the engine's thread, except ``call_soon_threadsafe``."""

    @property
    def app(self) -> App:
        """The app that is served."""

    @property
    def draining(self) -> bool:
        """True once a drain has begun: what is submitted now is refused."""

    @property
    def job_store(self) -> JobStore | None:
        """The store of background jobs that a plug-in provides, which is not open; None if there is none."""

    def time(self) -> float:
        """Return the current instant of ``time.monotonic``."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        """Call ``callback`` at the instant ``when``, or shortly after it. It must not block."""

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> object:
        """Call ``callback`` on the engine's thread. Callable from any thread, until the service has been stopped."""

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> Handle:
        """Run a coroutine on the engine's loop, asyncio's or trio's, until it ends or the service is stopped."""

    def spare_slots(self, endpoint: str) -> int:
        """Return how many more jobs of an endpoint would begin at once: none while jobs of its pool wait."""

    def slots(self, endpoint: str) -> int:
        """Return how many jobs of an endpoint its workers can run at a time, when nothing else runs on them."""

    def watch_slots(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called whenever slots have become free, of any endpoint. It must not block."""

    def note_readiness(self) -> None:
        """Note that ``unready_reason`` returns something else now, for a program that waits for the engine."""

    def is_working(self, call: Any) -> bool:
        """Return whether a worker still runs code for a ``ServiceCall``, which may have its outcome already.

        A call that was cancelled has an outcome at once; its work ends a little later, when slots are freed.
        """

    def submit(
        self,
        submission: StoredSubmission,
        body: Body,
        *,
        headers: Mapping[str, str] | None = None,
        on_report: OnReport | None = None,
    ) -> ServiceCall:
        """Submit a job, and return at once.

        Parameters
        ----------
        submission:
            The job. No policy is asked: they were asked when the job was stored.
        body:
            The undecoded body of the request.
        headers:
            Headers for the handler's context, names in lower case.
        on_report:
            Called with each progress report of the handler.

        Raises
        ------
        Draining, QueueFull, NotReady
            If the job is refused.
        """


class EngineService(Protocol):
    """A part of a plug-in with a life of its own. All methods are called on the engine's thread, and must not block.

    It may also have a method ``status``, which returns a dictionary, ready for JSON: its part of the status page.
    """

    def start(self, engine: ServiceEngine) -> None:
        """Start. Called once, before the engine's workers are started. An exception stops the start."""

    def unready_reason(self) -> str | None:
        """Return why the server should get no work yet, or None. Part of ``/readyz``."""

    def drain(self, deadline: float) -> None:
        """Submit no more jobs; called before it refuses them.

        Parameters
        ----------
        deadline:
            The instant by which the engine's jobs have ended.
        """

    def stop(self) -> None:
        """End. Called once, when all jobs have their outcomes, and in any case before the engine is gone.

        The engine's loop may end at any time after it. It may take a moment, for instance to write what is left.
        """
