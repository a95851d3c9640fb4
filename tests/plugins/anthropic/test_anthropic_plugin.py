"""The plug-in ``anthropic``: its paths, its models, the counts of tokens, and errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import validate

from penstock import App
from penstock.errors import DeclarationError, NotFound, PenstockError, PluginError
from penstock.hooks import PublicError, RouteResponse
from penstock.response import Encoded
from penstock.testing import PluginHarness
from penstock_anthropic import AnthropicPlugin, Messages
from penstock_anthropic.anthropic_errors import error_response
from penstock_chat import ChatRequest
from penstock_openai import Chat, OpenAIPlugin

TURNS = [{"role": "user", "content": "Hi"}]
TOOL = {"name": "weather", "input_schema": {"type": "object"}}
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}

HI = Encoded(b'"Hi"')


def declared(*dialects: Any, **more: Any) -> App:
    """Return an app with a chat of these dialects, and an endpoint that counts."""
    app = App("app", **more)

    @app.endpoint("/chat", dialects=list(dialects))
    def chat(request: ChatRequest) -> Iterator[str]:
        yield request.model

    @app.endpoint("/count")
    def count(request: ChatRequest) -> int:
        return len(request.messages)

    @app.endpoint("/square")
    def square(input: int) -> int:
        return input**2

    return app


def harness(*dialects: Any, **settings: Any) -> PluginHarness:
    return PluginHarness(declared(*dialects), [AnthropicPlugin, OpenAIPlugin], settings={"anthropic": settings})


def ask(served: PluginHarness, path: str = "/v1/messages", answer: Any = HI, **fields: Any) -> RouteResponse:
    body = {"max_tokens": 5, "messages": TURNS, **fields}
    return served.operation("POST", path, msgspec.json.encode(body), answer=answer)


def fault(answer: RouteResponse) -> tuple[int, str, str]:
    """Return the status, the type and the message of an error."""
    found = msgspec.json.decode(answer.body)
    assert found.keys() == {"type", "error", "request_id"}
    assert found["type"] == "error"
    return answer.status, found["error"]["type"], found["error"]["message"]


# ---- models


def test_the_body_names_the_model() -> None:
    """By its name, by an alias, or not at all if there is a default; the answer repeats the name that was used."""
    served = harness(Messages(model="tiny", aliases=("claude-tiny",), is_default=True))
    for name, shown in (("tiny", "tiny"), ("claude-tiny", "claude-tiny"), (None, "tiny")):
        assert msgspec.json.decode(ask(served, model=name).body)["model"] == shown
    status, kind, message = fault(ask(served, model="big"))
    assert (status, kind) == (404, "not_found_error")
    assert "'big'" in message


def test_what_a_model_cannot_do_is_refused() -> None:
    """With the field, as this protocol has it."""
    served = harness(Messages(model="tiny"))
    form = {"format": {"type": "json_schema", "schema": {}}}
    for wrong, field in (
        ({"tools": [TOOL]}, "`tools`"),
        ({"output_config": form}, "`output_config.format`"),
        ({"messages": [{"role": "user", "content": [IMAGE]}], "system": "x"}, "`messages`"),
        ({"tool_choice": {"type": "any"}}, "`tool_choice`"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "`tool_choice`"),
    ):
        status, kind, message = fault(ask(served, model="tiny", **wrong))
        assert (status, kind) == (400, "invalid_request_error")
        assert message.startswith(field)


def test_a_schema_must_be_one() -> None:
    """If answers are compared with it."""
    served = harness(Messages(model="tiny", structured="validate"))
    form = {"format": {"type": "json_schema", "schema": {"type": "nonsense"}}}
    assert fault(ask(served, model="tiny", output_config=form))[2].startswith(
        "`output_config.format.schema`: it is not"
    )


def test_models_are_listed() -> None:
    """On one page, aliases included; unless another protocol has models, whose path it is as well."""
    served = harness(Messages(model="tiny", aliases=("org/tiny",)))
    page = msgspec.json.decode(served.route("/v1/models").body)
    assert [model["id"] for model in page["data"]] == ["tiny", "org/tiny"]
    assert (page["has_more"], page["first_id"], page["last_id"]) == (False, "tiny", "org/tiny")
    assert msgspec.json.decode(served.route("/v1/models/org/tiny").body)["type"] == "model"
    assert fault(served.route("/v1/models/big"))[:2] == (404, "not_found_error")


def test_the_list_of_models_is_shared_with_other_protocols() -> None:
    """Without a prefix it is theirs; with one, each has its own."""
    both = [Messages(model="tiny"), Chat(model="tiny")]
    assert b"owned_by" in harness(*both).route("/v1/models").body
    served = harness(*both, prefix="/anthropic")
    assert b"owned_by" in served.route("/v1/models").body
    assert b"display_name" in served.route("/anthropic/v1/models").body
    assert ask(served, "/anthropic/v1/messages", model="tiny").status == 200


def test_the_paths_are_in_the_openapi_document() -> None:
    """With the fields that every client sends, and the names of the models."""
    served = harness(Messages(model="tiny", aliases=("org/tiny",), count_tokens="count"))
    document = msgspec.json.decode(served.route("/openapi.json").body)
    paths = {path for path in document["paths"] if path.startswith("/v1")}
    assert paths == {"/v1/messages", "/v1/messages/count_tokens", "/v1/models", "/v1/models/{model}"}
    body = document["paths"]["/v1/messages"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["model"]["examples"] == ["tiny", "org/tiny"]
    validate(document)


def test_without_models_there_is_nothing() -> None:
    """The plug-in adds no path to an app that does not use it."""
    served = harness()
    with pytest.raises(NotFound):
        served.route("/v1/models")
    with pytest.raises(NotFound):
        ask(served)


@pytest.mark.parametrize("prefix", ["anthropic", "/a/", "/a b"])
def test_a_prefix_is_a_path(prefix: str) -> None:
    """Anything else is refused at the start."""
    with pytest.raises(PluginError, match="prefix"):
        harness(prefix=prefix)


# ---- tokens


def test_tokens_are_counted_by_another_endpoint() -> None:
    """It gets the conversation, without what only an answer needs."""
    served = harness(Messages(model="tiny", count_tokens="count"))
    answer = ask(served, "/v1/messages/count_tokens", Encoded(b"12"), model="tiny", max_tokens=None)
    assert (answer.status, answer.body) == (200, b'{"input_tokens":12}')
    assert fault(ask(served, "/v1/messages/count_tokens", model="tiny", messages=[]))[0] == 400


def test_tokens_of_a_model_without_such_an_endpoint() -> None:
    """The path says so."""
    served = harness(Messages(model="tiny"))
    status, kind, message = fault(ask(served, "/v1/messages/count_tokens", model="tiny"))
    assert (status, kind) == (404, "not_found_error")
    assert message == "The tokens of the model 'tiny' are not counted here"


def test_the_endpoint_that_counts_takes_a_chat_request() -> None:
    """Otherwise the app is refused at the start, as with a name that no endpoint has."""
    with pytest.raises(DeclarationError, match="count_tokens='square'"):
        ask(harness(Messages(model="tiny", count_tokens="square")))
    with pytest.raises(DeclarationError, match="no endpoint 'cont'"):
        ask(harness(Messages(model="tiny", count_tokens="cont")))


# ---- errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (415, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_each_status_has_a_type(status: int, kind: str) -> None:
    """Clients look at both."""
    error = PublicError(status=status, code="c", title="t", message="m", type="x", request_id="r")
    assert fault(error_response(error)) == (status, kind, "m")


def test_bodies_that_do_not_fit_are_bad_requests() -> None:
    """JSON or not; clients know no 422."""
    served = harness(Messages(model="tiny"))
    for body in (b"", b"{", b"[]", b"{}", b'{"model":"tiny","max_tokens":5,"messages":"Hi"}', b"\xff"):
        assert fault(served.operation("POST", "/v1/messages", body))[:2] == (400, "invalid_request_error")


def test_only_the_offers_of_the_plugin_need_it() -> None:
    """An app that has them and not the plug-in is refused."""
    with pytest.raises(PenstockError, match="anthropic"):
        ask(PluginHarness(declared(Messages(model="tiny")), [OpenAIPlugin]))
