"""Authentication by JSON Web Tokens: what is verified, with which keys, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from penstock import eventlog
from penstock.app import App
from penstock.errors import Forbidden, PenstockError, PluginError, Unauthorized, Unavailable
from penstock.hooks import Submission
from penstock.hooks.registry import Registry, is_blocking
from penstock_auth import AuthPlugin, AuthSettings, JwtSettings, jwks
from penstock_auth.api_keys import digest_of
from penstock_auth.fetching import fetch
from penstock_auth.jwks import FetchedKeys, KeySet, parse_key_set
from penstock_auth.tokens import TokenVerifier
from tests.serving import wait_until

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
SHARED = b"a-secret-that-two-parties-have-in-common"
CANARY = "canary-canary-canary"


def jwk_of(key: Any, **more: Any) -> dict[str, Any]:
    """Return the public half of a key as a JSON Web Key."""
    if isinstance(key, bytes):
        return json.loads(jwt.algorithms.HMACAlgorithm.to_jwk(key)) | more
    kinds = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    [kind] = [algorithm for base, algorithm in kinds.items() if isinstance(key, base)]
    return json.loads(kind.to_jwk(key.public_key())) | more


def jwks_of(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def signed(claims: Mapping[str, Any] | None = None, *, key: Any = RSA_KEY, alg: str = "RS256", **header: Any) -> str:
    """Return a token valid for a minute; a claim or header field that is None is left out."""
    full = {"sub": "carol", "exp": int(time.time()) + 60, **(claims or {})}
    header = {"kid": "k1", **header}
    return jwt.encode(
        {name: value for name, value in full.items() if value is not None},
        key,
        algorithm=alg,
        headers={name: value for name, value in header.items() if value is not None},
    )


def part(value: Any) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.fixture
def door(tmp_path: Path) -> Callable[..., Callable[[str], Any]]:
    """Make functions that verify a token and return its principal."""

    def made(*keys: dict[str, Any], algorithms: tuple[str, ...] = ("RS256",), **more: Any) -> Callable[[str], Any]:
        file = tmp_path / "jwks.json"
        file.write_bytes(jwks_of(*(keys or [jwk_of(RSA_KEY, kid="k1")])))
        settings = JwtSettings(algorithms=algorithms, jwks_file=str(file), **more)
        return opened(AuthSettings(jwt=settings))

    return made


def endpoint() -> Any:
    app = App("tests")

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    return app.endpoints[0]


def opened(settings: AuthSettings, **more: Any) -> Callable[[str], Any]:
    square = endpoint()
    decide = Registry([AuthPlugin(settings, **more)]).authenticator(square)
    assert decide is not None
    assert not is_blocking(decide)
    return lambda token: decide(Submission(square, header={"authorization": f"Bearer {token}"}.get))


def refused(ask: Callable[[str], Any], token: str, kind: type[PenstockError] = Unauthorized) -> str:
    """Return the detail that the caller receives; it must hold no part of the token."""
    with pytest.raises(PenstockError) as caught:
        ask(token)
    assert type(caught.value) is kind
    assert caught.value.__cause__ is None
    told = f"{caught.value.detail} {caught.value.headers}"
    assert not any(len(piece) > 3 and piece in told for piece in token.split("."))
    return caught.value.detail


# ---- what is let in


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (RSA_KEY, "RS256"),
        (RSA_KEY, "PS384"),
        (EC_KEY, "ES256"),
        (ED_KEY, "EdDSA"),
        (SHARED, "HS256"),
    ],
)
def test_a_good_token_lets_its_subject_in(door: Any, key: Any, algorithm: str) -> None:
    """Every type of key works with each of its own algorithms."""
    ask = door(jwk_of(key, kid="k1"), algorithms=(algorithm,))
    principal = ask(signed({"scope": "math read"}, key=key, alg=algorithm))
    assert (principal.name, principal.scopes) == ("carol", {"math", "read"})


@pytest.mark.parametrize(
    ("scope", "scopes"),
    [("a b", {"a", "b"}), (["a", "b"], {"a", "b"}), ("", set()), (None, set()), (7, set()), ([7, "a", ""], {"a"})],
)
def test_scopes_are_a_list_or_a_string_with_blanks(door: Any, scope: Any, scopes: set[str]) -> None:
    """A value of any other type grants no scope."""
    assert door()(signed({"scope": scope})).scopes == scopes


def test_name_and_scopes_come_from_the_claims_that_are_set(door: Any) -> None:
    """``principal_claim`` and ``scope_claim`` select the claims."""
    ask = door(principal_claim="azp", scope_claim="scp")
    principal = ask(signed({"azp": "a client", "scp": ["math"], "scope": "operator"}))
    assert (principal.name, principal.scopes) == ("a client", {"math"})


@pytest.mark.parametrize("name", [None, "", 7, ["carol"], "a\nb", "x" * 256, " carol"])
def test_a_token_without_a_usable_name_is_refused(door: Any, name: Any) -> None:
    """A name with a newline would forge log lines; a caller without a name would escape its limits."""
    assert "does not name a principal" in refused(door(principal_claim="who"), signed({"who": name}))


def test_keys_and_tokens_live_side_by_side(tmp_path: Path) -> None:
    """A key is still accepted where tokens are; a token in ``X-API-Key`` is not."""
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks_of(jwk_of(RSA_KEY, kid="k1")))
    jwt_settings = JwtSettings(algorithms=("RS256",), jwks_file=str(file))
    settings = AuthSettings(keys="alice=alice-has-this-key", jwt=jwt_settings, scopes={"square": ("math",)})
    ask = opened(settings)
    refused(ask, "alice-has-this-key", Forbidden)
    assert ask(signed({"scope": "math"})).name == "carol"
    assert refused(ask, "nobody-has-this-key") == "The key is not known."
    decide = AuthPlugin(settings).penstock_authenticator(endpoint())
    assert decide is not None
    with pytest.raises(Unauthorized, match="The key is not known"):
        decide(Submission(endpoint(), header={"x-api-key": signed()}.get))


# ---- algorithms


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", None, 7, ["RS256"]])
def test_the_algorithm_none_is_refused(door: Any, name: Any) -> None:
    """An unsigned token is refused, in any spelling of "none", with or without a signature."""
    header = {"alg": name, "kid": "k1", "typ": "JWT"}
    claims = part({"sub": "carol", "exp": int(time.time()) + 60})
    signature = signed().rpartition(".")[2]
    ask = door()
    refused(ask, f"{part(header)}.{claims}.{signature}")
    assert refused(ask, f"{part(header)}.{claims}.") == "The key is not known."
    refused(ask, f"{part(header)}.{claims}")


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("form", ["pem", "der", "jwk"])
def test_a_public_key_is_never_taken_for_a_shared_secret(door: Any, algorithm: str, form: str) -> None:
    """The classic confusion: an HMAC signature made with the bytes of the public key."""
    public = RSA_KEY.public_key()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    secret = {
        "pem": public.public_bytes(serialization.Encoding.PEM, spki),
        "der": public.public_bytes(serialization.Encoding.DER, spki),
        "jwk": json.dumps(jwk_of(RSA_KEY)).encode(),
    }[form]
    begun = f"{part({'alg': algorithm, 'kid': 'k1'})}.{part({'sub': 'carol', 'exp': int(time.time()) + 60})}"
    signature = hmac.new(secret, begun.encode(), getattr(hashlib, f"sha{algorithm[2:]}")).digest()
    told = refused(door(algorithms=("RS256", "ES256")), f"{begun}.{part(signature)}")
    assert told == "The token is signed with an algorithm that is not accepted."


def test_a_key_is_bound_to_its_algorithm(door: Any) -> None:
    """A key works only with the allowed algorithms of its type and curve, and of its own ``alg``."""
    ask = door(jwk_of(RSA_KEY, kid="k1", alg="RS256"), jwk_of(EC_KEY, kid="k2"), algorithms=("RS256", "PS256", "ES256"))
    ask(signed())
    ask(signed(key=EC_KEY, alg="ES256", kid="k2"))
    refused(ask, signed(alg="PS256"))
    refused(ask, signed(kid="k2"))
    refused(ask, signed(key=EC_KEY, alg="ES256", kid="k1"))


def test_an_algorithm_that_is_not_in_the_list_is_refused(door: Any) -> None:
    """It is refused even with the right key."""
    assert "algorithm that is not accepted" in refused(door(), signed(alg="RS512"))


@pytest.mark.parametrize(
    ("more", "mend"),
    [
        ({"algorithms": ()}, "algorithms must name"),
        ({"algorithms": ("none",)}, "'none' is not supported"),
        ({"algorithms": ("rs256",)}, "'rs256' is not supported"),
        ({"algorithms": ("RS256", "HS256")}, "all for public keys or all for shared secrets"),
        ({"jwks_file": None}, "either jwks_file or jwks_url"),
        ({"jwks_url": "https://issuer.example/keys"}, "either jwks_file or jwks_url"),
        ({"jwks_file": None, "jwks_url": "http://issuer.example/keys"}, "must begin with https://"),
        ({"jwks_file": None, "jwks_url": "http://127.0.0.1.issuer.example/keys"}, "must begin with https://"),
        ({"jwks_file": None, "jwks_url": "file:///etc/keys"}, "names no host"),
        ({"jwks_file": None, "jwks_url": "https://me:secret@issuer.example/keys"}, "must not contain a password"),
        ({"jwks_file": None, "jwks_url": "https://issuer.example", "algorithms": ("HS256",)}, "are not fetched"),
        ({"leeway": 301.0}, "leeway must be from 0 to 300 seconds"),
        ({"leeway": float("nan")}, "leeway must be from 0 to 300 seconds"),
        ({"cache_seconds": 0.0}, "cache_seconds must be a positive number"),
        ({"fetch_timeout": float("inf")}, "fetch_timeout must be a positive number"),
        ({"audience": ("",)}, "must not be empty strings"),
        ({"issuer": ""}, "must not be empty strings"),
    ],
)
def test_unsafe_settings_are_refused(more: dict[str, Any], mend: str) -> None:
    """No default and no setting accepts an unsigned token."""
    with pytest.raises(ValueError, match=mend):
        JwtSettings(**{"algorithms": ("RS256",), "jwks_file": "keys.json", **more})


def test_the_algorithms_have_no_default() -> None:
    """An operator who accepts tokens must name the algorithms."""
    with pytest.raises(TypeError, match="algorithms"):
        JwtSettings(jwks_file="keys.json")  # type: ignore[call-arg]


# ---- claims


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"exp": -100}, "has expired"),
        ({"exp": None}, "lacks a required claim"),
        ({"exp": "soon"}, "is not valid"),
        ({"exp": [1]}, "is not valid"),
        ({"exp": float("inf")}, "is not valid"),
        ({"exp": 10**400}, "is not valid"),
        ({"exp": f"1{'0' * 400}"}, "is not valid"),
        ({"nbf": 10**400}, "is not valid yet"),
        ({"nbf": 100}, "is not valid yet"),
        ({"iat": 100}, "is not valid yet"),
        ({"aud": "another"}, "is for another audience"),
        ({"aud": ["another", "others"]}, "is for another audience"),
        ({"aud": None}, "lacks a required claim"),
        ({"aud": 7}, "is for another audience"),
        ({"iss": "https://evil.example"}, "from another issuer"),
        ({"iss": None}, "lacks a required claim"),
        ({"iss": ["https://issuer.example"]}, "from another issuer"),
    ],
)
def test_claims_that_do_not_fit_are_refused(door: Any, claims: dict[str, Any], told: str) -> None:
    """Expiry is always required, issuer and audience where they are set; the error names the claim."""
    ask = door(issuer="https://issuer.example", audience=("penstock", "models"))
    good = {"iss": "https://issuer.example", "aud": ["models", "others"], "nbf": int(time.time()) - 1}
    assert ask(signed(good)).name == "carol"
    now = int(time.time())
    moved = {n: now + v if n in {"exp", "nbf", "iat"} and isinstance(v, int) else v for n, v in claims.items()}
    assert told in refused(ask, signed_anyhow({**good, **moved}))


def signed_anyhow(claims: dict[str, Any]) -> str:
    """Sign claims that PyJWT would refuse to write; a claim that is None is left out."""
    full = {"sub": "carol", "exp": int(time.time()) + 60, **claims}
    payload = json.dumps({name: value for name, value in full.items() if value is not None}).encode()
    return jwt.api_jws.encode(payload, RSA_KEY, algorithm="RS256", headers={"kid": "k1"})


def test_the_leeway_is_for_clocks_that_differ(door: Any) -> None:
    """It applies at both ends of a token's lifetime."""
    now = int(time.time())
    tokens = [signed({"exp": now - 100}), signed({"nbf": now + 100}), signed({"iat": now + 100})]
    for token in tokens:
        assert door(leeway=200.0)(token).name == "carol"
        refused(door(leeway=50.0), token)


