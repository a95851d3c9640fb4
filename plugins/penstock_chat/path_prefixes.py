"""The beginning of a protocol's paths, as a setting."""

from __future__ import annotations

import re
from typing import Final

_PREFIX: Final = re.compile(r"(/[\w.-]+)*", re.ASCII)


def check_prefix(prefix: str, example: str) -> None:
    """Check the setting ``prefix``.

    Raises
    ------
    ValueError
        If it is not the beginning of a path; the message has the example.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"prefix={prefix!r} is not the beginning of a path; write for instance {example}")
