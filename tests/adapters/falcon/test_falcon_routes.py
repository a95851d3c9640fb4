"""Routes that read bodies and paths, wait, and stream: the same under ASGI and WSGI, and through a shared engine."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import falcon.testing
import pytest

import penstock_falcon
from penstock import errors
from penstock.hooks import (
    HookFailed,
    Principal,
    PublicError,
    RequestAnswered,
    Route,
    RouteRequest,
    RouteResponse,
    Submission,
    hookimpl,
)
from penstock.hooks.registry import Registry
from penstock.hosting import AsyncioReactor
from penstock_falcon._asgi import asgi_stream_body
from penstock_falcon._wsgi import wsgi_stream_body
from tests.adapters.falcon.fake_engine import FakeEngine, FakeThreadedEngine, make_app
from tests.adapters.falcon.shared_server import shared
from tests.serving import wait_until


class LoopedEngine(FakeThreadedEngine):
    """A ``FakeThreadedEngine`` with a thread that runs a loop, on which handlers can wait."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def reactor(self) -> AsyncioReactor:
        return AsyncioReactor(self._loop)

    def run(self, function: Callable[[], Any]) -> Any:
        async def call() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(LIMIT_SECONDS)

    def run_soon(self, function: Callable[[], Any]) -> None:
        if threading.current_thread() is self._thread:
            self._loop.call_soon(function)
        else:
            self.run(function)  # so that the test need not wait for it

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


KINDS: dict[str, tuple[Callable[..., Any], type[FakeEngine]]] = {
    "asgi": (penstock_falcon.asgi, FakeEngine),
    "shared": (shared, FakeEngine),
    "wsgi": (penstock_falcon.wsgi, LoopedEngine),
}
MAX_BODY = 100
LIMIT_SECONDS = 10.0
ALL = 10**9


def be_weary(request: RouteRequest, _engine: Any) -> RouteResponse:
    advice = {"x-should-retry": "false", "retry-after": "9"} if request.path_values["advice"] == "own" else {}
    return RouteResponse(status=503, headers=advice)


class Notes:
    """A plug-in with routes; the test sets what its authenticator does."""

    name = "notes"

    def __init__(self) -> None:
        self.authenticate: Callable[[Submission], Principal | None] = lambda _submission: None
        self.answered: list[RequestAnswered] = []
        self.failed: list[HookFailed] = []
        self.begun = threading.Event()
        self.ended: list[str] = []
        self.pieces = 0
        self.on_wait: Callable[[], None] = lambda: None

    @hookimpl
    def penstock_authenticator(self, endpoint: Any) -> Callable[[Submission], Principal | None]:
        return lambda submission: self.authenticate(submission)  # noqa: PLW0108 - a test changes it later

    @hookimpl
    def penstock_observer(self) -> dict[Any, Callable[[Any], None]]:
        return {RequestAnswered: self.answered.append, HookFailed: self.failed.append}

    @hookimpl
    def penstock_routes(self) -> list[Route]:
        note = "/notes/{name}"
        reading: dict[str, Any] = {"reads_body": True, "max_body": MAX_BODY}
        return [
            Route(path=note, name="note", handler=tell),
            Route(path=note, name="note", handler=tell, method="PUT", **reading),
            Route(path=note, name="note", handler=tell, method="DELETE"),
            Route(path="/notes", name="notes", handler=tell, method="POST", **reading),
            Route(path="/late", name="late", handler=tell, method="POST", reads_body=True, body_timeout=0.0),
            Route(path="/files/{path:path}", name="files", handler=tell),
            Route(path="/weary/{advice}", name="weary", handler=be_weary),
            Route(path="/own/{word}", name="own", handler=tell_or_fail, error=own_error),
            Route(path="/soon", name="soon", handler=self.soon, method="POST", reads_body=True),
            Route(path="/never", name="never", handler=self.never),
            Route(path="/local", name="local", handler=self.events, is_local=True),
            Route(path="/stubborn", name="stubborn", handler=self.stubborn),
            Route(path="/events/{kind}", name="events", handler=self.events),
        ]

    async def soon(self, request: RouteRequest, engine: Any) -> RouteResponse:
        await asyncio.sleep(0)
        if request.body == b"refuse":
            raise errors.Forbidden("not you")
        if request.body == b"break":
            raise ZeroDivisionError("a secret")
        return RouteResponse.json([request.body.decode(), engine.status()["pools"]], status=202)

    async def never(self, request: RouteRequest, engine: Any) -> RouteResponse:
        self.begun.set()
        asyncio.get_running_loop().call_soon(self.on_wait)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        raise AssertionError("nobody ends the wait")

    async def stubborn(self, request: RouteRequest, engine: Any) -> RouteResponse:
        with contextlib.suppress(asyncio.CancelledError):
            await self.never(request, engine)
        return RouteResponse(body=b"x", stream=self.endless_events())

    def events(self, request: RouteRequest, engine: Any) -> RouteResponse:
        stream = getattr(self, f"{request.path_values.get('kind', 'some')}_events")()
        return RouteResponse(body=b"first,", media_type="text/event-stream", stream=stream, keep_alive=b":still,")

    async def some_events(self) -> AsyncIterator[bytes]:
        for number in range(3):
            await asyncio.sleep(0)
            yield b"%d," % number
        self.ended.append("whole")

    async def broken_events(self) -> AsyncIterator[bytes]:
        yield b"0,"
        raise ZeroDivisionError("a secret")

    async def typed_events(self) -> AsyncIterator[Any]:
        yield "text"

    async def endless_events(self) -> AsyncIterator[bytes]:
        try:
            while True:
                self.pieces += 1
                yield b"x" * 1000
        finally:
            self.ended.append("closed")

    async def silent_events(self) -> AsyncIterator[bytes]:
        self.begun.set()
        try:
            await asyncio.get_running_loop().create_future()
            yield b""
        finally:
            self.ended.append("closed")


