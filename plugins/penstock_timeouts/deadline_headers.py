"""The headers in which a caller sends its deadline, and the parser of each.

Only ASCII digits are accepted, a bounded number of them, and no signs, exponents, ``nan`` or ``inf``: these patterns
define the valid values, not the texts that ``float`` happens to accept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from penstock.errors import MalformedRequest

SHOWN_CHARACTERS: Final = 40

_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_MILLISECONDS = re.compile(r"[0-9]{1,12}")
_GRPC = re.compile(r"([0-9]{1,8})([HMSmun])")
_GRPC_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


@dataclass(frozen=True)
class DeadlineHeader:
    """A header that carries a deadline.

    Parameters
    ----------
    name:
        The header's name in its usual case.
    form:
        The form of a valid value, for error messages.
    pattern:
        The pattern of all that ``parse`` accepts.
    parse:
        Converts a value to seconds; returns None if it is invalid.
    is_for_streams:
        True if the header limits the whole duration of a stream.
    spans_retries:
        True if the client's retries share the deadline; False if each of them has as much time again.
    """

    name: str
    form: str
    pattern: re.Pattern[str]
    parse: Callable[[str], float | None]
    is_for_streams: bool = True
    spans_retries: bool = True

    def seconds(self, value: str) -> float:
        """Return how long the caller will wait.

        Raises
        ------
        MalformedRequest
            If the value is invalid.
        """
        found = self.parse(value)
        if found is None:
            shown = repr(value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "...")
            reason = f"{self.name}: {shown} cannot be read; give {self.form}"
            raise MalformedRequest(reason, errors=[{"path": self.name, "reason": reason}], param=self.name)
        return found


def _seconds(value: str) -> float | None:
    return float(value) if _SECONDS.fullmatch(value) else None


def _milliseconds(value: str) -> float | None:
    return int(value) / 1000 if _MILLISECONDS.fullmatch(value) else None


def _grpc(value: str) -> float | None:
    found = _GRPC.fullmatch(value)
    return int(found[1]) * _GRPC_UNITS[found[2]] if found else None


_IN_SECONDS = "seconds, such as 2.5"

DEADLINE_HEADERS: Final[Mapping[str, DeadlineHeader]] = {
    header.name.lower(): header
    for header in (
        DeadlineHeader("X-Request-Timeout", _IN_SECONDS, _SECONDS, _seconds),
        DeadlineHeader("grpc-timeout", "1 to 8 digits and one of H M S m u n, such as 250m", _GRPC, _grpc),
        DeadlineHeader(
            "x-envoy-expected-rq-timeout-ms", "whole milliseconds, such as 250", _MILLISECONDS, _milliseconds
        ),
        DeadlineHeader("x-request-timeout-seconds", _IN_SECONDS, _SECONDS, _seconds),
        # The OpenAI client waits this long for the next bytes: for a response in one piece that is the whole wait. Each
        # of its retries waits as long again.
        DeadlineHeader(
            "x-stainless-read-timeout", _IN_SECONDS, _SECONDS, _seconds, is_for_streams=False, spans_retries=False
        ),
    )
}
"""The headers by their names in lower case."""
