"""The client with other transports of httpx2: proxies, client certificates, functions and apps."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import ssl
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import anyio
import httpx2
import pytest

from penstock_client import AsyncClient, Client, ClientError, Record, Retries, Timeouts, errors
from penstock_client.retry_table import Fault
from penstock_client.transport_faults import RequestTrace
from tests.certificates import client_context, write_certificate
from tests.client.drivers import DRIVERS, Act, call, one, stream
from tests.client.forward_proxy import ForwardProxy
from tests.client.scripted_server import End, ScriptedServer, answer, chunked
from tests.serving import HOST, Served, wait_until, write_app

ONCE = Retries(max_attempts=1)
QUICK = Retries(base=0.001)
CANARY = "canary"

APP = """
    from collections.abc import Iterator
    from penstock import App

    app = App(__name__)

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/spell")
    def spell(word: str) -> Iterator[str]:
        yield from word
"""


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def over(driver: str, url: str, act: Act, *, settings: dict[str, Any] | None = None, **transport: Any) -> Any:
    """Carry out an act with a client of httpx2 that was made with these arguments."""
    kind = httpx2.Client if driver == "sync" else httpx2.AsyncClient
    return one(driver, url, act, http_client=lambda: kind(**transport), **(settings or {}))


# ---- proxies


@pytest.mark.parametrize("driver", DRIVERS)
def test_requests_go_through_a_proxy(driver: str) -> None:
    """Calls and streams; the proxy sees the whole address, the server only the path."""
    with ScriptedServer([(answer(b"1"),), (chunked(b"1\n", b"2\n"),)]) as server, ForwardProxy() as proxy:
        assert over(driver, server.url, call("v1/classify"), proxy=proxy.url).value == 1
        assert over(driver, server.url, stream(), proxy=proxy.url) == [1, 2]
        assert proxy.lines == [f"POST {server.url}/v1/classify HTTP/1.1", f"POST {server.url}/write HTTP/1.1"]
        assert [request.line for request in server.requests] == ["POST /v1/classify HTTP/1.1", "POST /write HTTP/1.1"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_leaving_a_stream_early_hangs_up_through_a_proxy(driver: str) -> None:
    """The server stops the work, as without one."""
    script = (chunked(b"1\n", end=False), End.SILENCE)
    with ScriptedServer([script]) as server, ForwardProxy() as proxy:
        assert over(driver, server.url, stream(1), proxy=proxy.url) == [1]
        wait_until(lambda: server.hang_ups, "the hang-up")


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_proxy_that_is_down_is_no_connection(driver: str) -> None:
    """Nothing was sent, so the call is tried again, and then fails."""
    with ForwardProxy() as proxy:
        gone = proxy.url
    error = over(driver, "http://test", call(), settings={"retries": QUICK}, proxy=gone)
    assert type(error) is errors.ConnectionFailed
    assert (len(error.attempts), error.may_have_run, error.retryable) == (3, False, True)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("is_tunnel", [False, True])
def test_a_proxy_that_refuses_says_so(driver: str, *, is_tunnel: bool) -> None:
    """As an answer to a request, or as no connection if a tunnel was asked for; the credentials are not shown."""
    with ForwardProxy(credentials="Basic eDp5") as proxy:
        url = f"http://user:{CANARY}@{proxy.address}"
        error = over(driver, f"http{'s' if is_tunnel else ''}://test", call(), settings={"retries": ONCE}, proxy=url)
    assert type(error) is (errors.ConnectionFailed if is_tunnel else errors.ResponseError)
    assert "407" in str(error)
    assert error.may_have_run is False
    assert CANARY not in "".join(traceback.format_exception(error)) + repr(vars(error))


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_credentials_of_a_proxy_are_sent_to_it_alone(driver: str, caplog: pytest.LogCaptureFixture) -> None:
    """No line of the log has them, that of httpx2 at DEBUG included."""
    caplog.set_level(logging.DEBUG)
    with ScriptedServer([(answer(b"1"),)]) as server, ForwardProxy(credentials="Basic dXNlcjpjYW5hcnk=") as proxy:
        url = f"http://user:{CANARY}@{proxy.address}"
        assert over(driver, server.url, call(), proxy=url).value == 1
    assert CANARY not in caplog.text
    assert "dXNlcjpjYW5hcnk=" not in caplog.text


BROKEN: dict[str, tuple[dict[str, bool], Timeouts, type[ClientError], str]] = {
    "breaks off": ({"breaks_tunnels": True}, Timeouts(), errors.ConnectionFailed, "connection-failed"),
    "has no answer": ({"stalls_tunnels": True}, Timeouts(first_byte=0.1), errors.ConnectTimeout, "connect-timeout"),
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_tunnel_that_fails_has_carried_nothing(driver: str, how: str) -> None:
    """The request for the tunnel was sent, and that of the call was not: it may be tried again."""
    options, timeouts, expected, code = BROKEN[how]
    with ForwardProxy(**options) as proxy:
        settings = {"retries": QUICK, "timeouts": timeouts}
        error = over(driver, "https://test", call(), settings=settings, proxy=proxy.url)
    assert (type(error), error.code) == (expected, code)
    assert (len(error.attempts), error.may_have_run, error.retryable) == (3, False, True)


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_environment_names_proxies(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``HTTP_PROXY`` counts for a client of our own, as for every other program; ``NO_PROXY`` has the exceptions."""
    with ScriptedServer([(answer(b"1"),)]) as server, ForwardProxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert one(driver, server.url, call()).value == 1
        assert proxy.lines == [f"POST {server.url}/classify HTTP/1.1"]
        monkeypatch.setenv("NO_PROXY", HOST)
        assert one(driver, server.url, call()).value == 1
        monkeypatch.delenv("NO_PROXY")
        assert over(driver, server.url, call(), trust_env=False).value == 1
        assert (len(proxy.lines), len(server.requests)) == (1, 3)


