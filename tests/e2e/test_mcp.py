"""Tools on a real server, by a client that is written here: both generations of the protocol, progress, and leaving."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

import penstock_falcon
from tests.e2e.apps import mcp_app
from tests.e2e.watching import in_background, wait_idle, wait_running
from tests.serving import HOST, ROOT, WAYS, Answer, Served, wait_until

pytestmark = pytest.mark.e2e

TARGET = ROOT / "tests" / "e2e" / "apps" / "mcp_app.py"
VERSION = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": VERSION, "io.modelcontextprotocol/clientCapabilities": {}}
EVENTS = {"Accept": "application/json, text/event-stream"}
PROMPT = 5.0  # seconds in which a worker has to be free again on a busy machine


class Session:
    """A client, which speaks as a version of the protocol wants it.

    Parameters
    ----------
    served:
        The server.
    is_modern:
        True to speak as from 2026-07-28 on, and false to begin with a handshake.
    """

    def __init__(self, served: Served, *, is_modern: bool) -> None:
        self.served = served
        self.is_modern = is_modern
        self.headers: dict[str, str] = dict(EVENTS)
        self._ids = itertools.count(1)
        if not is_modern:
            answer = self.send("initialize", {"protocolVersion": "2025-11-25"})
            self.headers |= {
                "Mcp-Session-Id": answer.headers["mcp-session-id"],
                "MCP-Protocol-Version": answer.json()["result"]["protocolVersion"],
            }
            assert self.note("notifications/initialized").status == 202

    def message(self, method: str, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """Return a request, and its headers."""
        headers = dict(self.headers)
        if self.is_modern:
            params = {**params, "_meta": {**META, **params.get("_meta", {})}}
            headers |= {"MCP-Protocol-Version": VERSION, "Mcp-Method": method, "Mcp-Name": str(params.get("name"))}
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}, headers

    def send(self, method: str, params: dict[str, Any] | None = None, **headers: str) -> Answer:
        """Send a request, and return its answer."""
        message, own = self.message(method, params or {})
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.served.post_json("/mcp", message, headers={**own, **names})

    def note(self, method: str, **params: Any) -> Answer:
        """Send a notification, and return its answer."""
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        return self.served.post_json("/mcp", message, headers=self.headers)

    def call(self, name: str, *, meta: dict[str, Any] | None = None, **arguments: Any) -> Answer:
        """Call a tool, and return its answer."""
        return self.send("tools/call", {"name": name, "arguments": arguments, "_meta": meta or {}})

    def result(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool, and return its result."""
        answer = self.call(name, **arguments)
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.json()["result"]
        assert (found.get("resultType") == "complete") is self.is_modern
        return found


@pytest.fixture(scope="module", params=["1", "2"], ids=["one-process", "two-processes"])
def server(request: pytest.FixtureRequest) -> Iterator[Served]:
    with Served(TARGET, "--log-format", "json", "--http-workers", request.param) as served:
        yield served
        assert not served.events("internal-error")
        assert not served.events("hook-failed")


@pytest.fixture(params=list(WAYS))
def served(server: Served, request: pytest.FixtureRequest) -> Served:
    server.extra_headers = WAYS[request.param]
    return server


@pytest.fixture(params=[False, True], ids=["handshake", "modern"])
def session(served: Served, request: pytest.FixtureRequest) -> Session:
    return Session(served, is_modern=request.param)


def text_of(result: dict[str, Any]) -> str:
    (content,) = result["content"]
    text: str = content["text"]
    return text


def messages_of(answer: Answer) -> list[dict[str, Any]]:
    """Return the messages of an answer that is a stream of events."""
    assert answer.headers["content-type"].startswith("text/event-stream"), answer
    events = answer.body.decode().split("\n\n")
    assert events.pop() == ""
    return [json.loads(event.removeprefix("event: message\ndata: ")) for event in events if not event.startswith(":")]


# ---- calls


def test_tools_are_listed(session: Session) -> None:
    """With a schema of their arguments, which is that of an object."""
    tools = {tool["name"]: tool for tool in session.send("tools/list").json()["result"]["tools"]}
    assert {"add", "move", "make-points", "upper", "words", "picture"} <= tools.keys()
    assert all(tool["inputSchema"]["type"] == "object" for tool in tools.values())
    assert tools["add"]["annotations"] == {"readOnlyHint": True, "idempotentHint": True}


