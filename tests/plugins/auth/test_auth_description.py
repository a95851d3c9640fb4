"""The credentials and scopes in the OpenAPI document."""

from __future__ import annotations

from typing import Any

import openapi_spec_validator
import pytest

from penstock import App
from penstock.hooks.registry import Registry
from penstock.openapi import openapi_document
from penstock_auth import AuthPlugin, AuthSettings, JwtSettings

KEYS = "ada=a-key-of-more-than-twenty-characters"
TOKENS = JwtSettings(algorithms=("RS256",), jwks_file="/nowhere.json")


def document_of(settings: AuthSettings) -> Any:
    """Return a valid document of an app with two endpoints. No key or file is read for it."""
    app = App("tests")

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/double")
    def double(input: float) -> float:
        return input * 2

    document = openapi_document(app, Registry([AuthPlugin(settings)], app=app))
    openapi_spec_validator.validate(document)
    return document


@pytest.mark.parametrize(
    ("settings", "schemes"),
    [
        (AuthSettings(keys=KEYS), {"bearer": "Takes an API key.", "apiKey": None}),
        (AuthSettings(jwt=TOKENS), {"bearer": "Takes a JSON Web Token."}),
        (AuthSettings(keys=KEYS, jwt=TOKENS), {"bearer": "Takes an API key or a JSON Web Token.", "apiKey": None}),
    ],
    ids=["keys", "tokens", "both"],
)
def test_the_schemes_are_those_that_the_settings_accept(settings: AuthSettings, schemes: dict[str, str | None]) -> None:
    """Keys come in either header, and tokens in one; a caller needs one of the schemes."""
    document = document_of(settings)
    found = document["components"]["securitySchemes"]
    assert {name: scheme.get("description") for name, scheme in found.items()} == schemes
    assert document["paths"]["/square"]["post"]["security"] == [{name: []} for name in schemes]
    assert "401" in document["paths"]["/square"]["post"]["responses"]


def test_scopes_belong_to_their_endpoint() -> None:
    """An endpoint that needs one says so, and has a 403."""
    document = document_of(AuthSettings(keys=KEYS, scopes={"square": ("math", "fast")}))
    square, double = (document["paths"][path]["post"] for path in ("/square", "/double"))
    assert square["security"] == [{"bearer": ["fast", "math"]}, {"apiKey": ["fast", "math"]}]
    assert "403" in square["responses"]
    assert "403" not in double["responses"]


def test_without_keys_there_is_nothing_to_say() -> None:
    """No scheme, and no refusal."""
    document = document_of(AuthSettings())
    assert "securitySchemes" not in document["components"]
    assert "401" not in document["paths"]["/square"]["post"]["responses"]
