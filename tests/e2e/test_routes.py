"""Routes of a plug-in under a real server, with the engine in the HTTP process and in one of its own."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.watching import in_background
from tests.serving import Served, wait_until, write_app

pytestmark = pytest.mark.e2e

SOON_SECONDS = 5.0
APP = """
    import asyncio

    from penstock import App
    from penstock.hooks import Route, RouteResponse, hookimpl

    class Bell:
        def __init__(self):
            self.rung = asyncio.Event()
            self.waiting = 0
            self.made = 0
            self.left = []

        @hookimpl
        def penstock_routes(self):
            return [
                Route(path="/bell/{name}", name="bell", handler=self.wait),
                Route(path="/bell/{name}", name="bell", handler=self.ring, method="PUT", reads_body=True, max_body=100),
                Route(
                    path="/hasty", name="hasty", handler=self.ring, method="POST", reads_body=True, body_timeout=0.2
                ),
                Route(path="/left", name="left", handler=lambda request, engine: RouteResponse.json(self.left)),
                Route(path="/waiting", name="waiting", handler=self.count),
                Route(path="/sound", name="sound", handler=self.sound),
                Route(path="/noise", name="noise", handler=self.noise),
            ]

        def count(self, request, engine):
            return RouteResponse.json([self.waiting, self.made])

        async def wait(self, request, engine):
            self.waiting += 1
            try:
                await self.rung.wait()
            except asyncio.CancelledError:
                self.left.append(request.path_values["name"])
                raise
            finally:
                self.waiting -= 1
            return RouteResponse.json([request.path_values["name"], self.message])

        def ring(self, request, engine):
            self.message = request.body.decode()
            self.rung.set()
            self.rung = asyncio.Event()
            return RouteResponse(status=204)

        def sound(self, request, engine):
            return RouteResponse(media_type="text/event-stream", stream=self.sounds())

        async def sounds(self):
            try:
                yield b": hello\\n\\n"
                while True:
                    await self.rung.wait()
                    yield f"data: {self.message}\\n\\n".encode()
            finally:
                self.left.append("sound")

        async def noise(self, request, engine):
            return RouteResponse(media_type="application/octet-stream", stream=self.noises())

        async def noises(self):
            try:
                while True:
                    self.made += 1
                    yield b"x" * 65536
            finally:
                self.left.append("noise")

    app = App(__name__, plugins=[Bell()])

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("routes")


@pytest.fixture(scope="module", params=[(), ("--http-workers", "2")], ids=["one", "shared"])
def served(request: pytest.FixtureRequest, folder: Path) -> Iterator[Served]:
    with Served(write_app(folder, APP), *request.param) as served:
        yield served


def waiting(served: Served) -> int:
    return int(served.get("/waiting").json()[0])


def made(served: Served) -> int:
    return int(served.get("/waiting").json()[1])


def later(look: Callable[[Served], int], served: Served) -> int:
    time.sleep(0.05)
    return look(served)


def ring(served: Served, message: bytes) -> None:
    assert served.request("PUT", "/bell/all", message).status == 204


@contextlib.contextmanager
def listening(served: Served, path: str) -> Iterator[http.client.HTTPResponse]:
    """Begin to read a response."""
    connection = http.client.HTTPConnection(served.host, served.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        with contextlib.closing(connection.getresponse()) as response:
            yield response


def test_a_route_waits_and_delays_nobody(served: Served) -> None:
    """Many requests wait, whichever process they came to; another one ends their wait."""
    with in_background() as begin:
        answers = [begin(served.get, f"/bell/{name}") for name in "abcd"]
        wait_until(lambda: waiting(served) == 4, "all waiting")
        assert served.post_json("/square", {"input": 3}).json() == 9.0
        ring(served, b"ding")
        assert [answer.result(SOON_SECONDS).json() for answer in answers] == [[name, "ding"] for name in "abcd"]


def test_a_client_that_leaves_ends_the_wait(served: Served) -> None:
    """Its handler is cancelled, in whichever process it waits."""
    with served.connect() as client:
        client.sendall(b"GET /bell/gone HTTP/1.1\r\nHost: test\r\n\r\n")
        wait_until(lambda: waiting(served) == 1, "it waits")
    wait_until(lambda: "gone" in served.get("/left").json(), "the cancellation", timeout=SOON_SECONDS)
    assert waiting(served) == 0


def test_a_stream_arrives_as_it_is_made(served: Served) -> None:
    """Each piece at once; the client that leaves ends it."""
    before = served.get("/left").json().count("sound")
    with listening(served, "/sound") as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert response.read1(100) == b": hello\n\n"
        for message in (b"one", b"two"):
            ring(served, message)
            assert response.read1(100) == b"data: %s\n\n" % message
    wait_until(lambda: served.get("/left").json().count("sound") > before, "the end", timeout=SOON_SECONDS)


def test_a_stream_waits_for_its_reader(served: Served) -> None:
    """A client that does not read holds up the stream, and costs no memory."""
    with listening(served, "/noise") as response:
        assert response.read1(10)
        wait_until(lambda: made(served) == later(made, served), "no more pieces")
        assert made(served) * 65536 < 64 << 20
    wait_until(lambda: "noise" in served.get("/left").json(), "the end", timeout=SOON_SECONDS)


def test_a_body_is_bounded(served: Served) -> None:
    """Before it is read; and one that is cut short never becomes a request."""
    assert served.request("PUT", "/bell/all", b"x" * 101).status == 413
    with served.connect() as client:
        client.sendall(b"PUT /bell/all HTTP/1.1\r\nHost: test\r\nContent-Length: 50\r\n\r\nhalf")
    assert served.get("/waiting").status == 200


def test_a_body_without_a_length_is_bounded_too(served: Served) -> None:
    """As soon as what has arrived is over the limit; one that is not, is read to its end."""
    head = b"PUT /bell/all HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    for size, status in ((100, b"204"), (101, b"413")):
        with served.connect() as client:
            client.sendall(head + b"%x\r\n" % size + b"x" * size + b"\r\n" + (b"0\r\n\r\n" if size == 100 else b""))
            assert client.recv(4096).split(b" ", 2)[1] == status


def test_a_body_that_comes_late_is_refused(served: Served) -> None:
    """At the deadline of its route, whether the rest of it comes or not."""
    with served.connect() as client:
        client.sendall(b"POST /hasty HTTP/1.1\r\nHost: test\r\nContent-Length: 50\r\n\r\nhalf")
        began = time.monotonic()
        assert client.recv(4096).split(b" ", 2)[1] == b"408"
        assert time.monotonic() - began < SOON_SECONDS


@pytest.mark.parametrize("options", [(), ("--http-workers", "2")], ids=["one", "shared"])
def test_a_server_that_stops_waits_for_no_stream(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Requests that wait are refused, so that they are sent again elsewhere, and streams are cut."""
    with Served(write_app(tmp_path, APP), *options, "--drain-timeout", "20") as served, in_background() as begin:
        answer = begin(served.get, "/bell/late")
        wait_until(lambda: waiting(served) == 1, "it waits")
        with listening(served, "/sound") as response:
            response.read1(100)
            began = time.monotonic()
            assert served.stop() == 0
            assert time.monotonic() - began < SOON_SECONDS
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                response.read()
        assert answer.result(SOON_SECONDS).json()["error"]["code"] == "draining"
