"""The plug-in: the audit line, the limit on the length of a drain, and, if a key is set, the routes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from penstock.hooks import PluginSettings, Record, Route, Secret, ShutdownRequest, hookimpl
from penstock_shutdown.audit import Audit
from penstock_shutdown.operations import Operations
from penstock_shutdown.shutdown_key import ShutdownKey


class ShutdownSettings(PluginSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limit on shutdowns, and the key of the routes.

    Parameters
    ----------
    max_drain:
        Longest drain in seconds, whether a signal or a caller requests it; None: only the server's own limit applies.
    key:
        The key that callers of the routes must send. Without a key there are no routes.
    key_file:
        Path of a file that contains the key, in place of ``key``.
    """

    max_drain: Annotated[float, msgspec.Meta(ge=0, le=86_400)] | None = None
    key: Secret | None = None
    key_file: str | None = None

    def __post_init__(self) -> None:
        if self.key is not None and self.key_file is not None:
            raise ValueError("both key and key_file are set; set only one of them")


class ShutdownPlugin:
    """Audits every shutdown, limits its length, and lets callers with the key request it over HTTP.

    Parameters
    ----------
    settings:
        The limit, and the key.
    clock:
        Returns the seconds of a monotonic clock.

    Raises
    ------
    PluginError
        If the key is too weak, or its file cannot be read.
    """

    name = "shutdown"
    Settings = ShutdownSettings

    def __init__(self, settings: ShutdownSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_drain = settings.max_drain
        self._clock = clock
        self._audit = Audit(clock)
        self._key: ShutdownKey | None = None
        if settings.key is not None:
            self._key = ShutdownKey(settings.key)
        elif settings.key_file is not None:
            self._key = ShutdownKey.from_file(Path(settings.key_file))

    @hookimpl
    def penstock_observer(self) -> Mapping[type[Record], Callable[[Any], None]]:
        """Return the observers that write the audit line."""
        return self._audit.observers()

    @hookimpl
    def penstock_shutdown_policy(self) -> Callable[[ShutdownRequest], float] | None:
        """Return the policy that caps every drain at ``max_drain``, or None if that is not set."""
        limit = self._max_drain
        return None if limit is None else lambda request: min(request.drain, limit)

    @hookimpl
    def penstock_cli_commands(self) -> Iterable[Any]:
        """Return the command ``scale``."""
        from penstock_shutdown.scale_command import scale  # noqa: PLC0415 - a server does not need click

        return [scale]

    @hookimpl
    def penstock_routes(self) -> Iterable[Route] | None:
        """Return the routes, or None if no key is set."""
        return None if self._key is None else Operations(self._key, self._audit, self._clock).routes()
