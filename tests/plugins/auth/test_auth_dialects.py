"""Keys and scopes for requests in a dialect: those of the endpoint that the request turns out to be for."""

from __future__ import annotations

import msgspec
import pytest

from penstock.app import App
from penstock.errors import NotFound
from penstock.hooks import Dialect, DialectRequest, Operation, Payload, PublicError, RouteResponse
from penstock.response import Encoded
from penstock.testing import PluginHarness
from penstock_auth import AuthPlugin, AuthSettings

ALICE, BOB = "alice-has-this-key-for-mathematics", "bob-has-another-key-for-nothing"


def read(request: DialectRequest) -> Payload:
    model = msgspec.json.decode(request.body)["model"]
    return Payload(endpoint=model, body=b'{"input": 1}')


def error(error: PublicError) -> RouteResponse:
    return RouteResponse(body=error.code.encode(), status=error.status)


CHOSEN_BY_BODY = Operation(path="/v1/answers", read=read)
CHOSEN_BY_PATH = Operation(
    path="/v1/{model}/answers",
    read=lambda request: Payload(endpoint=request.path_values["model"], body=b'{"input": 1}'),
    choose=lambda request: known(request.path_values["model"]),
)


def known(model: str) -> str:
    if model not in ("square", "echo"):
        raise NotFound("there are only square and echo")
    return model


@pytest.fixture
def harness() -> PluginHarness:
    app = App("tests")
    dialect = Dialect(
        name="talk",
        operations=(CHOSEN_BY_BODY, CHOSEN_BY_PATH),
        result=lambda answer, _payload: RouteResponse(body=answer.body),
        error=error,
    )

    @app.endpoint("/square", dialects=[dialect])
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/echo", dialects=[dialect])
    def echo(input: float) -> float:
        return input

    settings = AuthSettings(keys=f"alice:math={ALICE},bob={BOB}", scopes={"square": ("math",)})
    return PluginHarness(app, [AuthPlugin(settings)])


@pytest.mark.parametrize(
    ("key", "model", "status", "body"),
    [
        (ALICE, "square", 200, b"1.0"),
        (BOB, "square", 403, b"forbidden"),
        (BOB, "echo", 200, b"1.0"),
        (None, "echo", 401, b"unauthorized"),
        ("a-key-that-the-server-does-not-know", "echo", 401, b"unauthorized"),
        (BOB, "nowhere", 404, b"not-found"),
        (None, "nowhere", 401, b"unauthorized"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/answers", "/v1/{model}/answers"])
def test_an_endpoint_has_its_scopes_in_every_dialect(
    harness: PluginHarness, *, path: str, key: str | None, model: str, status: int, body: bytes
) -> None:
    """The path may name it, or the body; a caller needs no other scope to have its body read."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    asked = msgspec.json.encode({"model": model})
    found = harness.operation("POST", path.format(model=model), asked, Encoded(b"1.0"), headers=headers)
    assert (found.status, found.body) == (status, body)
