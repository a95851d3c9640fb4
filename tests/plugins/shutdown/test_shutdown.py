"""Shutdown: the audit line, the limit on its length, and the routes that request it."""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import math
import random
import secrets
import string
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.app import App
from penstock.engine import Engine
from penstock.errors import Draining, MalformedRequest, NotFound, PluginError, Unauthorized
from penstock.hooks import (
    DrainEnded,
    DrainStarted,
    JobAbandoned,
    Record,
    Route,
    RouteRequest,
    RouteResponse,
    ShutdownRequest,
)
from penstock.hooks.registry import Registry
from penstock.hooks.settings import Sources
from penstock_shutdown import ShutdownPlugin
from penstock_shutdown.operations import REFUSED_LINE_SECONDS
from penstock_shutdown.parameters import MAX_WHY_CHARACTERS, parameters_of, seconds_of, sentence_of
from penstock_shutdown.shutdown_key import MAX_FILE_BYTES, RECIPE, ShutdownKey, weakness_of

KEY = "q7Zr0yDkT3vW8uXeB1nHs5LmJa9GcPf2oRiY6tVwEdU"
BEARER = f"Bearer {KEY}"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeEngine:
    """Obeys and remembers each call, and notifies the plug-in's observers as an engine would."""

    def __init__(self, observers: Any, longest_drain: float = 30.0) -> None:
        self.observers = observers
        self.longest_drain = longest_drain
        self.asked: list[tuple[Any, ...]] = []
        self.draining = False
        self.paused = False
        self.reloads = True

    def notify(self, record: Record) -> None:
        self.observers[type(record)](record)

    def shutdown(self, drain: float, *, who: str, why: str = "") -> None:
        self.asked.append(("shutdown", drain, who, why))
        self.draining = True
        self.notify(DrainStarted(who=who, why=why, seconds=min(drain, self.longest_drain), jobs=3))

    def pause(self, *, who: str, why: str = "") -> None:
        self.asked.append(("pause", who, why))
        self.paused = True

    def resume(self, *, who: str, why: str = "") -> None:
        self.asked.append(("resume", who, why))
        self.paused = False

    def scale(self, pool: str, workers: int, *, who: str) -> None:
        self.asked.append(("scale", pool, workers, who))

    def reload(self, *, who: str, why: str = "") -> bool:
        self.asked.append(("reload", who, why))
        return self.reloads

    def status(self) -> dict[str, Any]:
        return {
            "generation": 3,
            "ready": False,
            "draining": self.draining,
            "reasons": ["draining"] if self.draining or self.paused else [],
            "pools": {"default": {"workers": [{"id": "default/0", "state": "busy", "pid": 1}]}},
            "endpoints": {
                "ocr": {"queued": 2, "running": 1, "totals": {}},
                "square": {"queued": 0, "running": 0, "totals": {}},
            },
        }


class Server:
    """The plug-in in a fake engine."""

    def __init__(self, longest_drain: float = 30.0, **settings: Any) -> None:
        self.clock = Clock()
        resolved = Sources({"shutdown": {"key": KEY, **settings}}, {}).resolve("shutdown", ShutdownPlugin.Settings)
        self.plugin = ShutdownPlugin(resolved.settings, clock=self.clock)
        self.engine = FakeEngine(self.plugin.penstock_observer(), longest_drain)
        self.routes: dict[str, Route] = {route.path: route for route in self.plugin.penstock_routes() or ()}

    def post(
        self, path: str, query: str = "", authorization: str | None = BEARER, address: str = "10.1.2.3"
    ) -> RouteResponse:
        headers = {} if authorization is None else {"authorization": authorization}
        request = RouteRequest(
            request_id="r-1", method="POST", path=path, header=headers.get, query=query, address=address
        )
        return self.routes[path].handler(request, cast("Engine", self.engine))


def content(response: RouteResponse) -> Any:
    return json.loads(response.body)


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[Any]:
    return [record for record in caplog.records if getattr(record, "event", "") == event]


# ---- the audit line


def test_a_shutdown_is_one_audit_line_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """The line has the requester, the reason, the time taken and granted, and the jobs finished and abandoned."""
    engine = Server().engine
    with caplog.at_level(logging.INFO, "penstock"):
        engine.notify(DrainStarted(who="SIGTERM", why="", seconds=30.0, jobs=4))
        assert lines(caplog, "shutdown") == []
        engine.notify(DrainEnded(who="SIGTERM", why="", seconds=1.234567, finished=4, abandoned=0))
    [line] = lines(caplog, "shutdown")
    assert line.msg == "shut down by SIGTERM within 1.23 s: finished 4, abandoned 0"
    assert line.levelname == "INFO"
    assert {name: value for name, value in line.fields.items() if value is not None} == {
        "who": "SIGTERM",
        "seconds": 1.235,
        "granted": 30.0,
        "jobs": 4,
        "finished": 4,
        "abandoned": 0,
    }


