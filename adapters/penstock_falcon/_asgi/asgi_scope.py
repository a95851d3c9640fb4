"""The types of the ASGI specification; and scopes, which servers make differently, in the form that Falcon reads."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

# RFC 9112, section 3.2.2: every server must accept the absolute form, which clients use with proxies.
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


def normalized(scope: Scope) -> Scope:
    """Return an HTTP scope with its quirks removed; ``scope`` itself if it has none.

    - A framework that mounts this application, or a server behind a proxy, names its prefix in ``root_path`` and leaves
      it in ``path``. Endpoints are found without it.
    - Some servers pass on a target in absolute form.
    - Granian calls HTTP/1.0 "1", which Falcon refuses.
    - Falcon decodes the query string where no error handler applies.
    """
    path = scope["path"]
    prefix = scope.get("root_path")
    if prefix or path[:1] != "/" or scope["http_version"] == "1" or not scope["query_string"].isascii():
        return {**scope, **_changes(scope, path, prefix)}
    return scope


def _prefix_removed(path: str, prefix: str) -> str:
    rest = path.removeprefix(prefix)
    return rest if rest[:1] == "/" or _ABSOLUTE.match(rest) else path


def _absolute_removed(path: str) -> str:
    absolute = _ABSOLUTE.match(path)
    return (path[absolute.end() :] or "/") if absolute else path


def _changes(scope: Scope, path: str, prefix: str | None) -> Scope:
    changes: Scope = {"path": _absolute_removed(_prefix_removed(path, (prefix or "").rstrip("/")))}
    if scope["http_version"] == "1":
        changes["http_version"] = "1.0"
    if not scope["query_string"].isascii():
        changes["query_string"] = b""
    return changes
