"""The page at ``/docs`` with documents of every kind: forms, queries, odd schemas, and what cannot be read."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from penstock.hooks import RouteRequest
from penstock.openapi.page_routes import page_routes
from tests.browser import Browser, Page, needs_chromium
from tests.e2e.page_steps import finished
from tests.serving import HOST, wait_until

pytestmark = [pytest.mark.e2e, needs_chromium]

ROUTES = {f"/models{route.path}": route for route in page_routes()}
TEXT, NUMBER, FILE = {"type": "string"}, {"type": "number"}, {"type": "string", "format": "binary"}


class Echo(BaseHTTPRequestHandler):
    """Serves the page and a document, and answers anything else as the test says, or that it was received."""

    server: StandIn

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing."""

    def respond(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        if self.path in ROUTES:
            request = RouteRequest(request_id="r1", method="GET", path=self.path, header=lambda _name: None)
            answer = ROUTES[self.path].handler(request, None)  # type: ignore[arg-type] # it needs no engine
            return self.send(answer.body, {"Content-Type": answer.media_type, **answer.headers})
        if self.path == "/models/openapi.json":
            return self.send(self.server.document, {"Content-Type": "application/json"})
        self.server.received.append((self.command, self.path, dict(self.headers), body))
        if gate := self.server.gates.get(self.path):
            gate.wait(20)
        if answers := self.server.answers.get(self.path):
            return self.send(*answers.pop(0))
        return self.send(b'"received"', {"Content-Type": "application/json"})

    do_GET = do_POST = respond  # noqa: N815 - the names that the base class calls

    def send(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


ScriptedAnswer = tuple[bytes, dict[str, str], int]


class StandIn(ThreadingHTTPServer):
    """A server with the document and the answers that a test wants. An answer waits for the gate of its path."""

    def __init__(self) -> None:
        super().__init__((HOST, 0), Echo)
        self.document = b""
        self.answers: dict[str, list[ScriptedAnswer]] = {}
        self.gates: dict[str, threading.Event] = {}
        self.received: list[tuple[str, str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/models/docs"


@contextlib.contextmanager
def serving() -> Iterator[StandIn]:
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with Browser() as browser:
        yield browser.open("about:blank")


class Reader:
    """Opens the page with a document, sends, and returns what the server has received."""

    def __init__(self, tab: Page, server: StandIn) -> None:
        self.page = tab
        self._server = server

    def open(self, operation: Any, path: str = "/x", method: str = "post", **components: Any) -> Page:
        document = {"openapi": "3.1.0", "info": {"title": "T", "version": "1"}, "components": components}
        return self.open_text(json.dumps({**document, "paths": {path: {method: operation}}}))

    def open_text(self, document: str) -> Page:
        self._server.document = document.encode()
        self._server.received.clear()
        self._server.answers.clear()
        self._server.gates.clear()
        self.page.forget()
        self.page.go(self._server.url)
        self.page.wait_for("document.querySelector('h2, [role=alert]')")
        return self.page

    def send(self) -> tuple[str, str, dict[str, str], bytes]:
        self.page.click("button.main")
        self.page.wait_for("document.querySelector('.status')")
        (received,) = self._server.received
        return received


@pytest.fixture
def reader(tab: Page, server: StandIn) -> Iterator[Reader]:
    reader = Reader(tab, server)
    yield reader
    assert tab.complaints == []
    assert {url for url in tab.requests if not url.startswith((server.url.removesuffix("docs"), "data:"))} == set()


def body_of(media: str, schema: Any) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media: {"schema": schema}}}}


def object_of(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def form_parts(headers: dict[str, str], body: bytes) -> list[tuple[str, str | None, str]]:
    """Return the parts of a multipart body: name, file name, content."""
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_payload(decode=True).decode(),
        )
        for part in message.iter_parts()
    ]


def test_a_multipart_form(reader: Reader, tmp_path: Path) -> None:
    """Files beside fields, several under one name; the shown call for curl sends the same."""
    files = [tmp_path / "a b.txt", tmp_path / "c.txt"]
    for file in files:
        file.write_text(file.name)
    several = {"type": "array", "items": FILE}
    schema = object_of("picture", "words", picture=FILE, words=NUMBER, more=several, title=TEXT)
    page = reader.open(body_of("multipart/form-data", schema))
    page.click("button.main")
    assert page.text(".problem:not([hidden])") == "Choose a file."
    page.choose_files(page.labelled("picture"), files[:1])
    page.choose_files(page.labelled("more"), files)
    page.fill(page.labelled("words"), "12")
    method, path, headers, body = reader.send()
    assert (method, path) == ("POST", "/models/x")
    assert form_parts(headers, body) == [
        ("picture", "a b.txt", "a b.txt"),
        ("words", None, "12"),
        ("more", "a b.txt", "a b.txt"),
        ("more", "c.txt", "c.txt"),
    ]
    call = page.text("[aria-label='The same call'] pre")
    assert """-F 'picture=@"a b.txt"'""" in call
    assert "--form-string words=12" in call


