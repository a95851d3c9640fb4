"""Gets a key set over HTTPS: with bounds on time and size, and without following anybody anywhere."""

from __future__ import annotations

import time
from typing import Any, Final
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

MOST_BYTES: Final = 1 << 20
_PIECE_BYTES = 1 << 16


class _NoRedirects(HTTPRedirectHandler):
    """Whoever can redirect a fetch of keys decides who may sign: a redirect is an error."""

    def redirect_request(self, *_request_and_answer: Any) -> None:
        return None


def fetch(url: str, timeout: float) -> bytes:
    """Get what is behind a URL.

    Parameters
    ----------
    url:
        ``https``, or ``http`` on this machine; the settings have seen to that.
    timeout:
        Seconds for each answer of the network, and for the whole, which may take one such answer longer.

    Raises
    ------
    OSError
        If it cannot be had, or not in time.
    ValueError
        If it is too large.
    """
    give_up_at = time.monotonic() + timeout
    # A proxy is for the world outside.
    proxies = [] if url.startswith("https:") else [ProxyHandler({})]
    opener = build_opener(_NoRedirects, *proxies)
    request = Request(url, headers={"Accept": "application/json", "User-Agent": "penstock"})  # noqa: S310 - see above
    content = bytearray()
    with opener.open(request, timeout=timeout) as response:
        while piece := response.read1(_PIECE_BYTES):
            content += piece
            if len(content) > MOST_BYTES:
                raise ValueError(f"the answer is larger than {MOST_BYTES >> 20} MiB")
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"the answer took longer than {timeout:g} s")
    return bytes(content)
