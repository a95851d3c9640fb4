"""The way down: the audit line, the limit on its time, and the routes that ask for it."""

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
from penstock.errors import Draining, MalformedRequest, PluginError, Unauthorized
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
from penstock_shutdown.keys import LONGEST_FILE, RECIPE, Key, weakness_of
from penstock_shutdown.operations import REFUSED_LINE_SECONDS
from penstock_shutdown.parameters import LONGEST_WHY, parameters_of, seconds_of, sentence_of

KEY = "q7Zr0yDkT3vW8uXeB1nHs5LmJa9GcPf2oRiY6tVwEdU"
BEARER = f"Bearer {KEY}"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeEngine:
    """Does as it is told, and remembers it; tells the plug-in's observers what an engine would."""

    def __init__(self, observers: Any, longest_drain: float = 30.0) -> None:
        self.observers = observers
        self.longest_drain = longest_drain
        self.asked: list[tuple[Any, ...]] = []
        self.draining = False
        self.paused = False

    def tell(self, record: Record) -> None:
        self.observers[type(record)](record)

    def shutdown(self, drain: float, *, who: str, why: str = "") -> None:
        self.asked.append(("shutdown", drain, who, why))
        self.draining = True
        self.tell(DrainStarted(who=who, why=why, seconds=min(drain, self.longest_drain), jobs=3))

    def pause(self, *, who: str, why: str = "") -> None:
        self.asked.append(("pause", who, why))
        self.paused = True

    def resume(self, *, who: str, why: str = "") -> None:
        self.asked.append(("resume", who, why))
        self.paused = False

    def status(self) -> dict[str, Any]:
        return {
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
    """The plug-in with a fake engine around it."""

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
    """Who, why, how long, what was granted, what was finished, and what was not."""
    engine = Server().engine
    with caplog.at_level(logging.INFO, "penstock"):
        engine.tell(DrainStarted(who="SIGTERM", why="", seconds=30.0, jobs=4))
        assert lines(caplog, "shutdown") == []
        engine.tell(DrainEnded(who="SIGTERM", why="", seconds=1.234567, finished=4, abandoned=0))
    [line] = lines(caplog, "shutdown")
    assert line.getMessage() == "shut down by SIGTERM within 1.23 s: finished 4, abandoned 0"
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
    """By endpoint in numbers, and the first of them by request id, as a warning; however many there are."""
    engine = Server().engine
    with caplog.at_level(logging.INFO, "penstock"):
        engine.tell(DrainStarted(who="the program", why="tests", seconds=0.5, jobs=1000))
        for number in range(1000):
            name = "ocr" if number % 4 else "square"
            engine.tell(JobAbandoned(endpoint=name, request_id=f"r-{number}", principal=None, state="running"))
        engine.tell(DrainEnded(who="the program", why="tests", seconds=0.5, finished=0, abandoned=1000))
    [line] = lines(caplog, "shutdown")
    assert line.levelname == "WARNING"
    assert line.getMessage().endswith("finished 0, abandoned 1000, because: tests")
    assert line.fields["endpoints"] == {"square": 250, "ocr": 750}
    assert line.fields["requests"] == [f"r-{number}" for number in range(10)]


def test_an_end_without_a_drain_is_a_line_too(caplog: pytest.LogCaptureFixture) -> None:
    """An engine that is closed at once has not been granted anything."""
    engine = Server().engine
    with caplog.at_level(logging.INFO, "penstock"):
        engine.tell(DrainEnded(who="the program", why="closed", seconds=0.0, finished=0, abandoned=2))
    [line] = lines(caplog, "shutdown")
    assert (line.fields["granted"], line.fields["abandoned"]) == (None, 2)


# ---- the limit


def test_no_drain_is_longer_than_the_limit() -> None:
    """Whoever asks for it; and where there is no limit, the plug-in has no say."""
    policy = Server(max_drain=5).plugin.penstock_shutdown_policy()
    assert policy is not None
    assert [policy(ShutdownRequest(drain=seconds)) for seconds in (0.0, 4.9, 60.0, math.inf)] == [0.0, 4.9, 5.0, 5.0]
    assert Server().plugin.penstock_shutdown_policy() is None


# ---- the routes


def test_without_a_key_there_are_no_routes() -> None:
    """The audit and the limit work all the same."""
    registry = Registry([ShutdownPlugin], sources=Sources({}, {}))
    assert [
        route.path for route in registry.routes(App("tests")) if "drain" in route.path or "shut" in route.path
    ] == []


def test_with_a_key_there_are_three_that_have_it_instead_of_the_authenticator() -> None:
    """They are open towards the common authenticator, and take POST only."""
    routes = Server().routes
    assert list(routes) == ["/-/shutdown", "/-/drain", "/-/undrain"]
    assert {(route.method, route.is_open) for route in routes.values()} == {("POST", True)}


def test_shutdown_drains_and_answers_with_what_there_is_to_wait_for() -> None:
    """202, with the jobs by endpoint, the workers, and the seconds that were granted."""
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
    """As SIGTERM does; an engine without a server around it has 30."""
    server = Server(longest_drain=longest)
    server.post("/-/shutdown", address="")
    assert server.engine.asked == [("shutdown", expected, "POST /-/shutdown", "")]


def test_asking_again_changes_nothing() -> None:
    """The answer says what is left; the time is not extended, nor is it cut."""
    server = Server()
    server.post("/-/shutdown", "drain=10")
    server.clock.now += 4.0
    response = server.post("/-/shutdown", "drain=25&why=impatience")
    assert (response.status, content(response)["seconds_left"], content(response)["why"]) == (202, 6.0, "")
    server.clock.now += 100.0
    assert content(server.post("/-/shutdown"))["seconds_left"] == 0.0
    assert len(server.engine.asked) == 1


def test_when_it_is_over_there_is_nothing_left_to_wait_for() -> None:
    """An application that another server runs may still be asked."""
    server = Server()
    server.post("/-/shutdown", "drain=10")
    server.engine.tell(DrainEnded(who="", why="", seconds=0.1, finished=3, abandoned=0))
    assert content(server.post("/-/shutdown"))["seconds_left"] == 0.0


def test_a_shutdown_by_a_signal_is_not_asked_for_again() -> None:
    """What is under way is seen, whoever has begun it."""
    server = Server()
    server.engine.tell(DrainStarted(who="SIGTERM", why="", seconds=8.0, jobs=1))
    assert content(server.post("/-/shutdown", "drain=25"))["who"] == "SIGTERM"
    assert server.engine.asked == []


def test_drain_and_undrain_take_it_out_of_rotation_and_back() -> None:
    """200, with what there is; they may be repeated."""
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


def test_what_is_out_of_rotation_can_be_shut_down() -> None:
    """A pause is no shutdown, and does not stand in the way of one."""
    server = Server()
    server.post("/-/drain")
    assert content(server.post("/-/shutdown"))["shutting_down"] is True
    assert [asked[0] for asked in server.engine.asked] == ["pause", "shutdown"]


def test_a_shutdown_cannot_be_taken_back() -> None:
    """``undrain`` says so, and ``drain`` has nothing to add."""
    server = Server()
    server.post("/-/shutdown")
    with pytest.raises(Draining, match="cannot be taken back") as caught:
        server.post("/-/undrain")
    assert not caught.value.retryable
    assert server.post("/-/drain").status == 200
    assert [asked[0] for asked in server.engine.asked] == ["shutdown"]


# ---- who may


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


@pytest.mark.parametrize("path", ["/-/shutdown", "/-/drain", "/-/undrain"])
@pytest.mark.parametrize("authorization", WRONG.values(), ids=WRONG)
def test_without_the_key_nothing_happens(path: str, authorization: str | None) -> None:
    """401 with a challenge; not even the parameters are looked at."""
    server = Server()
    with pytest.raises(Unauthorized) as caught:
        server.post(path, "drain=nonsense", authorization)
    assert caught.value.headers["WWW-Authenticate"] == 'Bearer realm="penstock shutdown"'
    assert server.engine.asked == []


@pytest.mark.parametrize("authorization", [f"bearer {KEY}", f"BEARER   {KEY}", f"Bearer {KEY} "])
def test_the_scheme_has_no_case(authorization: str) -> None:
    """As RFC 9110 says; and blanks around the key do not matter."""
    assert Server().post("/-/drain", authorization=authorization).status == 200


def test_every_comparison_is_one_of_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    """In constant time, and of the same length whatever was sent: the time tells neither the key nor its length."""
    compared: list[tuple[bytes, bytes]] = []

    def compare_digest(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    key = Key(KEY)
    assert [key.is_in(authorization) for authorization in WRONG.values()] == [False] * len(WRONG)
    assert key.is_in(BEARER)
    assert len(compared) == len(WRONG) + 1
    assert {len(side) for pair in compared for side in pair} == {32}


def test_guessing_writes_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """With the number of the guesses since the last one, and nothing of what was guessed."""
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
    assert "guess" not in "".join(f"{line.getMessage()} {line.fields}" for line in refused)


# ---- the key


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("hunter2", "has at most 35 bits, of 128"),
        ("q7Zr0yDkT3vW8uXeB1nHs", "has at most 126 bits, of 128"),
        ("0123456789abcdef0123456789abcdef", "would guess"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "would guess"),
        ("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "would guess"),
        ("CHANGEME-CHANGEME-CHANGEME-CHANGEME", "would guess"),
        ("my-secret-key-for-the-production-server-2024", "would guess"),
        ("xK9mxK9mxK9mxK9mxK9mxK9mxK9mxK9mxK9mxK9m", "has at most 24 bits"),
        ("f9c1a2d47b8e3065f9c1a2d47b8e3065", "has at most 64 bits"),
        ("f9c1a2d47b8e3065d2b4871c0ea95f3", "has at most 124 bits"),
        ("48151623420815162342190276518394", "has at most 106 bits"),
        ("3f2b8c1e-7d94-4a06-b5e1-9c0f7a62d833", "is a UUID"),
        (f"{KEY} {KEY}", "no bearer token"),
        (f"{KEY}\n", "no bearer token"),
        ("ключ" * 12, "no bearer token"),
    ],
)
def test_a_weak_key_is_refused(text: str, complaint: str) -> None:
    """When the plug-in is made, with the way to a better one, and without a word of this one."""
    with pytest.raises(PluginError) as caught:
        Key(text)
    assert complaint in str(caught.value)
    assert str(caught.value).endswith(RECIPE)
    assert not text or text not in str(caught.value)


def test_random_keys_of_128_bits_are_taken() -> None:
    """However they are written down: base64, hex, base32, digits."""
    draw = random.Random(3)

    def drawn(alphabet: str, length: int) -> str:
        return "".join(draw.choice(alphabet) for _ in range(length))

    base64 = string.ascii_letters + string.digits + "-_"
    kinds = [(base64, 22), (base64, 43), ("0123456789abcdef", 32), (string.ascii_lowercase + "234567", 26)]
    kinds += [(string.digits, 39), (string.ascii_lowercase, 28)]
    assert [weakness_of(drawn(*kind)) for kind in kinds for _ in range(1000)] == [""] * 1000 * len(kinds)


def test_what_the_message_proposes_is_taken() -> None:
    """The recipe makes keys that pass."""
    assert "secrets.token_urlsafe(32)" in RECIPE
    Key(secrets.token_urlsafe(32))


def test_the_key_may_stand_in_a_file(tmp_path: Path) -> None:
    """With white space around it, as editors and ``echo`` leave it."""
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    server = Server(key=None, key_file=str(path))
    assert server.post("/-/drain").status == 200


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"\xff\xfe", "cannot be read: it is not plain text"),
        (f"{KEY}\n{KEY}\n".encode(), "no bearer token"),
        (b"short\n", "has at most"),
    ],
)
def test_a_key_file_that_is_none_is_refused(tmp_path: Path, data: bytes | None, complaint: str) -> None:
    """With the file's name where it cannot be read."""
    path = tmp_path / "key"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(PluginError, match=complaint):
        Key.from_file(path)


