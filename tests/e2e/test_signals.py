"""SIGTERM and SIGINT, to a server with work in hand: what is admitted is finished, and nothing is left behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import assert_problem, in_background, read_stream, wait_event
from tests.serving import HOST, Answer, Served, wait_until, write_app

pytestmark = pytest.mark.e2e

APP = Path(__file__).parent / "apps" / "signals_app.py"
PROMPT = 5.0  # seconds that "at once" may take on a busy machine; shorter than every timeout it must differ from
EXIT_AT_ONCE = 130
STOP_SIGNALS = [signal.SIGTERM, signal.SIGINT]


class Marks:
    """The folder in which handlers report what they do, and in which tests let them go on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __contains__(self, name: str) -> bool:
        return (self.folder / name).exists()

    def wait_for(self, *names: str) -> None:
        wait_until(lambda: all(name in self for name in names), f"the marks {names}")

    def set(self, name: str) -> None:
        (self.folder / name).touch()


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    folder = tmp_path / "marks"
    folder.mkdir()
    return Marks(folder)


@contextlib.contextmanager
def serving(marks: Marks, *options: str, target: Path = APP, ready: bool = True) -> Iterator[Served]:
    """A server whose temporary files go to a folder of its own; it must have ended when the block does."""
    temporary = marks.folder.parent / "tmp"
    temporary.mkdir()
    environment = {FOLDER_VARIABLE: str(marks.folder), "TMPDIR": str(temporary)}
    options = ("--log-format", "json", *options)
    with Served(target, *options, environment=environment, ready_timeout=30 if ready else None) as served:
        yield served
        assert served.process.poll() is not None
        assert_nothing_is_left(served, temporary)


def assert_nothing_is_left(served: Served, temporary: Path) -> None:
    assert served.survivors() == []
    assert list(temporary.iterdir()) == []
    assert not [path for path in Path("/dev/shm").iterdir() if "penstock" in path.name or "gunicorn" in path.name]
    with pytest.raises(ConnectionRefusedError):
        served.connect()


def is_draining(served: Served) -> bool:
    return served.get("/readyz").status == 503


def post_kept_alive(connection: http.client.HTTPConnection, path: str) -> Answer:
    connection.request("POST", path, b"{}", {"Content-Type": "application/json"})
    response = connection.getresponse()
    body = response.read()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body, 0.0)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_drain_finishes_what_is_admitted_and_refuses_the_rest(marks: Marks, number: signal.Signals) -> None:
    """Running, queued and streaming jobs end as ever; readiness is gone, new work gets 503 draining; exit code 0."""
    kept_alive = http.client.HTTPConnection(HOST, 0, timeout=10)
    with serving(marks) as served, in_background() as start, contextlib.closing(kept_alive):
        kept_alive.port = served.port
        assert post_kept_alive(kept_alive, "/quick").status == 200
        running = start(served.post_json, "/hold", {"name": "running"})
        stream = start(read_stream, served, "/stream", {})
        marks.wait_for("started-running", "started-stream")
        queued = start(served.post_json, "/hold", {"name": "queued"})
        wait_until(lambda: served.status()["endpoints"]["hold"]["queued"] == 1, "the queued job")

        served.process.send_signal(number)
        wait_until(lambda: is_draining(served), "the drain")
        assert "draining" in served.get("/readyz").json()["reasons"]
        assert served.get("/livez").status == 200
        for refused in (post_kept_alive(kept_alive, "/quick"), served.post_json("/quick", {})):
            assert_problem(refused, "draining", 503, retry=True)
            assert refused.headers["connection"] == "close"
        assert served.process.poll() is None

        marks.set("release")
        assert [running.result().json(), queued.result().json()] == ["running", "queued"]
        assert (stream.result().values(), stream.result().is_whole) == ([1, 2], True)
        assert served.wait() == 0
        (drain,) = served.events("drain")
        assert (drain["jobs"], round(drain["seconds"])) == (3, 30)
        assert served.events("stopped")[0]["exit_code"] == 0
        assert "torn-down" in marks
        assert not served.events("kill")
        assert not served.events("interrupt")


