"""The plug-in: it observes what is answered, and has it written."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from penstock.errors import PluginError
from penstock.hooks import App, DrainEnded, PluginSettings, Record, RequestAnswered, current_format, hookimpl
from penstock_accesslog.lines import Format, lines_of
from penstock_accesslog.output import STDERR, Output
from penstock_accesslog.writer import Writer

DRAIN_SECONDS: Final = 1.0
HEALTH_CHECKS: Final = ("livez", "readyz", "metrics")


class AccessLogSettings(PluginSettings, frozen=True, kw_only=True):
    """What is written, and where to.

    Parameters
    ----------
    enabled:
        Off by default: a line for each request costs time, and says who has asked for what.
    format:
        ``auto`` is the format of the server's own log.
    file:
        To append to, and to open again when it has been moved away; "-" for stderr.
    exclude:
        Names of endpoints and routes whose requests are not written.
    buffer:
        How many lines may wait for a slow disk; more are dropped.
    """

    enabled: bool = False
    format: Literal["auto", "text", "json", "combined"] = "auto"
    file: str = STDERR
    exclude: tuple[str, ...] = HEALTH_CHECKS
    buffer: int = 50_000

    def __post_init__(self) -> None:
        """Refuse what would write nothing."""
        if not self.file:
            raise ValueError("file='' names no file; give a path, or '-' for stderr")
        if not 1 <= self.buffer <= 10_000_000:
            raise ValueError(f"buffer={self.buffer} must be from 1 to 10,000,000 lines")


Happening: TypeAlias = tuple[RequestAnswered, float]
"""A request that was answered, and when, in seconds since 1970."""


class AccessLogPlugin:
    """Writes a line for each request.

    Parameters
    ----------
    settings:
        What and where to.
    clock:
        The time since 1970, in seconds.
    """

    name = "accesslog"
    Settings = AccessLogSettings

    def __init__(self, settings: AccessLogSettings, *, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._excluded = frozenset(settings.exclude)
        self._writer: Writer[Happening]

    @hookimpl
    def penstock_observer(self, app: App) -> dict[type[Record], Callable[[Any], None]]:  # noqa: ARG002 - for all apps
        """Write, and see that all is written when the engine has drained."""
        # Not before: making the plug-in, to list it, opens no file and asks no logger.
        chosen = self._settings.format
        written: Format = current_format() if chosen == "auto" else chosen
        line_of = lines_of(written)
        try:
            self._writer = Writer(Output(self._settings.file), lambda item: line_of(*item), self._settings.buffer)
        except OSError as error:
            raise PluginError(
                f"plug-in 'accesslog': cannot append to {self._settings.file!r}: {error.strerror}; choose another with "
                "its setting 'file', or '-' for stderr"
            ) from None
        return {RequestAnswered: self._request_answered, DrainEnded: self._drain_ended}

    def _request_answered(self, record: RequestAnswered) -> None:
        if record.endpoint not in self._excluded:
            self._writer.put((record, self._clock()))

    def _drain_ended(self, _record: DrainEnded) -> None:
        self._writer.flush(DRAIN_SECONDS)
