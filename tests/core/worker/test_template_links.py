"""The zygote's connections to its templates, with the templates played by the test."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys

import pytest

from penstock.wire import Exited, Spawn, Spawned, SpawnFailed, TemplateLost, TemplateReady, pack
from penstock.worker.process import template_links
from penstock.worker.process.template_links import TemplateLinks
from penstock.worker.process.worker_main import WorkerDescriptors

STDERR = WorkerDescriptors(2, 2, 2)


@pytest.fixture(name="poll")
def _poll() -> select.poll:
    return select.poll()


@pytest.fixture(name="links")
def _links(poll: select.poll):
    links = TemplateLinks(poll)
    yield links
    links.close_in_fork()


def news(links: TemplateLinks, poll: select.poll) -> list:
    return links.receive({descriptor for descriptor, _ in poll.poll(5000)})


def template(links: TemplateLinks, poll: select.poll, pid: int = 1) -> socket.socket:
    """Return the template's end of a new connection, over which it has said that it is ready."""
    end = links.open("p")
    end.sendall(pack(TemplateReady("p", pid)))
    assert news(links, poll) == [TemplateReady("p", pid)]
    return end


def order(worker: int) -> Spawn:
    return Spawn(worker, "p", "p/0", None, True)


def test_only_a_template_that_is_ready_is_asked(links, poll):
    """Until then, and for every other pool, the zygote forks the worker itself."""
    with links.open("p") as end:
        assert not links.spawn(order(1), STDERR)
        end.sendall(pack(TemplateReady("p", 1)))
        news(links, poll)
        assert links.spawn(order(1), STDERR)
        assert not links.spawn(Spawn(2, "q", "q/0", None, True), STDERR)


def test_answers_are_passed_on(links, poll):
    """While one is missing, the template may have forked a worker that the zygote does not know of."""
    with template(links, poll) as end:
        links.spawn(order(1), STDERR)
        assert links.is_waiting
        end.sendall(pack(Spawned(1, 77)))
        assert news(links, poll) == [Spawned(1, 77)]
        assert not links.is_waiting


def test_a_template_that_dies_owes_an_answer(links, poll):
    """Workers that it was asked for and has not forked are failed starts; the next one is not asked of it."""
    with template(links, poll):
        links.spawn(order(1), STDERR)
    lost, failed = news(links, poll)
    assert lost == TemplateLost("p")
    assert isinstance(failed, SpawnFailed)
    assert failed.reason == "the process that keeps the models of its pool has died"
    assert not links.spawn(order(2), STDERR)
    assert not links.is_waiting


def test_a_set_up_that_fails_leaves_no_template(links, poll):
    """The worker has reported that itself; its connection just ends."""
    links.open("p").close()
    assert news(links, poll) == []
    assert poll.poll(0) == []


def test_a_second_template_is_turned_away(links, poll):
    """Two workers may have set the models up at the same time; one template is enough, and the other one ends."""
    with template(links, poll), links.open("p") as second:
        second.sendall(pack(TemplateReady("p", 2)))
        assert news(links, poll) == []
        assert second.recv(1) == b""
        assert links.spawn(order(1), STDERR)


@pytest.mark.parametrize("garbage", [b"\xff" * 8, b"\0\0\0\1\xc1"])
def test_a_template_that_sends_garbage_is_lost(links, poll, garbage):
    """User code may write to any descriptor: the zygote does not fail of it."""
    with template(links, poll) as end:
        end.sendall(garbage)
        assert news(links, poll) == [TemplateLost("p")]


def test_a_template_answers_only_what_it_was_asked(links, poll):
    """Whatever else arrives is ignored: an end of another worker, a start that was not ordered, another pool."""
    with template(links, poll) as end:
        for forged in (Exited(1, 0), Spawned(7, 1), SpawnFailed(7, "no"), TemplateReady("q", 1), TemplateLost("p")):
            end.sendall(pack(forged))
            assert news(links, poll) == []
        assert not links.spawn(Spawn(2, "q", "q/0", None, True), STDERR)


def test_a_silent_template_is_killed(links, poll, monkeypatch):
    """It may be stopped, or hang: its time to fork a worker is limited, and the zygote waits no longer than that."""
    monkeypatch.setattr(template_links, "ANSWER_SECONDS", 0.01)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        os.kill(process.pid, signal.SIGSTOP)
        with template(links, poll, process.pid):
            assert links.seconds_left() is None
            links.spawn(order(1), STDERR)
            left = links.seconds_left()
            assert left is not None
            assert 0.0 <= left <= 0.01
            while process.poll() is None:
                links.kill_silent()
        assert process.returncode == -signal.SIGKILL
