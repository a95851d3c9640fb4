"""The header by which a client asks whether the app still has the schema that the client was made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon.testing
import pytest

import penstock_falcon
from penstock.hooks.registry import Registry
from penstock.hosting import schema_digest
from tests.adapters.falcon.direct_server import direct
from tests.adapters.falcon.fake_engine import FakeEngine, FakeThreadedEngine, make_app
from tests.adapters.falcon.shared_server import shared, shared_direct

HEADER = "x-penstock-schema"
KINDS: dict[str, tuple[Callable[..., Any], type[FakeEngine]]] = {
    "asgi": (penstock_falcon.asgi, FakeEngine),
    "direct": (direct, FakeEngine),
    "shared": (shared, FakeEngine),
    "shared-direct": (shared_direct, FakeEngine),
    "wsgi": (penstock_falcon.wsgi, FakeThreadedEngine),
}


@pytest.fixture(params=list(KINDS))
def client(request: pytest.FixtureRequest) -> falcon.testing.TestClient:
    make, engine = KINDS[request.param]
    return falcon.testing.TestClient(make(make_app(), engine=engine(registry=Registry())))


def answered(client: falcon.testing.TestClient, digest: str | None, body: Any) -> tuple[int, str | None]:
    headers = {} if digest is None else {HEADER: digest}
    result = client.simulate_post("/square", json=body, headers=headers)
    return result.status_code, result.headers.get(HEADER)


def test_a_client_with_another_schema_learns_the_apps(client: falcon.testing.TestClient) -> None:
    """With every answer, errors too, which may be the first that such a client gets."""
    own = schema_digest(make_app(), Registry())
    assert answered(client, "0123456789abcdef", {"input": 4.0}) == (200, own)
    assert answered(client, "ü\t", {"wrong": 4.0}) == (422, own)


def test_nobody_else_gets_the_header(client: falcon.testing.TestClient) -> None:
    """Neither a client with the same schema, nor one that has none."""
    assert answered(client, schema_digest(make_app(), Registry()), {"input": 4.0}) == (200, None)
    assert answered(client, None, {"input": 4.0}) == (200, None)
