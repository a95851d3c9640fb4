"""The engine inside other programs, each a real script: asyncio, uvloop, trio, threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.serving import ROOT, write_app

pytestmark = pytest.mark.e2e

APPS = Path(__file__).parent / "apps"
# The interpreter's table of interned strings grows by a megabyte once, and loops keep cancelled timers for a while. 200
# engines that stayed would be 12 MB.
MOST_BYTES = 3_000_000
FLAVOURS = ["asyncio", "uvloop", "trio", "threads"]


def run(
    program: Path, *arguments: str, marks: Path | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, from the project's root."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, FOLDER_VARIABLE: str(marks or program.parent)}
    command = [sys.executable, str(program), *arguments]
    return subprocess.run(
        command, cwd=program.parent, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def output_of(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a program wrote, which must have ended well."""
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module", params=FLAVOURS)
def facts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The facts printed by one program, which runs once."""
    marks = tmp_path_factory.mktemp(request.param)
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    name = "embedding_threads.py" if request.param == "threads" else "embedding_async.py"
    return json.loads(output_of(run(APPS / name, request.param, marks=marks)))


def test_a_call_returns_what_the_handler_returned(facts: dict[str, Any]) -> None:
    """JSON values as Python's, bytes as bytes."""
    assert (facts["square"], facts["raw"]) == (16.0, "cba")


def test_large_bodies_go_in_and_come_out(facts: dict[str, Any]) -> None:
    """As they are."""
    assert facts["large"]


def test_a_stream_is_an_iterator(facts: dict[str, Any]) -> None:
    """Over the chunks, in order, to the last, whether the endpoint is declared to stream or not."""
    assert facts["count"] == [0, 1, 2, 3, 4]
    assert facts["undeclared"] == [0, 1, 2]
    assert facts["csv"] == "0,1,"
    assert facts["events"] == [[0, "number", "0"], [1, "number", "1"]]


def test_pools_are_scaled_while_they_run(facts: dict[str, Any]) -> None:
    """To two workers, and back to one."""
    assert facts["scaled"]


def test_calls_run_side_by_side(facts: dict[str, Any]) -> None:
    """Fifty at once, each with its own answer."""
    assert facts["fifty"] == [float(n**2) for n in range(50)]


@pytest.mark.parametrize(
    ("case", "name", "status", "code", "retryable"),
    [
        ("invalid", "InvalidRequest", 422, "invalid-request", False),
        ("unknown", "NotFound", 404, "not-found", False),
        ("handler", "HandlerError", 500, "handler-error", False),
        ("execution", "ExecutionTimeout", 504, "execution-timeout", False),
        ("total", "TotalTimeout", 504, "total-timeout", False),
        ("full", "QueueFull", 503, "queue-full", True),
        ("stream", "HandlerError", 500, "handler-error", False),
        ("kind", "EngineError", 500, "engine-error", False),
        ("a call that streams", "EngineError", 500, "engine-error", False),
        ("a stream of one", "EngineError", 500, "engine-error", False),
    ],
)
def test_errors_are_raised_by_class(  # noqa: PLR0917 - pytest passes by name
    facts: dict[str, Any], case: str, name: str, status: int, code: str, retryable: bool
) -> None:
    """Each knows the status and the code that HTTP would answer with, and whether to try again."""
    error = facts["errors"][case]
    assert (error["class"], error["status"], error["code"], error["retryable"]) == (name, status, code, retryable)


def test_an_error_says_what_is_wrong(facts: dict[str, Any]) -> None:
    """The field, the near endpoints, the handler's own words, the right method."""
    texts = {case: error["text"] for case, error in facts["errors"].items()}
    assert "$.input" in texts["invalid"]
    assert "square" in texts["unknown"]
    assert "broken" in texts["handler"]
    assert "engine.stream()" in texts["kind"]
    assert "engine.stream()" in texts["a call that streams"]
    assert "engine.call()" in texts["a stream of one"]


def test_an_error_in_a_stream_comes_after_its_chunks(facts: dict[str, Any]) -> None:
    """Nothing that was produced before is lost."""
    assert facts["chunks before the error"] == [0, 1, 2]