def tell(request: RouteRequest, engine: Any) -> RouteResponse:
    return RouteResponse.json([request.method, request.path_values, request.body.decode()])


def tell_or_fail(request: RouteRequest, engine: Any) -> RouteResponse:
    if request.path_values["word"] == "refuse":
        raise errors.Forbidden("not you")
    if request.path_values["word"] == "break":
        raise ZeroDivisionError("a secret")
    return tell(request, engine)


def own_error(error: PublicError) -> RouteResponse:
    if error.status == 401:
        raise ZeroDivisionError("no words for it")
    return RouteResponse(body=f"alas: {error.code}".encode(), status=error.status, media_type="text/plain")


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def engine(kind: str, notes: Notes) -> Iterator[FakeEngine]:
    made = KINDS[kind][1](registry=Registry([notes]))
    yield made
    if isinstance(made, LoopedEngine):
        made.end()


@pytest.fixture
def client(kind: str, engine: FakeEngine) -> falcon.testing.TestClient:
    return falcon.testing.TestClient(KINDS[kind][0](make_app(), engine=engine))


def code_of(result: falcon.testing.Result) -> tuple[int, str]:
    return result.status_code, result.json["error"]["code"]


# ---- paths and bodies


def test_a_route_reads_its_path(client: falcon.testing.TestClient) -> None:
    """Variables stand for one segment, the last one for several if it says so; they are decoded."""
    assert client.simulate_get("/notes/a%20b").json == ["GET", {"name": "a b"}, ""]
    assert client.simulate_get("/files/a/b.txt").json == ["GET", {"path": "a/b.txt"}, ""]
    assert client.simulate_get("/notes/a/b").status_code == 404


def test_a_path_has_a_route_for_each_method(client: falcon.testing.TestClient) -> None:
    """Even by one name. Another method is refused with the ones that there are."""
    assert client.simulate_delete("/notes/a").json[0] == "DELETE"
    assert client.simulate_put("/notes/a", body=b"x").json[0] == "PUT"
    assert client.simulate_head("/notes/a").status_code == 200
    refused = client.simulate_post("/notes/a", body=b"x")
    assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, GET, HEAD, PUT")


@pytest.mark.parametrize("body", [b"", b"hello", b"x" * MAX_BODY])
def test_a_route_reads_its_body(client: falcon.testing.TestClient, body: bytes) -> None:
    """Up to its limit; the content type is the handler's business."""
    assert client.simulate_put("/notes/a", body=body).json == ["PUT", {"name": "a"}, body.decode()]


def test_a_body_over_the_limit_is_refused(client: falcon.testing.TestClient, notes: Notes) -> None:
    """With 413, recorded once."""
    assert code_of(client.simulate_post("/notes", body=b"x" * (MAX_BODY + 1))) == (413, "payload-too-large")
    assert [(record.endpoint, record.status) for record in notes.answered] == [("notes", 413)]


@pytest.mark.parametrize("kind", ["wsgi"], indirect=True)  # the test client for ASGI sets the length itself
def test_a_body_that_is_cut_short_is_refused(client: falcon.testing.TestClient) -> None:
    """With 400: a handler never sees half of one."""
    cut = client.simulate_post("/notes", body=b"half", headers={"Content-Length": "8"})
    assert code_of(cut) == (400, "invalid-request")


def test_a_body_that_comes_late_is_refused(client: falcon.testing.TestClient) -> None:
    """With 408."""
    assert code_of(client.simulate_post("/late", body=b"text")) == (408, "request-timeout")


