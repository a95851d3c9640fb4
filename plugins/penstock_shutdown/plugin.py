"""The plug-in: the audit line, the limit on a drain's time, and, where there is a key, the routes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from penstock.hooks import PluginSettings, Record, Route, Secret, ShutdownRequest, hookimpl
from penstock_shutdown.audit import Audit
from penstock_shutdown.keys import Key
from penstock_shutdown.operations import Operations


class ShutdownSettings(PluginSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the server may be stopped.

    Parameters
    ----------
    max_drain:
        Seconds that no drain may exceed, whoever asks for it, a signal included; None: no limit but the server's own.
    key:
        What a caller of the routes has to show. Without a key there are no routes.
    key_file:
        A file that holds the key, instead.
    """

    max_drain: Annotated[float, msgspec.Meta(ge=0, le=86_400)] | None = None
    key: Secret | None = None
    key_file: str | None = None

    def __post_init__(self) -> None:
        if self.key is not None and self.key_file is not None:
            raise ValueError("there is a key and a key_file; give one of them")


class ShutdownPlugin:
    """Audits every shutdown, limits its time, and lets those who have the key ask for it over HTTP.

    Parameters
    ----------
    settings:
        The limit, and the key.
    clock:
        Returns seconds that only grow.

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
        self._key: Key | None = None
        if settings.key is not None:
            self._key = Key(settings.key)
        elif settings.key_file is not None:
            self._key = Key.from_file(Path(settings.key_file))

    @hookimpl
    def penstock_observer(self) -> Mapping[type[Record], Callable[[Any], None]]:
        """See ``penstock.hooks.hookspecs``."""
        return self._audit.observers()

    @hookimpl
    def penstock_shutdown_policy(self) -> Callable[[ShutdownRequest], float] | None:
        """See ``penstock.hooks.hookspecs``."""
        limit = self._max_drain
        return None if limit is None else lambda request: min(request.drain, limit)

    @hookimpl
    def penstock_routes(self) -> Iterable[Route] | None:
        """See ``penstock.hooks.hookspecs``."""
        return None if self._key is None else Operations(self._key, self._audit, self._clock).routes()
