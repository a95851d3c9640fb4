"""Headers that plug-ins add to every response, under ASGI, under WSGI, and without either."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import falcon.asgi
import falcon.testing
import pytest

import penstock_falcon
from penstock import App, errors
from penstock.hooks import Principal, ResponseHead, Route, RouteResponse, Submission, hookimpl
from penstock.hooks.registry import Registry
from penstock.response import Encoded
from penstock_cors import CorsPlugin
from tests.adapters.falcon.direct_server import direct
from tests.adapters.falcon.fake_engine import FakeCall, FakeEngine, FakeThreadedEngine, make_app
from tests.adapters.falcon.shared_server import shared, shared_direct
from tests.adapters.falcon.toy_dialect import toy_asgi, toy_direct, toy_shared, toy_wsgi

FALCON_APPS = {"asgi": falcon.asgi.App, "wsgi": falcon.App}


def mounted(kind: str) -> Callable[..., Any]:
    """Return how to add an app to a Falcon application, at its root."""

    def build(app: App, *, engine: Any) -> Any:
        application = FALCON_APPS[kind]()
        penstock_falcon.mount(application, app, "", engine=engine)
        return application

    return build


KINDS: dict[str, tuple[Callable[..., Any], type[FakeEngine]]] = {
    "asgi": (penstock_falcon.asgi, FakeEngine),
    "direct": (direct, FakeEngine),
    "shared": (shared, FakeEngine),
    "shared-direct": (shared_direct, FakeEngine),
    "wsgi": (penstock_falcon.wsgi, FakeThreadedEngine),
    "mounted-asgi": (mounted("asgi"), FakeEngine),
    "mounted-wsgi": (mounted("wsgi"), FakeThreadedEngine),
    "toy-asgi": (toy_asgi, FakeEngine),
    "toy-direct": (toy_direct, FakeEngine),
    "toy-shared": (toy_shared, FakeEngine),
    "toy-wsgi": (toy_wsgi, FakeThreadedEngine),
}


class Signature:
    """A plug-in that signs every response, and keeps the heads it has seen."""

    def __init__(self, name: str = "signature") -> None:
        self.name = name
        self.heads: list[ResponseHead] = []
        self.added: Any = [("X-Signed", "yes")]

    @hookimpl
    def penstock_response_headers(self) -> Callable[[ResponseHead], Any]:
        def sign(head: ResponseHead) -> Any:
            self.heads.append(head)
            return self.added() if callable(self.added) else self.added

        return sign


class Doors:
    """A plug-in that asks everyone for a key, and has a route."""

    @hookimpl
    def penstock_authenticator(self) -> Callable[[Submission], Principal]:
        def authenticate(submission: Submission) -> Principal:
            if submission.header("authorization") != "Bearer k":
                raise errors.Unauthorized("a key, please")
            return Principal("ada")

        return authenticate

    @hookimpl
    def penstock_admission_policy(self) -> Callable[[Submission], None]:
        def admit(submission: Submission) -> None:
            submission.response_headers.append(("vary", "X-Plan"))
            if submission.header("x-plan") == "free":
                raise errors.RateLimited("too often")

        return admit

    @hookimpl
    def penstock_routes(self) -> list[Route]:
        return [Route(path="/page", name="page", handler=lambda _request, _engine: RouteResponse(body=b"page"))]


@pytest.fixture
def signature() -> Signature:
    return Signature()


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def engine(kind: str, signature: Signature) -> FakeEngine:
    return KINDS[kind][1](registry=Registry([Doors(), signature]))


@pytest.fixture
def client(kind: str, engine: FakeEngine) -> falcon.testing.TestClient:
    return falcon.testing.TestClient(KINDS[kind][0](make_app(), engine=engine))


KEY = {"Authorization": "Bearer k"}
REQUESTS = {
    "result": ("POST", "/square", b'{"input": 2}', KEY, 200),
    "malformed": ("POST", "/square", b"{", KEY, 400),
    "no key": ("POST", "/square", b'{"input": 2}', {}, 401),
    "refused": ("POST", "/square", b'{"input": 2}', {**KEY, "X-Plan": "free"}, 429),
    "wrong type": ("POST", "/square", b"x", {**KEY, "Content-Type": "text/plain"}, 415),
    "does not fit": ("POST", "/square", b"{}", KEY, 422),
    "wrong method": ("DELETE", "/square", b"", {}, 405),
    "options": ("OPTIONS", "/square", b"", {}, 200),
    "route": ("GET", "/page", b"", KEY, 200),
    "route without a key": ("GET", "/page", b"", {}, 401),
    "health": ("GET", "/livez", b"", {}, 200),
    "head": ("HEAD", "/livez", b"", {}, 200),
}


def send(client: falcon.testing.TestClient, name: str) -> falcon.testing.Result:
    method, path, body, headers, _ = REQUESTS[name]
    return client.simulate_request(method, path, body=body, headers=headers)


@pytest.mark.parametrize("name", REQUESTS)
def test_every_response_has_them(client: falcon.testing.TestClient, signature: Signature, name: str) -> None:
    """Before policies are asked, and after; the plug-in sees both heads."""
    method, path, _body, _headers, status = REQUESTS[name]
    result = send(client, name)
    assert (result.status_code, result.headers["x-signed"]) == (status, "yes")
    (head,) = signature.heads
    assert (head.method, head.path.removeprefix("/toy"), head.status) == (method, path, status)
    assert (head.header("host"), head.header("x-none")) == ("falconframework.org", None)
    assert head.headers["content-type"] == result.headers["content-type"]


@pytest.mark.parametrize(
    "outcome", [errors.HandlerError("x"), errors.QueueFull("x"), errors.ExecutionTimeout("x"), errors.NotReady("x")]
)
def test_every_outcome_has_them(
    client: falcon.testing.TestClient, engine: FakeEngine, outcome: errors.PenstockError
) -> None:
    """The failure of a job is a response like any other."""
    engine.script = lambda call: call.decide(outcome)
    result = send(client, "result")
    assert (result.status_code, result.headers["x-signed"]) == (outcome.status, "yes")


def test_a_failure_inside_the_server_has_them(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """An internal error is a response like any other."""

    def break_down(call: FakeCall) -> None:
        raise RuntimeError("x")

    engine.script = break_down
    result = send(client, "result")
    assert (result.status_code, result.headers["x-signed"]) == (500, "yes")


@pytest.mark.parametrize("accept", ["", "text/event-stream"])
def test_a_stream_has_them(
    client: falcon.testing.TestClient, engine: FakeEngine, signature: Signature, accept: str
) -> None:
    """With its other headers, before the first chunk."""

    def stream(call: FakeCall) -> None:
        call.begin_stream().yield_chunk(b"1")
        call.decide(Encoded(b""))

    engine.script = stream
    result = client.simulate_post("/count", json={"n": 1}, headers={**KEY, "Accept": accept})
    assert (result.status_code, result.headers["x-signed"]) == (200, "yes")
    assert b"1" in result.content


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("mounted")], indirect=True)
def test_a_404_has_them(client: falcon.testing.TestClient, signature: Signature) -> None:
    """The application is ours alone, and so are its errors."""
    assert client.simulate_get("/nowhere").headers["x-signed"] == "yes"
    assert (signature.heads[0].path, signature.heads[0].status) == ("/nowhere", 404)


def test_a_header_is_replaced_and_vary_is_united(
    client: falcon.testing.TestClient, engine: FakeEngine, signature: Signature
) -> None:
    """Nothing is sent twice, be it from the handler, a policy, or the server."""
    signature.added = [("Vary", "Origin, X-plan"), ("X-Model", "hidden"), ("Server-Timing", "none")]
    headers = {"Vary": "X-Tenant", "x-model": "secret"}
    engine.script = lambda call: call.decide(Encoded(b"1", None, 200, headers))
    result = send(client, "result")
    assert result.headers["vary"].replace("X-plan", "X-Plan") == "X-Tenant, X-Plan, Origin"
    assert (result.headers["x-model"], result.headers["server-timing"]) == ("hidden", "none")
    assert signature.heads[0].headers["x-model"] == "secret"


@pytest.mark.parametrize(
    "added",
    [lambda: 1 / 0, [("x", "a\r\nb: c")], [("content-length", "7")], "ab", 7],
    ids=["raises", "line break", "framing", "text", "number"],
)
def test_a_plug_in_that_fails_spoils_no_response(
    client: falcon.testing.TestClient, signature: Signature, added: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged and counted; the response is sent without its headers."""
    signature.added = added
    with caplog.at_level(logging.ERROR, logger="penstock"):
        result = send(client, "result")
    assert (result.status_code, result.content) == (200, b"4")
    assert "x-signed" not in result.headers
    assert [record.__dict__["event"] for record in caplog.records] == ["hook-error"]


