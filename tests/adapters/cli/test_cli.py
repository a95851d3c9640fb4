"""The command line: the errors it reports, the output of `check`, and the start and end of `serve`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from penstock import App
from penstock.hooks.registry import Registry
from penstock.hooks.settings import CONFIG_VARIABLE, ENGINE_VARIABLE, SERVER_VARIABLES
from penstock_cli import main as command_line
from penstock_cli.sizes import ByteSize
from penstock_falcon import Settings
from penstock_gunicorn import open_listener
from tests.serving import HOST, Served, wait_until, write_app

APP = """
    from penstock import App, Batching, Jobs, Recycle, Retries, Timeouts

    print("imported")
    app = App(__name__)

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/score", workers=2, devices=["cpu"], preload=True, batching=Batching(max_size=4, max_wait=0.5),
                  timeouts=Timeouts(queue=2, execution=None), retries=Retries(max_attempts=3, on=ConnectionError))
    class Score:
        def setup(self, device: str) -> None: ...

        def predict(self, batch: list[int]) -> list[int]:
            return batch

    LIMITS = Jobs(concurrency=1, global_concurrency=3)


    @app.endpoint("/upload", name="keep", concurrency=4, idempotent=False, max_queue=7, jobs=LIMITS)
    def upload(body: bytes) -> bytes:
        return body

    app.pool("score", spares=1, recycle=Recycle(attempts=100, memory="1MiB", after_interrupt=True))
"""
PROMPT = 5.0  # seconds that "at once" may take on a busy machine


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``penstock`` in a folder and in a process of its own, since it imports the modules it finds there."""
    command = [sys.executable, "-m", "penstock_cli", *arguments]
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def invoke(*arguments: str) -> Result:
    """Run ``penstock`` in this process, for commands that end before an app is imported."""
    return CliRunner().invoke(command_line.cli, arguments)


# ---- the command line itself


def test_the_defaults_of_serve_are_those_of_the_adapter() -> None:
    """They are written out in the options, so that ``--help`` imports no engine; here they are compared."""
    options = {option.name: option for option in command_line.serve.params}
    assert options["drain_timeout"].default == Settings.drain_timeout
    assert options["compress"].default == Settings.compress
    for name in ("max_body", "spill_above"):
        size = options[name]
        assert size.type.convert(size.default, size, None) == getattr(Settings, name)


