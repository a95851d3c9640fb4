"""Endpoints with types: what is sent, what comes back, and what the server's schema is read for."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import anyio
import httpx2
import msgspec
import pytest

from penstock_client import AsyncClient, Client, Endpoint, Retries, SchemaDigests, Timeouts, errors

DRIVERS = ("sync", "asyncio", "trio")


class Question(msgspec.Struct):
    text: str
    top: int = 1


class Mood(msgspec.Struct):
    label: Literal["good", "bad"]
    score: Annotated[float, msgspec.Meta(ge=0)]


def operation(name: str, digest: str, **limits: float) -> dict[str, Any]:
    return {"operationId": name, "x-penstock-schema": digest, "x-penstock-timeouts": limits}


DOCUMENT = {
    "x-penstock-schema": "d2",
    "paths": {
        "/classify": {"post": operation("classify", "c1", total=5)},
        "/write": {"post": operation("write", "w2", queue=1, execution=2)},
        "/free": {"post": operation("free", "f1", queue=1)},
        "/ask": {"post": {"operationId": "of_a_dialect"}},
    },
}


class FakeServer:
    """A server that is a function, and remembers its requests."""

    def __init__(self, *, document: Any = DOCUMENT, digest: str = "") -> None:
        self.document = document
        self.digest = digest
        self.requests: list[httpx2.Request] = []

    @property
    def paths(self) -> list[str]:
        return [request.url.raw_path.decode() for request in self.requests]

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        name = request.url.path.strip("/").partition("/")[0]
        answer = getattr(self, f"on_{name.partition('.')[0]}", self.on_nothing)
        response: httpx2.Response = answer(request)
        if self.digest and request.headers.get("x-penstock-schema", self.digest) != self.digest:
            response.headers["x-penstock-schema"] = self.digest
        return response

    def on_openapi(self, request: httpx2.Request) -> httpx2.Response:
        return self.on_nothing(request) if self.document is None else httpx2.Response(200, json=self.document)

    def on_nothing(self, request: httpx2.Request) -> httpx2.Response:
        detail = f"Nothing is served at {request.url.path!r}"
        return httpx2.Response(404, json={"type": "urn:penstock:not-found", "status": 404, "detail": detail})

    def on_classify(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"label": json.loads(request.content)["text"], "score": 0.5})

    def on_write(self, request: httpx2.Request) -> httpx2.Response:
        lines = b'{"label":"good","score":1}\n{"label":"bad","score":-1}\n'
        return httpx2.Response(200, content=lines, headers={"content-type": "application/x-ndjson"})

    def on_free(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=b"\0", headers={"content-type": "application/octet-stream"})

    def on_items(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=request.url.raw_path.decode())

    def on_gone(self, request: httpx2.Request) -> httpx2.Response:
        problem = {"type": "urn:penstock:not-found", "status": 404, "detail": "no such user"}
        return httpx2.Response(404, json=problem)


class Typed(Client, schema=SchemaDigests("d1", {"classify": "c1", "write": "w1", "old": "o1"}, "penstock client app")):
    pass


class AsyncTyped(
    AsyncClient, schema=SchemaDigests("d1", {"classify": "c1", "write": "w1", "old": "o1"}, "penstock client app")
):
    pass


class Ask:
    """One call or stream of an endpoint, by each of the drivers."""

    def __init__(self, path: str, input: Any, output: Any, *, is_stream: bool = False, **options: Any) -> None:
        self.declared = (path, input, output)
        self.options = options
        self.is_stream = is_stream

    def of(self, client: Any, body: Any, **options: Any) -> Any:
        endpoint = client.endpoint(*self.declared, **self.options)
        return (endpoint.stream if self.is_stream else endpoint.call)(body, **options)

    def sync(self, client: Client, body: Any, options: Mapping[str, Any]) -> Any:
        if not self.is_stream:
            return self.of(client, body, **options).value
        with self.of(client, body, **options) as events:
            return list(events)

    async def in_loop(self, client: AsyncClient, body: Any, options: Mapping[str, Any]) -> Any:
        if not self.is_stream:
            return (await self.of(client, body, **options)).value
        async with self.of(client, body, **options) as events:
            return [event async for event in events]


CLASSIFY = Ask("classify", Question, Mood)
WRITE = Ask("write", Any, Mood, is_stream=True)


def asked(
    driver: str, server: FakeServer, *questions: tuple[Any, ...], is_typed: bool = False, **settings: Any
) -> list[Any]:
    """Return the value or the error of each question: what to ask, the body, and options."""
    settings = {"retries": Retries(max_attempts=1), **settings}
    transport = httpx2.MockTransport(server)

    async def in_loop() -> list[Any]:
        found: list[Any] = []
        kind = AsyncTyped if is_typed else AsyncClient
        async with kind("http://test", http_client=httpx2.AsyncClient(transport=transport), **settings) as client:
            for ask, body, *options in questions:
                try:
                    found.append(await ask.in_loop(client, body, *options or [{}]))
                except Exception as error:
                    found.append(error)
        return found

    if driver != "sync":
        return anyio.run(in_loop, backend=driver)
    kind = Typed if is_typed else Client
    found = []
    with kind("http://test", http_client=httpx2.Client(transport=transport), **settings) as client:
        for ask, body, *options in questions:
            try:
                found.append(ask.sync(client, body, *options or [{}]))
            except Exception as error:
                found.append(error)
    return found


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ---- types


def test_a_struct_goes_in_and_a_struct_comes_out(driver: str) -> None:
    """The body is the struct as JSON."""
    server = FakeServer()
    assert asked(driver, server, (CLASSIFY, Question("good"))) == [Mood("good", 0.5)]
    assert [json.loads(request.content) for request in server.requests] == [{"text": "good", "top": 1}]


def test_an_answer_that_does_not_fit_is_invalid(driver: str) -> None:
    """The error names the type, the reason and the place, and has the body; the work may have run."""
    [error] = asked(driver, FakeServer(), (CLASSIFY, Question("average")))
    assert type(error) is errors.InvalidAnswer
    assert "it is not Mood: Invalid enum value 'average' - at `$.label`" in str(error)
    assert (error.partial, error.may_have_run, len(error.attempts)) == (b'{"label":"average","score":0.5}', True, 1)


def test_the_events_of_a_stream_have_the_type(driver: str) -> None:
    """An event that does not fit ends the stream; those before it are in ``partial``."""
    [error] = asked(driver, FakeServer(), (WRITE, None))
    assert type(error) is errors.InvalidAnswer
    assert "it is not Mood: Expected `float` >= 0.0 - at `$.score`" in str(error)
    assert error.partial == [Mood("good", 1.0)]


def test_bytes_in_a_union_are_an_answer_that_is_not_json(driver: str) -> None:
    """The other types of the union are those of JSON."""
    either = Mood | bytes
    questions = [(Ask("free", Any, either), None), (Ask("classify", Question, either), Question("bad"))]
    found = asked(driver, FakeServer(), *questions, (Ask("free", Any, bytes), None), (Ask("free", Any, Mood), None))
    assert found[:3] == [b"\0", Mood("bad", 0.5), b"\0"]
    assert "it is not Mood: Expected `object`, got `bytes`" in str(found[3])


def test_a_body_of_another_class_is_refused(driver: str) -> None:
    """Nothing is sent; the message says what to write."""
    server = FakeServer()
    [error] = asked(driver, server, (CLASSIFY, {"text": "good"}))
    assert type(error) is TypeError
    assert str(error) == "classify takes Question, and not dict; write Question(...)"
    assert server.requests == []


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_output_that_cannot_be_decoded_is_refused(kind: Callable[..., Any]) -> None:
    """When the endpoint is declared, and not at its first answer."""
    with pytest.raises(TypeError, match=r"output=.* cannot be decoded"):
        kind("http://test").endpoint("classify", Question, str | Literal[b"x"])


def test_an_endpoint_names_itself() -> None:
    """The method, the path and the server."""
    endpoint = Client("http://test").endpoint("items/{item}", method="GET")
    assert isinstance(endpoint, Endpoint)
    assert repr(endpoint) == "<Endpoint GET items/{item} of <Client http://test>>"


ITEMS = Ask("items/{item}/parts/{part}", None, str, method="GET")
PATHS = {
    "text is quoted": (({"item": "a/b ?", "part": 7}, None), "/items/a%2Fb%20%3F/parts/7"),
    "a query": (({"item": 1, "part": 2}, {"q": "x&y", "deep": True}), "/items/1/parts/2?q=x%26y&deep=true"),
    "lists and None": (({"item": 1, "part": 2}, {"n": [1, 2], "m": None}), "/items/1/parts/2?n=1&n=2"),
    "an object": (({"item": 1, "part": 2}, {"o": {"a": 1}}), "/items/1/parts/2?o=%7B%22a%22%3A1%7D"),
}
MISTAKES = {
    "missing": ({"item": 1}, "give a value for 'part', with path={'part': ...}"),
    "empty": ({"item": "", "part": 1}, "give a value for 'item'"),
    "unknown": ({"item": 1, "part": 2, "piece": 3}, "has no variable 'piece'"),
}


@pytest.mark.parametrize("case", PATHS)
def test_values_are_written_into_the_path_and_the_query(driver: str, case: str) -> None:
    """Text as it is, all else as JSON, and quoted."""
    (path, query), written = PATHS[case]
    assert asked(driver, FakeServer(), (ITEMS, None, {"path": path, "query": query})) == [written]


@pytest.mark.parametrize("case", MISTAKES)
def test_a_path_without_its_values_is_refused(driver: str, case: str) -> None:
    """Nothing is sent."""
    path, message = MISTAKES[case]
    server = FakeServer()
    [error] = asked(driver, server, (ITEMS, None, {"path": path}))
    assert type(error) is ValueError
    assert message in str(error)
    assert server.requests == []


# ---- an endpoint that is not there


def test_an_unknown_endpoint_is_named_beside_those_that_exist(driver: str) -> None:
    """With the one that was probably meant. The schema is read once for several such errors."""
    server = FakeServer()
    typo, other = Ask("clasify", Any, Any), Ask("zzz", Any, Any, is_stream=True)
    first, second = asked(driver, server, (typo, {}), (other, {}))
    assert type(first) is type(second) is errors.NotFound
    assert str(first) == (
        "404: http://test has no endpoint 'clasify'; did you mean 'classify'? It has 'classify', 'free', 'write'"
    )
    assert str(second) == "404: http://test has no endpoint 'zzz'; it has 'classify', 'free', 'write'"
    assert server.paths == ["/clasify", "/openapi.json", "/zzz"]
    assert first.__context__ is first.__cause__ is None


def test_a_server_that_does_not_show_its_schema_leaves_the_name(driver: str) -> None:
    """The question itself is not explained again."""
    server = FakeServer(document=None)
    [error] = asked(driver, server, (Ask("clasify", Any, Any), {}))
    assert str(error) == "404: http://test has no endpoint 'clasify'; `penstock check` lists those of an app"
    assert server.paths == ["/clasify", "/openapi.json"]


def test_a_handlers_own_404_stays_as_it_is(driver: str) -> None:
    """A user that is not found is not an endpoint that is not there."""
    server = FakeServer()
    [error] = asked(driver, server, (Ask("gone", Any, Any), {}))
    assert str(error) == "404: no such user"
    assert server.paths == ["/gone"]


@pytest.mark.parametrize("document", [[], {}, {"x-penstock-schema": "d", "paths": 5}, {"x-penstock-schema": 1}])
def test_any_other_document_is_no_schema(driver: str, document: Any) -> None:
    """A server of another kind may have one of its own."""
    [error] = asked(driver, FakeServer(document=document), (Ask("clasify", Any, Any), {}))
    assert "`penstock check` lists" in str(error)


# ---- limits


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_time_out_longer_than_the_endpoints_is_logged_once(driver: str, caplog: pytest.LogCaptureFixture) -> None:
    """The limits are read from the server's schema, once for all endpoints."""
    server = FakeServer()
    good = (CLASSIFY, Question("good"))
    free = (Ask("free", Any, bytes), None)
    asked(driver, server, good, good, (WRITE, None), free, free, timeouts=Timeouts(total=60))
    longer = "http://test: {}: the time-out of 60 s is longer than the {} s after which the server ends a call"
    advice = "; change the endpoint's timeouts, or this one"
    assert warnings_of(caplog) == [longer.format("classify", 5) + advice, longer.format("write", 3) + advice]
    assert server.paths.count("/openapi.json") == 1


