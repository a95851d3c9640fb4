from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import pytest

from penstock.engine.processes.worker_link import WorkerLink
from penstock.engine.processes.worker_processes import WorkerProcesses
from penstock.wire import Chunk, Loaded, Message, pack


class IdleReactor:
    """A loop that never calls back: the test polls."""

    def watch_readable(self, fd: int, callback: object) -> None: ...


class Inbox:
    """Collects what workers send."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def on_messages(self, link: WorkerLink, messages: list[Message]) -> None:
        self.messages += messages

    def on_broken(self, link: WorkerLink, why: str) -> None: ...


class Preempted:
    """A socket whose thread loses the GIL right after each read, to another thread that does ``meanwhile``."""

    def __init__(self, inner: Any, meanwhile: Callable[[], None]) -> None:
        self._inner = inner
        self._meanwhile = meanwhile

    def recv_into(self, buffer: bytearray) -> int:
        size: int = self._inner.recv_into(buffer)
        self._meanwhile()
        return size

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_engines_of_one_process_do_not_read_each_others_frames() -> None:
    """Each engine reads through a buffer of its own: reading releases the GIL, and engines run on several threads."""
    inboxes, sent, links = [Inbox(), Inbox()], [Chunk(1, b"one"), Chunk(2, b"two")], []
    engines: list[Any] = [WorkerProcesses(IdleReactor(), "no such target", inbox) for inbox in inboxes]
    for processes, chunk in zip(engines, sent, strict=True):
        processes.spawn(1, "shared", 0, None)
        links.append(processes.links[1])
        os.write(links[-1].descriptors[0], pack(chunk))
    links[0]._socket = Preempted(links[0]._socket, links[1].poll)
    links[0].poll()
    assert [inbox.messages for inbox in inboxes] == [[sent[0]], [sent[1]]]
    for processes in engines:
        processes.close()


@pytest.mark.parametrize(("start_method", "words"), [("auto", "is a new process"), ("fork", "may hang or fail")])
def test_hazards_are_logged_once(caplog: pytest.LogCaptureFixture, start_method: Any, words: str) -> None:
    """The reason not to fork is one warning, however often a zygote is replaced."""
    processes: Any = WorkerProcesses(IdleReactor(), "no such target", Inbox(), start_method=start_method)
    processes._zygote = object()
    with caplog.at_level(logging.WARNING, "penstock"):
        for _ in range(2):
            processes._loaded(Loaded(0.1, ["2 native threads 'pool'"]))
    (record,) = caplog.records
    assert "2 native threads 'pool'" in record.getMessage()
    assert words in record.getMessage()
