"""Keys and tokens on a real server: what is open, what is closed, and that nothing of a key is in the log."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.serving import Answer, Served, wait_until, write_app

pytestmark = pytest.mark.e2e

SOURCE = """
    from penstock import App, Context

    app = App(__name__)

    @app.endpoint("/who")
    def who(ctx: Context) -> str | None:
        return ctx.principal

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2
"""
CLOSED = ["/-/status", "/metrics"]


def keys(file: Path, *words: str) -> str:
    """Run ``penstock keys`` and return its stdout."""
    command = [sys.executable, "-m", "penstock_cli", "keys", *words, "--file", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def assert_refused(answer: Answer, code: str, status: int) -> None:
    """Check that the answer is a problem document with this code, and that it asks not to retry."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-should-retry"] == "false"
    document = answer.json()
    assert (document["type"], document["error"]["code"]) == (f"urn:penstock:{code}", code)
    assert document["instance"] == answer.headers["x-request-id"]


class Guarded:
    """A server with keys: alice may call everything, bob not everything, olga operates, oscar observes."""

    def __init__(self, served: Served, file: Path, key_of: dict[str, str]) -> None:
        self.served = served
        self.file = file
        self.key_of = key_of

    def bearer(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key_of[name]}"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("auth")
    file = folder / "keys"
    scopes = {"alice": "math", "olga": "operator", "oscar": "observer"}
    key_of = {name: keys(file, "new", name, "--scope", scope) for name, scope in scopes.items()}
    key_of["bob"] = "bob-comes-from-the-environment"
    environment = {
        "PENSTOCK_AUTH_KEYS_FILE": str(file),
        "PENSTOCK_AUTH_KEYS": f"bob={key_of['bob']}",
        "PENSTOCK_AUTH_SCOPES": '{"square": ["math"]}',
    }
    with Served(write_app(folder, SOURCE), "--log-format", "json", environment=environment) as served:
        yield Guarded(served, file, key_of)


def test_without_a_key_nothing_is_answered_but_health(guarded: Guarded) -> None:
    """Endpoints, what describes them, ``/-/status`` and ``/metrics`` are closed.

    ``livez`` and ``readyz`` are open, and the page at ``/docs``, which has nothing of the app.
    """
    served = guarded.served
    assert [served.get(path).status for path in ("/livez", "/readyz", "/docs")] == [200, 200, 200]
    closed = [*CLOSED, "/openapi.json"]
    for answer in [served.post_json("/who", {}), served.post_json("/square", {"input": 3}), *map(served.get, closed)]:
        assert_refused(answer, "unauthorized", 401)
        assert answer.headers["www-authenticate"] == 'Bearer realm="penstock"'


def test_the_principal_reaches_the_handler(guarded: Guarded) -> None:
    """By either header, from file and environment."""
    served = guarded.served
    assert served.post_json("/who", {}, headers=guarded.bearer("alice")).json() == "alice"
    assert served.post_json("/who", {}, headers={"X-API-Key": guarded.key_of["bob"]}).json() == "bob"


def test_scopes_are_kept(guarded: Guarded) -> None:
    """403 names the scope, in the body and in the header."""
    served = guarded.served
    assert served.post_json("/square", {"input": 3}, headers=guarded.bearer("alice")).json() == 9
    answer = served.post_json("/square", {"input": 3}, headers=guarded.bearer("bob"))
    assert_refused(answer, "forbidden", 403)
    assert "'math'" in answer.json()["detail"]
    assert 'error="insufficient_scope", scope="math"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("path", CLOSED)
def test_operation_needs_its_scope(guarded: Guarded, path: str) -> None:
    """Operators and observers see the server's state; a caller of endpoints does not."""
    statuses = {name: guarded.served.get(path, headers=guarded.bearer(name)).status for name in guarded.key_of}
    assert statuses == {"alice": 403, "bob": 403, "olga": 200, "oscar": 200}


@pytest.mark.parametrize(
    "lines",
    [
        ["Authorization: Bearer {alice}", "Authorization: Bearer {bob}"],
        ["Authorization: Bearer {alice}", "Authorization: Bearer {alice}"],
        ["Authorization: Bearer {bob}, Bearer {alice}"],
        ["Authorization: Bearer {alice}", "X-API-Key: {bob}"],
        ["X-API-Key: {alice}", "X-API-Key: {bob}"],
        ["Authorization: Basic {alice}"],
        ["X-API-Key: "],
    ],
)
def test_forged_headers_let_nobody_in(guarded: Guarded, lines: list[str]) -> None:
    """Two credentials on the wire, in whatever way, are none."""
    request = ["POST /who HTTP/1.1", "Host: test", "Connection: close", "Content-Length: 0"]
    request += [line.format(**guarded.key_of) for line in lines]
    with guarded.served.connect() as connection:
        connection.sendall("\r\n".join([*request, "", ""]).encode())
        with connection.makefile("rb") as answer:
            assert answer.readline().split()[1] == b"401"


