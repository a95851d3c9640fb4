"""The gunicorn worker and master, with real processes and signals, around a stand-in for the app and its engine."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gunicorn.arbiter import Arbiter

from penstock.errors import DeclarationError
from penstock.testing.clock import MockClock
from penstock_gunicorn import application, arbiter, describe_failure, open_listener, worker
from penstock_gunicorn.arbiter import PenstockArbiter
from tests.serving import HOST, Answer, Served, wait_until

STANDIN = Path(__file__).with_name("standin.py")
PROMPT = 5.0  # seconds that "at once" may take on a busy machine; far below every timeout it must differ from
HALF_AN_UPLOAD = b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf"

pytestmark = pytest.mark.e2e


class StandIn(Served):
    """The stand-in program as a server."""

    def __init__(self, *options: str, ready_timeout: float | None = 20.0) -> None:
        super().__init__("standin", ready_timeout=ready_timeout)
        self.command = [sys.executable, str(STANDIN), "--port", str(self.port), *options]

    def state(self) -> dict[str, int]:
        return self.get("/state").json()

    def is_draining(self) -> bool:
        return self.get("/readyz").status == 503

    def count(self, event: str) -> int:
        return len(self.events(event))

    def _ask(self, path: str, answers: list[Answer]) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            answers.append(self.get(path))

    @contextlib.contextmanager
    def request_in_background(self, path: str) -> Iterator[list[Answer]]:
        """Send a request that is admitted before the block runs; afterwards its answer is in the list."""
        answers: list[Answer] = []
        thread = threading.Thread(target=self._ask, args=(path, answers))
        jobs = self.state()["jobs"]
        thread.start()
        try:
            wait_until(lambda: self.state()["jobs"] > jobs, "the job's start")
            yield answers
        finally:
            thread.join(30)


def test_sigterm_ends_an_idle_server_at_once_with_0() -> None:
    """With nothing admitted the drain ends at once: lifespan shutdown, engine closed, exit code 0, no process left."""
    with StandIn() as served:
        started = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - started < PROMPT
        assert served.survivors() == []
        assert (served.count("lifespan-over"), served.count("engine-closed")) == (1, 1)


def test_idle_connections_do_not_delay_the_end() -> None:
    """Idle keep-alive connections, used or not, are closed when the drain has ended."""
    with StandIn() as served:
        used = http.client.HTTPConnection(HOST, served.port, timeout=20)
        used.request("GET", "/fast")
        assert used.getresponse().read() == b"fine"
        with served.connect() as fresh, contextlib.closing(used):
            started = time.monotonic()
            assert served.stop() == 0
            assert time.monotonic() - started < PROMPT
            assert fresh.recv(1) == b""


def test_a_drain_finishes_what_was_admitted_and_refuses_the_rest() -> None:
    """After SIGTERM the admitted request gets its result, and a new connection is accepted and gets a 503."""
    with StandIn() as served:
        with served.request_in_background("/hold") as answers:
            served.process.send_signal(signal.SIGTERM)
            wait_until(served.is_draining, "the drain")
            refused = served.get("/fast")
            assert (refused.status, refused.headers["connection"]) == (503, "close")
            served.get("/release")
        assert served.wait() == 0
        assert [answer.status for answer in answers] == [200]
        assert answers[0].headers["connection"] == "close"


def test_at_the_drain_timeout_the_rest_is_answered() -> None:
    """A job that is not done by the drain timeout gets a complete error response; the exit code is still 0."""
    with StandIn("--drain-timeout", "0.5") as served:
        with served.request_in_background("/hold") as answers:
            assert served.stop() == 0
        assert [(answer.status, answer.body) for answer in answers] == [(503, b"held")]


def test_a_slow_reader_gets_its_whole_response() -> None:
    """A response that its client reads slowly may use the rest of the drain's time."""
    with StandIn() as served, served.connect() as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: served.state()["jobs"] == 1, "the job's start")
        served.process.send_signal(signal.SIGTERM)
        wait_until(served.is_draining, "the drain")
        served.get("/release")
        # The listener closes when the drain has ended: from then on only this response keeps the server up.
        wait_until(lambda: not _accepts(served.port), "the listener's end")
        time.sleep(1.0)  # a slow reader takes real time: more than SETTLE_LIMIT
        received = 0
        while piece := client.recv(2**20):
            received += len(piece)
        assert received > 32 * 2**20
        assert served.wait() == 0


