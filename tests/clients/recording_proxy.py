"""A proxy that keeps the answers of a server, for tests that check all of them."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.serving import HOST, Served

OF_ONE_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Exchange(NamedTuple):
    """A request and its answer. The names of headers are lower case."""

    method: str
    path: str
    status: int
    headers: dict[str, str]
    body: bytes


class RecordingProxy:
    """A proxy on a port of its own, for requests that have a length.

    Parameters
    ----------
    served:
        The server that it passes requests to.

    Attributes
    ----------
    exchanges:
        Those that it has passed on so far.
    """

    def __init__(self, served: Served) -> None:
        self.exchanges: list[Exchange] = []
        self._port = served.port
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet for head and body, or the second waits for the first to be acknowledged

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = outer.answer(self.command, self.path, dict(self.headers.items()), body)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    if name not in OF_ONE_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = pass_on  # noqa: N815 - the base class looks for these names

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.base_url = f"http://{HOST}:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Exchange:
        """Return the server's answer to a request, and keep it."""
        connection = http.client.HTTPConnection(HOST, self._port, timeout=60)
        try:
            connection.request(method, path, body, {k: v for k, v in headers.items() if k.lower() not in OF_ONE_HOP})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            exchange = Exchange(method, path, response.status, found, response.read())
        finally:
            connection.close()
        self.exchanges.append(exchange)
        return exchange
