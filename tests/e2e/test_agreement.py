"""The engine and its workers import the app separately: they mean the same endpoints, or nothing is served."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.e2e.watching import worker_pid, worker_pids
from tests.serving import ROOT, Served, wait_until, write_app

pytestmark = pytest.mark.e2e

NAMES = ("iris", "wine", "rose", "tulip", "oak", "elm", "ash", "fir")
IN_A_SET = f"""
    from penstock import App

    app = App(__name__)

    def named(name):
        def predict() -> str:
            return name
        return predict

    for name in set({NAMES}):
        app.endpoint(f"/{{name}}")(named(name))
"""
ONE = """
    from pathlib import Path
    from penstock import App

    app = App(__name__)

    @app.endpoint("/double")
    def double(x: float) -> float:
        return 2 * x

    for file in sorted(Path(__file__).parent.glob("*.model")):
        app.endpoint(f"/{file.stem}")(double)
"""
THREADED = (
    ONE.replace('"/double"', '"/double", workers=2')
    + """
    import threading
    threading.Thread(target=threading.Event().wait, name="lingerer", daemon=True).start()
"""
)


def run(program: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, str(program)],
        cwd=program.parent,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def parent_of(pid: int) -> int:
    """Return the parent of a process: of a worker, its zygote."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def edit(file: Path) -> None:
    file.write_text(file.read_text().replace("x: float", "y: int"))


def improve(file: Path) -> None:
    file.write_text(file.read_text().replace("return 2 * x", "return x + x  # faster"))


def add_a_model(file: Path) -> None:
    (file.parent / "wine.model").touch()


def test_the_order_of_declarations_does_not_matter(tmp_path: Path) -> None:
    """Endpoints declared from a set, in another order in each process: every request reaches the one that it names."""
    with Served(write_app(tmp_path, IN_A_SET), environment={"PYTHONHASHSEED": "random"}) as served:
        assert [served.post_json(f"/{name}", {}).json() for name in NAMES] == list(NAMES)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (edit, "endpoint 'double': input.x is present for the engine, missing in its workers"),
        (improve, "app_under_test.py has changed since it was imported for the engine"),
        (add_a_model, "endpoint 'wine' is declared in the workers, but not for the engine"),
    ],
)
def test_an_app_that_has_changed_is_not_served(tmp_path: Path, change, difference: str) -> None:
    """When the workers must import the app again, and find another one, the server stops and says what differs."""
    file = write_app(tmp_path, ONE)
    with Served(file, "--log-format", "json") as served:
        change(file)
        os.kill(parent_of(worker_pid(served, "default")), signal.SIGKILL)
        assert served.wait() == 3
        (failed,) = served.events("pool-failed")
        assert f"{difference}\n" in failed["traceback"]
        assert "reload the server" in failed["traceback"].splitlines()[-1]
        assert "reload the server" in served.events("pools-failed")[0]["message"]


def test_a_worker_that_has_imported_another_app_is_not_used(tmp_path: Path) -> None:
    """It is refused and tried again after the usual pauses, while the others serve; once the file is back, it is."""
    file = write_app(tmp_path, THREADED)
    before = file.read_text()
    with Served(file, "--log-format", "json") as served:
        first, second = worker_pids(served, "double")
        edit(file)
        os.kill(first, signal.SIGKILL)
        refused = wait_until(
            lambda: [lost for lost in served.events("worker-lost") if "traceback" in lost], "a refusal"
        )
        assert "input.x is present for the engine" in refused[0]["traceback"]
        assert served.post_json("/double", {"x": 2}).json() == 4.0
        file.write_text(before)
        ready = wait_until(lambda: served.events("worker-ready")[2:], "a third worker")
        os.kill(second, signal.SIGKILL)
        assert served.post_json("/double", {"x": 3}).json() == 6.0
        assert ready[0]["pid"] not in (first, second)


# ---- programs that embed engines

HEAD = """
    from penstock import App, start_engine

    app = App(__name__)

    @app.endpoint("/square")
    def square(x: float) -> float:
        return x**2
"""
GUARDED = """
    if __name__ == "__main__":
        @app.endpoint("/cube")
        def cube(x: float) -> float:
            return x**3

        with start_engine(app) as engine:
            print(engine.call("cube", {"x": 2}))
"""
BETWEEN = """
    with start_engine(app) as engine:
        print(engine.call("square", {"x": 3}))

    @app.endpoint("/cube")
    def cube(x: float) -> float:
        return x**3
"""
TWO_APPS = """
    other = App(__name__)

    @other.endpoint("/square")
    def negated(x: float) -> float:
        return -x

    with start_engine(app) as engine:
        print(engine.call("square", {"x": 3}))
    with start_engine(other) as engine:
        print(engine.call("square", {"x": 3}))
"""


def script(folder: Path, rest: str) -> Path:
    return write_app(folder, textwrap.dedent(HEAD) + textwrap.dedent(rest), "script.py")


def test_an_endpoint_under_the_main_guard(tmp_path: Path) -> None:
    """Workers do not run that block: the engine does not open, and the error names the endpoint and the guard."""
    done = run(script(tmp_path, GUARDED))
    *_, title, difference, advice = done.stderr.splitlines()
    assert title == "penstock.errors.EngineError: the engine could not be started:"
    assert difference == "endpoint 'cube' is declared for the engine, but not in its workers"
    assert '`if __name__ == "__main__":`' in advice


def test_an_endpoint_between_two_engines(tmp_path: Path) -> None:
    """Workers are imported up to the first engine, and would never have it: an error where it is declared."""
    done = run(script(tmp_path, BETWEEN))
    assert done.stdout == "9.0\n"
    assert "DeclarationError: endpoint 'cube': the app is being served already" in done.stderr.splitlines()[-1]


def test_an_engine_at_the_top_of_a_module(tmp_path: Path) -> None:
    """Workers import the module up to the engine and drop it; what they have of it is still compared."""
    write_app(tmp_path, textwrap.dedent(HEAD) + "engine = start_engine(app)\n", "models.py")
    program = """
        from pathlib import Path
        import models

        with models.engine as engine:
            print(engine.call("square", {"x": 3}))
        Path(models.__file__).write_text(Path(models.__file__).read_text() + "# edited")
        with models.start_engine(models.app) as engine:
            print(engine.call("square", {"x": 3}))
    """
    done = run(write_app(tmp_path, program, "program.py"))
    assert done.stdout == "9.0\n"
    assert f"{tmp_path / 'models.py'} has changed" in done.stderr.splitlines()[-2]


def test_two_engines_for_two_apps_of_one_script(tmp_path: Path) -> None:
    """The workers of each have its own app, although their import stops where the first engine is opened."""
    done = run(script(tmp_path, TWO_APPS))
    assert done.stdout == "9.0\n-3.0\n", done.stderr