def test_giving_up_the_wait_gives_up_the_job(facts: dict[str, Any]) -> None:
    """Running work is interrupted, queued work never starts."""
    assert facts["cancelled"] == "cancelled"
    assert facts["hold after the cancel"] == [0, 0, 0]


def test_nothing_is_left_after_the_block(facts: dict[str, Any]) -> None:
    """No process, no zombie, no thread, no descriptor."""
    assert facts["workers"] == 4
    assert (facts["workers left"], facts["children left"], facts["threads left"]) == ([], [], [])
    before, after = facts["descriptors"]
    assert after == before


def test_an_error_of_the_body_comes_out_unchanged(facts: dict[str, Any]) -> None:
    """The very same object, in no group."""
    assert facts["the body's own error"] is True


def test_an_engine_that_has_ended_refuses(facts: dict[str, Any]) -> None:
    """With an error of ours, not one of a closed loop or socket."""
    assert facts["after the end"]["class"] in ("Draining", "EngineError")


# ---- where the app is

SCRIPT = """
    import asyncio, sys
    from penstock import App, open_engine, start_engine

    app = App(__name__)

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2
"""
WITH_ASYNCIO = """
    async def main():
        async with open_engine(app) as engine:
            print("result", await engine.call("square", {"input": 3.0}))
"""
WITH_TRIO = "\n    import trio\n" + WITH_ASYNCIO
WITH_THREADS = """
    def main():
        with start_engine(app) as engine:
            print("result", engine.call("square", {"input": 3.0}))
"""
USES = {
    "asyncio": (WITH_ASYNCIO, "asyncio.run(main())"),
    "trio": (WITH_TRIO, "trio.run(main)"),
    "threads": (WITH_THREADS, "main()"),
}


@pytest.mark.parametrize("guard", [True, False])
@pytest.mark.parametrize("use", USES)
def test_a_script_may_hold_app_and_engine(tmp_path: Path, use: str, guard: bool) -> None:
    """One file is enough; the guard that multiprocessing would ask for is not needed: the program runs once."""
    body, start = USES[use]
    source = textwrap.dedent(SCRIPT) + textwrap.dedent(body) + 'print("started")\n'
    source += f"if __name__ == '__main__':\n    {start}\n" if guard else f"{start}\n"
    done = run(write_app(tmp_path, source, "script.py"))
    assert output_of(done) == "result 9.0"
    assert done.stdout.splitlines() == ["started", "result 9.0"]


MODULE = """
    engine = start_engine(app)
    print("result", engine.call("square", {"input": 3.0}), flush=True)
"""


def test_an_engine_may_belong_to_a_module(tmp_path: Path) -> None:
    """``start_engine`` returns it: a Flask or Django module keeps it, and the program need not end it."""
    source = textwrap.dedent(SCRIPT) + textwrap.dedent(MODULE)
    closing = "engine.close()\nengine.close()\nprint('closed')\n"
    assert run(write_app(tmp_path, source, "script.py")).stdout == "result 9.0\n"
    assert run(write_app(tmp_path, source + closing, "script.py")).stdout == "result 9.0\nclosed\n"


def test_an_engine_is_of_no_use_after_a_fork(tmp_path: Path) -> None:
    """Its thread is not in the child. A call there raises an error that has the fix; it does not hang."""
    program = """
    import os
    from penstock import EngineError

    if os.fork() == 0:
        try:
            engine.call("square", {"input": 3.0})
        except EngineError as error:
            print(error)
    else:
        os.wait()
    """
    source = textwrap.dedent(SCRIPT) + textwrap.dedent(MODULE) + textwrap.dedent(program)
    done = run(write_app(tmp_path, source, "script.py"))
    assert "from which this one was forked; start one in each process" in done.stdout


