"""The events of a job as server-sent events: all that have been, and then each as it comes, until the job has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from penstock.hooks import RouteEngine, RouteRequest, RouteResponse
from penstock.job_store import FINAL, JobEvent, JobNotFound, StoredJob
from penstock_jobs.job_desk import JobDesk
from penstock_jobs.job_queries import count_in, parameters
from penstock_jobs.job_requests import invalid
from penstock_jobs.job_times import instant_text
from penstock_jobs.job_views import LONGEST_LOOKLESS_SECONDS, JobViews
from penstock_jobs.thread_flags import ThreadFlag, settled

EVENTS_AT_ONCE: Final = 50
"""The number of events that are read from the store at a time, and so the most that wait for a slow reader."""
COMMENT: Final = b": the job goes on\n\n"
_MOST_NUMBER: Final = 10**15 - 1

_encode = msgspec.json.Encoder().encode


class EventStreams:
    """The route of events.

    Parameters
    ----------
    views, desk:
        The jobs.
    """

    def __init__(self, views: JobViews, desk: JobDesk) -> None:
        self._views = views
        self._desk = desk

    async def follow(self, request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        """Answer ``GET /v1/jobs/{id}/events``.

        The events after ``Last-Event-ID``, which a reader sends that connects again, or after ``?after=``. A reader
        that has them all gets a 204, at which browsers stop to connect again.
        """
        job = await self._views.find(request.path_values["id"], request.principal)
        after = _place(request)
        if job.is_final and after >= job.events:
            return RouteResponse(status=204)
        return RouteResponse(
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
            stream=self._pieces(job, after),
            keep_alive=COMMENT,
        )

    async def _pieces(self, job: StoredJob, after: int) -> AsyncIterator[bytes]:
        flag = ThreadFlag()
        unwatch = self._desk.watch(job.id, flag.set)
        try:
            while True:
                flag.clear()
                events = await settled(self._views.store.events(job.id, after, EVENTS_AT_ONCE))
                if events:
                    after = events[-1].seq
                    yield b"".join(event_bytes(event, is_last=_is_end(event)) for event in events)
                    if _is_end(events[-1]):
                        return
                elif await self._is_behind(job.id, after):
                    return
                else:
                    await flag.wait(LONGEST_LOOKLESS_SECONDS)
        finally:
            unwatch()

    async def _is_behind(self, job_id: str, after: int) -> bool:
        """Return whether no event will come: the job was deleted, or has ended before the place of the reader."""
        try:
            job = await settled(self._views.store.get(job_id))
        except JobNotFound:
            return True
        return job.is_final and job.events <= after


def event_bytes(event: JobEvent, *, is_last: bool) -> bytes:
    """Return an event of a job as a server-sent event. The data of a state or of progress has its instant."""
    name = "end" if is_last else event.kind
    data = event.data if event.kind == "chunk" else _encode({**_state_in(event), "at": instant_text(event.at)})
    lines = b"".join(b"data: %s\n" % line for line in _lines(data))
    return b"id: %d\nevent: %s\n%s\n" % (event.seq, name.encode(), lines)


def _lines(data: bytes) -> Sequence[bytes]:
    """Return the lines of a chunk, without the line break at its end: server-sent events know no other kind of data."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return [_encode({"base64": data})]
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return lines[:-1] if len(lines) > 1 and not lines[-1] else lines


def _state_in(event: JobEvent) -> dict[str, Any]:
    found = msgspec.json.decode(event.data)
    return found if isinstance(found, dict) else {"data": found}


def _is_end(event: JobEvent) -> bool:
    return event.kind == "state" and _state_in(event).get("state") in FINAL


def _place(request: RouteRequest) -> int:
    """Return the number of the last event that the reader has."""
    header = request.header("last-event-id")
    if header is None or not header.strip():
        return count_in(parameters(request.query), "after", least=0, most=_MOST_NUMBER, usual=0)
    text = header.strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise invalid("Last-Event-ID", f"{text[:40]!r} is not the number of an event")
    return int(text)
