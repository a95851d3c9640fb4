"""Fetching a key set over HTTPS, with limits on time and size, and without following redirects."""

from __future__ import annotations

import time
from typing import Any, Final
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

MOST_BYTES: Final = 1 << 20
_PIECE_BYTES = 1 << 16


class _NoRedirects(HTTPRedirectHandler):
    """A handler that makes a redirect an error: a party that can redirect this fetch decides who may sign tokens."""

    def redirect_request(self, *_request_and_answer: Any) -> None:
        return None


def fetch(url: str, timeout: float) -> bytes:
    """Return the content of a URL.

    Parameters
    ----------
    url:
        An ``https`` URL, or an ``http`` URL on this machine; ``JwtSettings`` has checked that.
    timeout:
        Seconds for each network operation, and for the whole fetch, which may overrun by one such operation.

    Raises
    ------
    OSError
        If the fetch fails or takes too long.
    ValueError
        If the content is too large.
    """
    give_up_at = time.monotonic() + timeout
    # Plain http is allowed to this machine only, and must not go through a proxy.
    proxies = [] if url.startswith("https:") else [ProxyHandler({})]
    opener = build_opener(_NoRedirects, *proxies)
    request = Request(url, headers={"Accept": "application/json", "User-Agent": "penstock"})  # noqa: S310 - see above
    content = bytearray()
    with opener.open(request, timeout=timeout) as response:
        while piece := response.read1(_PIECE_BYTES):
            content += piece
            if len(content) > MOST_BYTES:
                raise ValueError(f"the response is larger than {MOST_BYTES >> 20} MiB")
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"the response took longer than {timeout:g} s")
    return bytes(content)
