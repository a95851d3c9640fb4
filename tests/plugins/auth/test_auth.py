"""Authentication by API keys: which credentials are accepted, and how all others are refused."""

from __future__ import annotations

import io
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import eventlog
from penstock.app import App, Endpoint
from penstock.errors import Forbidden, PenstockError, PluginError, Unauthorized
from penstock.hooks import Route, RouteResponse, Submission
from penstock.hooks.registry import Registry, is_blocking
from penstock.hooks.settings import Sources
from penstock_auth import AuthPlugin, AuthSettings, JwtSettings, api_keys
from penstock_auth.api_keys import KeyRing, digest_of, keys_in_text, new_key

ALICE, BOB = "alice-has-this-key", "bob-has-another-one"
CANARY = "canary-canary-canary"


class Clock:
    """Time that stands still until the test moves it; it serves as both clocks."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def app() -> App:
    app = App("tests")

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/double")
    def double(input: float) -> float:
        return input * 2

    return app


SQUARE, DOUBLE = app().endpoints


def route(path: str = "/-/status", *, method: Any = "GET", is_open: bool = False) -> Route:
    return Route(
        path=path,
        name="status",
        handler=lambda _request, _engine: RouteResponse.json({}),
        method=method,
        is_open=is_open,
    )


def asked(decide: Callable[[Submission], Any], headers: Mapping[str, str], of: Endpoint | Route = SQUARE) -> Any:
    """Return the principal for these headers."""
    return decide(Submission(of, request_id="r1", header=headers.get, address="192.0.2.1"))


def refused(
    decide: Callable[[Submission], Any], headers: Mapping[str, str], kind: type[PenstockError] = Unauthorized
) -> PenstockError:
    """Return the error for these headers, which must be of exactly this class."""
    with pytest.raises(PenstockError) as caught:
        asked(decide, headers)
    assert type(caught.value) is kind
    return caught.value


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def authenticator(settings: AuthSettings, of: Endpoint | Route = SQUARE, **more: Any) -> Callable[[Submission], Any]:
    """Return the authenticator that an engine would call, the registry's guard included."""
    decide = Registry([AuthPlugin(settings, **more)]).authenticator(of)
    assert decide is not None
    return decide


def line(key: str, **more: Any) -> str:
    """Return a line of a key file."""
    return json.dumps({"id": "k1", "principal": "alice", "sha256": digest_of(key).hex(), **more}) + "\n"


@pytest.fixture
def door() -> Callable[[Submission], Any]:
    """An authenticator with two keys in the environment, and no scopes."""
    return authenticator(AuthSettings(keys=f"alice:math+read={ALICE},bob=sha256:{digest_of(BOB).hex()}"))


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Every log line, down to the last detail, as text and as JSON."""
    text = io.StringIO()
    handlers = [logging.StreamHandler(text), logging.StreamHandler(text)]
    handlers[0].setFormatter(eventlog.TextFormatter())
    handlers[1].setFormatter(eventlog.JsonFormatter())
    loggers = [logging.getLogger(), logging.getLogger(eventlog.LOGGER_NAME)]
    before = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    for handler in handlers:
        loggers[0].addHandler(handler)
    yield text
    for handler in handlers:
        loggers[0].removeHandler(handler)
    for logger, level in before:
        logger.setLevel(level)


# ---- off and on


def test_without_keys_and_tokens_it_is_idle() -> None:
    """With nothing configured every caller is accepted, and no request pays for that."""
    registry = Registry([AuthPlugin(AuthSettings())])
    assert registry.authenticator(SQUARE) is None
    assert registry.authenticator(route()) is None


def test_open_routes_never_ask(door: Any) -> None:
    """Health checks are open to all callers, even if keys are configured."""
    registry = Registry([AuthPlugin(AuthSettings(keys=f"alice={ALICE}"))])
    assert registry.authenticator(route("/livez", is_open=True)) is None
    assert registry.authenticator(route("/-/status")) is not None


def test_it_is_called_on_the_loop(door: Any) -> None:
    """The authenticator never blocks, so no request pays for a thread."""
    assert not is_blocking(door)


# ---- the two headers


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {ALICE}"},
        {"authorization": f"bearer {ALICE}"},
        {"authorization": f"BEARER   {ALICE} "},
        {"x-api-key": ALICE},
        {"authorization": f"Bearer {ALICE}", "x-api-key": ALICE},
    ],
)
def test_a_key_lets_its_principal_in(door: Any, headers: dict[str, str]) -> None:
    """Either header works; the scheme's case is ignored; both headers may be sent if they agree."""
    principal = asked(door, headers)
    assert (principal.name, principal.scopes) == ("alice", {"math", "read"})