def test_calls_are_jobs_of_their_endpoints(session: Session) -> None:
    """Whatever kind of endpoint it is."""
    wrap = (lambda value: value) if session.is_modern else (lambda value: {"result": value})
    assert session.result("add", a=2, b=3)["structuredContent"] == wrap(5.0)
    assert session.result("move", x=1)["structuredContent"] == {"x": 2.0, "y": 0.0}
    assert session.result("make-points", count=1)["structuredContent"] == wrap([{"x": 0.0, "y": 0.0}])
    assert session.result("upper", text="é")["structuredContent"] == wrap("É")
    assert session.result("words", text="a b")["structuredContent"] == wrap(["a ", "b "])
    assert session.result("whoami")["structuredContent"] == {"principal": None}
    assert session.result("picture")["content"][0]["mimeType"] == "image/png"
    assert session.result("file", media_type="audio/wav")["content"][0]["type"] == "audio"


def test_failures_of_a_tool_are_reported_to_the_model(session: Session) -> None:
    """An exception, a deadline, arguments that do not fit: results that say so."""
    for name, arguments, said in (("fail", {}, "log"), ("slow", {}, "0.2 s"), ("add", {"a": "x"}, "$.a")):
        result = session.result(name, **arguments)
        assert result["isError"] is True
        assert said in text_of(result)
        assert "secret" not in text_of(result)


def test_other_methods_of_http_are_refused(served: Served) -> None:
    """There is no stream to open and no session to end; both paths say which method they take."""
    for path in ("/mcp", "/mcp/"):
        for method in ("GET", "DELETE", "PUT"):
            answer = served.request(method, path)
            assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_other_media_types_are_refused(served: Served) -> None:
    """A page of another site could send them without being asked first."""
    answer = served.post("/mcp", b"{}", media_type="text/plain")
    assert (answer.status, answer.json()["jsonrpc"]) == (415, "2.0")


def test_a_large_call_is_a_call_like_any_other(session: Session) -> None:
    """It is read in a thread, and its result comes in a file where the engine has a process of its own."""
    text = "é" * 2_000_000
    assert text_of(session.result("upper", text=text)) == text.upper()


# ---- progress


def test_progress_comes_while_the_tool_works(session: Session) -> None:
    """As notifications in front of the result, in one stream; rising, and with the token of the call."""
    *reports, last = messages_of(session.call("steps", meta={"progressToken": "t"}, number=5))
    assert [report["params"] for report in reports] == [
        {"progressToken": "t", "progress": step, "total": 5.0, "message": f"step {step}"} for step in range(1, 6)
    ]
    assert last["result"]["content"] == [{"type": "text", "text": "done"}]


def test_the_first_report_does_not_wait_for_the_last(session: Session) -> None:
    """It is there while the tool still works."""
    message, headers = session.message(
        "tools/call",
        {"name": "steps", "arguments": {"number": 2, "pause": 0.5}, "_meta": {"progressToken": 1}},
    )
    connection = http.client.HTTPConnection(HOST, session.served.port, timeout=30)
    with contextlib.closing(connection):
        body = json.dumps(message)
        extra = session.served.extra_headers
        connection.request("POST", "/mcp", body, {**headers, **extra, "Content-Type": "application/json"})
        response = connection.getresponse()
        response.readline()
        assert b'"progress":1.0' in response.readline()
        assert session.served.status()["endpoints"]["steps"]["running"] == 1
        assert b'"done"' in response.read()


def test_a_client_without_a_token_gets_plain_json(session: Session) -> None:
    """As does one that does not read events."""
    assert session.call("steps", number=2).headers["content-type"] == "application/json"
    session.headers["Accept"] = "application/json"
    answer = session.call("steps", meta={"progressToken": 1}, number=2)
    assert answer.headers["content-type"] == "application/json"


# ---- ends


def test_a_client_that_leaves_frees_its_worker(session: Session) -> None:
    """In every version, also in the middle of its progress."""
    for name, arguments, meta in (("stuck", {}, {}), ("steps", {"number": 1000}, {"progressToken": 1})):
        message, headers = session.message("tools/call", {"name": name, "arguments": arguments, "_meta": meta})
        connection = http.client.HTTPConnection(HOST, session.served.port, timeout=30)
        with contextlib.closing(connection):
            extra = session.served.extra_headers
            sent = {**headers, **extra, "Content-Type": "application/json"}
            connection.request("POST", "/mcp", json.dumps(message), sent)
            wait_running(session.served, name)
        wait_idle(session.served, name)