def test_a_compressed_body_is_inflated(client: falcon.testing.TestClient) -> None:
    """A handler never sees another form, and what is inflated counts against the limit."""
    gzipped = {"Content-Encoding": "gzip"}
    assert client.simulate_post("/notes", body=gzip.compress(b"text"), headers=gzipped).json == ["POST", {}, "text"]
    large = client.simulate_post("/notes", body=gzip.compress(b"x" * 1000), headers=gzipped)
    assert code_of(large) == (413, "payload-too-large")
    strange = client.simulate_post("/notes", body=b"text", headers={"Content-Encoding": "br"})
    assert code_of(strange) == (415, "unsupported-media-type")


def test_a_body_is_not_read_for_a_stranger(client: falcon.testing.TestClient, notes: Notes) -> None:
    """The authenticator is asked before the size of the body matters."""

    def authenticate(_submission: Submission) -> None:
        raise errors.Unauthorized("who are you")

    notes.authenticate = authenticate
    assert client.simulate_post("/notes", body=b"x" * (MAX_BODY + 1)).status_code == 401


def test_a_route_may_have_errors_of_its_own_shape(client: falcon.testing.TestClient, notes: Notes) -> None:
    """Those that its handler raises, and those around it; one that it cannot write is a problem document."""
    assert client.simulate_get("/own/word").status_code == 200
    for word, status, text in (("refuse", 403, "alas: forbidden"), ("break", 500, "alas: hook-error")):
        found = client.simulate_get(f"/own/{word}")
        assert (found.status_code, found.text) == (status, text)
    assert client.simulate_put("/own/word").text == "alas: method-not-allowed"

    def authenticate(_submission: Submission) -> None:
        raise errors.Unauthorized("who are you")

    notes.authenticate = authenticate
    assert code_of(client.simulate_get("/own/word")) == (401, "unauthorized")


# ---- waiting


def test_a_handler_may_wait(client: falcon.testing.TestClient, notes: Notes) -> None:
    """It is answered when its handler ends, with all that others may do."""
    found = client.simulate_post("/soon", body=b"text")
    assert (found.status_code, found.json) == (202, ["text", []])
    assert code_of(client.simulate_post("/soon", body=b"refuse")) == (403, "forbidden")
    broken = client.simulate_post("/soon", body=b"break")
    assert code_of(broken) == (500, "hook-error")
    assert "secret" not in broken.text
    assert [record.hook for record in notes.failed] == ["penstock_routes"]
    assert [(record.status, record.code) for record in notes.answered] == [
        (202, "ok"),
        (403, "forbidden"),
        (500, "hook-error"),
    ]


def test_a_client_that_leaves_ends_the_wait(kind: str, client: falcon.testing.TestClient, notes: Notes) -> None:
    """The handler is cancelled, and the request recorded as a 499."""
    leave(kind, client, notes, "/never")
    assert notes.ended == ["cancelled"]
    assert [(record.status, record.code) for record in notes.answered] == [(499, "cancelled")]


@pytest.mark.parametrize("kind", ["asgi", "wsgi"], indirect=True)
def test_a_handler_that_does_not_heed_its_end_answers_nobody(
    kind: str, client: falcon.testing.TestClient, engine: FakeEngine, notes: Notes
) -> None:
    """Its stream is not begun."""
    leave(kind, client, notes, "/stubborn")
    assert [(record.status, record.code) for record in notes.answered] == [(499, "cancelled")]
    assert notes.pieces == 0
    wait_until(lambda: "0 in progress" in repr(engine.route_calls), "the end of the handler")


def test_a_server_that_stops_ends_the_wait(client: falcon.testing.TestClient, engine: FakeEngine, notes: Notes) -> None:
    """With 503, so that the client asks another server."""
    notes.on_wait = lambda: engine.route_calls.close(errors.Draining("the server has stopped"))
    assert code_of(client.simulate_get("/never")) == (503, "draining")
    assert notes.ended == ["cancelled"]
    assert code_of(client.simulate_get("/events/some")) == (503, "draining")
    assert client.simulate_get("/livez").status_code == 200


# ---- streams


def test_a_stream_is_sent_as_it_comes(client: falcon.testing.TestClient, notes: Notes) -> None:
    """After the body; it is recorded once, at its end."""
    found = client.simulate_get("/events/some")
    assert (found.status_code, found.text) == (200, "first,0,1,2,")
    assert (found.headers["content-type"], found.headers["x-accel-buffering"]) == ("text/event-stream", "no")
    assert notes.ended == ["whole"]
    assert [(record.status, record.code) for record in notes.answered] == [(200, "ok")]


