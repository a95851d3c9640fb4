"""Sizes as people write them."""

from __future__ import annotations

import re

import click

_UNITS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"(\d{1,18}) ?([a-z]*)", re.ASCII)


class ByteSize(click.ParamType[int]):
    """``1048576``, ``64KiB``, ``16MiB``: a whole number of bytes of 1 or more."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes, or fail with what to write instead."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(value.strip().lower())
        if match is None or match[2] not in _UNITS or int(match[1]) < 1:
            self.fail(f"{value!r} is not a size; write bytes as in 1048576, 64KiB or 16MiB.", param, ctx)
        return int(match[1]) * _UNITS[match[2]]