def test_an_audience_that_nobody_has_set_is_a_refusal(door: Any) -> None:
    """A token for another service must not be valid here only because ours has no name."""
    assert "is for another audience" in refused(door(), signed({"aud": "another"}))


# ---- forgeries


def test_a_token_signed_by_somebody_else_is_refused(door: Any) -> None:
    """With the right ``kid``, with another, and with none."""
    for header in ({}, {"kid": "k2"}, {"kid": None}, {"kid": ""}, {"kid": "0"}):
        refused(door(), signed(key=OTHER_RSA_KEY, **header))


def test_a_token_brings_no_key_of_its_own(door: Any) -> None:
    """``jwk``, ``jku`` and ``x5u`` in the header are under the attacker's control."""
    refused(door(), signed(key=OTHER_RSA_KEY, jwk=jwk_of(OTHER_RSA_KEY)))
    refused(door(), signed(key=OTHER_RSA_KEY, jku="https://evil.example/keys", x5u="https://evil.example/cert"))


def test_a_token_that_demands_the_unknown_is_refused(door: Any) -> None:
    """``crit`` lists extensions that must be understood (RFC 7515, 4.1.11)."""
    refused(door(), signed(crit=["exp"], exp=1))


def test_changed_claims_do_not_verify(door: Any) -> None:
    """Changing a byte invalidates the signature."""
    header, _, signature = signed().split(".")
    refused(door(), f"{header}.{part({'sub': 'root', 'exp': int(time.time()) + 60})}.{signature}")