@pytest.mark.parametrize("size", [8193, 100_000])
def test_oversized_headers_are_refused(guarded: Guarded, size: int) -> None:
    """By us or by the server before us; and the server goes on."""
    with guarded.served.connect() as connection:
        head = "POST /who HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 0\r\nX-API-Key: "
        connection.sendall(f"{head}{'x' * size}\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            assert answer.readline().split()[1] in {b"401", b"400", b"431"}
    assert guarded.served.post_json("/who", {}, headers=guarded.bearer("alice")).status == 200


@pytest.mark.timed
def test_keys_come_and_go_without_a_restart(guarded: Guarded) -> None:
    """Changes made by ``penstock keys`` take effect within two seconds."""
    served = guarded.served
    before = served.process.pid
    key = keys(guarded.file, "new", "temporary")

    def status() -> int:
        return served.post_json("/who", {}, headers={"X-API-Key": key}).status

    wait_until(lambda: status() == 200, "the new key", timeout=5.0)
    shown = keys(guarded.file, "list")
    [key_id] = [line.split()[0] for line in shown.splitlines() if "temporary" in line]
    keys(guarded.file, "revoke", key_id)
    revoked = time.monotonic()
    wait_until(lambda: status() == 401, "the end of the key", timeout=5.0)
    assert time.monotonic() - revoked < 2.5
    assert served.process.pid == before


def test_nothing_of_a_key_is_in_the_log(guarded: Guarded) -> None:
    """After all of the above, and after failures of every kind: neither keys nor digests."""
    served = guarded.served
    for key in [*guarded.key_of.values(), "canary-canary-canary"]:
        for headers in ({"Authorization": f"Bearer {key}!"}, {"Authorization": f"Basic {key}"}, {"X-API-Key": key}):
            served.post_json("/square", {"input": "x"}, headers=headers)
            served.get("/nowhere", headers=headers)
    log = served.output()
    for key in [*guarded.key_of.values(), "canary-canary-canary"]:
        assert key not in log
        assert hashlib.sha256(key.encode()).hexdigest() not in log


def signed_with_hmac(claims: dict[str, Any], secret: bytes) -> str:
    """Return what PyJWT would refuse to sign: a token whose secret is a public key."""
    header = {"alg": "HS256", "kid": "k1", "typ": "JWT"}
    begun = b".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in (header, claims))
    signature = base64.urlsafe_b64encode(hmac.new(secret, begun, hashlib.sha256).digest()).rstrip(b"=")
    return f"{begun.decode()}.{signature.decode()}"


def test_tokens_are_verified(tmp_path: Path) -> None:
    """With a key set from a file; ``none`` and the confusion of keys are refused on the wire too."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key()))
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [{**public, "kid": "k1"}]}))
    settings = {"algorithms": ["RS256"], "jwks_file": str(tmp_path / "jwks.json"), "audience": ["penstock"]}
    claims = {"sub": "carol", "aud": "penstock", "exp": int(time.time()) + 600, "scope": "observer"}
    good = jwt.encode(claims, private, algorithm="RS256", headers={"kid": "k1"})
    bad = [
        jwt.encode(claims, None, algorithm="none", headers={"kid": "k1"}),
        signed_with_hmac(claims, json.dumps(public).encode()),
        jwt.encode({**claims, "aud": "another"}, private, algorithm="RS256", headers={"kid": "k1"}),
        good[:-4] + "AAAA",
    ]
    environment = {"PENSTOCK_AUTH_JWT": json.dumps(settings)}
    with Served(write_app(tmp_path, SOURCE), environment=environment) as served:
        assert served.post_json("/who", {}, headers={"Authorization": f"Bearer {good}"}).json() == "carol"
        assert served.get("/-/status", headers={"Authorization": f"Bearer {good}"}).status == 200
        for token in bad:
            answer = served.post_json("/who", {}, headers={"Authorization": f"Bearer {token}"})
            assert_refused(answer, "unauthorized", 401)
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert not any(piece in served.output() for token in [good, *bad] for piece in token.split(".") if piece)


ENVIRONMENT = """
    import os
    from penstock import App

    app = App(__name__)

    @app.endpoint("/environment")
    def environment() -> list[str]:
        return sorted(os.environ)
"""


def test_no_setting_reaches_the_workers(tmp_path: Path) -> None:
    """A model inherits the environment, but for the settings: there may be keys among them."""
    key = "k" * 32
    environment = {"PENSTOCK_AUTH_KEYS": f"ada={key}", "OTHERS": "yes"}
    with Served(write_app(tmp_path, ENVIRONMENT), environment=environment) as served:
        names = served.post_json("/environment", {}, headers={"X-API-Key": key}).json()
    assert "OTHERS" in names
    assert [name for name in names if name.startswith("PENSTOCK_")] == []
