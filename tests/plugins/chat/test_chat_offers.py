"""Offers of models: their names, what their handlers take, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from penstock import App, Context
from penstock.errors import DeclarationError, InvalidRequest, NotFound
from penstock.hooks import Endpoint, offers_of
from penstock_chat import (
    Audio,
    ChatOffer,
    ChatRequest,
    Image,
    Message,
    ModelTable,
    ResponseFormat,
    Text,
    Tool,
)


class Offer(ChatOffer):
    gatherer = "tests"


def app_of(*offers: Any) -> App:
    app = App("tests")
    for number, offer in enumerate(offers):

        def chat(request: ChatRequest, context: Context) -> Iterator[str]:
            yield "x"

        app.endpoint(f"/chat{number}", dialects=[offer])(chat)
    return app


def table_of(*offers: Any) -> ModelTable[Offer]:
    return ModelTable(offers_of(app_of(*offers), Offer))


def found(pair: tuple[Endpoint, Offer]) -> tuple[str, str]:
    return pair[0].name, pair[1].model


def test_a_model_is_found_by_its_names() -> None:
    """The default only if the request names none."""
    table = table_of(Offer(model="a", aliases=("b",)), Offer(model="c", is_default=True))
    assert found(table.find("a")) == found(table.find("b")) == ("chat0", "a")
    assert found(table.find(None)) == found(table.find("")) == ("chat1", "c")
    with pytest.raises(NotFound, match=r"'aa' does not exist; did you mean a\?") as unknown:
        table.find("aa")
    assert unknown.value.param == "model"
    with pytest.raises(NotFound, match="names no model, and there is no default"):
        table_of(Offer(model="a")).find(None)


@pytest.mark.parametrize(
    ("offers", "message"),
    [
        (
            [{"model": "a"}, {"model": "b", "aliases": ("a",)}],
            "endpoint 'chat1': .*'b'.* has the name 'a', as endpoint",
        ),
        ([{"model": "a", "is_default": True}, {"model": "b", "is_default": True}], "endpoint 'chat1': .* the default"),
    ],
)
def test_names_and_the_default_are_unique(offers: list[dict[str, Any]], message: str) -> None:
    """The message has both endpoints, and the fix."""
    with pytest.raises(DeclarationError, match=message):
        table_of(*(Offer(**fields) for fields in offers))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": ""}, "is not a model's name"),
        ({"model": "a b"}, "is not a model's name"),
        ({"model": "a", "aliases": "bc"}, r"write aliases=\('bc',\)"),
        ({"model": "a", "structured": "maybe"}, "use one of refuse, handler, validate"),
        ({"model": "a", "inputs": ("video",)}, "is not a tuple of 'text', 'image'"),
        ({"model": "a", "inputs": "text"}, "is not a tuple of"),
    ],
)
def test_an_offer_that_is_wrong_is_refused_at_import(fields: dict[str, Any], message: str) -> None:
    """With the fix."""
    with pytest.raises(DeclarationError, match=message):
        Offer(**fields)


def test_a_handler_has_to_take_the_request() -> None:
    """Anything else is refused at import, with the line to write."""
    app = App("tests")
    with pytest.raises(DeclarationError, match=r"endpoint 'chat': Offer\(model='a'\) needs a handler .*request: Chat"):

        @app.endpoint("/chat", dialects=[Offer(model="a")])
        def chat(text: str) -> str:
            return text


def asked(**fields: Any) -> ChatRequest:
    return ChatRequest(**{"messages": [Message(role="user", content="x")], **fields})


@pytest.mark.parametrize(
    ("fields", "able", "param"),
    [
        ({"tools": [Tool(name="f")]}, {"tools": True}, "tools"),
        ({"response_format": ResponseFormat(type="json_object")}, {"structured": "handler"}, "response_format"),
        ({"logprobs": True}, {"logprobs": True}, "logprobs"),
        (
            {"messages": [Message(role="user", content=[Text("a"), Image("http://x")])]},
            {"inputs": ("text", "image")},
            "messages[0].content",
        ),
        (
            {"messages": [Message(role="user", content=[Audio(b"a")])]},
            {"inputs": ("audio",)},
            "messages[0].content",
        ),
    ],
)
def test_what_a_handler_does_not_promise_is_refused(fields: Any, able: Any, param: str) -> None:
    """And accepted if it does."""
    Offer(model="a", **able).accept(asked(**fields))
    with pytest.raises(InvalidRequest) as refused:
        Offer(model="a").accept(asked(**fields))
    assert refused.value.param == param


def test_tools_that_are_not_to_be_called() -> None:
    """They need no promise."""
    Offer(model="a").accept(asked(tools=[Tool(name="f")], tool_choice="none"))


def test_who_compares_the_answer_with_the_schema() -> None:
    """Penstock, if the offer says so; then the schema itself has to be one."""
    request = asked(response_format=ResponseFormat(type="json_schema", schema={"type": "object"}))
    Offer(model="a", structured="handler").accept(request)
    assert not request.response_format.is_validated
    Offer(model="a", structured="validate").accept(request)
    assert request.response_format.is_validated
    for schema in ({"type": "objekt"}, {"properties": 1}):
        wrong = asked(response_format=ResponseFormat(type="json_schema", schema=schema))
        with pytest.raises(InvalidRequest) as refused:
            Offer(model="a", structured="validate").accept(wrong)
        assert refused.value.param == "response_format.json_schema.schema"