def test_a_form_of_the_web(reader: Reader) -> None:
    """Fields are pairs, and lists repeat a name; where there is JSON too, the media type can be chosen."""
    schema = object_of("text", "tags", text=TEXT, tags={"type": "array", "items": TEXT}, loud={"type": "boolean"})
    content = {"application/x-www-form-urlencoded": {"schema": schema}, "application/json": {"schema": schema}}
    page = reader.open({"requestBody": {"content": content}})
    assert page.text(".bar select") == "URL-encoded form\nJSON"
    page.fill(page.labelled("text"), "a=b&c ü")
    page.fill("[aria-label=item]", "one")
    *_, headers, body = reader.send()
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert parse_qsl(body.decode()) == [("text", "a=b&c ü"), ("tags", "one")]


def test_paths_and_queries(reader: Reader) -> None:
    """Parameters are put where they belong, encoded; what is optional and empty is left out."""
    parameters = [
        {"name": "user", "in": "path", "required": True, "schema": TEXT},
        {"name": "q", "in": "query", "required": True, "schema": TEXT},
        {"name": "k", "in": "query", "schema": {"type": "integer", "default": 3}},
        {"name": "tag", "in": "query", "schema": {"type": "array", "items": TEXT}},
    ]
    page = reader.open({"parameters": parameters}, "/users/{user}/items", "get")
    page.click("button.main")
    assert page.text(".problem:not([hidden])") == "A value is needed here."
    page.fill(page.labelled("user"), "a/b ?")
    page.fill(page.labelled("q"), "x&y=z")
    page.click(".items + button")
    page.type("t")
    method, path, _, body = reader.send()
    assert (method, urlsplit(path).path, body) == ("GET", "/models/users/a%2Fb%20%3F/items", b"")
    assert parse_qsl(urlsplit(path).query) == [("q", "x&y=z"), ("tag", "t")]


def test_bytes_in_json(reader: Reader, tmp_path: Path) -> None:
    """Where JSON carries bytes as base64, a file is chosen."""
    file = tmp_path / "f"
    file.write_bytes(b"\x00\xff")
    data = {"type": "string", "contentEncoding": "base64"}
    page = reader.open(body_of("application/json", object_of("data", data=data)))
    page.choose_files(page.labelled("data"), [file])
    page.wait_for("document.querySelector('pre').innerText.includes('AP8=')")
    assert json.loads(reader.send()[-1]) == {"data": "AP8="}


def test_types_that_contain_themselves(reader: Reader) -> None:
    """Forms of recursive types end; their schemas name each type once."""
    value = {"anyOf": [TEXT, {"type": "array", "items": {"$ref": "#/components/schemas/Value"}}]}
    node = object_of("value", value={"$ref": "#/components/schemas/Value"}, next={"$ref": "#/components/schemas/Node"})
    page = reader.open(
        body_of("application/json", {"$ref": "#/components/schemas/Node"}), schemas={"Value": value, "Node": node}
    )
    page.click("summary:last-of-type")
    schema = page.evaluate("document.querySelector('article > details pre').textContent")
    node_text = "{\n  value: Value\n  next?: Node\n}"
    assert schema == f"{node_text}\n\nValue string or list of Value\n\nNode {node_text}"
    page.fill("[aria-label=item]", "v")
    assert json.loads(reader.send()[-1]) == {"value": "v"}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("nonsense", "The description of the API cannot be read: This is not JSON"),
        ('{"openapi": "3.1.0", "paths": {}}', "This app has no endpoints yet."),
    ],
)
def test_a_document_that_cannot_be_used(reader: Reader, document: str, said: str) -> None:
    """It is said in plain words, and can be tried again."""
    page = reader.open_text(document)
    assert page.text("[role=alert]").startswith(said)
    reader._server.document = json.dumps({"paths": {"/x": {"post": {}}}}).encode()
    page.click("main button")
    page.wait_for("document.querySelector('h2')")


def test_a_schema_of_a_stranger(reader: Reader) -> None:
    """A field for JSON takes the place of a type that the page does not know; markup in texts stays text."""
    markup = "<img src=x>"
    odd = {"type": "object", "patternProperties": {"^x": {}}, "description": markup, "default": {markup: 1}}
    page = reader.open(body_of("application/json", object_of(markup, **{markup: odd, "any": True})))
    assert page.evaluate("document.querySelector('main img')") is None
    assert page.text(".field label").startswith(markup)
    page.fill("textarea.code", '{"x": [1]}')
    assert json.loads(reader.send()[-1]) == {markup: {"x": [1]}}


def test_a_server_that_is_gone(tab: Page) -> None:
    """Without an answer the page says so, and goes on."""
    with serving() as server:
        reader = Reader(tab, server)
        page = reader.open(body_of("application/json", object_of("x", x=NUMBER)))
        page.fill(page.labelled("x"), "1")
        reader.send()
    for _ in range(2):
        page.click("button.main")
        said = "document.querySelector('[role=status]').innerText"
        page.wait_for(f"{said}.startsWith('The server did not answer')")