@pytest.mark.parametrize(
    "token",
    [
        "a.b.c",
        "...",
        "e30.e30.e30",
        f"{part([])}.e30.e30",
        f"{part(b'[' * 5000)}.e30.e30",
        f"{part(b'1' * 5000)}.e30.e30",
        f"{part({'alg': 'RS256', 'kid': 7})}.e30.e30",
        f"{part({'alg': 'RS256', 'kid': 'k1'})}.{part(b'[' * 5000)}.e30",
        f"{part({'alg': 'RS256', 'kid': 'k1', 'b64': False})}.e30.e30",
        f"{part({'alg': 'RS256', 'kid': 'x' * 3000})}.e30.e30",
        f"{part(bytes([255, 254]))}.e30.e30",
    ],
)
def test_what_is_no_token_is_a_401(door: Any, token: str) -> None:
    """No credential makes the verifier fail in another way."""
    refused(door(), token)


def test_a_token_that_is_too_long_is_not_parsed(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token above 8 KiB is not read at all."""
    monkeypatch.setattr(TokenVerifier, "principal_of", lambda *_: pytest.fail("it was looked at"))
    assert "too long" in refused(door(), signed({"x": "x" * 8192}))


# ---- remembering


def test_a_token_is_verified_once(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature costs more than all other checks; a token that differs in one byte is another token."""
    token, verifications = signed(), []
    real = jwt.decode
    monkeypatch.setattr(jwt, "decode", lambda *a, **k: verifications.append(1) or real(*a, **k))
    ask = door()
    assert [ask(token).name for _ in range(3)] == ["carol"] * 3
    assert len(verifications) == 1
    refused(ask, token[:-8] + "AAAAAAAA")
    assert len(verifications) == 2


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Fixed:
    """A source whose key set never changes."""

    def __init__(self, keys: KeySet | None) -> None:
        self.keys = keys

    def current(self) -> KeySet | None:
        return self.keys

    def look_again(self) -> bool:
        return False


def test_a_remembered_token_ends_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verified token is remembered until its expiry plus the leeway, and is then verified again."""
    clock = Clock(time.time())
    keys = parse_key_set(jwks_of(jwk_of(RSA_KEY, kid="k1")), ["RS256"])
    settings = JwtSettings(algorithms=("RS256",), jwks_file="keys.json", leeway=10.0)
    verifier = TokenVerifier(settings, Fixed(keys), clock=clock)
    token = signed({"exp": int(clock.now) + 60})
    digest = digest_of(token)
    verifier.principal_of(token, digest)
    monkeypatch.setattr(verifier, "_decode", lambda *_, **__: (_ for _ in ()).throw(jwt.ExpiredSignatureError))
    clock.now = int(clock.now) + 69.9
    verifier.principal_of(token, digest)
    clock.now += 0.2
    with pytest.raises(Unauthorized, match="has expired"):
        verifier.principal_of(token, digest)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest token is dropped, and verified again when it recurs."""
    monkeypatch.setattr(jwks, "MOST_VERIFIED", 3)
    keys = parse_key_set(jwks_of(jwk_of(RSA_KEY, kid="k1")), ["RS256"])
    verifier = TokenVerifier(JwtSettings(algorithms=("RS256",), jwks_file="keys.json"), Fixed(keys))
    tokens = [signed({"jti": str(number)}) for number in range(5)]
    for token in tokens:
        verifier.principal_of(token, digest_of(token))
    assert list(keys.verified) == [digest_of(token) for token in tokens[2:]]


# ---- key sets


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [7, null]}',
        b"[" * 100_000,
        jwks_of(jwk_of(EC_KEY, kid="k1")),
        jwks_of(jwk_of(SHARED, kid="k1")),
        jwks_of(jwk_of(WEAK_RSA_KEY, kid="k1")),
        jwks_of(jwk_of(RSA_KEY, kid="k1", use="enc")),
        jwks_of(jwk_of(RSA_KEY, kid="k1", key_ops=["sign"])),
        jwks_of(jwk_of(RSA_KEY, kid="k1", alg="PS256")),
        jwks_of(jwk_of(RSA_KEY, kid=7)),
        jwks_of({"kty": "RSA", "kid": "k1", "n": CANARY, "e": CANARY}),
        jwks_of({"kty": ["RSA"], "kid": "k1"}),
    ],
)
def test_a_key_set_without_a_fitting_key_is_refused(content: bytes) -> None:
    """Keys of another type, for encryption, too short or broken are unusable; the error shows no key."""
    with pytest.raises(ValueError, match=r"it (is not JSON|is not a JSON Web Key Set|has no key that fits)") as caught:
        parse_key_set(content, ["RS256"])
    assert CANARY not in str(caught.value)


