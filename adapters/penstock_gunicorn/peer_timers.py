"""The time for which a client has made no progress, measured from outside at each sweep of ``PeerWatch``."""

from __future__ import annotations

import socket
import struct
from typing import Any

from penstock_gunicorn.peer_settings import PeerSettings

# The place of ``tcpi_bytes_acked`` in the kernel's ``struct tcp_info``.
_ACKED = struct.Struct("=120xQ")


class UploadTimer:
    """Measures one body that is being received.

    Parameters
    ----------
    request:
        The number of the request on its connection.
    now:
        The present instant.
    received_bytes:
        The number of bytes that the connection has received.
    """

    __slots__ = ("_advanced_at", "_begun_at", "_begun_bytes", "_received_bytes", "request")

    def __init__(self, request: int, now: float, received_bytes: int) -> None:
        self.request = request
        self._begun_at = self._advanced_at = now
        self._begun_bytes = self._received_bytes = received_bytes

    def is_too_slow(self, now: float, received_bytes: int, settings: PeerSettings) -> bool:
        """Return whether nothing has come for the whole ``body_timeout``, or too little in the last one."""
        if received_bytes != self._received_bytes:
            self._received_bytes, self._advanced_at = received_bytes, now
        if now - self._advanced_at >= settings.body_timeout:
            return True
        seconds = now - self._begun_at
        if seconds < settings.body_timeout:
            return False
        arrived_bytes = received_bytes - self._begun_bytes
        self._begun_at, self._begun_bytes = now, received_bytes
        return arrived_bytes < settings.min_body_rate * seconds


class UnreadTimer:
    """Measures for how long nothing of a response has been read.

    A buffer that shrinks is progress. One that does not may have been filled again meanwhile, which shows in the number
    of times that writing went on, and in what the client's kernel has acknowledged.

    Attributes
    ----------
    progressed_at:
        The instant at which the client was last seen to read.
    """

    __slots__ = ("_acked", "_resumptions", "_unsent_bytes", "progressed_at")

    def __init__(self, now: float) -> None:
        self.progressed_at = now
        self._unsent_bytes = 0
        self._resumptions = self._acked = -1

    def update(self, now: float, unsent_bytes: int, resumptions: int, sock: Any) -> None:
        """Compare the state of the connection with that at the last sweep."""
        acked = _acked_bytes(sock)
        if unsent_bytes < self._unsent_bytes or resumptions != self._resumptions or acked != self._acked:
            self.progressed_at = now
        self._unsent_bytes, self._resumptions, self._acked = unsent_bytes, resumptions, acked


def _acked_bytes(sock: Any) -> int:
    """Return the bytes that the peer has acknowledged; 0 if this is not TCP, or the kernel does not say."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.size)
        (acked,) = _ACKED.unpack(info)
    except (OSError, struct.error):
        return 0
    return int(acked)