def test_version_and_help_are_there() -> None:
    """``--version`` names the program; ``--help`` lists the commands, and the options of each."""
    assert invoke("--version").output.startswith("penstock, version ")
    assert all(word in invoke("--help").output for word in ("serve", "check", "TARGET"))
    options = ("--host", "--port", "--debug", "--log-format", "--drain-timeout", "--max-body", "--http-workers")
    assert all(option in invoke("serve", "--help").output for option in options)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--port", "http"], "not a valid integer"),
        (["--port", "65536"], "0<=x<=65535"),
        (["--http-workers", "0"], "x>=1"),
        (["--log-format", "xml"], "'text', 'json'"),
        (["--drain-timeout", "-1"], "x>=0"),
        (["--drain-timeout", "nan"], "give seconds as a number"),
        (["--max-body", "lots"], "64KiB"),
        (["--start-method", "spawn"], "'auto', 'fork', 'fresh'"),
        (["--prot", "8000"], "--port"),
        (["--workers", "4"], "There is no --workers: for HTTP processes use --http-workers"),
        (["--uds", "/tmp/x"], "use --bind unix:PATH"),
        (["--ssl-certfile", "cert.pem"], "use --certfile"),
        (["--keyfile", "key.pem"], "--keyfile needs --certfile"),
        (["--bind", "8000"], "write HOST:PORT"),
        (["--bind", "localhost:80", "--port", "80"], "use one way or the other"),
        (["--socket-mode", "rw-rw----"], "three octal digits"),
        (["--root-path", "models"], "not a path such as /models"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_a_wrong_option_is_refused_with_the_reason(arguments: list[str], reason: str) -> None:
    """A wrong option ends with exit code 2 and the reason, before anything is started."""
    result = invoke("serve", "demo:app", *arguments)
    assert result.exit_code == 2
    assert reason in result.output


@pytest.mark.parametrize(
    ("variable", "text", "reason"),
    [
        ("PENSTOCK_PORT", "http", "not a valid integer"),
        ("PENSTOCK_LOG_FORMAT", "xml", "'text', 'json'"),
        ("PENSTOCK_LOG_LEVEL", "loud", "'debug', 'info'"),
        ("PENSTOCK_DEBUG", "perhaps", "not a valid boolean"),
        ("PENSTOCK_COMPRESS", "perhaps", "not a valid boolean"),
        ("PENSTOCK_MAX_BODY", "lots", "64KiB"),
        ("PENSTOCK_BIND", "fd://3,nonsense", "'nonsense': it is not an address"),
        ("PENSTOCK_DRAIN_TIMEOUT", "nan", "give seconds as a number"),
    ],
)
def test_a_wrong_variable_is_refused_with_its_name(
    variable: str, text: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some options can be set in the environment."""
    monkeypatch.setenv(variable, text)
    result = invoke("serve", "demo:app")
    assert result.exit_code == 2
    assert variable in result.output
    assert reason in result.output


def test_the_environment_sets_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not taken for settings of plug-ins, and what Kubernetes sets is not taken for a port."""
    seen: list[Any] = []
    monkeypatch.setattr("penstock_cli.serving.serve_app", seen.append)
    for port in ("4711", "tcp://10.0.0.1:80"):
        variables = {"PENSTOCK_PORT": port, "PENSTOCK_HOST": "::1", "PENSTOCK_LOG_FORMAT": "json"}
        assert CliRunner(env=variables).invoke(command_line.cli, ["serve", "demo:app"]).exit_code == 0
    assert [(options.port, options.host, options.log_format) for options in seen] == [
        (4711, "::1", "json"),
        (8000, "::1", "json"),
    ]
    options = [option for option in command_line.serve.params if isinstance(option, click.Option)]
    variables = {option.envvar for option in options if option.name not in {"help", "config"}}
    assert variables == SERVER_VARIABLES - {CONFIG_VARIABLE, ENGINE_VARIABLE}
    environ = dict.fromkeys(variables, "x")
    assert Registry.load(App(__name__), environ).complaints == []


@pytest.mark.parametrize(
    ("arguments", "variables", "bind", "port"),
    [
        (["--bind", "localhost:1"], {"PENSTOCK_PORT": "2"}, ["localhost port 1"], 2),
        (["--port", "1"], {"PENSTOCK_BIND": "localhost:2"}, [], 1),
        ([], {"PENSTOCK_BIND": "unix:/x, fd://3 [::1]:80"}, ["unix:/x", "fd://3", "::1 port 80"], 8000),
    ],
)
def test_the_command_line_overrides_the_environment_in_how_addresses_are_named(
    arguments: list[str], variables: dict[str, str], bind: list[str], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image may set one way, and its user choose the other. A variable with several values has commas."""
    seen: list[Any] = []
    monkeypatch.setattr("penstock_cli.serving.serve_app", seen.append)
    result = CliRunner(env=variables).invoke(command_line.cli, ["serve", "demo:app", *arguments])
    assert result.exit_code == 0, result.output
    assert ([str(address) for address in seen[0].bind], seen[0].port) == (bind, port)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1048576", 2**20), ("1", 1), ("12b", 12), ("64KiB", 2**16), ("16 MiB", 2**24), ("2gib", 2**31)],
)
def test_sizes_are_bytes_or_binary_multiples(text: str, size: int) -> None:
    """A size is a number of bytes, KiB, MiB or GiB, in upper or lower case."""
    assert ByteSize().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5MiB", "16MB", "MiB", "1e6", "0KiB", "٣"])
def test_other_sizes_are_refused(text: str) -> None:
    """An empty string, zero, fractions and ambiguous units are not sizes."""
    with pytest.raises(click.BadParameter, match="is not a size"):
        ByteSize().convert(text, None, None)


def test_windows_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On Windows, the program ends with one line and exit code 2 before it parses anything."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit, match="2"):
        command_line.main()
    assert capsys.readouterr().err.count("\n") == 1


# ---- check


def test_check_shows_endpoints_schemas_and_policies(tmp_path: Path) -> None:
    """The text shows each endpoint with its path, kind, pool, schemas and policies, a line for each."""
    write_app(tmp_path, APP, "demo.py")
    result = run("check", "demo:app", folder=tmp_path)
    assert result.returncode == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    for expected in (
        "POST /square",
        "kind function, one result, run one at a time",
        'output {"type":"number"}',
        "pool score: 2 workers and 1 spare on cpu, trio, preloaded, concurrency 1",
        "recycled after 100 attempts, above 1048576 bytes of memory, after an interrupt",
        "timeouts queue 2 s, execution unbounded, total unbounded, first_chunk unbounded, idle 60 s, grace 2 s",
        "batching up to 4 jobs, waiting at most 0.5 s",
        "retries at most 3 attempts, after a lost worker, ConnectionError, Retryable",
        "name keep",
        "input the raw body",
        "retries at most 2 attempts, after Retryable",
        "queue at most 7 jobs",
        "jobs at most 100000 queued, 1 at a time, 3 at a time in all engines; those of a dead engine fail",
        "demo is fine: 3 endpoints, 2 pools",
    ):
        assert expected in lines


def test_check_passes_arguments_to_the_app(tmp_path: Path) -> None:
    """The app sees its file and the arguments after ``--``, as it does when it is served."""
    (tmp_path / "package").mkdir()
    file = write_app(tmp_path / "package", APP + '\n    import sys\n    print("seen:", sys.argv)\n', "demo.py")
    result = run("check", "package.demo:app", "--json", "--", "--json", "x", folder=tmp_path)
    assert json.loads(result.stdout)["app"] == "package.demo"
    assert f"seen: {[str(file), '--json', 'x']}" in result.stderr


def test_check_json_is_one_document(tmp_path: Path) -> None:
    """``--json`` prints one document to stdout, whatever the app's module prints while it is imported."""
    write_app(tmp_path, APP, "demo.py")
    result = run("check", "demo.py", "--json", folder=tmp_path)
    described = json.loads(result.stdout)
    assert described["app"] == "demo"
    assert [endpoint["path"] for endpoint in described["endpoints"]] == ["/square", "/score", "/upload"]
    square, score, _ = described["endpoints"]
    assert (score["timeouts"]["execution"], square["timeouts"]["total"], square["batching"]) == (None, None, None)
    assert described["pools"][0]["devices"] is None
    assert [pool["preload"] for pool in described["pools"]] == [False, True]
    assert [(pool["spares"], pool["recycle"]) for pool in described["pools"]] == [
        (0, None),
        (1, {"attempts": 100, "age": None, "memory": 1 << 20, "after_interrupt": True, "check": None}),
    ]
    assert score["retries"] == {
        "max_attempts": 3,
        "on": ["ConnectionError"],
        "backoff": {"base": 0.1, "factor": 2.0, "cap": 10.0},
        "budget": {"ratio": 0.2, "floor": 10},
    }
    assert score["batching"] == {"max_size": 4, "max_wait": 0.5}
    assert score["input"] == {"type": "integer"}
    assert {pool["name"]: pool["workers"] for pool in described["pools"]} == {"default": 1, "score": 2}
    assert "imported" in result.stderr


ROUTED = """
    from penstock import App

    app = App(__name__)

    @app.endpoint("/users/{user_id}", method="GET", name="show")
    def show(user_id: int, tags: list[str]) -> int:
        return user_id
"""


def test_check_shows_where_parameters_come_from(tmp_path: Path) -> None:
    """The method, and the source of each parameter, if not all of them are in the body."""
    write_app(tmp_path, ROUTED, "demo.py")
    lines = [" ".join(line.split()) for line in run("check", "demo.py", folder=tmp_path).stdout.splitlines()]
    assert "GET /users/{user_id}" in lines
    assert "takes user_id from the path, tags from the query" in lines
    (described,) = json.loads(run("check", "demo.py", "--json", folder=tmp_path).stdout)["endpoints"]
    assert (described["method"], described["reads"]) == ("GET", "query")
    assert [(taken["name"], taken["source"]) for taken in described["parameters"]] == [
        ("user_id", "path"),
        ("tags", "query"),
    ]


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize(
    ("target", "suggestion"),
    [("demoo:app", "demo"), ("dem.py", "demo.py"), ("demo:ap", "app"), ("./nowhere/demo.py", "no file")],
)
def test_a_typo_in_the_target_is_reported_with_the_near_match(
    tmp_path: Path, command: str, target: str, suggestion: str
) -> None:
    """A misspelled target ends with exit code 2 and a suggestion, without a traceback."""
    write_app(tmp_path, APP, "demo.py")
    result = run(command, target, *(["--port", "0"] if command == "serve" else []), folder=tmp_path)
    assert result.returncode == 2
    assert suggestion in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["check", "serve"])
def test_an_import_error_shows_the_users_frames(tmp_path: Path, command: str) -> None:
    """If the app's module raises, the traceback has its frames and none of Penstock's."""
    write_app(tmp_path, "def helper():\n    return 1 / 0\n\nhelper()\n", "demo.py")
    result = run(command, "demo:app", *(["--port", "0"] if command == "serve" else []), folder=tmp_path)
    assert result.returncode == 2
    assert "ZeroDivisionError: division by zero" in result.stderr
    assert "in helper" in result.stderr
    assert "penstock" not in result.stderr.replace("penstock_cli serve", "")


def test_a_wrong_declaration_shows_its_line(tmp_path: Path) -> None:
    """A declaration error names the endpoint, the fix, and the line of the user's code that caused it."""
    write_app(
        tmp_path,
        """
        from penstock import App, Timeouts

        app = App(__name__)

        @app.endpoint("/x", timeouts=Timeouts(queue=-1))
        def x(a: int) -> int:
            return a
        """,
        "demo.py",
    )
    result = run("check", "demo:app", folder=tmp_path)
    assert result.returncode == 2
    assert "Timeouts(queue=-1): seconds cannot be negative" in result.stderr
    assert 'demo.py", line 6' in result.stderr


SCHEDULED = """
from penstock import App
from penstock.hooks import hookimpl


class Runs:
    runs_schedules = True

    @hookimpl
    def penstock_routes(self):
        return None


app = App(__name__, plugins=PLUGINS)


@app.endpoint("/report")
def report() -> int:
    return 1


app.schedule("*/5 3 * * *", report, timezone="Europe/Berlin")
"""


def test_check_shows_schedules(tmp_path: Path) -> None:
    """With their times, their time zone and the endpoint that they call."""
    write_app(tmp_path, SCHEDULED.replace("PLUGINS", "[Runs]"), "demo.py")
    result = run("check", "demo:app", folder=tmp_path)
    assert result.returncode == 0
    assert "schedule report: */5 3 * * * in Europe/Berlin, calls report" in result.stdout
    assert json.loads(run("check", "demo:app", "--json", folder=tmp_path).stdout)["schedules"] == [
        {"name": "report", "cron": "*/5 3 * * *", "timezone": "Europe/Berlin", "endpoint": "report"}
    ]


def test_check_reports_schedules_that_nothing_runs(tmp_path: Path) -> None:
    """The exit code is 2: the server would not start either."""
    write_app(tmp_path, SCHEDULED.replace("PLUGINS", "[]"), "demo.py")
    result = run("check", "demo:app", folder=tmp_path)
    assert result.returncode == 2
    assert "schedule 'report', and no plug-in runs it" in result.stderr


# ---- serve


@pytest.mark.e2e
def test_serve_introduces_the_app_and_ends_with_0(tmp_path: Path) -> None:
    """It logs its address, each endpoint, a call that works, and each pool once ready; SIGTERM ends it with 0."""
    write_app(tmp_path, APP, "demo.py")
    with Served("demo:app", "--port", "0", "--log-format", "json", folder=tmp_path, ready_timeout=None) as served:
        wait_until(lambda: len(served.events("pool-ready")) == 2, "the pools", timeout=30)
        (listening,) = served.events("listening")
        served.port = int(listening["url"].rpartition(":")[2])
        assert listening["url"].startswith(f"http://{HOST}:")
        assert served.post_json("/square", {"input": 4.0}).json() == 16.0
        (page,) = served.events("page")
        assert page["url"] == f"{served.base_url.rpartition(':')[0]}:{served.port}/docs"
        assert served.get("/docs").status == 200
        endpoints = served.events("endpoint")
        assert [(event["path"], event["pool"]) for event in endpoints] == [
            ("/square", "default"),
            ("/score", "score"),
            ("/upload", "default"),
        ]
        (example,) = served.events("try")
        called = subprocess.run(example["message"], shell=True, capture_output=True, text=True, timeout=30, check=False)
        assert called.stdout == "9.0"
        assert served.stop() == 0
        assert served.survivors() == []


PAGE = """
    from penstock import App
    from penstock.hooks import Route, RouteResponse, hookimpl

    class Page:
        @hookimpl
        def penstock_routes(self):
            return [Route(path="/docs", name="page", handler=lambda request, engine: RouteResponse(body=b"a page"))]

    app = App(__name__, plugins=[Page()])

    @app.endpoint("/one")
    def one() -> int:
        return 1
"""


@pytest.mark.e2e
def test_serve_prints_the_address_of_the_page(tmp_path: Path) -> None:
    """If there is a page at /docs: as a browser on this machine opens it."""
    write_app(tmp_path, PAGE, "demo.py")
    with Served("demo:app", "--host", "0.0.0.0", "--log-format", "json", folder=tmp_path) as served:
        assert [event["message"] for event in served.events("page")] == [f"{served.base_url}/docs"]


@pytest.mark.e2e
def test_serve_logs_text_by_default(tmp_path: Path) -> None:
    """The default log is text, and has the address and the endpoints."""
    write_app(tmp_path, APP, "demo.py")
    with Served("demo.py:app", folder=tmp_path) as served:
        assert f"INFO    listening  http://{HOST}:{served.port}" in served.output()
        assert "INFO    endpoint  POST /square -> pool default" in served.output()
        started = time.monotonic()
        assert served.stop(signal.SIGINT) == 0
        assert time.monotonic() - started < PROMPT
        assert "gunicorn" not in served.output()


@pytest.mark.e2e
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_taken_port_is_one_line_at_once(tmp_path: Path, log_format: str) -> None:
    """If the port is in use, one line says so, and the exit code is 2."""
    write_app(tmp_path, APP, "demo.py")
    with open_listener(HOST, 0) as taken:
        port = str(taken.getsockname()[1])
        result = run("serve", "demo:app", "--port", port, "--log-format", log_format, folder=tmp_path)
    assert result.returncode == 2
    assert result.stdout + result.stderr == result.stderr
    assert result.stderr.count("\n") == 1
    assert f"cannot listen on {HOST} port {port}: Address already in use" in result.stderr


@pytest.mark.e2e
def test_a_setup_that_raises_ends_serve_with_3(tmp_path: Path) -> None:
    """A ``setup`` that raises ends the server with its traceback, a non-zero exit code and no process left."""
    write_app(
        tmp_path,
        """
        from penstock import App

        app = App(__name__)

        @app.endpoint("/x")
        class X:
            def setup(self) -> None:
                raise RuntimeError("no weights")

            def predict(self, a: int) -> int:
                return a
        """,
        "demo.py",
    )
    with Served("demo:app", folder=tmp_path, ready_timeout=None) as served:
        assert served.wait(60) == 3
        assert "RuntimeError: no weights" in served.output()
        assert served.survivors() == []
