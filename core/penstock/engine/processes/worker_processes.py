"""The processes of one engine: the zygote, and the workers forked from it."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import Protocol

from penstock.app.endpoints import StartMethod
from penstock.app.manifest import NOTHING_DECLARED, Manifest
from penstock.engine.processes.worker_link import WorkerLink
from penstock.engine.processes.zygote_link import ZygoteLink
from penstock.engine.reactors.reactor import Reactor
from penstock.eventlog import log_event
from penstock.eventlog.standard_streams import occupy_standard_descriptors
from penstock.socket_buffers import ReceiveBuffer
from penstock.wire import Exited, Load, Loaded, LoadFailed, Message, Spawn, Spawned

_MAX_ZYGOTE_LOSSES = 3  # in a row, with no worker started in between


class ProcessEvents(Protocol):
    """The engine, as its processes report to it."""

    def on_messages(self, link: WorkerLink, messages: list[Message]) -> None:
        """Handle messages from a worker."""

    def on_broken(self, link: WorkerLink, why: str) -> None:
        """Handle that a worker has sent something that is not a message."""

    def on_deaths(self, workers: list[int]) -> None:
        """Handle that these workers are dead. Reports of what they had sent, and of their exits, follow."""

    def on_exit(self, link: WorkerLink, reason: str, *, blames_jobs: bool = True) -> None:
        """Handle the end of a worker's process. Everything that it had sent has been reported before.

        ``blames_jobs`` is False if no job of the worker can be the cause.
        """

    def on_load_failure(self, error: str) -> None:
        """Handle that the zygote cannot import the app, so that there will be no workers."""


class WorkerProcesses:
    """Starts and kills workers, and replaces a zygote that died.

    Parameters
    ----------
    reactor:
        The engine's reactor.
    target:
        Where the zygote finds the app.
    events:
        Receives the reports.
    manifest:
        The declarations of the engine's app, which the zygote must find too.
    start_method:
        The app's.
    """

    def __init__(
        self,
        reactor: Reactor,
        target: str,
        events: ProcessEvents,
        *,
        manifest: Manifest = NOTHING_DECLARED,
        start_method: StartMethod = "auto",
    ) -> None:
        self._reactor = reactor
        self._target = target
        self._start_method = start_method
        self._events = events
        self._manifest = manifest
        self._buffer = ReceiveBuffer()
        self._zygote: ZygoteLink | None = None
        self._is_loaded = False
        self._is_closed = False
        self._has_warned = False
        self._losses = 0
        self._links: dict[int, WorkerLink] = {}
        self._to_spawn: dict[int, Spawn] = {}  # requested before the app was imported

    @property
    def links(self) -> dict[int, WorkerLink]:
        """The workers whose exit has not been reported, by the scheduler's id."""
        return self._links

    def start(self) -> None:
        """Start the zygote, which imports the app."""
        # A program may run without stderr; the engine's pipes and sockets must not take its number.
        occupy_standard_descriptors()
        sys_path = [path or str(Path.cwd()) for path in sys.path]
        load = Load(self._target, sys_path, sys.argv, digest=self._manifest.digest, start_method=self._start_method)
        self._is_loaded = False
        self._zygote = ZygoteLink(self._reactor, load, self._on_zygote_message, self._on_zygote_lost)

    def spawn(self, worker: int, pool: str, place: int, device: str | None) -> None:
        """Start a worker, now or as soon as the app is imported."""
        name = f"{pool}/{place}"
        self._links[worker] = WorkerLink(
            self._reactor, self._buffer, worker, name, self._events.on_messages, self._events.on_broken
        )
        self._to_spawn[worker] = Spawn(worker, pool, name, device)
        if self._is_loaded:
            self._spawn_waiting()

    def _spawn_waiting(self) -> None:
        assert self._zygote is not None
        for worker, message in self._to_spawn.items():
            link = self._links[worker]
            self._zygote.spawn(message, link.descriptors)
            link.close_descriptors()
        self._to_spawn.clear()

    def kill(self, worker: int) -> None:
        """Send SIGKILL to a worker. A worker that the zygote has not been asked for yet is never started."""
        if self._to_spawn.pop(worker, None) is not None:
            self._reactor.call_soon(lambda: self._exited(worker, "never started"))
        elif worker in self._links:
            self._links[worker].kill()

    def close(self) -> None:
        """Kill all processes, and wait for the zygote to end. Idempotent."""
        self._is_closed = True
        for link in self._links.values():
            link.kill()
        if self._zygote is not None:
            self._zygote.close()
        for link in self._links.values():
            link.close()
        self._links.clear()

    # ---- messages from the zygote

    def _on_zygote_message(self, message: Message, pidfd: int) -> None:
        if isinstance(message, Spawned):
            self._losses = 0
            self._links[message.worker].on_spawned(message.pid, pidfd)
        elif isinstance(message, Exited):
            self._exited(message.worker, _reason(message.status))
        elif isinstance(message, Loaded):
            self._loaded(message)
        elif isinstance(message, LoadFailed):
            self._load_failed(self._manifest.reason_of(message))

    def _loaded(self, message: Loaded) -> None:
        if message.hazards and not self._has_warned:
            self._has_warned = True
            self._warn_of_hazards(", ".join(message.hazards))
        self._is_loaded = True
        self._spawn_waiting()

    def _warn_of_hazards(self, hazards: str) -> None:
        if self._start_method == "fork":
            effect = (
                f"{hazards}: a fork breaks that, so workers may hang or fail, but the start method is 'fork'; load "
                "models in setup() instead, or use start_method='auto'"
            )
        else:
            effect = (
                f"{hazards}: a fork would break that, so each worker is a new process that imports the app itself, and "
                "takes longer to become ready; load models and start threads in setup() instead"
            )
        log_event(logging.WARNING, "fork-hazards", f"importing the app has left {effect}", hazards=hazards)

    def _load_failed(self, error: str) -> None:
        self._events.on_load_failure(error)
        for worker in list(self._to_spawn):
            self._exited(worker, "the app could not be imported")

    def _on_zygote_lost(self) -> None:
        """Start another zygote. The kernel has killed the lost one's workers; where it does not, ``kill`` does."""
        if self._is_closed:
            return
        self._losses += 1
        log_event(logging.ERROR, "zygote-lost", "the process that forks the workers died; starting another")
        for link in list(self._links.values()):
            link.kill()
        if self._losses >= _MAX_ZYGOTE_LOSSES:
            self._load_failed("the process that imports the app died each time")
        else:
            self.start()
        orphans = [worker for worker in self._links if worker not in self._to_spawn]
        self._events.on_deaths(orphans)
        for worker in orphans:
            self._exited(worker, "its zygote died", blames_jobs=False)

    def _announce_deaths(self, first: WorkerLink) -> None:
        """Report which workers have died together with this one, before anything that they have sent is read.

        Otherwise a job could go from one dead worker to the next: by the results that one has left behind, or when it
        is replaced.
        """
        dead = [link for link in self._links.values() if link is first or link.is_dying]
        for link in dead:
            if link is not first:
                link.kill()  # whatever the signs were: a worker that is taken to be dead must not live on
        self._events.on_deaths([link.worker for link in dead])

    def _exited(self, worker: int, reason: str, *, blames_jobs: bool = True) -> None:
        link = self._links.get(worker)
        if link is None:
            return
        self._to_spawn.pop(worker, None)
        self._announce_deaths(link)
        link.close()
        self._events.on_exit(link, reason, blames_jobs=blames_jobs)
        # Only now: reports of the exit still look the process up.
        self._links.pop(worker, None)


def _reason(status: int) -> str:
    """Describe an exit status to a person."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
