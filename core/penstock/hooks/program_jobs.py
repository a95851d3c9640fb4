"""Background jobs as the program around an engine uses them, and as routes use those of their callers."""

from __future__ import annotations

from typing import Any, Protocol

from penstock.hooks.principal import Principal


class CallerJobs(Protocol):
    """The background jobs that one caller sees, as ``RouteEngine.jobs_of`` returns them.

    Its methods are called on the engine's loop, asyncio's or trio's. The documents are those of ``/v1/jobs``.
    """

    async def get(self, job_id: str) -> dict[str, Any]:
        """Return the document of a job as it is now.

        Raises
        ------
        JobNotFound, JobGone
            If the caller sees no such job, or it is kept no longer; also for the methods below.
        """

    async def wait(self, job_id: str, *, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the end of a job, however long that takes, and return its document.

        Raises
        ------
        JobNotFinal
            If it has not ended within ``timeout`` seconds. It goes on.
        """

    async def cancel(self, job_id: str, *, wait: float = 0.0) -> dict[str, Any]:
        """Cancel a job; return its document once it has ended, at the latest after ``wait`` seconds."""

    async def result(self, job_id: str, *, timeout: float | None = None) -> Any:
        """Wait for the end of a job, and return its result as a call would; that of a stream as a list of its chunks.

        Raises
        ------
        PenstockError
            The error with which the job has ended, as its class: ``HandlerError``, ``Cancelled`` ...
        JobNotFinal
            If it has not ended within ``timeout`` seconds.
        JobGone
            If the result is kept no longer.
        """

    async def memo(self, job_id: str) -> bytes | None:
        """Return what a dialect has stored with a job, as ``Payload.job_memo``; None if it was made in another way."""


class ProgramJobs(CallerJobs, Protocol):
    """The background jobs of an embedded engine: ``engine.jobs``.

    An ``EngineService`` that runs them has one as its attribute ``jobs``. Its methods are called on the engine's loop,
    asyncio's or trio's. The documents are those of ``/v1/jobs``. The program sees the jobs of all callers.
    """

    async def submit(
        self,
        name: str,
        input: Any = None,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        request_id: str = "",
        **options: Any,
    ) -> dict[str, Any]:
        """Store a job; return its document when it is on the disk.

        Parameters
        ----------
        name, input:
            The endpoint and its input, as for ``AsyncEngine.call``.
        timeout:
            The seconds that the job may run, once it has started.
        idempotency_key:
            A repeated call with the same key returns the job of the first one.
        request_id:
            The id for the log and the handler's context.
        options:
            ``id``, ``priority``, ``not_before``, ``start_by``, ``group``, ``metadata``, ``result_ttl`` and ``webhook``,
            as over HTTP.

        Raises
        ------
        InvalidRequest
            If the endpoint takes no background jobs, or the input or an option cannot be used.
        IdempotencyMismatch, StoreFull, StoreUnavailable
            If the store refuses it.
        """

    def seen_by(self, caller: Principal | None) -> CallerJobs:
        """Return the jobs that a caller sees: its own, and with the scope ``jobs:admin`` those of all callers.

        None stands for all callers who were not identified.
        """