def test_a_digest_in_the_environment_is_as_good_as_the_key(door: Any) -> None:
    """``sha256:`` keeps the key itself out of the environment."""
    assert asked(door, bearer(BOB)).name == "bob"
    refused(door, bearer(f"sha256:{digest_of(BOB).hex()}"))
    refused(door, bearer(digest_of(BOB).hex()))


def test_without_a_credential_the_challenge_has_no_error(door: Any) -> None:
    """RFC 6750, 3: a request without a credential learns what to send, not an error."""
    error = refused(door, {})
    assert error.status == 401
    assert error.headers == {"WWW-Authenticate": 'Bearer realm="penstock"'}
    assert "X-API-Key" in error.detail


@pytest.mark.parametrize(
    "headers",
    [
        bearer("nobody-has-this-key"),
        bearer(""),
        bearer(" "),
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": ALICE},
        {"authorization": f"Basic {ALICE}"},
        {"authorization": f"Bearer\t{ALICE}"},
        {"authorization": f"Bearer {ALICE} {BOB}"},
        {"x-api-key": ""},
        {"x-api-key": f"Bearer {ALICE}"},
        {"x-api-key": f" {ALICE}"},
        bearer(ALICE.upper()),
        bearer(ALICE[:-1]),
        bearer(ALICE + "x"),
        bearer(f"{ALICE}\n"),
        bearer(f"{ALICE}\x00"),
        bearer("ключ-ключ-ключ-ключ"),
        bearer("\udcff" * 20),
        bearer("sha256:" + "0" * 64),
    ],
)
def test_a_wrong_credential_is_401_invalid_token(door: Any, headers: dict[str, str]) -> None:
    """Any wrong credential is refused as in RFC 6750, and no part of it is repeated."""
    error = refused(door, headers)
    challenge = error.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="penstock", error="invalid_token", error_description="')
    for value in headers.values():
        secret = value.removeprefix("Bearer ").strip()
        assert not secret or secret == "Bearer" or secret not in challenge + error.detail


@pytest.mark.parametrize("separator", [",", ", ", ", Bearer ", ",Bearer "])
def test_two_credentials_in_one_header_are_none(door: Any, separator: str) -> None:
    """A repeated header arrives joined by a comma, and a proxy may have checked either value."""
    refused(door, {"authorization": f"Bearer {ALICE}{separator}{BOB}"})
    refused(door, {"authorization": f"Bearer {ALICE}{separator}{ALICE}"})
    refused(door, {"x-api-key": f"{ALICE}{separator}{ALICE}"})


@pytest.mark.parametrize("other", [BOB, "", "nobody-has-this-key"])
def test_two_headers_that_differ_are_refused(door: Any, other: str) -> None:
    """The server must not choose between two different credentials, valid or not."""
    assert "differ" in refused(door, {**bearer(ALICE), "x-api-key": other}).detail
    assert "differ" in refused(door, {**bearer(other), "x-api-key": ALICE}).detail


def test_an_oversized_credential_is_refused_unread(monkeypatch: pytest.MonkeyPatch, door: Any) -> None:
    """A credential above 8 KiB is not even hashed."""
    seen: list[str] = []
    monkeypatch.setattr("penstock_auth.plugin.digest_of", lambda text: seen.append(text) or digest_of(text))
    for headers in (bearer("x" * 8193), {"x-api-key": "x" * 8193}, bearer("eyJ." * 100_000)):
        assert "too long" in refused(door, headers).detail
    assert seen == []
    refused(door, bearer("x" * 8192))
    assert len(seen) == 1


@given(st.text(max_size=60), st.none() | st.text(max_size=60))
def test_whatever_is_sent_is_a_401_and_nothing_else(authorization: str, api_key: str | None) -> None:
    """No header, however strange, makes the authenticator fail."""
    decide = AuthPlugin(AuthSettings(keys=f"alice={ALICE}")).penstock_authenticator(SQUARE)
    assert decide is not None
    headers = {"authorization": authorization} | ({} if api_key is None else {"x-api-key": api_key})
    refused(decide, headers)


# ---- scopes


