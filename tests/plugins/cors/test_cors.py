"""CORS: which origins are allowed, and which headers answer them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock import App
from penstock.errors import PluginError
from penstock.hooks import ResponseHead
from penstock.hooks.registry import Registry
from penstock_cors import CorsPlugin
from penstock_cors.origins import AllowedOrigins

PAGE = "https://app.example.com"


def headers_for(head: ResponseHead, **settings: Any) -> dict[str, str]:
    headers_of = Registry([CorsPlugin(msgspec.convert(settings, CorsPlugin.Settings))]).response_headers(App("tests"))
    assert headers_of is not None
    return dict(headers_of(head))


def head(origin: str | None = PAGE, method: str = "POST", status: int = 200, **headers: str) -> ResponseHead:
    received = {name.replace("_", "-"): value for name, value in headers.items()}
    if origin is not None:
        received["origin"] = origin
    return ResponseHead(method=method, path="/square", header=received.get, status=status, headers={})


def preflight(origin: str = PAGE, *, asks: str = "POST", headers: str = "", allow: str | None = "POST, OPTIONS") -> Any:
    asked = {"access_control_request_method": asks} | ({"access_control_request_headers": headers} if headers else {})
    of = {} if allow is None else {"allow": allow}
    return msgspec.structs.replace(head(origin, "OPTIONS", **asked), headers=of)


# ---- origins


@pytest.mark.parametrize(
    ("allowed", "origin", "is_allowed"),
    [
        ("https://app.example.com", "https://app.example.com", True),
        ("HTTPS://App.Example.com", "https://app.example.com", True),
        ("https://app.example.com:443", "https://app.example.com", True),
        ("https://app.example.com:8443", "https://app.example.com:8443", True),
        ("https://app.example.com", "https://app.example.com:8443", False),
        ("https://app.example.com", "http://app.example.com", False),
        ("https://app.example.com", "https://app.example.com.evil.example", False),
        ("https://app.example.com", "https://appxexample.com", False),
        ("https://*.example.com", "https://a.example.com", True),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "https://evil-example.com", False),
        ("https://*.example.com", "https://a.example.com.evil.example", False),
        ("https://*.example.com", "https://evil.example/.example.com", False),
        ("https://*.example.com", "https://a.example.com\n", False),
        ("http://localhost:*", "http://localhost:5173", True),
        ("http://localhost:*", "http://localhost", True),
        ("http://localhost:*", "http://localhost:5173.evil.example", False),
        ("http://[::1]:3000", "http://[::1]:3000", True),
        ("null", "null", True),
        ("https://app.example.com", "null", False),
        ("*", "https://whatever.example", True),
    ],
)
def test_an_origin_is_allowed_or_not(allowed: str, origin: str, is_allowed: bool) -> None:
    """Scheme, host and port have to agree, in full; a wildcard stands for whole names, or for the port."""
    assert (origin in AllowedOrigins(["https://first.example", allowed])) is is_allowed


@pytest.mark.parametrize(
    "text", ["app.example.com", "https://app.example.com/", "https://", "https://*", "a b", "https://a.*.com"]
)
def test_what_is_not_an_origin_stops_the_start(text: str) -> None:
    """The error says what an origin looks like."""
    with pytest.raises(ValueError, match="is not an origin; write a scheme, a host"):
        AllowedOrigins([text])


# ---- settings


def start(**variables: str) -> Registry:
    environ = {f"PENSTOCK_CORS_{name.upper()}": value for name, value in variables.items()}
    return Registry.load(App("tests"), environ)


def test_nothing_is_added_unless_origins_are_set() -> None:
    """Without origins the plug-in is idle, and costs nothing."""
    assert start().response_headers(App("tests")) is None
    assert start(origins=PAGE).response_headers(App("tests")) is not None
    assert start(origins=PAGE, enabled="false").response_headers(App("tests")) is None


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"origins": "*", "credentials": "true"}, "name the origins, or leave credentials out"),
        ({"origins": "null", "credentials": "true"}, "which any page can have"),
        ({"origins": "example.com"}, "is not an origin"),
        ({"origins": PAGE, "max_age": "-1"}, "max_age must be from 0 to 86400 seconds"),
        ({"origins": PAGE, "headers": "a b"}, "headers: 'a b' is not a valid name"),
        ({"origins": PAGE, "exposed": "X:Y"}, "exposed: 'X:Y' is not a valid name"),
    ],
)
def test_settings_that_would_be_unsafe_or_useless_stop_the_start(variables: dict[str, str], message: str) -> None:
    """Credentials for every origin above all: a browser would not accept that, and no server should offer it."""
    with pytest.raises(PluginError, match=message):
        start(**variables)


# ---- responses


def test_a_response_may_be_read_by_an_allowed_origin() -> None:
    """Its headers can be read too, and the timing in ``Server-Timing``."""
    assert headers_for(head(), origins=[PAGE]) == {
        "vary": "Origin",
        "access-control-allow-origin": PAGE,
        "timing-allow-origin": PAGE,
        "access-control-expose-headers": "X-Request-Id, Server-Timing, Retry-After, X-Should-Retry, RateLimit, "
        "RateLimit-Policy, Inference-Header-Content-Length",
    }


@pytest.mark.parametrize("origin", ["https://evil.example", None])
def test_a_response_to_another_origin_only_varies(origin: str | None) -> None:
    """A cache must not hand it to a page of an allowed origin, where the header would be missing."""
    assert headers_for(head(origin), origins=[PAGE]) == {"vary": "Origin"}


@pytest.mark.parametrize("origin", [PAGE, None])
def test_for_all_origins_the_response_is_one_for_all(origin: str | None) -> None:
    """So a cache may keep it for everyone."""
    headers = headers_for(head(origin), origins=["*"], exposed=["X-A", "X-B"])
    assert headers == {
        "access-control-allow-origin": "*",
        "timing-allow-origin": "*",
        "access-control-expose-headers": "X-A, X-B",
    }


def test_credentials_are_allowed_to_the_origin_alone() -> None:
    """Browsers want the origin by name then, and that is what they get."""
    headers = headers_for(head(), origins=["https://*.example.com"], credentials=True)
    assert headers["access-control-allow-credentials"] == "true"
    assert headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in headers_for(
        head("https://x.org"), origins=[PAGE], credentials=True
    )


# ---- preflights


def test_a_preflight_is_told_what_is_allowed() -> None:
    """The methods of the path, the headers that were asked for by their names, and for how long this holds."""
    assert headers_for(preflight(headers="authorization,content-type, x-stainless-os"), origins=[PAGE]) == {
        "vary": "Origin",
        "access-control-allow-origin": PAGE,
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "authorization, content-type, x-stainless-os",
        "access-control-max-age": "7200",
    }


def test_only_allowed_headers_are_named() -> None:
    """A name, or the beginning of names; ``*`` is never sent, since it would not cover ``Authorization``."""
    settings: dict[str, Any] = {"origins": ["*"], "headers": ["Authorization", "X-Stainless-*"]}
    asked = preflight(headers="authorization,content-type,x-stainless-os,x-stainless-lang,x-other")
    found = headers_for(asked, **settings)
    assert found["access-control-allow-headers"] == "authorization, x-stainless-os, x-stainless-lang"
    assert "access-control-allow-headers" not in headers_for(preflight(headers="x-other"), **settings)


def test_only_allowed_methods_of_the_path_are_named() -> None:
    """A method that the path does not take is never allowed."""
    both = preflight(allow="GET, HEAD, POST, OPTIONS")
    assert headers_for(both, origins=["*"])["access-control-allow-methods"] == "GET, HEAD, POST"
    assert headers_for(both, origins=["*"], methods=["post", "PUT"])["access-control-allow-methods"] == "POST"


@pytest.mark.parametrize(
    "asked", [preflight(origin="https://evil.example"), preflight(allow=None), head(method="OPTIONS")]
)
def test_nothing_else_is_answered_as_a_preflight(asked: ResponseHead) -> None:
    """Another origin is allowed nothing; neither is a path that does not exist, nor a plain OPTIONS."""
    assert "access-control-allow-methods" not in headers_for(asked, origins=[PAGE])


def test_what_is_echoed_is_checked_and_bounded() -> None:
    """Only names of headers come back, each once, and at most a hundred."""
    asked = preflight(headers="x-a, x-a, x b, \xff, x-c\t")
    assert headers_for(asked, origins=["*"])["access-control-allow-headers"] == "x-a, x-c"
    many = preflight(headers=",".join(f"x-{i}" for i in range(1000)))
    assert len(headers_for(many, origins=["*"])["access-control-allow-headers"].split(", ")) == 100
