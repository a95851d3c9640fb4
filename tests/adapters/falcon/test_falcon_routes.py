"""Routes that read bodies and paths, wait, and stream: the same under ASGI and WSGI, and through a shared engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon.testing
import pytest

import penstock_falcon
from penstock import errors
from penstock.hooks import Principal, RequestAnswered, Route, RouteRequest, RouteResponse, Submission, hookimpl
from penstock.hooks.registry import Registry
from tests.adapters.falcon.fake_engine import FakeEngine, FakeThreadedEngine, make_app
from tests.adapters.falcon.shared_server import shared

KINDS: dict[str, tuple[Callable[..., Any], type[FakeEngine]]] = {
    "asgi": (penstock_falcon.asgi, FakeEngine),
    "shared": (shared, FakeEngine),
    "wsgi": (penstock_falcon.wsgi, FakeThreadedEngine),
}
MAX_BODY = 100


class Notes:
    """A plug-in with routes; the test sets what its authenticator does."""

    name = "notes"

    def __init__(self) -> None:
        self.authenticate: Callable[[Submission], Principal | None] = lambda _submission: None
        self.answered: list[RequestAnswered] = []

    @hookimpl
    def penstock_authenticator(self, endpoint: Any) -> Callable[[Submission], Principal | None]:
        return lambda submission: self.authenticate(submission)  # noqa: PLW0108 - a test changes it later

    @hookimpl
    def penstock_observer(self) -> dict[Any, Callable[[Any], None]]:
        return {RequestAnswered: self.answered.append}

    @hookimpl
    def penstock_routes(self) -> list[Route]:
        note = "/notes/{name}"
        reading: dict[str, Any] = {"reads_body": True, "max_body": MAX_BODY}
        return [
            Route(path=note, name="note", handler=tell),
            Route(path=note, name="note", handler=tell, method="PUT", **reading),
            Route(path=note, name="note", handler=tell, method="DELETE"),
            Route(path="/notes", name="notes", handler=tell, method="POST", **reading),
            Route(path="/late", name="late", handler=tell, method="POST", reads_body=True, body_timeout=0.0),
            Route(path="/files/{path:path}", name="files", handler=tell),
        ]


def tell(request: RouteRequest, engine: Any) -> RouteResponse:
    return RouteResponse.json([request.method, request.path_values, request.body.decode()])


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture(params=list(KINDS))
def client(request: pytest.FixtureRequest, notes: Notes) -> falcon.testing.TestClient:
    build, engine = KINDS[request.param]
    return falcon.testing.TestClient(build(make_app(), engine=engine(registry=Registry([notes]))))


def code_of(result: falcon.testing.Result) -> tuple[int, str]:
    return result.status_code, result.json["error"]["code"]


# ---- paths and bodies


def test_a_route_reads_its_path(client: falcon.testing.TestClient) -> None:
    """Variables stand for one segment, the last one for several if it says so; they are decoded."""
    assert client.simulate_get("/notes/a%20b").json == ["GET", {"name": "a b"}, ""]
    assert client.simulate_get("/files/a/b.txt").json == ["GET", {"path": "a/b.txt"}, ""]
    assert client.simulate_get("/notes/a/b").status_code == 404


def test_a_path_has_a_route_for_each_method(client: falcon.testing.TestClient) -> None:
    """Even by one name. Another method is refused with the ones that there are."""
    assert client.simulate_delete("/notes/a").json[0] == "DELETE"
    assert client.simulate_put("/notes/a", body=b"x").json[0] == "PUT"
    assert client.simulate_head("/notes/a").status_code == 200
    refused = client.simulate_post("/notes/a", body=b"x")
    assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, GET, HEAD, PUT")


@pytest.mark.parametrize("body", [b"", b"hello", b"x" * MAX_BODY])
def test_a_route_reads_its_body(client: falcon.testing.TestClient, body: bytes) -> None:
    """Up to its limit; the content type is the handler's business."""
    assert client.simulate_put("/notes/a", body=body).json == ["PUT", {"name": "a"}, body.decode()]


def test_a_body_over_the_limit_is_refused(client: falcon.testing.TestClient, notes: Notes) -> None:
    """With 413, recorded once."""
    assert code_of(client.simulate_post("/notes", body=b"x" * (MAX_BODY + 1))) == (413, "payload-too-large")
    assert [(record.endpoint, record.status) for record in notes.answered] == [("notes", 413)]


@pytest.mark.parametrize("client", ["wsgi"], indirect=True)  # the test client for ASGI sets the length itself
def test_a_body_that_is_cut_short_is_refused(client: falcon.testing.TestClient) -> None:
    """With 400: a handler never sees half of one."""
    cut = client.simulate_post("/notes", body=b"half", headers={"Content-Length": "8"})
    assert code_of(cut) == (400, "invalid-request")


def test_a_body_that_comes_late_is_refused(client: falcon.testing.TestClient) -> None:
    """With 408."""
    assert code_of(client.simulate_post("/late", body=b"text")) == (408, "request-timeout")


def test_a_compressed_body_is_not_passed_on_as_it_is(client: falcon.testing.TestClient) -> None:
    """A handler would take it for the text."""
    sent = client.simulate_post("/notes", body=b"text", headers={"Content-Encoding": "br"})
    assert code_of(sent) == (415, "unsupported-media-type")


def test_a_body_is_not_read_for_a_stranger(client: falcon.testing.TestClient, notes: Notes) -> None:
    """The authenticator is asked before the size of the body matters."""

    def authenticate(_submission: Submission) -> None:
        raise errors.Unauthorized("who are you")

    notes.authenticate = authenticate
    assert client.simulate_post("/notes", body=b"x" * (MAX_BODY + 1)).status_code == 401