def test_what_is_not_understood_in_a_key_set_is_left_out(door: Any) -> None:
    """Issuers publish new types of keys beside the old ones (RFC 7517, 5)."""
    ask = door({"kty": "new"}, jwk_of(WEAK_RSA_KEY, kid="k0"), jwk_of(RSA_KEY, kid="k1"))
    assert ask(signed()).name == "carol"
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        weak = signed(key=WEAK_RSA_KEY, kid="k0")
    refused(ask, weak)


def test_a_token_without_a_kid_is_tried_with_the_only_key_that_fits(door: Any) -> None:
    """Trying several would be guesswork, and an attacker could cause the work."""
    assert door(jwk_of(RSA_KEY), jwk_of(EC_KEY), algorithms=("RS256", "ES256"))(signed(kid=None)).name == "carol"
    assert door(jwk_of(RSA_KEY, kid="k9"))(signed(kid=None)).name == "carol"
    refused(door(jwk_of(RSA_KEY, kid="k1"), jwk_of(OTHER_RSA_KEY, kid="k2")), signed(kid=None))


def test_the_private_half_is_not_loaded() -> None:
    """A key set with private keys is a mistake that must at least not spread."""
    private = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY)) | {"kid": "k1", "key_ops": ["sign", "verify"]}
    key = parse_key_set(jwks_of(private), ["RS256"]).find("k1", "RS256")
    assert key is not None
    assert isinstance(key.key, rsa.RSAPublicKey)
    assert set(key._jwk_data) == {"kty", "n", "e"}


