"""``penstock load``: what it refuses before anything is sent, what it prints, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from penstock_cli import main as command_line
from penstock_cli.load_output import duration, table_of
from penstock_load import Fate, LoadTally, Shot, figures_of
from tests.serving import HOST, ROOT, Served, free_port, wait_until, write_app

APP = """
    import time
    from penstock import App, Unavailable

    app = App(__name__)

    @app.endpoint("/echo")
    def echo(text: str = "") -> str:
        return text

    @app.endpoint("/busy")
    def busy() -> None:
        raise Unavailable("not now", code="busy")

    @app.endpoint("/count")
    def count(n: int, fails: bool = False):
        for i in range(n):
            yield i
            time.sleep(0.02)
        if fails:
            raise RuntimeError("in the middle")
"""


def invoke(*arguments: str) -> Result:
    """Run the command in this process, for input that is refused."""
    return CliRunner().invoke(command_line.cli, ["load", *arguments])


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "penstock_cli", "load", *arguments]


def load(*arguments: str) -> tuple[int, str, str]:
    """Return the exit code, stdout and stderr of a run."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@contextmanager
def listening(*, accepts: bool = True) -> Iterator[tuple[str, list[bytes]]]:
    """Listen on the loopback address; return the URL, and the list of what arrives there."""
    arrived: list[bytes] = []
    with socket.create_server((HOST, 0), backlog=256) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        arrived.append(connection.recv(1024))

        if accepts:
            threading.Thread(target=accept, daemon=True).start()
        yield f"http://{HOST}:{listener.getsockname()[1]}/", arrived
        listener.shutdown(socket.SHUT_RDWR)


# ---- refused before anything is sent


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--rate NUMBER or as --ramp A:B"),
        (["--rate", "1", "--ramp", "1:2"], "--rate NUMBER or as --ramp A:B"),
        (["--rate", "0"], "positive number"),
        (["--rate", "-5"], "positive number"),
        (["--rate", "nan"], "positive number"),
        (["--rate", "inf"], "positive number"),
        (["--ramp", "5"], "such as 10:500"),
        (["--ramp", "0:0"], "such as 10:500"),
        (["--ramp", "-1:5"], "such as 10:500"),
        (["--rate", "1", "--patience", "-1"], "--patience"),
        (["--rate", "1", "--patience", "inf"], "--patience"),
        (["--rate", "1", "--duration", "0"], "--duration"),
        (["--rate", "1", "--connections", "0"], "--connections"),
        (["--rate", "1", "--mix", "missing.jsonl"], "cannot read missing.jsonl"),
        (["--rate", "1", "--mix", "/dev/null"], "/dev/null is empty"),
        (["--rate", "1", "--mix", "a", "--data", "b"], "--data cannot be used with --mix"),
        (["--rate", "1", "--data-file", "missing"], "cannot read missing"),
        (["--rate", "1", "--data", "1", "--data-file", "a"], "the body once"),
        (["--rate", "1", "-H", "nonsense"], "no colon"),
        (["--rate", "1", "-X", "GE T"], "not an HTTP method"),
        (["--rate", "1", "--compare", "missing.json"], "cannot read missing.json"),
        (["--rate", "1", "--compare", "/dev/null"], "cannot read /dev/null"),
        (["--rate", "1", "--json", "/nowhere/file.json"], "cannot write /nowhere/file.json"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(arguments: list[str], words: str) -> None:
    """The exit code is 2, the message names the option, and no request arrives."""
    with listening() as (url, arrived):
        result = invoke(url, *arguments)
    assert (result.exit_code, arrived) == (2, [])
    assert words in " ".join(result.output.split())


@pytest.mark.parametrize("url", ["127.0.0.1:8000/x", "localhost", "ftp://localhost/"])
def test_a_url_without_a_scheme_is_refused(url: str) -> None:
    """The message has the schemes that there are."""
    result = invoke(url, "--rate", "1")
    assert (result.exit_code, "does not begin with http:// or https://" in result.output) == (2, True)


def test_another_host_is_refused_unless_it_is_ones_own() -> None:
    """A load takes servers down; the message has the option."""
    result = invoke("http://192.0.2.1/", "--rate", "1")
    assert result.exit_code == 2
    assert "--yes-this-host-is-mine" in result.output


def test_a_missing_certificate_file_is_refused() -> None:
    """Only for https, which needs it."""
    result = invoke("https://127.0.0.1/", "--rate", "1", "--cacert", "missing.pem")
    assert (result.exit_code, "missing.pem" in result.output) == (2, True)


@pytest.mark.parametrize("text", ["{}", "[]", "1", '{"penstock_load": 0}', '{"penstock_load": 1, "histograms": 2}'])
def test_a_file_that_is_not_an_earlier_run_is_refused(text: str, tmp_path: Path) -> None:
    """Any other JSON has no figures to compare with."""
    other = tmp_path / "other.json"
    other.write_text(text, encoding="utf-8")
    result = invoke("http://127.0.0.1/", "--rate", "1", "--compare", str(other))
    assert (result.exit_code, "not written by penstock load" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000123, "12.3 us"),
        (0.00123, "1.23 ms"),
        (0.0999, "99.9 ms"),
        (0.25, "250 ms"),
        (1.5, "1.50 s"),
        (0.9996, "1.00 s"),
    ],
)
def test_durations_have_three_digits_and_a_unit(seconds: float, text: str) -> None:
    """As a person reads them."""
    assert duration(seconds) == text