def test_a_limit_that_is_known_is_not_asked_for(driver: str, caplog: pytest.LogCaptureFixture) -> None:
    """A generated client brings it along; it counts for the time-out of a single call, too."""
    server = FakeServer()
    known = Ask("classify", Question, Mood, limit=5.0)
    asked(driver, server, (known, Question("good"), {"timeout": 5}), (known, Question("good"), {"timeout": 6}))
    assert [message.partition("; ")[0] for message in warnings_of(caplog)] == [
        "http://test: classify: the time-out of 6 s is longer than the 5 s after which the server ends a call"
    ]
    assert server.paths == ["/classify", "/classify"]


@pytest.mark.parametrize("document", [DOCUMENT, None])
def test_a_call_without_a_time_out_asks_for_nothing(
    driver: str, document: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither does a time-out that is short enough, or a server without a schema, more than once."""
    server = FakeServer(document=document)
    asked(driver, server, (CLASSIFY, Question("good")))
    assert server.paths == ["/classify"]
    short = (CLASSIFY, Question("good"), {"timeout": 1})
    asked(driver, server, short, short)
    assert server.paths.count("/openapi.json") == 1
    assert warnings_of(caplog) == []


# ---- a schema that has changed


def test_another_schema_is_logged_once_with_the_names(driver: str, caplog: pytest.LogCaptureFixture) -> None:
    """The digest is sent with each request; a server that has another one says so, and is asked for its schema."""
    server = FakeServer(digest="d2")
    asked(driver, server, (CLASSIFY, Question("good")), (CLASSIFY, Question("good")), is_typed=True)
    [message] = warnings_of(caplog)
    assert message == (
        "http://test: the server's schema is not the one that this client was generated from (d2, not d1): "
        "changed: write; removed: old; added: free; generate the client again with penstock client app"
    )
    assert server.paths == ["/classify", "/openapi.json", "/classify"]
    assert {request.headers["x-penstock-schema"] for request in server.requests} == {"d1"}


@pytest.mark.parametrize("ask", [WRITE, Ask("clasify", Any, Any)])
def test_a_stream_and_an_error_say_it_too(driver: str, ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """A path that is gone may be the first that such a client meets."""
    asked(driver, FakeServer(digest="d2"), (ask, {}), is_typed=True)
    [message] = warnings_of(caplog)
    assert "changed: write; removed: old; added: free" in message


def test_a_path_that_is_gone_says_it_without_the_header(driver: str, caplog: pytest.LogCaptureFixture) -> None:
    """The schema that is read for the error has the digest; where it is the client's own, there is nothing to say."""
    asked(driver, FakeServer(), (Ask("old", Any, Any), {}), is_typed=True)
    [message] = warnings_of(caplog)
    assert "(d2, not d1): changed: write; removed: old; added: free" in message
    caplog.clear()
    own = FakeServer(document={**DOCUMENT, "x-penstock-schema": "d1"})
    asked(driver, own, (Ask("old", Any, Any), {}), is_typed=True)
    assert warnings_of(caplog) == []


def test_a_server_that_shows_no_schema_has_only_another_digest(driver: str, caplog: pytest.LogCaptureFixture) -> None:
    """The names are missing, and the advice is the same."""
    asked(driver, FakeServer(digest="d2", document=None), (CLASSIFY, Question("good")), is_typed=True)
    [message] = warnings_of(caplog)
    assert message.endswith("(d2, not d1); generate the client again with penstock client app")


def test_the_same_schema_is_not_mentioned(driver: str, caplog: pytest.LogCaptureFixture) -> None:
    """A client without a schema of its own sends none."""
    server = FakeServer(digest="d1")
    asked(driver, server, (CLASSIFY, Question("good")), is_typed=True)
    asked(driver, server, (CLASSIFY, Question("good")))
    assert warnings_of(caplog) == []
    assert [request.headers.get("x-penstock-schema") for request in server.requests] == ["d1", None]
