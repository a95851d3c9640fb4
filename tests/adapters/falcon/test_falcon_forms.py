"""Paths with variables, GET endpoints and forms over HTTP, the same for each way to serve."""

from __future__ import annotations

from typing import Any

import falcon.testing
import pytest

from penstock import App, Context, Upload
from penstock.hosting import SMALL_BODY_BYTES
from penstock.response import Encoded
from tests.adapters.falcon.fake_engine import FakeCall, FakeEngine
from tests.adapters.falcon.test_falcon_contract import KINDS, LARGEST_BODY, PROBLEM

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=edge"


def make_app() -> App:
    app = App(__name__)

    @app.endpoint("/users/{user_id}/caption")
    def caption(user_id: int, words: int = 12) -> Any:
        return ["caption", user_id, words]

    @app.endpoint("/users/{user_id}", method="GET", name="show")
    def show(user_id: int, tags: list[str] = [], deep: bool = False) -> Any:  # noqa: B006 - it is copied
        return ["show", user_id, tags, deep]

    @app.endpoint("/users/{user_id}", name="change")
    def change(user_id: int, name: str) -> Any:
        return ["change", user_id, name]

    @app.endpoint("/users/me", method="GET", name="me")
    def me(req: int = 1) -> Any:
        return ["me", req]

    @app.endpoint("/of/{req}/{resp}/{self}", name="odd")
    def odd(req: str, resp: str, self: str) -> Any:
        return [req, resp, self]

    @app.endpoint("/square")
    def square(input: float) -> Any:
        return input**2

    @app.endpoint("/raw")
    def raw(body: bytes) -> Any:
        return body

    @app.endpoint("/picture")
    def picture(picture: Upload, words: int = 12) -> Any:
        return [picture.name, picture.media_type, picture.size, words]

    @app.endpoint("/context", method="GET")
    def context(context: Context, text: str = "") -> Any:
        return text

    return app


def run(call: FakeCall) -> None:
    """Answer a call as a worker would, or let the error show that the test is wrong."""
    codec = call.endpoint.codec
    result = codec.call(call.endpoint.handler, codec.decode(call.body, call.input_form), Context())
    encoded = codec.encode(result)
    call.decide(encoded if isinstance(encoded, Encoded) else Encoded(b""))


@pytest.fixture(params=list(KINDS))
def client(request: pytest.FixtureRequest) -> falcon.testing.TestClient:
    kind = KINDS[request.param]
    engine: FakeEngine = kind.engine_class(run)
    client = falcon.testing.TestClient(kind.build(make_app(), engine=engine, max_body=LARGEST_BODY))
    client.engine = engine
    return client


def multipart(*parts: tuple[str, bytes]) -> bytes:
    pieces = [b"--edge\r\nContent-Disposition: form-data; name=%s\r\n\r\n%s\r\n" % (h.encode(), c) for h, c in parts]
    return b"".join(pieces) + b"--edge--\r\n"


# ---- paths and queries


@pytest.mark.parametrize(
    ("method", "url", "body", "answer"),
    [
        ("POST", "/users/7/caption", '{"words": 3}', ["caption", 7, 3]),
        ("POST", "/users/7/caption?words=5", "", ["caption", 7, 12]),
        ("GET", "/users/7", None, ["show", 7, [], False]),
        ("GET", "/users/7?tags=a&tags=b%20c&deep=true", None, ["show", 7, ["a", "b c"], True]),
        ("POST", "/users/7", '{"name": "x"}', ["change", 7, "x"]),
        ("GET", "/users/me?req=2", None, ["me", 2]),
        ("POST", "/of/a%20b/c+d/%C3%BC", None, ["a b", "c+d", "\xfc"]),
        ("GET", "/context?text=a%26b", None, "a&b"),
    ],
)
def test_values_come_from_the_path_the_query_and_the_body(
    client: falcon.testing.TestClient, method: str, url: str, body: str | None, answer: Any
) -> None:
    """Variables come from the path, with GET the others from the query, with POST from the body."""
    path, _, query = url.partition("?")
    result = client.simulate_request(method, path, query_string=query, body=body)
    assert (result.status_code, result.json) == (200, answer)


@pytest.mark.parametrize(
    ("method", "url", "body", "param"),
    [
        ("POST", "/users/x/caption", "{}", "user_id"),
        ("POST", "/users/7/caption", '{"word": 3}', "word"),
        ("GET", "/users/x", None, "user_id"),
        ("GET", "/users/7?deep=perhaps", None, "deep"),
        ("GET", "/users/7?more=1", None, "more"),
        ("GET", "/users/7?user_id=8", None, "user_id"),
        ("POST", "/users/7", "{}", "name"),
    ],
)
def test_a_misfit_names_its_parameter(
    client: falcon.testing.TestClient, method: str, url: str, body: str | None, param: str
) -> None:
    """A 422 as for a field of the body, and nothing becomes a job."""
    path, _, query = url.partition("?")
    result = client.simulate_request(method, path, query_string=query, body=body)
    assert (result.status_code, result.headers["content-type"]) == (422, PROBLEM)
    assert result.json["error"]["param"] == param
    assert result.json["errors"][0]["path"] == f"$.{param}"
    assert client.engine.calls == []


