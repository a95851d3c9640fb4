"""The headers in which a caller says how long it will wait, and how each is read.

Digits are those of ASCII, there is an upper bound to their number, and signs, exponents, ``nan`` and ``inf`` are no
numbers here: what a header may be is decided by these patterns, not by what ``float`` happens to accept.
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
    """One such header.

    Parameters
    ----------
    name:
        As people write it.
    form:
        What its value must be, for whoever got it wrong.
    parse:
        Makes seconds of its value; None if it cannot be read.
    is_for_streams:
        Whether it says anything about the whole of a stream.
    """

    name: str
    form: str
    parse: Callable[[str], float | None]
    is_for_streams: bool = True

    def seconds(self, value: str) -> float:
        """How long the caller will wait.

        Raises
        ------
        MalformedRequest
            If the value cannot be read.
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
        DeadlineHeader("X-Request-Timeout", _IN_SECONDS, _seconds),
        DeadlineHeader("grpc-timeout", "1 to 8 digits and one of H M S m u n, such as 250m", _grpc),
        DeadlineHeader("x-envoy-expected-rq-timeout-ms", "whole milliseconds, such as 250", _milliseconds),
        DeadlineHeader("x-request-timeout-seconds", _IN_SECONDS, _seconds),
        # What the OpenAI client waits for the next bytes: of an answer in one piece, that is the whole of it.
        DeadlineHeader("x-stainless-read-timeout", _IN_SECONDS, _seconds, is_for_streams=False),
    )
}
"""By their names in lower case."""
