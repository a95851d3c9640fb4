"""Sizes in bytes, as a command-line option."""

from __future__ import annotations

import click

from penstock.policies import size_in_bytes


class ByteSize(click.ParamType[int]):
    """A positive whole number of bytes: ``1048576``, ``64KiB``, ``16MiB``."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes, or fail with a message that shows the format."""
        if isinstance(value, int):
            return value
        try:
            return size_in_bytes(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
