"""The zygote's connections to the templates of the pools that preload."""

from __future__ import annotations

import math
import os
import select
import signal
import socket
from contextlib import suppress
from time import monotonic

from penstock.wire import (
    FrameReader,
    FromZygote,
    Spawn,
    Spawned,
    SpawnFailed,
    TemplateLost,
    TemplateReady,
    WireError,
    pack,
)
from penstock.worker.process.worker_main import WorkerDescriptors

ANSWER_SECONDS = 4.0
"""The time in which a template forks a worker. Less than the engine waits for the zygote."""

_RECEIVE_BYTES = 65_536


class _TemplateLink:
    """The connection to the template of one pool, or to the worker that sets the models up and leaves a template.

    ``pid`` is the template's, 0 until there is one. ``unanswered`` has the workers that it was asked for, each with the
    instant at which it has been silent for too long.
    """

    def __init__(self, pool: str, sock: socket.socket) -> None:
        self.pool = pool
        self.pid = 0
        self.unanswered: dict[int, float] = {}
        self.sock = sock
        self._frames = FrameReader()

    def spawn(self, spawn: Spawn, descriptors: WorkerDescriptors) -> None:
        """Order a worker."""
        self.unanswered[spawn.worker] = monotonic() + ANSWER_SECONDS
        with suppress(OSError):  # if it is dead, the next read says so; if it reads nothing, its time runs out
            # The frame is so small that it is sent whole or not at all.
            socket.send_fds(self.sock, [pack(spawn)], [descriptors.engine, descriptors.memory, descriptors.output])

    def receive(self) -> list[FromZygote] | None:
        """Return its answers; None if it has ended."""
        try:
            data = self.sock.recv(_RECEIVE_BYTES)
            answers = self._frames.feed(data) if data else None
        except BlockingIOError:
            return []
        except (OSError, WireError):
            return None
        return answers

    def kill(self) -> None:
        """Kill the template. It is not reaped yet, so the pid is still its own."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class TemplateLinks:
    """The connections to all templates.

    Parameters
    ----------
    poll:
        The zygote's. Each open connection is registered with it.
    """

    def __init__(self, poll: select.poll) -> None:
        self._poll = poll
        self._links: dict[int, _TemplateLink] = {}  # by descriptor
        self._ready: dict[str, _TemplateLink] = {}  # by pool

    def open(self, pool: str) -> socket.socket:
        """Return the other end of a new connection, for the worker that will set the models up."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._links[ours.fileno()] = _TemplateLink(pool, ours)
        self._poll.register(ours, select.POLLIN)
        return theirs

    def spawn(self, spawn: Spawn, descriptors: WorkerDescriptors) -> bool:
        """Order a worker from the template of its pool; return False if there is none."""
        link = self._ready.get(spawn.pool)
        if link is not None:
            link.spawn(spawn, descriptors)
        return link is not None

    @property
    def is_waiting(self) -> bool:
        """True while a template may have forked a worker that the zygote does not know of yet."""
        return any(link.unanswered for link in self._links.values())

    # ---- answers

    def receive(self, descriptors: set[int]) -> list[FromZygote]:
        """Read from the connections among these that are templates', and return what has happened."""
        news: list[FromZygote] = []
        for descriptor in descriptors & self._links.keys():
            link = self._links[descriptor]
            answers = link.receive()
            if answers is None:
                news += self._lose(link)
            else:
                news += [answer for answer in answers if self._note(link, answer)]
        return news

    def _note(self, link: _TemplateLink, answer: FromZygote) -> bool:
        """Record an answer; return False if it is to be ignored.

        A second template of a pool is. It ends with its connection.
        """
        if isinstance(answer, (Spawned, SpawnFailed)):
            return link.unanswered.pop(answer.worker, None) is not None
        if not isinstance(answer, TemplateReady) or answer.pool != link.pool:
            return False  # user code can write to the socket while it sets the model up
        if link.pool in self._ready:
            self._close(link)
            return False
        link.pid = answer.pid
        self._ready[link.pool] = link
        return True

    def _lose(self, link: _TemplateLink) -> list[FromZygote]:
        self._close(link)
        if self._ready.get(link.pool) is not link:
            return []  # the models could not be set up, which their worker has reported
        del self._ready[link.pool]
        reason = "the process that keeps the models of its pool has died"
        return [TemplateLost(link.pool), *(SpawnFailed(worker, reason) for worker in link.unanswered)]

    def _close(self, link: _TemplateLink) -> None:
        self._poll.unregister(link.sock)
        del self._links[link.sock.fileno()]
        link.sock.close()

    # ---- silence

    def seconds_left(self) -> float | None:
        """Return the time until a template has been silent for too long; None if none is asked for anything."""
        until = min(
            (min(link.unanswered.values(), default=math.inf) for link in self._links.values()), default=math.inf
        )
        return None if until == math.inf else max(0.0, until - monotonic())

    def kill_silent(self) -> None:
        """Kill the templates that have been silent for too long; that they are lost is read from their connections."""
        now = monotonic()
        for link in self._links.values():
            if any(until <= now for until in link.unanswered.values()):
                link.kill()

    def close_in_fork(self) -> None:
        """Close the connections in a fork: open copies would hide from a template that the zygote has ended."""
        for link in self._links.values():
            link.sock.close()