def test_an_upload_that_is_not_admitted_does_not_hold_up_the_end() -> None:
    """A client in the middle of an upload has no job yet, so the drain does not wait for it."""
    with StandIn() as served, served.connect() as client:
        client.sendall(HALF_AN_UPLOAD)
        assert served.get("/fast").status == 200
        started = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - started < PROMPT


def test_sigint_drains_and_a_second_one_stops_at_once() -> None:
    """The first SIGINT drains; the second answers the jobs that are left and stops with 130 and no process left."""
    with StandIn() as served:
        with served.request_in_background("/hold") as answers:
            served.process.send_signal(signal.SIGINT)
            wait_until(served.is_draining, "the drain")
            started = time.monotonic()
            assert served.stop(signal.SIGINT) == 130
            assert time.monotonic() - started < PROMPT
        assert [answer.status for answer in answers] == [503]
        assert served.survivors() == []
        assert (served.count("lifespan-over"), served.count("engine-closed")) == (0, 1)


def test_ctrl_c_reaches_the_whole_group_and_counts_once() -> None:
    """A terminal signals every process of its group: one Ctrl-C, so a drain."""
    with StandIn() as served:
        with served.request_in_background("/hold") as answers:
            os.killpg(served.process.pid, signal.SIGINT)
            wait_until(served.is_draining, "the drain")
            served.get("/release")
        assert served.wait() == 0
        assert [answer.status for answer in answers] == [200]


def test_sigquit_stops_at_once() -> None:
    """SIGQUIT stops without waiting for jobs."""
    with StandIn() as served, served.request_in_background("/hold"):
        started = time.monotonic()
        assert served.stop(signal.SIGQUIT) == 130
        assert time.monotonic() - started < PROMPT


def test_a_killed_http_process_is_replaced() -> None:
    """After a kill -9 of the gunicorn worker, another one serves on the same port."""
    with StandIn() as served:
        first = served.state()["pid"]
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: served.count("listening") == 2, "the second gunicorn worker")
        assert served.state()["pid"] != first
        assert served.stop() == 0


def test_an_http_process_that_hangs_is_replaced() -> None:
    """One whose event loop stands still for a while is killed, and another one takes over its socket."""
    with StandIn("--heartbeat", "0.1", "--heartbeat-timeout", "1") as served:
        first = served.state()["pid"]
        os.kill(first, signal.SIGSTOP)
        wait_until(lambda: served.count("listening") == 2, "another process", timeout=PROMPT + 3.0)
        assert served.state()["pid"] != first


def test_the_default_heartbeat_replaces_an_http_process_within_15_seconds() -> None:
    """The limit, one look of the arbiter, and the second between SIGABRT and SIGKILL leave time for the start."""
    assert application.HEARTBEAT_TIMEOUT + 1.0 + 1.0 <= 12.0
    assert application.HEARTBEAT_TIMEOUT > 5 * worker.HEARTBEAT


def test_a_machine_that_was_paused_kills_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the arbiter itself has not run, a missing heartbeat proves nothing; the next look counts again."""
    looks: list[float] = []
    clock = MockClock()
    monkeypatch.setattr(arbiter.time, "monotonic", clock)
    monkeypatch.setattr(Arbiter, "__init__", lambda self, app: None)
    monkeypatch.setattr(Arbiter, "murder_workers", lambda self: looks.append(clock.now))
    master = PenstockArbiter(None)
    for seconds in (1.0, 100.0, 1.0):
        clock.advance(seconds)
        master.murder_workers()
    assert looks == [clock.now - 101.0, clock.now]


@pytest.mark.parametrize("owner", ["reexec_pid", "master_pid", "systemd"])
def test_a_socket_that_outlives_the_server_keeps_its_backlog(monkeypatch: pytest.MonkeyPatch, owner: str) -> None:
    """Another master, or systemd, has it too: connections are left to what serves it next, and none is refused."""
    sent: list[int] = []
    monkeypatch.setattr(Arbiter, "__init__", lambda self, app: None)
    monkeypatch.setattr(Arbiter, "kill_worker", lambda self, pid, sig: sent.append(sig))
    master = PenstockArbiter(None)
    vars(master).update({"reexec_pid": 0, "master_pid": 0, "systemd": False, "_stopping": True})
    master.kill_worker(1, signal.SIGTERM)
    setattr(master, owner, os.getppid())  # the old master is the parent of the new one
    for number in (signal.SIGTERM, signal.SIGQUIT):
        master.kill_worker(1, number)
    assert sent == [signal.SIGTERM, worker.RETIRE, signal.SIGQUIT]


def test_an_orphan_ends_by_itself() -> None:
    """After a kill -9 of the master, its gunicorn worker stops listening and ends."""
    with StandIn() as served:
        os.kill(served.process.pid, signal.SIGKILL)
        wait_until(lambda: served.survivors() == [], "the orphan's end")
        assert served.count("orphaned") == 1
        assert served.count("lifespan-over") == 1


@pytest.mark.parametrize(("how", "message"), [("raise", "RuntimeError: cannot be imported"), ("exit", "SystemExit")])
def test_an_app_that_cannot_be_loaded_ends_the_server_with_2(how: str, message: str) -> None:
    """The failure is logged once, with only the user's frames, and no process is left."""
    with StandIn("--load", how, ready_timeout=None) as served:
        assert served.wait() == 2
        assert served.survivors() == []
        (event,) = served.events("app-failed")
        assert message in event["message"]
        assert "in loader" in event["traceback"]
        assert "penstock_gunicorn" not in event["traceback"]
        assert [line["event"] for line in served.events()] == ["app-failed", "stopped"]


