"""Checks of what a program passes to the client, before anything is sent: each message has the name and the fix."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import httpx2

from penstock_client.endpoint_breaker import BreakerSettings
from penstock_client.hedging import Hedge
from penstock_client.hidden_values import HiddenHeaders, hidden_headers
from penstock_client.limits import Limits
from penstock_client.retry_settings import Retries
from penstock_client.timeouts import Timeouts

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SETTINGS: Final[Mapping[str, tuple[type, str]]] = {
    "timeouts": (Timeouts, "Timeouts(total={0})"),
    "retries": (Retries, "Retries(max_attempts={0})"),
    "limits": (Limits, "Limits(max_connections={0})"),
    "breaker": (BreakerSettings, "BreakerSettings(calls={0})"),
    "hedge": (Hedge, "Hedge(after={0})"),
}


def require_settings(**settings: Any) -> None:
    """Raise ``TypeError`` unless each setting that is not None has the class that belongs to its name."""
    for name, value in settings.items():
        kind, fix = _SETTINGS[name]
        if value is None or isinstance(value, kind):
            continue
        if value is False:
            fix = {"retries": "Retries(max_attempts=1)", "breaker": "None", "hedge": "None"}.get(
                name, f"{kind.__name__}()"
            )
            raise TypeError(f"{name}=False turns nothing off; write {name}={fix}")
        example = fix.format(value) if _is_number(value) else f"{kind.__name__}(...)"
        raise TypeError(f"{name}={_shown(value)} is not {kind.__name__}; write {name}={example}")


def require_http_client(value: Any, kind: type, owner: str) -> None:
    """Raise ``TypeError`` unless the value is None, or a client of httpx2 to send with, or a function returning one."""
    if value is not None and not isinstance(value, kind) and not callable(value):
        raise TypeError(f"http_client={_shown(value)}: {owner} sends with an httpx2.{kind.__name__}")


def server_url(url: Any) -> httpx2.URL:
    """Return the address of a server.

    Raises
    ------
    TypeError
        If it is not text.
    ValueError
        If it is not the address of a server, or has a password.
    """
    if not isinstance(url, str):
        raise TypeError(f"the server's address is text, and not {_shown(url)}; write 'http://host:port'")
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ValueError(f"the server's address cannot be read: {error}; write http://host:port") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        shown = without_password(parsed) if "@" in url else url
        raise ValueError(f"{shown!r} is not a server's address; write http://host:port")
    if parsed.userinfo:
        raise ValueError("a name or a password in the server's address would be in logs; use key= or headers=")
    if parsed.query or parsed.fragment:
        raise ValueError("the server's address has a query or a fragment; write it into the endpoints")
    return parsed


def without_password(url: httpx2.URL) -> str:
    """Return the server of a URL, for messages and logs."""
    port = f":{url.port}" if url.port else ""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}{port}" if url.scheme else host or url.path


def require_endpoint(endpoint: Any) -> None:
    """Raise ``TypeError`` or ``ValueError`` unless this may be the path of an endpoint."""
    if not isinstance(endpoint, str):
        raise TypeError(f"an endpoint is its path, such as 'classify', and not {_shown(endpoint)}")
    if not endpoint.strip("/ ") or endpoint.startswith("?"):
        raise ValueError(f"endpoint={endpoint!r} has no path; write that of an endpoint, such as 'classify'")
    if not endpoint.isprintable():
        raise ValueError(f"endpoint={endpoint!r} has a character that a path cannot have; quote it with urllib.parse")
    if "://" in endpoint.partition("?")[0]:
        raise ValueError(f"endpoint={endpoint!r} has an address; write the path alone: the client has the address")


def require_method(method: Any) -> None:
    """Raise ``TypeError`` or ``ValueError`` unless this is a method, in capitals."""
    if not isinstance(method, str):
        raise TypeError(f"method={_shown(method)}: write its name, such as 'GET'")
    if not _TOKEN.fullmatch(method) or method != method.upper():
        raise ValueError(f"method={method!r} is not a method; write it in capitals, such as 'GET'")


def require_seconds(name: str, value: Any) -> None:
    """Raise ``TypeError`` or ``ValueError`` unless the value is a positive, finite number of seconds."""
    if not _is_number(value):
        raise TypeError(f"{name}={_shown(value)}: give seconds above 0, as a number")
    if not 0 < value < math.inf:
        raise ValueError(f"{name}={value!r}: give seconds above 0")


def require_size(name: str, value: int | None) -> None:
    """Raise ``ValueError`` unless the value is a size in bytes, or None."""
    if value is not None and not value >= 0:
        raise ValueError(f"{name}={value!r}: give bytes, 0 or more, or None for no limit")


def can_be_sent(value: Any) -> bool:
    """Return whether this may be the value of a header."""
    return isinstance(value, str) and value.isascii() and value.isprintable() and value != "" and value == value.strip()


def refuse(name: str, kind: type) -> NoReturn:
    """Raise ``TypeError`` or ``ValueError`` for a value of this class. It is not an argument: tracebacks show those."""
    if kind is not str:
        raise TypeError(f"{name} is text, and not {kind.__name__}")
    raise ValueError(f"{name} cannot be sent; give printable ASCII characters without spaces at the ends")


def sendable(headers: Mapping[str, str]) -> HiddenHeaders:
    """Return the headers with names in lower case, so that one replaces another whatever its spelling."""
    hidden = hidden_headers(headers)
    names: list[Any] = list(hidden)
    unfit = [name for name in names if not isinstance(name, str) or not _TOKEN.fullmatch(name)]
    if unfit:
        raise ValueError(f"{unfit[0]!r} is not the name of a header")
    refused = [(name, type(value)) for name, value in hidden.items() if not can_be_sent(value)]
    if refused:
        refuse(f"the header {refused[0][0]!r}", refused[0][1])
    return HiddenHeaders({name.lower(): value for name, value in hidden.items()})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"a {type(value).__name__}"
