"""Headers that are added to a finished response: each has one value, and ``Vary`` keeps what it has."""

from __future__ import annotations

from collections.abc import Iterable

from penstock_falcon.responses import HttpResponse

VARY = "vary"


def headers_of(response: HttpResponse) -> dict[str, str]:
    """Return all headers of a response by lower-case name, those of the handler included."""
    headers = {name.lower(): value for name, value in (response.handler_headers or {}).items()}
    headers.update(response.headers)
    return headers


def add_headers(response: HttpResponse, headers: Iterable[tuple[str, str]]) -> None:
    """Add pairs of a lower-case name and a value. They replace those of these names, except ``Vary``."""
    present = dict(response.headers)
    for name, value in headers:
        present[name] = value if name != VARY else _united_vary(response, present.get(VARY), value)
    response.headers = list(present.items())


def _united_vary(response: HttpResponse, present: str | None, more: str) -> str:
    if present is None and not response.handler_headers:
        return more
    values = [value for name, value in (response.handler_headers or {}).items() if name.lower() == VARY]
    names = ",".join([*values, present or "", more]).split(",")
    united = {name.strip().lower(): name.strip() for name in names if name.strip()}
    return "*" if "*" in united else ", ".join(united.values())