def test_a_file_of_keys_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    """Tokens of a removed key are refused within a second, even those already verified."""
    clock, file = Clock(time.time()), tmp_path / "jwks.json"
    file.write_bytes(jwks_of(jwk_of(RSA_KEY, kid="k1")))
    settings = AuthSettings(jwt=JwtSettings(algorithms=("RS256",), jwks_file=str(file)))
    ask = opened(settings, clock=clock, wall_clock=clock)
    old, new = signed(), signed(key=OTHER_RSA_KEY, kid="k2")
    assert ask(old).name == "carol"
    file.write_bytes(jwks_of(jwk_of(OTHER_RSA_KEY, kid="k2")))
    clock.now += 1.0
    assert ask(new).name == "carol"
    refused(ask, old)
    file.write_bytes(b"{")
    clock.now += 1.0
    assert ask(new).name == "carol"


def test_a_file_without_a_good_key_stops_the_start(tmp_path: Path) -> None:
    """The error names the file."""
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks_of(jwk_of(EC_KEY)))
    with pytest.raises(PluginError, match=r"jwks\.json: it has no key that fits the algorithms RS256"):
        opened(AuthSettings(jwt=JwtSettings(algorithms=("RS256",), jwks_file=str(file))))


# ---- keys behind a URL


class Issuer:
    """The server behind the URL, under the test's control; a fetch runs when the test says so."""

    def __init__(self) -> None:
        self.clock = Clock(1000.0)
        self.content = jwks_of(jwk_of(RSA_KEY, kid="k1"))
        self.error: Exception | None = None
        self.started: list[Callable[[], None]] = []
        self.keys = FetchedKeys(
            "https://issuer.example/keys?secret=canary",
            fetch=self.fetch,
            parse=lambda content: parse_key_set(content, ["RS256"]),
            cache_seconds=300.0,
            refetch_seconds=30.0,
            clock=self.clock,
            start=self.started.append,
        )
        settings = JwtSettings(algorithms=("RS256",), jwks_url="https://issuer.example/keys")
        self.verifier = TokenVerifier(settings, self.keys)

    def fetch(self) -> bytes:
        if self.error:
            raise self.error
        return self.content

    def ask(self, token: str) -> Any:
        return self.verifier.principal_of(token, digest_of(token))

    def run(self) -> int:
        """Run the fetches that were started; return their number."""
        started, self.started[:] = self.started[:], []
        for work in started:
            work()
        return len(started)