def test_the_audit_line_names_what_was_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    """The warning counts all abandoned jobs by endpoint, and names the first of them by request id."""
    engine = Server().engine
    with caplog.at_level(logging.INFO, "penstock"):
        engine.notify(DrainStarted(who="the program", why="tests", seconds=0.5, jobs=1000))
        for number in range(1000):
            name = "ocr" if number % 4 else "square"
            engine.notify(JobAbandoned(endpoint=name, request_id=f"r-{number}", principal=None, state="running"))
        engine.notify(DrainEnded(who="the program", why="tests", seconds=0.5, finished=0, abandoned=1000))
    [line] = lines(caplog, "shutdown")
    assert line.levelname == "WARNING"
    assert line.msg.endswith("finished 0, abandoned 1000, because: tests")
    assert line.fields["endpoints"] == {"square": 250, "ocr": 750}
    assert line.fields["request_ids"] == [f"r-{number}" for number in range(10)]


def test_an_end_without_a_drain_writes_a_line_too(caplog: pytest.LogCaptureFixture) -> None:
    """An engine that is closed immediately was granted no time."""
    engine = Server().engine
    with caplog.at_level(logging.INFO, "penstock"):
        engine.notify(DrainEnded(who="the program", why="closed", seconds=0.0, finished=0, abandoned=2))
    [line] = lines(caplog, "shutdown")
    assert (line.fields["granted"], line.fields["abandoned"]) == (None, 2)


# ---- the limit


def test_no_drain_is_longer_than_the_limit() -> None:
    """The limit caps every request; without a limit the plug-in has no shutdown policy."""
    policy = Server(max_drain=5).plugin.penstock_shutdown_policy()
    assert policy is not None
    assert [policy(ShutdownRequest(drain=seconds)) for seconds in (0.0, 4.9, 60.0, math.inf)] == [0.0, 4.9, 5.0, 5.0]
    assert Server().plugin.penstock_shutdown_policy() is None


# ---- the routes


def test_without_a_key_there_are_no_routes() -> None:
    """The audit and the limit still work."""
    registry = Registry([ShutdownPlugin], sources=Sources({}, {}))
    assert [
        route.path for route in registry.routes(App("tests")) if "drain" in route.path or "shut" in route.path
    ] == []


def test_scale_passes_the_pool_and_the_number_on() -> None:
    """The response is 202, with the pool as it is now: new workers may still be loading."""
    server = Server()
    response = server.post("/-/scale", "pool=default&workers=3")
    assert server.engine.asked == [("scale", "default", 3, "POST /-/scale from 10.1.2.3")]
    assert response.status == 202
    assert content(response) == {"pool": "default", "workers": [{"id": "default/0", "state": "busy", "pid": 1}]}


@pytest.mark.parametrize("query", ["pool=default", "workers=3", "pool=default&workers=two", "pool=a&workers=1&why=x"])
def test_scale_refuses_what_it_cannot_read(query: str) -> None:
    """Both parameters are needed, the number must be one, and there are no others."""
    server = Server()
    with pytest.raises(MalformedRequest):
        server.post("/-/scale", query)
    assert server.engine.asked == []


def test_scale_needs_the_key() -> None:
    """A caller who may use a model has no say in how many workers it has."""
    server = Server()
    with pytest.raises(Unauthorized):
        server.post("/-/scale", "pool=default&workers=3", authorization=None)
    assert server.engine.asked == []


def test_with_a_key_there_are_routes_guarded_by_it_alone() -> None:
    """The server's authenticator does not guard them, and they take POST only."""
    routes = Server().routes
    assert list(routes) == ["/-/shutdown", "/-/drain", "/-/undrain", "/-/scale", "/-/reload"]
    assert {(route.method, route.is_open) for route in routes.values()} == {("POST", True)}


