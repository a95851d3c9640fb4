"""The access log of a real server: a line for each request, whatever became of it, and none lost when it stops."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.watching import new_id, wait_event, wait_running
from tests.serving import Served, wait_until

pytestmark = pytest.mark.e2e

APP = Path(__file__).parent / "apps" / "observed_app.py"
SWITCHED_ON = {"PENSTOCK_ACCESSLOG_ENABLED": "true"}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(APP, "--log-format", "json", environment=SWITCHED_ON) as served:
        yield served


def line_of(served: Served, request_id: str) -> dict[str, Any]:
    """Wait for the line of a request, and check that it is the only one."""
    found = wait_event(served, "request", request_id=request_id)
    assert len([event for event in served.events("request") if event["request_id"] == request_id]) == 1
    return found


def test_an_answer_has_a_line(served: Served) -> None:
    """With who, what, and how long, in the format of the server's log."""
    request_id = new_id()
    assert served.post_json("/square", {"input": 3}, headers={"X-Request-Id": request_id}).status == 200
    line = line_of(served, request_id)
    usual = {"level": "info", "message": "POST /square 200", "method": "POST", "path": "/square", "attempts": 1}
    assert usual.items() <= line.items()
    assert (line["status"], line["code"], line["endpoint"]) == (200, "ok", "square")
    assert (line["address"], line["principal"]) == ("127.0.0.1", None)
    assert 0 < line["execution_ms"] <= line["ms"]
    assert 0 <= line["queue_ms"] <= line["ms"]


@pytest.mark.parametrize(
    ("path", "value", "status", "answered"),
    [
        ("/nothing", {}, 404, ("not-found", None)),
        ("/square", {"input": "x"}, 422, ("invalid-request", "square")),
        ("/fail", {"input": 1}, 500, ("handler-error", "fail")),
        ("/stubborn", {}, 504, ("execution-timeout", "stubborn")),
    ],
)
def test_an_error_has_a_line(
    served: Served, path: str, value: Any, status: int, answered: tuple[str, str | None]
) -> None:
    """Its status, its code, and whose it is."""
    request_id = new_id()
    assert served.post_json(path, value, headers={"X-Request-Id": request_id}).status == status
    line = line_of(served, request_id)
    assert (line["path"], line["status"], (line["code"], line["endpoint"])) == (path, status, answered)


def test_a_stream_has_a_line_when_it_is_over(served: Served) -> None:
    """One, with the time of the whole."""
    request_id = new_id()
    served.post_json("/count", {"n": 3}, headers={"X-Request-Id": request_id})
    assert line_of(served, request_id)["status"] == 200


def test_a_hang_up_has_a_line(served: Served) -> None:
    """A hang-up is logged as 499: no response was sent."""
    request_id, body = new_id(), b'{"seconds": 60}'
    head = (
        f"POST /sleep HTTP/1.1\r\nHost: x\r\nX-Request-Id: {request_id}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with contextlib.closing(served.connect()) as client:
        client.sendall(head.encode() + body)
        wait_running(served, "sleep")
    line = line_of(served, request_id)
    assert (line["status"], line["code"], line["endpoint"]) == (499, "cancelled", "sleep")


def test_probes_have_no_line_and_paths_forge_none(served: Served) -> None:
    """Neither ``/readyz`` nor ``/metrics``; and a path with a line break in it stays in its line."""
    served.get("/readyz")
    served.get("/metrics")
    request_id = new_id()
    assert served.get("/x%0a%7B%22event%22:%22forged%22%7D", headers={"X-Request-Id": request_id}).status == 404
    assert line_of(served, request_id)["path"] == '/x\n{"event":"forged"}'
    assert served.events("forged") == []
    assert {event["endpoint"] for event in served.events("request")}.isdisjoint({"readyz", "livez", "metrics"})


def test_the_last_lines_are_there_when_the_server_has_stopped(tmp_path: Path) -> None:
    """SIGTERM right after the last answers loses no line of them; in a file, and in text."""
    path = tmp_path / "access.log"
    environment = SWITCHED_ON | {"PENSTOCK_ACCESSLOG_FILE": str(path)}
    with Served(APP, environment=environment) as served:
        ids = [new_id() for _ in range(50)]
        for request_id in ids:
            served.post_json("/square", {"input": 3}, headers={"X-Request-Id": request_id})
        assert served.stop() == 0
        assert "request  POST" not in served.output()
    lines = path.read_text().splitlines()
    assert [re.search(r"request_id=([\w-]+)\]", line)[1] for line in lines] == ids  # type: ignore[index]
    assert all(" INFO    request  POST /square 200 ok  [ms=" in line for line in lines)


def test_a_rotated_file_is_made_anew(tmp_path: Path) -> None:
    """Without a signal, within a second or so."""
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    environment = SWITCHED_ON | {"PENSTOCK_ACCESSLOG_FILE": str(path), "PENSTOCK_ACCESSLOG_FORMAT": "json"}
    with Served(APP, environment=environment) as served:
        served.post_json("/square", {"input": 3})
        wait_until(path.read_bytes, "the first line")
        path.rename(old)

        def is_there_again() -> bool:
            served.post_json("/square", {"input": 3})
            return path.exists()

        wait_until(is_there_again, "a new file")
    lines = (old.read_text() + path.read_text()).splitlines()
    assert {json.loads(line)["path"] for line in lines} == {"/square"}


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    """The error names the plug-in, the file, the cause and the fix."""
    environment = SWITCHED_ON | {"PENSTOCK_ACCESSLOG_FILE": str(tmp_path / "missing" / "access.log")}
    with Served(APP, environment=environment, ready_timeout=None) as served:
        assert served.wait() != 0
        assert "plug-in 'accesslog': cannot append to" in served.output()
        assert "set its setting 'file' to another path" in served.output()
