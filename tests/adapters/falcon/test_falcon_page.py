"""The page at ``/docs``, served by each adapter or by none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon
import falcon.asgi
import falcon.testing
import pytest

import penstock_falcon
from penstock import App
from penstock.hooks import Route, RouteResponse, hookimpl
from penstock.hosting import Registry
from tests.adapters.falcon.fake_engine import FakeEngine, FakeThreadedEngine, make_app

BUILDS = {
    "asgi": lambda app, **more: penstock_falcon.asgi(app, engine=FakeEngine(registry=Registry(app.plugins)), **more),
    "wsgi": lambda app, **more: penstock_falcon.wsgi(
        app, engine=FakeThreadedEngine(registry=Registry(app.plugins)), **more
    ),
}
FILES = ["/docs", "/docs/page.js", "/docs/page.css"]


@pytest.fixture(params=BUILDS)
def build(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return BUILDS[request.param]


def test_the_page_is_there_if_it_is_wanted(build: Callable[..., Any]) -> None:
    """With docs=True the page and its files are served; HEAD and revalidation have no body."""
    client = falcon.testing.TestClient(build(make_app(), docs=True))
    for path in FILES:
        answer = client.simulate_get(path)
        assert (answer.status_code, len(answer.content) > 100) == (200, True)
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert client.simulate_head(path).headers["etag"] == answer.headers["etag"]
        again = client.simulate_get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_otherwise_its_paths_are_like_any_other(build: Callable[..., Any]) -> None:
    """By default there is no page: its paths answer exactly as an unknown one does."""
    client = falcon.testing.TestClient(build(make_app()))
    for path in [*FILES, "/openapi.json"]:
        answer, unknown = client.simulate_get(path), client.simulate_get("/unknown")
        assert answer.status_code == 404
        assert answer.text.replace(path, "/unknown").replace(answer.headers["x-request-id"], "") == (
            unknown.text.replace(unknown.headers["x-request-id"], "")
        )


def test_a_mounted_page_is_behind_the_prefix() -> None:
    """The page of a mounted service is below its prefix, as all of its paths are."""
    falcon_app = falcon.asgi.App()
    penstock_falcon.mount(falcon_app, make_app(), prefix="/models", engine=FakeEngine(), docs=True)
    client = falcon.testing.TestClient(falcon_app)
    assert client.simulate_get("/models/docs/page.js").status_code == 200
    assert client.simulate_get("/docs").status_code == 404


class OwnPage:
    """A plug-in with a page of its own."""

    @hookimpl
    def penstock_routes(self) -> list[Route]:
        return [Route(path="/docs", name="own", handler=lambda *_: RouteResponse.json("own"))]


def test_a_plug_in_keeps_its_path(build: Callable[..., Any]) -> None:
    """A plug-in that serves a page of its own at the same path goes on to do so."""
    client = falcon.testing.TestClient(build(App("own", plugins=[OwnPage()]), docs=True))
    assert client.simulate_get("/docs").json == "own"
    assert client.simulate_get("/openapi.json").status_code == 200


def test_an_endpoint_keeps_its_path(build: Callable[..., Any]) -> None:
    """An app with an endpoint at a path of the page is served as it is."""
    app = App("own")

    @app.endpoint("/docs")
    def docs() -> int:
        return 1

    client = falcon.testing.TestClient(build(app, docs=True))
    assert client.simulate_get("/docs").status_code == 405
    assert client.simulate_get("/openapi.json").status_code == 200