def test_reload_asks_the_server_and_responds_with_the_generation_that_serves() -> None:
    """The response is 202; 404 from a server that cannot do it, and 503 during a shutdown."""
    server = Server()
    response = server.post("/-/reload", "why=release%2042")
    assert (response.status, content(response)) == (202, {"reloading": True, "generation": 3})
    assert server.engine.asked == [("reload", "POST /-/reload from 10.1.2.3", "release 42")]
    server.engine.reloads = False
    with pytest.raises(NotFound, match="only penstock serve can"):
        server.post("/-/reload")
    server.post("/-/shutdown")
    with pytest.raises(Draining):
        server.post("/-/reload")


def test_shutdown_drains_and_responds_with_the_work_in_progress() -> None:
    """The response is 202, with the jobs by endpoint, the workers, and the granted seconds."""
    server = Server()
    response = server.post("/-/shutdown", "drain=2.5&why=a%20new%20release")
    assert server.engine.asked == [("shutdown", 2.5, "POST /-/shutdown from 10.1.2.3", "a new release")]
    assert response.status == 202
    assert content(response) == {
        "shutting_down": True,
        "draining": True,
        "reasons": ["draining"],
        "seconds_left": 2.5,
        "who": "POST /-/shutdown from 10.1.2.3",
        "why": "a new release",
        "jobs": 3,
        "endpoints": {"ocr": {"queued": 2, "running": 1}, "square": {"queued": 0, "running": 0}},
        "workers": {"default/0": "busy"},
    }


@pytest.mark.parametrize(("longest", "expected"), [(120.0, 120.0), (math.inf, 30.0)])
def test_without_seconds_it_takes_those_of_the_server(longest: float, expected: float) -> None:
    """The default is the server's drain, as for SIGTERM, and 30 seconds in an engine without a server."""
    server = Server(longest_drain=longest)
    server.post("/-/shutdown", address="")
    assert server.engine.asked == [("shutdown", expected, "POST /-/shutdown", "")]


def test_asking_again_changes_nothing() -> None:
    """The response has the time that is left, which is neither extended nor shortened."""
    server = Server()
    server.post("/-/shutdown", "drain=10")
    server.clock.now += 4.0
    response = server.post("/-/shutdown", "drain=25&why=impatience")
    assert (response.status, content(response)["seconds_left"], content(response)["why"]) == (202, 6.0, "")
    server.clock.now += 100.0
    assert content(server.post("/-/shutdown"))["seconds_left"] == 0.0
    assert len(server.engine.asked) == 1


def test_when_it_is_over_there_is_nothing_left_to_wait_for() -> None:
    """The routes of an application that another server hosts still respond after the engine's shutdown."""
    server = Server()
    server.post("/-/shutdown", "drain=10")
    server.engine.notify(DrainEnded(who="", why="", seconds=0.1, finished=3, abandoned=0))
    assert content(server.post("/-/shutdown"))["seconds_left"] == 0.0


def test_a_shutdown_by_a_signal_is_not_asked_for_again() -> None:
    """A shutdown in progress is recognized however it was requested."""
    server = Server()
    server.engine.notify(DrainStarted(who="SIGTERM", why="", seconds=8.0, jobs=1))
    assert content(server.post("/-/shutdown", "drain=25"))["who"] == "SIGTERM"
    assert server.engine.asked == []


def test_drain_and_undrain_take_it_out_of_rotation_and_back() -> None:
    """Both respond with 200 and the current status, and may be repeated."""
    server = Server()
    for _ in range(2):
        response = server.post("/-/drain", "why=disk")
        assert (response.status, content(response)["reasons"]) == (200, ["draining"])
        assert content(response)["shutting_down"] is False
        assert content(response)["seconds_left"] is None
    response = server.post("/-/undrain")
    assert (response.status, content(response)["reasons"]) == (200, [])
    assert server.engine.asked == [
        ("pause", "POST /-/drain from 10.1.2.3", "disk"),
        ("pause", "POST /-/drain from 10.1.2.3", "disk"),
        ("resume", "POST /-/undrain from 10.1.2.3", ""),
    ]


def test_a_server_out_of_rotation_can_be_shut_down() -> None:
    """A pause is not a shutdown, and does not prevent one."""
    server = Server()
    server.post("/-/drain")
    assert content(server.post("/-/shutdown"))["shutting_down"] is True
    assert [asked[0] for asked in server.engine.asked] == ["pause", "shutdown"]


def test_a_shutdown_cannot_be_undone() -> None:
    """``undrain`` is refused, and ``drain`` changes nothing."""
    server = Server()
    server.post("/-/shutdown")
    with pytest.raises(Draining, match="cannot be undone") as caught:
        server.post("/-/undrain")
    assert not caught.value.retryable
    assert server.post("/-/drain").status == 200
    assert [asked[0] for asked in server.engine.asked] == ["shutdown"]