@pytest.mark.parametrize("use", USES)
def test_an_app_inside_a_function_is_refused_with_the_mend(tmp_path: Path, use: str) -> None:
    """Its workers could not find it; the error says where it must be."""
    body, start = USES[use]
    source = textwrap.dedent(SCRIPT).replace(
        "app = App(__name__)", "def make():\n    app = App(__name__)\n    return app\n"
    )
    source = (
        source.split("@app.endpoint")[0] + "app_maker = make\n" + textwrap.dedent(body).replace("(app)", "(make())")
    )
    write_app(tmp_path, source, "library.py")
    program = f"import library, asyncio, trio\nfrom library import main\n{start}\n"
    done = run(write_app(tmp_path, program, "script.py"))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("penstock.errors.EngineError: the app is not at the top level of 'library'")
    assert "move `app = App(__name__)`" in last


BROKEN = """
    @app.endpoint("/sick")
    class Sick:
        def setup(self):
            raise OSError("no weights")

        def predict(self, a: int) -> int:
            return a
"""


@pytest.mark.parametrize("use", USES)
def test_pools_that_fail_raise_with_the_traceback(tmp_path: Path, use: str) -> None:
    """``EngineError`` at the entry of the block, with the frames of the model's ``setup``; no process is left."""
    body, start = USES[use]
    report = """
try:
    {start}
except EngineError as error:
    print(error)
    print(children())
"""
    source = textwrap.dedent(SCRIPT) + textwrap.dedent(BROKEN) + textwrap.dedent(body)
    source += "from penstock import EngineError\nfrom tests.e2e.apps.embedding_facts import children\n"
    done = run(write_app(tmp_path, source + report.format(start=start), "script.py"))
    assert output_of(done) == "[]"
    assert "the engine could not be started" in done.stdout
    assert "in setup\n" in done.stdout
    assert "OSError: no weights" in done.stdout


SHUTTING_DOWN = """
    from penstock import App, PenstockError, open_engine, start_engine
    from penstock.hooks import DrainEnded, hookimpl

    class Audit:
        @hookimpl
        def penstock_observer(self):
            return {DrainEnded: lambda end: print(end.who, end.why, end.finished, end.abandoned)}

    app = App(__name__, plugins=[Audit])

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2
"""
SHUT_DOWN = """
    import asyncio

    {define} main():
        {enter} as engine:
            {wait}engine.call("square", {{"input": 3.0}})
            {wait}engine.shutdown(5.0, who="ops", why="is over")
            try:
                {wait}engine.call("square", {{"input": 3.0}})
            except PenstockError as error:
                print(error.code)
"""


@pytest.mark.parametrize("use", USES)
def test_a_program_may_shut_its_engine_down(tmp_path: Path, use: str) -> None:
    """``shutdown`` returns when nothing is left. Plug-ins learn who asked and why, and no more calls are served."""
    words = {"define": "async def", "enter": "async with open_engine(app)", "wait": "await "}
    if use == "threads":
        words = {"define": "def", "enter": "with start_engine(app)", "wait": ""}
    body = textwrap.dedent(SHUT_DOWN).format(**words)
    start = USES[use][1]
    imports = "import trio\n" if use == "trio" else ""
    source = textwrap.dedent(SHUTTING_DOWN) + imports + body + f"{start}\n"
    done = run(write_app(tmp_path, source, "script.py"))
    assert output_of(done) == "draining"
    assert done.stdout.splitlines() == ["ops is over 0 0", "draining"]


# ---- again and again


@pytest.mark.parametrize("flavour", ["asyncio", "trio", "threads"])
@pytest.mark.parametrize(
    "cycles", [1, pytest.param(200, marks=[pytest.mark.thorough, pytest.mark.timeout(900)])], ids=str
)
def test_engines_that_come_and_go_leave_nothing(flavour: str, cycles: int, tmp_path: Path) -> None:
    """No descriptor, no thread, no process; of 200 engines no more memory than caches and counters take."""
    done = run(APPS / "embedding_cycles.py", flavour, str(cycles), marks=tmp_path, timeout=800)
    more = json.loads(output_of(done))
    assert (more["descriptors"], more["threads"], more["children"]) == (0, 0, 0)
    assert more["bytes"] < MOST_BYTES