def test_an_endpoint_needs_all_its_scopes() -> None:
    """A 403 names the missing scopes, in its text and in the challenge."""
    settings = AuthSettings(keys=f"alice:math={ALICE},bob:math+fast={BOB}", scopes={"square": ("math", "fast", "big")})
    settings = msgspec.structs.replace(settings, scopes={"square": ("math", "fast")})
    decide = authenticator(settings)
    assert asked(decide, bearer(BOB)).name == "bob"
    error = refused(decide, bearer(ALICE), Forbidden)
    assert (error.status, error.code) == (403, "forbidden")
    assert error.detail == "'square' needs the scope 'fast', which the caller does not have."
    assert error.headers == {"WWW-Authenticate": 'Bearer realm="penstock", error="insufficient_scope", scope="fast"'}


def test_an_endpoint_without_scopes_is_for_everybody_known() -> None:
    """Scopes are required only where they are set."""
    settings = AuthSettings(keys=f"alice={ALICE}", scopes={"square": ("math",)})
    assert asked(authenticator(settings, DOUBLE), bearer(ALICE), DOUBLE).name == "alice"


def test_a_star_stands_for_the_endpoints_that_are_not_named() -> None:
    """``*`` is the default; a named endpoint has its own scopes, even if it has none."""
    settings = AuthSettings(keys=f"alice={ALICE},bob:call={BOB}", scopes={"*": ("call",), "double": ()})
    refused(authenticator(settings), bearer(ALICE), Forbidden)
    assert asked(authenticator(settings), bearer(BOB)).name == "bob"
    assert asked(authenticator(settings, DOUBLE), bearer(ALICE), DOUBLE).name == "alice"


def test_routes_need_the_operators_scope() -> None:
    """Routes that act are for operators; routes that only show are for observers too."""
    text = f"alice={ALICE},bob:observer={BOB},olga:operator=olga-operates-this"
    settings = AuthSettings(keys=text, scopes={"*": ()})
    look, act = (authenticator(settings, route(method=method)) for method in ("GET", "POST"))
    assert [asked(look, bearer(key)).name for key in (BOB, "olga-operates-this")] == ["bob", "olga"]
    assert asked(act, bearer("olga-operates-this")).name == "olga"
    for decide, key in ((look, ALICE), (act, ALICE), (act, BOB)):
        refused(decide, bearer(key), Forbidden)
    assert "'observer' or 'operator'" in refused(look, bearer(ALICE), Forbidden).detail
    assert refused(look, {}).status == 401


def test_the_operators_scope_has_the_name_that_is_set() -> None:
    """``operator_scope`` and ``observer_scope`` rename the two scopes."""
    settings = AuthSettings(keys=f"alice:admin={ALICE}", operator_scope="admin", observer_scope="admin")
    assert asked(authenticator(settings, route()), bearer(ALICE)).name == "alice"


def test_scopes_for_an_unknown_endpoint_are_refused() -> None:
    """A misspelled name would leave its endpoint unprotected: the error suggests the right one."""
    plugin = AuthPlugin(AuthSettings(keys=f"alice={ALICE}", scopes={"sqare": ("math",)}))
    with pytest.raises(PluginError, match="'sqare', which does not exist; did you mean square"):
        plugin.check(app())
    AuthPlugin(AuthSettings(keys=f"alice={ALICE}", scopes={"square": ("math",), "*": ()})).check(app())


# ---- keys in the environment


def resolved(**environ: str) -> Any:
    return Sources({}, {f"PENSTOCK_AUTH_{name}": value for name, value in environ.items()}).resolve(
        "auth", AuthSettings
    )


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    """Keys are text, scopes and tokens JSON."""
    settings = resolved(
        KEYS=f"alice={ALICE}\nbob:math={BOB}",
        SCOPES='{"square": ["math"]}',
        JWT='{"algorithms": ["RS256"], "jwks_file": "keys.json", "audience": ["penstock"]}',
    ).settings
    assert sorted(key.principal.name for key in keys_in_text(settings.keys).values()) == ["alice", "bob"]
    assert settings.scopes == {"square": ("math",)}
    assert settings.jwt == JwtSettings(algorithms=("RS256",), jwks_file="keys.json", audience=("penstock",))


