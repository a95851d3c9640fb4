"""The processes of one engine: the zygote, and the workers forked from it."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from penstock.app.endpoints import StartMethod
from penstock.app.manifest import NOTHING_DECLARED, Manifest
from penstock.engine.processes.descriptor_reserve import DescriptorReserve
from penstock.engine.processes.suspension_watch import SuspensionEvents, SuspensionWatch
from penstock.engine.processes.worker_link import WorkerLink
from penstock.engine.processes.zygotes import Zygotes
from penstock.engine.reactors.reactor import Reactor
from penstock.eventlog import log_event
from penstock.eventlog.standard_streams import occupy_standard_descriptors
from penstock.socket_buffers import ReceiveBuffer
from penstock.wire import (
    Exited,
    Load,
    Loaded,
    LoadFailed,
    Message,
    Spawn,
    Spawned,
    SpawnFailed,
    Suspended,
    TemplateLost,
    TemplateReady,
)

REASON_SECONDS = 1.0
"""The time in which a zygote says how a worker has ended. After that the end counts, and the reason is unknown."""

_DESCRIPTORS_PER_START = 14  # the most that a new zygote and the first worker after it need
_DESCRIPTORS_PER_WORKER = 5  # that a link keeps open: two sockets, shared memory, output, pidfd


class ProcessEvents(SuspensionEvents, Protocol):
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

    def on_start_failure(self, worker: int, reason: str) -> None:
        """Handle that a worker could not be started, so that it has no link."""

    def on_load_failure(self, error: str) -> None:
        """Handle that the zygote cannot import the app, so that there will be no workers."""


class WorkerProcesses:
    """Starts and kills workers, by way of a zygote.

    Nothing here raises when the machine runs out of something: a start that fails is an event.

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
    load_seconds:
        The time for the import of the app; None for no limit.
    """

    def __init__(
        self,
        reactor: Reactor,
        target: str,
        events: ProcessEvents,
        *,
        manifest: Manifest = NOTHING_DECLARED,
        start_method: StartMethod = "auto",
        load_seconds: float | None = None,
    ) -> None:
        self._reactor = reactor
        self._start_method = start_method
        self._events = events
        self._manifest = manifest
        self._buffer = ReceiveBuffer()
        self._reserve = DescriptorReserve()
        self._target = target
        self._zygotes = Zygotes(reactor, self._load, load_seconds, self)
        self._is_closed = False
        self._names: set[str] = set()
        self._has_warned = False
        self._links: dict[int, WorkerLink] = {}
        self._suspensions = SuspensionWatch(reactor, self._links, events)
        self._to_spawn: dict[int, Spawn] = {}  # requested before the app was imported

    @property
    def links(self) -> dict[int, WorkerLink]:
        """The workers whose exit has not been reported, by the scheduler's id."""
        return self._links

    # ---- starts

    def start(self) -> None:
        """Start the zygote, which imports the app. If it cannot be started, that is tried again with each worker."""
        # A program may run without stderr; the engine's pipes and sockets must not take its number.
        occupy_standard_descriptors()
        self._zygotes.is_wanted = True
        with suppress(OSError), self._reserve.lent():
            self._zygotes.start_if_missing()
        self._keep_descriptors()

    def _load(self) -> Load:
        sys_path = [path or str(Path.cwd()) for path in sys.path]
        return Load(self._target, sys_path, sys.argv, digest=self._manifest.digest, start_method=self._start_method)

    def spawn(self, worker: int, pool: str, place: int, device: str | None, **options: Any) -> None:
        """Start a worker, now or as soon as the app is imported. ``options`` are the other fields of ``Spawn``."""
        name = f"{pool}/{place}"
        self._names.add(name)
        try:
            with self._reserve.lent():
                self._zygotes.start_if_missing()
                self._links[worker] = self._create_link(worker, name)
        except OSError as error:
            self._fail_soon(worker, error.strerror or str(error))
        else:
            self._to_spawn[worker] = Spawn(worker, pool, name, device, **options)
            self._spawn_waiting()
        self._keep_descriptors()

    def _create_link(self, worker: int, name: str) -> WorkerLink:
        events, imports = self._events, self._zygotes.imports
        return WorkerLink(
            self._reactor,
            self._buffer,
            worker,
            name,
            events.on_messages,
            events.on_broken,
            on_end=self._on_end,
            imports=imports,
        )

    def _spawn_waiting(self) -> None:
        for worker, message in list(self._to_spawn.items()):
            if not self._zygotes.admits(message):
                continue
            link = self._links[worker]
            del self._to_spawn[worker]
            try:
                self._zygotes.spawn(message, link.descriptors)
            except OSError as error:
                self._fail_soon(worker, error.strerror or str(error))
            link.close_descriptors()

    def _fail_soon(self, worker: int, reason: str) -> None:
        """Report a failed start, but not while the command to start it is being performed."""
        self._reactor.call_soon(lambda: self._fail_start(worker, reason))

    def _fail_start(self, worker: int, reason: str) -> None:
        if worker in self._links:
            self._exited(worker, reason)
        elif not self._is_closed:
            self._events.on_start_failure(worker, reason)

    def _keep_descriptors(self) -> None:
        """Reserve what the missing workers will need, before anyone else takes it."""
        if not self._is_closed:
            missing = len(self._names) - len(self._links)
            self._reserve.hold(_DESCRIPTORS_PER_START + _DESCRIPTORS_PER_WORKER * max(0, missing))

    def template_pid(self, pool: str) -> int | None:
        """Return the pid of the process from which the next worker of the pool is forked, models and all, or None."""
        return self._zygotes.template_pid(pool)

    # ---- ends

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
        self._zygotes.close()
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._reserve.close()

    def _on_end(self, link: WorkerLink) -> None:
        """Send it no more jobs, and wait a moment for the zygote to say how it has ended: only that can know."""
        self._announce_deaths(link)
        self._reactor.call_at(self._reactor.time() + REASON_SECONDS, lambda: self._ended_unexplained(link))

    def _ended_unexplained(self, link: WorkerLink) -> None:
        if self._links.get(link.worker) is link:
            link.process.kill_group()
            self._exited(link.worker, "unknown, because the process that forks the workers does not answer")

    def _announce_deaths(self, first: WorkerLink) -> None:
        """Report which workers have died together with this one, before anything that they have sent is read.

        Otherwise a job could go from one dead worker to the next: by the results that one has left behind, or when it
        is replaced.
        """
        dead = [link for link in self._links.values() if link is first or link.process.is_dying]
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
        pool = self._zygotes.forget(worker)
        others = [other for other, spawn in self._to_spawn.items() if spawn.preload and spawn.pool == pool]
        for other in others:  # before its own replacement is requested, which makes the next try
            del self._to_spawn[other]
        self._events.on_exit(link, reason, blames_jobs=blames_jobs)
        # Only now: reports of the exit still look the process up.
        self._links.pop(worker, None)
        self._keep_descriptors()
        for other in others:
            self._exited(
                other, f"{link.name}, which was to set up the models of its pool, has ended", blames_jobs=False
            )

    # ---- the zygote

    def on_zygote_message(self, message: Message, pidfd: int) -> None:
        """See ``ZygoteReports``."""
        if isinstance(message, Spawned):
            self._spawned(message, pidfd)
        elif isinstance(message, SpawnFailed):
            self._exited(message.worker, message.reason)
        elif isinstance(message, Exited):
            self._exited(message.worker, _reason(message.status))
        elif isinstance(message, Suspended):
            self._suspensions.on_suspended(message.worker)
        elif isinstance(message, Loaded):
            self._loaded(message)
        elif isinstance(message, (TemplateReady, TemplateLost)):
            _log_template(message)
            self._spawn_waiting()
        elif isinstance(message, LoadFailed):
            self._load_failed(self._manifest.reason_of(message))

    def _spawned(self, message: Spawned, pidfd: int) -> None:
        link = self._links.get(message.worker)
        if pidfd < 0:
            pidfd = self._open_pidfd(message.pid)
        if link is not None:
            link.process.on_spawned(message.pid, pidfd)
        elif pidfd >= 0:  # by a zygote that has answered too late
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)

    def _open_pidfd(self, pid: int) -> int:
        """Open the pidfd that came with a message, and was lost because this process had no descriptor left for it."""
        try:
            with self._reserve.lent():
                return os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
        except OSError:
            return -1
        finally:
            self._keep_descriptors()

    def _loaded(self, message: Loaded) -> None:
        if message.hazards and not self._has_warned:
            self._has_warned = True
            _warn_of_hazards(", ".join(message.hazards), self._start_method)
        self._spawn_waiting()

    def _load_failed(self, error: str) -> None:
        self._events.on_load_failure(error)
        for worker in list(self._to_spawn):
            self._exited(worker, "the app could not be imported")

    def on_zygote_given_up(self, workers: set[int], reason: str) -> None:
        """See ``ZygoteReports``. Where the kernel has not killed the workers of a dead zygote, ``kill`` does."""
        for worker in workers:
            self._links[worker].kill()
        waiting = [] if self._zygotes.is_present else list(self._to_spawn)
        orphans = [*workers, *waiting]
        self._events.on_deaths(orphans)
        for worker in orphans:
            self._exited(worker, reason, blames_jobs=False)


def _warn_of_hazards(hazards: str, start_method: StartMethod) -> None:
    if start_method == "fork":
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


def _log_template(message: TemplateReady | TemplateLost) -> None:
    if isinstance(message, TemplateReady):
        text = f"the models of pool {message.pool} are set up: its workers are forked from process {message.pid}"
        log_event(logging.INFO, "template-ready", text, pool=message.pool, pid=message.pid)
    else:
        text = f"the process that keeps the models of pool {message.pool} died; its next worker sets them up again"
        log_event(logging.WARNING, "template-lost", text, pool=message.pool)


def _reason(status: int) -> str:
    """Describe an exit status to a person."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
