"""Response headers of policies: only valid ones can be added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.hooks.response_headers import ResponseHeaders, checked_headers


def _assign(headers: ResponseHeaders, header: Any) -> None:
    headers.append(("x-a", "1"))
    headers[0] = header


def _assign_slice(headers: ResponseHeaders, header: Any) -> None:
    headers[:] = [header]


def _add(headers: ResponseHeaders, header: Any) -> None:
    headers += [header]


WAYS: dict[str, Callable[[ResponseHeaders, Any], None]] = {
    "append": lambda headers, header: headers.append(header),
    "extend": lambda headers, header: headers.extend([header]),
    "insert": lambda headers, header: headers.insert(0, header),
    "+=": _add,
    "[0] =": _assign,
    "[:] =": _assign_slice,
}


@pytest.mark.parametrize("add", WAYS.values(), ids=WAYS)
def test_a_header_is_added_in_lower_case(add: Callable[[ResponseHeaders, Any], None]) -> None:
    """ASGI allows only lower-case names."""
    headers = ResponseHeaders()
    add(headers, ("X-Note", "fine"))
    assert headers == [("x-note", "fine")]


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("x-note: fine", TypeError),
        (("x-note",), TypeError),
        (("x note", "fine"), ValueError),
        (("", "fine"), ValueError),
        (("x-note", 1), ValueError),
        (("x-note", "a\r\nset-cookie: b"), ValueError),
        (("x-note", "snow \N{SNOWMAN}"), ValueError),
        (("Content-Length", "3"), ValueError),
        (("transfer-encoding", "chunked"), ValueError),
    ],
)
@pytest.mark.parametrize("add", WAYS.values(), ids=WAYS)
def test_a_wrong_header_is_refused(
    add: Callable[[ResponseHeaders, Any], None], header: Any, kind: type[Exception]
) -> None:
    """Whichever way it is added."""
    with pytest.raises(kind, match="header"):
        add(ResponseHeaders(), header)


@pytest.mark.parametrize("header", [("X-Again", "a\r\nb"), ("X-Again", 1), ["X-Again", "b"], ("X-Again",)], ids=repr)
def test_a_mistake_is_found_however_often_the_name_was_right(header: Any) -> None:
    """A name that is known to be valid is not checked again; the rest of the header is."""
    headers = ResponseHeaders()
    headers.append(("X-Again", "a"))
    with pytest.raises((TypeError, ValueError)):
        headers.append(header)
    headers.append(("X-Again", "b"))
    assert headers == [("x-again", "a"), ("x-again", "b")]


@pytest.mark.parametrize("kind", [tuple, list, iter])
def test_headers_for_every_response_are_checked_alike(kind: Callable[[Any], Any]) -> None:
    """A tuple is remembered, and a wrong one is refused again each time."""
    for _ in range(2):
        assert list(checked_headers(kind([("X-A", "1"), ("x-b", "2")]))) == [("x-a", "1"), ("x-b", "2")]
        with pytest.raises(ValueError, match="header"):
            checked_headers(kind([("X-A", "1"), ("x-b", "a\r\nb")]))