def test_one_principal_may_have_several_keys() -> None:
    """A new key is handed out before the old one is revoked."""
    decide = authenticator(AuthSettings(keys=f"alice={ALICE},alice:more={BOB}"))
    assert [asked(decide, bearer(key)).name for key in (ALICE, BOB)] == ["alice", "alice"]


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("", "keys is empty; give at least one"),
        (" , ,", "keys is empty; give at least one"),
        (CANARY, "key number 1 is not written as NAME=KEY"),
        (f"alice={ALICE},{CANARY}", "key number 2 is not written as NAME=KEY"),
        ("alice=short-canary", "the key of 'alice' must have at least 16 characters"),
        (f"={CANARY}", "key number 1 is not written as NAME=KEY"),
        (f"alice=sha256:{CANARY}", "key number 1: a SHA-256 digest has 64 hexadecimal digits"),
        (f"alice=ключ-{CANARY}", "must have at least 16 characters, all of them ASCII"),
        (f"alice={CANARY},bob={CANARY}", "'alice' and 'bob' have the same key"),
        (f'alice:ma"th={CANARY}', "visible ASCII, without spaces, quotes"),
        (f"al\x07ice={CANARY}", "a principal's name must have"),
    ],
)
def test_keys_that_cannot_be_read_are_refused_and_not_shown(text: str, mend: str) -> None:
    """The error names the fix and shows no key; an empty variable never turns authentication off."""
    if text == "alice=short-canary":
        text = "alice=canary"
    with pytest.raises(PluginError) as caught:
        resolved(KEYS=text)
    assert mend in str(caught.value)
    assert "canary" not in str(caught.value)


def test_an_empty_keys_file_setting_is_refused() -> None:
    """An empty variable is a mistake, and must not turn authentication off."""
    with pytest.raises(PluginError, match="keys_file is empty"):
        resolved(KEYS_FILE=" ")


def test_scopes_without_keys_are_refused() -> None:
    """An operator who sets scopes expects authentication to be on."""
    with pytest.raises(PluginError, match="scopes are set but no caller can have one"):
        resolved(SCOPES='{"square": ["math"]}')


@pytest.mark.parametrize("scope", ["two words", 'quo"te', "", "back\\slash", "new\nline", "ümlaut"])
def test_a_scope_that_would_break_a_header_is_refused(scope: str) -> None:
    """Scopes are written into ``WWW-Authenticate``."""
    with pytest.raises(ValueError, match="must be visible ASCII"):
        AuthSettings(keys=f"alice={ALICE}", scopes={"square": (scope,)})


@pytest.mark.parametrize("name", ["a\nb", "", " a", "a\u2028b", "a\x1b[1m", "x" * 256, "\u202ea"])
def test_a_name_that_could_forge_a_log_line_is_refused(name: str) -> None:
    """A principal's name has no newlines, control characters or bidirectional marks."""
    with pytest.raises(ValueError, match="a principal's name must have 1 to 255 printable characters"):
        api_keys.check_name(name)


# ---- the comparison


def test_compare_digest_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepted and refused keys alike are compared in constant time."""
    compared: list[tuple[int, int]] = []

    def refuse_all(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return False

    ring = KeyRing(keys_in_text(f"alice={ALICE}"))
    assert ring.principal_of(digest_of(ALICE)) is not None
    monkeypatch.setattr(api_keys, "compare_digest", refuse_all)
    assert ring.principal_of(digest_of(ALICE)) is None
    assert ring.principal_of(digest_of("nobody-has-this-key")) is None
    assert compared == [(32, 32), (32, 32)]


def test_keys_are_compared_by_digests_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No comparison, of two headers either, sees the credential itself: its length would leak."""
    seen: list[Any] = []
    monkeypatch.setattr("penstock_auth.plugin.compare_digest", lambda *both: seen.extend(both) or True)
    asked(authenticator(AuthSettings(keys=f"alice={ALICE}")), {**bearer(ALICE), "x-api-key": "x"})
    assert [len(each) for each in seen] == [32, 32]


def test_new_keys_cannot_be_guessed_and_can_be_found() -> None:
    """256 bits follow a prefix known to secret scanners; a key is never mistaken for a token."""
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    assert all(key.startswith("penstock_") and len(key) == len("penstock_") + 43 and "." not in key for key in made)


# ---- the file


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    """One JSON object per line; comments and blank lines are ignored."""
    file = tmp_path / "keys"
    file.write_text("# ours\n\n" + line(ALICE, scopes=["math"]) + "  # more\n" + line(BOB, id="k2", principal="bob"))
    decide = authenticator(AuthSettings(keys_file=str(file), scopes={"square": ("math",)}))
    assert asked(decide, bearer(ALICE)).name == "alice"
    refused(decide, bearer(BOB), Forbidden)