def test_the_plug_in_that_is_asked_first_counts() -> None:
    """As for everything else: the app's own plug-ins before those of other distributions."""
    first, second = Signature("first"), Signature("second")
    first.added, second.added = [("X-Signed", "first"), ("Vary", "A")], [("X-Signed", "second"), ("Vary", "B")]
    application = penstock_falcon.asgi(make_app(), engine=FakeEngine(registry=Registry([second, first])))  # type: ignore[arg-type] # it has what is used of an engine
    result = falcon.testing.TestClient(application).simulate_get("/livez")
    assert (result.headers["x-signed"], result.headers["vary"]) == ("first", "B, A")


def test_a_request_that_the_server_cannot_read_has_them(signature: Signature) -> None:
    """The server passes on what it could read of the head."""
    engine: Any = FakeEngine(registry=Registry([signature]))
    service = penstock_falcon.asgi(make_app(), engine=engine).penstock
    headers, _body = service.answer_unreadable(400, "what?", {b"origin": b"https://a.example"})
    assert dict(headers)["x-signed"] == "yes"
    assert signature.heads[0].header("origin") == "https://a.example"


# ---- pages in browsers: the requests that they send


PAGE, OTHER = "https://app.example.com", "https://evil.example"
PREFLIGHT = {
    "Accept": "*/*",
    "Access-Control-Request-Headers": "authorization,content-type",
    "Access-Control-Request-Method": "POST",
    "Origin": PAGE,
    "Referer": f"{PAGE}/",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "cross-site",
}