def test_nobody_waits_for_the_first_fetch() -> None:
    """Until the keys arrive a token gets a 503 with ``Retry-After``; then it is verified."""
    issuer = Issuer()
    with pytest.raises(Unavailable) as caught:
        issuer.ask(signed())
    assert (caught.value.retryable, caught.value.retry_after) == (True, 1.0)
    with pytest.raises(Unauthorized, match="The key is not known"):
        issuer.ask("no-token-at-all")
    assert issuer.run() == 1
    assert issuer.ask(signed()).name == "carol"


def test_one_fetch_at_a_time() -> None:
    """One fetch serves any number of requests."""
    issuer = Issuer()
    for _ in range(100):
        issuer.keys.current()
        issuer.clock.now += 100.0
    assert issuer.run() == 1


def test_an_unknown_kid_is_looked_for_but_not_for_ever() -> None:
    """A rotated key is found; invented IDs cause only one fetch in ``refetch_seconds``."""
    issuer = Issuer()
    issuer.keys.current()
    issuer.run()
    issuer.clock.now += 30.0
    issuer.content = jwks_of(jwk_of(RSA_KEY, kid="k1"), jwk_of(OTHER_RSA_KEY, kid="k2"))
    rotated = signed(key=OTHER_RSA_KEY, kid="k2")
    with pytest.raises(Unavailable, match="the keys are being fetched again"):
        issuer.ask(rotated)
    assert issuer.ask(signed()).name == "carol"
    assert issuer.run() == 1
    assert issuer.ask(rotated).name == "carol"
    for number in range(50):
        with pytest.raises(Unauthorized, match="an unknown key"):
            issuer.ask(signed(kid=f"invented-{number}"))
    assert issuer.run() == 0
    issuer.clock.now += 30.0
    with pytest.raises(Unavailable):
        issuer.ask(signed(kid="invented"))
    assert issuer.run() == 1