# ---- permission


WRONG = {
    "missing": None,
    "empty": "",
    "no-scheme": KEY,
    "other-scheme": f"Basic {KEY}",
    "no-key": "Bearer ",
    "shorter": BEARER[:-1],
    "longer": f"{BEARER}A",
    "two": f"{BEARER} {KEY}",
    "other-case": f"Bearer {KEY.swapcase()}",
    "not-ascii": f"Bearer {KEY[:-1]}é",
    "lone-surrogate": "Bearer \udcff\udcfe",
    "newline": f"{BEARER}\n",
}


@pytest.mark.parametrize("path", ["/-/shutdown", "/-/drain", "/-/undrain", "/-/scale", "/-/reload"])
@pytest.mark.parametrize("authorization", WRONG.values(), ids=WRONG)
def test_without_the_key_nothing_happens(path: str, authorization: str | None) -> None:
    """The response is 401 with a challenge; the parameters are not even parsed."""
    server = Server()
    with pytest.raises(Unauthorized) as caught:
        server.post(path, "drain=nonsense", authorization)
    assert caught.value.headers["WWW-Authenticate"] == 'Bearer realm="penstock shutdown"'
    assert server.engine.asked == []


@pytest.mark.parametrize("authorization", [f"bearer {KEY}", f"BEARER   {KEY}", f"Bearer {KEY} "])
def test_the_scheme_has_no_case(authorization: str) -> None:
    """The scheme is case-insensitive, as RFC 9110 requires, and blanks around the key are ignored."""
    assert Server().post("/-/drain", authorization=authorization).status == 200


