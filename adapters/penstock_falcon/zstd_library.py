"""The library for Zstandard, which is optional."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any


@cache
def zstd_module() -> Any:
    """Return the module of Python 3.14, or the same for older versions if it is installed; None if it is not."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    return None
