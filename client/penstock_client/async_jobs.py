"""Background jobs of a Penstock server, for asyncio and trio."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import anyio

from penstock_client.async_endpoints import AsyncEndpointCalls
from penstock_client.async_streams import AsyncEventStream
from penstock_client.call_results import Result, result_of
from penstock_client.client_base import deadline_after
from penstock_client.errors import ClientError
from penstock_client.job_events import END, NOTHING_MORE, EventCursor
from penstock_client.job_messages import (
    LONGEST_POLL,
    JobRequest,
    action_request,
    delete_request,
    get_request,
    list_request,
    part_request,
    put_request,
)
from penstock_client.job_records import Job, JobEvent, job_of
from penstock_client.server_sent_events import ServerSentEvent
from penstock_client.stream_state import StreamState


class AsyncJobCalls(AsyncEndpointCalls):
    """The part of the client that knows about background jobs."""

    @property
    def jobs(self) -> AsyncJobs:
        """The background jobs of the server."""
        return AsyncJobs(self)


class AsyncJobs:
    """The background jobs of a server. Each method may be called again after any loss: the client chooses the ids.

    Parameters
    ----------
    client:
        The client that sends the requests, with its retries and limits.
    """

    def __init__(self, client: AsyncJobCalls) -> None:
        self._client = client

    async def submit(
        self,
        endpoint: str,
        input: Any = None,
        *,
        job_id: str | None = None,
        run_timeout: float | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> Job:
        """Have a job stored, to be run as soon as a worker is free.

        Parameters
        ----------
        endpoint, input:
            The work.
        job_id:
            The job's id: with your own, the same job is not stored twice. Default: a random one.
        run_timeout:
            Seconds for which the job may run.
        timeout:
            Seconds for the request itself.
        options:
            See ``JobOptions``: ``priority``, ``not_before``, ``start_by``, ``group``, ``metadata``, ``webhook``,
            ``result_ttl``.

        Raises
        ------
        ClientError
            If the job is not stored: ``IdempotencyMismatch``, if another one has its id.
        TypeError, ValueError
            If an argument cannot be sent.
        """
        return await self._job(put_request(endpoint, input, job_id, run_timeout, options), timeout)

    async def get(self, job_id: str, *, timeout: float | None = None) -> Job:
        """Return the present document of a job."""
        return await self._job(get_request(job_id), timeout)

    async def wait(self, job_id: str, *, timeout: float | None = None) -> Job:
        """Wait for the end of a job, however long that takes, and return its document.

        Raises
        ------
        TotalTimeout
            If it has not ended within ``timeout`` seconds. It goes on.
        """
        deadline = deadline_after(timeout)
        while True:
            left = deadline - time.monotonic()
            request = get_request(job_id, wait=max(0.0, min(LONGEST_POLL, left)))
            job = await self._job(request, None if left == math.inf else max(0.001, left))
            if job.is_final:
                return job

    async def result(self, job_id: str, *, timeout: float | None = None) -> Result[Any]:
        """Wait for the end of a job, and return its result as a call would.

        Raises
        ------
        ResponseError
            The error with which the job has ended.
        TotalTimeout
            If it has not ended within ``timeout`` seconds.
        """
        await self.wait(job_id, timeout=timeout)
        return await self._send(part_request(job_id, "result"), timeout)

    async def cancel(self, job_id: str, *, wait: float | None = None, timeout: float | None = None) -> Job:
        """Cancel a job, and return its document; ``wait`` is the longest wait for its work to stop, in seconds."""
        return await self._job(action_request(job_id, "cancel", wait=wait), timeout)

    async def retry(self, job_id: str, *, timeout: float | None = None) -> Job:
        """Store a new job that repeats one that has ended, and return its document."""
        return await self._job(action_request(job_id, "retry"), timeout, idempotent=False)

    async def delete(self, job_id: str, *, timeout: float | None = None) -> None:
        """Remove a job that has ended, with its result and its events."""
        await self._send(delete_request(job_id), timeout)

    async def list(
        self, *, limit: int | None = None, timeout: float | None = None, **filters: Any
    ) -> AsyncIterator[Job]:
        """Iterate over your jobs, the newest first.

        Parameters
        ----------
        limit:
            The jobs that one request asks for.
        timeout:
            Seconds for each request.
        filters:
            ``state``, ``endpoint``, ``group``, ``dead``.
        """
        cursor: str | None = None
        while True:
            page = (await self._send(list_request({**filters, "limit": limit}, cursor), timeout)).value
            for document in page["jobs"]:
                yield job_of(document)
            cursor = page.get("next_after")
            if not cursor:
                return

    @contextlib.asynccontextmanager
    async def events(
        self, job_id: str, *, after: int = 0, timeout: float | None = None
    ) -> AsyncIterator[AsyncIterator[JobEvent]]:
        """Read the events of a job, from its first to its end; the block has an iterator over them.

        A stream that breaks off is asked for again from the last event on, also from a server that has been restarted.

        Parameters
        ----------
        after:
            The number of the last event that is not wanted.
        timeout:
            Seconds for all events.
        """
        events = self._events(job_id, after, deadline_after(timeout))
        try:
            yield events
        finally:
            await events.aclose()

    # ---- the requests

    async def _events(self, job_id: str, after: int, deadline: float) -> AsyncGenerator[JobEvent]:
        cursor = EventCursor(after, self._client._retries, random.random, time.monotonic())
        while not cursor.is_over:
            try:
                request = part_request(job_id, "events", after=cursor.last)
                async with self._stream(request, deadline) as stream, contextlib.aclosing(_events_of(stream)) as events:
                    async for event in events:
                        found = cursor.on_event(event, time.monotonic())
                        if found is not None:
                            yield found
                        if cursor.is_over:
                            return
                cursor.on_end()
            except ClientError as error:
                await anyio.sleep(cursor.on_broken(error, time.monotonic(), deadline))

    @contextlib.asynccontextmanager
    async def _stream(self, request: JobRequest, deadline: float) -> AsyncIterator[AsyncEventStream[Any] | None]:
        left = deadline - time.monotonic()
        outgoing = self._client._job_request(request, None if left == math.inf else max(0.001, left))
        async with self._client._streamed(outgoing) as (response, arrived, attempts, watch):
            state = StreamState(arrived, attempts, watch, outgoing.spec, keep_bytes=0, on_error=outgoing.trace.failed)
            stream = AsyncEventStream[Any](response, state)
            try:
                yield None if response.status_code == NOTHING_MORE else stream
            finally:
                await stream.aclose()

    async def _job(self, request: JobRequest, timeout: float | None, *, idempotent: bool = True) -> Job:
        return job_of((await self._send(request, timeout, idempotent=idempotent)).value)

    async def _send(self, request: JobRequest, timeout: float | None, *, idempotent: bool = True) -> Result[Any]:
        outgoing = self._client._job_request(request, timeout, idempotent=idempotent)
        return await self._client._answered(outgoing, result_of)


async def _events_of(stream: AsyncEventStream[Any] | None) -> AsyncGenerator[ServerSentEvent]:
    """Yield the events of a stream; of none, the end."""
    if stream is None:
        yield END
        return
    async with contextlib.aclosing(stream.events()) as events:
        async for event in events:
            yield event
