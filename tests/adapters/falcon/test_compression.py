"""Compressed responses: which, with what, and what they say of it."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable
from typing import Any

import falcon.asgi
import falcon.testing
import pytest
from backports import zstd

import penstock_falcon
from penstock import App, errors
from penstock.hooks import Route, RouteResponse, Submission, hookimpl
from penstock.hooks.registry import Registry
from penstock.hosting import BodyFile
from penstock.response import Encoded
from penstock_falcon import compression
from penstock_falcon._asgi.asgi_transport import AsgiTransport
from penstock_falcon.compression import AT_ONCE_BYTES, chosen_coding, compress
from penstock_falcon.responses import HttpResponse
from tests.adapters.falcon.direct_server import direct
from tests.adapters.falcon.fake_engine import FakeCall, FakeEngine, FakeThreadedEngine, make_app
from tests.adapters.falcon.shared_server import shared, shared_direct
from tests.adapters.falcon.toy_dialect import toy_asgi, toy_direct, toy_shared, toy_wsgi


def mounted(app: App, **settings: Any) -> Any:
    application: Any = falcon.asgi.App()
    penstock_falcon.mount(application, app, "", **settings)
    return application


KINDS: dict[str, tuple[Callable[..., Any], type[FakeEngine]]] = {
    "asgi": (penstock_falcon.asgi, FakeEngine),
    "direct": (direct, FakeEngine),
    "shared": (shared, FakeEngine),
    "shared-direct": (shared_direct, FakeEngine),
    "wsgi": (penstock_falcon.wsgi, FakeThreadedEngine),
    "mounted": (mounted, FakeEngine),
    "toy-asgi": (toy_asgi, FakeEngine),
    "toy-direct": (toy_direct, FakeEngine),
    "toy-shared": (toy_shared, FakeEngine),
    "toy-wsgi": (toy_wsgi, FakeThreadedEngine),
}
CODINGS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "zstd": zstd.decompress}
JSON = b"[" + b"1.25,\n" * 1000 + b"1]"


class Pages:
    @hookimpl
    def penstock_routes(self) -> list[Route]:
        def page(_request: Any, _engine: Any) -> RouteResponse:
            return RouteResponse(body=b"<p>" * 1000, media_type="text/html; charset=utf-8")

        return [Route(path="/page", name="page", handler=page)]


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def engine(kind: str) -> FakeEngine:
    return KINDS[kind][1](lambda call: call.decide(Encoded(JSON)), Registry([Pages()]))


@pytest.fixture
def client(kind: str, engine: FakeEngine) -> falcon.testing.TestClient:
    return falcon.testing.TestClient(KINDS[kind][0](make_app(), engine=engine, compress=True))


def square(client: falcon.testing.TestClient, accept: str | None = "gzip") -> Any:
    headers = {} if accept is None else {"Accept-Encoding": accept}
    return client.simulate_post("/square", json={"input": 1}, headers=headers)


def answer(engine: FakeEngine, body: Any, media_type: str | None = None, status: int = 200, **headers: str) -> None:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    engine.script = lambda call: call.decide(Encoded(body, media_type, status, names or None))


# ---- which


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("times", [1, 20])
def test_a_response_is_compressed_for_a_client_that_accepts_it(
    client: falcon.testing.TestClient, engine: FakeEngine, coding: str, times: int
) -> None:
    """Small or large, with its new length; all else is as before."""
    answer(engine, JSON * times)
    result = square(client, coding)
    assert (result.status_code, CODINGS[coding](result.content) == JSON * times) == (200, True)
    assert (result.headers["content-encoding"], result.headers["vary"]) == (coding, "Accept-Encoding")
    assert int(result.headers["content-length"]) == len(result.content) < len(JSON)
    assert result.headers["content-type"] == "application/json"


@pytest.mark.parametrize("accept", [None, "", "identity", "br", "gzip;q=0"])
def test_it_is_sent_as_it_is_to_others(client: falcon.testing.TestClient, accept: str | None) -> None:
    """A cache has to know that it could have been different."""
    result = square(client, accept)
    assert (result.content, result.headers["vary"]) == (JSON, "Accept-Encoding")
    assert "content-encoding" not in result.headers


@pytest.mark.parametrize("size", [0, 1023])
def test_a_small_response_is_left_alone(client: falcon.testing.TestClient, engine: FakeEngine, size: int) -> None:
    """It would not become smaller by a packet."""
    answer(engine, b"1" * size)
    result = square(client)
    assert (len(result.content), "content-encoding" in result.headers, "vary" in result.headers) == (size, False, False)


@pytest.mark.parametrize(
    ("media_type", "is_compressed"),
    [
        ("application/json", True),
        ("application/vnd.api+json; charset=utf-8", True),
        ("text/csv", True),
        ("TEXT/HTML; charset=utf-8", True),
        ("image/svg+xml", True),
        ("image/png", False),
        ("audio/mpeg", False),
        ("application/octet-stream", False),
        ("application/zip", False),
        ("text/event-stream", False),
        ("application/x-ndjson", False),
    ],
)
def test_only_media_that_are_not_compressed_already(
    client: falcon.testing.TestClient, engine: FakeEngine, media_type: str, is_compressed: bool
) -> None:
    """A picture would only cost time. A stream's format is left alone too, even if it comes whole."""
    answer(engine, JSON, media_type)
    result = square(client)
    assert ("content-encoding" in result.headers, "vary" in result.headers) == (is_compressed, is_compressed)


