"""The inbox: messages and exits of the worker processes, turned into events.

User code can write to its worker's socket and shared memory, so nothing that comes from a worker is taken on trust: a
message that cannot be true breaks the protocol, and the worker is killed. See ``penstock.scheduler.conduct``.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.app.manifest import NOTHING_DECLARED, Manifest
from penstock.engine.calls import call_of, takes_files
from penstock.engine.observers import Observers
from penstock.engine.outcomes import put_into_files, read_from_files, results_of
from penstock.engine.processes.worker_link import WorkerLink
from penstock.engine.progress_relay import ProgressRelay
from penstock.scheduler import Attempt, Scheduler, conduct
from penstock.scheduler import events as on
from penstock.wire import (
    WINDOW_BYTES,
    Chunk,
    Done,
    Head,
    LargeDone,
    Message,
    Progress,
    Ready,
    SetupFailed,
    Unfit,
    WireError,
)

MOST_REASON_CHARACTERS = 1000
_LONG_SECONDS = 1.0  # it is worth looking at the clock to see whether an attempt can have run for longer


class _Breach(Exception):
    """A message breaks the protocol."""


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
    time:
        The engine's clock.
    manifest:
        The declarations of the engine's app, which each worker must find too.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        observers: Observers,
        receive: Callable[[on.Event], None],
        time: Callable[[], float],
        *,
        manifest: Manifest = NOTHING_DECLARED,
    ) -> None:
        self._scheduler = scheduler
        self._observers = observers
        self._receive = receive
        self._time = time
        self._manifest = manifest
        self._progress = ProgressRelay(scheduler, observers, time)

    def on_messages(self, link: WorkerLink, messages: list[Message]) -> None:
        """Process the messages of a worker, in order, up to the first one that breaks the protocol."""
        chunks: dict[int, list[bytes]] = {}
        try:
            for message in messages:
                kind = type(message)
                if kind is Done:
                    if chunks:
                        self._chunks_arrived(link, chunks)
                    self._done(link, message)  # type: ignore[arg-type] # narrowed by `kind`, which is faster than isinstance
                elif kind is Chunk:
                    chunks.setdefault(message.attempt, []).append(message.body)  # type: ignore[union-attr] # the same
                elif kind is Progress:
                    _require(self._progress.receive(link.worker, message))  # type: ignore[arg-type] # the same
                elif kind is LargeDone:
                    if chunks:
                        self._chunks_arrived(link, chunks)
                    self._large_done(link, message)  # type: ignore[arg-type] # the same
                elif kind is Head:
                    self._stream_began(link, message)  # type: ignore[arg-type] # the same
                else:
                    self._set_up(link, message)
            if chunks:
                self._chunks_arrived(link, chunks)
        except _Breach as breach:
            self.on_broken(link, str(breach))

    def _set_up(self, link: WorkerLink, message: Message) -> None:
        """Process the end of a set-up, which comes once, or a failed check; a worker says nothing else."""
        if isinstance(message, Unfit):
            self._receive(on.CheckFailed(link.worker, message.reason[:MOST_REASON_CHARACTERS]))
            return
        if not isinstance(message, (Ready, SetupFailed)):
            raise _Breach(f"it has sent a {type(message).__name__}, which is not for it to send")
        _require(conduct.breach_by_setup(self._scheduler.state, link.worker))
        if link.setup_error:
            raise _Breach("its set-up had failed")
        if isinstance(message, SetupFailed):
            link.setup_error = self._manifest.reason_of(message) or "setup failed"
        else:
            link.on_named(message.pid)
            self._receive(on.SetupFinished(link.worker, message.seconds))

    def _done(self, link: WorkerLink, message: Done) -> None:
        event = on.ResultsArrived(message.attempt, message.seconds, results_of(message))
        attempt = self._scheduler.attempts.get(message.attempt)
        breach = conduct.breach_by_results(self._scheduler.state, link.worker, event, attempt)
        if breach is not None:
            raise _Breach(breach)
        if attempt is not None:
            if event.seconds > _LONG_SECONDS:
                event.seconds = self._possible_seconds(attempt, event.seconds)
            if self._observers.see_attempts and event.results[0] is not on.NOT_BEGUN:
                self._observers.attempt_ended(attempt, attempt.live, event.seconds)
        self._receive(event)

    def _large_done(self, link: WorkerLink, message: LargeDone) -> None:
        done = message.done
        try:
            files = link.receive_files(message.sizes)
        except WireError as error:
            raise _Breach(str(error)) from None
        if len(files) != len(done.results):
            raise _Breach("it has announced bodies of other results than it has sent")
        put_into_files(done, files)
        attempt = self._scheduler.attempts.get(done.attempt)
        if attempt is not None:
            read_from_files(done, [takes_files(job) for job in attempt.jobs])
        self._done(link, done)

    def _stream_began(self, link: WorkerLink, message: Head) -> None:
        event = on.StreamBegan(message.attempt, message.response)
        _require(conduct.breach_by_stream(self._scheduler.state, link.worker, event))
        self._receive(event)

    def _possible_seconds(self, attempt: Attempt, seconds: float) -> float:
        """Return the seconds that a worker reports, or fewer if the job has not existed for that long.

        Everything that learns from the time of an attempt, a plug-in that sheds for example, would be misled otherwise.
        """
        return max(0.0, min(seconds, self._time() - attempt.jobs[0].arrived))

    def _chunks_arrived(self, link: WorkerLink, chunks: dict[int, list[bytes]]) -> None:
        """Process chunks; those of one attempt that arrived together are one event."""
        for attempt_id, bodies in chunks.items():
            event = on.ChunksArrived(attempt_id, len(bodies))
            _require(conduct.breach_by_chunks(self._scheduler.state, link.worker, event))
            attempt = self._scheduler.attempts.get(attempt_id)
            if attempt is None:
                continue  # the worker has been killed
            if attempt.live and call_of(attempt).uncredited_bytes + sum(map(len, bodies[:-1])) >= WINDOW_BYTES:
                raise _Breach(f"it has sent more chunks of attempt {attempt_id} than it has been credited for")
            self._receive(event)
            # Only now: due timers may have answered the job, or queued it again from its beginning.
            if attempt.live and attempt_id in self._scheduler.attempts:
                call_of(attempt).add_chunks(bodies)
        chunks.clear()

    def on_recalled(self, link: WorkerLink, started: int) -> None:
        """Process what a worker had begun last when it was asked to give its line back."""
        breach = conduct.breach_by_recall(self._scheduler.state, link.worker, started)
        if breach is None:
            self._receive(on.Recalled(link.worker, started))
        else:
            self.on_broken(link, breach)

    def on_broken(self, link: WorkerLink, why: str) -> None:
        """Process that a worker has broken the protocol: it is believed no longer."""
        link.distrust()
        self._receive(on.ProtocolBroken(link.worker, why, self._last_started(link)))

    def on_deaths(self, workers: list[int]) -> None:
        """Process that these workers are dead, before anything else that is known about them."""
        self._receive(on.WorkersDied(workers))

    def on_exit(self, link: WorkerLink, reason: str, *, blames_jobs: bool = True) -> None:
        """Process the exit of a worker."""
        started = self._last_started(link) if blames_jobs else 0
        self._receive(on.WorkerExited(link.worker, reason, link.setup_error, started))

    def on_start_failure(self, worker: int, reason: str) -> None:
        """Process that a worker has no process: an exit before it was ready."""
        self._receive(on.WorkerExited(worker, reason))

    def on_measured(self, link: WorkerLink, size_bytes: int, available_bytes: int) -> None:
        """Process the memory of a worker, and what the machine has left."""
        self._receive(on.MemoryMeasured(link.worker, size_bytes, available_bytes, self._last_started(link)))

    def on_suspended(self, link: WorkerLink, reason: str) -> None:
        """Process that a worker's process is stopped by a signal."""
        self._receive(on.WorkerSuspended(link.worker, reason))

    def _last_started(self, link: WorkerLink) -> int | None:
        """Return the inline attempt that the worker had begun, or None if that is unknown.

        It is known if all attempts of the worker are inline, unless the worker claims one that it was never sent.
        """
        worker = self._scheduler.workers.get(link.worker)
        if worker is None or not all(attempt.lane.runs_in_turn for attempt in worker.attempts.values()):
            return None
        started = link.last_started()
        return started if started <= worker.latest else None

    def on_load_failure(self, error: str) -> None:
        """Process the failure to import the app."""
        self._receive(on.ImportFailed(error))


def _require(breach: str | None) -> None:
    if breach is not None:
        raise _Breach(breach)
