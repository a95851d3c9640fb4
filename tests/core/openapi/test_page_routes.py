"""The files of the page at ``/docs``, as they are served."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest

from penstock.hooks import Route, RouteRequest, RouteResponse
from penstock.openapi.page_routes import page_routes

ROUTES = {route.path: route for route in page_routes()}
SCRIPTS = [path for path in ROUTES if path.endswith(".js")]
MEDIA_TYPES = {"/docs": "text/html", "/docs/page.css": "text/css", **dict.fromkeys(SCRIPTS, "text/javascript")}
KEPT_IN_BROWSER = r"localStorage|sessionStorage|indexedDB|document\.cookie|caches\."
MARKUP_FROM_TEXT = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function"


def ask(route: Route, **headers: str) -> RouteResponse:
    """Return the answer of a route, which needs no engine."""
    request = RouteRequest(request_id="r1", method="GET", path=route.path, header=headers.get)
    return route.handler(request, cast("Any", None))


def text_of(path: str) -> str:
    return ask(ROUTES[path]).body.decode()


@pytest.mark.parametrize("path", ROUTES)
def test_each_file_has_its_type_and_strict_headers(path: str) -> None:
    """Browsers run nothing but these files, connect to no other server, and show the page in no frame."""
    answer = ask(ROUTES[path])
    assert answer.media_type == f"{MEDIA_TYPES[path]}; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy.pop("img-src") == "data: blob:"
    assert policy.pop("media-src") == "blob:"
    assert {name for name, sources in policy.items() if sources == "'self'"} == {
        "script-src",
        "style-src",
        "connect-src",
    }
    assert {name for name, sources in policy.items() if sources == "'none'"} == {
        "default-src",
        "base-uri",
        "form-action",
        "frame-ancestors",
    }
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", ROUTES)
def test_a_file_is_sent_once(path: str) -> None:
    """A browser asks each time, and has the file again only if it is another one."""
    first = ask(ROUTES[path])
    assert first.headers["Cache-Control"] == "no-cache"
    again = ask(ROUTES[path], **{"if-none-match": f'"other", {first.headers["ETag"]}'})
    assert (again.status, again.body, again.headers) == (304, b"", first.headers)
    assert ask(ROUTES[path], **{"if-none-match": '"other"'}) == first


def test_the_page_names_its_files_by_relative_addresses() -> None:
    """It works behind any prefix, and names no other server."""
    page = text_of("/docs")
    named = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert sorted(name for name in named if not name.startswith("data:")) == [
        "docs/page.css",
        "docs/page.js",
        "openapi.json",
        "openapi.json",
    ]
    for path in ROUTES:
        urls = set(re.findall(r"\bhttps?://[^\s'\"]*", text_of(path)))
        assert urls - {"http://www.w3.org/2000/svg"} == set()  # the name of a format, and not an address


def test_the_scripts_are_modules_that_import_each_other() -> None:
    """By relative addresses; each of them is loaded by the page's own script, or by one that it loads."""
    waiting, found = ["/docs/page.js"], set()
    while waiting:
        path = waiting.pop()
        found.add(path)
        imported = re.findall(r'^import .* from "\./([\w-]+\.js)";$', text_of(path), re.MULTILINE)
        assert len(imported) == len(re.findall(r"^import|\bimport\(", text_of(path), re.MULTILINE))
        waiting += {f"/docs/{name}" for name in imported} - found
    assert found == set(SCRIPTS)


def test_the_scripts_keep_nothing_and_make_no_markup_from_text() -> None:
    """Keys are stored nowhere, and the answers of a server become text, never elements."""
    for path in SCRIPTS:
        assert re.findall(f"{KEPT_IN_BROWSER}|{MARKUP_FROM_TEXT}", text_of(path)) == []
    assert "<style" not in text_of("/docs")
    assert re.findall(r"<script(?![^>]* src=)", text_of("/docs")) == []


def test_a_browser_can_open_the_page_without_a_key() -> None:
    """It sends none with an address that is typed; the page itself says nothing about the app."""
    assert all(route.is_open and route.is_local for route in ROUTES.values())
