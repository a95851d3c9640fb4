"""``penstock serve``, from the command to the first answer: what it prints, what it finds, and what stops it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import in_background
from tests.serving import ROOT, Answer, Served, wait_until, write_app

pytestmark = pytest.mark.e2e

FRAMES_OF_OURS = re.compile(r'File "[^"]*[/\\](?:penstock\w*|gunicorn|falcon|trio|click|importlib)[/\\]')
EXIT_WRONG_TARGET, EXIT_POOLS_FAILED = 2, 3
SECONDS = r"\d+\.\d\d s"


def files_of(folder: Path, sources: dict[str, str]) -> None:
    for name, source in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_app(folder, source, name)


def serve_to_its_end(folder: Path, target: str, *options: str) -> tuple[int, str]:
    """Serve what cannot be served; return the exit code and all that was written. No process may be left."""
    environment = {FOLDER_VARIABLE: str(folder)}
    with Served(target, *options, folder=folder, environment=environment, ready_timeout=None) as served:
        exit_code = served.wait(60)
        assert served.survivors() == []
        return exit_code, served.output()


# ---- what it finds

MODEL = """
    from penstock import App

    app = App(__name__)
    other = App("called something else")

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    @other.endpoint("/cube")
    def cube(input: float) -> float:
        return input**3
"""
PROJECT = {
    "alone.py": MODEL.replace('other = App("called something else")', "other = app"),
    "two.py": MODEL,
    "package/__init__.py": "",
    "package/factor.py": "FACTOR = 10.0\n",
    "package/model.py": """
        from penstock import App
        from package.factor import FACTOR

        app = App(__name__)

        @app.endpoint("/square")
        def square(input: float) -> float:
            return input * FACTOR
    """,
    "scripts/beside.py": "FACTOR = 100.0\n",
    "scripts/model.py": """
        from beside import FACTOR
        from penstock import App

        service = App(__name__)

        @service.endpoint("/square")
        def square(input: float) -> float:
            return input * FACTOR
    """,
}


@pytest.mark.parametrize(
    ("target", "path", "result"),
    [
        ("two:other", "/cube", 8.0),
        ("alone.py", "/square", 4.0),
        ("package.model:app", "/square", 20.0),
        ("scripts/model.py", "/square", 200.0),
        ("scripts/model.py:service", "/square", 200.0),
    ],
)
def test_a_target_is_found_by_server_and_workers(tmp_path: Path, target: str, path: str, result: float) -> None:
    """Modules of the current folder, packages, files with what lies beside them; with or without attribute."""
    files_of(tmp_path, PROJECT)
    with Served(target, folder=tmp_path) as served:
        assert served.post_json(path, {"input": 2.0}).json() == result


def test_several_apps_ask_which_one(tmp_path: Path) -> None:
    """It is not guessed; the names are listed."""
    files_of(tmp_path, PROJECT)
    exit_code, output = serve_to_its_end(tmp_path, "two.py")
    assert exit_code == EXIT_WRONG_TARGET
    assert "several apps (app, other)" in output
    assert "two.py:app" in output


def test_debug_shows_the_client_what_the_handler_raised(tmp_path: Path) -> None:
    """With ``--debug`` the problem document has the exception and the user's traceback, without it neither."""
    source = MODEL.replace("return input**2", "return 1 / input")
    files_of(tmp_path, {"demo.py": source})
    answers: list[Answer] = []
    for options in ((), ("--debug",)):
        with Served("demo:app", *options, folder=tmp_path) as served:
            answers.append(served.post_json("/square", {"input": 0}))
    assert [answer.status for answer in answers] == [500, 500]
    assert b"ZeroDivisionError" not in answers[0].body
    assert "ZeroDivisionError" in answers[1].json()["detail"]
    assert not FRAMES_OF_OURS.search(answers[1].json()["traceback"])


# ---- what it prints