def test_keys_are_fetched_again_when_they_are_old() -> None:
    """After ``cache_seconds``, beside the requests; a withdrawn key is then no longer valid."""
    issuer = Issuer()
    issuer.keys.current()
    issuer.run()
    token = signed()
    assert issuer.ask(token).name == "carol"
    issuer.content = jwks_of(jwk_of(OTHER_RSA_KEY, kid="k2"))
    issuer.clock.now += 299.0
    assert issuer.ask(token).name == "carol"
    assert issuer.run() == 0
    issuer.clock.now += 1.0
    assert issuer.ask(token).name == "carol"
    assert issuer.run() == 1
    with pytest.raises(Unauthorized):
        issuer.ask(token)


def test_what_was_verified_stays_so_while_the_keys_stay_the_same() -> None:
    """A fetch without changes causes no token to be verified again."""
    issuer = Issuer()
    issuer.keys.current()
    issuer.run()
    before = issuer.keys.current()
    issuer.clock.now += 300.0
    issuer.keys.current()
    assert issuer.run() == 1
    assert issuer.keys.current() is before


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(eventlog.JsonFormatter())
    logger = logging.getLogger(eventlog.LOGGER_NAME)
    logger.addHandler(handler)
    yield text
    logger.removeHandler(handler)


@pytest.mark.parametrize("error", [OSError("no route"), ValueError("bad"), None])
def test_old_keys_stay_while_new_ones_cannot_be_had(log: io.StringIO, error: Exception | None) -> None:
    """A failing issuer locks no caller out; the failure is logged, and the fetch repeated later."""
    issuer = Issuer()
    issuer.keys.current()
    issuer.run()
    issuer.error, issuer.content = error, b"<html>"
    for attempt in range(1, 4):
        issuer.clock.now += 300.0
        assert issuer.ask(signed()).name == "carol"
        assert issuer.run() == 1
        assert issuer.ask(signed()).name == "carol"
        issuer.clock.now += 29.0
        issuer.keys.current()
        assert issuer.run() == 0
        assert log.getvalue().count('"event": "jwks-not-fetched"') == attempt
    assert "the keys fetched before stay in force" in log.getvalue()
    assert "canary" not in log.getvalue()


def test_without_any_keys_tokens_are_told_to_wait(log: io.StringIO) -> None:
    """Until the issuer has been reached, no token can be judged: that is a 503, not a 401."""
    issuer = Issuer()
    issuer.error = OSError("no route")
    issuer.keys.current()
    issuer.run()
    assert "no token can be verified" in log.getvalue()
    with pytest.raises(Unavailable):
        issuer.ask(signed())
    issuer.error = None
    issuer.clock.now += 30.0
    with pytest.raises(Unavailable):
        issuer.ask(signed())
    issuer.run()
    assert issuer.ask(signed()).name == "carol"


def test_no_thread_can_be_had(log: io.StringIO) -> None:
    """A process at its limit logs it and tries again; it does not assume that a fetch is still in progress."""
    issuer = Issuer()

    def fail(_work: Callable[[], None]) -> None:
        raise RuntimeError("can't start new thread")

    issuer.keys._start = fail
    assert issuer.keys.look_again() is False
    assert "can't start new thread" in log.getvalue()
    issuer.keys._start = issuer.started.append
    issuer.clock.now += 30.0
    assert issuer.keys.look_again() is True


