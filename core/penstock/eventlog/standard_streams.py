"""The standard descriptors and streams of a process that may have been started without them."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def occupy_standard_descriptors() -> None:
    """Open the descriptors 0, 1 and 2 if they are closed, so that no socket is ever assigned one of these numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def replace_missing_streams() -> None:
    """Give this process the standard streams that it was started without, so that it can write to them.

    Python sets a stream to None if its descriptor is closed at the start, as by ``2>&-``.
    """
    occupy_standard_descriptors()
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            stream = _null_stream(descriptor)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _null_stream(descriptor: int) -> TextIO:
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
