"""The endpoint that ``penstock call`` is to call, and how its input is read."""

from __future__ import annotations

import pydantic
import pytest

from penstock import App, HandlerError
from penstock.app import Endpoint
from penstock_cli.call_targets import CallError, submission_to

app = App(__name__)


class Broken(pydantic.BaseModel):
    size: int

    @pydantic.model_validator(mode="after")
    def check(self) -> Broken:
        raise ZeroDivisionError


@app.endpoint("/users/{user}/titles", name="titles")
def titles(user: int, title: str, words: int = 12) -> list[object]:
    return [user, title, words]


@app.endpoint("/users/me/titles", name="own")
def own() -> list[object]:
    return ["me"]


@app.endpoint("/search", method="GET", name="search")
def search(text: str, page: int = 1) -> list[object]:
    return ["get", text, page]


@app.endpoint("/search", name="index")
def index(text: str) -> list[object]:
    return ["post", text]


@app.endpoint("/broken", name="broken")
def broken(model: Broken) -> None: ...


def answer(name: str, body: bytes | None) -> object:
    """Return what the handler answers to this input, decoded as in a worker."""
    submission = submission_to(name, app, "demo:app", body)
    endpoint = submission.endpoint
    assert isinstance(endpoint, Endpoint)
    decoded = endpoint.codec.decode(body or b"", submission.input_form)
    return endpoint.codec.call(endpoint.handler, decoded)


@pytest.mark.parametrize(
    ("name", "body", "result"),
    [
        ("titles", b'{"user": 3, "title": "a"}', [3, "a", 12]),
        ("/users/{user}/titles", b'{"user": 3, "title": "a"}', [3, "a", 12]),
        ("/users/3/titles", b'{"title": "a"}', [3, "a", 12]),
        ("/users/%33/titles", b'{"title": "a"}', [3, "a", 12]),
        ("/users/me/titles", None, ["me"]),
        ("/search?text=a%20b&page=2", None, ["get", "a b", 2]),
        ("/search", b'{"text": "a"}', ["post", "a"]),
        ("search", b'{"text": "a"}', ["get", "a", 1]),
    ],
)
def test_a_path_may_have_values(name: str, body: bytes | None, result: object) -> None:
    """They are read as over HTTP, as is a query. For its name, or its path as declared, the body has everything."""
    assert answer(name, body) == result


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("title", b"{}", "demo:app has no endpoint title; did you mean titles?"),
        ("/serch?text=a", None, "demo:app has no endpoint /serch; did you mean /search?"),
        ("nothing", None, "there are: broken, index, own, search, titles"),
        ("/users//titles", b"{}", "has no endpoint /users//titles; did you mean"),
        ("/users/x/titles", b'{"title": "a"}', "/users/x/titles cannot take this input: $.user: Expected `int`"),
        ("/users/3/titles", b'{"user": 3, "title": "a"}', "$.user: unknown field"),
        ("/search", None, "/search cannot take this input: $.text: required but missing"),
        ("index", None, "index cannot take this input: the body is empty"),
        ("index", b'{"text', "the body is not JSON"),
    ],
)
def test_what_cannot_be_called_has_a_reason(name: str, body: bytes | None, reason: str) -> None:
    """An unknown name with the closest one, or what is wrong with the input."""
    with pytest.raises(CallError) as refused:
        submission_to(name, app, "demo:app", body)
    assert reason in refused.value.message
    assert refused.value.exit_code == 2


def test_a_broken_type_is_a_fault_of_the_app() -> None:
    """It is not called a wrong input."""
    with pytest.raises(HandlerError):
        submission_to("broken", app, "demo:app", b'{"size": 1}')