SLOW = """
    from penstock import App
    from tests.e2e.apps.marks import mark, wait_for_marks

    app = App(__name__)

    @app.endpoint("/quick")
    def quick() -> int:
        return 1

    @app.endpoint("/slow")
    class Slow:
        def setup(self) -> None:
            mark("loading")
            wait_for_marks("go-on")

        def predict(self) -> int:
            return 2
"""
# The same command, with an interval that a test can wait for.
IMPATIENT = """
    import penstock.engine.worker_watch
    from penstock_cli.main import main

    penstock.engine.worker_watch.STILL_LOADING_SECONDS = 0.2
    main()
"""


@pytest.fixture(name="slow")
def _slow(tmp_path: Path) -> Served:
    """A server with one model that loads until the mark ``go-on`` is set; not started."""
    write_app(tmp_path, SLOW, "slow.py")
    environment = {
        FOLDER_VARIABLE: str(tmp_path),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    served = Served("slow.py", folder=tmp_path, environment=environment, ready_timeout=None)
    served.command[1:3] = ["-c", textwrap.dedent(IMPATIENT)]
    return served


def test_the_start_is_followed_by_eye(slow: Served, tmp_path: Path) -> None:
    """Address, endpoints, each pool with the seconds it took to be ready, and who still loads, again and again."""
    with slow as served:
        served.wait_for_line("pool default ready")
        still_loading = r"worker slow/0 is still loading after \d s  \[worker=slow/0 pid=\d+ seconds=[\d.]+\]"
        wait_until(lambda: len(re.findall(still_loading, served.output())) >= 2, "signs of life")
        assert "pool slow ready" not in served.output()
        (tmp_path / "go-on").touch()
        ready = served.wait_for_line("pool slow ready")
        assert re.search(rf"pool slow ready in {SECONDS}  \[pool=slow workers=1 seconds=[\d.]+\]", ready)
        assert float(ready.split("seconds=")[1].rstrip("]")) >= 0.4
        lines = served.output()
        assert f"listening  {served.base_url}" in lines
        assert "endpoint  POST /quick -> pool default" in lines
        assert "endpoint  POST /slow -> pool slow" in lines
        told = lines.count("still loading")
        assert served.stop() == 0
        assert served.output().count("still loading") <= told + 1


def test_what_is_ready_serves_while_the_rest_loads(slow: Served, tmp_path: Path) -> None:
    """No pool waits for another; a job for one that still loads waits in its queue; readiness says who is missing."""
    with slow as served, in_background() as start:
        served.wait_for_line("pool default ready")
        unready = served.get("/readyz")
        assert unready.status == 503
        assert [reason for reason in unready.json()["reasons"] if "slow" in reason] == unready.json()["reasons"] != []
        assert served.status()["pools"]["slow"]["workers"][0]["state"] == "starting"
        assert served.post_json("/quick", {}).json() == 1
        early = start(served.post_json, "/slow", {})
        wait_until(lambda: served.status()["endpoints"]["slow"]["queued"] == 1, "the early job in the queue")
        (tmp_path / "go-on").touch()
        assert early.result().json() == 2
        assert served.get("/readyz").status == 200


# ---- what stops it

SETUP = """
    import os
    from penstock import App

    app = App(__name__)

    @app.endpoint("/healthy")
    def healthy() -> int:
        return 1

    def load_weights() -> None:
        {fails}

    @app.endpoint("/sick")
    class Sick:
        {kind} setup(self) -> None:
            load_weights()

        def predict(self) -> int:
            return 1
"""


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_setup_that_raises_is_shown_and_ends_the_server(tmp_path: Path, kind: str) -> None:
    """After three starts: the user's frames and no others, which pool it was, a non-zero exit, no process left."""
    files_of(tmp_path, {"demo.py": SETUP.format(fails='raise OSError("no weights")', kind=kind)})
    exit_code, output = serve_to_its_end(tmp_path, "demo.py")
    assert exit_code == EXIT_POOLS_FAILED
    assert "pool sick could not be started" in output
    assert "OSError: no weights" in output
    assert re.findall(r"File .*, in (\w+)", output)[-2:] == ["setup", "load_weights"]
    assert not FRAMES_OF_OURS.search(output)
    assert len(re.findall(r"worker-lost .*sick/0", output)) == 3


def test_a_setup_that_kills_its_process_ends_the_server(tmp_path: Path) -> None:
    """There is no traceback then, but how the process ended."""
    files_of(tmp_path, {"demo.py": SETUP.format(fails="os._exit(9)", kind="def")})
    exit_code, output = serve_to_its_end(tmp_path, "demo.py")
    assert exit_code == EXIT_POOLS_FAILED
    assert "pool sick could not be started" in output
    assert "exit code 9" in output


def test_an_import_that_fails_in_the_workers_only_ends_the_server(tmp_path: Path) -> None:
    """It is shown like any other failure: the user's frames, a non-zero exit, no process left."""
    source = """
        from penstock import App
        from tests.e2e.apps.marks import folder, mark

        app = App(__name__)

        @app.endpoint("/quick")
        def quick() -> int:
            return 1

        def second_import() -> None:
            raise RuntimeError("not twice")

        if (folder() / "imported").exists():
            second_import()
        mark("imported")
    """
    files_of(tmp_path, {"demo.py": source})
    with Served(tmp_path / "demo.py", environment={FOLDER_VARIABLE: str(tmp_path)}, ready_timeout=None) as served:
        assert served.wait(60) == EXIT_POOLS_FAILED
        assert served.survivors() == []
        output = served.output()
    assert "RuntimeError: not twice" in output
    assert "in second_import" in output
    assert not FRAMES_OF_OURS.search(output)


MISTAKES = {
    "a missing package": ("import no_such_package\n", ["No module named 'no_such_package'", 'demo.py", line 1']),
    "a syntax error": ("def broken(:\n    pass\n", ["SyntaxError", 'demo.py", line 1', "def broken(:"]),
    "an exit": ("import sys\nsys.exit('not today')\n", ["not today"]),
    "no app": ("x = 1\n", ["no App at its top level"]),
    "two endpoints on one path": (
        """
        from penstock import App
        app = App(__name__)

        @app.endpoint("/x")
        def first(a: int) -> int:
            return a

        @app.endpoint("/x", name="second")
        def second(a: int) -> int:
            return a
        """,
        ["second", "/x", 'demo.py", line 9'],
    ),
    "a batching handler without a list": (
        """
        from penstock import App, Batching
        app = App(__name__)

        @app.endpoint("/x", batching=Batching(max_size=4, max_wait=0.1))
        def scores(a: int) -> int:
            return a
        """,
        ["endpoint 'x'", "list["],
    ),
    "a type that JSON has not": (
        """
        from penstock import App
        app = App(__name__)

        @app.endpoint("/x")
        def scores(a: complex) -> int:
            return 1
        """,
        ["endpoint 'x', parameter `a`", "complex"],
    ),
    "two sizes of one pool": (
        """
        from penstock import App
        app = App(__name__)

        @app.endpoint("/x", pool="p", workers=2)
        def first(a: int) -> int:
            return a

        @app.endpoint("/y", pool="p", workers=3)
        def second(a: int) -> int:
            return a
        """,
        ["pool", "'p'", "workers"],
    ),
}


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_module_is_told_to_its_author(tmp_path: Path, mistake: str, command: str) -> None:
    """The mistake and its place in the user's file are reported, without other frames; exit code 2, nothing started."""
    source, expected = MISTAKES[mistake]
    write_app(tmp_path, source, "demo.py")
    options = ["--port", "0"] if command == "serve" else []
    done = subprocess.run(
        [sys.executable, "-m", "penstock_cli", command, "demo.py", *options],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == EXIT_WRONG_TARGET, output
    assert [text for text in expected if text not in output] == [], output
    assert not FRAMES_OF_OURS.search(output)


def test_check_starts_nothing(tmp_path: Path) -> None:
    """``penstock check`` sees the declaration of a model whose ``setup`` could not even run here."""
    write_app(tmp_path, SETUP.format(fails='open("called", "w").close()', kind="def"), "demo.py")
    command = [sys.executable, "-m", "penstock_cli", "check", "demo.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "POST /sick" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["demo.py"]