def test_every_comparison_is_one_of_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of one length are compared in constant time, which reveals neither the key nor its length."""
    compared: list[tuple[bytes, bytes]] = []

    def compare_digest(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    key = ShutdownKey(KEY)
    assert [key.is_in(authorization) for authorization in WRONG.values()] == [False] * len(WRONG)
    assert key.is_in(BEARER)
    assert len(compared) == len(WRONG) + 1
    assert {len(side) for pair in compared for side in pair} == {32}


def test_guessing_writes_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """The line counts the guesses since the last line, and contains nothing of them."""
    server = Server()
    with caplog.at_level(logging.INFO, "penstock"):
        for guess in range(180):
            with pytest.raises(Unauthorized):
                server.post("/-/shutdown", authorization=f"Bearer guess-{guess}")
            server.clock.now += 1.0
    refused = lines(caplog, "shutdown-refused")
    assert REFUSED_LINE_SECONDS == 60
    assert [line.fields["refused"] for line in refused] == [1, 60, 60]
    assert {line.fields["address"] for line in refused} == {"10.1.2.3"}
    assert "guess" not in "".join(f"{line.msg} {line.fields}" for line in refused)


# ---- the key


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("hunter2", "has at most 35 bits of entropy; it needs 128"),
        ("q7Zr0yDkT3vW8uXeB1nHs", "has at most 126 bits of entropy; it needs 128"),
        ("0123456789abcdef0123456789abcdef", "easy to guess"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "easy to guess"),
        ("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "easy to guess"),
        ("CHANGEME-CHANGEME-CHANGEME-CHANGEME", "easy to guess"),
        ("my-secret-key-for-the-production-server-2024", "easy to guess"),
        ("xK9mxK9mxK9mxK9mxK9mxK9mxK9mxK9mxK9mxK9m", "has at most 24 bits"),
        ("f9c1a2d47b8e3065f9c1a2d47b8e3065", "has at most 64 bits"),
        ("f9c1a2d47b8e3065d2b4871c0ea95f3", "has at most 124 bits"),
        ("48151623420815162342190276518394", "has at most 106 bits"),
        ("3f2b8c1e-7d94-4a06-b5e1-9c0f7a62d833", "is a UUID"),
        (f"{KEY} {KEY}", "bearer token cannot have"),
        (f"{KEY}\n", "bearer token cannot have"),
        ("ключ" * 12, "bearer token cannot have"),
    ],
)
def test_a_weak_key_is_refused(text: str, complaint: str) -> None:
    """The error comes when the plug-in is created; it says how to make a better key, and does not contain this one."""
    with pytest.raises(PluginError) as caught:
        ShutdownKey(text)
    assert complaint in str(caught.value)
    assert str(caught.value).endswith(RECIPE)
    assert not text or text not in str(caught.value)


def test_random_keys_of_128_bits_are_accepted() -> None:
    """Keys are accepted in every usual notation: base64, hex, base32, digits."""
    draw = random.Random(3)

    def drawn(alphabet: str, length: int) -> str:
        return "".join(draw.choice(alphabet) for _ in range(length))

    base64 = string.ascii_letters + string.digits + "-_"
    kinds = [(base64, 22), (base64, 43), ("0123456789abcdef", 32), (string.ascii_lowercase + "234567", 26)]
    kinds += [(string.digits, 39), (string.ascii_lowercase, 28)]
    assert [weakness_of(drawn(*kind)) for kind in kinds for _ in range(1000)] == [""] * 1000 * len(kinds)


def test_the_recipe_in_the_message_makes_accepted_keys() -> None:
    """A key made by the recipe is strong enough."""
    assert "secrets.token_urlsafe(32)" in RECIPE
    ShutdownKey(secrets.token_urlsafe(32))


def test_the_key_may_stand_in_a_file(tmp_path: Path) -> None:
    """White space around the key is ignored, as editors and ``echo`` leave it."""
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    server = Server(key=None, key_file=str(path))
    assert server.post("/-/drain").status == 200


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"\xff\xfe", "cannot be read: the file is not plain text"),
        (f"{KEY}\n{KEY}\n".encode(), "bearer token cannot have"),
        (b"short\n", "has at most"),
    ],
)
def test_a_file_without_a_valid_key_is_refused(tmp_path: Path, data: bytes | None, complaint: str) -> None:
    """The error names the file if it cannot be read."""
    path = tmp_path / "key"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(PluginError, match=complaint):
        ShutdownKey.from_file(path)


def test_no_more_of_a_file_is_read_than_a_key_can_be() -> None:
    """An endless device does not block the start."""
    with pytest.raises(PluginError):
        ShutdownKey.from_file(Path("/dev/zero"))
    assert MAX_FILE_BYTES < 10_000


def test_a_key_and_a_key_file_exclude_each_other() -> None:
    """With both it would be unclear which one counts."""
    with pytest.raises(PluginError, match="set only one of them"):
        Server(key_file="somewhere")


def test_the_key_is_never_shown() -> None:
    """The ``repr`` of the plug-in, its parts and its settings does not contain the key."""
    server = Server()
    settings = Sources({"shutdown": {"key": KEY}}, {}).resolve("shutdown", ShutdownPlugin.Settings).settings
    shown = [repr(ShutdownKey(KEY)), repr(settings), repr(vars(server.plugin)), repr(server.routes)]
    assert [text for text in shown if KEY in text] == []


def test_a_weak_key_from_the_environment_stops_the_start() -> None:
    """A weak key stops the start like every invalid setting, and is not shown."""
    with pytest.raises(PluginError, match="the key of plug-in 'shutdown' has at most") as caught:
        Registry([ShutdownPlugin], sources=Sources({}, {"PENSTOCK_SHUTDOWN_KEY": "hunter2"}))
    assert "hunter2" not in str(caught.value)


# ---- parameters


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1e3", "1_0", " 1", "٣", "1.", ".5", "abc", "9" * 10])
def test_seconds_are_a_plain_number(text: str) -> None:
    """Every other text that ``float`` would accept is refused, and the error names the right form."""
    with pytest.raises(MalformedRequest, match="send seconds, 0 or more"):
        seconds_of(text)


@pytest.mark.parametrize("query", ["drian=5", "drain=5&drain=6", "why=a&force", "x" * 5000])
def test_an_unknown_or_repeated_parameter_is_refused(query: str) -> None:
    """It is refused before anything happens: a misspelt ``drain`` must not fall back to the default."""
    server = Server()
    with pytest.raises(MalformedRequest):
        server.post("/-/shutdown", query)
    assert server.engine.asked == []


@given(st.text(max_size=300))
def test_a_reason_is_one_short_line(text: str) -> None:
    """No text yields a line break, a control character or a change of reading direction."""
    sentence = sentence_of(text)
    assert len(sentence) <= MAX_WHY_CHARACTERS
    assert sentence.isprintable()


@given(st.text(max_size=300))
def test_every_query_is_read_or_refused(query: str) -> None:
    """Any query yields only known parameters, or an error for the caller."""
    with contextlib.suppress(MalformedRequest):
        assert set(parameters_of(query, {"drain", "why"})) <= {"drain", "why"}
