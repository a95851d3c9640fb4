"""The plug-in: its paths, the list of models, and the policies of other plug-ins around it."""

from __future__ import annotations

import msgspec
import pytest
from openapi_spec_validator import validate

from penstock import App, Batching
from penstock.errors import DeclarationError, PluginError, Unauthorized
from penstock.response import Encoded
from penstock.testing import PluginHarness
from penstock_auth import AuthPlugin, AuthSettings
from penstock_chat import ChatRequest
from penstock_openai import Chat, OpenAIPlugin
from penstock_ratelimit import RateLimitPlugin
from tests.plugins.openai.model_app import make_app, make_harness

CHAT = msgspec.json.encode({"messages": [{"role": "user", "content": "hi"}], "model": "plain"})
ALICE, BOB = "alice-has-this-key-for-mathematics", "bob-has-another-key-for-nothing"
ANSWER = Encoded(b'"Hello"')


def paths_of(app: App) -> set[str]:
    harness = PluginHarness(app)
    dialects = [dialect for dialect in harness.registry.dialects(app) if dialect.name != "native"]
    operations = {operation.path for dialect in dialects for operation in dialect.operations}
    return operations | {route.path for route in harness.registry.routes(app) if "models" in route.path}


def test_the_prefix_of_the_paths_is_a_setting() -> None:
    """It is what follows the host in a client's ``base_url``."""
    assert paths_of(make_app(prefix="/openai/v1")) == {
        "/openai/v1/chat/completions",
        "/openai/v1/completions",
        "/openai/v1/embeddings",
        "/openai/v1/models",
        "/openai/v1/models/{model:path}",
    }
    assert "/chat/completions" in paths_of(make_app(prefix=""))


@pytest.mark.parametrize("prefix", ["v1", "/v1/", "/v 1", "/{x}"])
def test_a_prefix_that_is_none_is_refused_at_the_start(prefix: str) -> None:
    """With an example."""
    with pytest.raises(PluginError, match="write for instance /openai/v1"):
        make_harness(prefix=prefix)


def test_an_app_without_offers_has_no_such_paths() -> None:
    """The plug-in is always there, and costs nothing."""
    assert paths_of(App("tests", plugins=[OpenAIPlugin])) == set()


def test_two_models_of_one_name_are_refused_at_the_start() -> None:
    """The message is about the app, and not about the plug-in."""
    app = App("tests", plugins=[OpenAIPlugin])
    for path in ("/a", "/b"):

        @app.endpoint(path, dialects=[Chat(model="m")])
        def chat(request: ChatRequest) -> str:
            return ""

    with pytest.raises(
        DeclarationError, match=r"^endpoint 'b': Chat\(model='m'\) has the name 'm', as endpoint 'a' has"
    ):
        PluginHarness(app).registry.dialects(app)


def test_the_list_of_models() -> None:
    """Each name once, of all kinds of models; one of them, by a name that may have slashes."""
    harness = make_harness()
    listed = msgspec.json.decode(harness.route("/v1/models").body)
    assert listed["object"] == "list"
    names = [model["id"] for model in listed["data"]]
    assert names == ["able", "alias", "org/able", "plain", "davinci", "embed", "tokens"]
    found = msgspec.json.decode(harness.route("/v1/models/org/able").body)
    assert found == {"id": "org/able", "object": "model", "created": found["created"], "owned_by": "penstock"}
    assert isinstance(found["created"], int)
    unknown = harness.route("/v1/models/nothing")
    assert (unknown.status, msgspec.json.decode(unknown.body)["error"]["code"]) == (404, "model_not_found")


def test_the_policies_of_an_endpoint_decide() -> None:
    """Keys, scopes and limits are those of the endpoint that the body names, in OpenAI's words."""
    auth = AuthSettings(keys=f"alice:math={ALICE},bob={BOB}", scopes={"able": ("math",)})
    limits = {"RateLimitPlugin": {"endpoints": {"plain": {"requests": ["1/minute"]}}}}
    harness = PluginHarness(make_app(), [AuthPlugin(auth), RateLimitPlugin], settings=limits)

    def ask(body: bytes, key: str) -> tuple[int, str, str]:
        bearer = {"Authorization": f"Bearer {key}"}
        found = harness.operation("POST", "/v1/chat/completions", body, ANSWER, headers=bearer)
        error = msgspec.json.decode(found.body).get("error", {"type": "", "code": ""})
        return found.status, error["type"], error["code"]

    able = CHAT.replace(b"plain", b"able")
    assert ask(CHAT, "wrong") == (401, "authentication_error", "invalid_api_key")
    assert ask(able, BOB) == (403, "permission_error", "forbidden")
    assert ask(able, ALICE) == (200, "", "")
    assert ask(CHAT, BOB) == (200, "", "")
    assert ask(CHAT, BOB) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert harness.route("/v1/models", headers={"Authorization": f"Bearer {BOB}"}).status == 200
    with pytest.raises(Unauthorized):
        harness.route("/v1/models")


def test_the_paths_are_in_the_openapi_document() -> None:
    """With the fields that every client sends, and the names of the models."""
    harness = make_harness()
    document = msgspec.json.decode(harness.route("/openapi.json").body)
    assert {path for path in document["paths"] if path.startswith("/v1")} == {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/models",
        "/v1/models/{model}",
    }
    body = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["model"]["examples"] == ["able", "alias", "org/able", "plain"]
    validate(document)


def test_a_model_that_is_a_class_or_batches() -> None:
    """The request is the one parameter of ``predict``, or each item of its list."""
    app = App("tests", plugins=[OpenAIPlugin])

    @app.endpoint("/batched", batching=Batching(max_size=2), dialects=[Chat(model="m")])
    class Model:
        def predict(self, requests: list[ChatRequest]) -> list[str]:
            return ["x"] * len(requests)

    found = PluginHarness(app).operation("POST", "/v1/chat/completions", CHAT.replace(b"plain", b"m"), ANSWER)
    assert msgspec.json.decode(found.body)["choices"][0]["message"]["content"] == "Hello"
    with pytest.raises(DeclarationError, match=r"write `def predict\(self, request: ChatRequest\)`"):

        @app.endpoint("/other", dialects=[Chat(model="n")])
        class Other:
            def predict(self, text: str) -> str:
                return text