@pytest.fixture
def browser(kind: str) -> falcon.testing.TestClient:
    cors = CorsPlugin(CorsPlugin.Settings(origins=(PAGE,)))
    engine = KINDS[kind][1](registry=Registry([Doors(), cors]))
    return falcon.testing.TestClient(KINDS[kind][0](make_app(), engine=engine))


@pytest.mark.parametrize("path", ["/square", "/count", "/page", "/livez", "/-/status"])
def test_a_preflight_needs_no_key(browser: falcon.testing.TestClient, path: str) -> None:
    """Browsers send none with it. It says what the path takes, and takes no room of any limit."""
    result = browser.simulate_options(path, headers=PREFLIGHT)
    assert result.status_code == 200
    assert result.headers["access-control-allow-origin"] == PAGE
    assert result.headers["access-control-allow-headers"] == "authorization, content-type"
    assert result.headers["access-control-allow-methods"] == ("POST" if path in {"/square", "/count"} else "GET, HEAD")
    assert result.content == b""


@pytest.mark.parametrize("name", REQUESTS)
def test_a_page_may_read_every_response(browser: falcon.testing.TestClient, name: str) -> None:
    """The errors above all: what a page cannot read is a "network error" to its user."""
    method, path, body, headers, status = REQUESTS[name]
    result = browser.simulate_request(method, path, body=body, headers={**headers, "Origin": PAGE})
    assert (result.status_code, result.headers["access-control-allow-origin"]) == (status, PAGE)
    assert "Origin" in result.headers["vary"].split(", ")
    assert "X-Request-Id" in result.headers["access-control-expose-headers"]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_page_of_another_origin_may_not(browser: falcon.testing.TestClient, name: str) -> None:
    """It has the same status, and nothing that would let it be read."""
    method, path, body, headers, status = REQUESTS[name]
    result = browser.simulate_request(method, path, body=body, headers={**headers, "Origin": OTHER})
    assert result.status_code == status
    assert [header for header in result.headers if header.startswith("access-control-")] == []
    assert "Origin" in result.headers["vary"].split(", ")
    asked = browser.simulate_options("/square", headers={**PREFLIGHT, "Origin": OTHER})
    assert [header for header in asked.headers if header.startswith("access-control-")] == []
