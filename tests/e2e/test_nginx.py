"""Penstock behind Debian's nginx, with the configuration that the project recommends."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.e2e.watching import wait_idle
from tests.proxies import Nginx, free_address, needs_nginx
from tests.serving import HOST, Served, wait_until, write_app

pytestmark = [pytest.mark.e2e, needs_nginx]

SOURCE = """
    import time
    from collections.abc import Iterator
    from pathlib import Path

    from penstock import App, Timeouts

    app = App(__name__)


    def wait_for(file: str) -> None:
        give_up_at = time.monotonic() + 20
        while not Path(file).exists() and time.monotonic() < give_up_at:
            time.sleep(0.005)


    @app.endpoint("/size")
    def size(body: bytes) -> int:
        return len(body)


    @app.endpoint("/gated")
    def gated(file: str) -> Iterator[str]:
        yield "first"
        wait_for(file)
        yield "second"


    @app.endpoint("/nap", timeouts=Timeouts(grace=60))
    def nap(seconds: float) -> str:
        time.sleep(seconds)
        return "rested"


    @app.endpoint("/tokens", timeouts=Timeouts(grace=60))
    def tokens() -> Iterator[int]:
        for token in range(100_000):
            yield token
            time.sleep(0.005)


    @app.endpoint("/impatient", timeouts=Timeouts(execution=0.2))
    def impatient() -> None:
        time.sleep(60)
"""
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("behind")
    access = {"PENSTOCK_ACCESSLOG_ENABLED": "true", "PENSTOCK_ACCESSLOG_FORMAT": "json"}
    trusted = ("--trusted-proxy", HOST)
    with Served(write_app(folder, SOURCE), "--log-format", "json", *trusted, environment=access) as served:
        yield served


@pytest.fixture(scope="module")
def proxy(server: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("nginx"), [f"{HOST}:{server.port}"]) as nginx:
        yield nginx


# ---- requests


def test_requests_and_ids_pass(proxy: Nginx) -> None:
    """The client's request id is Penstock's; without one, nginx makes it."""
    answer = proxy.post("/size", b"12345", headers={"X-Request-Id": "mine"})
    assert (answer.json(), answer.headers["x-request-id"]) == (5, "mine")
    assert len(proxy.post("/size", b"").headers["x-request-id"]) == 32


def test_the_address_is_the_clients(proxy: Nginx, server: Served) -> None:
    """Nginx adds the client's address to X-Forwarded-For; what the client wrote there itself counts for nothing."""
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=10, source_address=("127.0.0.9", 0))
    with contextlib.closing(connection):
        headers = {"X-Forwarded-For": "192.0.2.66", "X-Request-Id": "forwarded"}
        connection.request("POST", "/size", b"x", {**headers, "Content-Type": "application/octet-stream"})
        assert connection.getresponse().read() == b"1"
    line = json.loads(server.wait_for_line('"forwarded"'))
    assert "127.0.0.9" in line.values()
    assert "192.0.2.66" not in json.dumps(line)


