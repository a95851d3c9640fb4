"""The route ``/openapi.json``: on if the settings say so, behind every prefix, and with the key that callers have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon.asgi
import falcon.testing
import jsonschema
import msgspec
import pytest

import penstock_falcon
from penstock import App
from penstock.errors import PenstockError
from penstock.hooks import EndpointDescription, hookimpl
from penstock.hooks.registry import Registry
from penstock.openapi import openapi_document
from penstock.openapi.error_responses import sent_errors
from penstock_auth import AuthPlugin, AuthSettings
from penstock_falcon.problems import problem
from tests.adapters.falcon.fake_engine import FakeEngine, FakeThreadedEngine, make_app
from tests.adapters.falcon.shared_server import shared

KINDS: dict[str, tuple[Callable[..., Any], type[FakeEngine]]] = {
    "asgi": (penstock_falcon.asgi, FakeEngine),
    "shared": (shared, FakeEngine),
    "wsgi": (penstock_falcon.wsgi, FakeThreadedEngine),
}
KEY = "a-key-of-more-than-twenty-characters"


def client(kind: str, app: App, **settings: Any) -> Any:
    serve, engine = KINDS[kind]
    registry = Registry(app.plugins, app=app)
    return falcon.testing.TestClient(serve(app, engine=engine(registry=registry), **settings))


@pytest.mark.parametrize("kind", KINDS)
def test_the_document_is_served_if_the_settings_say_so(kind: str) -> None:
    """As JSON, with the endpoints of the app, from one or from several HTTP processes."""
    answer = client(kind, make_app(), docs=True).simulate_get("/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json["paths"]) == ["/square", "/count", "/raw", "/whoami"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_served_otherwise(kind: str) -> None:
    """An application does not know who can reach it, so it describes itself only if it is asked to."""
    assert client(kind, make_app()).simulate_get("/openapi.json").status_code == 404


def test_the_server_is_beside_the_document() -> None:
    """Below a prefix too: the address is relative to that of the document."""
    application = falcon.asgi.App(request_type=penstock_falcon.Request)
    app = make_app()
    penstock_falcon.mount(application, app, "/models", engine=FakeEngine(), docs=True)
    answer = falcon.testing.TestClient(application).simulate_get("/models/openapi.json")
    assert answer.json["servers"] == [{"url": "."}]
    assert "/square" in answer.json["paths"]


def test_an_endpoint_may_have_the_path_of_the_document() -> None:
    """The endpoint is served; the description of the app is not."""
    app = App("own")

    @app.endpoint("/openapi.json")
    def own(input: int) -> int:
        return input

    answer = client("asgi", app, docs=True).simulate_get("/openapi.json")
    assert answer.status_code == 405


@pytest.mark.parametrize("kind", KINDS)
def test_the_document_needs_a_key_where_endpoints_do(kind: str) -> None:
    """Any caller's key will do; it need not be that of an operator."""
    app = App("locked", plugins=[AuthPlugin(AuthSettings(keys=f"ada={KEY}"))])
    app.endpoint("/double")(double)
    served = client(kind, app, docs=True)
    assert served.simulate_get("/openapi.json").status_code == 401
    answer = served.simulate_get("/openapi.json", headers={"X-API-Key": KEY})
    assert answer.status_code == 200
    assert list(answer.json["components"]["securitySchemes"]) == ["bearer", "apiKey"]
    assert served.simulate_get("/-/status", headers={"X-API-Key": KEY}).status_code == 403


def double(input: int) -> int:
    return 2 * input


# ---- errors


@pytest.fixture(scope="module")
def document() -> Any:
    app = make_app()
    described = EndpointDescription(errors=tuple(sent_errors()))

    class Everything:
        @hookimpl
        def penstock_description(self) -> EndpointDescription:
            return described

    return openapi_document(app, Registry([Everything], app=app))


@pytest.mark.parametrize("kind", [*sent_errors()], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_every_error_is_as_the_document_says(document: Any, kind: type[PenstockError], *, debug: bool) -> None:
    """The problem document fits its schema, with its code among those listed, and the response has its headers."""
    response = problem(kind("what happened"), "r1", debug=debug)
    content = msgspec.json.decode(response.body or b"")
    schema = document["components"]["schemas"]["Problem"]
    jsonschema.Draft202012Validator(schema).validate(content)
    assert content["error"]["code"] in schema["properties"]["error"]["properties"]["code"]["anyOf"][0]["enum"]
    responses = document["paths"]["/square"]["post"]["responses"]
    described = responses.get(str(response.status), responses["default"])
    name = described["$ref"].rpartition("/")[2]
    promised = {header.lower() for header in document["components"]["responses"][name]["headers"]}
    assert promised <= {header for header, _ in response.headers}


def test_the_statuses_of_all_errors_are_described(document: Any) -> None:
    """All but those that an endpoint never has: of a wrong method, and for a client that has left."""
    statuses = {str(kind.status) for kind in sent_errors()}
    assert statuses - document["paths"]["/square"]["post"]["responses"].keys() == {"405", "499"}
