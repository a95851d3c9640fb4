"""Notifications for the supervisor, in the protocol of systemd: ready, reloading, stopping, and signs of life.

Only the master sends them: by default, systemd accepts none of other processes. See sd_notify(3).
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Final

MICROSECONDS: Final = 1_000_000
_SOCKET, _WATCHDOG, _WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
_VARIABLES: Final = (_SOCKET, _WATCHDOG, _WATCHDOG_PID)


class Supervisor:
    """The supervisor of this server. Without one, all methods do nothing.

    Parameters
    ----------
    environ:
        The environment of the master. The variables for it are removed: its children are not to use them.

    Attributes
    ----------
    interval:
        Seconds between two signs of life: half of what the supervisor waits for one; infinite if it does not.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        values = {name: environ.pop(name, "") for name in _VARIABLES}
        self._address = values[_SOCKET]
        if self._address.startswith("@"):
            self._address = f"\0{self._address[1:]}"
        self.interval = _interval(values, environ) if self._address else math.inf
        self._next_sign = 0.0
        self._was_ready = False

    def loading(self) -> None:
        """Notify that the app is being loaded."""
        self._send("STATUS=loading the app and its models")

    def ready(self, status: str = "ready") -> None:
        """Notify that the server, or its next generation, is ready."""
        self._was_ready = True
        self._send("READY=1", f"STATUS={_line(status)}")

    def reloading(self) -> None:
        """Notify that the app is loaded again; ``ready`` ends that."""
        now = int(time.monotonic() * MICROSECONDS)
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=loading the app again; the old one serves")

    def stopping(self, seconds: float) -> None:
        """Notify that the server stops, and ask for this time."""
        limit = int(seconds * MICROSECONDS)
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={limit}", "STATUS=finishing admitted work")

    def succeeded_by(self, pid: int) -> None:
        """Notify that another process is the master from now on, because this one ends."""
        self._send(f"MAINPID={pid}")

    def watched(self, *, is_ready: bool, heartbeats: Iterable[float], patience: float) -> None:
        """Notify that the server is ready, once it is, and at the supervisor's interval that it works.

        Parameters
        ----------
        is_ready:
            True once the generation that serves is ready.
        heartbeats:
            The instants of the latest heartbeats of the HTTP processes. One that is not too old is enough.
        patience:
            Seconds after which a heartbeat is too old.
        """
        if is_ready and not self._was_ready:
            self.ready()
        now = time.monotonic()
        if now >= self._next_sign and any(now - heartbeat <= patience for heartbeat in heartbeats):
            self._next_sign = now + self.interval
            if self.interval < math.inf:
                self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # A supervisor that restarts, or has no time, is not worth an error; the next notification may arrive.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), self._address)


def _interval(values: Mapping[str, str], environ: Mapping[str, str]) -> float:
    # A master that was started by SIGUSR2 has inherited the variable with the number of the old one.
    is_ours = values[_WATCHDOG_PID] in {"", str(os.getpid())} or "GUNICORN_PID" in environ
    text = values[_WATCHDOG]
    return int(text) / MICROSECONDS / 2 if is_ours and text.isdecimal() and int(text) else math.inf


def _line(text: str) -> str:
    return " ".join(text.split())