def test_at_the_end_of_the_drain_the_rest_is_answered_and_stopped(marks: Marks) -> None:
    """Past ``--drain-timeout`` running and queued jobs get 503 draining; the ladder stops them; exit code 0 still."""
    with serving(marks, "--drain-timeout", "0.5") as served, in_background() as start:
        calls = [start(served.post_json, path, {}) for path in ("/sleep", "/stuck")]
        stream = start(read_stream, served, "/stream", {})
        marks.wait_for("started-sleep", "started-stuck", "started-stream")
        calls.append(start(served.post_json, "/stuck", {}))
        wait_until(lambda: served.status()["endpoints"]["stuck"]["queued"] == 1, "the queued job")

        started = time.monotonic()
        assert served.stop(signal.SIGTERM) == 0
        assert time.monotonic() - started < PROMPT
        for call in calls:
            assert_problem(call.result(), "draining", 503, retry=True)
        assert json.loads(stream.result().lines[-1])["error"]["code"] == "draining"
        assert not stream.result().is_whole
        assert "interrupted-sleep" in marks
        assert [event["jobs"] for event in served.events("drain-timeout")] == [4]
        assert [event["endpoints"] for event in served.events("kill")] == [["stuck"]]


def test_a_second_sigint_stops_at_once(marks: Marks) -> None:
    """Whatever runs, a handler that cannot be interrupted included; the exit code tells it from a drain."""
    with serving(marks) as served, in_background() as start:
        call = start(_outcome, served)
        marks.wait_for("started-stuck")
        served.process.send_signal(signal.SIGINT)
        wait_until(lambda: is_draining(served), "the drain")
        started = time.monotonic()
        assert served.stop(signal.SIGINT) == EXIT_AT_ONCE
        assert time.monotonic() - started < PROMPT
        assert call.result() in ("draining", "cut off")
        assert len(served.events("stopping-at-once")) == 1


def _outcome(served: Served) -> str:
    try:
        return served.post_json("/stuck", {}).json()["error"]["code"]
    except (OSError, http.client.HTTPException):
        return "cut off"


def test_ctrl_c_counts_once(marks: Marks) -> None:
    """A terminal sends SIGINT to the whole group, engine, zygote and all: it is one drain, and work is finished."""
    with serving(marks) as served, in_background() as start:
        call = start(served.post_json, "/hold", {"name": "running"})
        marks.wait_for("started-running")
        os.killpg(served.process.pid, signal.SIGINT)
        wait_until(lambda: is_draining(served), "the drain")
        marks.set("release")
        assert call.result().json() == "running"
        assert served.wait() == 0
        assert not served.events("worker-lost")
        assert not served.events("zygote-lost")


def test_every_process_may_be_told(marks: Marks) -> None:
    """Supervisors signal each process of a group of theirs: workers leave SIGTERM to the engine."""
    with serving(marks) as served, in_background() as start:
        call = start(served.post_json, "/hold", {"name": "running"})
        marks.wait_for("started-running")
        for pid in served.survivors():
            with contextlib.suppress(ProcessLookupError):  # the drain that the first one begins lets idle workers go
                os.kill(pid, signal.SIGTERM)
        wait_until(lambda: is_draining(served), "the drain")
        marks.set("release")
        assert call.result().json() == "running"
        assert served.wait() == 0
        assert not served.events("worker-lost")


LOADING = """
    import time
    from penstock import App
    from tests.e2e.apps.marks import mark

    app = App(__name__)

    @app.endpoint("/quick")
    def quick() -> int:
        return 1

    @app.endpoint("/slow")
    class Slow:
        def setup(self) -> None:
            mark("loading")
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    continue

        def predict(self) -> int:
            return 1
"""


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_server_whose_models_still_load_ends_at_once(marks: Marks, number: signal.Signals) -> None:
    """There is nothing to finish, so nothing is waited for; exit code 0."""
    target = write_app(marks.folder, LOADING)
    with serving(marks, target=target, ready=False) as served:
        marks.wait_for("loading")
        wait_event(served, "pool-ready", pool="default")
        started = time.monotonic()
        assert served.stop(number) == 0
        assert time.monotonic() - started < PROMPT
        assert [event["event"] for event in served.events() if event["level"] == "error"] == []


SLOW_IMPORT = """
    import os
    import time
    from penstock import App
    from tests.e2e.apps.marks import folder, mark

    app = App(__name__)

    @app.endpoint("/quick")
    def quick() -> int:
        return 1

    if (folder() / "imported-once").exists():
        mark("importing")
        time.sleep(60)
    mark("imported-once")
"""


def test_a_server_whose_workers_still_import_ends_at_once(marks: Marks) -> None:
    """Also while the zygote is busy with the import, and forks nothing yet."""
    target = write_app(marks.folder, SLOW_IMPORT)
    with serving(marks, target=target, ready=False) as served:
        marks.wait_for("importing")
        started = time.monotonic()
        assert served.stop(signal.SIGTERM) == 0
        assert time.monotonic() - started < PROMPT
        assert [event["event"] for event in served.events() if event["level"] == "error"] == []