def test_a_path_or_query_that_is_not_utf8_is_malformed(client: falcon.testing.TestClient) -> None:
    """A 400, as for a body."""
    assert client.simulate_post("/of/%ff/b/c").status_code == 400
    assert client.simulate_get("/context", query_string="text=%ff").status_code == 400


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/users/7", "GET, HEAD, POST"), ("/users/7/caption", "POST"), ("/users/me", "GET, HEAD")],
)
def test_a_path_takes_its_methods_and_no_others(client: falcon.testing.TestClient, path: str, allowed: str) -> None:
    """405 and OPTIONS name the methods; where GET is taken, so is HEAD."""
    refused = client.simulate_put(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
    assert client.simulate_options(path).headers["allow"] == f"{allowed}, OPTIONS"
    if "HEAD" in allowed:
        assert (client.simulate_head(path).status_code, client.simulate_head(path).content) == (200, b"")


@pytest.mark.parametrize("path", ["/users/7/", "/users/", "/users/7/8", "/users", "//users/7"])
def test_a_variable_is_one_segment(client: falcon.testing.TestClient, path: str) -> None:
    """Neither none nor two."""
    assert client.simulate_get(path).status_code == 404


def test_a_get_request_needs_neither_a_type_nor_a_body(client: falcon.testing.TestClient) -> None:
    """Whatever content type is announced, only the query counts."""
    result = client.simulate_get("/users/7", headers={"Content-Type": "text/plain"}, body="ignored")
    assert (result.status_code, result.json) == (200, ["show", 7, [], False])


# ---- forms


@pytest.mark.parametrize(
    ("path", "content_type", "body", "answer"),
    [
        ("/square", URLENCODED, b"input=3", 9.0),
        ("/square", MULTIPART, multipart(('"input"', b"3")), 9.0),
        ("/users/7/caption", URLENCODED, b"words=3", ["caption", 7, 3]),
        ("/users/7/caption", MULTIPART, multipart(('"words"', b"3")), ["caption", 7, 3]),
        (
            "/picture",
            MULTIPART,
            multipart(('"picture"; filename="../a.png"\r\nContent-Type: image/png', b"\x00" * 9), ('"words"', b"3")),
            ["a.png", "image/png", 9, 3],
        ),
    ],
)
def test_an_endpoint_reads_forms(
    client: falcon.testing.TestClient, path: str, content_type: str, body: bytes, answer: Any
) -> None:
    """Both kinds of form, with and without variables in the path."""
    result = client.simulate_post(path, body=body, content_type=content_type)
    assert (result.status_code, result.json) == (200, answer)


@pytest.mark.parametrize(
    ("content_type", "body", "content"),
    [
        (MULTIPART, multipart(('"body"; filename="a"', b"\x00\xff")), b"\x00\xff"),
        (URLENCODED, b"a=b", b"a=b"),
        ("image/png", b"\x00\xff", b"\x00\xff"),
    ],
)
def test_raw_bytes_are_a_file_of_a_form_or_the_body(
    client: falcon.testing.TestClient, content_type: str, body: bytes, content: bytes
) -> None:
    """A file comes by the name of the parameter; everything else is taken as it is."""
    result = client.simulate_post("/raw", body=body, content_type=content_type)
    assert (result.status_code, result.content) == (200, content)


@pytest.mark.parametrize(
    ("path", "content_type", "body", "refusal"),
    [
        (
            "/picture",
            "application/json",
            b"{}",
            (415, "/picture takes a file, and so a form: send it with curl -F picture=@FILE"),
        ),
        ("/picture", None, b"{}", (415, "-F picture=@FILE")),
        ("/picture", URLENCODED, b"words=3", (415, "-F picture=@FILE")),
        ("/picture", MULTIPART, multipart(('"words"', b"3")), (422, "required but missing")),
        ("/square", URLENCODED, b'{"input": 3}', (415, "-H 'Content-Type: application/json'")),
        ("/square", URLENCODED, b"input=three", (422, "Expected `float`")),
        ("/square", "multipart/form-data", b"", (400, "has no boundary")),
        ("/square", MULTIPART, multipart(('"input"', b"3"))[:-9], (400, "Unexpected end")),
        ("/square", MULTIPART, multipart(*[('"input"', b"3")] * 65), (413, "at most 64 parts")),
        ("/square", MULTIPART, b"x" * (LARGEST_BODY + 1), (413, str(LARGEST_BODY))),
    ],
)
def test_a_form_at_fault_is_refused(
    client: falcon.testing.TestClient, path: str, content_type: str | None, body: bytes, refusal: tuple[int, str]
) -> None:
    """The refusal says what to type; nothing becomes a job."""
    result = client.simulate_post(path, body=body, content_type=content_type)
    assert (result.status_code, result.headers["content-type"]) == (refusal[0], PROBLEM)
    assert refusal[1] in result.json["detail"]
    assert client.engine.calls == []


def test_a_large_form_is_left_to_the_worker(client: falcon.testing.TestClient) -> None:
    """Above 64 KiB it is queued unread, so that no other request waits while it is parsed."""
    form = multipart(('"picture"; filename="a"', b"x" * SMALL_BODY_BYTES))
    result = client.simulate_post("/picture", body=form, content_type=MULTIPART)
    assert (result.status_code, result.json[2]) == (200, SMALL_BODY_BYTES)
    assert client.engine.calls[-1].input_form.media_type == MULTIPART
