"""The inbox: messages and exits of the worker processes, turned into events."""

from __future__ import annotations

from collections.abc import Callable

from penstock.app.manifest import NOTHING_DECLARED, Manifest
from penstock.engine.calls import call_of
from penstock.engine.observers import Observers
from penstock.engine.outcomes import results_of
from penstock.engine.processes.worker_link import WorkerLink
from penstock.scheduler import Scheduler
from penstock.scheduler import events as on
from penstock.wire import Chunk, Done, Message, Ready, SetupFailed


class Inbox:
    """The receiver of all that the processes of one engine report: its ``ProcessEvents``.

    Parameters
    ----------
    scheduler:
        The scheduler, which is only read here.
    observers:
        The observers of plug-ins.
    receive:
        Takes each event: a turn of the engine.
    manifest:
        The declarations of the engine's app, which each worker must find too.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        observers: Observers,
        receive: Callable[[on.Event], None],
        *,
        manifest: Manifest = NOTHING_DECLARED,
    ) -> None:
        self._scheduler = scheduler
        self._observers = observers
        self._receive = receive
        self._manifest = manifest

    def on_messages(self, link: WorkerLink, messages: list[Message]) -> None:
        """Process the messages of a worker, in order."""
        chunks: dict[int, list[bytes]] = {}
        for message in messages:
            kind = type(message)
            if kind is Done:
                if chunks:
                    self._chunks_arrived(chunks)
                self._done(message)  # type: ignore[arg-type] # narrowed by `kind`, which is faster than isinstance
            elif kind is Chunk:
                chunks.setdefault(message.attempt, []).append(message.body)  # type: ignore[union-attr] # the same
            elif kind is Ready:
                link.pid = message.pid  # type: ignore[union-attr] # the same
                self._receive(on.SetupFinished(link.worker, message.seconds))  # type: ignore[union-attr] # the same
            elif kind is SetupFailed:
                link.setup_error = self._manifest.reason_of(message)  # type: ignore[arg-type] # the same
        if chunks:
            self._chunks_arrived(chunks)

    def _done(self, message: Done) -> None:
        attempt = self._scheduler.attempts.get(message.attempt)
        if attempt is not None:
            results = results_of(message, len(attempt.jobs))
            if self._observers.see_attempts and results[0] is not on.NOT_BEGUN:
                self._observers.attempt_ended(attempt, attempt.live, message.seconds)
            self._receive(on.ResultsArrived(message.attempt, message.seconds, results))

    def _chunks_arrived(self, chunks: dict[int, list[bytes]]) -> None:
        """Process chunks; those of one attempt that arrived together are one event."""
        for attempt_id, bodies in chunks.items():
            self._receive(on.ChunksArrived(attempt_id, len(bodies)))
            # Only now: due timers may have answered the job, or queued it again from its beginning.
            attempt = self._scheduler.attempts.get(attempt_id)
            if attempt is not None and attempt.live:
                call_of(attempt).add_chunks(bodies)
        chunks.clear()

    def on_exit(self, link: WorkerLink, reason: str) -> None:
        """Process the exit of a worker."""
        started = link.last_started() if self._runs_in_turn(link.worker) else None
        self._receive(on.WorkerExited(link.worker, reason, link.setup_error, started))

    def on_start_failure(self, worker: int, reason: str) -> None:
        """Process that a worker has no process: an exit before it was ready."""
        self._receive(on.WorkerExited(worker, reason))

    def on_suspended(self, link: WorkerLink, reason: str) -> None:
        """Process that a worker's process is stopped by a signal."""
        self._receive(on.WorkerSuspended(link.worker, reason))

    def _runs_in_turn(self, worker_id: int) -> bool:
        """Return whether all attempts of the worker are inline, so that the one it had begun is known."""
        worker = self._scheduler.workers[worker_id]
        return all(attempt.lane.runs_in_turn for attempt in worker.attempts.values())

    def on_load_failure(self, error: str) -> None:
        """Process the failure to import the app."""
        self._receive(on.ImportFailed(error))