def table(before: dict[str, Any] | None = None, **options: Any) -> tuple[str, dict[str, Any]]:
    """Return the table of a run of one request, and its document."""
    tally = LoadTally(0.0, 10.0)
    tally.record(Shot(1.0, 1.0, 1.25, Fate.ANSWERED, 200))
    figures = figures_of(tally, {"rate": 1.0} | options)
    return str(table_of(figures, tally.latency, before)), figures


def test_figures_that_do_not_apply_are_left_out() -> None:
    """No streams, no errors, nothing sent again: no lines about them."""
    shown, _ = table()
    assert "latency p50 250 ms" in " ".join(shown.split())
    assert not [words for words in ("stream", "chunk", "gap", "errors", "again", "ratio", "nan") if words in shown]


def test_a_comparison_with_another_load_says_so() -> None:
    """A ratio of two different loads misleads, and so does one with an invalid run."""
    _, earlier = table()
    assert "The earlier run" not in table(earlier)[0]
    shown, _ = table(earlier | {"valid": False}, rate=2.0)
    assert "The earlier run had another rate: 1.0, and not 2.0." in shown
    assert "The earlier run was invalid." in shown


def test_outcomes_of_either_run_are_compared() -> None:
    """An outcome that has gone, or is new, has a line too."""
    _, earlier = table()
    shown, _ = table(earlier | {"outcomes": {"given up": 3}})
    lines = {line[:24].strip(): line[24:].split() for line in shown.splitlines()}
    assert (lines["200"], lines["given up"]) == (["1", "0"], ["0", "3", "0", "x"])
    assert "up to  500 ms ######################################## 1, before 1" in shown


# ---- the page

