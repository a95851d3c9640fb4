"""Web pages of two origins call a real server with keys and limits, with the requests that browsers send."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPResponse

import pytest

from tests.serving import WAYS, Answer, Served

pytestmark = pytest.mark.e2e

PAGE, OTHER = "https://app.example.com", "https://evil.example"
ENVIRONMENT = {
    "PENSTOCK_CORS_ORIGINS": f"{PAGE},http://localhost:*",
    "PENSTOCK_AUTH_KEYS": "ada=a-key-of-good-length",
    "PENSTOCK_RATELIMIT_REQUESTS": "40/hour",
}
KEY = {"Authorization": "Bearer a-key-of-good-length"}


@pytest.fixture(scope="module", params=["1", "2"], ids=["one process", "two processes"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with Served("tests/e2e/apps/direct_app.py", "--http-workers", request.param, environment=ENVIRONMENT) as served:
        yield served


def preflight(origin: str, path: str = "/square", headers: str = "authorization,content-type") -> bytes:
    """Return what Chromium sends before ``fetch`` with a key and JSON."""
    return (
        f"OPTIONS {path} HTTP/1.1\r\nHost: api.example.com\r\nConnection: keep-alive\r\nAccept: */*\r\n"
        f"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: {headers}\r\nOrigin: {origin}\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0\r\n"
        f"Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: empty\r\nReferer: {origin}/\r\n"
        "Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\r\n"
    ).encode()


def exchange(client: socket.socket, request: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    client.sendall(request)
    response = HTTPResponse(client)
    response.begin()
    return response.status, [(name.lower(), value) for name, value in response.getheaders()], response.read()


def call(served: Served, origin: str, body: object = None, path: str = "/square", **headers: str) -> Answer:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return served.post_json(path, {"input": 3} if body is None else body, headers={"Origin": origin, **names})


def access(headers: Mapping[str, str]) -> set[str]:
    return {name for name in headers if name.startswith("access-control-")}


def test_a_page_asks_and_then_calls(served: Served) -> None:
    """On one connection: a preflight without a key, and the call that it allows. No header comes twice."""
    body = b'{"input": 3}'
    post = (
        f"POST /square HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: {len(body)}\r\n"
        f"Authorization: {KEY['Authorization']}\r\nContent-Type: application/json\r\nAccept: */*\r\n"
        f"Origin: {PAGE}\r\nSec-Fetch-Mode: cors\r\nReferer: {PAGE}/\r\n\r\n"
    ).encode() + body
    with closing(served.connect()) as client:
        status, headers, content = exchange(client, preflight(PAGE))
        assert (status, content) == (200, b"")
        assert dict(headers)["access-control-allow-origin"] == PAGE
        assert dict(headers)["access-control-allow-methods"] == "POST"
        assert dict(headers)["access-control-allow-headers"] == "authorization, content-type"
        status, headers, content = exchange(client, post)
        assert (status, content) == (200, b"9.0")
        assert dict(headers)["access-control-allow-origin"] == PAGE
        assert "Server-Timing" in dict(headers)["access-control-expose-headers"]
    assert len(headers) == len(dict(headers))


def test_a_page_of_another_origin_gets_nothing(served: Served) -> None:
    """Its preflight allows nothing, so its browser does not send the call; and a simple call cannot be read."""
    with closing(served.connect()) as client:
        status, headers, _ = exchange(client, preflight(OTHER))
    assert (status, access(dict(headers)), dict(headers)["vary"]) == (200, set(), "Origin")
    answer = call(served, OTHER, **KEY)
    assert (answer.status, access(answer.headers), answer.headers["vary"]) == (200, set(), "Origin")


@pytest.mark.parametrize("way", WAYS)
def test_every_answer_can_be_read_by_its_page(served: Served, way: str) -> None:
    """Errors of the server, of policies and of the handler, a stream, and results of both ways."""
    way_headers = {name.replace("-", "_"): value for name, value in WAYS[way].items()}
    expected = {
        200: call(served, PAGE, **KEY, **way_headers),
        401: call(served, PAGE, **way_headers),
        404: call(served, PAGE, path="/nowhere", **KEY, **way_headers),
        405: served.get("/square", headers={"Origin": PAGE}),
        422: call(served, PAGE, {"input": "x"}, **KEY, **way_headers),
        415: served.post("/square", b"x", media_type="text/csv", headers={"Origin": PAGE, **KEY, **WAYS[way]}),
        413: served.post_json("/square", "x" * (17 << 20), headers={"Origin": PAGE, **KEY}),
    }
    assert {status: answer.status for status, answer in expected.items()} == {status: status for status in expected}
    stream = call(served, PAGE, {"n": 2}, "/stream", **KEY, **way_headers)
    assert stream.body == b"0\n1\n"
    for answer in [*expected.values(), stream]:
        assert (answer.headers["access-control-allow-origin"], answer.headers["vary"]) == (PAGE, "Origin"), answer


def test_a_request_that_the_parser_refuses_can_be_read(served: Served) -> None:
    """As far as the parser came: the head is complete here, and a chunk is broken."""
    head = f"POST /square HTTP/1.1\r\nHost: a\r\nOrigin: {PAGE}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with closing(served.connect()) as client:
        status, headers, _ = exchange(client, head.encode() + b"zz\r\n")
    assert (status, dict(headers)["access-control-allow-origin"]) == (400, PAGE)


def test_a_limit_that_is_reached_can_be_read(served: Served) -> None:
    """The last test, since it uses the limit up: the page sees the 429, and preflights are still answered."""
    answers = [call(served, PAGE, **KEY) for _ in range(41)]
    refused = answers[-1]
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (429, PAGE)
    assert "Retry-After" in refused.headers["access-control-expose-headers"]
    with closing(served.connect()) as client:
        status, headers, _ = exchange(client, preflight(PAGE))
    assert (status, dict(headers)["access-control-allow-origin"]) == (200, PAGE)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PENSTOCK_CORS_ORIGINS": "*", "PENSTOCK_CORS_CREDENTIALS": "true"}, "name the origins, or leave"),
        ({"PENSTOCK_CORS_ORIGINS": "app.example.com"}, "such as https://app.example.com"),
    ],
)
def test_wrong_settings_stop_the_start(environment: dict[str, str], message: str) -> None:
    """With exit code 2 and a message that says what to do."""
    with Served("tests/e2e/apps/direct_app.py", environment=environment, ready_timeout=None) as served:
        assert served.wait() == 2
        assert message in served.output()
