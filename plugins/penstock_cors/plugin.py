"""The plug-in ``cors``: its settings, and the headers that it adds to every response."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from penstock.hooks import PluginSettings, ResponseHead, hookimpl
from penstock_cors.origins import MOST_REMEMBERED, AllowedOrigins

ANY: Final = "*"
LONGEST_AGE: Final = 86_400
"""Seconds. No browser remembers a preflight for longer: Chromium for two hours, Firefox for a day."""
MOST_ASKED_HEADERS: Final = 100

EXPOSED: Final = (
    "X-Request-Id",
    "Server-Timing",
    "Retry-After",
    "X-Should-Retry",
    "RateLimit",
    "RateLimit-Policy",
    "Inference-Header-Content-Length",
)

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.1; a method is one, too
_ASKED_METHOD: Final = "access-control-request-method"
_ASKED_HEADERS: Final = "access-control-request-headers"
_VARY: Final = ("vary", "Origin")

Headers = tuple[tuple[str, str], ...]
HeadersOf = Callable[[ResponseHead], Headers]


class CorsSettings(PluginSettings, frozen=True, kw_only=True):
    """The settings for CORS.

    Parameters
    ----------
    origins:
        The origins whose pages may call the server and read its responses; none by default. ``*`` stands for all.
    methods:
        The methods that they may use. Default: those that the path takes.
    headers:
        The request headers that they may set; a name may end in ``*``. Default: all. Preflights are answered with the
        names that were asked for, never with ``*``, which does not cover ``Authorization``.
    exposed:
        The response headers that they may read, beside those that every page may read.
    credentials:
        True to let pages send cookies and client certificates. It cannot be combined with all origins.
    max_age:
        Seconds for which a browser may remember the answer to a preflight.

    Raises
    ------
    ValueError
        If an origin, a method or a name is not valid, or if credentials are allowed for all origins.
    """

    origins: tuple[str, ...] = ()
    methods: tuple[str, ...] = (ANY,)
    headers: tuple[str, ...] = (ANY,)
    exposed: tuple[str, ...] = EXPOSED
    credentials: bool = False
    max_age: int = 7200

    def __post_init__(self) -> None:
        origins = AllowedOrigins(self.origins)
        if origins.is_any and self.credentials:
            raise ValueError(
                'credentials = true with origins = "*" would let every page on the web act as its visitor; name the '
                "origins, or leave credentials out: a key in the Authorization header needs none"
            )
        if origins.has_opaque and self.credentials:
            raise ValueError('credentials = true cannot be combined with the origin "null", which any page can have')
        for setting in ("methods", "headers", "exposed"):
            for name in getattr(self, setting):
                if not _NAME.fullmatch(name):
                    raise ValueError(f"{setting}: {name!r} is not a valid name")
        if not 0 <= self.max_age <= LONGEST_AGE:
            raise ValueError(f"max_age must be from 0 to {LONGEST_AGE} seconds, not {self.max_age}")


class CorsPlugin:
    """Adds the headers by which browsers let pages of other origins read responses, and answers preflights.

    Every path answers ``OPTIONS`` before any policy is asked, so a preflight needs nothing but the right headers.

    Parameters
    ----------
    settings:
        The settings for CORS.
    """

    Settings = CorsSettings

    def __init__(self, settings: CorsSettings) -> None:
        self._settings = settings
        self._origins = AllowedOrigins(settings.origins)
        self._methods = frozenset(method.upper() for method in settings.methods)
        self._header_names = frozenset(name.lower() for name in settings.headers if not name.endswith(ANY))
        self._header_prefixes = tuple(name[:-1].lower() for name in settings.headers if name.endswith(ANY))

    @hookimpl
    def penstock_response_headers(self) -> HeadersOf | None:
        """Add the headers for the request's origin to every response."""
        if not self._settings.origins:
            return None
        return self._for_any_origin() if self._origins.is_any else self._for_each_origin()

    def _for_any_origin(self) -> HeadersOf:
        # Also without an Origin, so that a cache may keep the response for pages and other clients alike.
        usual = self._reading_headers(ANY)

        def headers_of(head: ResponseHead) -> Headers:
            return self._preflight_headers(ANY, head) if _is_preflight(head) else usual

        return headers_of

    def _for_each_origin(self) -> HeadersOf:
        reading_headers = lru_cache(MOST_REMEMBERED)(self._reading_headers)

        def headers_of(head: ResponseHead) -> Headers:
            origin = head.header("origin")
            if origin is None or origin not in self._origins:
                return (_VARY,)
            return (_VARY, *self._preflight_headers(origin, head)) if _is_preflight(head) else reading_headers(origin)

        return headers_of

    def _reading_headers(self, origin: str) -> Headers:
        headers = [*self._access_headers(origin), ("timing-allow-origin", origin)]
        if self._settings.exposed:
            headers.append(("access-control-expose-headers", ", ".join(self._settings.exposed)))
        return tuple(headers) if origin == ANY else (_VARY, *headers)

    def _access_headers(self, origin: str) -> Headers:
        credentials = (("access-control-allow-credentials", "true"),) if self._settings.credentials else ()
        return (("access-control-allow-origin", origin), *credentials)

    def _preflight_headers(self, origin: str, head: ResponseHead) -> Headers:
        allowed = [method for method in _listed(head.headers["allow"]) if self._allows_method(method)]
        asked = _listed(head.header(_ASKED_HEADERS) or "")[:MOST_ASKED_HEADERS]
        names = [name for name in dict.fromkeys(asked) if _NAME.fullmatch(name) and self._allows_header(name.lower())]
        return (
            *self._access_headers(origin),
            ("access-control-allow-methods", ", ".join(allowed)),
            *([("access-control-allow-headers", ", ".join(names))] if names else []),
            ("access-control-max-age", str(self._settings.max_age)),
        )

    def _allows_method(self, method: str) -> bool:
        return method != "OPTIONS" and (ANY in self._methods or method in self._methods)

    def _allows_header(self, name: str) -> bool:
        return name in self._header_names or name.startswith(self._header_prefixes)


def _is_preflight(head: ResponseHead) -> bool:
    """Return whether this is the answer to a preflight, from a path that exists."""
    return head.method == "OPTIONS" and head.header(_ASKED_METHOD) is not None and "allow" in head.headers


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
