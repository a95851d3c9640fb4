"""Connections of httpx2 that keep to a deadline, and that do not take the rest of one response for the next.

httpx2 makes its connections itself, and shows each to the trace. There, its class is replaced by one derived from it.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from typing import Any, Final

import httpx2

_STALE: Final = "the connection had bytes beyond the end of an earlier response"
_WATCHED: Final[dict[type[Any], Any]] = {}
_CONNECTED: Final = (".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")


class _Limit(threading.local):
    """The instant by which the reads of this thread must be over."""

    instant = math.inf


_limit = _Limit()


class ReadDeadline:
    """Bounds all reads of a block together.

    httpx2 without a loop has a time-out for each read, so a head that arrives byte by byte would outlive any deadline.
    """

    __slots__ = ("_instant",)

    def __init__(self, instant: float) -> None:
        self._instant = instant

    def __enter__(self) -> None:
        _limit.instant = self._instant

    def __exit__(self, *error: object) -> None:
        _limit.instant = math.inf


def watch_connection(name: str, info: Any) -> None:
    """Watch the connection that an event of the trace is about, if it is a new one."""
    if not name.endswith(_CONNECTED):
        return
    connection = info["return_value"]
    kind = type(connection)
    if kind not in _WATCHED:
        _WATCHED[kind] = _watched(kind)
    with contextlib.suppress(TypeError):  # the user's own, with slots: it stays as it is
        connection.__class__ = _WATCHED[kind]


def _watched(kind: Any) -> Any:
    """Return the class of connections that keep to ``ReadDeadline``, and know whether they were read after a write."""

    class Watched(kind):  # type: ignore[misc] # the class is the transport's, which knows it only at run time
        was_read = False

        def read(self, max_bytes: int, timeout: float | None = None) -> Any:
            self.was_read = True
            if _limit.instant < math.inf:
                left = max(1e-6, _limit.instant - time.monotonic())
                timeout = left if timeout is None else min(timeout, left)
            return super().read(max_bytes, timeout)

        def write(self, buffer: bytes, timeout: float | None = None) -> Any:
            self.was_read = False
            return super().write(buffer, timeout)

    return Watched


def fresh(response: httpx2.Response) -> httpx2.Response:
    """Return the response; close it if it was there before its request.

    Raises
    ------
    httpx2.RemoteProtocolError
        If it was.
    """
    if _is_stale(response):
        response.close()
        raise httpx2.RemoteProtocolError(_STALE)
    return response


async def fresh_async(response: httpx2.Response) -> httpx2.Response:
    """Do the same with an async transport."""
    if _is_stale(response):
        await response.aclose()
        raise httpx2.RemoteProtocolError(_STALE)
    return response


def _is_stale(response: httpx2.Response) -> bool:
    """Return whether a response was there before its request: the connection was not read after the last write.

    The server has sent more than the length of an earlier response, and this is the rest of it.
    """
    was_read = getattr(response.extensions.get("network_stream"), "was_read", True)
    # With HTTP/2, one read has pieces of several responses.
    return not was_read and response.http_version != "HTTP/2"