def test_a_lifespan_that_fails_ends_the_server_with_3() -> None:
    """An app that fails to start is not restarted."""
    with StandIn("--load", "no-start", ready_timeout=None) as served:
        assert served.wait() == 3
        assert "no luck" in served.events("app-failed")[0]["traceback"]


def test_pools_that_fail_end_the_server_with_3() -> None:
    """When the engine gives up its pools, the whole server stops and logs the reason."""
    with StandIn() as served:
        served.get("/fail-pools")
        assert served.wait() == 3
        assert "pool x never got ready" in served.events("pools-failed")[0]["message"]
        assert served.survivors() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_still_loads_ends_at_once(number: int) -> None:
    """During the import there is nothing to drain, and no `except` in the app can prevent the stop."""
    with StandIn("--load", "hang", ready_timeout=None) as served:
        served.wait_for_line("and loading")
        started = time.monotonic()
        assert served.stop(number) == 0
        assert time.monotonic() - started < PROMPT


def test_a_users_thread_does_not_hold_up_the_end() -> None:
    """An endless thread that the app's module has started does not keep the process alive."""
    with StandIn("--load", "thread") as served:
        started = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - started < PROMPT


def test_sighup_hands_over_without_refusing_a_request() -> None:
    """A new gunicorn worker takes new connections while the old one finishes the work it has admitted."""
    with StandIn() as served:
        first = served.state()["pid"]
        with served.request_in_background("/hold") as answers, served.connect() as old:
            old.sendall(HALF_AN_UPLOAD)
            assert served.get("/fast").status == 200
            served.process.send_signal(signal.SIGHUP)
            wait_until(lambda: served.count("listening") == 2, "the second gunicorn worker")
            wait_until(lambda: served.state()["pid"] != first, "the first one's retreat")
            assert {served.get("/fast").status for _ in range(10)} == {200}
            assert answers == []
            old.sendall(b"half")  # releases the job in the old gunicorn worker
        assert [answer.status for answer in answers] == [200]
        assert served.stop() == 0


def test_sigusr2_starts_a_new_master_on_the_same_socket() -> None:
    """Upgrade in place, as gunicorn does it: the new master goes on serving when the old one has ended."""
    with StandIn() as served:
        served.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: served.count("listening") == 2, "the new master's gunicorn worker")
        assert served.stop() == 0
        second = int(served.events("listening")[1]["pid"])
        wait_until(lambda: served.get("/state").json()["pid"] == second, "the new one alone")
        os.kill(_parent_of(second), signal.SIGTERM)
        wait_until(lambda: served.survivors() == [], "the new master's end")


def test_a_taken_port_is_an_oserror_at_once() -> None:
    """A port in use is an error at once: binding is not retried."""
    with open_listener(HOST, 0) as taken, pytest.raises(OSError, match="in use"):
        open_listener(HOST, taken.getsockname()[1])


def test_a_declaration_error_speaks_for_itself() -> None:
    """Its message is used as it is; the traceback is that of its cause, if there is one."""
    try:
        try:
            raise KeyError("inner")
        except KeyError as cause:
            raise DeclarationError("endpoint 'x': no") from cause
    except DeclarationError as error:
        message, trace = describe_failure(error)
    assert message == "endpoint 'x': no"
    assert trace.endswith("KeyError: 'inner'")


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=5).close()
    except OSError:
        return False
    return True


def _parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return int(stat.rpartition(")")[2].split()[1])
