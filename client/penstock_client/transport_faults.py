"""The reports of httpx2, in the words of the retry table."""

from __future__ import annotations

from typing import Any, Final

import anyio
import httpx2

from penstock_client.connect_failures import alert_of, chain_of, connect_detail
from penstock_client.plan_messages import RequestFailed
from penstock_client.retry_table import Fault
from penstock_client.watched_connections import watch_connection

_EXACT: Final[dict[type[Exception], Fault]] = {
    httpx2.ConnectTimeout: Fault.CONNECT_TIMEOUT,
    httpx2.PoolTimeout: Fault.POOL_TIMEOUT,
    httpx2.WriteTimeout: Fault.WRITE_TIMEOUT,
    httpx2.ReadTimeout: Fault.FIRST_BYTE_TIMEOUT,
    httpx2.ConnectError: Fault.CONNECT,
    httpx2.ProxyError: Fault.CONNECT,
    httpx2.UnsupportedProtocol: Fault.CONNECT,
}
_CONNECT: Final = {Fault.CONNECT, Fault.CONNECT_TIMEOUT}
_TIMEOUTS: Final = {
    Fault.CONNECT_TIMEOUT,
    Fault.POOL_TIMEOUT,
    Fault.WRITE_TIMEOUT,
    Fault.FIRST_BYTE_TIMEOUT,
}
BROKEN: Final = (httpx2.HTTPError, httpx2.StreamError, OSError)
"""The exceptions of a transport. With asyncio, errors of TLS come as they are: ``ssl.SSLError``."""


def detail_of(error: BaseException | None) -> str:
    """Return the text of an exception, or of its cause if it has none: with a loop, the outer ones are empty."""
    return next((text for each in chain_of(error) if (text := str(each))), "")


def _is_refused(error: BaseException) -> bool:
    """Return whether the server has ended the handshake: with TLS 1.3, a client hears of it after its own end."""
    return any(map(alert_of, chain_of(error)))


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
        self._is_tunneling = False  # a proxy has been asked for a tunnel, through which nothing was sent yet
        self._is_sent = False
        self._plain: Any = None  # the connection before TLS

    def __call__(self, name: str, info: Any) -> None:
        """Note an event of the transport: of all of them, few matter."""
        self._is_traced = True
        if name.endswith("send_request_headers.started"):
            self._is_tunneling = getattr(info.get("request"), "method", b"") == b"CONNECT"
        elif name.endswith("send_request_body.complete"):
            self._is_sent = not self._is_tunneling
        elif name.startswith(("connection.", "socks.")):
            self._has_connected = self._has_connected or name.startswith(("connection.connect", "socks.connect"))
            watch_connection(name, info)

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
        if self._is_tunneling:
            fault = Fault.CONNECT_TIMEOUT if fault in _TIMEOUTS else Fault.CONNECT
        elif fault is Fault.LOST and not self.is_reused and _is_refused(error):
            fault = Fault.CONNECT
        if fault in _TIMEOUTS and now >= deadline - 0.001:
            return self.out_of_time()
        detail = connect_detail(error) if fault in _CONNECT else detail_of(error)
        return RequestFailed(fault, detail, is_sent=self.is_sent, is_reused=self.is_reused)

    def out_of_time(self) -> RequestFailed:
        """Return the event for a request that was on its way at the deadline."""
        return RequestFailed(Fault.TOTAL_TIMEOUT, is_sent=self.is_sent)