def test_file_and_environment_add_up(tmp_path: Path) -> None:
    """Keys may come from both."""
    file = tmp_path / "keys"
    file.write_text(line(ALICE))
    decide = authenticator(AuthSettings(keys_file=str(file), keys=f"bob={BOB}"))
    assert [asked(decide, bearer(key)).name for key in (ALICE, BOB)] == ["alice", "bob"]


def test_an_expired_key_is_refused_the_moment_it_expires(tmp_path: Path) -> None:
    """The error states the reason."""
    clock, file = Clock(), tmp_path / "keys"
    file.write_text(line(ALICE, expires=datetime.fromtimestamp(clock.now + 60, UTC).isoformat()))
    decide = authenticator(AuthSettings(keys_file=str(file)), clock=clock, wall_clock=clock)
    asked(decide, bearer(ALICE))
    clock.now += 59.9
    asked(decide, bearer(ALICE))
    clock.now += 0.1
    assert 'error_description="The key has expired"' in refused(decide, bearer(ALICE)).headers["WWW-Authenticate"]


@pytest.mark.parametrize("content", ["", line(BOB), line(ALICE, revoked="2026-01-01T00:00:00Z")])
def test_a_revoked_key_is_refused_within_a_second(tmp_path: Path, content: str) -> None:
    """Without a restart, whether its line is removed or marked."""
    clock, file = Clock(), tmp_path / "keys"
    file.write_text(line(ALICE))
    decide = authenticator(AuthSettings(keys_file=str(file)), clock=clock, wall_clock=clock)
    asked(decide, bearer(ALICE))
    file.write_text(content)
    clock.now += 1.0
    refused(decide, bearer(ALICE))


def test_a_new_key_is_good_within_a_second(tmp_path: Path) -> None:
    """Without a restart; between two checks the file costs nothing."""
    clock, file = Clock(), tmp_path / "keys"
    file.write_text("")
    decide = authenticator(AuthSettings(keys_file=str(file)), clock=clock, wall_clock=clock)
    file.write_text(line(ALICE))
    clock.now += 0.9
    refused(decide, bearer(ALICE))
    clock.now += 0.1
    asked(decide, bearer(ALICE))


def test_a_file_that_breaks_keeps_the_old_keys_and_says_so_once(tmp_path: Path, log: io.StringIO) -> None:
    """Half a file locks no caller out; a repaired file is read, and a new fault is logged again."""
    clock, file = Clock(), tmp_path / "keys"
    file.write_text(line(ALICE))
    decide = authenticator(AuthSettings(keys_file=str(file)), clock=clock, wall_clock=clock)

    def complaints() -> int:
        clock.now += 1.0
        asked(decide, bearer(ALICE))
        return log.getvalue().count('"event": "file-unreadable"')

    file.write_text(line(ALICE) + '{"id": ')
    assert [complaints(), complaints(), complaints()] == [1, 1, 1]
    assert "line 2 is not a key" in log.getvalue()
    file.write_text(line(ALICE))
    assert complaints() == 1
    file.write_text("{")
    assert complaints() == 2
    file.unlink()
    assert complaints() == 3
    assert "No such file" in log.getvalue()


def test_a_file_changed_within_the_same_instant_is_seen(tmp_path: Path) -> None:
    """A file system's clock is coarse: a file that was just written when it was read is read again."""
    file, clock = tmp_path / "keys", Clock()
    file.write_text(line(ALICE))
    clock.now = file.stat().st_mtime
    decide = authenticator(AuthSettings(keys_file=str(file)), clock=clock, wall_clock=clock)
    asked(decide, bearer(ALICE))
    before = file.stat()
    with file.open("r+") as same_inode:
        same_inode.write(line(BOB).ljust(before.st_size))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock.now += 1.0
    refused(decide, bearer(ALICE))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file"),
        (CANARY, "line 1 is not a key"),
        (line(ALICE) + line(BOB), "two keys have the id 'k1'"),
        (line(ALICE) + line(ALICE, id="k2", principal="bob"), "have the same key"),
        (line(ALICE) + line(ALICE, id="k2", revoked="2026-01-01T00:00:00Z"), "have the same key"),
        (line(ALICE, **{CANARY: 1}), "line 1 is not a key"),
        (line(ALICE, sha256=CANARY), "64 hexadecimal digits"),
        (line(ALICE, expires="tomorrow"), "line 1 is not a key"),
        (line(ALICE, expires="2026-01-01T00:00:00"), "line 1 is not a key"),
        (line(ALICE, principal="a\nb"), "a principal's name must have"),
        (line(ALICE, scopes=["two words"]), "visible ASCII"),
        (line(ALICE, scopes="math"), "line 1 is not a key"),
        (b"\xff\xfe", "line 1 is not a key"),
    ],
)
def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path, content: Any, complaint: str) -> None:
    """The error names the file, the line and the fix, and shows nothing that could be a key."""
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PluginError) as caught:
        authenticator(AuthSettings(keys_file=str(file)))
    message = str(caught.value)
    assert complaint in message
    assert str(file) in message
    assert "fix it" in message
    assert CANARY not in message
    assert digest_of(ALICE).hex() not in message