def test_a_head_of_a_stream_asks_for_no_piece(client: falcon.testing.TestClient, notes: Notes) -> None:
    """It has the headers of the stream, which is closed."""
    found = client.simulate_head("/events/endless")
    assert (found.status_code, found.headers["content-type"]) == (200, "text/event-stream")
    assert notes.pieces == 0


@pytest.mark.parametrize("broken", ["broken", "typed"])
def test_a_stream_that_raises_is_cut(client: falcon.testing.TestClient, notes: Notes, broken: str) -> None:
    """No client takes it for whole, and the plug-in is to blame."""
    with pytest.raises((OSError, asyncio.CancelledError)):
        client.simulate_get(f"/events/{broken}")
    assert [record.hook for record in notes.failed] == ["penstock_routes"]
    assert [(record.status, record.code) for record in notes.answered] == [(200, "hook-error")]


@pytest.mark.parametrize(("path", "most"), [("/events/silent", ALL), ("/events/endless", 3)])
def test_a_client_that_leaves_closes_the_stream(
    kind: str, client: falcon.testing.TestClient, notes: Notes, path: str, most: int
) -> None:
    """It may wait for a piece, or have one to send. No more pieces were asked for than were taken, and a few."""
    leave(kind, client, notes, path, most)
    assert notes.ended == ["closed"]
    assert [(record.status, record.code) for record in notes.answered] == [(499, "cancelled")]
    assert notes.pieces < 10


def test_a_local_route_neither_waits_nor_streams(client: falcon.testing.TestClient, notes: Notes) -> None:
    """It is called in whichever thread has the request, where there may be no loop."""
    assert client.simulate_get("/local").status_code == 500
    assert notes.ended == []
    with pytest.raises(errors.DeclarationError, match="route 'x' is local"):
        Route(path="/x", name="x", handler=notes.never, is_local=True)


def test_a_silent_stream_is_kept_alive(
    kind: str, client: falcon.testing.TestClient, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the bytes that its route has named."""
    for module in (asgi_stream_body, wsgi_stream_body):
        monkeypatch.setattr(module, "KEEP_ALIVE_SECONDS", 0.01)
    assert leave(kind, client, notes, "/events/silent", most=3) == b"first,:still,:still,"


def leave(kind: str, client: falcon.testing.TestClient, notes: Notes, path: str, most: int = ALL) -> bytes:
    """Send a request, and leave once its handler waits, or ``most`` pieces of its body were taken; return those."""
    if kind == "wsgi":
        return leave_wsgi(client.app, notes, path, most)
    return asyncio.run(asyncio.wait_for(leave_asgi(client.app, notes, path, most), LIMIT_SECONDS))


async def leave_asgi(application: Any, notes: Notes, path: str, most: int) -> bytes:
    taken: list[bytes] = []
    left = asyncio.Event()
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if most == ALL:
            while not notes.begun.is_set():  # noqa: ASYNC110 - the event belongs to threads
                await asyncio.sleep(0)
        else:
            await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message.get("body"):
            taken.append(message["body"])
        if len(taken) >= most:
            left.set()
            await asyncio.sleep(LIMIT_SECONDS if notes.pieces else 0)  # the server cancels a write that goes nowhere

    scope = falcon.testing.create_scope(path=path)
    task = asyncio.ensure_future(application(scope, receive, send))
    await asyncio.wait([task, asyncio.ensure_future(left.wait())], return_when=asyncio.FIRST_COMPLETED)
    if notes.pieces:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    for _ in range(3):
        await asyncio.sleep(0)
    return b"".join(taken)


def leave_wsgi(application: Any, notes: Notes, path: str, most: int) -> bytes:
    mine, theirs = socket.socketpair()
    with mine, theirs:
        environ = falcon.testing.create_environ(path=path)
        environ["gunicorn.socket"] = theirs

        def hang_up() -> None:
            if notes.begun.wait(LIMIT_SECONDS):
                mine.close()

        if most == ALL:
            threading.Thread(target=hang_up).start()
        body = application(environ, lambda *_: None)
        taken: list[bytes] = []
        with contextlib.suppress(ConnectionResetError):
            for piece in body:
                taken.append(piece)
                if len(taken) >= most:
                    break
        if hasattr(body, "close"):
            body.close()
    return b"".join(taken)


def test_a_route_may_advise_against_a_retry(client: falcon.testing.TestClient) -> None:
    """A 503 has advice for the client, that of the route if it has any, and each header once."""
    usual, own = client.simulate_get("/weary/usual"), client.simulate_get("/weary/own")
    assert (usual.status_code, usual.headers["x-should-retry"]) == (503, "true")
    assert int(usual.headers["retry-after"]) > 0
    assert (own.headers["x-should-retry"], own.headers["retry-after"]) == ("false", "9")