class KeepingServer(http.server.ThreadingHTTPServer):
    """A server that keeps connections, and counts them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), KeepingHandler)
        self.connections = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class KeepingHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_connections_to_the_server_are_kept(tmp_path: Path) -> None:
    """Clients that open a connection for each request share one between nginx and the server."""
    with KeepingServer() as server, Nginx(tmp_path, [f"{HOST}:{server.server_port}"]) as nginx:
        assert [nginx.post("/size", b"x").status for _ in range(5)] == [200] * 5
        assert server.connections == 1


def test_operators_routes_are_for_operators(proxy: Nginx) -> None:
    """They answer this machine, and no other address."""
    for path in ("/-/status", "/metrics"):
        assert proxy.get(path).status == 200
        connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=10, source_address=("127.0.0.9", 0))
        with contextlib.closing(connection):
            connection.request("GET", path)
            assert connection.getresponse().status == 403


# ---- bodies


def test_both_refuse_a_body_that_is_too_large_alike(proxy: Nginx, server: Served) -> None:
    """Nginx's limit is Penstock's: a body up to it passes, and above it the answers have the same form."""
    limit = 16 << 20
    assert proxy.post("/size", bytes(limit)).json() == limit
    refusals = []
    for one in (proxy, server):
        with one.connect() as client:
            lines = f"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: {limit + 1}\r\n\r\n"
            client.sendall(lines.encode())
            response = http.client.HTTPResponse(client)
            response.begin()
            refusals.append((response.status, response.headers, json.loads(response.read())))
    for status, headers, document in refusals:
        assert (status, headers["content-type"]) == (413, "application/problem+json")
        assert headers["x-should-retry"] == "false"
        assert document["error"]["code"] == "payload-too-large"
    assert refusals[0][2].keys() == refusals[1][2].keys()


# ---- streams and hang-ups


def test_a_stream_is_not_collected(proxy: Nginx, tmp_path: Path) -> None:
    """The client has the first chunk while the handler has not yet made the second."""
    gate = tmp_path / "gate"
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", "/gated", json.dumps({"file": str(gate)}), JSON)
        response = connection.getresponse()
        assert response.readline() == b'"first"\n'
        gate.touch()
        assert response.read() == b'"second"\n'


@pytest.mark.parametrize("endpoint", ["nap", "tokens"])
def test_a_client_that_leaves_nginx_frees_the_slot(proxy: Nginx, server: Served, endpoint: str) -> None:
    """Nginx passes the hang-up on, so the work ends: neither handler would end for minutes."""
    before = server.status()["endpoints"][endpoint]["totals"].get("cancelled", 0)
    body = json.dumps({"seconds": 120} if endpoint == "nap" else {}).encode()
    head = f"POST /{endpoint} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    with proxy.connect() as client:
        client.sendall(head.encode() + b"\r\n" + body)
        wait_until(lambda: server.status()["endpoints"][endpoint]["running"] == 1, "the job to run")
    wait_until(
        lambda: server.status()["endpoints"][endpoint]["totals"].get("cancelled", 0) == before + 1,
        "the job to be cancelled",
        timeout=2.0,
    )
    wait_idle(server, "default")


# ---- time-outs and failures


def test_penstock_times_out_first(proxy: Nginx) -> None:
    """A job's own limit is the one that ends it, and its error passes through nginx unchanged."""
    answer = proxy.post_json("/impatient", {})
    assert (answer.status, answer.json()["error"]["code"]) == (504, "execution-timeout")


def test_nginxs_own_timeout_stops_the_work(server: Served, tmp_path: Path) -> None:
    """Where the limits do not nest, nginx answers, and hangs up: the slot is free all the same."""
    with Nginx(tmp_path, [f"{HOST}:{server.port}"], ("proxy_read_timeout 340s", "proxy_read_timeout 200ms")) as nginx:
        answer = nginx.post_json("/nap", {"seconds": 120})
        assert (answer.status, answer.json()["error"]["code"]) == (504, "gateway-timeout")
        assert answer.headers["x-should-retry"] == "false"
        wait_idle(server, "default")


def test_a_server_that_is_down_is_skipped(server: Served, tmp_path: Path) -> None:
    """A request that reached no server is sent to the next one, POST or not."""
    with Nginx(tmp_path, [free_address(), f"{HOST}:{server.port}"]) as nginx:
        assert [nginx.post("/size", b"x").status for _ in range(4)] == [200] * 4


def test_no_server_is_a_problem_document(tmp_path: Path) -> None:
    """Nginx's own 502 has the form of Penstock's errors."""
    with Nginx(tmp_path, [free_address()]) as nginx:
        answer = nginx.post("/size", b"x", headers={"X-Request-Id": 'a"quote'})
        assert answer.json()["instance"] == answer.headers["x-request-id"] != 'a"quote'
        assert (answer.status, answer.headers["content-type"]) == (502, "application/problem+json")
        assert answer.json()["error"]["code"] == "bad-gateway"


class BrokenServers:
    """Two servers that read a request and close the connection without a word."""

    def __init__(self) -> None:
        self.requests = 0
        self._listeners = [socket.create_server((HOST, 0)) for _ in range(2)]
        self.addresses = [f"{HOST}:{listener.getsockname()[1]}" for listener in self._listeners]
        self._threads = [threading.Thread(target=self._serve, args=(one,), daemon=True) for one in self._listeners]

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    while not connection.recv(1 << 16).endswith(b"END"):
                        pass
                    self.requests += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def test_a_post_is_never_repeated(tmp_path: Path) -> None:
    """Once a server has it, no other gets it: it may have run."""
    with BrokenServers() as broken, Nginx(tmp_path, broken.addresses) as nginx:
        assert nginx.post("/size", b"END").status == 502
        assert broken.requests == 1
