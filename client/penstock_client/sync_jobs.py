"""Background jobs of a Penstock server, for programs without an event loop."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Generator, Iterable, Iterator
from typing import Any

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
from penstock_client.sync_endpoints import EndpointCalls
from penstock_client.sync_streams import EventStream


class JobCalls(EndpointCalls):
    """The part of the client that knows about background jobs."""

    @property
    def jobs(self) -> Jobs:
        """The background jobs of the server."""
        return Jobs(self)


class Jobs:
    """The background jobs of a server. Each method may be called again after any loss: the client chooses the ids.

    Parameters
    ----------
    client:
        The client that sends the requests, with its retries and limits.
    """

    def __init__(self, client: JobCalls) -> None:
        self._client = client

    def submit(
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
        return self._job(put_request(endpoint, input, job_id, run_timeout, options), timeout)

    def get(self, job_id: str, *, timeout: float | None = None) -> Job:
        """Return the present document of a job."""
        return self._job(get_request(job_id), timeout)

    def wait(self, job_id: str, *, timeout: float | None = None) -> Job:
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
            job = self._job(request, None if left == math.inf else max(0.001, left))
            if job.is_final:
                return job

    def result(self, job_id: str, *, timeout: float | None = None) -> Result[Any]:
        """Wait for the end of a job, and return its result as a call would.

        Raises
        ------
        ResponseError
            The error with which the job has ended.
        TotalTimeout
            If it has not ended within ``timeout`` seconds.
        """
        self.wait(job_id, timeout=timeout)
        return self._send(part_request(job_id, "result"), timeout)

    def cancel(self, job_id: str, *, wait: float | None = None, timeout: float | None = None) -> Job:
        """Cancel a job, and return its document; ``wait`` is the longest wait for its work to stop, in seconds."""
        return self._job(action_request(job_id, "cancel", wait=wait), timeout)

    def retry(self, job_id: str, *, timeout: float | None = None) -> Job:
        """Store a new job that repeats one that has ended, and return its document."""
        return self._job(action_request(job_id, "retry"), timeout, idempotent=False)

    def delete(self, job_id: str, *, timeout: float | None = None) -> None:
        """Remove a job that has ended, with its result and its events."""
        self._send(delete_request(job_id), timeout)

    def list(self, *, limit: int | None = None, timeout: float | None = None, **filters: Any) -> Iterator[Job]:
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
            page = (self._send(list_request({**filters, "limit": limit}, cursor), timeout)).value
            for document in page["jobs"]:
                yield job_of(document)
            cursor = page.get("next_after")
            if not cursor:
                return

    @contextlib.contextmanager
    def events(self, job_id: str, *, after: int = 0, timeout: float | None = None) -> Iterator[Iterator[JobEvent]]:
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
            events.close()

    # ---- the requests

    def _events(self, job_id: str, after: int, deadline: float) -> Generator[JobEvent]:
        cursor = EventCursor(after, self._client._retries, random.random, time.monotonic())
        while not cursor.is_over:
            try:
                with self._stream(part_request(job_id, "events", after=cursor.last), deadline) as events:
                    for event in events:
                        found = cursor.on_event(event, time.monotonic())
                        if found is not None:
                            yield found
                        if cursor.is_over:
                            return
                cursor.on_end()
            except ClientError as error:
                time.sleep(cursor.on_broken(error, time.monotonic(), deadline))

    @contextlib.contextmanager
    def _stream(self, request: JobRequest, deadline: float) -> Iterator[Iterable[ServerSentEvent]]:
        left = deadline - time.monotonic()
        outgoing = self._client._job_request(request, None if left == math.inf else max(0.001, left))
        with self._client._streamed(outgoing) as (response, arrived, attempts, watch):
            state = StreamState(arrived, attempts, watch, outgoing.spec, keep_bytes=0, on_error=outgoing.trace.failed)
            yield (END,) if response.status_code == NOTHING_MORE else EventStream[Any](response, state).events()

    def _job(self, request: JobRequest, timeout: float | None, *, idempotent: bool = True) -> Job:
        return job_of((self._send(request, timeout, idempotent=idempotent)).value)

    def _send(self, request: JobRequest, timeout: float | None, *, idempotent: bool = True) -> Result[Any]:
        outgoing = self._client._job_request(request, timeout, idempotent=idempotent)
        return self._client._answered(outgoing, result_of)