# ---- background jobs

PREFER = {"name": "Prefer", "in": "header", "schema": TEXT}
ACCEPTED = {"description": "The job.", "headers": {"Preference-Applied": {"schema": TEXT}}}
TAKES_JOBS = {"parameters": [PREFER], "responses": {"202": ACCEPTED}}
JOB = "/models/v1/jobs/j-1"


def event(number: int, kind: str, data: Any) -> bytes:
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def events(*some: bytes) -> ScriptedAnswer:
    return b"".join(some), {"Content-Type": "text/event-stream"}, 200


def send_as_job(
    reader: Reader, server: StandIn, *answers: ScriptedAnswer, prefix: str = "", gate: threading.Event | None = None
) -> Page:
    """Send a call that becomes a job, and return the page. The answers are those to a reader of its events."""
    page = reader.open(TAKES_JOBS)
    links = {name: f"{prefix}/v1/jobs/j-1/{name}" for name in ("events", "result", "cancel")}
    document = json.dumps({"id": "j-1", "state": "queued", "links": links}).encode()
    json_type = {"Content-Type": "application/json"}
    server.answers["/models/x"] = [(document, {**json_type, "Preference-Applied": "respond-async"}, 202)]
    server.answers[f"{JOB}/events"] = list(answers)
    server.answers[f"{JOB}/result"] = [(b'"the result"', json_type, 200)]
    if gate:
        server.gates["/models/x"] = gate
    page.click("input[value=job] + span")
    page.click("button.main")
    return page


@pytest.mark.parametrize("prefix", ["", "/models", "/inner"])
def test_a_job_behind_a_proxy_that_changes_the_prefix(reader: Reader, server: StandIn, prefix: str) -> None:
    """The job is found beside the page, whatever prefix the server has put into its links."""
    page = send_as_job(reader, server, events(event(1, "end", {"state": "succeeded"})), prefix=prefix)
    assert finished(page) == "Job succeeded"
    assert page.text(".answer pre") == '"the result"'
    sent = [(method, path) for method, path, *_ in server.received]
    assert sent == [("POST", "/models/x"), ("GET", f"{JOB}/events"), ("GET", f"{JOB}/result")]
    assert server.received[0][2]["Prefer"] == "respond-async"


def test_events_that_break_off_are_asked_for_again(reader: Reader, server: StandIn) -> None:
    """From the last one that has arrived, so that no chunk is missing and none is shown twice."""
    first = events(event(1, "state", {"state": "running"}), event(2, "chunk", "a"), b"id: 3\nevent: chu")
    last = events(event(4, "end", {"state": "succeeded"}))
    page = send_as_job(reader, server, first, events(event(3, "chunk", "b")), last)
    assert finished(page) == "Job succeeded"
    page.click("input[value=joined] + span")
    assert page.text(".chunks") == "ab"
    asked = [headers.get("Last-Event-ID") for _, path, headers, _ in server.received if path == f"{JOB}/events"]
    assert asked == [None, "2", "3"]


def test_chunks_of_a_job_that_is_run_anew_are_dropped(reader: Reader, server: StandIn) -> None:
    """As the event of that name asks for; the state says why it was queued again."""
    lost = events(event(1, "chunk", "old"), event(2, "state", {"state": "queued", "reason": "owner-lost"}))
    page = send_as_job(reader, server, lost)
    page.wait_for("document.querySelector('.status')?.innerText.startsWith('queued again: owner-lost')")
    end = event(5, "end", {"state": "succeeded"})
    server.answers[f"{JOB}/events"] = [events(event(3, "restarted", {"claim": 2}), event(4, "chunk", "new"), end)]
    assert finished(page) == "Job succeeded"
    assert page.text(".chunks code") == '"new"'


def test_a_job_that_is_gone_is_said_to_be_so(reader: Reader, server: StandIn) -> None:
    """The problem document of the server is shown, and the page asks no more."""
    gone = json.dumps({"type": "urn:penstock:job-gone", "title": "The job is gone"}).encode()
    page = send_as_job(reader, server, (gone, {"Content-Type": "application/problem+json"}, 410))
    assert finished(page) == "The job can no longer be followed: status 410."
    assert page.text(".answer .failure").startswith("The job is gone")


def test_a_call_is_cancelled_as_soon_as_it_is_known_as_a_job(reader: Reader, server: StandIn) -> None:
    """A cancel before that waits for the id of the job: hanging up would stop nothing."""
    gate = threading.Event()
    page = send_as_job(reader, server, events(event(1, "end", {"state": "cancelled"})), gate=gate)
    page.wait_for("!document.querySelector('.actions button:not(.main)').disabled")
    page.press("Escape")
    gate.set()
    assert finished(page) == "Job cancelled"
    wait_until(lambda: ("POST", f"{JOB}/cancel") in [one[:2] for one in server.received], "the cancel")