PAGE = (ROOT / "docs" / "how-to" / "load.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^penstock load (.*)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def moods() -> Iterator[Served]:
    with Served("examples/moods.py") as server:
        yield server


@pytest.fixture(scope="module")
def reader_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a reader, who has saved the mix."""
    folder = tmp_path_factory.mktemp("reader")
    [mix] = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (folder / "mix.jsonl").write_text(mix, encoding="utf-8")
    return folder


@pytest.mark.e2e
@pytest.mark.parametrize("example", EXAMPLES)
def test_the_commands_of_the_page_run(example: str, moods: Served, reader_folder: Path) -> None:
    """Each in its turn, only shorter, and with good answers only."""
    here = re.sub(r"--duration \d+", "--duration 0.3", example.replace("http://127.0.0.1:8000", moods.base_url))
    done = subprocess.run(
        command(*shlex.split(here)), cwd=reader_folder, capture_output=True, text=True, timeout=60, check=False
    )
    found = [re.split(r"  +", line) for line in done.stdout.splitlines()]
    outcomes = [parts[0] for parts in found if re.fullmatch(r"\d{3}( .*)?", parts[0])]
    assert (outcomes, done.stderr) == (["200"], "")


# ---- against a real server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(write_app(tmp_path_factory.mktemp("load"), APP)) as server:
        yield server


@pytest.mark.e2e
def test_a_run_has_its_table_its_document_and_its_comparison(served: Served, tmp_path: Path) -> None:
    """Every request is answered; the second run is shown beside the first."""
    file = tmp_path / "before.json"
    url = f"{served.base_url}/echo"
    common = [url, "--rate", "100", "--duration", "0.5", "--data", '{"text": "a"}']
    _, out, err = load(*common, "--json", str(file))
    found = json.loads(file.read_text())
    assert found["outcomes"] == {"200": 50}, err
    assert (found["offered"]["count"], found["settings"]["rate"], found["good"]["count"]) == (50, 100.0, 50)
    for words in ("offered", "schedule lag p99", "goodput", "latency p99.9", "latency of the good answers"):
        assert words in out
    _, out, _ = load(*common, "--compare", str(file))
    [line] = [line for line in out.splitlines() if line.startswith("good answers")]
    assert line.split() == ["good", "answers", "50", "50", "1", "x"]


@pytest.mark.e2e
def test_a_mix_and_its_error_codes_are_counted(served: Served, tmp_path: Path) -> None:
    """By status and the code of the problem document; JSON to stdout leaves the table to stderr."""
    mix = tmp_path / "mix.jsonl"
    mix.write_text(
        '{"path": "/echo", "body": {"text": "a"}, "weight": 2}\n'
        '{"path": "/nowhere"}\n'
        '{"path": "/echo", "body": {"text": 1}}\n'
    )
    _, out, err = load(served.base_url, "--mix", str(mix), "--ramp", "0:100", "--duration", "0.6", "--json", "-")
    outcomes = json.loads(out)["outcomes"]
    assert outcomes.keys() == {"200", "404 not-found", "422 invalid-request"}
    assert sum(outcomes.values()) == 30
    assert "404 not-found" in err


@pytest.mark.e2e
def test_a_stream_has_its_chunks_and_its_failures(served: Served) -> None:
    """The gaps are those of the handler; a stream that ends with an error is cut, and is not good."""
    document = streamed(served, {"n": 4})
    assert (document["streams"], document["good"]["count"]) == ({"count": 10, "cut": 0}, 10)
    assert document["gaps"]["p50"] == pytest.approx(0.02, abs=0.015)
    assert document["first_chunk"]["max"] <= document["latency"]["max"]
    document = streamed(served, {"n": 1, "fails": True})
    assert (document["streams"], document["good"]["count"]) == ({"count": 10, "cut": 10}, 0)
    assert document["outcomes"] == {"cut handler-error": 10}


def streamed(served: Served, body: dict[str, Any]) -> dict[str, Any]:
    common = ["--stream", "--rate", "20", "--duration", "0.5", "--data", json.dumps(body), "--json", "-"]
    _, out, _ = load(f"{served.base_url}/count", *common)
    found: dict[str, Any] = json.loads(out)
    return found


# ---- the end of a run


@pytest.mark.e2e
def test_a_run_without_an_answer_is_invalid() -> None:
    """The exit code is 1, and the table names the reason."""
    code, out, _ = load(f"http://{HOST}:{free_port()}/", "--rate", "50", "--duration", "0.2")
    assert code == 1
    assert "connection refused" in out
    assert "This run is invalid: no request was answered" in out


@pytest.mark.e2e
def test_a_run_that_was_late_is_invalid() -> None:
    """A rate that no generator can keep: the exit code is 1, and the message has the fix."""
    code, out, _ = load(f"http://{HOST}:{free_port()}/", "--rate", "50000", "--duration", "0.2")
    assert code == 1
    assert "This run is invalid: the generator was late" in out
    assert "lower the rate" in out


@pytest.mark.e2e
def test_out_of_descriptors_says_what_to_raise() -> None:
    """Requests that find no descriptor are not sent, and are not blamed on the server."""
    with listening(accepts=False) as (url, _):
        words = shlex.join(command(url, "--rate", "100", "--duration", "0.6", "--patience", "1"))
        done = subprocess.run(
            ["bash", "-c", f"ulimit -n 40; exec {words}"], capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (1, "")
    assert "not sent: no file descriptor" in done.stdout
    assert "ulimit -n 65536" in done.stdout


@pytest.mark.e2e
def test_ctrl_c_ends_the_run_with_what_there_is(served: Served, tmp_path: Path) -> None:
    """The figures so far are printed and written; the exit code is 130."""
    file = tmp_path / "figures.json"
    arguments = command(f"{served.base_url}/echo", "--rate", "50", "--duration", "60", "-d", "{}", "--json", str(file))
    before = jobs_of(served)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: jobs_of(served) > 5 + before, "jobs of the load")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, "Traceback" in err) == (130, False)
    assert "The run was interrupted" in out
    assert json.loads(file.read_text())["interrupted"] is True


def jobs_of(served: Served) -> int:
    """Return the number of jobs of the endpoint that have ended."""
    return sum(served.status()["endpoints"]["echo"]["totals"].values())


@pytest.mark.e2e
def test_a_live_line_is_shown_on_a_terminal_only(served: Served) -> None:
    """It is written over itself, and is gone at the end."""
    arguments = command(f"{served.base_url}/echo", "--rate", "20", "--duration", "0.8", "-d", "{}")
    ours, theirs = pty.openpty()
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        out, _ = process.communicate(timeout=10)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "in flight" in shown
    assert shown.endswith("\r\x1b[K")
    assert "\x1b" not in out