class Web(ThreadingHTTPServer):
    """A web server on the loopback address that answers with a preset response."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Answering)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Answering(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        status, headers, body = self.server.answers[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_keys_are_fetched_from_a_url(web: Web) -> None:
    """End to end: the engine starts the fetch in a thread, and tokens are verified once it is done."""
    web.answers["/keys"] = 200, {}, jwks_of(jwk_of(RSA_KEY, kid="k1"))
    ask = opened(AuthSettings(jwt=JwtSettings(algorithms=("RS256",), jwks_url=web.url("/keys"))))

    def name() -> str:
        try:
            return ask(signed()).name
        except Unavailable:
            return ""

    assert wait_until(name, "the keys") == "carol"
    assert web.asked == ["/keys"]


def test_a_redirect_is_not_followed(web: Web) -> None:
    """A party that could redirect the fetch would decide who may sign."""
    web.answers["/keys"] = 302, {"Location": web.url("/evil")}, b""
    web.answers["/evil"] = 200, {}, jwks_of(jwk_of(OTHER_RSA_KEY))
    with pytest.raises(OSError, match="302"):
        fetch(web.url("/keys"), 5.0)
    assert web.asked == ["/keys"]


def test_a_fetch_is_bounded(web: Web) -> None:
    """A response that is too large is an error, and is not kept."""
    web.answers["/keys"] = 200, {}, b"x" * ((1 << 20) + 1)
    with pytest.raises(ValueError, match="larger than 1 MiB"):
        fetch(web.url("/keys"), 5.0)


# ---- the library


def test_without_the_library_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch, door: Any) -> None:
    """Only where tokens are configured."""
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(PluginError, match=r"pip install 'penstock\[jwt\]'"):
        door()
    opened(AuthSettings(keys="alice=alice-has-this-key"))("alice-has-this-key")


def test_the_library_is_not_imported_without_tokens() -> None:
    """Every server imports every plug-in: unused features must cost neither time nor memory."""
    program = (
        "import sys\n"
        "from penstock_auth import AuthPlugin, AuthSettings\n"
        "from penstock.hooks.registry import Registry\n"
        "Registry([AuthPlugin(AuthSettings(keys='alice=alice-has-this-key'))])\n"
        "print(sorted({'jwt', 'cryptography', 'click'} & set(sys.modules)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


# ---- nothing of a token is ever shown


def test_nothing_of_a_token_is_ever_logged_or_shown(door: Any, log: io.StringIO) -> None:
    """On every failing path: no part of a token or of its claims is in any message, traceback or ``repr``."""
    now = int(time.time())
    tokens = [
        signed({"sub": CANARY, "exp": now - 100}),
        signed({"sub": CANARY, "aud": CANARY}),
        signed({"sub": CANARY, "iss": CANARY}),
        signed({"sub": CANARY, "exp": None}),
        signed({"sub": CANARY + "\n"}),
        signed({"sub": CANARY}, kid=CANARY),
        signed({"sub": CANARY}, crit=[CANARY]),
        signed({"sub": CANARY}, key=OTHER_RSA_KEY),
        signed_anyhow({"sub": CANARY, "exp": CANARY}),
        f"{part({'alg': CANARY})}.{part(CANARY.encode())}.{part(CANARY.encode())}",
        f"{CANARY}.{CANARY}.{CANARY}",
    ]
    ask = door(issuer="https://issuer.example")
    for token in tokens:
        with pytest.raises(Unauthorized) as caught:
            ask(token)
        logging.getLogger(eventlog.LOGGER_NAME).error("unforeseen", exc_info=caught.value)
        shown = f"{caught.value!r} {caught.value.headers} {log.getvalue()}"
        assert CANARY not in shown
        assert not any(len(piece) > 8 and piece in shown for piece in token.split("."))
    assert log.getvalue().count("unforeseen") == len(tokens)