# ---- certificates

ASKS = "cert_reqs = 2\nca_certs = {authority!r}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def secured(folder: Path) -> Iterator[Served]:
    """A Penstock server that asks its clients for the certificate named ``caller``."""
    certificate, key = write_certificate(folder)
    caller, _ = write_certificate(folder, "caller")
    write_certificate(folder, "stranger")
    (folder / "conf.py").write_text(ASKS.format(authority=str(caller)), encoding="utf-8")
    options = ["--certfile", str(certificate), "--keyfile", str(key), "--gunicorn-config", str(folder / "conf.py")]
    with Served(write_app(folder, APP), *options, "--log-format", "json", ready_timeout=None) as served:
        wait_until(lambda: served.events("pool-ready"), "the pool", timeout=30)
        yield served


def context_of(folder: Path, name: str = "caller") -> ssl.SSLContext:
    """Return the context of a client that trusts the server, and has a certificate of its own."""
    context = client_context(folder / "server.pem")
    if name:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


@pytest.mark.e2e
@pytest.mark.parametrize("is_proxied", [False, True])
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_client_certificate_opens_the_door(driver: str, secured: Served, folder: Path, *, is_proxied: bool) -> None:
    """Directly, and in a tunnel through a proxy: for calls and for streams."""
    url = f"https://{HOST}:{secured.port}"
    with ForwardProxy() as proxy:
        more = {"verify": context_of(folder), "proxy": proxy.url if is_proxied else None}
        assert over(driver, url, call("square", {"input": 3}), **more).value == 9
        assert over(driver, url, Act("spell", {"word": "hi"}, is_stream=True), **more) == ["h", "i"]
        assert proxy.lines == ([f"CONNECT {HOST}:{secured.port} HTTP/1.1"] * 2 if is_proxied else [])


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["", "stranger"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_wrong_certificate_is_no_connection(driver: str, name: str, secured: Served, folder: Path) -> None:
    """The server may close without a word, as asyncio's TLS does."""
    url = f"https://{HOST}:{secured.port}"
    act = call("square", {"input": 3})
    error = over(driver, url, act, settings={"retries": ONCE}, verify=context_of(folder, name))
    assert isinstance(error, errors.ConnectionFailed)


@dataclass
class Doorkeeper:
    """A server that only shakes hands by TLS, and says why if it does not like a certificate."""

    context: ssl.SSLContext
    refused: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listener = socket.create_server((HOST, 0))
        self._open: list[socket.socket] = []
        self.url = f"https://{HOST}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)  # open until the end: a reset would overtake the alert
                try:
                    self._open.append(self.context.wrap_socket(connection.dup(), server_side=True))
                except OSError as error:
                    self.refused.append(str(error))


@pytest.mark.e2e
@pytest.mark.parametrize(("name", "reason"), [("", "certificate required"), ("stranger", "unknown ca")])
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_wrong_certificate_is_a_clear_error(
    driver: str, name: str, reason: str, secured: Served, folder: Path
) -> None:
    """Missing, or unknown to the server: the error has TLS's own reason, and nothing was started."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.load_verify_locations(folder / "caller.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with Doorkeeper(context) as server:
        error = over(driver, server.url, call(), settings={"retries": ONCE}, verify=context_of(folder, name))
        wait_until(lambda: len(server.refused) == 1, "the server's refusal")
    assert type(error) is errors.ConnectionFailed
    assert reason in str(error)
    assert (error.may_have_run, error.retryable) == (False, True)


@pytest.mark.e2e
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_server_that_is_not_trusted_is_a_clear_error(driver: str, secured: Served) -> None:
    """Nothing was sent."""
    error = one(driver, f"https://{HOST}:{secured.port}", call("square", {"input": 3}), retries=ONCE)
    assert type(error) is errors.ConnectionFailed
    assert "its certificate is not trusted (self-signed certificate); pass http_client= with its authority" in str(
        error
    )
    assert (error.may_have_run, error.retryable) == (False, True)


# ---- functions and apps


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the body that was sent, or with two lines."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    is_stream = scope["path"] == "/write"
    media_type = b"application/x-ndjson" if is_stream else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", media_type)]})
    pieces = [b"1\n", b"2\n"] if is_stream else [body]
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def wsgi_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The same for WSGI."""
    is_stream = environ["PATH_INFO"] == "/write"
    start_response("200 OK", [("content-type", "application/x-ndjson" if is_stream else "application/json")])
    return [b"1\n", b"2\n"] if is_stream else [environ["wsgi.input"].read()]


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_app_is_a_server(driver: str) -> None:
    """Without a socket: by WSGI, or by ASGI with a loop."""
    transport = httpx2.WSGITransport(wsgi_app) if driver == "sync" else httpx2.ASGITransport(app)
    assert over(driver, "http://test", call(body={"n": 1}), transport=transport).value == {"n": 1}
    assert over(driver, "http://test", stream(), transport=transport) == [1, 2]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_function_is_a_server(driver: str) -> None:
    """Its answers are treated as any other's: retries, records and errors included."""
    records: list[Record] = []
    replies = [httpx2.Response(503), httpx2.Response(200, json={"n": 1}), httpx2.Response(400)]

    def respond(request: httpx2.Request) -> httpx2.Response:
        assert json.loads(request.content) == {"n": 1}
        return replies.pop(0)

    transport = httpx2.MockTransport(respond)
    settings = {"retries": QUICK, "on_event": records.append}
    result = over(driver, "http://test", call(body={"n": 1}), settings=settings, transport=transport)
    error = over(driver, "http://test", call(body={"n": 1}), settings=settings, transport=transport)
    assert [attempt.outcome for attempt in result.attempts] == ["503", "200"]
    assert type(error) is errors.MalformedRequest
    assert [type(record).__name__ for record in records] == ["RetryRecord", "CallRecord", "CallRecord"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_transport_that_reports_nothing_counts_as_having_sent(driver: str) -> None:
    """A loss on its way may have run, as nothing says that it has not."""

    def lose(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("lost", request=request)

    error = over(driver, "http://test", call(), settings={"retries": QUICK}, transport=httpx2.MockTransport(lose))
    assert (type(error), error.may_have_run, len(error.attempts)) == (errors.ConnectionLost, True, 1)


def test_a_client_of_httpx2_is_not_closed_with_ours() -> None:
    """It belongs to the program."""
    http = httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, json=1)))
    with Client("http://test", http_client=http) as client:
        client.call("classify")
    assert not http.is_closed


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_async_client_of_httpx2_is_not_closed_with_ours(backend: str) -> None:
    """The same with a loop."""

    async def main() -> bool:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as http:
            async with AsyncClient("http://test", http_client=http) as client:
                await client.call("classify", 1)
            return http.is_closed

    assert anyio.run(main, backend=backend) is False


@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", Fault.CONNECT),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", Fault.CONNECT),
        ("TLSV1_ALERT_UNKNOWN_CA", Fault.CONNECT),
        ("TLSV1_ALERT_INTERNAL_ERROR", Fault.LOST),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", Fault.LOST),
    ],
)
@pytest.mark.parametrize("is_reused", [False, True])
def test_an_alert_refuses_only_a_new_connection(reason: str, fault: Fault, *, is_reused: bool) -> None:
    """Any other error of TLS after the request is a lost connection, and the work may have run."""
    error = ssl.SSLError(1, "a text")
    error.reason = reason
    lost = httpx2.ReadError("")
    lost.__cause__ = error
    trace = RequestTrace(is_certain=True)
    for name in ([] if is_reused else ["connection.connect_tcp.started"]) + ["http11.send_request_body.complete"]:
        trace(name, {})
    met = trace.failed(lost, 0.0, 1.0)
    assert met.fault is (Fault.LOST if is_reused else fault)
    assert met.detail if met.fault is Fault.CONNECT else met.detail == str(error)
