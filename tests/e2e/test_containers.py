"""Container conditions: PID 1, any user id, a read-only root, tiny temporary folders, few open files."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.containers import UID, Contained, children_of, needs_containers
from tests.serving import wait_until, write_app

pytestmark = [pytest.mark.e2e, needs_containers]

SOURCE = """
    import errno
    import os
    import subprocess
    import tempfile
    import time
    from pathlib import Path

    from penstock import App

    app = App(__name__)


    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2


    @app.endpoint("/nap")
    def nap(seconds: float) -> str:
        time.sleep(seconds)
        return "rested"


    @app.endpoint("/whoami")
    def whoami() -> dict[str, int]:
        return {"uid": os.getuid(), "pid_of_server": 1 if Path("/proc/1/cmdline").read_text().count("penstock") else 0}


    @app.endpoint("/write")
    def write(folder: str) -> str:
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            return errno.errorcode[error.errno]
        return "written"


    @app.endpoint("/orphan")
    def orphan(script: str) -> None:
        # A process whose parent ends at once: PID 1 inherits it.
        subprocess.run(["sh", "-c", f"sh -c '{script}' >/dev/null 2>&1 &"], check=True)
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_app(tmp_path_factory.mktemp("contained"), SOURCE)


@pytest.fixture(scope="module")
def served(app: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contained]:
    with Contained(app, "--log-format", "json", temporary=tmp_path_factory.mktemp("tmp")) as served:
        yield served


def test_any_user_serves_as_pid_1(served: Contained) -> None:
    """Neither a password entry nor a home folder is needed."""
    assert served.post_json("/square", {"input": 3}).json() == 9
    assert served.post_json("/whoami", {}).json() == {"uid": UID, "pid_of_server": 1}


def test_the_root_is_read_only(served: Contained, app: Path) -> None:
    """Even a folder with all permissions cannot be written: only the temporary ones can."""
    (app.parent / "open").mkdir(mode=0o777)
    (app.parent / "open").chmod(0o777)
    assert served.post_json("/write", {"folder": str(app.parent / "open")}).json() == "EROFS"
    assert served.post_json("/write", {"folder": "/nonexistent"}).json() == "ENOENT"
    assert served.post_json("/write", {"folder": "/dev/shm"}).json() == "written"


def test_a_large_body_needs_no_large_folder(served: Contained) -> None:
    """Bodies do not pass through /dev/shm or the temporary folder, which would be full."""
    answer = served.post("/square", b'{"input": 2' + b" " * (4 << 20) + b"}", media_type="application/json")
    assert (answer.status, answer.json()) == (200, 4)


@pytest.mark.parametrize("end", ["exit 3", "exit 4", "kill -9 $$"])
def test_orphans_are_reaped(served: Contained, end: str) -> None:
    """PID 1 inherits orphans; it reaps them, and takes none for a process of its own, whatever its exit code."""
    served.post_json("/orphan", {"script": f'trap "{end}" TERM; while :; do sleep 0.02; done'})
    init = served.init

    def orphans() -> list[int]:
        return [pid for pid in children_of(init) if "trap" in command_of(pid)]

    for pid in wait_until(orphans, "an orphan to be a child of PID 1"):
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "the orphan to be reaped")
    assert served.get("/readyz").status == 200


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def test_a_worker_is_replaced(served: Contained) -> None:
    """Killing one from outside is what the kernel does when the container's memory is used up."""
    before = served.status()["pools"]["default"]["workers"][0]["pid"]
    zygotes = [child for http in children_of(served.init) for child in children_of(http)]
    workers = [worker for zygote in zygotes for worker in children_of(zygote)]
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: served.status()["pools"]["default"]["workers"][0]["pid"] not in (None, before), "another worker")
    assert served.post_json("/square", {"input": 4}).json() == 16


def test_sigterm_to_pid_1_drains(app: Path) -> None:
    """The job that runs is answered, the exit code is 0, and nothing is left. Only /dev/shm can be written."""
    with Contained(app, "--log-format", "json", temporary=None) as served, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(served.post_json, "/nap", {"seconds": 0.5})
        wait_until(lambda: served.status()["endpoints"]["nap"]["running"] == 1, "the job to run")
        assert served.stop() == 0
        assert answer.result().json() == "rested"
        assert [event["abandoned"] for event in served.events("shutdown")] == [0]
        assert served.survivors() == []


def test_several_http_processes_need_no_more(app: Path) -> None:
    """Their socket has room in /dev/shm too, and PID 1 drains them together with the engine's process."""
    with Contained(app, "--http-workers", "2", "--log-format", "json", temporary=None) as served:
        assert [served.post_json("/square", {"input": n}).json() for n in range(8)] == [n * n for n in range(8)]
        assert served.stop() == 0
        assert served.survivors() == []


SLOW_IMPORT = """
    # Python imports this module at its start, in each process.
    import importlib.abc
    import sys
    import time
    from pathlib import Path


    class Wait(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == "gunicorn.arbiter":
                Path("/dev/shm/importing").touch()
                time.sleep(60)


    sys.meta_path.insert(0, Wait())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_pid_1_that_still_imports_itself_can_be_stopped(app: Path, tmp_path: Path, number: signal.Signals) -> None:
    """The kernel drops signals that PID 1 does not handle: a stop right after the start would wait for the SIGKILL."""
    write_app(tmp_path, SLOW_IMPORT, "sitecustomize.py")
    environment = {"PYTHONPATH": str(tmp_path)}
    with Contained(app, temporary=None, environment=environment, ready_timeout=None) as served:
        wait_until(
            lambda: Path("/proc", str(served.init), "root", "dev", "shm", "importing").exists(),
            "the import of gunicorn",
        )
        assert served.stop(number, timeout=5) == 128 + number


def test_too_few_open_files_are_reported(app: Path, tmp_path: Path) -> None:
    """With 64 it serves, and the log says that more are needed, and how to get them."""
    with Contained(app, "--log-format", "json", temporary=tmp_path, open_files=64) as served:
        assert served.post_json("/square", {"input": 5}).json() == 25
        (event,) = served.events("descriptors-few")
        assert "64" in event["message"]
        assert "LimitNOFILE" in event["message"]