@pytest.mark.parametrize(
    "headers",
    [{"Content_Encoding": "br"}, {"Cache_Control": "private, no-transform"}, {"Content_Range": "bytes 0-1/2"}],
)
def test_a_handler_may_rule_it_out(
    client: falcon.testing.TestClient, engine: FakeEngine, headers: dict[str, str]
) -> None:
    """Or has compressed the body itself."""
    answer(engine, JSON, **headers)
    result = square(client)
    assert (result.content, result.headers.get("content-encoding")) == (JSON, headers.get("Content_Encoding"))


@pytest.mark.parametrize("kind", ["asgi", "direct", "shared-direct"], indirect=True)
def test_a_response_without_content_stays_without(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """A body that a handler returned with a 204 is not sent at all."""
    answer(engine, JSON, None, 204)
    result = square(client)
    assert (result.status_code, result.content) == (204, b"")
    assert "content-encoding" not in result.headers


def test_a_strong_tag_becomes_a_weak_one(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """The handler's tag stands for other bytes; a weak one is left as it is."""
    answer(engine, JSON, ETag='"v1"')
    assert square(client).headers["etag"] == 'W/"v1"'
    assert square(client, None).headers["etag"] == '"v1"'
    answer(engine, JSON, etag='W/"v1"')
    assert square(client).headers["etag"] == 'W/"v1"'


def test_vary_keeps_what_it_has(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """The handler's, for example."""
    answer(engine, JSON, Vary="X-Tenant")
    assert square(client).headers["vary"] == "X-Tenant, Accept-Encoding"


@pytest.mark.parametrize("size", [10, 2000])
def test_vary_of_policies_is_united_with_the_others(kind: str, size: int) -> None:
    """A cache needs them all, whether the response was compressed or not."""

    class Plans:
        @hookimpl
        def penstock_admission_policy(self) -> Callable[[Submission], None]:
            return lambda submission: submission.response_headers.extend([("Vary", "X-Plan"), ("Vary", "X-Zone")])

    build, engine_class = KINDS[kind]
    engine = engine_class(lambda call: call.decide(Encoded(b"1" * size)), Registry([Plans()]))
    result = square(falcon.testing.TestClient(build(make_app(), engine=engine, compress=True)))
    assert result.headers["vary"] == ("Accept-Encoding, X-Plan, X-Zone" if size == 2000 else "X-Plan, X-Zone")


def test_an_error_is_a_response_like_any_other(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """If its text is long."""
    engine.script = lambda call: call.decide(errors.InvalidRequest("no " * 1000))
    result = square(client)
    assert (result.status_code, result.headers["content-encoding"]) == (422, "gzip")
    assert b"urn:penstock:invalid-request" in gzip.decompress(result.content)


def test_routes_are_compressed_too(client: falcon.testing.TestClient) -> None:
    """``/metrics`` and pages; the response to HEAD is left alone."""
    headers = {"Accept-Encoding": "gzip"}
    result = client.simulate_get("/page", headers=headers)
    assert (result.headers["content-encoding"], gzip.decompress(result.content)) == ("gzip", b"<p>" * 1000)
    assert "content-encoding" not in client.simulate_head("/page", headers=headers).headers


@pytest.mark.parametrize("accept", ["", "text/event-stream"])
def test_a_stream_is_never_compressed(client: falcon.testing.TestClient, engine: FakeEngine, accept: str) -> None:
    """Its chunks arrive when they are sent."""

    def stream(call: FakeCall) -> None:
        call.begin_stream().yield_chunk(JSON.replace(b"\n", b""))
        call.decide(Encoded(b""))

    engine.script = stream
    headers = {"Accept": accept, "Accept-Encoding": "gzip, zstd"}
    result = client.simulate_post("/count", json={"n": 1}, headers=headers)
    assert result.status_code == 200
    assert ("content-encoding" in result.headers, "vary" in result.headers) == (False, False)


@pytest.mark.parametrize("kind", ["asgi", "wsgi"], indirect=True)
def test_a_file_becomes_a_file(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """A large result is never in the memory of this process as a whole, compressed or not."""
    answer(engine, BodyFile.of(JSON * 500))
    result = square(client)
    assert (result.headers["content-encoding"], gzip.decompress(result.content) == JSON * 500) == ("gzip", True)
    assert int(result.headers["content-length"]) == len(result.content)


def test_by_default_nothing_is_compressed(kind: str, engine: FakeEngine) -> None:
    """Most clients in Python accept gzip on every request, also where the network costs nothing."""
    client = falcon.testing.TestClient(KINDS[kind][0](make_app(), engine=engine))
    result = square(client)
    assert (result.content, "content-encoding" in result.headers, "vary" in result.headers) == (JSON, False, False)


# ---- with what


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip, deflate", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0.5, gzip;q=0.8", "gzip"),
        ("GZIP; Q=1.0", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "gzip"),
        ("*;q=0.1", "gzip"),
        ("identity;q=0, *", "gzip"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("gzip;q=0.5, identity;q=0.9", ""),
        ("gzip;q=0, *", ""),
        ("*;q=0", ""),
        ("identity", ""),
        ("deflate, br", ""),
        ("gzip;q=nan", ""),
        ("gzip;q=7", ""),
        ("gzip;q=x", ""),
        (",;,=;q", ""),
        ("", ""),
    ],
)
def test_the_best_coding_that_is_accepted(accept: str, coding: str) -> None:
    """RFC 9110, section 12.5.3; at equal weight the quicker one, and none only if the client says so."""
    assert chosen_coding(accept) == coding


def test_without_zstd_it_is_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is optional."""
    monkeypatch.setattr(compression, "zstd_module", lambda: None)
    chosen_coding.cache_clear()
    try:
        assert chosen_coding("zstd, gzip;q=0.1") == "gzip"
        assert chosen_coding("zstd") == ""
    finally:
        chosen_coding.cache_clear()


# ---- where


class Threads(AsgiTransport):
    """Notes the threads in which something was done."""

    def __init__(self) -> None:
        self.count = 0

    async def run_blocking(self, function: Callable[..., None], argument: object) -> None:
        self.count += 1
        thread = threading.Thread(target=function, args=(argument,))
        thread.start()
        thread.join()


@pytest.mark.parametrize(("size", "threads"), [(AT_ONCE_BYTES, 0), (AT_ONCE_BYTES + 1, 1), (20 << 20, 3)])
def test_a_large_body_is_compressed_elsewhere(size: int, threads: int) -> None:
    """In steps, so that one large response does not occupy a thread for long."""
    transport = Threads()
    response = HttpResponse(200, [("content-type", "text/plain")], bytes(size))
    asyncio.run(compress(response, "gzip", transport))
    assert response.body is not None
    assert (transport.count, gzip.decompress(response.body) == bytes(size)) == (threads, True)


def test_without_room_for_a_file_it_is_sent_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be no descriptor left."""
    body: Any = BodyFile.of(JSON)

    def fail() -> None:
        raise OSError

    monkeypatch.setattr(BodyFile, "in_memory", fail)
    response = HttpResponse(200, [("content-type", "text/plain")], body)
    monkeypatch.setattr(compression, "AT_ONCE_BYTES", 10)
    asyncio.run(compress(response, "gzip", Threads()))
    assert (response.body, dict(response.headers)) == (body, {"content-type": "text/plain"})