def test_threads_may_ask_while_the_file_changes(tmp_path: Path) -> None:
    """Under WSGI requests come from several threads: each sees the old keys or the new keys, never a mixture."""
    clock, file = Clock(), tmp_path / "keys"
    file.write_text(line(ALICE))
    decide = authenticator(AuthSettings(keys_file=str(file)), clock=clock, wall_clock=clock)

    def ask(turn: int) -> str:
        if turn % 50 == 0:
            clock.now += 1.0
            beside = file.with_name(f"beside-{turn}")
            beside.write_text(line(ALICE) + (line(BOB, id="k2", principal="bob") if turn % 100 else ""))
            beside.replace(file)
        return str(asked(decide, bearer(ALICE)).name)

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(2000))) == {"alice"}
    file.write_text(line(BOB))
    clock.now += 1.0
    refused(decide, bearer(ALICE))


# ---- nothing of a key is ever shown


def test_nothing_of_a_key_is_ever_logged_or_shown(tmp_path: Path, log: io.StringIO) -> None:
    """On every failing path: neither the key nor its digest is in any part of a message or a ``repr``."""
    clock, file = Clock(), tmp_path / "keys"
    secret = f"penstock_{CANARY}"
    digest = digest_of(secret).hex()
    ended = {"expires": "2020-01-01T00:00:00Z"}
    file.write_text(line(secret, **ended) + line(ALICE, id="k2"))
    settings = AuthSettings(keys_file=str(file), keys=f"bob={secret}x", scopes={"square": ("math",)})
    plugin = AuthPlugin(settings, clock=clock, wall_clock=clock)
    registry = Registry([plugin])
    decide = registry.authenticator(SQUARE)
    assert decide is not None
    shown = [repr(settings), repr(plugin), str(settings), repr(keys_in_text(settings.keys or ""))]
    presented = [bearer(secret), bearer(secret + "x"), {"x-api-key": secret}, {"authorization": f"Basic {secret}"}]
    presented += [bearer(secret * 1000), bearer(secret + "\udcff"), {**bearer(secret), "x-api-key": ALICE}]
    for headers in presented:
        with pytest.raises(PenstockError) as caught:
            asked(decide, headers)
        shown += [str(caught.value), repr(caught.value), str(caught.value.headers), str(caught.value.__cause__)]
        log_exception(caught.value)
    for broken in (secret, f'{{"{secret}": 1}}', line(secret, sha256=secret), line(secret) + line(secret, id="k2")):
        file.write_text(broken)
        clock.now += 1.0
        with pytest.raises(PenstockError):
            asked(decide, bearer(secret))
    shown += [repr(plugin._checker), log.getvalue()]
    assert log.getvalue().count('"event": "file-unreadable"') == 4
    for text in shown:
        assert CANARY not in text
        assert digest not in text
        assert digest_of(secret + "x").hex() not in text


def log_exception(error: Exception) -> None:
    """Log it as a server would log an unexpected exception."""
    logging.getLogger("some.server").error("failed", exc_info=error)


def test_what_endures_of_a_key_is_its_digest() -> None:
    """No object of the authenticator holds the key: a memory dump shows no more than the file."""
    ring = KeyRing(keys_in_text(f"alice={ALICE}"))
    assert ALICE not in str([(key.digest, key.principal) for key in ring._fixed.values()])
    assert all(math.isinf(key.ends) for key in ring._fixed.values())