def test_no_more_of_a_file_is_read_than_a_key_can_be() -> None:
    """A device that never ends does not hold the start up."""
    with pytest.raises(PluginError):
        Key.from_file(Path("/dev/zero"))
    assert LONGEST_FILE < 10_000


def test_a_key_and_a_file_are_one_too_many() -> None:
    """Nobody could tell which of them counts."""
    with pytest.raises(PluginError, match="give one of them"):
        Server(key_file="somewhere")


def test_the_key_is_never_shown() -> None:
    """Neither the plug-in nor its parts nor its settings have it in what they print."""
    server = Server()
    settings = Sources({"shutdown": {"key": KEY}}, {}).resolve("shutdown", ShutdownPlugin.Settings).settings
    shown = [repr(Key(KEY)), repr(settings), repr(vars(server.plugin)), repr(server.routes)]
    assert [text for text in shown if KEY in text] == []


def test_a_weak_key_from_the_environment_stops_the_start() -> None:
    """As every wrong setting does, and without being shown."""
    with pytest.raises(PluginError, match="the key of plug-in 'shutdown' has at most") as caught:
        Registry([ShutdownPlugin], sources=Sources({}, {"PENSTOCK_SHUTDOWN_KEY": "hunter2"}))
    assert "hunter2" not in str(caught.value)


