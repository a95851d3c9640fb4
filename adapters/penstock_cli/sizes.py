"""Sizes in bytes, as a command-line option."""

from __future__ import annotations

import re

import click

_UNITS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"(\d{1,18}) ?([a-z]*)", re.ASCII)


class ByteSize(click.ParamType[int]):
    """A positive whole number of bytes: ``1048576``, ``64KiB``, ``16MiB``."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes, or fail with a message that shows the format."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(value.strip().lower())
        if match is None or match[2] not in _UNITS or int(match[1]) < 1:
            self.fail(f"{value!r} is not a size; write bytes as in 1048576, 64KiB or 16MiB.", param, ctx)
        return int(match[1]) * _UNITS[match[2]]
