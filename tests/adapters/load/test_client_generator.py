"""``penstock load --through-client``: what the client library makes of a server, counted."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from penstock_cli import main as command_line
from penstock_load import CallerOptions, Fate, LoadSettings, RequestMix, Shot, address_of, request_bytes, run_load
from penstock_load.client_generator import ClientGenerator
from tests.client.scripted_server import End, ScriptedServer, Step, answer, chunked
from tests.serving import Served, write_app

BUSY = answer(b'{"type": "urn:penstock:queue-full"}', status=503, Retry_After="0")


def shots_of(*scripts: tuple[Step, ...], number: int = 1, patience: float = 5.0, is_stream: bool = False) -> list[Shot]:
    """Return the records of calls, made one every 20 ms."""
    shots: list[Shot] = []

    async def run(url: str) -> None:
        address = address_of(url)
        generator = ClientGenerator(address, CallerOptions(patience=patience, is_stream=is_stream), shots.append)
        request = request_bytes("POST", address.authority, "/x", {"x-team": "blue"}, b'{"n": 1}')
        begin = generator._clock()
        await generator.run(begin, [index * 0.02 for index in range(number)], lambda: request)
        assert generator.in_flight == 0

    with ScriptedServer([*scripts]) as server:
        asyncio.run(run(server.url))
        for sent in server.requests:
            assert (sent.line, sent.headers["x-team"], sent.body) == ("POST /x HTTP/1.1", "blue", b'{"n": 1}')
            assert sent.headers["content-type"] == "application/json"
    return shots


def test_a_call_that_is_tried_again_is_one_good_answer() -> None:
    """The server was busy twice; the caller has noticed nothing but the time."""
    [shot] = shots_of((BUSY,), (BUSY,), (answer(b"7"),))
    assert (shot.outcome, shot.is_good, shot.requests, shot.error) == ("200", True, 3, "")


def test_a_call_that_fails_has_its_class_and_its_reason() -> None:
    """The outcome is named as that of raw connections, and the reason is why there was no other request."""
    [shot] = shots_of((BUSY,))
    assert (shot.outcome, shot.is_good, shot.requests) == ("503 queue-full", False, 3)
    assert (shot.error, shot.refused) == ("QueueFull", "attempts")


CASES: dict[str, tuple[tuple[Step, ...], Fate, str, str]] = {
    "silent": ((End.SILENCE,), Fate.GIVEN_UP, "given up", "TotalTimeout"),
    "cut": ((End.CLOSE,), Fate.FAILED, "connection-lost", "ConnectionLost"),
    "not JSON": ((answer(b"<html>"),), Fate.FAILED, "invalid-answer", "InvalidAnswer"),
    "not found": ((answer(status=404),), Fate.ANSWERED, "404", "NotFound"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_failure_has_an_outcome(case: str) -> None:
    """The patience is the time-out of the call; the client's own errors go by their codes."""
    script, fate, outcome, error = CASES[case]
    [shot] = shots_of(script, patience=0.3)
    assert (shot.fate, shot.outcome, shot.error, shot.requests) == (fate, outcome, error, 1)


def test_the_budget_bounds_the_retries_of_a_run() -> None:
    """All calls share one client: when every answer is a refusal, not every call is tried again."""
    shots = shots_of((BUSY,), number=60)
    assert len(shots) == 60
    assert sum(shot.requests for shot in shots) < 60 + 10 + 6 + 5
    assert "budget" in {shot.refused for shot in shots}


def test_a_stream_has_its_chunks() -> None:
    """The first event and the gaps are measured, and a stream that breaks off is cut."""
    [shot] = shots_of((chunked(b"1\n", end=False), 0.05, b"2\r\n2\n\r\n0\r\n\r\n"), is_stream=True)
    assert shot.is_good
    assert shot.first is not None
    assert shot.gaps == [pytest.approx(0.05, abs=0.03)]
    [shot] = shots_of((chunked(b"1\n", end=False), End.CLOSE), is_stream=True)
    assert (shot.outcome, shot.error, shot.requests) == ("cut truncated-stream", "TruncatedStream", 1)


def test_the_patience_of_a_stream_is_for_each_chunk() -> None:
    """A stream that stops is given up."""
    [shot] = shots_of((chunked(b"1\n", end=False), End.SILENCE), is_stream=True, patience=0.2)
    assert (shot.outcome, shot.error) == ("given up", "EventTimeout")


def test_a_run_has_the_figures_of_the_client() -> None:
    """``run_load`` takes the client where the settings say so."""
    with ScriptedServer([(BUSY,), (answer(),)]) as server:
        address = address_of(server.url)
        settings = LoadSettings(
            address=address,
            mix=RequestMix([request_bytes("GET", address.authority, "/x", {})]),
            callers=CallerOptions(patience=5.0),
            rate=50.0,
            seconds=0.2,
            through_client=True,
        )
        tally, _ = run_load(settings)
    assert (tally.outcomes, tally.requests, tally.retried) == ({"200": 10}, 11, 1)


# ---- on the command line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--no-keep-alive"], "--no-keep-alive cannot be used with --through-client"),
        (["--unix-socket", "/run/a"], "--unix-socket cannot be used with --through-client"),
        (["-H", "x-name: Zoë"], "penstock-client does not send the header x-name"),
    ],
)
def test_what_the_client_cannot_do_is_refused(arguments: list[str], words: str) -> None:
    """With exit code 2, before anything is sent."""
    url = "http://127.0.0.1:9/"
    result = CliRunner().invoke(command_line.cli, ["load", url, "--rate", "1", "--through-client", *arguments])
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def test_without_the_client_library_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a distribution of its own, which a server does not need."""
    monkeypatch.setitem(sys.modules, "penstock_client", None)
    monkeypatch.delitem(sys.modules, "penstock_load.client_generator")
    result = CliRunner().invoke(command_line.cli, ["load", "http://127.0.0.1:9/", "--rate", "1", "--through-client"])
    assert result.exit_code == 2
    assert "pip install penstock-client" in " ".join(result.output.split())


APP = """
    from penstock import App, Unavailable

    app = App(__name__)

    @app.endpoint("/echo")
    def echo(text: str = "") -> str:
        return text

    @app.endpoint("/busy")
    def busy() -> None:
        raise Unavailable("not now", retry_after=300)
"""


@pytest.mark.e2e
def test_a_real_run_is_printed_and_written(tmp_path: Path) -> None:
    """The table has the requests and the errors by class, and so has the document."""
    with Served(write_app(tmp_path, APP)) as served:
        run = loader(tmp_path)
        out, found = run(f"{served.base_url}/echo", '{"text": "a"}')
        assert (found["outcomes"], found["client"]["requests"]) == ({"200": 20}, 20)
        assert ["requests", "20"] in [line.split() for line in out.splitlines()]
        out, found = run(f"{served.base_url}/busy", "{}")
    client = {"requests": 20, "retried": 0, "errors": {"Unavailable": 20}, "refusals": {"rule": 20}}
    assert (found["outcomes"], found["client"]) == ({"503 unavailable": 20}, client)
    assert ["no", "retry:", "rule", "20"] in [line.split() for line in out.splitlines()]


def loader(folder: Path) -> Callable[[str, str], tuple[str, dict[str, Any]]]:
    def run(url: str, body: str) -> tuple[str, dict[str, Any]]:
        file = folder / "figures.json"
        command = [sys.executable, "-m", "penstock_cli", "load", url, "--through-client", "--rate", "40"]
        command += ["--duration", "0.5", "--data", body, "--json", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.stderr == ""
        return done.stdout, json.loads(file.read_text())

    return run
