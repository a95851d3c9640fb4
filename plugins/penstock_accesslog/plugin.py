"""The plug-in: it observes answered requests and passes them to the writer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from penstock.errors import PluginError
from penstock.hooks import App, DrainEnded, PluginSettings, Record, RequestAnswered, current_format, hookimpl
from penstock_accesslog.access_lines import Format, formatter_for
from penstock_accesslog.log_file import STDERR, LogFile
from penstock_accesslog.writer import Writer

DRAIN_SECONDS: Final = 1.0
HEALTH_CHECKS: Final = ("livez", "readyz", "metrics")


class AccessLogSettings(PluginSettings, frozen=True, kw_only=True):
    """The settings of the access log.

    Parameters
    ----------
    enabled:
        Off by default: a line per request costs time, and records which caller asked for what.
    format:
        The line format; ``auto`` is the format of the server's own log.
    file:
        The file to append to; it is reopened after log rotation has moved it away. "-" is stderr.
    exclude:
        The names of endpoints and routes whose requests are not logged.
    buffer:
        The number of lines that may wait for a slow disk; further lines are dropped.
    """

    enabled: bool = False
    format: Literal["auto", "text", "json", "combined"] = "auto"
    file: str = STDERR
    exclude: tuple[str, ...] = HEALTH_CHECKS
    buffer: int = 50_000

    def __post_init__(self) -> None:
        """Reject settings with which no line would be written."""
        if not self.file:
            raise ValueError("file='' is not a path; give a path, or '-' for stderr")
        if not 1 <= self.buffer <= 10_000_000:
            raise ValueError(f"buffer={self.buffer} must be from 1 to 10,000,000 lines")


TimedRecord: TypeAlias = tuple[RequestAnswered, float]
"""An answered request, and the time of its answer in seconds since 1970."""


class AccessLogPlugin:
    """The plug-in that writes a line for each request.

    Parameters
    ----------
    settings:
        The settings of the access log.
    clock:
        The wall clock, in seconds since 1970.
    """

    name = "accesslog"
    Settings = AccessLogSettings

    def __init__(self, settings: AccessLogSettings, *, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._excluded = frozenset(settings.exclude)
        self._writer: Writer[TimedRecord]

    @hookimpl
    def penstock_observer(self, app: App) -> dict[type[Record], Callable[[Any], None]]:  # noqa: ARG002 - the same for every app
        """Log each answered request, and flush the log when the engine has drained."""
        # The file is opened here and not in the constructor, which also runs when plug-ins are merely listed.
        chosen = self._settings.format
        resolved: Format = current_format() if chosen == "auto" else chosen
        line_of = formatter_for(resolved)
        try:
            self._writer = Writer(LogFile(self._settings.file), lambda item: line_of(*item), self._settings.buffer)
        except OSError as error:
            raise PluginError(
                f"plug-in 'accesslog': cannot append to {self._settings.file!r}: {error.strerror}; set its setting "
                "'file' to another path, or to '-' for stderr"
            ) from None
        return {RequestAnswered: self._request_answered, DrainEnded: self._drain_ended}

    def _request_answered(self, record: RequestAnswered) -> None:
        if record.endpoint not in self._excluded:
            self._writer.put((record, self._clock()))

    def _drain_ended(self, _record: DrainEnded) -> None:
        self._writer.flush(DRAIN_SECONDS)
