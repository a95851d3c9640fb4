"""The reports of httpx2, in the words of the retry table, and what its connections need to keep a call's promises."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import anyio
import httpx2

from penstock_client.plan_messages import RequestFailed
from penstock_client.retry_table import Fault

_EXACT: Final[dict[type[Exception], Fault]] = {
    httpx2.ConnectTimeout: Fault.CONNECT_TIMEOUT,
    httpx2.PoolTimeout: Fault.POOL_TIMEOUT,
    httpx2.WriteTimeout: Fault.WRITE_TIMEOUT,
    httpx2.ReadTimeout: Fault.FIRST_BYTE_TIMEOUT,
    httpx2.ConnectError: Fault.CONNECT,
    httpx2.ProxyError: Fault.CONNECT,
    httpx2.UnsupportedProtocol: Fault.CONNECT,
}
_TIMEOUTS: Final = {
    Fault.CONNECT_TIMEOUT,
    Fault.POOL_TIMEOUT,
    Fault.WRITE_TIMEOUT,
    Fault.FIRST_BYTE_TIMEOUT,
}
_STALE: Final = "the connection had bytes beyond the end of an earlier response"
_WATCHED: Final[dict[type[Any], Any]] = {}
_CONNECTED: Final = (".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")


class _Limit(threading.local):
    """The instant by which the reads of this thread must be over."""

    instant = math.inf


_limit = _Limit()


@contextlib.contextmanager
def reads_end_by(instant: float) -> Iterator[None]:
    """Bound all reads of the block together.

    httpx2 without a loop has a time-out for each read, so a head that arrives byte by byte would outlive any deadline.
    """
    _limit.instant = instant
    try:
        yield
    finally:
        _limit.instant = math.inf


def _watched(kind: Any) -> Any:
    """Return the class of connections that keep to ``reads_end_by``, and know whether they were read after a write."""

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


def _watch(connection: Any) -> None:
    kind = type(connection)
    if kind not in _WATCHED:
        _WATCHED[kind] = _watched(kind)
    with contextlib.suppress(TypeError):  # the user's own, with slots: it stays as it is
        connection.__class__ = _WATCHED[kind]


class RequestTrace:
    """The progress of a request, by httpx2's trace.

    Parameters
    ----------
    is_certain:
        True if the transport is known to report its progress. Another one is, once it has reported anything; until
        then the request counts as sent.
    """

    def __init__(self, *, is_certain: bool) -> None:
        self._is_traced = is_certain
        self._has_connected = False
        self._is_sent = False
        self._plain: Any = None  # the connection before TLS

    def __call__(self, name: str, info: Any) -> None:
        """Note an event of the transport: of all of them, few matter."""
        self._is_traced = True
        if name.endswith("send_request_body.complete"):
            self._is_sent = True
        elif name.startswith("connection."):
            self._has_connected = self._has_connected or name.startswith("connection.connect")
            if name.endswith(_CONNECTED):
                _watch(info["return_value"])

    async def note(self, name: str, info: Any) -> None:
        """Note an event of an async transport, and close the connection if its TLS handshake was cancelled.

        The transport closes it after an error only; a cancelled handshake would leave it to the garbage collector.
        """
        self(name, info)
        if not self._has_connected:
            return
        if name.endswith(".connect_tcp.complete"):
            self._plain = info["return_value"]
        elif self._plain is not None and name.endswith(".start_tls.failed"):
            with anyio.CancelScope(shield=True):
                await self._plain.aclose()

    @property
    def is_sent(self) -> bool:
        """True if the server may have the whole request."""
        return self._is_sent or not self._is_traced

    @property
    def is_reused(self) -> bool:
        """True if the request was sent on a connection that had served others."""
        return self._is_traced and not self._has_connected

    def failed(self, error: Exception, now: float, deadline: float) -> RequestFailed:
        """Return the event for an exception in place of a response."""
        fault = _EXACT.get(type(error)) or (Fault.LOST if self.is_sent else Fault.UNSENT)
        if fault in _TIMEOUTS and now >= deadline - 0.001:
            return self.out_of_time()
        return RequestFailed(fault, str(error), is_sent=self.is_sent, is_reused=self.is_reused)

    def fresh(self, response: httpx2.Response) -> httpx2.Response:
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

    async def fresh_async(self, response: httpx2.Response) -> httpx2.Response:
        """Do the same with an async transport."""
        if _is_stale(response):
            await response.aclose()
            raise httpx2.RemoteProtocolError(_STALE)
        return response

    def out_of_time(self) -> RequestFailed:
        """Return the event for a request that was on its way at the deadline."""
        return RequestFailed(Fault.TOTAL_TIMEOUT, is_sent=self.is_sent)


def _is_stale(response: httpx2.Response) -> bool:
    """Return whether a response was there before its request: the connection was not read after the last write.

    The server has sent more than the length of an earlier response, and this is the rest of it.
    """
    was_read = getattr(response.extensions.get("network_stream"), "was_read", True)
    # With HTTP/2, one read has pieces of several responses.
    return not was_read and response.http_version != "HTTP/2"