def test_a_notification_cancels_a_call_of_its_session() -> None:
    """And no call of another one with the same number; the call is answered as a failure."""
    with Served(TARGET, "--log-format", "json") as served, in_background() as run:
        for way in WAYS.values():
            served.extra_headers = way
            mine, other = Session(served, is_modern=False), Session(served, is_modern=False)
            call = run(mine.call, "stuck")
            wait_running(served, "stuck")
            assert other.note("notifications/cancelled", requestId=2).status == 202
            assert mine.note("notifications/cancelled", requestId=99).status == 202
            assert mine.note("notifications/cancelled", requestId="2").status == 202
            assert served.status()["endpoints"]["stuck"]["running"] == 1
            assert mine.note("notifications/cancelled", requestId=2).status == 202
            assert call.result(PROMPT).json()["result"]["isError"] is True
            wait_idle(served, "stuck")


def test_a_full_queue_is_a_503() -> None:
    """With advice when to come back, and the id of the request."""
    with Served(TARGET, "--log-format", "json") as served, in_background() as run:
        session = Session(served, is_modern=False)
        calls = [run(session.call, "stuck")]
        wait_running(served, "stuck")
        calls.append(run(session.call, "stuck"))
        wait_until(lambda: served.status()["endpoints"]["stuck"]["queued"] == 1, "the queue is full")
        answer = session.call("stuck")
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["error"]["data"]["code"] == "queue-full"
        assert answer.json()["id"] == 4
        for number in (3, 2):
            session.note("notifications/cancelled", requestId=number)
        assert [call.result(PROMPT).json()["result"]["isError"] for call in calls] == [True, True]


# ---- other plug-ins


def test_keys_limits_and_metrics_apply(tmp_path: Path) -> None:
    """A call is a request to its endpoint; a list is none."""
    file = tmp_path / "keys.txt"
    command = [sys.executable, "-m", "penstock_cli", "keys", "new", "alice", "--scope", "observer", "--file", str(file)]
    key = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
    settings = {"PENSTOCK_AUTH_KEYS_FILE": str(file), "PENSTOCK_RATELIMIT_REQUESTS": "2/hour"}
    with Served(TARGET, "--log-format", "json", environment=settings) as served:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        refused = served.post_json("/mcp", message, headers=EVENTS)
        assert (refused.status, refused.json()["error"]["data"]["code"]) == (401, "unauthorized")
        assert refused.headers["www-authenticate"].startswith("Bearer")
        served.extra_headers = {"Authorization": f"Bearer {key}"}
        session = Session(served, is_modern=False)
        for _ in range(5):
            assert session.send("tools/list").status == 200
        assert session.result("whoami")["structuredContent"] == {"principal": "alice"}
        assert session.call("add", a=1).status == 200
        limited = session.call("add", a=1)
        assert (limited.status, limited.json()["error"]["data"]["code"]) == (429, "rate-limited")
        assert int(limited.headers["retry-after"]) > 0
        page = served.get("/metrics").body.decode()
    assert 'penstock_jobs_total{code="rate-limited",endpoint="add"} 1.0' in page


# ---- other servers


def test_the_path_below_a_prefix() -> None:
    """As behind a proxy that passes on a part of its paths, for a page of the public name."""
    application = falcon.App()
    penstock_falcon.mount(application, mcp_app.app, prefix="/public")
    client = falcon.testing.TestClient(application)
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    for path in ("/public/mcp", "/public/mcp/"):
        answer = client.simulate_post(path, json=message, headers={"Origin": "https://a.example", "Host": "a.example"})
        assert answer.json == {"jsonrpc": "2.0", "id": 1, "result": {}}


def test_wsgi_reports_progress_too() -> None:
    """Its thread waits for the reports as it waits for chunks."""
    application = penstock_falcon.wsgi(mcp_app.app)
    try:
        client = falcon.testing.TestClient(application)
        params = {"name": "steps", "arguments": {"number": 3}, "_meta": {"progressToken": 1}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        answer = client.simulate_post("/mcp", json=message, headers=EVENTS)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.text.count("notifications/progress") == 3
        assert '"done"' in answer.text
    finally:
        application.penstock.stop()