# ---- parameters


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1e3", "1_0", " 1", "٣", "1.", ".5", "abc", "9" * 10])
def test_seconds_are_a_plain_number(text: str) -> None:
    """Everything else that Python would take for one is refused, with what would be right."""
    with pytest.raises(MalformedRequest, match="give seconds, 0 or more"):
        seconds_of(text)


@pytest.mark.parametrize("query", ["drian=5", "drain=5&drain=6", "why=a&force", "x" * 5000])
def test_a_parameter_that_is_not_known_is_refused(query: str) -> None:
    """Before anything happens: a misspelt ``drain`` must not become a default."""
    server = Server()
    with pytest.raises(MalformedRequest):
        server.post("/-/shutdown", query)
    assert server.engine.asked == []


@given(st.text(max_size=300))
def test_a_reason_is_one_short_line(text: str) -> None:
    """Whatever was sent: no line break, no control character, nothing that turns the reading direction."""
    sentence = sentence_of(text)
    assert len(sentence) <= LONGEST_WHY
    assert sentence.isprintable()


@given(st.text(max_size=300))
def test_every_query_is_read_or_refused(query: str) -> None:
    """Nothing else comes out of it than parameters that are known, or an error for the caller."""
    with contextlib.suppress(MalformedRequest):
        assert set(parameters_of(query, {"drain", "why"})) <= {"drain", "why"}
